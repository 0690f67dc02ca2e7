// What a message may show: known to be harmless, or left out.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  isHarmless, shownFile, shownValue, withoutCredentials, withoutReceived, withoutSecret, withoutSecrets,
} from '../lib/secrets.ts'

const CANARY = 'canary-7f3a9c51d2e84b60'
const EKS = '0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com'

describe('what is known to be harmless', () => {
  for (const text of [
    '', 'a', 'sticky', '250', 'https://10.77.0.1:6443', 'https://[2001:db8::1]:6443/k8s/clusters/c-1', '10.0.0.256',
    'api.example.com:6443', `https://${EKS}:443/path`, EKS, 'connect ECONNREFUSED 10.77.0.1:6443', 'ab '.repeat(40),
    'self-signed certificate in certificate chain', 'bücher.example', 'a\tb', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  ]) it(`is ${JSON.stringify(text.slice(0, 50))}`, () => assert.ok(isHarmless(text)))

  for (const text of [
    CANARY, 'abcdef.0123456789abcdef', 'eyJhbGciOi.x', 'x.eyJhbGciOi', '-----BEGIN KEY-----', 'a\nb', 'a\rb', 'u:p@h',
    'h?token=x', 'h#x', 'aGVsbG8=', 'a+b', 'a~b', 'x'.repeat(40), `word ${'x9'.repeat(8)} word`, 'a&b', 'a%20b',
    'ya29.a0AfB_byC1234567890', `${'k'.repeat(32)}9.example`, 'AKIAIOSFODNN7EXAMPLE',
  ]) it(`is not ${JSON.stringify(text.slice(0, 50))}`, () => assert.ok(!isHarmless(text)))
})

describe('the value of an option', () => {
  it('is shown as a kind alone where it may be a secret', () => {
    assert.equal(shownValue('server', CANARY), 'a string of 23 characters (not shown)')
    assert.equal(shownValue('token', 'a'), 'a string of 1 characters (not shown)')
    assert.equal(shownValue('key[0].pem', 'a'), 'a string of 1 characters (not shown)')
    assert.equal(shownValue('o', Symbol(CANARY)), 'a symbol')
    assert.equal(shownValue('passphrase', 5), 'a number')
    assert.equal(shownValue('o', 271828182845904523n), 'a bigint')
  })
})

describe('the name of a file', () => {
  for (const name of ['/etc/kubernetes/pki/ca.crt', './a', '../b', '~/x'.slice(1), 'C:\\a\\b', 'ca.crt', 'tls.key']) {
    it(`${name} is shown`, () => assert.equal(shownFile(name), `'${name}'`))
  }
  for (const name of [CANARY, '-----BEGIN PRIVATE KEY-----', '/a\nb', 'abcdef.0123456789abcdef', 'a'.repeat(21)]) {
    it(`${JSON.stringify(name)} is not`, () => assert.doesNotMatch(shownFile(name), /[ab]{2}|canary|BEGIN|abcdef/))
  }
  it('is shown in full where it may be shown', () => {
    assert.equal(shownFile('hints', '/var/hints'), "'/var/hints'")
    assert.doesNotMatch(shownFile(CANARY, `/var/${CANARY}`), /canary/)
  })
})

describe("somebody else's words", () => {
  const rows: readonly (readonly [name: string, text: string, shown: string])[] = [
    ['a sentence stays', 'no plugin at /usr/bin/exec: exit code 1', 'no plugin at /usr/bin/exec: exit code 1'],
    ['a token is left out', `401 for ${CANARY}, twice`, '401 for (not shown), twice'],
    ['a JWT is left out as one', 'a eyJhbGciOi.eyJz-d_x.sig b', 'a (not shown) b'],
    ['what follows Bearer is left out', 'Bearer ab1 and more', 'Bearer (not shown) and more'],
    ['a sentence about a bearer token stays', 'the bearer token expired', 'the bearer token expired'],
    ['a PEM is left out to its end', 'key -----BEGIN KEY----- MIIB q83n', 'key (not shown)'],
    ['a password in a URL is left out', "to 'http://u:p@h:1/x'", "to 'http://h:1/x'"],
    ['what stands behind an equals sign is left out', 'failed: password=hunter', 'failed: (not shown)'],
    ['a host stays, however long its labels are', `getaddrinfo ENOTFOUND ${EKS}`, `getaddrinfo ENOTFOUND ${EKS}`],
  ]
  for (const [name, text, shown] of rows) {
    it(name, () => {
      const once = withoutSecrets(text)
      assert.equal(once, shown)
      assert.equal(withoutSecrets(once), once, 'again')
    })
  }
  it('are not shown at all when a part of the known secret is left in them', () => {
    assert.equal(withoutSecrets('horse battery!', 'correct-horse-battery'), 'horse battery!')
    assert.equal(withoutSecrets('a t-horse-b', 'correct-horse-battery'), '(not shown, as it has the token in it)')
    assert.equal(withoutSecrets('correct-horse-battery is wrong', 'correct-horse-battery'), '(not shown) is wrong')
  })
  it('keep what is only perhaps a secret where certain ones alone are left out', () => {
    const text = `connect to ${CANARY}`
    assert.equal(withoutCredentials(text), text)
  })
})

describe('what quotes a server', () => {
  it('is not shown when it has 8 characters of the secret, written as they are or escaped', () => {
    const hidden = '(not shown, as it has the token in it)'
    assert.equal(withoutSecret('kind is "canary-7"', CANARY), hidden)
    assert.equal(withoutSecret('kind is "a\\u0022b\\u005ccdef"', 'xa"b\\cdefg'), hidden)
    assert.equal(withoutSecret('kind is "x"', 'x'), hidden)
    assert.equal(withoutSecret('kind is "canary-"', CANARY), 'kind is "canary-"')
    for (const none of [undefined, '']) assert.equal(withoutSecret('a', none), 'a')
  })
})

describe("Node's message about a value of the wrong type", () => {
  it('is shown without the value', () => {
    assert.equal(withoutReceived(`The "options.passphrase" property must be of type string. Received type number (5)`),
      'The "options.passphrase" property must be of type string')
    assert.equal(withoutReceived('a\nb'), 'a\nb')
  })
})
