// Credentials: values and files, as they are and as they rotate. What a context holds is proved by a handshake.

import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import tls from 'node:tls'
import { Credentials } from '../../lib/credentials/credentials.ts'
import type { CredentialOptions } from '../../lib/credentials/credentials.ts'
import { CANARY, folderOfRow, watched } from '../support/credentials.ts'

const fixtures = fileURLToPath(new URL('../support/certificates/', import.meta.url))
const fixture = (name: string): string => readFileSync(join(fixtures, name), 'utf8')

const ca = fixture('ca.crt')
const otherCA = fixture('other-ca.crt')
const a = { cert: fixture('client-a.crt'), key: fixture('client-a.key') }
const b = { cert: fixture('client-b.crt'), key: fixture('client-b.key') }
const lockedKey = createPrivateKey(a.key)
  .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: CANARY })

const { path: folderPath, put } = folderOfRow()
let folder = ''
beforeEach(() => { folder = folderPath() })

/** Asserts that construction is refused in these words, which hold no secret. */
function refused(options: CredentialOptions, words: RegExp): void {
  assert.throws(() => new Credentials(options), (error: unknown) => {
    assert.ok(error instanceof TypeError, inspect(error))
    assert.equal('code' in error && error.code, 'ERR_INVALID_ARG_VALUE')
    assert.match(error.message, words)
    assert.ok(!inspect(error).includes(CANARY), inspect(error))
    return true
  })
}

let server: tls.Server
before(async () => {
  server = tls.createServer({
    cert: fixture('name-localhost.crt'), key: fixture('server.key'), ca, requestCert: true, rejectUnauthorized: false,
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    socket.end(String(socket.getPeerCertificate().subject?.CN ?? 'nobody'))
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
after(() => server.close())

function addressOf(listening: tls.Server): AddressInfo {
  const address = listening.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address
}

/** Whom a server takes us for, or the code of the handshake's error. */
async function handshake(credentials: Credentials, own?: tls.SecureContextOptions): Promise<string> {
  const { port } = addressOf(server)
  const context = own === undefined ? credentials.current().context : credentials.contextWith(own)
  const socket = tls.connect({ host: '127.0.0.1', port, secureContext: context, servername: 'localhost' })
  try {
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return text
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  } finally {
    socket.destroy()
  }
}

describe('credentials: the context', () => {
  it('proves what the values say', async () => {
    const nobody = await handshake(new Credentials({ ca }))
    const anA = await handshake(new Credentials({ ca, ...a }))
    const aB = await handshake(new Credentials({ ca, ...b }))
    assert.equal(nobody, 'nobody')
    assert.equal(new Set([nobody, anA, aB]).size, 3, `${nobody} ${anA} ${aB}`)
  })
  it('trusts the CA given and no other', async () => {
    assert.match(await handshake(new Credentials({ ca: otherCA })), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
    assert.match(await handshake(new Credentials({})), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
  })
  it('is the same from files, from values, and from both', async () => {
    const caFile = put('ca.crt', ca)
    const certFile = put('tls.crt', a.cert)
    const keyFile = put('tls.key', a.key)
    const expected = await handshake(new Credentials({ ca, ...a }))
    assert.equal(await handshake(new Credentials({ caFile, certFile, keyFile })), expected)
    assert.equal(await handshake(new Credentials({ ca, cert: a.cert, keyFile })), expected)
  })
  it('takes an encrypted key with its passphrase', async () => {
    const credentials = new Credentials({ ca, cert: a.cert, key: lockedKey, passphrase: CANARY })
    assert.equal(await handshake(credentials), await handshake(new Credentials({ ca, ...a })))
  })
  it('takes the other options of a SecureContext', async () => {
    const ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256'
    const dated = new Credentials({ ca, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers })
    assert.equal(await handshake(dated), 'nobody')
    const own = { cert: fixture('name-localhost.crt'), key: fixture('server.key'), ca }
    server.setSecureContext({ ...own, minVersion: 'TLSv1.3' })
    try {
      assert.match(await handshake(dated), /ERR_SSL|EPROTO/)
    } finally {
      server.setSecureContext(own)
    }
  })
  it('takes a CA as a Buffer, in an array, and with comments around it', () => {
    for (const value of [Buffer.from(ca), [ca, Buffer.from(otherCA)], `# mine\n${ca}\n${otherCA}\n# end`, '']) {
      new Credentials({ ca: value })
    }
  })
  it('is one for all calls while nothing changes', () => {
    const { credentials } = watched({ caFile: put('ca.crt', ca) })
    assert.deepEqual(credentials.current(), { context: credentials.current().context, generation: 1 })
    assert.equal(credentials.current().context, credentials.current().context)
  })
  it('is not changed by a caller who changes the options later', async () => {
    const options: CredentialOptions = { caFile: put('ca.crt', ca), ...a }
    const { credentials } = watched(options)
    const expected = await handshake(credentials)
    Object.assign(options, b)
    put('ca.crt', ca + otherCA)
    assert.equal(credentials.current().generation, 2)
    assert.equal(await handshake(credentials), expected)
  })
})

describe('credentials: a context for one connection with TLS options of its own', () => {
  const proved = async (dialer: CredentialOptions, own: tls.SecureContextOptions): Promise<string> =>
    handshake(new Credentials(dialer), own)

  it('without any is as the shared one, but not the shared one itself', async () => {
    const credentials = new Credentials({ ca, ...a })
    assert.notEqual(credentials.contextWith({}), credentials.current().context)
    assert.equal(await handshake(credentials, {}), await handshake(credentials))
  })
  it("the connection's own certificate wins, and its own CA", async () => {
    assert.equal(await proved({ ca, ...a }, b), await proved({ ca, ...b }, {}))
    assert.equal(await proved({ ca: otherCA, ...a }, { ca }), await proved({ ca, ...a }, {}))
    assert.match(await proved({ ca, ...a }, { ca: otherCA }), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
  })
  it("of a pair none is mixed with the dialer's: a passphrase of its key opens no other", async () => {
    const locked = { cert: a.cert, key: lockedKey, passphrase: CANARY }
    assert.equal(await proved({ ca, ...locked }, b), await proved({ ca, ...b }, {}))
    assert.throws(() => new Credentials({ ca, ...locked }).contextWith({ cert: a.cert, key: lockedKey }))
  })
  it("the dialer's files count as its values do", async () => {
    const files = { caFile: put('ca.crt', ca), certFile: put('c', a.cert), keyFile: put('k', a.key) }
    assert.equal(await proved(files, {}), await proved({ ca, ...a }, {}))
    assert.equal(await proved(files, b), await proved({ ca, ...b }, {}))
  })
  it('leaves the shared context and its generation as they were', () => {
    const credentials = new Credentials({ ca, ...a })
    const before = credentials.current()
    credentials.contextWith(b)
    assert.deepEqual(credentials.current(), before)
  })
})

describe('credentials: what cannot be used is refused at construction', () => {
  for (const option of ['tokenFile', 'caFile', 'certFile', 'keyFile'] as const) {
    it(`${option} that is missing`, () => {
      refused({ [option]: join(folder, 'none') },
        new RegExp(`'${option}' must be the path of a file that can be used: '.*none' cannot be read: ENOENT`))
    })
    it(`${option} that is a folder`, () => refused({ [option]: folder }, /cannot be read: it is not a regular file$/))
    it(`${option} that is a part of a file`, () => {
      refused({ [option]: join(put('f', ''), 'x') }, /cannot be read: ENOTDIR/)
    })
    it(`${option} that is far too large`, () => {
      refused({ [option]: put('large', Buffer.alloc(4 * 1024 * 1024 + 1)) }, /it is larger than 4194304 bytes$/)
    })
    for (const [what, value] of [
      ['a token', `eyJhbGciOi.${CANARY}`], ['a PEM', `-----BEGIN PRIVATE KEY-----\n${CANARY}`],
      ['a path with a break', `/a\n${CANARY}`],
      ['a bootstrap token', `abcdef.0123456789${CANARY}`],
    ] as const) {
      it(`${option} that is ${what} does not show it`, () => refused({ [option]: value }, /whose name is not shown/))
    }
  }
  it('a file name that is short is shown as it was given', () => {
    refused({ caFile: 'ca.crt' }, /: 'ca\.crt' cannot be read/)
  })
  it('a path with an odd error code shows that', () => {
    refused({ caFile: `/${'a'.repeat(300)}` }, /cannot be read: ENAMETOOLONG$/)
  })

  const authorities: readonly (readonly [string, string, RegExp])[] = [
    ['is empty', '', /there is none in it/], ['is no PEM', CANARY, /there is none in it/],
    ['is a key', `${a.key}`, /there is none in it/],
    ['is cut off', ca.slice(0, -40), /the last one is cut off/],
    ['has a second one cut off', ca + otherCA.slice(0, -40), /the last one is cut off/],
    ['is damaged', ca.replace(/\n[^\n]{20}/, '\n!!!!'), /one of them is damaged/],
    ['has a damaged one among good ones',
      `${ca}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`, /one of them is damaged/],
  ]
  for (const [name, text, words] of authorities) {
    it(`caFile that ${name}`, () => {
      refused({ caFile: put('ca.crt', text) }, new RegExp(`'caFile' must hold certificates in PEM: .*${words.source}`))
    })
    if (text !== '') it(`ca that ${name}`, () => refused({ ca: text }, new RegExp(`'ca' must hold.*${words.source}`)))
  }
  it('ca that is a number', () => {
    assert.throws(() => Reflect.construct(Credentials, [{ ca: 5 }]),
      { message: /'ca' must hold.*neither a string nor a Buffer/ })
  })

  it('cert that is no PEM', () => refused({ cert: CANARY, key: a.key }, /^The option 'cert' cannot be used: /))
  it('key that is no PEM', () => refused({ cert: a.cert, key: CANARY }, /^The option 'key' cannot be used: /))
  it('certFile and keyFile that are no PEM', () => {
    refused({ certFile: put('c', CANARY), key: a.key }, /^The option 'certFile' cannot be used: /)
    refused({ certFile: put('c', a.cert), keyFile: put('k', CANARY) }, /^The option 'keyFile' cannot be used: /)
  })
  it('a key that does not fit the certificate', () => {
    refused({ cert: a.cert, key: b.key }, /^The option 'key' must fit 'cert': /)
    refused({ certFile: put('c', a.cert), keyFile: put('k', b.key) }, /^The option 'keyFile' must fit 'certFile': /)
  })
  it('an encrypted key with a wrong passphrase', () => {
    refused({ cert: a.cert, key: lockedKey, passphrase: `${CANARY}!` },
      /^The option 'key' cannot be used with the 'passphrase' given: /)
  })
  it('an encrypted key without a passphrase', () => {
    refused({ cert: a.cert, keyFile: put('k', lockedKey.toString()) }, /^The option 'keyFile' cannot be used: /)
  })
  it('a pfx that is none', () => {
    refused({ pfx: CANARY, passphrase: CANARY }, /^The option 'pfx' cannot be used with the 'passphrase' given/)
  })
  it('a passphrase that is no string is not shown', () => {
    assert.throws(() => Reflect.construct(Credentials, [{ ...a, passphrase: 271828 }]), (error: unknown) => {
      assert.match(String(error), /'key' cannot be used with the 'passphrase' given/)
      assert.ok(!inspect(error).includes('271828'))
      return true
    })
  })
  it('ciphers and versions that there are not', () => {
    refused({ ciphers: 'none' }, /^The option 'ciphers' cannot be used: /)
    assert.throws(() => Reflect.construct(Credentials, [{ minVersion: 'TLSv9' }]),
      { message: /'minVersion' cannot be used/ })
  })
  it('options that are right one by one, but not together', () => {
    refused({ minVersion: 'TLSv1.3', secureProtocol: 'TLSv1_2_method', ...a },
      /^The TLS options cannot be used together: .*conflicts with secureProtocol/)
  })
  it('a tokenFile without a token', () => {
    for (const text of ['', ' \n', `${CANARY}\n${CANARY}`, `${CANARY}\0`, `é${CANARY}`]) {
      refused({ tokenFile: put('token', text) }, /'tokenFile' must be .* must hold a non-empty string of visible ASCII/)
    }
  })
})

describe('credentials: files that change', () => {
  it('a new certificate and key make a new generation, and the next handshake uses them', async () => {
    const { credentials, warnings } = watched({ ca, certFile: put('c', a.cert), keyFile: put('k', a.key) })
    const first = await handshake(credentials)
    put('c', b.cert)
    put('k', b.key)
    assert.equal(credentials.current().generation, 2)
    assert.equal(await handshake(credentials), await handshake(new Credentials({ ca, ...b })))
    assert.notEqual(await handshake(credentials), first)
    assert.deepEqual(warnings, [])
  })
  it('a new CA makes a new generation, and the old one counts no more', async () => {
    const { credentials } = watched({ caFile: put('ca.crt', ca) })
    assert.equal(await handshake(credentials), 'nobody')
    put('ca.crt', otherCA)
    assert.match(await handshake(credentials), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
    assert.equal(credentials.current().generation, 2)
  })
  it('a certificate that is new before its key: the last good pair stays, one warning, then the new pair', async () => {
    const { credentials, warnings } = watched({ ca, certFile: put('c', a.cert), keyFile: put('k', a.key) })
    const { context } = credentials.current()
    put('c', b.cert)
    assert.deepEqual(credentials.current(), { context, generation: 1 })
    credentials.current()
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] ?? '', /'keyFile' must fit 'certFile'.*The credentials read before are kept$/)
    put('k', b.key)
    assert.equal(credentials.current().generation, 2)
    assert.equal(warnings.length, 1)
  })
  it('a file that is half written: the last good one stays, one warning however often it is written', () => {
    const { credentials, warnings } = watched({ caFile: put('ca.crt', ca) })
    for (const text of ['', ca.slice(0, 50), ca + otherCA.slice(0, 100)]) {
      put('ca.crt', text)
      assert.equal(credentials.current().generation, 1)
    }
    assert.equal(warnings.length, 1)
    put('ca.crt', ca + otherCA)
    assert.equal(credentials.current().generation, 2)
    put('ca.crt', '')
    assert.equal(credentials.current().generation, 2)
    assert.equal(warnings.length, 2, 'a fault after a recovery is another one')
  })
  it('a file that is gone: the last good one stays, one warning; back unchanged it is the same generation', () => {
    const path = put('ca.crt', ca)
    const { credentials, warnings } = watched({ caFile: path })
    renameSync(path, `${path}.away`)
    assert.equal(credentials.current().generation, 1)
    assert.equal(credentials.current().generation, 1)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] ?? '', /'caFile'.*ENOENT/)
    renameSync(`${path}.away`, path)
    assert.equal(credentials.current().generation, 1)
    unlinkSync(path)
    credentials.current()
    assert.equal(warnings.length, 2)
  })
  it('a file that is written anew with the same contents is the same generation', () => {
    const path = put('ca.crt', ca)
    const { credentials } = watched({ caFile: path })
    const { context } = credentials.current()
    put('next', ca)
    renameSync(join(folder, 'next'), path)
    assert.deepEqual(credentials.current(), { context, generation: 1 })
  })
  it('a swapped symlink is followed, as Kubernetes swaps that of a mounted secret', async () => {
    const version = (name: string, pair: { cert: string; key: string }): void => {
      mkdirSync(join(folder, name))
      put(join(name, 'tls.crt'), pair.cert)
      put(join(name, 'tls.key'), pair.key)
      put(join(name, 'token'), `token-of-${name}`)
      symlinkSync(name, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    version('v1', a)
    for (const name of ['tls.crt', 'tls.key', 'token']) symlinkSync(join('..data', name), join(folder, name))
    const { credentials } = watched({
      ca, certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key'), tokenFile: join(folder, 'token'),
    })
    assert.equal(await credentials.token(), 'token-of-v1')
    version('v2', b)
    assert.equal(credentials.current().generation, 2)
    assert.equal(await credentials.token(), 'token-of-v2')
    assert.equal(await handshake(credentials), await handshake(new Credentials({ ca, ...b })))
  })
  it('without a listener for warnings nothing is thrown either', () => {
    const path = put('ca.crt', ca)
    const credentials = new Credentials({ caFile: path })
    unlinkSync(path)
    assert.equal(credentials.current().generation, 1)
  })
})

describe('credentials: a fault that returns', () => {
  it('is warned of each time anew, and each time it is said that it has passed', () => {
    const path = put('ca.crt', ca)
    const { credentials, warnings, passed } = watched({ caFile: path })
    for (let round = 1; round <= 3; round += 1) {
      renameSync(path, `${path}.away`)
      for (let look = 0; look < 3; look += 1) credentials.current()
      assert.equal(warnings.length, round)
      assert.equal(passed(), round - 1)
      renameSync(`${path}.away`, path)
      for (let look = 0; look < 3; look += 1) credentials.current()
      assert.equal(passed(), round)
    }
    assert.equal(credentials.current().generation, 1)
  })
})

describe('credentials: I5 another identity replaces what was there', () => {
  const whoIs = (credentials: Credentials): Promise<string> => handshake(credentials)
  const expected = async (options: CredentialOptions): Promise<string> => whoIs(new Credentials(options))

  it('values by values, and the generation is another one', async () => {
    const credentials = new Credentials({ ca, ...a })
    credentials.renew({ ca, ...b })
    assert.equal(credentials.current().generation, 2)
    assert.equal(await whoIs(credentials), await expected({ ca, ...b }))
  })
  it('a certificate by none: it is presented no more, nor merged into what one connection brings', async () => {
    for (const before of [a, { certFile: put('c', a.cert), keyFile: put('k', a.key) }, { ...a, key: lockedKey }]) {
      const passphrase = 'key' in before && before.key === lockedKey ? { passphrase: CANARY } : {}
      const credentials = new Credentials({ ca, ...before, ...passphrase, token: 't' })
      credentials.renew({ ca })
      assert.equal(await whoIs(credentials), 'nobody')
      assert.equal(await handshake(credentials, {}), 'nobody')
      assert.equal(credentials.current().generation, 2)
      assert.equal(await credentials.token(), 't')
    }
  })
  it('files by other files, which are then followed, and those before no more', async () => {
    const credentials = new Credentials({ caFile: put('ca', ca), certFile: put('c', a.cert), keyFile: put('k', a.key) })
    credentials.renew({ caFile: put('ca', ca), certFile: put('c2', b.cert), keyFile: put('k2', b.key) })
    assert.equal(await whoIs(credentials), await expected({ ca, ...b }))
    put('c', fixture('client-other.crt'))
    put('k', fixture('client-other.key'))
    assert.equal(credentials.current().generation, 2)
    put('c2', a.cert)
    put('k2', a.key)
    assert.equal(credentials.current().generation, 3)
    assert.equal(await whoIs(credentials), await expected({ ca, ...a }))
  })
  it('files by values, and values by files', async () => {
    const credentials = new Credentials({ ca, certFile: put('c', a.cert), keyFile: put('k', a.key) })
    credentials.renew({ caFile: put('ca', ca), ...b })
    assert.equal(await whoIs(credentials), await expected({ ca, ...b }))
    credentials.renew({ ca, certFile: put('c', a.cert), keyFile: put('k', a.key) })
    assert.equal(await whoIs(credentials), await expected({ ca, ...a }))
    assert.equal(credentials.current().generation, 3)
  })
  it('a CA by another, and by none: then those of the system count', async () => {
    const credentials = new Credentials({ ca })
    credentials.renew({ ca: otherCA })
    assert.match(await whoIs(credentials), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
    assert.equal(credentials.hasAuthority, true)
    credentials.renew({})
    assert.equal(credentials.hasAuthority, false)
    assert.match(await whoIs(credentials), /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/)
    assert.equal(credentials.current().generation, 3)
  })
  it('options that are nobody\'s identity stay', async () => {
    const credentials = new Credentials({ ca, maxVersion: 'TLSv1.2', ...a })
    credentials.renew({ ca })
    const { port } = addressOf(server)
    const { context } = credentials.current()
    const socket = tls.connect({ host: '127.0.0.1', port, secureContext: context, servername: 'localhost' })
    await once(socket, 'secureConnect')
    assert.equal(socket.getProtocol(), 'TLSv1.2')
    socket.destroy()
  })
  it('the same identity again is no change, given as it was or as files of the same contents', () => {
    const credentials = new Credentials({ ca, ...a })
    const { context } = credentials.current()
    credentials.renew({ ca, ...a })
    assert.deepEqual(credentials.current(), { context, generation: 1 })
    const filed = new Credentials({ certFile: put('c', a.cert), keyFile: put('k', a.key) })
    filed.renew({ certFile: put('c2', a.cert), keyFile: put('k2', a.key) })
    assert.equal(filed.current().generation, 1)
  })
  it('one that cannot be used is refused, and the one before is kept, values and files', async () => {
    const { credentials } = watched({ ca, certFile: put('c', a.cert), keyFile: put('k', a.key) })
    for (const wrong of [{ ca, cert: a.cert, key: b.key }, { caFile: join(folder, 'none') }, { ca: CANARY }]) {
      assert.throws(() => credentials.renew(wrong), { code: 'ERR_INVALID_ARG_VALUE' })
    }
    assert.equal(await whoIs(credentials), await expected({ ca, ...a }))
    put('c', b.cert)
    put('k', b.key)
    assert.equal(await whoIs(credentials), await expected({ ca, ...b }))
  })
  it('ends what was warned of before', () => {
    const path = put('ca.crt', ca)
    const { credentials, warnings, passed } = watched({ caFile: path })
    unlinkSync(path)
    credentials.current()
    assert.equal(warnings.length, 1)
    credentials.renew({ ca })
    assert.equal(passed(), 1)
    credentials.current()
    assert.equal(warnings.length, 1)
  })
})

describe('credentials: secrets', () => {
  it('show in no inspection or serialisation', async () => {
    const tokenFile = put('token', CANARY)
    const all = [
      new Credentials({ token: CANARY }), new Credentials({ tokenFile }), new Credentials({ token: () => CANARY }),
      new Credentials({ cert: a.cert, key: lockedKey, passphrase: CANARY }),
    ]
    for (const credentials of all) {
      await credentials.token()
      assert.ok(!inspect(credentials, { depth: 20, showHidden: true }).includes(CANARY))
      assert.ok(!JSON.stringify(credentials).includes(CANARY))
      assert.ok(!inspect(credentials, { depth: 20, showHidden: true }).includes('PRIVATE KEY'))
    }
  })
})
