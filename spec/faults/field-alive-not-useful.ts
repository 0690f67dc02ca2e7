/**
 * Servers that live and are of little use: their etcd is lost, they limp, they are overloaded or locked up, or the path
 * to them loses what fills a packet. A small answer proves that a process lives, and nothing more.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Busy, goOn, severed, SLACK, watchesOn } from '../support/busy.ts'
import { rejection, timed, until } from '../support/client.ts'
import { lane, LONG, ONLY_LONG, type Row, type Scene } from '../support/lanes.ts'
import { Wires } from '../support/wires.ts'

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'

/** It is served by server 0, with watches open, and knows the others. */
async function busyAtHome(scene: Scene): Promise<Busy> {
  await scene.client.dialer.refresh()
  const busy = await Busy.start(scene.client)
  await busy.more(3)
  assert.equal(watchesOn(busy, scene.server(0)).length, busy.watches.length)
  return busy
}

const notHome = (scene: Scene) => (name: string): boolean => name !== scene.server(0).name

/** Three dials in a row are somebody else's, so many ms after `from` at the latest. */
async function newDialsElsewhere(scene: Scene, from: number, within: number): Promise<void> {
  let elsewhere = 0
  await until('new dials go elsewhere', async () => {
    await delay(100)
    const socket = await scene.client.connect()
    elsewhere = socket.remoteAddress === scene.server(0).host ? 0 : elsewhere + 1
    socket.destroy()
    return elsewhere === 3
  }, within + SLACK)
  const ms = performance.now() - from
  assert.ok(ms < within + SLACK, `${Math.round(ms)} ms, promised ${within}`)
}

const etcd: readonly Row[] = [
  ...(['hangs', 1_500] as const).map((how): Row => ({
    name: `H12 the server in use loses its etcd (what is not cached ${how === 'hangs' ? 'hangs' : 'fails late'}): ` +
      'a request within 10 s, a silent watch within 30 s; well again, the same client uses it',
    body: async (scene) => {
      const { client, server, plane } = scene
      const busy = await busyAtHome(scene)
      await server(0).misbehave({ etcd: how })
      const from = performance.now()
      await Promise.all([
        busy.served('served by another', from, 10_000, notHome(scene)),
        severed(busy.watches, from, 30_000),
      ])
      const longest = busy.longestSince(from)
      assert.ok(longest < 10_000 + SLACK, `a request took ${Math.round(longest)} ms`)
      assert.deepEqual(client.dialer.snapshot().endpoints.slice(1).map(({ failures }) => failures), [0])
      await server(0).misbehave()
      await plane.removeServer(server(1), { graceful: false })
      await busy.served('it is used again', performance.now(), 10_000, (name) => name === server(0).name)
      await plane.addServer()
    },
  })),
]

const etcdForAll: readonly Row[] = [
  {
    name: 'H12 etcd has no leader for 10 s, then is gone for all: nothing is severed, nobody is failed',
    body: async (scene) => {
      const { client, plane } = scene
      const busy = await busyAtHome(scene)
      await Promise.all(plane.servers.map((server) => server.misbehave({ etcd: 'hangs' })))
      await delay(LONG ? 40_000 : 16_000)
      goOn(busy.watches)
      const { counters, endpoints } = client.dialer.snapshot()
      assert.equal(counters.severed, 0)
      assert.deepEqual(client.failed, [])
      assert.deepEqual(endpoints.map(({ failures }) => failures), plane.servers.map(() => 0))
      const hanging = busy.outcomes.filter(({ error }) => error !== undefined)
      assert.deepEqual(hanging.map(({ error }) => error?.message), [])
      await Promise.all(plane.servers.map((server) => server.misbehave()))
      await busy.served('served again', performance.now(), 2_000, () => true)
    },
  },
]

const paths: readonly Row[] = [
  {
    name: 'H12 the path to the server in use loses full-size packets, small ones pass: a large list is severed, next',
    body: async (scene) => {
      const { plane, server } = scene
      const wires = new Wires()
      const client = scene.another({ connectSocket: wires.connectSocket })
      await client.dialer.refresh()
      const large = '/echo?' + 'x'.repeat(9_000)
      // As of a busy client, the last answer and the request that is lost are hardly apart.
      for (const last of [false, true]) {
        const { server: first } = await client.get(large)
        assert.equal(first, server(0).name)
        if (!last) await delay(500)
      }
      wires.cut(server(0).address, 'full packets')
      const { value, ms } = await timed(rejection(client.get(large)))
      assert.equal(value.code, 'ECONNRESET')
      assert.match(value.message, /stopped answering/)
      assert.ok(ms < 15_000 + SLACK, `${Math.round(ms)} ms`)
      const next = await client.get(large)
      assert.notEqual(next.server, server(0).name)
      for (const { address } of plane.servers) wires.mend(address)
    },
  },
]

const limping: readonly Row[] = [
  {
    name: 'the server in use limps, stopped 1.5 s of every 2 s: served by another, no watch is cut',
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      const over = await scene.server(0).limp()
      try {
        const from = performance.now()
        await busy.served('served by another', from, 2_000, notHome(scene))
        await delay(LONG ? 30_000 : 8_000)
        goOn(busy.watches)
        assert.equal(scene.client.dialer.snapshot().counters.severed, 0)
        const longest = busy.longestSince(from)
        assert.ok(longest < 2_000 + SLACK, `a request took ${Math.round(longest)} ms`)
      } finally {
        await over()
      }
    },
  },
  {
    // Nothing is dialled while it stands still: what was found out must outlast the late answers that end it.
    name: 'H11 it limps, and one thing is asked after the other: served by another after its first stop',
    body: async ({ client, server }) => {
      await client.dialer.refresh()
      await client.watch(`${CONFIGMAPS}?watch=1&resourceVersion=0`)
      await client.get(CONFIGMAPS)
      const over = await server(0).limp()
      try {
        const from = performance.now()
        let elsewhere = 0
        while (elsewhere < 3) {
          const { server: name } = await client.get(CONFIGMAPS)
          elsewhere = name === server(0).name ? 0 : elsewhere + 1
          await delay(20)
        }
        const ms = performance.now() - from
        assert.ok(ms < 2_000 + SLACK, `served by another after ${Math.round(ms)} ms`)
      } finally {
        await over()
      }
    },
  },
  {
    // The first stop may be over when it is known, as what is owed is asked for after 1 s: so it has two of them.
    name: 'H11 it limps when many of its connections wait in the pool: each of them is closed, and not waited on again',
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      await Promise.all(Array.from({ length: 8 }, () => scene.client.get(CONFIGMAPS)))
      const over = await scene.server(0).limp()
      try {
        await busy.served('served by another', performance.now(), 4_000, notHome(scene))
        goOn(busy.watches)
      } finally {
        await over()
      }
    },
  },
]

const overloaded: readonly Row[] = [
  {
    name: 'H9 its queues are full, answers come after 2.5 s: new dials go elsewhere, no watch is cut',
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      await scene.server(0).misbehave({ slow: 2_500 })
      await newDialsElsewhere(scene, performance.now(), 10_000)
      await delay(LONG ? 60_000 : 10_000)
      goOn(busy.watches)
      assert.equal(scene.client.dialer.snapshot().counters.severed, 0)
    },
  },
  {
    name: 'H9 handshakes are done, answers never come (a deadlock): new dials go elsewhere within 10 s, ' +
      'nothing is cut yet',
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      await scene.server(0).misbehave('mute')
      await newDialsElsewhere(scene, performance.now(), 10_000)
      goOn(busy.watches)
    },
  },
  {
    name: 'H9 handshakes are done, answers never come: what is open is severed after 30 s of silence',
    skip: ONLY_LONG,
    body: async (scene) => {
      const busy = await busyAtHome(scene)
      await scene.server(0).misbehave('mute')
      const from = performance.now()
      await delay(25_000)
      goOn(busy.watches)
      await severed(busy.watches, from, 45_000)
      const left = await scene.client.get(CONFIGMAPS)
      assert.notEqual(left.server, scene.server(0).name)
    },
  },
]

/** Its handshakes fill a packet, as most clusters' do, and its list of endpoints does not. */
const CHAINED = { servers: 2, chain: ['ca', 'other-ca'] }

export function aliveNotUseful(): void {
  for (const row of etcd) lane(row.name.includes('late') ? 'etcd fails late' : 'etcd hangs', { servers: 2 }, [row])
  lane('etcd lost by all', { servers: 2 }, etcdForAll)
  lane('full-size packets', CHAINED, paths)
  lane('a limp', { servers: 2 }, limping)
  lane('overload', { servers: 2 }, overloaded)
}
