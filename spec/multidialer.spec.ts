/** The class as its users meet it: every method, event, option and error, against apiservers that are processes. */
import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { EventEmitter, once } from 'node:events'
import http2 from 'node:http2'
import https from 'node:https'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { TLSSocket } from 'node:tls'
import { AttemptError, MultidialError } from '../lib/errors.ts'
import { Multidialer } from '../lib/multidialer.ts'
import type { MultidialerOptions } from '../lib/multidialer.ts'
import type { DialRequest } from '../lib/pool.ts'
import { at, dialError, rejection, servedBy } from './support/client.ts'
import { certificateFile, ControlPlane } from './support/control-plane.ts'
import { withoutLeaks } from './support/leaks.ts'
import { startProgram } from './support/program.ts'

let plane: ControlPlane
/** An address that nothing listens at. */
let nowhere: string
before(async () => {
  plane = await ControlPlane.start({ servers: 3 })
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  nowhere = `127.0.0.1:${address.port}`
  server.close()
  await once(server, 'close')
})
after(() => plane.stop())
afterEach(async () => {
  await Promise.all(plane.servers.map((server) => server.misbehave()))
})

const endpointsOf = (some: ControlPlane): { host: string; port: number }[] =>
  some.servers.map(({ host, port }) => ({ host, port }))

/** A dialer of the control plane, closed at the end of `body`; whatever it left behind fails the row. */
async function withDialer(
  options: Partial<MultidialerOptions>, body: (dialer: Multidialer) => Promise<void>,
): Promise<void> {
  await withoutLeaks(async () => {
    using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token, ...options })
    await body(dialer)
  })
}

interface Ending { calls: number; late: boolean; error: Error | null | undefined; socket: TLSSocket | undefined }

/** Dials by createConnection, and gives it every chance to call back twice. */
async function dial(dialer: Multidialer, request: DialRequest = {}): Promise<Ending> {
  const ending: Ending = { calls: 0, late: false, error: undefined, socket: undefined }
  let returned = false
  await new Promise<void>((resolve) => {
    const result: unknown = dialer.createConnection(request, (error, socket) => {
      Object.assign(ending, { calls: ending.calls + 1, late: returned, error, socket })
      resolve()
    })
    returned = true
    assert.equal(result, undefined)
  })
  await new Promise((resolve) => setImmediate(resolve))
  return ending
}

/** Who serves one request, by a connection of its own. */
function served(dialer: Multidialer, options: https.RequestOptions = {}): Promise<string> {
  return servedBy(dialer, at(plane, 0).url, options)
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

describe('createConnection', () => {
  it('gives a connected, verified TLS socket: once, later, returning undefined',
    () => withDialer({}, async (dialer) => {
    const { calls, late, error, socket } = await dial(dialer, { host: at(plane, 0).host, port: at(plane, 0).port })
    assert.deepEqual({ calls, late, error }, { calls: 1, late: true, error: null })
    assert.ok(socket instanceof TLSSocket)
    assert.equal(socket.authorized, true)
    assert.equal(socket.alpnProtocol, 'http/1.1')
    assert.equal(socket.listenerCount('error'), 0, 'its listeners are its caller\'s')
    socket.destroy()
  }))

  const failures: readonly [string, Partial<MultidialerOptions>, DialRequest, string][] = [
    ['nothing answers', { get server() { return `https://${nowhere}` } }, {}, 'ECONNREFUSED'],
    ['the host is not the cluster\'s', {}, { host: 'example.com' }, 'ERR_MULTIDIALER_FOREIGN_HOST'],
    ['the port is not the cluster\'s', {}, { host: '127.0.0.1', port: 1 }, 'ERR_MULTIDIALER_FOREIGN_HOST'],
    ['its signal was aborted before', {}, { signal: AbortSignal.abort() }, 'ABORT_ERR'],
    ['the dialer\'s signal was aborted before', { signal: AbortSignal.abort() }, {}, 'ERR_MULTIDIALER_CLOSED'],
    ['its timeout is over', { connectSocket: () => new Promise(() => {}) }, { timeout: 30 }, 'ETIMEDOUT'],
    ['its own certificate cannot be used', {}, { cert: 'nonsense', key: 'nonsense' }, 'ERR_OSSL_PEM_NO_START_LINE'],
  ]
  for (const [name, options, request, code] of failures) {
    it(`calls back once, later, with ${code} when ${name}`, () => withDialer(options, async (dialer) => {
      const { calls, late, error, socket } = await dial(dialer, request)
      assert.deepEqual({ calls, late, socket }, { calls: 1, late: true, socket: undefined })
      assert.equal(codeOf(error), code)
    }))
  }

  it('takes a timeout that is longer than any timer for one that never ends', () => withDialer({}, async (dialer) => {
    const { error, socket } = await dial(dialer, { timeout: 3_000_000_000 })
    assert.equal(error, null)
    socket?.destroy()
  }))

  it('names a host that is not the cluster\'s as a URL would, an IPv6 one in brackets',
    () => withDialer({}, async (dialer) => {
    for (const [host, shown] of [
      ['::1', '[::1]:6443'], ['2001:db8::1', '[2001:db8::1]:6443'], ['[2001:db8::1]', '[2001:db8::1]:6443'],
      ['10.0.0.1', '10.0.0.1:6443'], ['elsewhere', 'elsewhere:6443'],
    ] as const) {
      const { error } = await dial(dialer, { host, port: 6443 })
      assert.ok(error?.message.startsWith(`'${shown}' is not a host`), String(error))
    }
  }))

  it('makes no connection that nobody could have, without a callback', () => withDialer({}, async (dialer) => {
    assert.equal(dialer.createConnection({}), undefined)
    assert.equal(dialer.snapshot().counters.dials, 0)
  }))

  it('serves https.request, by itself and through a stock https.Agent', () => withDialer({}, async (dialer) => {
    assert.equal(await served(dialer), 'apiserver-1')
    const agent = new https.Agent({ keepAlive: true })
    agent.createConnection = dialer.createConnection
    for (let i = 0; i < 3; i += 1) {
      const request = https.get(`${at(plane, 0).url}/version`, {
        agent, headers: { authorization: `Bearer ${plane.token}` },
      })
      const [response] = await once(request, 'response')
      response.resume()
      await once(response, 'end')
      assert.equal(response.statusCode, 200)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal(dialer.snapshot().counters.dials, 2, 'the agent reuses what it was given')
    agent.destroy()
  }))

  it('ends a dial within 50 ms of its caller\'s abort', () => withDialer({
    connectSocket: () => new Promise(() => {}),
  }, async (dialer) => {
    const caller = new AbortController()
    const ending = dial(dialer, { signal: caller.signal })
    const from = performance.now()
    caller.abort(new Error('enough'))
    const { error, calls } = await ending
    assert.equal(calls, 1)
    assert.equal(error?.name, 'AbortError')
    assert.equal(error instanceof Error && error.cause instanceof Error && error.cause.message, 'enough')
    assert.ok(performance.now() - from < 1_000)
  }))

  it('takes every name of the cluster\'s service for the cluster', () => withDialer({}, async (dialer) => {
    for (const host of [
      'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local',
    ]) {
      const { socket } = await dial(dialer, { host, port: 443 })
      assert.ok(socket, host)
      socket.destroy()
    }
    await dialer.refresh()
    const { socket } = await dial(dialer, { host: at(plane, 2).host, port: at(plane, 2).port })
    assert.ok(socket, 'a listed address')
    socket.destroy()
  }))
})

describe('connect', () => {
  it('gives HTTP/2 where it is asked for, to http2.connect', async () => {
    const speaks = await ControlPlane.start({ servers: 1, http2: true })
    try {
      await withDialer({ server: at(speaks, 0).url, token: speaks.token }, async (dialer) => {
        const socket = await dialer.connect({ ALPNProtocols: ['h2'] })
        assert.equal(socket.alpnProtocol, 'h2')
        const session = http2.connect(at(speaks, 0).url, { createConnection: () => socket })
        const stream = session.request({ ':path': '/version', authorization: `Bearer ${speaks.token}` })
        const [headers] = await once(stream, 'response')
        assert.equal(headers[':status'], 200)
        stream.resume()
        session.close()
        await once(session, 'close')
        assert.equal((await dialer.connect()).destroy().alpnProtocol, 'http/1.1')
      })
    } finally {
      await speaks.stop()
    }
  })

  it('rejects with AbortError when its signal is aborted, before and during', () => withDialer({
    connectSocket: () => new Promise(() => {}),
  }, async (dialer) => {
    const before = await rejection(dialer.connect({ signal: AbortSignal.abort() }))
    assert.deepEqual([before.name, before.code], ['AbortError', 'ABORT_ERR'])
    const caller = new AbortController()
    const during = rejection(dialer.connect({ signal: caller.signal }))
    caller.abort()
    assert.equal((await during).code, 'ABORT_ERR')
  }))

  it('leaves the socket alone when its signal is aborted afterwards', () => withDialer({}, async (dialer) => {
    const caller = new AbortController()
    const socket = await dialer.connect({ signal: caller.signal })
    caller.abort()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(socket.destroyed, false)
    socket.destroy()
  }))
})

describe('refresh, snapshot, close', () => {
  it('refresh gives the endpoints, before any dial too', () => withDialer({}, async (dialer) => {
    assert.deepEqual(await dialer.refresh(), endpointsOf(plane))
    assert.equal(dialer.snapshot().counters.dials, 0)
  }))

  it('refresh works where discovery is turned off', () => withDialer({ refreshInterval: 0 }, async (dialer) => {
    assert.deepEqual(await dialer.refresh(), endpointsOf(plane))
    assert.equal(dialer.snapshot().discovery.status, 'off')
  }))

  it('refresh rejects with what each of those asked said', () => withDialer({
    alternates: ['127.0.0.1:1'],
  }, async (dialer) => {
    await at(plane, 0).misbehave({ heartbeat: 404 })
    const error = await dialError(dialer.refresh())
    assert.match(error.message, /it answered 404/)
    assert.match(error.message, /127\.0\.0\.1:1 .*ECONNREFUSED/)
    assert.equal(error.errors.length, 2)
  }))

  it('snapshot is plain JSON that holds no secret', () => withDialer({}, async (dialer) => {
    const first = dialer.snapshot()
    assert.deepEqual(first.endpoints.map(({ origin, status, listed }) => ({ origin, status, listed })), [
      { origin: 'seed', status: 'unverified', listed: false },
    ])
    assert.deepEqual(first.discovery, { status: 'pending' })
    await dialer.refresh()
    const socket = await dialer.connect()
    const snapshot = dialer.snapshot()
    assert.deepEqual(JSON.parse(JSON.stringify(snapshot)), snapshot)
    assert.equal(snapshot.current, at(plane, 0).address)
    assert.deepEqual(snapshot.endpoints.map(({ address }) => address), plane.servers.map(({ address }) => address))
    const one = snapshot.endpoints.find(({ address }) => address === snapshot.current)
    assert.deepEqual(one, {
      address: at(plane, 0).address, origin: 'seed', status: 'ready', listed: true, sockets: 1, failures: 0,
    })
    assert.equal(snapshot.discovery.status, 'ok')
    assert.equal(snapshot.discovery.via, 'endpoints')
    assert.ok(typeof snapshot.discovery.ageMs === 'number')
    assert.ok(!JSON.stringify(snapshot).includes(plane.token))
    socket.destroy()
  }))

  it('close ends every dial and refresh, once; what was handed out stays its caller\'s; again, it does nothing',
    async () => {
    const hanging = (): Promise<never> => new Promise(() => {})
    let stuck = false
    const connectSocket: NonNullable<MultidialerOptions['connectSocket']> = ({ host, port }) =>
      stuck ? hanging() : new Promise((resolve) => {
        const socket = net.connect({ host, port }, () => resolve(socket))
      })
    await withDialer({ connectSocket }, async (dialer) => {
      const socket = await dialer.connect()
      stuck = true
      const dials = [dial(dialer), dial(dialer), dial(dialer)]
      const refused = [rejection(dialer.connect()), rejection(dialer.refresh())]
      dialer.close()
      dialer.close()
      dialer[Symbol.dispose]()
      for (const ending of await Promise.all(dials)) {
        assert.deepEqual([ending.calls, ending.late, codeOf(ending.error)], [1, true, 'ERR_MULTIDIALER_CLOSED'])
      }
      for (const error of await Promise.all(refused)) assert.equal(error.code, 'ERR_MULTIDIALER_CLOSED')
      for (const later of [dialer.connect(), dialer.refresh()]) {
        assert.equal((await rejection(later)).code, 'ERR_MULTIDIALER_CLOSED')
      }
      assert.equal(socket.destroyed, false)
      socket.write('GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n')
      const [chunk] = await once(socket, 'data')
      assert.match(String(chunk), /200 OK/)
      socket.destroy()
      assert.equal(dialer.snapshot().counters.dials, 5)
    })
  })

  it('signal: aborting it is close()', async () => {
    const abort = new AbortController()
    await withDialer({ signal: abort.signal, connectSocket: () => new Promise(() => {}) }, async (dialer) => {
      const pending = rejection(dialer.connect())
      abort.abort()
      assert.equal((await pending).code, 'ERR_MULTIDIALER_CLOSED')
      assert.equal((await rejection(dialer.connect())).code, 'ERR_MULTIDIALER_CLOSED')
    })
  })
})

describe('events', () => {
  it('endpoints: the list, when it has changed and not otherwise', () => withDialer({}, async (dialer) => {
    const lists: unknown[] = []
    dialer.on('endpoints', (endpoints) => lists.push(endpoints))
    await dialer.refresh()
    await dialer.refresh()
    assert.deepEqual(lists, [endpointsOf(plane)])
    const extra = '127.0.0.9:6443'
    await plane.setEndpoints({ addresses: [at(plane, 0).address, extra] })
    await dialer.refresh()
    await plane.setEndpoints(undefined)
    assert.deepEqual(lists[1], [endpointsOf(plane)[0], { host: '127.0.0.9', port: 6443 }])
  }))

  it('failed and failover: who, to whom and why; none is named error', () => withDialer({}, async (dialer) => {
    const failed = once(dialer, 'failed')
    const failover = once(dialer, 'failover')
    dialer.on('error', () => assert.fail('no event is named error'))
    await dialer.refresh()
    ;(await dialer.connect()).destroy()
    await at(plane, 0).misbehave('reset-handshake')
    ;(await dialer.connect()).destroy()
    const [{ address, error }] = await failed
    assert.equal(address, at(plane, 0).address)
    assert.equal(codeOf(error), 'ECONNRESET')
    const [{ from, to, reason }] = await failover
    assert.equal(from, at(plane, 0).address)
    assert.ok([at(plane, 1).address, at(plane, 2).address].includes(to))
    assert.equal(typeof reason, 'string')
    assert.equal(dialer.snapshot().counters.failovers, 1)
  }))

  it('warning: an Error with its kind, once until it changes', () => withDialer({}, async (dialer) => {
    const kinds: string[] = []
    dialer.on('warning', (warning) => {
      assert.ok(warning instanceof Error)
      kinds.push(warning.kind)
    })
    await plane.setEndpoints({ body: '<html>' })
    await rejection(dialer.refresh())
    await rejection(dialer.refresh())
    assert.deepEqual(kinds, ['list'])
    await plane.setEndpoints(undefined)
    await dialer.refresh()
    await plane.setEndpoints({ body: '<html>' })
    await rejection(dialer.refresh())
    await plane.setEndpoints(undefined)
    assert.deepEqual(kinds, ['list', 'list'])
  }))

  it('what a listener throws surfaces, and keeps no dial from its end', async () => {
    const program = startProgram(`
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
      dialer.on('endpoints', () => { throw new Error('the listener') })
      process.on('uncaughtException', (error) => console.log('uncaught: ' + error.message))
      await dialer.refresh().then(() => console.log('refreshed'))
      ;(await dialer.connect()).destroy()
      console.log('connected')`, { url: at(plane, 0).url, ca: plane.ca, token: plane.token })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual([...program.lines].sort(), ['connected', 'refreshed', 'uncaught: the listener'])
  })

  it('NODE_DEBUG=multidialer prints them all, without any secret', async () => {
    await plane.setEndpoints({ addresses: [at(plane, 0).address, nowhere, 'nonsense:1'] })
    const program = startProgram(`
      const { nowhere, address, ca, token } = given
      const dialer = new Multidialer({ server: 'https://' + nowhere, alternates: [address], ca, token })
      ;(await dialer.connect()).destroy()
      await dialer.refresh()
      dialer.close()`, { address: at(plane, 0).address, nowhere, ca: plane.ca, token: plane.token }, {
      env: { NODE_DEBUG: 'multidialer' },
    })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    await plane.setEndpoints(undefined)
    const text = program.lines.join('\n')
    assert.match(text, /MULTIDIALER \d+: endpoints \[/)
    assert.match(text, /MULTIDIALER \d+: failed 127/)
    assert.match(text, /MULTIDIALER \d+: warning: /)
    assert.ok(!text.includes(plane.token))
  })
})

describe('errors', () => {
  it('a dial that fails names every endpoint with its cause, and has the most telling code', () => withDialer({
    get server() { return [`https://${nowhere}`, at(plane, 0).url] },
  }, async (dialer) => {
    await at(plane, 0).misbehave({ certificate: 'wrong-name' })
    const error = await dialError(dialer.connect())
    assert.ok(error instanceof AggregateError && error instanceof MultidialError)
    assert.equal(error.name, 'MultidialError')
    assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID', 'a wrong name tells more than a refusal')
    assert.ok(error.errors.every((each) => each instanceof AttemptError))
    assert.deepEqual(new Map(error.errors.map(({ address, code }) => [address, code])), new Map([
      [nowhere, 'ECONNREFUSED'], [at(plane, 0).address, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ]))
    for (const { address, message } of error.errors) {
      assert.ok(error.message.includes(message) && message.includes(address))
    }
  }))

  it('a dial that takes too long is ended by dialTimeout, and says who kept silent', () => withDialer({
    connectSocket: () => new Promise(() => {}), dialTimeout: 100,
  }, async (dialer) => {
    const error = await dialError(dialer.connect())
    assert.equal(error.code, 'ETIMEDOUT')
    assert.match(error.message, new RegExp(`${at(plane, 0).address} .*no connection within 100 ms`))
  }))
})

describe('TLS options of one connection', () => {
  const identity = {
    cert: readFileSync(certificateFile('client-a.crt')), key: readFileSync(certificateFile('client-a.key')),
  }

  it('a client certificate wins, and is shared with nobody, nor is its session',
    () => withDialer({}, async (dialer) => {
    const server = at(plane, 0)
    await server.resetStats()
    await dialer.refresh()
    for (let i = 0; i < 3; i += 1) assert.equal(await served(dialer, identity), 'apiserver-1')
    const own = await server.stats()
    assert.deepEqual([own.clients, own.sessionsReused], [['client-a'], 0])
    await served(dialer)
    await server.resetStats()
    for (let i = 0; i < 3; i += 1) await served(dialer)
    const others = await server.stats()
    assert.deepEqual([others.clients, others.sessionsReused], [[], 3])
  }))

  it('a CA wins; what it refuses blames no endpoint', () => withDialer({}, async (dialer) => {
    const { error } = await dial(dialer, { ca: readFileSync(certificateFile('other-ca.crt')) })
    assert.match(String(codeOf(error)), /UNABLE_TO_|SELF_SIGNED/)
    assert.equal(dialer.snapshot().endpoints[0]?.failures, 0)
    assert.equal(await served(dialer), 'apiserver-1')
  }))

  it('rejectUnauthorized: false holds for that connection alone', () => withDialer({}, async (dialer) => {
    await at(plane, 0).misbehave({ certificate: 'self-signed' })
    const { socket } = await dial(dialer, { rejectUnauthorized: false })
    assert.ok(socket)
    socket.destroy()
    assert.match(String((await dialError(dialer.connect())).code), /SELF_SIGNED/)
    assert.equal(codeOf((await dial(dialer, { rejectUnauthorized: true })).error), 'DEPTH_ZERO_SELF_SIGNED_CERT')
  }))

  it('rejectUnauthorized: true wins over a dialer that does not verify', () => withDialer({
    rejectUnauthorized: false, refreshInterval: 0,
  }, async (dialer) => {
    await at(plane, 0).misbehave({ certificate: 'self-signed' })
    ;(await dialer.connect()).destroy()
    assert.equal(codeOf((await dial(dialer, { rejectUnauthorized: true })).error), 'DEPTH_ZERO_SELF_SIGNED_CERT')
  }))

  it('an explicit servername is asked for, and must be proven', () => withDialer({}, async (dialer) => {
    const server = at(plane, 0)
    await server.resetStats()
    const { socket } = await dial(dialer, { servername: 'localhost' })
    assert.ok(socket)
    socket.destroy()
    assert.deepEqual((await server.stats()).servernames, ['localhost'])
    const { error } = await dial(dialer, { servername: 'other.example' })
    assert.equal(codeOf(error), 'ERR_TLS_CERT_ALTNAME_INVALID')
    assert.equal(dialer.snapshot().endpoints[0]?.failures, 0)
  }))

  it('the servername that https.Agent derives from the host, or from the Host header, is not an explicit one', () =>
    withDialer({}, async (dialer) => {
      const { host } = at(plane, 0)
      for (const request of [
        { host, servername: host }, { host, servername: '' },
        { host, servername: 'x.example', headers: { Host: 'x.example:1' } },
      ]) {
        const { socket } = await dial(dialer, request)
        assert.ok(socket)
        socket.destroy()
      }
    }))
})

describe('what it starts, and what it keeps alive', () => {
  it('nothing is started before the first dial: no handle, no timer, no file', async () => {
    const started: string[] = []
    const hook = createHook({ init: (_id, type) => { started.push(type) } }).enable()
    const dialer = new Multidialer({
      server: at(plane, 0).url, ca: plane.ca, token: plane.token, alternates: [nowhere],
    })
    dialer.snapshot()
    hook.disable()
    dialer.close()
    assert.deepEqual(started.filter((type) => /WRAP|Timeout|FSREQ|Immediate/.test(type)), [])
  })

  const given = (): object => ({ url: at(plane, 0).url, ca: plane.ca, token: plane.token })

  it('an idle dialer lets its process end, with a pooled socket, a monitor and a list', async () => {
    const program = startProgram(`
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
      const agent = agentOf(dialer)
      console.log(await get('/version', agent))
      await dialer.refresh()
      console.log('done')`, given(), { within: 20_000 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['apiserver-1', 'done'])
  })

  it('a process that awaits a dial does not end before it, however silent the dial', async () => {
    const program = startProgram(`
      const dialer = new Multidialer({
        server: given.url, ca: given.ca, dialTimeout: 700, connectSocket: () => new Promise(() => {}),
      })
      await dialer.connect().catch((error) => console.log(error.code))`, given(), { within: 20_000 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['ETIMEDOUT'])
  })

  it('a process that awaits a refresh does not end before it', async () => {
    await Promise.all(plane.servers.map((server) => server.misbehave({ heartbeat: 'silent' })))
    const program = startProgram(`
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token, heartbeatTimeout: 300 })
      await dialer.refresh().catch((error) => console.log(error.code))`, given(), { within: 20_000 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['ETIMEDOUT'])
  })

  it('is an EventEmitter that shows nothing of its insides', () => {
    using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token })
    assert.ok(dialer instanceof EventEmitter)
    assert.ok(!JSON.stringify(dialer).includes(plane.token))
  })

  it('lets a process end whose sockets were severed or closed in every way', async () => {
    const program = startProgram(`
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
      const socket = await dialer.connect()
      socket.destroy()
      const abort = new AbortController()
      const pending = dialer.connect({ signal: abort.signal }).catch((error) => console.log(error.code))
      abort.abort()
      await pending`, given(), { within: 20_000 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['ABORT_ERR'])
  })
})

