/**
 * Bad input through the public class: each is named at the earliest moment, the process lives, nothing is left behind.
 * Which values are wrong is core/options.ts's to know, and has its rows there; here it is that the class asks.
 */
import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { MultidialerAgent } from '../lib/agent/agent.ts'
import { Multidialer } from '../lib/multidialer.ts'
import { at, dialError, rejection } from './support/client.ts'
import { ControlPlane } from './support/control-plane.ts'
import { withoutLeaks } from './support/leaks.ts'

const SECRET = 'canary-0f1e2d3c4b5a'
const server = 'https://127.0.0.1:6443'

let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'bad-input-'))
  writeFileSync(join(folder, 'empty'), '')
  writeFileSync(join(folder, 'garbage'), `${SECRET}\n${SECRET}`)
})
after(() => rmSync(folder, { recursive: true }))

/** Every constructor refuses it, names the option, shows no secret, and has started nothing. */
function refused(
  options: unknown, option: string, constructors: readonly Function[] = [Multidialer, MultidialerAgent],
): void {
  for (const Constructor of constructors) {
    const started: string[] = []
    const hook = createHook({ init: (_id, type) => { started.push(type) } }).enable()
    try {
      assert.throws(() => Reflect.construct(Constructor, [options]), (error: unknown) => {
        assert.ok(error instanceof TypeError, String(error))
        assert.equal('code' in error && error.code, 'ERR_INVALID_ARG_VALUE')
        assert.ok(error.message.includes(`'${option}'`), `names '${option}': ${error.message}`)
        assert.ok(!error.message.includes(SECRET), error.message)
        return true
      })
    } finally {
      hook.disable()
    }
    assert.deepEqual(started.filter((type) => /WRAP|Timeout/.test(type)), [], Constructor.name)
  }
}

const wrong: readonly (readonly [option: string, values: readonly unknown[]])[] = [
  ['server', [
    undefined, null, '', [], 7, {}, 'http://127.0.0.1:6443', 'https://127.0.0.1:6443/api', 'https://127.0.0.1:6443?a=1',
    `https://user:${SECRET}@127.0.0.1`, 'https://::1:6443', 'https://[::1', 'https://', '127.0.0.1:6443', 'https://h:0',
    'https://h:65536', 'ftp://h', 'https://h:6443#x', 'https://h h',
  ]],
  ['alternates', ['127.0.0.1:6443', 7, {}]],
  ['alternates[0]', [['https://127.0.0.1:6443'], ['127.0.0.1'], [''], [7], ['::1:6443'], ['h:0'], ['h:65536']]],
  ['servername', ['', 7, {}, 'h:6443', 'https://h', 'a b']],
  ['rejectUnauthorized', [0, 1, 'false', null, {}]],
  ['token', ['', 7, {}, `${SECRET}\n`, `${SECRET} ${SECRET}`, `${SECRET}\r\nx-injected: 1`, true]],
  ['tokenFile', ['', 7, {}, 'a\0b', '/nowhere/at/all']],
  ['caFile', ['', 7, {}, 'a\0b', '/nowhere/at/all', tmpdir(), '/dev/zero']],
  ['connectSocket', [7, 'proxy', {}, null]],
  ['mapEndpoint', [7, 'proxy', {}, null]],
  ['signal', [7, {}, new AbortController(), null]],
  ['store', [7, 'file', {}, { load() {} }, { save() {} }, null]],
  ['balance', ['', 'random', 7, null]],
  ...['attemptDelay', 'attemptTimeout', 'dialTimeout', 'heartbeatTimeout', 'maxConnectionAge'].map((name) =>
    [name, [0, -1, 0.5, Number.NaN, Infinity, 2 ** 31, '250', null, 250n, {}]] as const),
  ...['refreshInterval', 'heartbeatInterval'].map((name) =>
    [name, [-1, 0.5, Number.NaN, Infinity, 2 ** 31, '250', null, {}]] as const),
  ['ca', ['garbage', 7, SECRET]],
  ['certFile', ['/nowhere/at/all']],
]

describe('an option that is wrong throws TypeError ERR_INVALID_ARG_VALUE at construction, naming it', () => {
  for (const [option, values] of wrong) {
    it(option, () => {
      for (const value of values) {
        const name = option.replace(/\[.*/, '')
        refused({ server, ...(name === 'certFile' ? { keyFile: '/nowhere/at/all' } : {}), [name]: value }, option)
      }
    })
  }

  it('options, when they are none', () => {
    for (const options of [undefined, null, 7, 'https://h', []]) refused(options, 'options', [Multidialer])
    refused({}, 'server')
  })

  it('server[1], when only the second is wrong', () => refused({ server: [server, 'http://h'] }, 'server[1]'))

  it('pairs that exclude each other, and halves of pairs', () => {
    refused({ server, token: 'a', tokenFile: '/nowhere' }, 'tokenFile')
    refused({ server, ca: 'a', caFile: '/nowhere' }, 'caFile')
    refused({ server, certFile: '/nowhere' }, 'certFile')
    refused({ server, keyFile: '/nowhere' }, 'keyFile')
  })

  it('files that cannot be used: an empty one, one of garbage, whose content is not shown', () => {
    for (const file of ['empty', 'garbage']) {
      refused({ server, caFile: join(folder, file) }, 'caFile')
      refused({ server, tokenFile: join(folder, file) }, 'tokenFile')
    }
    refused({ server, certFile: join(folder, 'garbage'), keyFile: join(folder, 'garbage') }, 'certFile')
  })
})

describe('requests and calls that are wrong', () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 1 }) })
  after(() => plane.stop())

  const row = (name: string, body: (dialer: Multidialer) => Promise<void>): void => {
    it(name, () => withoutLeaks(async () => {
      using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token })
      await body(dialer)
    }))
  }

  const dial = (dialer: Multidialer, request: object): Promise<string> => new Promise((resolve) => {
    dialer.createConnection(request, (error, socket) => {
      socket?.destroy()
      resolve(error !== null && 'code' in error ? String(error.code) : 'connected')
    })
  })

  row('a foreign host, name or port is refused without a connection', async (dialer) => {
    for (const request of [
      { host: 'example.com' }, { host: '10.0.0.1' }, { host: '127.0.0.1', port: 1 }, { host: 'kubernetes.example.com' },
      { host: 'kubernetes.default.svc', port: 8443 }, { host: '::1' },
      { host: 'kubernetes.default.svc.cluster.local@evil' },
      { host: '127.0.0.1.example.com' }, { host: 'notkubernetes' }, { host: ' ' }, { host: '[::1]' },
    ]) {
      assert.equal(await dial(dialer, request), 'ERR_MULTIDIALER_FOREIGN_HOST', JSON.stringify(request))
    }
    assert.equal((await at(plane, 0).stats()).rawConnections, 0)
    assert.equal(dialer.snapshot().counters.attempts, 0)
  })

  row('TLS options of a request that cannot be used fail it, and blame nobody', async (dialer) => {
    for (const request of [
      { ca: 'garbage' }, { cert: 'garbage' }, { pfx: Buffer.from('garbage') }, { ciphers: 'NONSENSE' },
      { minVersion: 'TLSv9' }, { secureProtocol: 'nonsense' }, { checkServerIdentity: () => new Error('no') },
      { checkServerIdentity: () => { throw new Error('no') } }, { servername: 'a b' }, { localAddress: '203.0.113.1' },
      { lookup: 'none' }, { key: 'garbage' },
    ]) {
      const outcome = await dial(dialer, request)
      assert.equal(dialer.snapshot().endpoints[0]?.failures, 0, `${Object.keys(request)[0]}: ${outcome}`)
    }
    assert.equal(await dial(dialer, {}), 'connected')
  })

  // Node leaves the handle of a socket that it refuses to make to the garbage collector.
  it('what tls.connect throws for fails the dial, and blames nobody', async () => {
    using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca })
    await dial(dialer, { ALPNProtocols: 7 })
    assert.equal(dialer.snapshot().endpoints[0]?.failures, 0)
  })

  row('a dial after close(), in every form', async (dialer) => {
    dialer.close()
    assert.equal(await dial(dialer, {}), 'ERR_MULTIDIALER_CLOSED')
    assert.equal((await rejection(dialer.connect())).code, 'ERR_MULTIDIALER_CLOSED')
    assert.equal((await rejection(dialer.refresh())).code, 'ERR_MULTIDIALER_CLOSED')
    assert.equal(dialer.snapshot().counters.attempts, 0)
  })

  it('a name that does not exist as the only server: one error that says so', () => withoutLeaks(async () => {
    using dialer = new Multidialer({ server: 'https://does-not-exist.invalid:6443', dialTimeout: 5_000 })
    const error = await dialError(dialer.connect())
    assert.match(String(error.code), /ENOTFOUND|EAI_AGAIN|ETIMEDOUT/)
    assert.match(error.message, /does-not-exist\.invalid:6443/)
  }))
})
