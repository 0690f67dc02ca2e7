// Errors: what a program can go by, and what a person reads.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { runInNewContext } from 'node:vm'
import {
  abortError, AttemptError, causeText, closedError, codeOf, failureError, foreignHost, invalidOption,
  kindOf, mostTellingCode, MultidialError, severedError, timeoutError, toError,
} from '../lib/errors.ts'
import type { FailureKind } from '../lib/core/state.ts'

const coded = (code: string, message = code): Error => Object.assign(new Error(message), { code })

describe('MultidialError', () => {
  const refused = coded('ECONNREFUSED', 'connect ECONNREFUSED 10.77.0.1:6443')
  const silent = coded('ETIMEDOUT', 'TLS handshake timed out after 5000 ms')
  const failures = [{ address: '10.77.0.1:6443', error: refused }, { address: '10.77.0.2:6443', error: silent }]

  it('D6 names each endpoint with its cause, and has one error for each', () => {
    const error = new MultidialError(failures)
    assert.equal(error.message, 'no apiserver could be reached: ' +
      '10.77.0.1:6443 (connect ECONNREFUSED 10.77.0.1:6443), 10.77.0.2:6443 (TLS handshake timed out after 5000 ms)')
    assert.ok(error instanceof AggregateError)
    assert.equal(error.name, 'MultidialError')
    assert.equal(error.code, 'ECONNREFUSED')
    assert.ok(error.errors.every((one) => one instanceof AttemptError && one instanceof Error))
    assert.deepEqual(error.errors.map(({ address, code, cause }) => [address, code, cause]), [
      ['10.77.0.1:6443', 'ECONNREFUSED', refused], ['10.77.0.2:6443', 'ETIMEDOUT', silent],
    ])
  })
  it('keeps the last of several failures at one endpoint', () => {
    const error = new MultidialError([...failures, { address: '10.77.0.1:6443', error: silent }])
    assert.deepEqual(error.errors.map(({ address, cause }) => [address, cause]), [
      ['10.77.0.1:6443', silent], ['10.77.0.2:6443', silent],
    ])
    assert.equal(error.code, 'ETIMEDOUT')
  })
  it('without a failure it says so', () => {
    const error = new MultidialError([])
    assert.equal(error.message, 'no apiserver could be reached')
    assert.equal(error.code, undefined)
    assert.equal('cause' in error, false)
  })
  it('tells what ended the dial, and takes its code where no attempt has one', () => {
    const reason = timeoutError('the dial', 15_000)
    const error = new MultidialError([{ address: 'h:1', error: 'odd' }], reason)
    assert.equal(error.message, 'no apiserver could be reached: the dial timed out after 15000 ms, h:1 (odd)')
    assert.equal(error.code, 'ETIMEDOUT')
    assert.equal(error.cause, reason)
    assert.equal(new MultidialError(failures, reason).code, 'ECONNREFUSED')
  })
})

describe('mostTellingCode', () => {
  const order = [
    ['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN',
      'DEPTH_ZERO_SELF_SIGNED_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'INVALID_PURPOSE'],
    ['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'],
    ['EMFILE', 'ENFILE', 'ENOBUFS', 'EACCES'],
    ['ENOTFOUND', 'EAI_AGAIN'],
    ['ECONNREFUSED'],
    ['ECONNRESET', 'EPIPE', 'EHOSTUNREACH', 'ENETUNREACH', 'SOMETHING_ELSE'],
    ['ETIMEDOUT'],
    ['ABORT_ERR'],
  ]
  for (const [i, rank] of order.entries()) {
    for (const code of rank) {
      it(`${code} stands before ${order[i + 1]?.join(', ') ?? 'none'}`, () => {
        const later = order.slice(i + 1).flat()
        assert.equal(mostTellingCode([undefined, ...later, code]), code)
      })
    }
  }
  it('the first of these ranks is that of identity, and no other', () => {
    assert.ok(order[0]?.every((code) => kindOf({ code }) === 'identity'))
    for (const code of [undefined, ...order.slice(1).flat()]) assert.notEqual(kindOf({ code }), 'identity')
  })
  it('H1 errors of this machine blame no endpoint, and no other is taken for one', () => {
    for (const code of ['EMFILE', 'ENFILE', 'ENOBUFS', 'ABORT_ERR']) assert.equal(kindOf({ code }), 'local', code)
    for (const code of [undefined, 'ECONNREFUSED', 'ETIMEDOUT', 'ECONNRESET', 'EPROTO', 'CERT_HAS_EXPIRED']) {
      assert.notEqual(kindOf({ code }), 'local')
    }
  })
  it('among equals the first counts', () => {
    assert.equal(mostTellingCode(['EPIPE', 'ECONNRESET']), 'EPIPE')
  })
  it('is undefined where none has a code', () => {
    assert.equal(mostTellingCode([]), undefined)
    assert.equal(mostTellingCode([undefined, undefined]), undefined)
  })
})

describe('causeText and codeOf', () => {
  class Nameless extends Error { override name = 'Nameless' }
  const rows: readonly (readonly [string, unknown, string])[] = [
    ['an error says its message', new Error('a'), 'a'],
    ['a message becomes one line', new Error(' a\r\n  b\n'), 'a b'],
    ['a long message is cut', new Error('a'.repeat(300)), `${'a'.repeat(200)}...`],
    ['a string says itself', 'a', 'a'],
    ['an error without a message says its code', coded('EX', ''), 'EX'],
    ['an error without both says its name', new Nameless(''), 'Nameless'],
    ['an aggregate without a message says those of its errors', new AggregateError([new Error('a'), 'b']), 'a, b'],
    ['an empty aggregate says its name', new AggregateError([]), 'AggregateError'],
    ['an object with a code says that', { code: 'EX' }, 'EX'],
    ['an empty string says nothing', '', 'unknown error'],
    ['undefined says nothing', undefined, 'unknown error'],
    ['null says nothing', null, 'unknown error'],
  ]
  for (const [name, error, text] of rows) it(name, () => assert.equal(causeText(error), text))
  it('a code is a string that is not empty', () => {
    for (const error of [undefined, null, 'EX', {}, { code: 5 }, { code: '' }]) assert.equal(codeOf(error), undefined)
    assert.equal(codeOf({ code: 'EX' }), 'EX')
  })
})

/** What connectSocket, a store, a token function or a signal may reject with, and must harm nobody. */
const throwing = new Proxy({}, {
  get() { throw new Error('get') }, has() { throw new Error('has') },
  getPrototypeOf() { throw new Error('getPrototypeOf') }, ownKeys() { throw new Error('ownKeys') },
})
const revoked = ((): unknown => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
})()
const cyclic = new AggregateError([])
cyclic.errors.push(cyclic, cyclic)
const ODD: readonly (readonly [name: string, value: unknown])[] = [
  ['undefined', undefined], ['null', null], ['a number', 5], ['a symbol', Symbol('s')], ['a bigint', 5n],
  ['an object without a prototype', Object.create(null)], ['a Proxy whose traps throw', throwing],
  ['a revoked Proxy', revoked], ['an error whose message is a number', Object.assign(new Error('x'), { message: 5 })],
  ['an error whose message is an object', Object.assign(new Error('x'), { message: { a: 1 } })],
  ['an error whose code is a symbol', Object.assign(new Error('x'), { code: Symbol('c') })],
  ['an error whose getters throw', Object.defineProperties(new Error('x'), Object.fromEntries(
    ['message', 'code', 'name', 'errors'].map((name) => [name, { get() { throw new Error('getter') } }])))],
  ['an aggregate that holds itself', cyclic], ['an object whose errors are a revoked Proxy', { errors: revoked }],
  ['an object with a million errors', { errors: Array(1e6).fill(throwing) }],
  ['a function', () => {}], ['a text of 10 MB', 'x '.repeat(5e6)],
]

describe('whatever was thrown', () => {
  for (const [name, value] of ODD) {
    it(`may be ${name}`, () => {
      const text = causeText(value)
      assert.ok(typeof text === 'string' && text !== '' && text.length <= 203)
      assert.ok(['undefined', 'string'].includes(typeof codeOf(value)))
      assert.equal(kindOf(value), 'broken')
      const error = toError(value)
      assert.ok(error instanceof Error)
      assert.equal(toError(error), error)
      assert.ok(new AttemptError({ address: 'h:1', error: value }).message.startsWith('h:1 ('))
      assert.ok(failureError({ message: 'x', error: value }) instanceof Error)
    })
  }
  it('may be an error of another realm, and is known as one', () => {
    const error: unknown = runInNewContext("Object.assign(new Error('connect refused'), { code: 'ECONNREFUSED' })")
    assert.equal(error instanceof Error, false)
    assert.equal(causeText(error), 'connect refused')
    assert.equal(codeOf(error), 'ECONNREFUSED')
    assert.equal(kindOf(error), 'refused')
    assert.equal(toError(error), error)
    assert.equal(failureError({ message: 'x', error }), error)
    assert.equal(causeText(runInNewContext("new AggregateError([new Error('a'), new Error('b')])")), 'a, b')
    assert.equal(kindOf(runInNewContext("new TypeError('x')")), 'mistake')
  })
  it('becomes an error that has its code and its words, and itself as the cause', () => {
    const thrown = { code: 'ECONNREFUSED', message: 'no' }
    const error = toError(thrown)
    assert.equal(error.message, 'no')
    assert.equal(codeOf(error), 'ECONNREFUSED')
    assert.equal(error.cause, thrown)
    assert.equal(codeOf(toError('words')), undefined)
  })
  it('says no password of a URL, and nothing that is certainly a token', () => {
    assert.equal(causeText(new Error('407 of https://u:p@proxy:1 for Bearer x1')),
      '407 of https://proxy:1 for Bearer (not shown)')
  })
})

describe('the kind of a failure', () => {
  const kinds: Readonly<Record<FailureKind, readonly string[]>> = {
    local: ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'ABORT_ERR'],
    identity: ['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'INVALID_PURPOSE', 'CRL_HAS_EXPIRED'],
    refused: ['ECONNREFUSED'],
    unreachable: ['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN'],
    name: ['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'ENODATA', 'ESERVFAIL', 'ETIMEOUT'],
    silence: ['ETIMEDOUT', 'ERR_SOCKET_CONNECTION_TIMEOUT'],
    mistake: [],
    // What the core itself finds: no error has them.
    late: [],
    answer: [],
    broken: ['ECONNRESET', 'EPIPE', 'EPROTO', 'ERR_SSL_TLSV1_ALERT_BAD_CERTIFICATE', 'EACCES', 'HPE_INVALID',
      'toString'],
  }
  for (const [kind, codes] of Object.entries(kinds)) {
    for (const code of codes) it(`of ${code} is ${kind}`, () => assert.equal(kindOf(coded(code)), kind))
  }
  it('of a TypeError or a RangeError is a mistake, unless its code says more', () => {
    assert.equal(kindOf(new TypeError('x')), 'mistake')
    assert.equal(kindOf(Object.assign(new RangeError('x'), { code: 'ERR_SOCKET_BAD_PORT' })), 'mistake')
    assert.equal(kindOf(Object.assign(new TypeError('x'), { code: 'ECONNREFUSED' })), 'refused')
  })
  it('of a signal that was aborted is local, and of one that timed out silence', async () => {
    assert.equal(kindOf(AbortSignal.abort().reason), 'local')
    assert.equal(kindOf(abortError()), 'local')
    assert.equal(kindOf(new DOMException('x', 'TimeoutError')), 'silence')
    assert.equal(kindOf(timeoutError('x', 1)), 'silence')
    assert.equal(toError(AbortSignal.abort().reason).name, 'AbortError')
  })
})

describe('the other errors', () => {
  it('a foreign host is named, with what to do', () => {
    const error = foreignHost('example.com')
    assert.equal(error.code, 'ERR_MULTIDIALER_FOREIGN_HOST')
    assert.match(error.message, /^'example.com' is not a host of this cluster: .*Use another agent.*option 'server'$/)
  })
  it('a closed dialer says so', () => {
    assert.equal(closedError().code, 'ERR_MULTIDIALER_CLOSED')
    assert.match(closedError().message, /closed/)
  })
  it('H3 a severed socket says which endpoint stopped answering, with the code that clients retry', () => {
    const error = severedError('10.77.0.1:6443', 'two heartbeats unanswered')
    assert.equal(error.code, 'ECONNRESET')
    assert.equal(error.address, '10.77.0.1:6443')
    assert.equal(error.message,
      'apiserver 10.77.0.1:6443 stopped answering (two heartbeats unanswered); the connection was severed')
  })
  it('a limit that was reached is named with its milliseconds', () => {
    const error = timeoutError('TLS handshake with h:1', 5_000)
    assert.equal(error.code, 'ETIMEDOUT')
    assert.equal(error.message, 'TLS handshake with h:1 timed out after 5000 ms')
  })
  it("an abort is as Node's own, with the reason as its cause", () => {
    const reason = new Error('why')
    const error = abortError(reason)
    assert.equal(error.name, 'AbortError')
    assert.equal(error.code, 'ABORT_ERR')
    assert.equal(error.cause, reason)
    assert.equal('cause' in abortError(), false)
  })
  it('a failure gives its own error; one found by the clock becomes ETIMEDOUT', () => {
    const error = coded('ECONNREFUSED')
    assert.equal(failureError({ message: 'x', error }), error)
    const late = failureError({ message: 'no answer within 5000 ms' })
    assert.equal(codeOf(late), 'ETIMEDOUT')
    assert.equal(late.message, 'no answer within 5000 ms')
  })
  it('a wrong option is a TypeError', () => assert.ok(invalidOption('a', 1, 'b') instanceof TypeError))
})
