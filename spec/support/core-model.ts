/**
 * A little runtime with virtual time in front of the little world of core-world.ts, and callers who dial, give up, read
 * and write. It interprets effects as the real runtime does, and at every step asserts what must hold whatever happens:
 * here what an effect may be, and in core-invariants.ts what a state may be. Everything is drawn from one seed.
 */
import assert from 'node:assert/strict'
import type { Address } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'
import type { Effect, Event, Id, Reading, Settings, State } from '../../lib/core/state.ts'
import { initialState, nextDeadline } from '../../lib/core/step.ts'
import { isCloselyWatched } from '../../lib/core/traffic.ts'
import { at, refused, socketClosed } from './core-given.ts'
import { Invariants } from './core-invariants.ts'
import { checkedStep, settledStep } from './core-rows.ts'
import { Draws, World } from './core-world.ts'

/** H4, as the core has it. */
const LATE = 1_000

export interface ModelDial {
  readonly startedAt: number
  bound: number
  graced: boolean
  readonly own: boolean
  /** How often each endpoint was tried. */
  readonly tried: Map<Address, number>
  readonly knownAtStart: ReadonlySet<Address>
  /** How often it may try one again: whenever the identity changed, and where a question spoilt the connection. */
  restarts: number
  excused: boolean
}

export interface ModelAttempt {
  readonly dial: Id
  readonly address: Address
  /** Undefined while it is being made. */
  madeAt: number | undefined
}

export interface ModelConnection {
  readonly madeAt: number
}

export interface ModelQuestion {
  readonly address: Address
  readonly depth: 'shallow' | 'deep'
  readonly on: 'kept' | 'fresh' | 'full'
  readonly sentAt: number
  readonly attempt: Id | undefined
  /** Undefined while it is being made. */
  connection: ModelConnection | undefined
}

export interface ModelSocket {
  readonly address: Address
  readonly madeAt: number
  read: number
  written: number
  idle: boolean
  retired: boolean
  reported: string
  readTold: number
  seenRead: number
  heardAt: number
  /** When its pool last gave it to a request, and what it had carried then; undefined where no pool has. */
  begun: { readonly at: number; readonly read: number; readonly written: number } | undefined
}

interface Arrival {
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
  readonly options: ModelOptions
  readonly seen: Map<string, number> = new Map()
  readonly world: World
  readonly dials: Map<Id, ModelDial> = new Map()
  readonly attempts: Map<Id, ModelAttempt> = new Map()
  readonly questions: Map<Id, ModelQuestion> = new Map()
  readonly sockets: Map<Id, ModelSocket> = new Map()
  readonly refreshes: Set<Id> = new Set()
  /** The monitor connections. */
  readonly kept: Map<Address, ModelConnection> = new Map()
  readonly hints: Set<Address> = new Set()
  readonly #draws: Draws
  readonly #invariants: Invariants
  readonly #arrivals: Arrival[] = []
  readonly #ended: Id[] = []
  /** When sockets were last looked at. */
  #lookedAt = -Infinity
  #nextCaller = 1

  constructor(options: ModelOptions) {
    this.options = options
    const { settings, seeds, alternates, others, seed } = options
    this.#draws = new Draws(seed)
    this.world = new World(this.#draws, [...new Set([...seeds, ...alternates, ...others])], others)
    this.#invariants = new Invariants(this)
    this.state = initialState(settings, seeds.map(at), alternates.map(at), seed)
  }

  /** Goes on until so many events have been handled. */
  walk(events: number): void {
    while (this.events < events) this.#once()
  }

  /** Everything ends: what is under way is answered by the clock alone, or by close(). */
  finish(): void {
    if (this.#draws.chance(0.5)) {
      this.dispatch({ type: 'closed' })
    } else {
      this.#arrivals.length = 0
      for (const dial of this.dials.values()) dial.excused = true
      for (let turn = 0; nextDeadline(this.state) !== undefined; turn += 1) {
        assert.ok(turn < 20_000, 'it never comes to rest')
        for (const id of [...this.sockets.keys()]) this.#close(id)
        this.#tick(0)
        this.#arrivals.length = 0
      }
    }
    assert.equal(nextDeadline(this.state), undefined, 'at rest, and yet waiting')
    for (const [what, left] of Object.entries({
      dial: this.dials, attempt: this.attempts, question: this.questions, refresh: this.refreshes, monitor: this.kept,
    })) assert.equal(left.size, 0, `a ${what} never ended`)
  }

  dispatch(event: Event): readonly Effect[] {
    this.events += 1
    this.seen.set(event.type, (this.seen.get(event.type) ?? 0) + 1)
    const before = this.state
    this.#arrived(event)
    // That the same input gives the same output is looked at now and then: it takes as long as all else.
    const [next, effects] = (this.events % 16 === 0 ? checkedStep : settledStep)(before, event, this.now)
    this.state = next
    this.#invariants.note(before, event)
    for (const effect of effects) this.#perform(effect, event)
    this.#invariants.assertAll(event)
    if (effects.some(({ type }) => type === 'ask')) this.#look(true)
    return effects
  }

  #look(closely: boolean): void {
    if (this.sockets.size > 0) this.dispatch({ type: 'socketsSampled', readings: this.#readings(closely) })
  }

  // ---- what happens next

  #once(): void {
    const pause = -Math.log(1 - this.#draws.random()) * this.options.pace
    const arrival = this.#earliest()
    const deadline = nextDeadline(this.state)?.at ?? Infinity
    const late = deadline + this.#draws.random() * (this.#draws.chance(0.02) ? 4_000 : 3)
    if (arrival !== undefined && arrival.at <= Math.min(late, this.now + pause)) {
      this.#arrivals.splice(this.#arrivals.indexOf(arrival), 1)
      this.now = Math.max(this.now, arrival.at)
      this.dispatch(arrival.event)
    } else if (late <= this.now + pause) {
      this.#tick(Math.max(0, late - deadline))
    } else {
      this.now += pause
      this.#act()
    }
  }

  #earliest(): Arrival | undefined {
    let earliest: Arrival | undefined
    for (const arrival of this.#arrivals) if (earliest === undefined || arrival.at < earliest.at) earliest = arrival
    return earliest
  }

  /** As the runtime wakes: bytes are looked at first, and then the clock. */
  #tick(late: number): void {
    const deadline = nextDeadline(this.state)
    assert.ok(deadline !== undefined)
    this.now = Math.max(this.now, deadline.at + late)
    for (const dial of this.dials.values()) {
      if (this.now - dial.bound > LATE && !dial.graced) {
        dial.graced = true
        dial.bound = this.now + this.options.settings.attemptTimeout
      }
      if (late > LATE) dial.excused = true
    }
    this.#look(deadline.why !== 'sample' || isCloselyWatched(this.state))
    this.dispatch({ type: 'deadlineReached', due: this.now - late })
    const next = nextDeadline(this.state)
    if (next !== undefined) assert.ok(next.at > this.now, `a busy loop: ${next.why} is due again at once`)
    for (const [id, dial] of this.dials) assert.ok(this.now < dial.bound, `dial ${id} outlived its bound`)
  }

  /** What has only read more may be told of later, unless somebody is in doubt, with when it was heard. */
  #readings(closely: boolean): Reading[] {
    const readings: Reading[] = []
    for (const [socket, each] of this.sockets) {
      const { read, written, idle, reported } = each
      if (read !== each.seenRead) {
        each.seenRead = read
        each.heardAt = this.now
      }
      const { begun } = each
      const unanswered = begun !== undefined && !idle && read === begun.read && written > begun.written
      const now = `${written} ${idle} ${unanswered}`
      if (reported === now && each.readTold === read) continue
      if (reported === now && !closely && this.#draws.chance(0.5)) continue
      each.reported = now
      each.readTold = read
      readings.push({
        socket, read, written, idle, heardAt: each.heardAt,
        ...(begun !== undefined && { unanswered }),
        ...(begun !== undefined && unanswered && { begunAt: Math.max(begun.at, this.#lookedAt) }),
      })
    }
    this.#lookedAt = this.now
    return readings
  }

  #act(): void {
    const draws = this.#draws
    const roll = draws.random()
    if (roll < 0.28) this.#dial()
    else if (roll < 0.32) this.#cancel()
    else if (roll < 0.58) this.#traffic()
    else if (roll < 0.66) this.#close(draws.one([...this.sockets.keys()]))
    else if (roll < 0.78) this.world.turn(this.now)
    else if (roll < 0.82) this.world.changeList()
    else if (roll < 0.85) this.#refresh()
    else if (roll < 0.855) this.#hint()
    else if (roll < 0.86) this.#changeIdentity()
    else if (roll < 0.87) this.#warn()
    else if (roll < 0.9) this.dispatch({ type: 'refusalSeen', socket: draws.one([...this.sockets.keys()]) ?? -1 })
    else this.#disturb()
  }

  #dial(): void {
    const dial = this.#nextCaller++
    const own = this.#draws.chance(0.2)
    this.dials.set(dial, {
      startedAt: this.now,
      bound: this.now + this.options.settings.dialTimeout,
      graced: false,
      own,
      tried: new Map(),
      knownAtStart: new Set(this.state.peers.keys()),
      restarts: 0,
      excused: false,
    })
    this.dispatch({ type: 'dialRequested', dial, own, plain: !own && this.#draws.chance(0.8) })
  }

  #cancel(): void {
    const dial = this.#draws.one([...this.dials.keys()])
    if (dial !== undefined) this.dispatch({ type: 'dialCancelled', dial, reason: 'enough' })
  }

  #refresh(): void {
    const refresh = this.#nextCaller++
    this.refreshes.add(refresh)
    this.dispatch({ type: 'refreshRequested', refresh })
  }

  #hint(): void {
    const hints = this.#draws.some(this.options.others)
    if (this.state.discovery.listedAt === undefined) for (const hint of hints) this.hints.add(hint)
    this.dispatch({ type: 'hintsLoaded', endpoints: hints.map(at) })
  }

  #changeIdentity(): void {
    for (const dial of this.dials.values()) Object.assign(dial, { restarts: dial.restarts + 1, excused: true })
    this.dispatch({ type: 'identityChanged' })
  }

  #warn(): void {
    const kind = this.#draws.one(['store', 'token'])
    if (this.#draws.chance(0.3)) this.dispatch({ type: 'warningPassed', kind })
    else this.dispatch({ type: 'warningRaised', kind, message: this.#draws.one(['one', 'two']) })
  }

  #traffic(): void {
    const socket = this.sockets.get(this.#draws.one([...this.sockets.keys()]) ?? -1)
    if (socket === undefined) return
    if (this.#draws.chance(0.3)) {
      socket.idle = !socket.idle
      if (!socket.idle) socket.begun = { at: this.now, read: socket.read, written: socket.written }
      if (!socket.idle && this.state.sampleAt === Infinity) this.dispatch({ type: 'trafficResumed' })
      return
    }
    if (socket.idle) return
    if (this.#draws.chance(0.7)) socket.written += 10
    if (this.world.speaks(socket.address, socket.madeAt)) socket.read += 20
  }

  #close(id: Id | undefined): void {
    const socket = id === undefined ? undefined : this.sockets.get(id)
    if (id === undefined || socket === undefined) return
    const { read, written, seenRead } = socket
    const heardAt = read === seenRead ? socket.heardAt : this.now
    this.sockets.delete(id)
    this.#ended.push(id)
    this.dispatch(socketClosed(id, { read, written, heardAt, byPeer: this.#draws.chance(0.2) }))
  }

  /** Events that answer nothing any more, or never did: they must change nothing. */
  #disturb(): void {
    // Time has passed since the last event: what follows from that comes first.
    this.dispatch(socketClosed(-1))
    const before = this.state
    const draws = this.#draws
    const id = draws.one([-1, 0, 1e9, ...this.#ended.slice(-20)])
    const address = draws.one([...this.world.addresses, 'nowhere:1']) ?? ''
    const live = draws.one([...this.dials.keys()]) ?? id
    const running = draws.one([...this.attempts.keys()]) ?? id
    const event = draws.one<Event>([
      { type: 'attemptFailed', dial: live, attempt: id, failure: refused },
      { type: 'attemptFailed', dial: -7, attempt: running, failure: refused },
      { type: 'attemptConnected', dial: live, attempt: id },
      { type: 'attemptConnected', dial: -7, attempt: running },
      { type: 'dialCancelled', dial: -7, reason: 'stale' },
      { type: 'questionConnected', address, question: id },
      { type: 'questionFailed', address, question: id, failure: refused },
      {
        type: 'questionAnswered', address, question: id, status: 200, authorized: true,
        body: { kind: 'list', ready: [at('9.9.9.9:9')], unready: [], refused: [], isPrivate: false },
      },
      socketClosed(id),
      { type: 'refusalSeen', socket: id },
      { type: 'warningPassed', kind: 'nothing' },
    ])
    this.events += 1
    const [next, effects] = settledStep(before, event, this.now)
    const isLate = event.type === 'attemptConnected'
    const expected = isLate ? [{ type: 'destroy', dial: event.dial, attempt: event.attempt }] : []
    assert.deepStrictEqual(effects, expected, `a stale ${event.type} had effects`)
    assert.equal(next, before, `a stale ${event.type} changed the state`)
  }

  // ---- what the runtime itself knows of an event

  #arrived(event: Event): void {
    switch (event.type) {
      case 'attemptConnected': {
        const attempt = this.attempts.get(event.attempt)
        if (attempt !== undefined) attempt.madeAt = this.now
        return
      }
      case 'attemptFailed':
        if (this.attempts.delete(event.attempt)) this.#ended.push(event.attempt)
        return
      case 'questionConnected': {
        const question = this.questions.get(event.question)
        if (question === undefined) return
        question.connection = { madeAt: this.now }
        if (question.on !== 'full') this.kept.set(question.address, question.connection)
        return this.#answer(event.question, question, question.connection)
      }
      case 'questionAnswered':
        return void this.#endQuestion(event.question)
      case 'questionFailed': {
        const question = this.#endQuestion(event.question)
        if (question !== undefined) this.#endConnection(question)
        return
      }
      default:
    }
  }

  #endQuestion(id: Id): ModelQuestion | undefined {
    const question = this.questions.get(id)
    if (this.questions.delete(id)) this.#ended.push(id)
    return question
  }

  /** A connection that a question ended with is not kept. */
  #endConnection({ address, connection }: ModelQuestion): void {
    if (connection !== undefined && this.kept.get(address) === connection) this.kept.delete(address)
  }

  /** The monitor connection, unless a question that went unanswered is still on it. */
  #idle(address: Address): ModelConnection | undefined {
    const connection = this.kept.get(address)
    for (const question of this.questions.values()) if (question.connection === connection) return undefined
    return connection
  }

  // ---- effects

  #perform(effect: Effect, event: Event): void {
    switch (effect.type) {
      case 'connect':
        return this.#connect(effect)
      case 'destroy':
        // A success that crossed the order to destroy it.
        if (event.type === 'attemptConnected' && !this.attempts.has(effect.attempt)) return
        return void this.#endAttempt(effect.attempt)
      case 'adopt': {
        const { address } = this.#endAttempt(effect.attempt)
        const question = [...this.questions.values()].find((each) => each.attempt === effect.attempt)
        assert.ok(question?.connection, `there is no question on attempt ${effect.attempt}`)
        return void this.kept.set(address, question.connection)
      }
      case 'deliver': {
        for (const { attempt } of this.questions.values()) assert.notEqual(
          attempt,
          effect.attempt,
          'a question is on it',
        )
        const { dial, address, madeAt = this.now } = this.#endAttempt(effect.attempt)
        this.#ended.pop()
        assert.deepEqual({ dial, address }, { dial: effect.dial, address: effect.address }, 'it went to the wrong dial')
        this.#endDial(effect.dial)
        const fresh = {
          read: 0, written: 0, idle: false, retired: false, reported: '0 false false', readTold: 0, seenRead: 0,
          heardAt: -Infinity, begun: undefined,
        }
        return void this.sockets.set(effect.attempt, { address, madeAt, ...fresh })
      }
      case 'reject':
        this.#invariants.assertRejected(effect)
        return this.#endDial(effect.dial)
      case 'ask':
        return this.#ask(effect)
      case 'abandon': {
        const question = this.#endQuestion(effect.question)
        // Its connection goes with it. That of one that was deaf has been kept no longer.
        if (question !== undefined) this.#endConnection(question)
        return assert.equal(question?.address, effect.address, `question ${effect.question} was ended twice`)
      }
      case 'closeMonitor':
        return void this.kept.delete(effect.address)
      case 'retire': {
        const socket = this.sockets.get(effect.socket)
        assert.ok(
          socket !== undefined && !socket.retired,
          `socket ${effect.socket} was retired twice, or after its end`,
        )
        return void (socket.retired = true)
      }
      case 'sever':
        this.#invariants.assertSevered(effect)
        return void this.sockets.delete(effect.socket)
      case 'settleRefresh':
        return assert.ok(this.refreshes.delete(effect.refresh), `refresh ${effect.refresh} was settled twice`)
      case 'save':
      case 'report':
    }
  }

  #connect({ dial: id, attempt, endpoint }: Effect & { type: 'connect' }): void {
    const dial = this.dials.get(id)
    const address = addressOf(endpoint)
    assert.ok(dial, `a connect for dial ${id}, which has ended`)
    assert.ok(!this.attempts.has(attempt), 'an attempt id was used twice')
    // F1: a configured address may be tried in three ways, and side by side.
    const others = [...this.attempts.values()].filter((other) => other.dial === id && other.address === address)
    assert.ok(others.length < 3, `dial ${id} tries ${address} ${others.length + 1} times at a time`)
    const times = (dial.tried.get(address) ?? 0) + 1
    // F3: one more where a question spoilt the connection that there was.
    assert.ok(times <= 3 * (dial.restarts + 1) + 1, `dial ${id} tried ${address} ${times} times`)
    dial.tried.set(address, times)
    this.attempts.set(attempt, { dial: id, address, madeAt: undefined })
    const fate = this.world.connect(address, this.now)
    if (fate === undefined) return
    if ('failure' in fate) return this.#later(
      fate.at,
      { type: 'attemptFailed', dial: id, attempt, failure: fate.failure },
    )
    const isPrivate = this.#draws.one([undefined, false, true])
    this.#later(
      fate.at,
      { type: 'attemptConnected', dial: id, attempt, ...(isPrivate === undefined ? {} : { isPrivate }) },
    )
  }

  #endAttempt(id: Id): ModelAttempt {
    const attempt = this.attempts.get(id)
    assert.ok(attempt, `attempt ${id} was ended twice`)
    this.attempts.delete(id)
    this.#ended.push(id)
    return attempt
  }

  #endDial(id: Id): void {
    assert.ok(this.dials.delete(id), `dial ${id} ended twice`)
  }

  #ask({ question: id, endpoint, depth, on, attempt }: Effect & { type: 'ask' }): void {
    const address = addressOf(endpoint)
    const peer = this.state.peers.get(address)
    for (const [other, each] of this.questions) {
      assert.ok(each.address !== address || peer?.deaf?.question === other, `${address} is asked twice at a time`)
    }
    const question: ModelQuestion = { address, depth, on, sentAt: this.now, attempt, connection: undefined }
    const madeAt = attempt === undefined ? undefined : this.attempts.get(attempt)?.madeAt
    if (madeAt !== undefined) question.connection = { madeAt }
    else if (on === 'kept') question.connection = this.#idle(address)
    this.questions.set(id, question)
    const isThere = question.connection !== undefined
    if (peer?.question?.id === id) assert.equal(
      peer.question.connectedAt !== undefined,
      isThere,
      `the connection of ${id}`,
    )
    if (question.connection !== undefined) return this.#answer(id, question, question.connection)
    const fate = this.world.connect(address, this.now)
    if (fate === undefined) return
    this.#later(fate.at, 'failure' in fate
      ? { type: 'questionFailed', address, question: id, failure: fate.failure }
      : { type: 'questionConnected', address, question: id })
  }

  #answer(id: Id, { address, depth }: ModelQuestion, { madeAt }: ModelConnection): void {
    const fate = this.world.answer(address, depth, madeAt, this.now)
    if (fate === undefined) return
    if ('failure' in fate) return this.#later(
      fate.at,
      { type: 'questionFailed', address, question: id, failure: fate.failure },
    )
    const { at: time, ...answer } = fate
    this.#later(time, { type: 'questionAnswered', address, question: id, ...answer })
  }

  #later(time: number, event: Event): void {
    this.#arrivals.push({ at: time, event })
  }
}
