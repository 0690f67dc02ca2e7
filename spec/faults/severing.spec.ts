/** Severing reaches every holder of a socket, and no other socket: pools, requests, watches, raw and upgraded ones. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http2 from 'node:http2'
import { after, before, describe, it } from 'node:test'
import { at, Client, happens, rejection, until } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { withoutLeaks } from '../support/leaks.ts'

/** Ten times as fast as the default, with time enough for an answer on a machine that is busy. */
const FAST = { heartbeatInterval: 400, heartbeatTimeout: 600 }

type Coded = Error & { code?: string }

describe('severing', { concurrency: 1 }, () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 2, http2: true }) })
  after(() => plane.stop())

  it('H3 reaches pooled sockets, requests, watches, connect() sockets, HTTP/2 sessions and WebSockets',
    () => withoutLeaks(async () => {
    await using client = new Client(plane, FAST)
    const { dialer } = client
    const server = at(plane, 0)
    await dialer.refresh()

    const idle = await pooled(client, 3)
    const watch = await client.watch()
    const raw = await client.connect()
    const rawError = once(raw, 'error')
    const socket = await dialer.connect({ ALPNProtocols: ['h2'] })
    const session = http2.connect(server.url, { createConnection: () => socket })
    const stream = session.request({ ':path': '/tick?ms=100000', authorization: `Bearer ${plane.token}` })
    const streamError = once(stream, 'error')
    const sessionError = once(session, 'error')
    await once(stream, 'response')
    const upgrade = client.request('/api/v1/namespaces/default/pods/echo/exec?stdin=true&stdout=true', {
      headers: {
        connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'), 'sec-websocket-protocol': 'v5.channel.k8s.io',
      },
    }).end()
    const [, upgraded] = await once(upgrade, 'upgrade')
    const upgradedError = once(upgraded, 'error')
    const request = client.request('/slow?ms=100000')
    const requestError = once(request, 'error')
    request.end()
    await until('it has arrived', async () => (await server.stats()).byPath['/slow'] === 1)
    const held = dialer.snapshot().endpoints[0]?.sockets ?? 0
    // The upgrade, the watch and the request took sockets of the pool, or others were made for them.
    assert.ok(held >= 6, `${held} sockets`)
    const waiting = client.pooled.length

    await server.stop()
    const told = async (what: string, event: Promise<Coded[]>): Promise<void> => {
      const [error] = await happens(what, event)
      assert.ok(error, what)
      assert.equal(error.code, 'ECONNRESET', what)
      assert.match(error.message, new RegExp(`apiserver ${server.address} stopped answering`), what)
    }
    await Promise.all([
      told('the request', requestError),
      told('the watch', watch.ended.then((error) => (error === undefined ? [] : [error]))),
      told('the raw socket', rawError),
      told('the HTTP/2 session', sessionError),
      told('the WebSocket', upgradedError),
    ])
    const [streamReason] = await happens('the HTTP/2 stream', streamError)
    assert.ok(streamReason instanceof Error)
    assert.ok(idle.every((each) => each.destroyed), 'those in the pool')
    // Those in the pool may have been closed before, when it hesitated (H11).
    const { severed } = dialer.snapshot().counters
    assert.ok(severed >= held - waiting && severed <= held, `${severed} of ${held}, of which ${waiting} in the pool`)
    assert.equal(dialer.snapshot().endpoints[0]?.sockets, 0)
    assert.equal((await client.get('/version')).server, at(plane, 1).name)
    session.destroy()
    await server.cont()
  }))

  it('H3 nothing healthy: the sockets of another endpoint, of another client, ' +
    'and of those whose endpoint came back in time',
    () => withoutLeaks(async () => {
    await using client = new Client(plane, FAST)
    await using spread = new Client(plane, { ...FAST, balance: 'spread' })
    await client.dialer.refresh()
    await spread.dialer.refresh()
    const watches = new Map<string, { ended: Promise<Coded | undefined>; over: boolean; destroy(): void }>()
    while (watches.size < 2) {
      // A byte now and then: silent, it could not be told from one whose connection has gone deaf (F4).
      const watch = await spread.watch('/tick?ms=50')
      if (watches.has(watch.server)) {
        watch.destroy()
        continue
      }
      const entry = { ended: watch.ended, over: false, destroy: () => watch.destroy() }
      void watch.ended.then(() => { entry.over = true })
      watches.set(watch.server, entry)
    }
    const one = watches.get(at(plane, 0).name)
    const two = watches.get(at(plane, 1).name)
    assert.ok(one && two)
    // One heartbeat is missed, the second is answered.
    const { heartbeats } = spread.dialer.snapshot().counters
    await at(plane, 0).misbehave({ heartbeat: 'silent' })
    await until('it has been asked', () => spread.dialer.snapshot().counters.heartbeats > heartbeats + 1)
    await at(plane, 0).misbehave()
    await until('and asked again', () => spread.dialer.snapshot().counters.heartbeats > heartbeats + 8)
    await at(plane, 1).stop()
    const reason = await happens('the watch of the stopped one is severed', two.ended)
    assert.equal(reason?.code, 'ECONNRESET')
    assert.equal(one.over, false)
    assert.equal((await client.get('/version')).server, at(plane, 0).name)
    assert.equal(client.dialer.snapshot().counters.severed, 0)
    one.destroy()
    await at(plane, 1).cont()
  }))

  it('a socket that nobody listens to is severed without ending the process', () => withoutLeaks(async () => {
    await using client = new Client(plane, FAST)
    await client.dialer.refresh()
    const socket = await client.connect()
    assert.equal(socket.listenerCount('error'), 0)
    await at(plane, 0).stop()
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    await happens('it is severed', closed)
    assert.equal((await rejection(Promise.reject(socket.errored))).code, 'ECONNRESET')
    await at(plane, 0).cont()
  }))
})

/** That many sockets of the pool, idle. */
async function pooled(client: Client, count: number): Promise<readonly { destroyed: boolean }[]> {
  await Promise.all(Array.from({ length: count + 3 }, () => client.get('/version')))
  await until('they are in the pool', () => client.pooled.length >= count + 3)
  return client.pooled
}
