/** The pass-through: pipes to apiservers that are processes, what becomes of them in each fault, and every limit. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Socket } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { Forwarder, narrate } from '../../lib/cli/forwarder.ts'
import type { ForwarderOptions } from '../../lib/cli/forwarder.ts'
import type { Endpoint } from '../../lib/index.ts'
import { Multidialer } from '../../lib/multidialer.ts'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { throughProxy } from '../../lib/adapters/proxy.ts'
import { Balancer } from '../support/balancer.ts'
import { at } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { HTTPProxy } from '../support/http-proxy.ts'
import { withoutLeaks } from '../support/leaks.ts'

interface Given {
  readonly dialer: Multidialer
  readonly forwarder: Forwarder
  readonly listening: Endpoint
  readonly lines: string[]
  /** Resolves when a line has been said. */
  said(line: RegExp): Promise<void>
  /** The name of who answered, on a connection of the agent or one of its own. */
  get(agent?: https.Agent): Promise<string>
}

/** Faults are noticed sooner than by default, so that specs need not wait as long. */
const QUICK = { heartbeatInterval: 1_000, heartbeatTimeout: 500 }

async function forwarding(
  plane: ControlPlane,
  body: (given: Given) => Promise<void>,
  options: Partial<MultidialerOptions & Pick<ForwarderOptions, 'maxConnections' | 'patience'>> = {},
): Promise<void> {
  const { maxConnections = 100, patience, ...rest } = options
  await withoutLeaks(async () => {
    using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token, ...QUICK, ...rest })
    const lines: string[] = []
    const listeners = new Set<() => void>()
    const say = (line: string): void => {
      lines.push(line)
      for (const listener of listeners) listener()
    }
    narrate(dialer, say)
    const forwarder = new Forwarder({ dialer, listen: { host: '127.0.0.1', port: 0 }, maxConnections, patience, say })
    const listening = await forwarder.listen()
    try {
      await body({
        dialer, forwarder, listening, lines,
        said: (line) => new Promise((resolve) => {
          const look = (): void => {
            if (!lines.some((each) => line.test(each))) return
            listeners.delete(look)
            resolve()
          }
          listeners.add(look)
          look()
        }),
        get: (agent = new https.Agent()) => get(plane, listening, agent),
      })
    } finally {
      forwarder.end()
    }
  })
}

function get(plane: ControlPlane, { host, port }: Endpoint, agent: https.Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${plane.token}` }
    https.get({ host, port, path: '/version', servername: 'kubernetes', ca: plane.ca, agent, headers }, (response) => {
      response.resume().once('end', () => resolve(String(response.headers['x-served-by']))).once('error', reject)
    }).once('error', reject)
  })
}

/** A watch through the listener: who serves it, and how it ends. */
async function watch(plane: ControlPlane, { host, port }: Endpoint): Promise<{ server: string; ended: Promise<unknown>; stop: () => void }> {
  const request = https.get({
    host, port, path: '/api/v1/namespaces?watch=1', servername: 'kubernetes', ca: plane.ca, agent: false,
    headers: { authorization: `Bearer ${plane.token}` },
  })
  const [response]: IncomingMessage[] = await once(request, 'response')
  request.on('error', () => {})
  assert.ok(response !== undefined)
  const ended = new Promise<unknown>((resolve) => {
    response.resume().once('end', () => resolve('end')).once('error', resolve)
  })
  return { server: String(response.headers['x-served-by']), ended, stop: () => request.destroy() }
}

async function connected({ host, port }: Endpoint): Promise<Socket> {
  const socket = net.connect({ host, port, allowHalfOpen: true })
  await once(socket, 'connect')
  return socket
}

/** 'end', or the code of its error. */
function endOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let code = 'end'
    socket.on('error', (error) => { code = codeOf(error) }).once('close', () => resolve(code)).once('end', () => socket.end())
    socket.resume()
  })
}

/** A balancer that the certificates prove, too. */
async function frontOf(plane: ControlPlane): Promise<Balancer> {
  await Promise.all(plane.servers.map((server) => server.misbehave({ certificate: 'every-ip' })))
  return Balancer.start(plane.servers.map(({ address }) => address))
}

/** Resolves when it holds. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

const pipesOf = (dialer: Multidialer): number => dialer.snapshot().endpoints.reduce((sum, { sockets }) => sum + sockets, 0)

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : String(error))

describe('forward', () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 2 }) })
  after(() => plane.stop())
  afterEach(async () => {
    await Promise.all(plane.servers.map((server) => (server.state === 'stopped' ? server.cont() : undefined)))
    for (const server of plane.servers) if (server.state === 'gone') await server.restart()
    await Promise.all(plane.servers.map((server) => server.misbehave()))
    await plane.setEndpoints(undefined)
  })

  it('pipes programs to an apiserver, TLS end to end', () => forwarding(plane, async ({ get, lines, dialer }) => {
    assert.equal(await get(), at(plane, 0).name)
    assert.equal(await get(), at(plane, 0).name)
    assert.deepEqual(lines.filter((line) => !line.startsWith('list: ')), [])
    assert.equal(dialer.snapshot().current, at(plane, 0).address)
  }))

  it('H3 resets the pipes of one that fell silent, and says so in one line; new ones go to another', () => (
    forwarding(plane, async ({ listening, said, get, lines }) => {
      const watching = await watch(plane, listening)
      assert.equal(watching.server, at(plane, 0).name)
      await at(plane, 0).stop()
      assert.equal(codeOf(await watching.ended), 'ECONNRESET')
      assert.equal(await get(), at(plane, 1).name)
      await said(/^failover from /)
      assert.deepEqual(lines.filter((line) => line.startsWith('failover ')).length, 1)
    })
  ))

  it('D3, D4 a stopped one accepts, and no new pipe is made to it', () => forwarding(plane, async ({ get, dialer }) => {
    assert.equal(await get(), at(plane, 0).name)
    await at(plane, 0).stop()
    // What was proved a moment ago is believed no longer.
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    assert.equal(await get(), at(plane, 1).name)
    assert.equal(dialer.snapshot().current, at(plane, 1).address)
  }))

  it('a killed one: the next pipe goes to another at once', () => forwarding(plane, async ({ get, dialer }) => {
    await dialer.refresh()
    assert.equal(await get(), at(plane, 0).name)
    await at(plane, 0).kill()
    assert.equal(await get(), at(plane, 1).name)
  }))

  it('H5 the pipes of a leaving one finish, new ones go to another', () => forwarding(plane, async ({ listening, dialer, get }) => {
    const watching = await watch(plane, listening)
    let isOver = false
    void watching.ended.then(() => { isOver = true })
    await plane.unlist(at(plane, 0))
    const other = new Promise((resolve) => dialer.once('endpoints', resolve))
    await dialer.refresh()
    await other
    // Made ready by its own dial.
    while ((await get()) !== at(plane, 1).name) await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(isOver, false)
    watching.stop()
    await plane.list(at(plane, 0))
  }))

  it('H1 a pipe to nowhere counts against nobody; a certificate of no use gets no pipe', () => forwarding(plane, async ({ get, said }) => {
    await at(plane, 0).misbehave({ certificate: 'wrong-name' })
    assert.equal(await get().catch(codeOf), 'ECONNRESET')
    await said(/^connections are closed at once until an apiserver can be reached: .*proves none of/)
  }))

  it('I4 adds no credential to what programs send', () => forwarding(plane, async ({ listening, get }) => {
    assert.equal(await get(), at(plane, 0).name)
    const { host, port } = listening
    const anonymous = https.get({ host, port, path: '/api/v1/namespaces', servername: 'kubernetes', ca: plane.ca, agent: false })
    const [response]: IncomingMessage[] = await once(anonymous, 'response')
    assert.equal(response?.resume().statusCode, 401)
  }))

  it('F1 leaves a front for the apiservers behind it', async () => {
    await using balancer = await frontOf(plane)
    await forwarding(plane, async ({ get, dialer }) => {
      await dialer.refresh()
      await until(() => dialer.snapshot().endpoints.some(({ listed, status }) => listed && status === 'ready'))
      const { accepted } = await balancer.stats()
      await get()
      await get()
      assert.ok(plane.servers.some(({ address }) => address === dialer.snapshot().current))
      assert.equal((await balancer.stats()).accepted, accepted)
    }, { server: `https://${balancer.address}` })
  })

  it('F1, D2 falls back to a front where nobody listed can be reached', async () => {
    await using balancer = await frontOf(plane)
    await plane.setEndpoints({ addresses: ['127.0.0.8:1', '127.0.0.7:1'] })
    await forwarding(plane, async ({ get, dialer }) => {
      await dialer.refresh()
      assert.ok(plane.servers.map(({ name }) => name).includes(await get()))
      assert.equal(dialer.snapshot().current, balancer.address)
    }, { server: `https://${balancer.address}` })
  })

  it('goes through the HTTP proxy that it is told, in plain text or by TLS', async () => {
    for (const certificate of [undefined, 'name-localhost']) {
      const proxy = await HTTPProxy.start(certificate)
      try {
        const url = `${certificate === undefined ? 'http' : 'https'}://localhost:${proxy.port}`
        await forwarding(plane, async ({ get }) => {
          assert.equal(await get(), at(plane, 0).name)
          assert.ok(proxy.heads.every((head) => head.startsWith(`CONNECT ${at(plane, 0).address} `) || head.startsWith('CONNECT 127.')))
        }, { connectSocket: throughProxy(url, { ca: plane.ca }) })
      } finally {
        await proxy.stop()
      }
    }
  })

  it('a program that never reads holds up nobody else', () => forwarding(plane, async ({ listening, get, forwarder }) => {
    const { host, port } = listening
    const request = https.get({
      host, port, path: '/tick?ms=1', servername: 'kubernetes', ca: plane.ca, agent: false,
      headers: { authorization: `Bearer ${plane.token}` },
    })
    const [response]: IncomingMessage[] = await once(request, 'response')
    response?.pause()
    request.on('error', () => {})
    response?.on('error', () => {})
    for (let i = 0; i < 5; i += 1) assert.equal(await get(), at(plane, 0).name)
    request.destroy()
    await until(() => forwarder.connections === 0)
  }))

  it('no apiserver at all: accepts, closes at once, says so once, and that it is over', async () => {
    await Promise.all(plane.servers.map((server) => server.kill()))
    await forwarding(plane, async ({ get, said, lines }) => {
      for (let i = 0; i < 3; i += 1) assert.equal(await get().catch(codeOf), 'ECONNRESET')
      const complaints = lines.filter((line) => line.startsWith('connections are closed at once until'))
      assert.equal(complaints.length, 1)
      assert.match(complaints[0] ?? '', /ECONNREFUSED/)
      await at(plane, 0).restart()
      assert.equal(await get(), at(plane, 0).name)
      await said(/^an apiserver can be reached again$/)
    })
  })

  it('a program that says nothing is closed after a while, and no apiserver hears of it', () => (
    forwarding(plane, async ({ listening, forwarder }) => {
      await Promise.all(plane.servers.map((server) => server.resetStats()))
      const socket = await connected(listening)
      assert.equal(await endOf(socket), 'end')
      await until(() => forwarder.connections === 0)
      for (const server of plane.servers) assert.equal((await server.stats()).rawConnections, 0)
    }, { patience: 300 })
  ))

  it('a program that ends without a word costs nothing', () => forwarding(plane, async ({ listening, forwarder, dialer }) => {
    const socket = await connected(listening)
    socket.end()
    assert.equal(await endOf(socket), 'end')
    await until(() => forwarder.connections === 0)
    assert.equal(dialer.snapshot().counters.dials, 0)
  }))

  it('a program that resets in the middle takes its pipe with it, and nobody else', () => (
    forwarding(plane, async ({ listening, dialer, forwarder }) => {
      const stays = await watch(plane, listening)
      const socket = await connected(listening)
      socket.write('\u0016\u0003\u0001')
      await until(() => pipesOf(dialer) === 2)
      socket.resetAndDestroy()
      await until(() => forwarder.connections <= 1)
      await until(() => pipesOf(dialer) === 1)
      stays.stop()
    })
  ))

  it('a flood beyond the limit is closed at once, and told of once', () => forwarding(plane, async ({ listening, said, get, lines, forwarder }) => {
    const sockets = await Promise.all(Array.from({ length: 4 }, () => connected(listening)))
    await until(() => forwarder.connections === 4)
    const surplus = await Promise.all(Array.from({ length: 20 }, async () => endOf(await connected(listening))))
    assert.equal(surplus.length, 20)
    await said(/^4 connections are open, the most that may be/)
    assert.equal(lines.filter((line) => line.includes('the most that may be')).length, 1)
    for (const socket of sockets) socket.destroy()
    await until(() => forwarder.connections <= 0)
    assert.equal(await get(), at(plane, 0).name)
  }, { maxConnections: 4 }))

  it('drains: those that have said nothing are closed, pipes may end, what has not ended in time is reset', () => (
    forwarding(plane, async ({ listening, forwarder }) => {
      const [silent, watching] = await Promise.all([connected(listening), watch(plane, listening)])
      const [ended, begun] = [endOf(silent), performance.now()]
      await forwarder.drain(500)
      assert.ok(performance.now() - begun >= 490)
      assert.equal(await ended, 'end')
      assert.equal(codeOf(await watching.ended), 'ECONNRESET')
      await assert.rejects(connected(listening), { code: 'ECONNREFUSED' })
    })
  ))

  it('drains at once where its pipes end', () => forwarding(plane, async ({ listening, forwarder }) => {
    const watching = await watch(plane, listening)
    const drained = forwarder.drain(60_000)
    watching.stop()
    await drained
  }))
})
