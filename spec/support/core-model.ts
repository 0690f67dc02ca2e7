/**
 * A little runtime with virtual time, and a little world behind it: apiservers that are up, refuse, hang, have a wrong
 * certificate or drain, a list that changes, callers who dial, give up, read and write. It interprets effects as the
 * real runtime does, and at every step asserts what must hold whatever happens. Everything is drawn from one seed.
 */
import assert from 'node:assert/strict'
import type { Address } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'
import type { EndpointsBody } from '../../lib/core/state.ts'
import type { Settings } from '../../lib/core/state.ts'
import { draw } from '../../lib/core/random.ts'
import type { Effect, Event, Failure, Id, Reading, State } from '../../lib/core/state.ts'
import { initialState, nextDeadline } from '../../lib/core/step.ts'
import { rowsOf } from '../../lib/core/table.ts'
import { at } from './core-given.ts'
import { checkedStep } from './core-rows.ts'

export type Mode = 'up' | 'refusing' | 'hanging' | 'untrusted' | 'draining' | 'flaky'
const MODES: readonly [Mode, ...Mode[]] = ['up', 'up', 'refusing', 'hanging', 'untrusted', 'draining', 'flaky']
/** H4, as the core has it. */
const LATE = 1_000
/** D2, and the second after which one that was being dialled is looked at again. */
const FORGOTTEN = 300_000 + 2_000

interface World {
  mode: Mode
  since: number
}

interface ModelDial {
  readonly startedAt: number
  bound: number
  graced: boolean
  readonly tried: Set<Address>
  readonly knownAtStart: ReadonlySet<Address>
  excused: boolean
}

interface ModelSocket {
  readonly address: Address
  read: number
  written: number
  idle: boolean
  retired: boolean
  reported: string
}

interface Pending {
  readonly at: number
  readonly event: Event
}

export interface ModelOptions {
  readonly seed: number
  readonly settings: Settings
  readonly seeds: readonly Address[]
  readonly alternates: readonly Address[]
  /** Addresses that the list may have. */
  readonly others: readonly Address[]
  /** Mean time between two things that callers or the world do, in ms. */
  readonly pace: number
}

export class Model {
  state: State
  now = 1_000
  events = 0
  readonly seen: Map<string, number> = new Map<string, number>()
  readonly #options: ModelOptions
  #seed: number
  #nextCaller = 1
  #list: readonly Address[]
  readonly #world = new Map<Address, World>()
  readonly #pending: Pending[] = []
  readonly #dials = new Map<Id, ModelDial>()
  readonly #attempts = new Map<Id, { readonly dial: Id; readonly address: Address }>()
  readonly #heartbeats = new Map<Id, { readonly address: Address; readonly sentAt: number }>()
  readonly #sockets = new Map<Id, ModelSocket>()
  readonly #refreshes = new Set<Id>()
  readonly #ended: Id[] = []
  readonly #misses = new Map<Address, { count: number; first: number; lastSentAt: number }>()
  readonly #spokeAt = new Map<Address, number>()
  readonly #answeredAt = new Map<Address, number>()
  readonly #gone = new Map<Address, number>()
  readonly #hints = new Set<Address>()

  constructor(options: ModelOptions) {
    this.#options = options
    this.#seed = options.seed
    const { settings, seeds, alternates, others } = options
    for (const address of [...seeds, ...alternates, ...others])
      this.#world.set(address, { mode: this.#one(MODES), since: 0 })
    this.#list = others.slice(0, 3)
    this.state = initialState(settings, seeds.map(at), alternates.map(at), options.seed)
  }

  /** Goes on until so many events have been handled. */
  walk(events: number): void {
    while (this.events < events) this.#once()
  }

  /** Everything ends: what is under way is answered by the clock alone, or by close(). */
  finish(): void {
    if (this.#chance(0.5)) {
      this.dispatch({ type: 'closed' })
      assert.equal(nextDeadline(this.state), undefined, 'closed, and yet waiting')
    } else {
      this.#pending.length = 0
      for (const dial of this.#dials.values()) dial.excused = true
      for (let turn = 0; this.#dials.size > 0 || this.#heartbeats.size > 0 || this.#refreshes.size > 0; turn += 1) {
        assert.ok(turn < 20_000, 'it never comes to rest')
        for (const id of [...this.#sockets.keys()]) this.#close(id)
        this.#tick(0)
      }
    }
    assert.equal(this.#dials.size, 0, 'a dial never ended')
    assert.equal(this.#attempts.size, 0, 'a connect was never ended')
    assert.equal(this.#heartbeats.size, 0, 'a heartbeat was never ended')
    assert.equal(this.#refreshes.size, 0, 'a refresh() was never settled')
  }

  dispatch(event: Event): readonly Effect[] {
    this.events += 1
    this.seen.set(event.type, (this.seen.get(event.type) ?? 0) + 1)
    this.#heardOf(event)
    const before = this.state
    const [next, effects] = checkedStep(before, event, this.now)
    this.state = next
    if (event.type === 'heartbeatAnswered' && event.body?.kind === 'list' && next.discovery.listedAt === this.now) {
      this.#listed(event.body)
    }
    for (const effect of effects) this.#perform(effect, event)
    this.#assertInvariants(event)
    return effects
  }

  // ---- what happens next

  #once(): void {
    const pause = -Math.log(1 - this.#random()) * this.#options.pace
    const arrival = this.#earliest()
    const deadline = nextDeadline(this.state)?.at ?? Infinity
    const late = deadline + (this.#chance(0.02) ? this.#random() * 4_000 : this.#random() * 3)
    if (arrival !== undefined && arrival.at <= Math.min(late, this.now + pause)) {
      this.#pending.splice(this.#pending.indexOf(arrival), 1)
      this.now = Math.max(this.now, arrival.at)
      this.dispatch(arrival.event)
    } else if (late <= this.now + pause) {
      this.#tick(Math.max(0, late - deadline))
    } else {
      this.now += pause
      this.#act()
    }
  }

  #earliest(): Pending | undefined {
    let earliest: Pending | undefined
    for (const pending of this.#pending) if (earliest === undefined || pending.at < earliest.at) earliest = pending
    return earliest
  }

  /** As the runtime wakes: bytes are looked at first, and then the clock. */
  #tick(late: number): void {
    const deadline = nextDeadline(this.state)
    if (deadline === undefined) {
      this.now += 1
      return
    }
    this.now = Math.max(this.now, deadline.at + late)
    for (const dial of this.#dials.values()) {
      if (this.now - dial.bound > LATE && !dial.graced) {
        dial.graced = true
        dial.bound = this.now + this.#options.settings.attemptTimeout
      }
      if (late > LATE) dial.excused = true
    }
    if (this.#sockets.size > 0) this.dispatch({ type: 'socketsSampled', readings: this.#readings() })
    this.dispatch({ type: 'deadlineReached' })
    const next = nextDeadline(this.state)
    if (next !== undefined) assert.ok(next.at > this.now, `a busy loop: ${next.why} is due again at once`)
    for (const [id, dial] of this.#dials) assert.ok(this.now < dial.bound, `dial ${id} outlived its bound`)
  }

  #readings(): Reading[] {
    const readings: Reading[] = []
    for (const [socket, { read, written, idle, reported }] of this.#sockets) {
      if (reported !== `${read} ${written} ${idle}`) readings.push({ socket, read, written, idle })
    }
    for (const socket of this.#sockets.values()) socket.reported = `${socket.read} ${socket.written} ${socket.idle}`
    return readings
  }

  #act(): void {
    const roll = this.#random()
    if (roll < 0.3) this.#dial()
    else if (roll < 0.34) this.#cancel()
    else if (roll < 0.6) this.#traffic()
    else if (roll < 0.68) this.#close(this.#one([...this.#sockets.keys()]))
    else if (roll < 0.8) this.#turn()
    else if (roll < 0.84) this.#list = this.#some(this.#options.others)
    else if (roll < 0.87) this.#refresh()
    else if (roll < 0.875) this.#hint()
    else if (roll < 0.88)
      this.dispatch({ type: 'warningRaised', kind: this.#one(['store', 'token']), message: this.#one(['one', 'two']) })
    else this.#disturb()
  }

  #dial(): void {
    const dial = this.#nextCaller++
    const { dialTimeout } = this.#options.settings
    this.#dials.set(dial, {
      startedAt: this.now,
      bound: this.now + dialTimeout,
      graced: false,
      tried: new Set(),
      excused: false,
      knownAtStart: new Set(this.state.peers.keys()),
    })
    this.dispatch({ type: 'dialRequested', dial, own: this.#chance(0.2) })
  }

  #cancel(): void {
    const dial = this.#one([...this.#dials.keys()])
    if (dial !== undefined) this.dispatch({ type: 'dialCancelled', dial, reason: 'enough' })
  }

  #refresh(): void {
    const refresh = this.#nextCaller++
    this.#refreshes.add(refresh)
    this.dispatch({ type: 'refreshRequested', refresh })
  }

  #hint(): void {
    const hints = this.#some(this.#options.others)
    if (this.state.discovery.listedAt === undefined) for (const hint of hints) this.#hints.add(hint)
    this.dispatch({ type: 'hintsLoaded', endpoints: hints.map(at) })
  }

  #traffic(): void {
    const socket = this.#sockets.get(this.#one([...this.#sockets.keys()]) ?? -1)
    if (socket === undefined) return
    if (this.#chance(0.3)) {
      socket.idle = !socket.idle
      if (socket.idle && socket.retired) return
      if (!socket.idle && this.state.sampleAt === Infinity) this.dispatch({ type: 'trafficResumed' })
      return
    }
    const mode = this.#world.get(socket.address)?.mode
    if (this.#chance(0.7)) socket.written += 10
    if (mode === 'up' || mode === 'draining' || mode === 'untrusted') socket.read += 20
  }

  #close(id: Id | undefined): void {
    if (id === undefined || !this.#sockets.delete(id)) return
    this.dispatch({ type: 'socketClosed', socket: id })
  }

  #turn(): void {
    const address = this.#one([...this.#world.keys()])
    const world = address === undefined ? undefined : this.#world.get(address)
    const mode = this.#one(MODES)
    if (world !== undefined && world.mode !== mode) Object.assign(world, { mode, since: this.now })
  }

  /** Events that answer nothing any more, or never did: they must change nothing. */
  #disturb(): void {
    // Time has passed since the last event: what follows from that comes first.
    this.dispatch({ type: 'socketClosed', socket: -1 })
    const before = this.state
    const id = this.#one([-1, 0, 1e9, ...this.#ended.slice(-20)]) ?? -1
    const address = this.#one([...this.#world.keys(), 'nowhere:1']) ?? ''
    const failure: Failure = { blame: 'endpoint', message: 'stale' }
    const live = this.#one([...this.#dials.keys()]) ?? id
    const running = this.#one([...this.#attempts.keys()]) ?? id
    const event = this.#one<Event>([
      { type: 'attemptFailed', dial: live, attempt: id, failure },
      { type: 'attemptFailed', dial: -7, attempt: running, failure },
      { type: 'attemptConnected', dial: live, attempt: id },
      { type: 'attemptConnected', dial: -7, attempt: running },
      { type: 'dialCancelled', dial: -7, reason: 'stale' },
      { type: 'dialRequested', dial: live, own: false },
      {
        type: 'heartbeatAnswered',
        address,
        heartbeat: id,
        status: 503,
        fresh: true,
        body: { kind: 'list', ready: [at('9.9.9.9:9')], unready: [], refused: [] },
      },
      { type: 'heartbeatFailed', address, heartbeat: id, failure },
      { type: 'socketClosed', socket: id },
      { type: 'refreshRequested', refresh: this.#one([...this.#refreshes]) ?? -9 },
    ])
    if (event === undefined) return
    if (event.type === 'dialRequested' && !this.#dials.has(event.dial)) return
    if (event.type === 'refreshRequested' && event.refresh === -9) return
    this.events += 1
    const [next, effects] = checkedStep(before, event, this.now)
    const expected =
      event.type === 'attemptConnected' ? [{ type: 'destroy', dial: event.dial, attempt: event.attempt }] : []
    assert.deepStrictEqual(effects, expected, `a stale ${event.type} had effects`)
    assert.equal(next, before, `a stale ${event.type} changed the state`)
  }

  // ---- effects

  #perform(effect: Effect, event: Event): void {
    switch (effect.type) {
      case 'connect': {
        const dial = this.#dials.get(effect.dial)
        const address = addressOf(effect.endpoint)
        assert.ok(dial, `a connect for dial ${effect.dial}, which has ended`)
        assert.ok(!this.#attempts.has(effect.attempt), 'an attempt id was used twice')
        assert.ok(!dial.tried.has(address), `dial ${effect.dial} tried ${address} twice`)
        dial.tried.add(address)
        this.#attempts.set(effect.attempt, { dial: effect.dial, address })
        return this.#answerConnect(effect.dial, effect.attempt, address)
      }
      case 'destroy':
        // A success that crossed the order to destroy it.
        if (event.type === 'attemptConnected' && event.attempt === effect.attempt) return
        assert.ok(this.#attempts.delete(effect.attempt), `attempt ${effect.attempt} was ended twice`)
        return void this.#ended.push(effect.attempt)
      case 'deliver': {
        const attempt = this.#attempts.get(effect.attempt)
        assert.deepStrictEqual(
          attempt,
          { dial: effect.dial, address: effect.address },
          'a socket went to the wrong dial',
        )
        this.#attempts.delete(effect.attempt)
        this.#endDial(effect.dial)
        this.#sockets.set(effect.attempt, {
          address: effect.address,
          read: 0,
          written: 0,
          idle: false,
          retired: false,
          reported: '0 0 false',
        })
        return
      }
      case 'reject':
        return this.#rejected(effect)
      case 'heartbeat': {
        const address = addressOf(effect.endpoint)
        for (const other of this.#heartbeats.values())
          assert.notEqual(other.address, address, `${address} is asked twice at a time`)
        this.#heartbeats.set(effect.heartbeat, { address, sentAt: this.now })
        return this.#answerHeartbeat(effect.heartbeat, address)
      }
      case 'abandon': {
        const heartbeat = this.#heartbeats.get(effect.heartbeat)
        assert.ok(heartbeat?.address === effect.address, `heartbeat ${effect.heartbeat} was ended twice`)
        this.#heartbeats.delete(effect.heartbeat)
        this.#ended.push(effect.heartbeat)
        if (!this.state.closed) this.#missed(heartbeat.address, heartbeat.sentAt)
        return
      }
      case 'closeMonitor':
        return
      case 'retire': {
        const socket = this.#sockets.get(effect.socket)
        assert.ok(
          socket !== undefined && !socket.retired,
          `socket ${effect.socket} was retired twice, or after its end`,
        )
        socket.retired = true
        return
      }
      case 'sever':
        return this.#severed(effect.socket, effect.address)
      case 'settleRefresh':
        assert.ok(this.#refreshes.delete(effect.refresh), `refresh ${effect.refresh} was settled twice`)
        return
      case 'save':
      case 'report':
        return
    }
  }

  #rejected(effect: Effect & { type: 'reject' }): void {
    const dial = this.#dials.get(effect.dial)
    assert.ok(dial, `dial ${effect.dial} ended twice`)
    const { kind } = effect.rejection
    if (kind === 'failed') {
      for (const address of this.state.peers.keys())
        assert.ok(dial.tried.has(address), `${address} was excluded from dial ${effect.dial}`)
    }
    const isExcused = dial.excused || (kind === 'timedOut' && this.#options.settings.dialTimeout < 10_000)
    if ((kind === 'failed' || kind === 'timedOut') && !isExcused) {
      for (const address of dial.knownAtStart) {
        const world = this.#world.get(address)
        assert.ok(
          world?.mode !== 'up' || world.since > dial.startedAt,
          `${address} worked all the time, and dial ${effect.dial} ${kind}`,
        )
      }
    }
    this.#endDial(effect.dial)
  }

  #endDial(id: Id): void {
    assert.ok(this.#dials.delete(id), `dial ${id} ended twice`)
  }

  #severed(id: Id, address: Address): void {
    const socket = this.#sockets.get(id)
    assert.ok(socket?.address === address, `socket ${id} was severed twice, or after its end`)
    this.#sockets.delete(id)
    const misses = this.#misses.get(address)
    assert.ok(misses !== undefined && misses.count >= 2, `${address} was severed without two misses`)
    const witnesses = [...this.#answeredAt].filter(([other, when]) => other !== address && when >= misses.first)
    assert.ok(witnesses.length > 0, `${address} was severed though nobody else answered`)
    const silence = this.now - (this.#spokeAt.get(address) ?? -Infinity)
    assert.ok(silence >= this.#options.settings.heartbeatTimeout, `${address} spoke ${silence} ms ago and was severed`)
    const world = this.#world.get(address)
    assert.ok(world?.mode !== 'up' || world.since >= misses.lastSentAt, `${address} is healthy and was severed`)
  }

  // ---- the world's answers

  #answerConnect(dial: Id, attempt: Id, address: Address): void {
    const after = this.now + 1 + this.#random() * 20
    const failure = (blame: Failure['blame'], message: string): void => {
      this.#pending.push({ at: after, event: { type: 'attemptFailed', dial, attempt, failure: { blame, message } } })
    }
    switch (this.#world.get(address)?.mode) {
      case 'up':
      case 'draining':
        return void this.#pending.push({ at: after, event: { type: 'attemptConnected', dial, attempt } })
      case 'refusing':
        return failure('endpoint', 'refused')
      case 'untrusted':
        return failure('identity', 'wrong name')
      case 'flaky':
        if (this.#chance(0.3)) return failure('none', 'EMFILE')
        if (this.#chance(0.5)) return failure('endpoint', 'reset')
        return void this.#pending.push({
          at: after + this.#random() * 9_000,
          event: { type: 'attemptConnected', dial, attempt },
        })
      case 'hanging':
      case undefined:
        return
    }
  }

  #answerHeartbeat(heartbeat: Id, address: Address): void {
    const after = this.now + 1 + this.#random() * 20
    const answer = (status: number, body?: EndpointsBody): void => {
      const event = {
        type: 'heartbeatAnswered',
        address,
        heartbeat,
        status,
        fresh: this.#chance(0.5),
        ...(body === undefined ? {} : { body }),
      } as const
      this.#pending.push({ at: after, event })
    }
    const fail = (blame: Failure['blame'], message: string): void => {
      this.#pending.push({
        at: after,
        event: { type: 'heartbeatFailed', address, heartbeat, failure: { blame, message } },
      })
    }
    switch (this.#world.get(address)?.mode) {
      case 'up': {
        const status = this.#chance(0.8) ? 200 : (this.#one([401, 403, 404, 410]) ?? 200)
        return answer(status, status === 200 ? this.#body() : undefined)
      }
      case 'draining':
        return answer(this.#one([429, 500, 503]) ?? 500)
      case 'refusing':
        return fail('endpoint', 'refused')
      case 'untrusted':
        return fail('identity', 'wrong name')
      case 'flaky':
        if (this.#chance(0.3)) return fail('none', 'EMFILE')
        if (this.#chance(0.5)) return fail('endpoint', 'reset')
        return answer(200, this.#body())
      case 'hanging':
      case undefined:
        return
    }
  }

  #body(): EndpointsBody {
    const listed = this.#chance(0.1) ? [] : this.#list
    if (listed.length === 0) return { kind: 'rejected', reason: this.#one(['empty', 'not JSON']) ?? 'empty' }
    const unready = listed.length > 1 && this.#chance(0.2) ? listed.slice(0, 1) : []
    const refused = this.#chance(0.1) ? ['loopback'] : []
    return { kind: 'list', ready: listed.slice(unready.length).map(at), unready: unready.map(at), refused }
  }

  // ---- what the invariants need to know

  #heardOf(event: Event): void {
    switch (event.type) {
      case 'attemptFailed':
        if (this.#attempts.delete(event.attempt)) this.#ended.push(event.attempt)
        return
      case 'heartbeatAnswered':
        if (!this.#heartbeats.delete(event.heartbeat)) return
        this.#ended.push(event.heartbeat)
        this.#misses.delete(event.address)
        this.#answeredAt.set(event.address, this.now)
        return
      case 'heartbeatFailed': {
        const heartbeat = this.#heartbeats.get(event.heartbeat)
        if (heartbeat === undefined) return
        this.#heartbeats.delete(event.heartbeat)
        this.#ended.push(event.heartbeat)
        if (event.failure.blame !== 'none') this.#missed(event.address, heartbeat.sentAt)
        return
      }
      case 'socketsSampled': {
        const before = new Map([...rowsOf(this.state.sockets)].map((socket) => [socket.id, socket]))
        for (const reading of event.readings) {
          const socket = before.get(reading.socket)
          if (socket !== undefined && reading.read > socket.read) {
            // A byte between two misses: they are not two in a row.
            this.#misses.delete(socket.address)
            this.#spokeAt.set(socket.address, this.now)
          }
        }
        return
      }
      default:
    }
  }

  #missed(address: Address, sentAt: number): void {
    const { count, first } = this.#misses.get(address) ?? { count: 0, first: this.now }
    this.#misses.set(address, { count: count + 1, first, lastSentAt: sentAt })
  }

  #listed(body: EndpointsBody & { kind: 'list' }): void {
    const listed = new Set([...body.ready, ...body.unready].map(addressOf))
    for (const address of this.state.peers.keys()) {
      if (listed.has(address)) this.#gone.delete(address)
      else if (!this.#gone.has(address)) this.#gone.set(address, this.now)
    }
  }

  #assertInvariants(event: Event): void {
    const { state } = this
    const { seeds, alternates } = this.#options
    for (const { dial } of this.#attempts.values()) assert.ok(this.#dials.has(dial), `an attempt outlived dial ${dial}`)
    for (const address of seeds) assert.ok(state.peers.has(address), `the seed ${address} was forgotten`)
    const counts = new Map<Address, number>()
    for (const { address } of this.#sockets.values()) counts.set(address, (counts.get(address) ?? 0) + 1)
    for (const peer of state.peers.values())
      assert.equal(peer.sockets, counts.get(peer.address) ?? 0, `sockets of ${peer.address}`)
    assert.equal(state.sockets.size, this.#sockets.size, 'sockets')
    assert.equal(state.dials.size, this.#dials.size, 'dials')
    assert.ok(state.warned.size <= state.peers.size + 4, `${state.warned.size} warnings are remembered`)
    if (state.discovery.round !== undefined) assert.equal(state.discovery.nextAt, Infinity, 'a round waits for another')
    if (event.type !== 'deadlineReached') return
    const dialled = new Set([...this.#attempts.values()].map(({ address }) => address))
    for (const [address, peer] of state.peers) {
      if (seeds.includes(address) || peer.sockets > 0 || peer.heartbeat !== undefined || dialled.has(address)) continue
      const gone = this.#gone.get(address)
      if (gone !== undefined) assert.ok(this.now - gone <= FORGOTTEN, `${address} is never forgotten`)
      else
        assert.ok(peer.listed || alternates.includes(address) || this.#hints.has(address), `${address} was never named`)
    }
  }

  // ---- draws

  #random(): number {
    const [value, next] = draw(this.#seed)
    this.#seed = next
    return value
  }

  #chance(share: number): boolean {
    return this.#random() < share
  }

  #one<T>(values: readonly T[] & { readonly 0: T }): T
  #one<T>(values: readonly T[]): T | undefined
  #one<T>(values: readonly T[]): T | undefined {
    return values[Math.floor(this.#random() * values.length)]
  }

  #some<T>(values: readonly T[]): T[] {
    return values.filter(() => this.#chance(0.5))
  }
}
