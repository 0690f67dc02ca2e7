/**
 * A fleet in virtual time: the same `step` that a dialer runs, once for each of many clients, and servers that only
 * count. What a runtime would tell the core is told here, at times drawn from one seed.
 *
 * A client keeps one watch open. When a watch ends by itself its connection is used for the next one, unless it was
 * told to retire; when its connection is cut, or refused to a new one, the client dials again as client-go's reflector
 * does: at once, then after 0.8 s doubling to 25.6 s, each times 1 to 2. Now and then it makes a request on a new
 * connection. A watch is busy, so that no endpoint is silent and none is asked for that; see `silent`. Its socket
 * counts as idle where bytes are sampled: nothing is ever owed on it.
 */
import type { Address, Endpoint } from '../../lib/core/endpoint.ts'
import type { EndpointsBody } from '../../lib/core/state.ts'
import type { Settings } from '../../lib/core/state.ts'
import type { Effect, Event, State } from '../../lib/core/state.ts'
import type { Core } from '../support/dist.ts'
import { type Entry, EventQueue } from './event-queue.ts'

/** How long a watch lasts, in ms: half as long as those of client-go's informers, which take 5 to 10 minutes. */
const WATCH = { least: 120_000, most: 240_000 }
/** The mean time between two requests of a client, in ms. */
const REQUEST_EVERY = 300_000
const REQUEST_LASTS = 1_000
const BACKOFF = { first: 800, most: 25_600 }
/** ms: an answer, a refusal, and what a handshake takes at least; each up to twice as long. */
const TRIP = 1
const HANDSHAKE = 5
/** The pauses of the clients whose backoff has grown up are drawn from a window of this length, in ms. */
export const RETRY_WINDOW: number = BACKOFF.most

const START = 0
const TIMER = 1
const CONNECTED = 2
const REFUSED = 3
const ANSWERED = 4
const UNANSWERED = 5
const WATCH_ENDS = 6
const CUT = 7
const REQUEST = 8
const REQUEST_ENDS = 9
const RETRY = 10
/** Answered, on a connection that was made for the question. */
const ANSWERED_ANEW = 11

interface Server {
  readonly endpoint: Endpoint
  readonly address: Address
  up: boolean
  listed: boolean
  /** Watches on it now. */
  watches: number
  /** TLS handshakes of each second so far. */
  readonly handshakes: number[]
}

interface Client {
  state: State
  timerAt: number
  lastDial: number
  /** The dial that the watch waits for; 0 for none. */
  watchDial: number
  /** Its socket, and the server; 0 and -1 for none. */
  watch: number
  watchServer: number
  retired: boolean
  pause: number
  /** Sockets of requests: id and server. */
  readonly requests: Map<number, number>
  /** A bit for each server to which it has a monitor connection. */
  monitors: number
}

export interface FleetOptions {
  readonly clients: number
  readonly servers: number
  readonly settings: Settings
  readonly seed: number
  /** They start at random within this time, in ms. */
  readonly startWithin: number
  /** Watches carry nothing, so that endpoints are asked. */
  readonly silent: boolean
}

export class Fleet {
  readonly #core: Core
  readonly #queue = new EventQueue()
  readonly #clients: Client[] = []
  readonly servers: Server[] = []
  readonly #indexOf = new Map<string, number>()
  readonly #failure = { blame: 'endpoint', message: 'ECONNREFUSED' } as const
  #body: EndpointsBody = { kind: 'rejected', reason: 'none yet' }
  #random: number
  now = 0
  events = 0
  /** Requests for the list, of each second: heartbeats, whether they broke a silence or were a refresh. */
  readonly heartbeats: number[] = []
  /** Rounds of refreshing. Each is one request, or several where the first was not answered. */
  readonly refreshes: number[] = []
  readonly dials: { asked: number; failed: number } = { asked: 0, failed: 0 }

  constructor(core: Core, options: FleetOptions) {
    this.#core = core
    this.#random = options.seed >>> 0
    for (let index = 0; index < options.servers; index += 1) this.#makeServer()
    this.#relist()
    const [seed] = this.servers
    if (seed === undefined) throw new RangeError('a fleet needs a server')
    const settings = options.silent ? options.settings : { ...options.settings, heartbeatInterval: 0 }
    for (let index = 0; index < options.clients; index += 1) {
      const state = core.initialState(settings, [seed.endpoint], [], Math.floor(this.#draw() * 2 ** 32))
      this.#clients.push({
        state, timerAt: Infinity, lastDial: 0, watchDial: 0, watch: 0, watchServer: -1, retired: false, pause: 0,
        requests: new Map(), monitors: 0,
      })
      this.#queue.push(this.#draw() * options.startWithin, START, index)
    }
  }

  /** Lets virtual time pass up to there, in ms. */
  runUntil(until: number): void {
    const entry: Entry = { at: 0, kind: 0, client: 0, a: 0, b: 0 }
    while (this.#queue.pop(entry, until)) {
      this.now = entry.at
      const client = this.#clients[entry.client]
      if (client !== undefined) this.#happen(client, entry)
    }
    this.now = until
  }

  // ---- the servers

  /** Takes a server down: its connections are cut, and it refuses new ones. It stays listed. */
  down(index: number): void {
    const server = this.#server(index)
    server.up = false
    this.#clients.forEach((client, number) => {
      client.monitors &= ~(1 << index)
      if (client.watchServer === index) this.#queue.push(this.now + this.#upTo(TRIP), CUT, number, client.watch)
      for (const [socket, its] of client.requests) {
        if (its === index) this.#queue.push(this.now + this.#upTo(TRIP), CUT, number, socket)
      }
    })
  }

  up(index: number): void {
    this.#server(index).up = true
  }

  list(index: number, listed: boolean): void {
    this.#server(index).listed = listed
    this.#relist()
  }

  /** One more, and listed. */
  add(): void {
    this.#makeServer()
    this.#relist()
  }

  /** The watches of the fullest server over the mean of those that are up. */
  imbalance(): number {
    const loads = this.servers.filter(({ up }) => up).map(({ watches }) => watches)
    const mean = loads.reduce((total, load) => total + load, 0) / loads.length
    return Math.max(...loads) / mean
  }

  /** How many clients have their watch. */
  get watching(): number {
    return this.servers.reduce((total, { watches }) => total + watches, 0)
  }

  /** A number that two runs share if the same things happened in them. */
  get checksum(): number {
    let sum = this.events
    for (const { handshakes } of this.servers) {
      for (const each of handshakes) sum = (Math.imul(sum, 31) + each) >>> 0
    }
    return sum
  }

  #makeServer(): void {
    const index = this.servers.length
    const endpoint = { host: `10.0.0.${index + 1}`, port: 6443 }
    const address = `${endpoint.host}:6443`
    this.servers.push({ endpoint, address, up: true, listed: true, watches: 0, handshakes: [] })
    this.#indexOf.set(endpoint.host, index)
  }

  #relist(): void {
    const ready = this.servers.filter(({ listed }) => listed).map(({ endpoint }) => endpoint)
    this.#body = { kind: 'list', ready, unready: [], refused: [] }
  }

  #server(index: number): Server {
    const server = this.servers[index]
    if (server === undefined) throw new RangeError(`there is no server ${index}`)
    return server
  }

  // ---- the clients

  #happen(client: Client, { kind, client: number, a, b }: Entry): void {
    switch (kind) {
      case START:
        this.#queue.push(this.now + this.#exponential(REQUEST_EVERY), REQUEST, number)
        return this.#watch(client, number)
      case TIMER:
        return this.#wake(client, number)
      case CONNECTED:
        return this.#connected(client, number, a, b)
      case REFUSED:
        return this.#tell(client, number, { type: 'attemptFailed', dial: a, attempt: b, failure: this.#failure })
      case ANSWERED:
      case ANSWERED_ANEW:
        return this.#answered(client, number, a, b, kind === ANSWERED_ANEW)
      case UNANSWERED: {
        const { address } = this.#server(b)
        return this.#tell(client, number, { type: 'heartbeatFailed', address, heartbeat: a, failure: this.#failure })
      }
      case WATCH_ENDS:
        return this.#watchEnded(client, number, a)
      case CUT:
        return this.#cut(client, number, a)
      case REQUEST:
        this.#queue.push(this.now + this.#exponential(REQUEST_EVERY), REQUEST, number)
        return this.#dial(client, number)
      case REQUEST_ENDS:
        return this.#cut(client, number, a)
      case RETRY:
        return this.#watch(client, number)
    }
  }

  #watch(client: Client, number: number): void {
    client.watchDial = client.lastDial + 1
    this.#dial(client, number)
  }

  #dial(client: Client, number: number): void {
    client.lastDial += 1
    this.dials.asked += 1
    this.#tell(client, number, { type: 'dialRequested', dial: client.lastDial, own: false })
  }

  #connected(client: Client, number: number, dial: number, attempt: number): void {
    this.#tell(client, number, { type: 'attemptConnected', dial, attempt })
  }

  #answered(client: Client, number: number, heartbeat: number, index: number, fresh: boolean): void {
    const { address } = this.#server(index)
    this.#tell(client, number, { type: 'heartbeatAnswered', address, heartbeat, status: 200, fresh, body: this.#body })
  }

  #delivered(client: Client, number: number, dial: number, socket: number, address: Address): void {
    const index = this.servers.findIndex((server) => server.address === address)
    const server = this.#server(index)
    if (dial === client.watchDial) {
      client.watchDial = 0
      client.watch = socket
      client.watchServer = index
      client.retired = false
      client.pause = 0
      server.watches += 1
      this.#queue.push(this.now + this.#between(WATCH.least, WATCH.most), WATCH_ENDS, number, socket)
    } else {
      client.requests.set(socket, index)
      this.#queue.push(this.now + REQUEST_LASTS, REQUEST_ENDS, number, socket)
    }
    // It went down while the handshake was finishing.
    if (!server.up) this.#queue.push(this.now + TRIP, CUT, number, socket)
    this.#tell(client, number, { type: 'socketsSampled', readings: [{ socket, read: 1, written: 1, idle: true }] })
  }

  #watchEnded(client: Client, number: number, socket: number): void {
    if (client.watch !== socket) return
    if (client.retired) return this.#cut(client, number, socket)
    this.#queue.push(this.now + this.#between(WATCH.least, WATCH.most), WATCH_ENDS, number, socket)
  }

  #cut(client: Client, number: number, socket: number): void {
    const isWatch = client.watch === socket
    if (!isWatch && !client.requests.delete(socket)) return
    if (isWatch) {
      this.#server(client.watchServer).watches -= 1
      client.watch = 0
      client.watchServer = -1
    }
    this.#tell(client, number, { type: 'socketClosed', socket })
    if (isWatch) this.#watch(client, number)
  }

  // ---- what a runtime does

  #tell(client: Client, number: number, event: Event): void {
    const [state, effects] = this.#core.step(client.state, event, this.now)
    if (state.counters.refreshes > client.state.counters.refreshes) count(this.refreshes, this.now)
    client.state = state
    this.events += 1
    for (const effect of effects) this.#perform(client, number, effect)
    const at = this.#core.nextDeadline(client.state)?.at ?? Infinity
    if (at >= client.timerAt) return
    client.timerAt = at
    this.#queue.push(Math.max(at, this.now), TIMER, number)
  }

  #wake(client: Client, number: number): void {
    // An earlier timer was set after this one, and has set another since.
    if (client.timerAt > this.now) return
    client.timerAt = Infinity
    const at = this.#core.nextDeadline(client.state)?.at ?? Infinity
    if (at <= this.now) return this.#tell(client, number, { type: 'deadlineReached' })
    client.timerAt = at
    if (at !== Infinity) this.#queue.push(at, TIMER, number)
  }

  #perform(client: Client, number: number, effect: Effect): void {
    switch (effect.type) {
      case 'connect': {
        const index = this.#indexOf.get(effect.endpoint.host) ?? -1
        const { up } = this.#server(index)
        if (up) this.#shakeHands(index)
        const takes = this.#upTo(up ? HANDSHAKE : TRIP)
        return this.#queue.push(this.now + takes, up ? CONNECTED : REFUSED, number, effect.dial, effect.attempt)
      }
      case 'deliver':
        return this.#delivered(client, number, effect.dial, effect.attempt, effect.address)
      case 'reject': {
        this.dials.failed += 1
        if (effect.dial !== client.watchDial) return
        client.watchDial = 0
        client.pause = Math.min(BACKOFF.most, client.pause === 0 ? BACKOFF.first : 2 * client.pause)
        return this.#queue.push(this.now + this.#between(client.pause, 2 * client.pause), RETRY, number)
      }
      case 'heartbeat': {
        const index = this.#indexOf.get(effect.endpoint.host) ?? -1
        const { heartbeat } = effect
        count(this.heartbeats, this.now)
        if (!this.#server(index).up) {
          return this.#queue.push(this.now + this.#upTo(TRIP), UNANSWERED, number, heartbeat, index)
        }
        const kept = (client.monitors & (1 << index)) !== 0 && !effect.fresh
        if (!kept) this.#shakeHands(index)
        client.monitors |= 1 << index
        const takes = this.#upTo(kept ? TRIP : HANDSHAKE + TRIP)
        return this.#queue.push(this.now + takes, kept ? ANSWERED : ANSWERED_ANEW, number, heartbeat, index)
      }
      case 'closeMonitor':
        client.monitors &= ~(1 << this.servers.findIndex(({ address }) => address === effect.address))
        return
      case 'retire':
        if (effect.socket === client.watch) client.retired = true
        return
      case 'sever':
        return this.#queue.push(this.now, CUT, number, effect.socket)
      case 'destroy':
      case 'abandon':
      case 'settleRefresh':
      case 'save':
      case 'report':
        return
    }
  }

  #shakeHands(index: number): void {
    count(this.#server(index).handshakes, this.now)
  }

  // ---- chance

  #draw(): number {
    this.#random = (this.#random + 0x6d2b79f5) >>> 0
    let mixed = this.#random
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  #between(least: number, most: number): number {
    return least + this.#draw() * (most - least)
  }

  /** At least `base`, and less than twice as much. */
  #upTo(base: number): number {
    return base * (1 + this.#draw())
  }

  #exponential(mean: number): number {
    return -mean * Math.log(1 - this.#draw())
  }
}

/** The count of the fullest second between two times in ms. */
export function peak(counts: readonly number[], from: number, to: number): number {
  let most = 0
  for (let second = Math.floor(from / 1_000); second < to / 1_000; second += 1) {
    most = Math.max(most, counts[second] ?? 0)
  }
  return most
}

/** The mean count of a second between two times in ms. */
export function mean(counts: readonly number[], from: number, to: number): number {
  let total = 0
  for (let second = Math.floor(from / 1_000); second < to / 1_000; second += 1) total += counts[second] ?? 0
  return total / ((to - from) / 1_000)
}

function count(counts: number[], now: number): void {
  const second = Math.floor(now / 1_000)
  // An array with holes is slow to read.
  while (counts.length <= second) counts.push(0)
  counts[second] = (counts[second] ?? 0) + 1
}
