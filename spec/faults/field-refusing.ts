/**
 * Servers that fail by answering: 503 or 429 to everything, or on their way out. Nothing is cut, and callers are served
 * by a server that does answer; a caller's own 5xx is not an apiserver's.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { Busy, goOn, SLACK } from '../support/busy.ts'
import { type Client, until } from '../support/client.ts'
import type { ControlPlane } from '../support/control-plane.ts'
import { lane, learned, LONG, type Row, type Scene } from '../support/lanes.ts'

/** It is served by server 0, with watches open, and knows the others. */
async function busyAtHome(scene: Scene, client: Client = scene.client, every = 200): Promise<Busy> {
  await client.dialer.refresh()
  const busy = await Busy.start(client, { every })
  await busy.more(3)
  assert.deepEqual(new Set(busy.watches.map(({ server }) => server)), new Set([scene.server(0).name]))
  return busy
}

const notHome = (scene: Scene) => (name: string): boolean => name !== scene.server(0).name

/** Status lines over a socket of the caller's own: nobody tells the dialer what was answered. */
async function statusOver(socket: TLSSocket, { token }: ControlPlane): Promise<{ status: number; server: string }> {
  socket.write(`GET /version HTTP/1.1\r\nhost: kubernetes\r\nauthorization: Bearer ${token}\r\n\r\n`)
  const [head] = await once(socket, 'data')
  const [, status, server] = /^HTTP\/1\.1 (\d+)[^]*?x-served-by: (\S+)/.exec(String(head)) ?? []
  return { status: Number(status), server: server ?? '' }
}

const answering: readonly Row[] = [503, 429].flatMap((everything) => [false, true].map((close): Row => ({
  name: `H7 answers ${everything} to everything, ${close ? 'a new connection each' : 'connections kept'}: ` +
    'the agent\'s users are served by another within 1 s, no watch is cut',
  body: async (scene) => {
    const busy = await busyAtHome(scene)
    await scene.server(0).misbehave({ everything, close })
    await busy.served('served by another', performance.now(), 1_000, notHome(scene))
    assert.equal(scene.client.dialer.snapshot().endpoints[0]?.status, 'leaving')
    goOn(busy.watches)
    assert.equal(scene.client.dialer.snapshot().counters.severed, 0)
  },
})))

const raw: readonly Row[] = [
  {
    name: 'H7 answers 503 to everything: sockets of connect(), whose answers nobody passes on: another within 17 s',
    body: async (scene) => {
      const { client, plane, server } = scene
      await client.dialer.refresh()
      const kept = await client.connect()
      const first = await statusOver(kept, plane)
      assert.deepEqual(first, { status: 200, server: server(0).name })
      await server(0).misbehave({ everything: 503 })
      const from = performance.now()
      await until('a new dial is served by another', async () => {
        await delay(200)
        assert.equal((await statusOver(kept, plane)).status, 503)
        const socket = await client.connect()
        const { status } = await statusOver(socket, plane)
        socket.destroy()
        return status === 200
      }, 17_000 + SLACK)
      assert.ok(performance.now() - from < 17_000 + SLACK)
      kept.destroy()
    },
  },
  {
    name: 'H7 answers 503 to everything: a socket of connect() for each request, closed after it: another within 17 s',
    body: async ({ client, plane, server }) => {
      await client.dialer.refresh()
      const once = async (): Promise<{ status: number; server: string }> => {
        const socket = await client.connect()
        const answer = await statusOver(socket, plane)
        socket.destroy()
        return answer
      }
      assert.deepEqual(await once(), { status: 200, server: server(0).name })
      await server(0).misbehave({ everything: 503 })
      await until('a request is served by another', async () => {
        await delay(500)
        return (await once()).status === 200
      }, 17_000 + SLACK)
    },
  },
]

// ---- none answers well, then some do

const WAIT = LONG ? 20_000 : 4_000

const recovering: readonly Row[] = [
  {
    name: 'H8 all answer 503, then some recover, the one in use not: served by one that did',
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      await Promise.all(scene.plane.servers.map((server) => server.misbehave({ everything: 503 })))
      await delay(WAIT)
      const inUse = busy.answeredSince(0).at(-1)?.answer.server
      const recovered = scene.plane.servers.filter(({ name }) => name !== inUse)
      await Promise.all(recovered.map((server) => server.misbehave()))
      await busy.served('served by one that recovered', performance.now(), 10_000,
        (name) => recovered.some((server) => server.name === name))
      goOn(busy.watches)
    },
  },
  {
    name: 'H8 fallen back to a seed that answers 503; an apiserver comes back: served by it',
    body: async (scene) => {
      const { client, plane, server } = scene
      await client.dialer.refresh()
      await server(0).misbehave({ everything: 503 })
      await Promise.all(plane.servers.slice(1).map((other) => other.kill()))
      const busy = await Busy.start(client, { watches: 0 })
      await until('the seed refuses', () => busy.answeredSince(0).at(-1)?.answer.status === 503)
      await delay(WAIT)
      await server(1).restart()
      await busy.served('served by it', performance.now(), 10_000, (name) => name === server(1).name)
    },
  },
]

// ---- what is not refusing

const notRefusing: readonly Row[] = [
  {
    name: 'H7 a caller\'s own 5xx (a webhook, an aggregated API), 10 a second: nothing moves, ' +
      'one heartbeat an interval',
    body: async (scene) => {
      const { client, server } = scene
      const path = '/apis/metrics.k8s.io/v1beta1/nodes'
      await learned(client)
      await server(0).misbehave({ failing: path, status: 500 })
      const busy = await Busy.start(client, { every: 100, path })
      const { heartbeats } = client.dialer.snapshot().counters
      const from = performance.now()
      await busy.more(110)
      // At the earliest after 0.8 of an interval each (H1).
      const atMost = (performance.now() - from) / (0.8 * 5_000) + 1
      const { counters, endpoints, current } = client.dialer.snapshot()
      const asked = counters.heartbeats - heartbeats
      assert.ok(asked >= 1 && asked <= atMost, `${asked} heartbeats, ${atMost.toFixed(1)} at most`)
      assert.equal(current, server(0).address)
      assert.equal(endpoints[0]?.status, 'ready')
      assert.ok(busy.answeredSince(0).every(({ answer }) => answer.status === 500 && answer.server === server(0).name))
      assert.deepEqual([client.failovers, client.failed, counters.severed], [[], [], 0])
      goOn(busy.watches)
    },
  },
  ...[true, false].map((listed): Row => ({
    name: `H3 a graceful end, ${listed ? 'still listed' : 'no longer listed'}: the listener closes, ` +
      'a request of 12 s and a silent watch go on, new dials go elsewhere',
    body: async (scene) => {
      const { client, server, plane } = scene
      await client.dialer.refresh()
      const watch = await client.watch()
      const slow = client.get('/slow?ms=12000')
      await until('it has arrived', async () => (await server(0).stats()).byPath['/slow'] === 1)
      if (!listed) await plane.unlist(server(0))
      await server(0).misbehave('draining')
      const busy = await Busy.start(client, { watches: 1 })
      await busy.served('new dials go elsewhere', performance.now(), 1_000, notHome(scene))
      const { status, server: name } = await slow
      assert.deepEqual([status, name], [200, server(0).name])
      assert.equal(watch.server, server(0).name)
      goOn([watch, ...busy.watches])
      assert.equal(client.dialer.snapshot().counters.severed, 0)
    },
  })),
]

export function refusing(): void {
  lane('answers 503 or 429', { servers: 2 }, answering)
  lane('answers that nobody passes on', { servers: 2 }, raw)
  lane('recovery', { servers: 3 }, recovering)
  lane('a caller\'s own 5xx', { servers: 2 }, notRefusing.slice(0, 1))
  lane('a graceful end, still listed', { servers: 2 }, notRefusing.slice(1, 2))
  lane('a graceful end, no longer listed', { servers: 2 }, notRefusing.slice(2))
}
