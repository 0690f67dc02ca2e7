/**
 * Faults in random sequences, on several control planes at once, each with one server that stays healthy and with a
 * balancer, the seed of some clients, whose open connections go deaf now and then. Whatever happens: every new dial
 * succeeds in time, no request hangs, nothing healthy is severed, nothing is left behind.
 *
 * The faults follow from the seed, which is printed, as is how many of the 200 sequences are played: MULTIDIALER_SEED=N
 * plays the same again, MULTIDIALER_SEQUENCES=N that many.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { describe, it } from 'node:test'
import { Balancer } from '../support/balancer.ts'
import { at, Client, until } from '../support/client.ts'
import { ControlPlane, type ApiServer, type Misbehaviour } from '../support/control-plane.ts'
import { withoutLeaks } from '../support/leaks.ts'
import { Wires } from '../support/wires.ts'
import { type Random, randomOf } from '../support/random.ts'

const SEED = Number(process.env['MULTIDIALER_SEED'] ?? randomInt(2 ** 31))
/** All of them where CI=true says so: elsewhere somebody waits for them. */
const ALL = 200
const SEQUENCES = Number(process.env['MULTIDIALER_SEQUENCES'] ?? (process.env['CI'] === 'true' ? ALL : 120))
const LANES = 4
const CLIENTS = 3

/** Shorter than by default, with time enough for an answer where the machine is busy. */
const OPTIONS = { heartbeatInterval: 500, heartbeatTimeout: 1_000, refreshInterval: 2_000 }
const ATTEMPT_DELAY = 250
/** Two servers that are silent, a handshake, and what a busy machine adds. ms */
const DIAL_WITHIN = 2 * ATTEMPT_DELAY + 100 + 2_000
const REQUEST_WITHIN = 10_000
/** Long enough for a silent server's sockets to be severed. ms */
const LINGERS = 3_000


/** What goes wrong, and how it is made good. */
interface Fault {
  readonly name: string
  readonly weight: number
  readonly begin: (server: ApiServer, wires: Wires, plane: ControlPlane) => Promise<void>
  readonly end: (server: ApiServer, wires: Wires, plane: ControlPlane) => Promise<void>
}

const misbehaving = (name: string, how: Misbehaviour, weight = 2): Fault => ({
  name, weight, begin: (server) => server.misbehave(how), end: (server) => server.misbehave(),
})

const FAULTS: readonly Fault[] = [
  { name: 'stopped', weight: 6, begin: (server) => server.stop(), end: (server) => server.cont() },
  { name: 'killed', weight: 1, begin: (server) => server.kill(), end: (server) => server.restart() },
  {
    name: 'cut', weight: 6,
    begin: async (server, wires) => wires.cut(server.address),
    end: async (server, wires) => wires.mend(server.address),
  },
  {
    name: 'replies lost', weight: 4,
    begin: async (server, wires) => wires.cut(server.address, 'replies'),
    end: async (server, wires) => wires.mend(server.address),
  },
  {
    name: 'unlisted', weight: 4,
    begin: (server, _, plane) => plane.unlist(server),
    end: (server, _, plane) => plane.list(server),
  },
  misbehaving('deaf', 'deaf', 4),
  misbehaving('hanging in handshakes', 'hang-handshake'),
  misbehaving('resetting handshakes', 'reset-handshake'),
  misbehaving('closing in handshakes', 'fin-handshake'),
  misbehaving('alerting', 'alert', 1),
  misbehaving('plain', 'plain-http', 1),
  misbehaving('half broken', 'reset-half'),
  misbehaving('half broken in requests', 'reset-half-requests'),
  misbehaving('somebody else', { certificate: 'wrong-name' }),
  misbehaving('silent to heartbeats', { heartbeat: 'silent' }, 4),
  misbehaving('overloaded', { heartbeat: 503 }, 3),
  misbehaving('refusing everything', { everything: 503 }, 3),
  misbehaving('refusing everything, connections closed', { everything: 429, close: true }, 2),
  misbehaving('overloaded, answers late', { slow: 1_500 }, 3),
  misbehaving('locked up', 'mute', 4),
  misbehaving('closing after handshakes', 'close-after-handshake'),
  misbehaving('going, in its own time', 'draining'),
  misbehaving('without its etcd', { etcd: 'hangs' }),
  misbehaving('slow', { latency: 60 }, 3),
]

/** One plane and its sequences. */
class Lane {
  readonly #plane: ControlPlane
  readonly #balancer: Balancer
  readonly #random: Random
  readonly #healthy: ApiServer
  readonly #wires = new Wires()
  readonly #following: Promise<void>[] = []
  /** What is wrong now. A fault that lingers, one at a time, goes on in the sequences that follow. */
  readonly #begun = new Map<ApiServer, Fault>()
  #lingers = false
  readonly log: string[] = []
  dials = 0
  requests = 0
  severed = 0
  fronted = 0

  constructor(plane: ControlPlane, balancer: Balancer, random: Random) {
    this.#plane = plane
    this.#balancer = balancer
    this.#random = random
    this.#healthy = at(plane, random(plane.servers.length))
  }

  async play(sequences: number): Promise<void> {
    try {
      for (let i = 0; i < sequences; i += 1) await this.#sequence(i)
    } finally {
      await Promise.allSettled(this.#following)
    }
    await Promise.all(this.#following)
  }

  /** It goes on beside what comes next; how it ended is looked at in the end. */
  #beside(going: Promise<void>): void {
    going.catch(() => undefined)
    this.#following.push(going)
  }

  async #sequence(number: number): Promise<void> {
    const words: string[] = []
    this.log.push(`${number}:`)
    // Each is at home on another server, as far as there are good ones: most of them are in for a fault.
    const homes = this.#plane.servers.filter((server) => !this.#begun.has(server))
    // One of them has a balancer for its seed, which sends nobody to a server that is known to be broken.
    await this.#balancer.setBackends(homes.map(({ address }) => address))
    const clients = Array.from({ length: CLIENTS }, (_, index) => new Client(this.#plane, {
      ...OPTIONS, server: (index === 0 ? this.#balancer : homes[index % homes.length] ?? this.#healthy).url,
      connectSocket: this.#wires.connectSocket, balance: this.#random(3) === 0 ? 'spread' : 'sticky',
    }))
    await Promise.all(clients.map((client) => client.dialer.refresh()))
    const held = await Promise.all(clients.map((client) => this.#hold(client)))
    const [behind] = clients
    if (behind !== undefined && this.#isOnFront(behind)) {
      // None of the listed ones answered in time (F3). What stays on a balancer shares the fate of what is behind it.
      this.fronted += 1
      clients.shift()
      const [watches = []] = held.splice(0, 1)
      await Promise.allSettled([behind.close(), ...watches])
    }
    const brief: ApiServer[] = []
    if (this.#random(3) === 0) {
      words.push('the balancer goes deaf')
      await this.#balancer.deafen()
    }
    for (let step = 1 + this.#random(3); step > 0; step -= 1) {
      const victims = this.#plane.servers.filter((server) => server !== this.#healthy && !this.#begun.has(server))
      const victim = victims[this.#random(victims.length)]
      if (victim === undefined) break
      const fault = this.#draw()
      this.#begun.set(victim, fault)
      words.push(`${victim.name} ${fault.name}`)
      await fault.begin(victim, this.#wires, this.#plane)
      if (!this.#lingers && this.#random(3) === 0) this.#beside(this.#linger(victim, LINGERS + this.#random(1_000)))
      else brief.push(victim)
      await Promise.all(clients.map((client) => this.#use(client)))
      await new Promise((resolve) => setTimeout(resolve, this.#random(150)))
    }
    for (const victim of brief) await this.#mend(victim)
    this.log.push(words.join(', '))
    for (const [index, client] of clients.entries()) {
      this.#beside(this.#follow(client, held[index] ?? [], words.join(', ')))
    }
  }

  async #linger(victim: ApiServer, ms: number): Promise<void> {
    this.#lingers = true
    await new Promise((resolve) => setTimeout(resolve, ms))
    await this.#mend(victim)
    this.#lingers = false
  }

  async #mend(victim: ApiServer): Promise<void> {
    await this.#begun.get(victim)?.end(victim, this.#wires, this.#plane)
    this.#begun.delete(victim)
  }

  #draw(): Fault {
    let left = this.#random(FAULTS.reduce((sum, { weight }) => sum + weight, 0))
    return FAULTS.find(({ weight }) => (left -= weight) < 0) ?? assert.fail('a fault is drawn')
  }

  /** What is under way when the fault comes: a watch that says something or nothing, and a pooled socket. */
  async #hold(client: Client): Promise<Promise<void>[]> {
    await this.#request(client)
    const path = this.#random(2) === 0 ? '/tick?ms=100&count=20' : '/tick?ms=5000&count=1'
    try {
      const watch = await client.watch(path)
      return [watch.ended.then((error) => this.#ended(error))]
    } catch (error) {
      // A fault that lingers from the sequence before may have met it.
      this.#ended(error)
      return []
    }
  }

  #isOnFront(client: Client): boolean {
    const { endpoints } = client.dialer.snapshot()
    return endpoints.some(({ address, sockets }) => address === this.#balancer.address && sockets > 0)
  }

  /**
   * Every new dial succeeds in time; a request may fail with the connection that it was written to, and no other way.
   */
  async #use(client: Client): Promise<void> {
    const from = performance.now()
    const socket = await client.connect()
    const ms = performance.now() - from
    socket.on('error', () => undefined)
    socket.destroy()
    this.dials += 1
    assert.ok(ms < DIAL_WITHIN, `a dial took ${Math.round(ms)} ms`)
    // Not awaited: it may be written to a socket of a server that is gone.
    this.#beside(this.#request(client))
  }

  async #request(client: Client): Promise<void> {
    this.requests += 1
    const from = performance.now()
    const error: unknown = await client.get('/version').then(() => undefined, (reason: unknown) => reason)
    const ms = performance.now() - from
    assert.ok(ms < REQUEST_WITHIN, `a request hung for ${Math.round(ms)} ms`)
    if (error !== undefined) this.#ended(error)
  }

  #ended(error: unknown): void {
    if (error === undefined) return
    assert.ok(error instanceof Error && 'code' in error, String(error))
    assert.ok(error.code === 'ECONNRESET' || error.code === 'EPIPE', String(error))
    if (!error.message.includes('stopped answering')) return
    this.severed += 1
    assert.ok(!error.message.includes(this.#healthy.address), `healthy, and severed: ${error.message}`)
  }

  /** Everything of it ends in time; then it is closed. */
  async #follow(client: Client, held: readonly Promise<unknown>[], where: string): Promise<void> {
    let ended = false
    const all = Promise.all(held).then(() => { ended = true })
    await until(`all is over after: ${where}`, () => ended, REQUEST_WITHIN + 5_000)
    await all
    await this.#use(client)
    await until(`all requests have ended after: ${where}`, () => client.busy === 0, REQUEST_WITHIN)
    await client.close()
  }
}

const TITLE = `random faults, MULTIDIALER_SEED=${SEED}, ${SEQUENCES} of ${ALL} sequences (CI=true plays all)`

describe(TITLE, { concurrency: LANES }, () => {
  for (let lane = 0; lane < LANES; lane += 1) {
    const sequences = Math.floor((SEQUENCES + lane) / LANES)
    it(`dials succeed in time, nothing hangs, nothing healthy is severed: ${sequences} sequences`, async (t) => {
      const plane = await ControlPlane.start({ servers: 3, certificate: 'every-ip' })
      const balancer = await Balancer.start([])
      try {
        const played = new Lane(plane, balancer, randomOf(SEED + lane))
        try {
          await withoutLeaks(() => played.play(sequences))
        } catch (error) {
          t.diagnostic(`MULTIDIALER_SEED=${SEED}, lane ${lane}: ${played.log.join(' ')}`)
          throw error
        }
        const { dials, requests, severed, fronted } = played
        t.diagnostic(`${sequences} sequences, ${dials} dials, ${requests} requests, ${severed} severed, ` +
          `${fronted} of ${sequences} clients of a balancer left there`)
        for (const server of plane.servers) {
          await until(`${server.name} has no connection`, async () => (await server.stats()).rawOpen === 0)
        }
      } finally {
        await balancer.stop()
        await plane.stop()
      }
    })
  }
})
