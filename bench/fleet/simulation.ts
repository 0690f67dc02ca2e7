/**
 * A fleet in virtual time: the same `step` that a dialer runs, once for each of many clients. What a runtime would tell
 * the core is told here, at times drawn from one seed; what a server does is server.ts's, what a client wants and holds
 * is client.ts's.
 *
 * The bytes of sockets are not looked at every 250 ms, as a runtime does, but just before any deadline of the core and
 * 250 ms after anything was written: between those, a look would tell the core nothing new.
 */
import type { Address, Endpoint } from '../../lib/core/endpoint.ts'
import type { Effect, EndpointsBody, Event, Failure, FailureKind, Settings } from '../../lib/core/state.ts'
import type { Core } from '../support/dist.ts'
import { Chance } from './chance.ts'
import { Client, type Held, type Workload } from './client.ts'
import { count } from './counts.ts'
import { type Entry, EventQueue } from './event-queue.ts'
import { SimulatedServer, WORK } from './server.ts'

/** How long a watch lasts, in ms: half as long as those of client-go's informers, which take 5 to 10 minutes. */
const WATCH = { least: 120_000, most: 240_000 }
/** The mean time between two requests of a client on connections of their own, in ms, and how long each is open. */
const REQUEST_EVERY = 300_000
const REQUEST_LASTS = 1_000
/** A caller gives up a request that is not answered, in ms. */
const CALLER_WAITS = 10_000
/** ms between two requests on a connection that is kept. */
const KEPT_EVERY = 2_000
/** client-go's reflector: 0.8 s doubling to 25.6 s, each times 1 to 2. */
const BACKOFF = { first: 800, most: 25_600 }
/** ms: an answer, a refusal, and what a handshake takes at least; each up to twice as long. */
const TRIP = 1
const HANDSHAKE = 5
const SAMPLE_AFTER = 250
/** The pauses of the clients whose backoff has grown up are drawn from a window of this length, in ms. */
export const RETRY_WINDOW: number = BACKOFF.most

const START = 0
const TIMER = 1
const CONNECTED = 2
const ATTEMPT_FAILED = 3
const QUESTION_CONNECTED = 4
const QUESTION_ANSWERED = 5
const QUESTION_FAILED = 6
const WATCH_ENDS = 7
const CUT = 8
const SAMPLE = 9
const REQUEST = 10
const REQUEST_ENDS = 11
const RETRY = 12
const KEPT_REQUEST = 13

/** The balancer that clients may have for a seed, and its place beside those of the servers. */
const FRONT: Endpoint = { host: '10.0.1.1', port: 6443 }
const FRONT_PLACE = 63
const PLACES = 64
/** Later than anything that happens, and not Infinity: a socket is in use. */
const NOT_NOW = Number.MAX_VALUE

export interface FleetOptions {
  readonly clients: number
  readonly servers: number
  readonly settings: Settings
  readonly seed: number
  /** They start at random within this time, in ms. */
  readonly startWithin: number
  readonly workload: Workload
  /** Their seed is a balancer, and not the first server. */
  readonly isFronted?: boolean
  /** Hears of each question. */
  readonly onQuestion?: (client: number, server: number, isDeep: boolean) => void
}

interface Hung {
  readonly server: number
  readonly client: number
  readonly question: number
  readonly place: number
}

export class Fleet {
  readonly #core: Core
  readonly #options: FleetOptions
  readonly #queue = new EventQueue()
  readonly #clients: Client[] = []
  readonly #chance: Chance
  readonly servers: SimulatedServer[] = []
  #body: EndpointsBody = { kind: 'rejected', reason: 'none yet' }
  #turn = 0
  /** Questions that wait for an etcd. Their clients may wait no longer. */
  #hung: Hung[] = []
  now = 0
  events = 0
  /** Rounds of refreshing, of each second. Each is one question, or several where the first was not answered. */
  readonly refreshes: number[] = []
  readonly dials: { asked: number; failed: number } = { asked: 0, failed: 0 }
  /** Sockets that the core had cut. */
  severed = 0

  constructor(core: Core, options: FleetOptions) {
    this.#core = core
    this.#options = options
    this.#chance = new Chance(options.seed)
    for (let index = 0; index < options.servers; index += 1) this.servers.push(new SimulatedServer(index))
    this.#relist()
    const seed = options.isFronted === true ? FRONT : this.#server(0).endpoint
    for (let index = 0; index < options.clients; index += 1) {
      const state = core.initialState(options.settings, [seed], [], Math.floor(this.#chance.draw() * 2 ** 32))
      this.#clients.push(new Client(state))
      this.#queue.push(this.#chance.draw() * options.startWithin, START, index)
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
    this.#server(index).up = false
    this.#clients.forEach((client, number) => {
      client.forgetKept(index)
      for (const [socket, held] of client.sockets) {
        if (held.server === index) this.#queue.push(this.now + this.#chance.upTo(TRIP), CUT, number, socket)
      }
    })
  }

  up(index: number): void {
    this.#server(index).up = true
  }

  /** A server's etcd is back: the questions that hung for it are answered. */
  regainEtcd(index: number): void {
    this.#server(index).regainEtcd(this.now)
    const hung = this.#hung
    this.#hung = hung.filter(({ server }) => server !== index)
    for (const { server, client, question, place } of hung) {
      if (server !== index) continue
      this.#queue.push(this.now + this.#chance.upTo(TRIP), QUESTION_ANSWERED, client, question, index * PLACES + place)
    }
  }

  list(index: number, listed: boolean): void {
    this.#server(index).listed = listed
    this.#relist()
  }

  /** One more, and listed. */
  add(): void {
    this.servers.push(new SimulatedServer(this.servers.length))
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
    for (const { handshakes, questions } of this.servers) {
      for (const each of [...handshakes, ...questions]) sum = (Math.imul(sum, 31) + each) >>> 0
    }
    return sum
  }

  #relist(): void {
    const ready = this.servers.filter(({ listed }) => listed).map(({ endpoint }) => endpoint)
    this.#body = { kind: 'list', ready, unready: [], refused: [] }
  }

  #server(index: number): SimulatedServer {
    const server = this.servers[index]
    if (server === undefined) throw new RangeError(`there is no server ${index}`)
    return server
  }

  /** Finds the server that a connection to this host goes to: -1 where none takes it. A balancer takes them in turn. */
  #routeTo(host: string): number {
    if (host !== FRONT.host) {
      const index = this.servers.findIndex(({ endpoint }) => endpoint.host === host)
      return index >= 0 && this.#server(index).up ? index : -1
    }
    for (let tried = 0; tried < this.servers.length; tried += 1) {
      this.#turn = (this.#turn + 1) % this.servers.length
      if (this.#server(this.#turn).up) return this.#turn
    }
    return -1
  }

  #placeOf(host: string): number {
    return host === FRONT.host ? FRONT_PLACE : this.servers.findIndex(({ endpoint }) => endpoint.host === host)
  }

  #addressAt(place: number): Address {
    return place === FRONT_PLACE ? `${FRONT.host}:${FRONT.port}` : this.#server(place).address
  }

  // ---- what happens

  #happen(client: Client, { kind, client: number, a, b }: Entry): void {
    switch (kind) {
      case START:
        return this.#start(client, number)
      case TIMER:
        return this.#wake(client, number)
      case CONNECTED:
        return this.#tell(client, number, { type: 'attemptConnected', dial: a, attempt: b })
      case ATTEMPT_FAILED:
        client.attempts.delete(b)
        return this.#tell(client, number, { type: 'attemptFailed', dial: a, attempt: b, failure: failure('refused') })
      case QUESTION_CONNECTED:
        return this.#tell(client, number, { type: 'questionConnected', address: this.#addressAt(b), question: a })
      case QUESTION_ANSWERED:
        return this.#answered(client, number, a, Math.floor(b / PLACES), b % PLACES)
      case QUESTION_FAILED:
        return this.#tell(client, number, {
          type: 'questionFailed', address: this.#addressAt(b), question: a, failure: failure('refused'),
        })
      case WATCH_ENDS:
        return this.#watchEnded(client, number, a)
      case CUT:
        return this.#closed(client, number, a, true)
      case SAMPLE:
        return this.#sample(client, number)
      case REQUEST:
        this.#queue.push(this.now + this.#chance.exponential(REQUEST_EVERY), REQUEST, number)
        return this.#dial(client, number)
      case REQUEST_ENDS:
        return this.#closed(client, number, a, false)
      case RETRY:
        return this.#watch(client, number)
      case KEPT_REQUEST:
        this.#queue.push(this.now + KEPT_EVERY, KEPT_REQUEST, number)
        return this.#keptRequest(client, number)
    }
  }

  #start(client: Client, number: number): void {
    switch (this.#options.workload) {
      case 'busy watch':
      case 'silent watch':
        this.#queue.push(this.now + this.#chance.exponential(REQUEST_EVERY), REQUEST, number)
        return this.#watch(client, number)
      case 'one request':
        return this.#dial(client, number)
      case 'requests, pooled':
      case 'requests, never idle':
        return this.#happen(client, { at: this.now, kind: KEPT_REQUEST, client: number, a: 0, b: 0 })
    }
  }

  /** Opens a watch: on the connection of the last one, or on another. */
  #watch(client: Client, number: number): void {
    const held = client.sockets.get(client.watch)
    if (held?.idle === false || client.watchDial !== 0) return
    if (held !== undefined) return this.#openWatch(client, number, client.watch, held)
    client.watchDial = client.lastDial + 1
    this.#dial(client, number)
  }

  #dial(client: Client, number: number): void {
    client.lastDial += 1
    this.dials.asked += 1
    this.#tell(client, number, { type: 'dialRequested', dial: client.lastDial, own: false, plain: true })
  }

  #delivered(client: Client, number: number, dial: number, socket: number): void {
    const server = client.attempts.get(socket) ?? -1
    client.attempts.delete(socket)
    const isWatch = dial === client.watchDial
    const held = client.hold(socket, server, isWatch)
    // It went down while the handshake was finishing.
    if (!this.#server(server).up) return this.#queue.push(this.now + TRIP, CUT, number, socket)
    if (isWatch) {
      client.watchDial = 0
      client.watch = socket
      this.#server(server).watches += 1
      this.#server(server).take(WORK.list, this.now)
      return this.#openWatch(client, number, socket, held)
    }
    const answer = this.#request(held)
    if (answer === 503) this.#tell(client, number, { type: 'refusalSeen', socket })
    const isKept = this.#options.workload.startsWith('requests')
    if (isKept) return this.#afterKept(number, held)
    const lasts = answer === 200 ? REQUEST_LASTS : answer === 503 ? TRIP : CALLER_WAITS
    this.#queue.push(this.now + lasts, REQUEST_ENDS, number, socket)
    this.#queue.push(this.now + SAMPLE_AFTER, SAMPLE, number)
  }

  /** Writes a request, and returns the status of its answer; undefined where there is none. */
  #request(held: Held): number | undefined {
    held.written += 1
    held.idle = false
    const server = this.#server(held.server)
    if (server.isHollow) return undefined
    held.read += 1
    return server.refusing ? 503 : 200
  }

  #keptRequest(client: Client, number: number): void {
    const [first] = client.sockets
    if (first === undefined) return this.#dial(client, number)
    const [, held] = first
    if (client.state.sampleAt === Infinity) this.#tell(client, number, { type: 'trafficResumed' })
    this.#request(held)
    this.#afterKept(number, held)
  }

  #afterKept(number: number, held: Held): void {
    held.idle = this.#options.workload === 'requests, pooled'
    this.#queue.push(this.now + SAMPLE_AFTER, SAMPLE, number)
  }

  #openWatch(client: Client, number: number, socket: number, held: Held): void {
    const server = this.#server(held.server)
    held.written += 1
    held.read += 1
    if (server.refusing) {
      held.idle = true
      this.#pauseWatch(client, number)
      this.#tell(client, number, { type: 'refusalSeen', socket })
      if (held.retired) this.#closed(client, number, socket, false)
      return
    }
    held.idle = false
    held.streamedAt = server.streamed(this.now)
    client.pause = 0
    server.take(WORK.question, this.now)
    this.#queue.push(this.now + this.#chance.between(WATCH.least, WATCH.most), WATCH_ENDS, number, socket)
    this.#queue.push(this.now + SAMPLE_AFTER, SAMPLE, number)
  }

  #pauseWatch(client: Client, number: number): void {
    client.pause = Math.min(BACKOFF.most, client.pause === 0 ? BACKOFF.first : 2 * client.pause)
    this.#queue.push(this.now + this.#chance.between(client.pause, 2 * client.pause), RETRY, number)
  }

  #watchEnded(client: Client, number: number, socket: number): void {
    const held = client.sockets.get(socket)
    if (held === undefined || client.watch !== socket) return
    held.read += this.#eventsOf(held)
    held.streamedAt = Infinity
    held.idle = true
    if (!held.retired) return this.#openWatch(client, number, socket, held)
    this.#closed(client, number, socket, false)
    this.#watch(client, number)
  }

  /** A connection is over. A watch that was cut is opened anew; one that waits for its turn will be. */
  #closed(client: Client, number: number, socket: number, byPeer: boolean): void {
    const held = client.sockets.get(socket)
    if (held === undefined) return
    const wasOpen = held.isWatch && !held.idle
    const read = held.read + this.#eventsOf(held)
    this.#drop(client, socket, held)
    this.#tell(client, number, { type: 'socketClosed', socket, read, written: held.written, byPeer })
    if (wasOpen && byPeer) this.#watch(client, number)
  }

  #drop(client: Client, socket: number, held: Held): void {
    client.sockets.delete(socket)
    if (!held.isWatch) return
    this.#server(held.server).watches -= 1
    client.watch = 0
  }

  /** Counts what a busy watch has brought: an event a second, as long as its server hears of any. */
  #eventsOf({ server, streamedAt }: Held): number {
    if (this.#options.workload !== 'busy watch' || streamedAt === Infinity) return 0
    return Math.floor((this.#server(server).streamed(this.now) - streamedAt) / 1_000)
  }

  // ---- what a runtime does

  #tell(client: Client, number: number, event: Event): void {
    const { state: before } = client
    const [state, effects] = this.#core.step(before, event, this.now)
    if (state.counters.refreshes > before.counters.refreshes) count(this.refreshes, this.now)
    client.state = state
    this.events += 1
    for (const effect of effects) this.#perform(client, number, effect)
    const at = this.#deadlineOf(client)
    if (at >= client.timerAt) return
    client.timerAt = at
    this.#queue.push(Math.max(at, this.now), TIMER, number)
  }

  #deadlineOf({ state }: Client): number {
    const quiet = state.sampleAt === Infinity ? state : { ...state, sampleAt: NOT_NOW }
    const at = this.#core.nextDeadline(quiet)?.at ?? Infinity
    return at === NOT_NOW ? Infinity : at
  }

  #wake(client: Client, number: number): void {
    // An earlier timer was set after this one, and has set another since.
    if (client.timerAt > this.now) return
    client.timerAt = Infinity
    const at = this.#deadlineOf(client)
    if (at <= this.now) {
      this.#sample(client, number)
      return this.#tell(client, number, { type: 'deadlineReached', due: this.now })
    }
    client.timerAt = at
    if (at !== Infinity) this.#queue.push(at, TIMER, number)
  }

  #sample(client: Client, number: number): void {
    if (client.sockets.size === 0) return
    const readings = client.readings((held) => this.#eventsOf(held))
    this.#tell(client, number, { type: 'socketsSampled', readings })
  }

  #perform(client: Client, number: number, effect: Effect): void {
    switch (effect.type) {
      case 'connect':
        return this.#connect(client, number, effect)
      case 'deliver':
        return this.#delivered(client, number, effect.dial, effect.attempt)
      case 'reject': {
        this.dials.failed += 1
        if (effect.dial !== client.watchDial) return
        client.watchDial = 0
        return this.#pauseWatch(client, number)
      }
      case 'ask':
        return this.#ask(client, number, effect)
      case 'adopt':
      case 'destroy': {
        const server = client.attempts.get(effect.attempt)
        client.attempts.delete(effect.attempt)
        const address = client.asked.get(effect.attempt)
        client.asked.delete(effect.attempt)
        if (effect.type === 'adopt' && server !== undefined && address !== undefined) client.kept.set(address, server)
        return
      }
      case 'closeMonitor':
        client.kept.delete(effect.address)
        return
      case 'retire': {
        const held = client.sockets.get(effect.socket)
        if (held === undefined) return
        held.retired = true
        if (held.idle) this.#queue.push(this.now, REQUEST_ENDS, number, effect.socket)
        return
      }
      case 'sever': {
        const held = client.sockets.get(effect.socket)
        if (held === undefined) return
        this.severed += 1
        this.#drop(client, effect.socket, held)
        if (held.isWatch) this.#queue.push(this.now, RETRY, number)
        return
      }
      case 'abandon':
      case 'settleRefresh':
      case 'save':
      case 'report':
        return
    }
  }

  #connect(client: Client, number: number, { dial, attempt, endpoint }: Effect & { type: 'connect' }): void {
    const index = this.#routeTo(endpoint.host)
    if (index < 0) return this.#queue.push(this.now + this.#chance.upTo(TRIP), ATTEMPT_FAILED, number, dial, attempt)
    client.attempts.set(attempt, index)
    const done = this.#server(index).shakeHands(this.now)
    if (done !== undefined) this.#queue.push(done + this.#chance.upTo(HANDSHAKE), CONNECTED, number, dial, attempt)
  }

  #ask(client: Client, number: number, { question, endpoint, depth, on, attempt }: Effect & { type: 'ask' }): void {
    const place = this.#placeOf(endpoint.host)
    const address = this.#addressAt(place)
    const borrowed = attempt === undefined ? undefined : client.attempts.get(attempt)
    if (attempt !== undefined) client.asked.set(attempt, address)
    const kept = borrowed ?? (on === 'kept' ? client.kept.get(address) : undefined)
    const index = kept ?? this.#routeTo(endpoint.host)
    const isDown = index < 0 || !this.#server(index).up
    if (isDown) return this.#queue.push(this.now + this.#chance.upTo(TRIP), QUESTION_FAILED, number, question, place)
    const server = this.#server(index)
    let at = this.now
    if (kept === undefined) {
      const done = server.shakeHands(this.now)
      if (done === undefined) return
      at = done + this.#chance.upTo(HANDSHAKE)
      this.#queue.push(at, QUESTION_CONNECTED, number, question, place)
      if (on !== 'full') client.kept.set(address, index)
    }
    this.#options.onQuestion?.(number, index, depth === 'deep')
    const done = server.beAsked(depth === 'deep', this.now)
    if (done === undefined) return
    if (server.isHollow && depth === 'deep') {
      this.#hung.push({ server: index, client: number, question, place })
      return
    }
    const answeredAt = Math.max(at, done) + this.#chance.upTo(TRIP)
    this.#queue.push(answeredAt, QUESTION_ANSWERED, number, question, index * PLACES + place)
  }

  #answered(client: Client, number: number, question: number, index: number, place: number): void {
    const server = this.#server(index)
    const address = this.#addressAt(place)
    if (!server.up) {
      return this.#tell(client, number, { type: 'questionFailed', address, question, failure: failure('broken') })
    }
    const answer = { type: 'questionAnswered', address, question, authorized: true } as const
    this.#tell(client, number, server.refusing ? { ...answer, status: 503 } : { ...answer, status: 200, body: this.#body })
  }
}

function failure(kind: FailureKind): Failure {
  return { kind, message: kind }
}
