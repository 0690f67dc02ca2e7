/**
 * The seed is not one apiserver: a balancer, a DNS name, or a way to one that changes under open connections. Whatever
 * dies behind it, or on the way, is found as if each address were one apiserver.
 */
import assert from 'node:assert/strict'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { Balancer, type BalancerOptions } from '../support/balancer.ts'
import { Busy, goOn, severed, SLACK, watchesOn } from '../support/busy.ts'
import { at, happens, until } from '../support/client.ts'
import type { ApiServer, ControlPlane } from '../support/control-plane.ts'
import { D, lane, LONG, type Row, type Scene } from '../support/lanes.ts'
import { Wires } from '../support/wires.ts'

/** A request in flight and a watch on what has died are over by then. ms */
const REQUEST = 6_000
const WATCH = 10_000

/** Behind a balancer, each apiserver's certificate names the balancer, too. */
const BEHIND = { servers: 3, certificate: 'every-ip' }

function balancerOf(plane: ControlPlane, options: BalancerOptions = {}): Promise<Balancer> {
  return Balancer.start(plane.servers.map(({ address }) => address), options)
}

/** The list has been learned; requests and watches are under way. */
async function busyAndLearned(scene: Scene, options: Partial<MultidialerOptions>): Promise<Busy> {
  const client = scene.another(options)
  const busy = await Busy.start(client)
  const listed = scene.plane.servers.length
  await until('the list is known', () =>
    client.dialer.snapshot().endpoints.filter((endpoint) => endpoint.listed).length === listed)
  await busy.more(5)
  return busy
}

const serverOf = (scene: Scene, name: string): ApiServer =>
  scene.plane.servers.find((server) => server.name === name) ?? assert.fail(`${name} is no server`)

/** The apiserver of its first watch is the one that is to die. */
function victimOf(scene: Scene, busy: Busy): ApiServer {
  return serverOf(scene, busy.watches[0]?.server ?? '')
}

/** What was open on the victim is cut in time, the rest goes on, requests are served by the others. */
async function assertMovedOn(busy: Busy, victim: ApiServer, from: number): Promise<void> {
  const concerned = watchesOn(busy, victim)
  const others = busy.watches.filter((watch) => !concerned.includes(watch))
  await Promise.all([
    severed(concerned, from, WATCH),
    busy.served('served by another', from, REQUEST, (name) => name !== victim.name),
  ])
  goOn(others)
  assertNoneHung(busy, from)
}

function assertNoneHung(busy: Busy, from: number): void {
  const longest = busy.longestSince(from - REQUEST)
  assert.ok(longest < REQUEST + SLACK, `a request took ${Math.round(longest)} ms, promised ${REQUEST}`)
}

/** Every watch is cut in time, and requests are served again. */
async function assertAllMovedOn(busy: Busy, from: number, watchWithin: number = WATCH): Promise<void> {
  await Promise.all([
    severed(busy.watches, from, watchWithin),
    busy.served('served again', from, REQUEST, () => true),
  ])
  assertNoneHung(busy, from)
}

// ---- a balancer, and a list to learn

const withAList: readonly Row[] = [
  {
    name: 'F1 F3 the seed is a balancer; one of its back ends is stopped: ' +
      'the watches were on the apiservers themselves',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      const busy = await busyAndLearned(scene, { server: balancer.url })
      const { sockets } = busy.client.dialer.snapshot().endpoints
        .find(({ address }) => address === balancer.address) ?? assert.fail('the seed is known')
      assert.equal(sockets, 0, 'nothing of the client\'s is on the front')
      await balancer.resetStats()
      const victim = victimOf(scene, busy)
      await victim.stop()
      await assertMovedOn(busy, victim, performance.now())
      // Only questions may have gone through the balancer since.
      const { accepted } = await balancer.stats()
      const { sockets: held } = busy.client.dialer.snapshot().endpoints
        .find(({ address }) => address === balancer.address) ?? assert.fail('the seed is known')
      assert.ok(held === 0 && accepted <= 3, `${held} sockets, ${accepted} connections through the balancer`)
      await victim.cont()
    },
  },
  {
    name: 'F1 new connections go to the apiservers themselves once they are known, also where balance is spread',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      for (const balance of ['sticky', 'spread'] as const) {
        const client = scene.another({ server: balancer.url, balance })
        await client.get('/version')
        await client.dialer.refresh()
        await client.get('/version')
        await balancer.resetStats()
        const { refreshes, heartbeats } = client.dialer.snapshot().counters
        for (let i = 0; i < 9; i += 1) await client.fresh('/version')
        const { counters } = client.dialer.snapshot()
        const questions = counters.refreshes - refreshes + counters.heartbeats - heartbeats
        const { accepted } = await balancer.stats()
        assert.ok(accepted <= questions, `${balance}: ${accepted} of 9 dials through the balancer`)
      }
    },
  },
  {
    name: 'the seed is a balancer; the back end in use is killed: next, at once',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      const busy = await busyAndLearned(scene, { server: balancer.url })
      const last = busy.answeredSince(0).at(-1) ?? assert.fail('something was answered')
      const victim = serverOf(scene, last.answer.server)
      const concerned = watchesOn(busy, victim)
      await victim.kill()
      const from = performance.now()
      const { server, ms } = await busy.client.fresh('/version')
      assert.notEqual(server, victim.name)
      assert.ok(ms < D + 50 + SLACK, `${Math.round(ms)} ms`)
      // What a dead process leaves open is reset by its host.
      for (const watch of concerned) await happens('its watch is over', watch.ended, REQUEST)
      await busy.served('served by another', from, 1_000, (name) => name !== victim.name)
    },
  },
  {
    name: 'F1 a balancer that keeps the client\'s side open when a back end is gone: the same',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane, { keepsClient: true })
      const busy = await busyAndLearned(scene, { server: balancer.url })
      const victim = victimOf(scene, busy)
      await victim.kill()
      await balancer.setBackends(scene.plane.servers.filter((server) => server !== victim)
        .map(({ address }) => address))
      const from = performance.now()
      await Promise.all([
        // They were on the apiserver itself, whose host resets them.
        Promise.all(watchesOn(busy, victim).map((watch) => happens('its watch ends', watch.ended))),
        busy.served('served again', from, REQUEST, (server) => server !== victim.name),
      ])
      assertNoneHung(busy, from)
    },
  },
  {
    name: 'the seed is a DNS name, the addresses behind it are replaced; with a list: the same',
    body: async (scene) => {
      const { plane } = scene
      const name = new Name(plane)
      await plane.setEndpoints({ addresses: plane.servers.map((_, index) => name.listedAs(index)) })
      const busy = await busyAndLearned(scene, { server: name.url, connectSocket: name.connectSocket })
      const victim = victimOf(scene, busy)
      const index = plane.servers.indexOf(victim)
      name.lead((index + 1) % plane.servers.length)
      const concerned = watchesOn(busy, victim)
      const left = plane.servers.flatMap((server, each) => (server === victim ? [] : [name.listedAs(each)]))
      await plane.setEndpoints({ addresses: left })
      await victim.stop()
      const from = performance.now()
      await Promise.all([
        severed(concerned, from, WATCH),
        busy.served('served by another', from, REQUEST, (server) => server !== victim.name),
      ])
      assertNoneHung(busy, from)
      await victim.cont()
    },
  },
]

/** Four of them, over three back ends of which one is dead: at least one of them meets it first. */
function firstConnection(fault: 'killed' | 'stopped'): Row {
  return {
    name: `F1 a new dialer, whose first connection the balancer sends to one that is ${fault}: served by another`,
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      const victim = scene.server(1)
      if (fault === 'killed') await victim.kill()
      else await victim.stop()
      let broken = 0
      for (let count = 0; count < 4; count += 1) {
        const client = scene.another({ server: balancer.url })
        const { server, status, ms } = await client.get('/version')
        broken += client.dialer.snapshot().counters.attemptsFailed.broken
        assert.equal(status, 200)
        assert.notEqual(server, victim.name)
        assert.ok(ms < 2 * 250 + 2 * D + SLACK, `${Math.round(ms)} ms`)
      }
      const { backends } = await balancer.stats()
      assert.ok(broken > 0 || (backends[victim.address]?.made ?? 0) > 0, 'nobody met it')
      if (fault === 'stopped') await victim.cont()
    },
  }
}

// ---- a balancer, and nothing to learn: its one address stands for all

/** It can learn no list. */
async function busyWithoutList(scene: Scene, options: Partial<MultidialerOptions>): Promise<Busy> {
  await scene.plane.forbid('endpoints', 'endpointslices')
  const busy = await Busy.start(scene.another(options), { watches: 6 })
  await busy.more(5)
  assert.deepEqual(busy.client.dialer.snapshot().endpoints.filter(({ listed }) => listed), [])
  return busy
}

const withoutAList: readonly Row[] = [
  {
    name: 'F1 H7 discovery is forbidden; the back end of the connection in use answers 503: another within 1 s',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      const busy = await busyWithoutList(scene, { server: balancer.url })
      const { answer: { server } } = busy.answeredSince(0).at(-1) ?? assert.fail('something was answered')
      await serverOf(scene, server).misbehave({ everything: 503 })
      await busy.served('served by another', performance.now(), 1_000, (name) => name !== server)
    },
  },
  {
    name: 'F4 discovery is forbidden; the balancer\'s old connections go deaf, new ones work: severed, next',
    body: async (scene) => {
      await using balancer = await balancerOf(scene.plane)
      const busy = await busyWithoutList(scene, { server: balancer.url })
      await balancer.deafen()
      const from = performance.now()
      await assertAllMovedOn(busy, from)
      // And a pooled connection of before serves nobody.
      await busy.more(10)
      assertNoneHung(busy, from)
    },
  },
  {
    name: 'F4 the seed is a DNS name, the addresses behind it are replaced; without a list: the same',
    body: async (scene) => {
      const name = new Name(scene.plane)
      const busy = await busyWithoutList(scene, { server: name.url, connectSocket: name.connectSocket })
      name.lead(1)
      await scene.server(0).stop()
      const from = performance.now()
      await assertAllMovedOn(busy, from)
      await scene.server(0).cont()
    },
  },
]

// ---- the way changes

const OUTAGE = LONG ? 20_000 : 6_000

const ways: readonly Row[] = [
  {
    name: 'F4 the client\'s own address changes under open connections: severed, next',
    body: async (scene) => {
      const wires = new Wires()
      const busy = await busyAndLearned(scene, { connectSocket: wires.connectSocket })
      wires.strand()
      await assertAllMovedOn(busy, performance.now(), 12_000)
    },
  },
  {
    name: `the client's link is down for ${OUTAGE / 1_000} s, then up: everything is served again`,
    body: async (scene) => {
      const wires = new Wires()
      const busy = await busyAndLearned(scene, { connectSocket: wires.connectSocket })
      const addresses = scene.plane.servers.map(({ address }) => address)
      for (const address of addresses) wires.cut(address)
      await new Promise((resolve) => setTimeout(resolve, OUTAGE))
      for (const address of addresses) wires.mend(address)
      const from = performance.now()
      await busy.served('served again', from, 3_000, () => true)
      const watch = await busy.client.watch()
      watch.destroy()
    },
  },
]

/**
 * A DNS name as a resolver would give it, one address behind it at a time, and private addresses for the list: a name
 * must not make a client dial its own machine, so the loopback addresses of the servers would be refused (R4).
 */
class Name {
  readonly url: string
  readonly #plane: ControlPlane
  #index = 0

  constructor(plane: ControlPlane) {
    this.#plane = plane
    // One of the names that every apiserver's certificate has.
    this.url = `https://kubernetes.default.svc.cluster.local:${at(plane, 0).port}`
  }

  /** 'host:port' of a server, as the list is to have it. */
  listedAs(index: number): string {
    return `10.77.0.${index + 1}:${at(this.#plane, index).port}`
  }

  lead(index: number): void {
    this.#index = index
  }

  readonly connectSocket: NonNullable<MultidialerOptions['connectSocket']> = (endpoint, options) => {
    const listed = /^10\.77\.0\.(\d+)$/.exec(endpoint.host)?.[1]
    const { host, port } = at(this.#plane, listed === undefined ? this.#index : Number(listed) - 1)
    return new Wires().connectSocket({ host, port }, options)
  }
}

export function fronts(): void {
  lane('a balancer, and a list to learn', BEHIND, [
    ...withAList, firstConnection('killed'), firstConnection('stopped'),
  ])
  lane('a balancer, and nothing to learn', BEHIND, withoutAList)
  lane('the way', { servers: 2 }, ways)
}
