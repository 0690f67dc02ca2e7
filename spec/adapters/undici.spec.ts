/**
 * The connector of undici, asked as undici asks, and by the undici that Node's own fetch is made of. The undici of npm,
 * in each of its versions, is in spec/clients.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { after, before, describe, it } from 'node:test'
import { MultidialError } from '../../lib/errors.ts'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { Multidialer, poolOf } from '../../lib/multidialer.ts'
import type { UndiciConnectOptions, UndiciConnector } from '../../lib/adapters/undici.ts'
import { undiciConnector } from '../../lib/adapters/undici.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { nodesDispatcher } from '../support/nodes-fetch.ts'
import { LocalServer, pem, response } from '../support/tls-servers.ts'

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start({ http2: true }) })
after(() => plane.stop())

function optionsOf(plane: ControlPlane): { server: string; ca: string; token: string } {
  return { server: plane.servers[0]?.url ?? '', ca: plane.ca, token: plane.token }
}

function wanted(plane: ControlPlane, more: Partial<UndiciConnectOptions> = {}): UndiciConnectOptions {
  const { host = '', port = 0 } = plane.servers[0] ?? {}
  return {
    hostname: host, host: `${host}:${port}`, protocol: 'https:', port: String(port), servername: null,
    localAddress: null, ...more,
  }
}

/** Calls the connector as undici does, and tells whether it was called back before it had returned. */
function connect(
  connector: UndiciConnector, options: UndiciConnectOptions,
): Promise<{ error: Error | null; socket: TLSSocket | null; atOnce: boolean }> {
  return new Promise((resolve, reject) => {
    let returned = false
    let calls = 0
    connector(options, (error, socket) => {
      calls += 1
      if (calls > 1) reject(new Error('called back twice'))
      if (socket !== null && !(socket instanceof TLSSocket)) return reject(new Error('not TLS'))
      resolve({ error, socket, atOnce: !returned })
    })
    returned = true
  })
}

describe('undiciConnector', () => {
  it('gives a connected, verified socket that speaks HTTP/1.1', async () => {
    using dialer = new Multidialer(optionsOf(plane))
    const { error, socket, atOnce } = await connect(undiciConnector(dialer), wanted(plane))
    assert.equal(error, null)
    assert.equal(socket?.authorized, true)
    assert.equal(socket.alpnProtocol, 'http/1.1')
    assert.equal(socket.listenerCount('error'), 0, 'undici has its own')
    assert.equal(atOnce, false)
    socket.destroy()
  })

  for (const [who, dispatcher, connector, protocol] of [
    ['where the dispatcher asks for it', true, undefined, 'h2'],
    ['where the connector was told to, as undici 6 does not say', undefined, true, 'h2'],
    ['not where the dispatcher says no', false, true, 'http/1.1'],
    ['not where nobody asks', undefined, undefined, 'http/1.1'],
  ] as const) {
    it(`offers HTTP/2 ${who}`, async () => {
      using dialer = new Multidialer(optionsOf(plane))
      const { socket } =
        await connect(undiciConnector(dialer, { allowH2: connector }), wanted(plane, { allowH2: dispatcher }))
      assert.equal(socket?.alpnProtocol, protocol)
      socket.destroy()
    })
  }

  it('demands the name that a request asks for', async () => {
    using dialer = new Multidialer(optionsOf(plane))
    const { error } = await connect(undiciConnector(dialer), wanted(plane, { servername: 'elsewhere.example' }))
    assert.ok(error instanceof MultidialError)
    assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID')
    const good = await connect(undiciConnector(dialer), wanted(plane, { servername: 'kubernetes.default.svc' }))
    assert.equal(good.error, null)
    good.socket?.destroy()
  })

  for (const [name, more, pattern] of [
    ['plain http', { protocol: 'http:' }, /must begin with 'https:'/],
    ['the tunnel of a proxy', { httpSocket: new Socket() }, /'connectSocket'/],
    ['a Unix socket', { socketPath: '/run/apiserver' }, /'connectSocket'/],
  ] as const) {
    it(`refuses ${name}, and says what to do`, async () => {
      using dialer = new Multidialer(optionsOf(plane))
      const { error, atOnce } = await connect(undiciConnector(dialer), wanted(plane, more))
      assert.match(error?.message ?? '', pattern)
      assert.equal(atOnce, false)
      assert.equal(dialer.snapshot().counters.dials, 0)
    })
  }

  it('refuses a host that is not of the cluster, and anything once the dialer is closed', async () => {
    const dialer = new Multidialer(optionsOf(plane))
    const connector = undiciConnector(dialer)
    const foreign = await connect(connector, wanted(plane, { hostname: 'example.com' }))
    assert.equal(foreign.error && 'code' in foreign.error && foreign.error.code, 'ERR_MULTIDIALER_FOREIGN_HOST')
    dialer.close()
    const closed = await connect(connector, wanted(plane))
    assert.equal(closed.error && 'code' in closed.error && closed.error.code, 'ERR_MULTIDIALER_CLOSED')
    assert.deepEqual([foreign.atOnce, closed.atOnce], [false, false])
  })

  it('ends a dial that is under way when the dialer is closed', async () => {
    const silent = await ControlPlane.start({ servers: 1 })
    try {
      await silent.servers[0]?.stop()
      const dialer = new Multidialer(optionsOf(silent))
      const connecting = connect(undiciConnector(dialer), wanted(silent))
      dialer.close()
      const { error } = await connecting
      assert.equal(error && 'code' in error && error.code, 'ERR_MULTIDIALER_CLOSED')
    } finally {
      await silent.stop()
    }
  })

  it('closes a socket at once that undici has no request for, when its endpoint leaves, and leaves one in use',
    async () => {
    const leaving = await ControlPlane.start({ servers: 2 })
    try {
      using dialer = new Multidialer({ ...optionsOf(leaving), refreshInterval: 0 })
      const connector = undiciConnector(dialer)
      const [idle, used] = [await connect(connector, wanted(leaving)), await connect(connector, wanted(leaving))]
      assert.ok(idle.socket !== null && used.socket !== null)
      idle.socket.unref()     // as undici does
      await dialer.refresh()
      const [first] = leaving.servers
      assert.ok(first !== undefined)
      await leaving.unlist(first)
      const closed = once(idle.socket, 'close')
      // The other one must be known to be ready before one can be left for it.
      while (!idle.socket.destroyed) await dialer.refresh()
      await closed
      assert.equal(used.socket.destroyed, false)
      const released = once(used.socket, 'close')
      used.socket.unref()
      await released
    } finally {
      await leaving.stop()
    }
  })

  const misuses: readonly (readonly [string, (agent: MultidialerAgent) => unknown, RegExp])[] = [
    ['a MultidialerAgent', (agent) => agent, /give its 'dialer'/],
    ['options', () => ({ server: 'https://127.0.0.1' }), /new Multidialer\(options\)/],
    ['a dispatcher', () => ({ dispatch: () => true }), /connect: undiciConnector\(dialer\)/],
    ['nothing', () => undefined, /it was given undefined/],
    ['what undici gives a connector, which it was not called to make',
      () => ({ hostname: 'h', protocol: 'https:' }), /itself used as a connector/],
  ]
  for (const [name, make, pattern] of misuses) {
    it(`is a TypeError that says what to do for ${name}`, () => {
      const agent = new MultidialerAgent(optionsOf(plane))
      try {
        const call = (): unknown => Reflect.apply(undiciConnector, undefined, [make(agent)])
        assert.throws(call, { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: pattern })
      } finally {
        agent.destroy()
      }
    })
  }
})

describe("undiciConnector under Node's own fetch", () => {
  type Connectable = new (options: { connect: UndiciConnector | object; allowH2?: boolean }) => {
    close(): Promise<void>
    destroy(): Promise<void>
  }

  /** The Agent of the undici that is part of Node: the class of the dispatcher that fetch uses by default. */
  function nodesAgent(): Connectable {
    const isAgent = (value: unknown): value is Connectable => typeof value === 'function' && value.name === 'Agent'
    const found: unknown = nodesDispatcher().constructor
    assert.ok(isAgent(found))
    return found
  }

  /** The type of Node's own fetch has a dispatcher of undici-types, which no class of this program is known to be. */
  function request(plane: ControlPlane, path: string, dispatcher: object, signal?: AbortSignal): Promise<Response> {
    const init: object = { dispatcher, headers: { authorization: `Bearer ${plane.token}` }, signal }
    return fetch(`${plane.servers[0]?.url}${path}`, init)
  }

  it('answers, and reuses its connections', async () => {
    using dialer = new Multidialer(optionsOf(plane))
    const agent = new (nodesAgent())({ connect: undiciConnector(dialer) })
    for (let i = 0; i < 5; i += 1) {
      assert.equal((await (await request(plane, '/version', agent)).json() as { major: string }).major, '1')
    }
    // Two, not one: the undici of Node 20 has a request not quite finished when its body has been read.
    assert.ok(dialer.snapshot().counters.dials <= 2,
      `${dialer.snapshot().counters.dials} connections for five requests`)
    await agent.close()
  })

  it('H7 tells the dialer of a 429 or 5xx, and of no other answer, before the caller has it', async (t) => {
    const server = await LocalServer.start('kubeadm-1', {}, (head) => response(Number(head.split(/[/ ]/)[2]), '{}'))
    t.after(() => server.stop())
    const url = `https://127.0.0.1:${server.port}`
    using dialer = new Multidialer({ server: url, ca: pem('ca.crt'), refreshInterval: 0 })
    const { mock } = t.mock.method(poolOf(dialer), 'answered')
    const dispatcher = new (nodesAgent())({ connect: undiciConnector(dialer) })
    const init: object = { dispatcher }
    for (const status of [200, 401, 404, 429, 500, 503]) {
      await (await fetch(`${url}/${status}`, init)).text()
    }
    const told = mock.calls.map(({ arguments: [socket, status] }) => [socket instanceof TLSSocket, status])
    assert.deepEqual(told, [[true, 429], [true, 500], [true, 503]])
    // Those of another dispatcher are not its business.
    const other: object = { dispatcher: new (nodesAgent())({ connect: { rejectUnauthorized: false } }) }
    await (await fetch(`${url}/503`, other)).text()
    assert.equal(mock.callCount(), 3)
    await dispatcher.destroy()
  })

  it('fails with the error of the dialer as its cause', async () => {
    const gone = await ControlPlane.start({ servers: 1 })
    using dialer = new Multidialer(optionsOf(gone))
    const url = gone.servers[0]?.url
    await gone.stop()
    const agent = new (nodesAgent())({ connect: undiciConnector(dialer) })
    const init: object = { dispatcher: agent }
    await assert.rejects(fetch(`${url}/version`, init), (error: Error) => {
      assert.ok(error instanceof TypeError && error.cause instanceof MultidialError)
      assert.equal(error.cause.code, 'ECONNREFUSED')
      return true
    })
    await agent.destroy()
  })

  it('fails with what to do when it is given a MultidialerAgent as its dispatcher', async () => {
    const agent = new MultidialerAgent(optionsOf(plane))
    try {
      await assert.rejects(request(plane, '/version', agent), (error: Error) =>
        /undiciConnector\(agent\.dialer\)/.test(`${error.message} ${String(error.cause)}`))
    } finally {
      agent.destroy()
    }
  })

  it('is aborted at once while its dial is pending', async () => {
    const slow = await ControlPlane.start({ servers: 1 })
    try {
      const [server] = slow.servers
      assert.ok(server !== undefined)
      await server.stop()
      using dialer = new Multidialer({ ...optionsOf(slow), attemptTimeout: 60_000, dialTimeout: 60_000 })
      const agent = new (nodesAgent())({ connect: undiciConnector(dialer) })
      const abort = new AbortController()
      const first = request(slow, '/version', agent, abort.signal)
      setImmediate(() => abort.abort())
      await assert.rejects(first, { name: 'AbortError' })
      await server.cont()
      const response = await request(slow, '/version', agent)
      assert.equal(response.status, 200)
      await response.text()
      await agent.close()
    } finally {
      await slow.stop()
    }
  })
})
