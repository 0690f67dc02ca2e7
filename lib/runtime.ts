/**
 * The interpreter of effects: it owns the clock, the random seed the timer and the queue of events, and
 * decides nothing. An effect that causes an event enqueues it; `step` is never re-entered.
 */
import { randomInt } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { debuglog } from 'node:util'
import type { ConnectSocket } from './connect/attempt.ts'
import { Connections } from './connect/connections.ts'
import type { RouteOptions } from './connect/route.ts'
import type { Address, Endpoint } from './core/endpoint.ts'
import { addressOf } from './core/endpoint.ts'
import type { Snapshot } from './core/snapshot.ts'
import { snapshotOf } from './core/snapshot.ts'
import type {
  Cause, Effect, Event, Id, RefreshOutcome, Rejection, Report, State,
} from './core/state.ts'
import { initialState, nextDeadline, step } from './core/step.ts'
import { isCloselyWatched } from './core/traffic.ts'
import type { Credentials, IdentityOptions } from './credentials/credentials.ts'
import type { EndpointStore } from './discovery/lists.ts'
import { Lists } from './discovery/lists.ts'
import type { Answer } from './discovery/monitor.ts'
import { Monitor } from './discovery/monitor.ts'
import {
  abortError, closedError, failureError, foreignHost, MultidialError, timeoutError,
} from './errors.ts'
import type { AttemptFailure } from './errors.ts'
import type { MadeCallback } from './dials.ts'
import { Dials, failureOf } from './dials.ts'
import { HandedSockets } from './handed-sockets.ts'
import { Hosts, hostText } from './hosts.ts'
import type { CheckedOptions } from './options.ts'
import { MAX_MS } from './options.ts'
import type { DialCallback, DialerPool, DialRequest } from './pool.ts'

const debug = debuglog('multidialer')

export interface RuntimeOptions {
  readonly checked: CheckedOptions
  readonly route: RouteOptions
  readonly credentials: Credentials
  readonly connectSocket: ConnectSocket | undefined
  readonly mapEndpoint: ((endpoint: Endpoint) => Endpoint | undefined) | undefined
  readonly store: EndpointStore | undefined
  readonly onReport: (report: Report) => void
}

/** The parts of a dialer that `check()` asks, and what the machine knows at that moment. */
export interface Inspection {
  readonly connections: Connections
  readonly lists: Lists
  readonly state: State
  readonly checked: CheckedOptions
}

interface Refresh {
  readonly resolve: (endpoints: readonly Endpoint[]) => void
  readonly reject: (error: Error) => void
}

type DialEffect = Extract<Effect, { type: 'connect' | 'destroy' | 'adopt' | 'deliver' | 'reject' }>

export class Runtime implements DialerPool {
  readonly #options: RuntimeOptions
  readonly #connections: Connections
  readonly #monitor: Monitor
  readonly #lists: Lists
  readonly #hosts = new Hosts()
  readonly #dials: Dials<TLSSocket>
  /** Of pipes; made when the first one is. */
  #bareDials: Dials<Socket> | undefined
  readonly #sockets: HandedSockets
  readonly #refreshes = new Map<Id, Refresh>()
  readonly #questions = new Map<Id, () => void>()
  readonly #queue: Event[] = []
  #draining = false
  #state: State
  #lastId = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Infinity
  /** When it was to wake: one that is replaced when it is overdue has been overdue all the same (H4). */
  #dueAt = Infinity
  readonly #self = new WeakRef(this)

  constructor(options: RuntimeOptions) {
    this.#options = options
    const { checked, route, credentials, connectSocket, mapEndpoint, store } = options
    const { settings, seeds, alternates } = checked
    this.#state = initialState(settings, seeds, alternates, randomInt(2 ** 32))
    const onIdentityChanged = (): void => this.#dispatch({ type: 'identityChanged' })
    this.#connections = new Connections({ checked, route, credentials, connectSocket, onIdentityChanged })
    const dispatch = (event: Event): void => this.#dispatch(event)
    this.#dials = new Dials((...asked) => this.#connections.connect(...asked), dispatch)
    this.#sockets = new HandedSockets(dispatch, settings.heartbeatInterval)
    this.#monitor = new Monitor((endpoint, full, settle) => this.#connections.connectOwn(endpoint, full, settle))
    this.#lists = new Lists({
      seeds, heartbeatTimeout: settings.heartbeatTimeout, credentials, mapEndpoint, store,
      onWarning: (kind, error) => this.warn(kind, error),
      onPassed: (kind) => this.passed(kind),
      onHints: (endpoints) => this.#dispatch({ type: 'hintsLoaded', endpoints }),
      onLateToken: () => this.#dispatch({ type: 'refreshRequested' }),
    })
  }

  dial(request: DialRequest, callback: DialCallback): (reason: Error) => void {
    const refusal = this.#refusal(request)
    if (refusal !== undefined) {
      process.nextTick(callback, refusal)
      return () => {}
    }
    const id = ++this.#lastId
    const wanted = this.#connections.wantedBy(this.plain(request))
    const giveUp = (reason: Error): void => this.#dispatch({ type: 'dialCancelled', dial: id, reason })
    const unlisten = onAbort(request.signal ?? undefined, (reason) => giveUp(abortError(reason)))
    this.#dials.begin(id, wanted, callback, unlisten)
    this.#connections.refresh()
    this.#lists.loadHints()
    this.#dispatch({ type: 'dialRequested', dial: id, own: wanted.differs, plain: !wanted.differs })
    return giveUp
  }

  /**
   * Dials for a pipe: a TCP connection, which obeys the rules of all others and proves nothing itself, so that only an
   * endpoint is dialled that something else has verified (D4).
   */
  dialBare(callback: MadeCallback<Socket>): (reason: Error) => void {
    const id = ++this.#lastId
    this.#bareDials ??= new Dials<Socket>(
      (endpoint, _wanted, settle) => this.#connections.connectBare(endpoint, settle), (event) => this.#dispatch(event))
    this.#bareDials.begin(id, { request: {}, own: undefined, differs: true }, callback, () => {})
    this.#connections.refresh()
    this.#dispatch({ type: 'dialRequested', dial: id, own: true, plain: false, bare: true })
    return (reason) => this.#dispatch({ type: 'dialCancelled', dial: id, reason })
  }

  /** What `check()` goes by. It asks beside the machine, so that nothing that it meets counts. */
  inspect(): Inspection {
    this.#connections.refresh()
    return { connections: this.#connections, lists: this.#lists, state: this.#state, checked: this.#options.checked }
  }

  refresh(): Promise<readonly Endpoint[]> {
    const refresh = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#refreshes.set(refresh, { resolve, reject })
      if (!this.#state.closed) this.#lists.loadHints()
      this.#dispatch({ type: 'refreshRequested', refresh })
    })
  }

  snapshot(): Snapshot {
    return snapshotOf(this.#state, performance.now())
  }

  plain<Request extends DialRequest>(request: Request): Request {
    return this.#connections.plain(request)
  }

  serves(request: DialRequest): boolean {
    // Before a pool looks for an idle connection: those made as somebody else are closed (I5).
    if (!this.#state.closed) this.#connections.refresh()
    return this.#hosts.serves(request, this.#state.peers)
  }

  released(socket: Duplex): boolean {
    return this.#sockets.released(socket)
  }

  acquired(socket: Duplex, isPlain: boolean = false): void {
    const isOurs = this.#sockets.acquired(socket, isPlain)
    if (isOurs && this.#state.sampleAt === Infinity) this.#dispatch({ type: 'trafficResumed' })
  }

  answered(socket: Duplex, status: number): void {
    const id = this.#sockets.idOf(socket)
    if (id !== undefined && (status === 429 || status >= 500)) this.#dispatch({ type: 'refusalSeen', socket: id })
  }

  close(): void {
    this.#dispatch({ type: 'closed' })
    this.#monitor.closeAll()
    clearTimeout(this.#timer)
  }

  /** Another identity from now on: see Credentials. What the one before has made is retired (I5). */
  renew(identity: IdentityOptions): void {
    this.#options.credentials.renew(identity)
    this.#connections.refresh()
  }

  /** What another part of the shell has to warn of. */
  warn(kind: string, error: Error): void {
    this.#dispatch({ type: 'warningRaised', kind, message: error.message, error })
  }

  /** What was warned of has passed: it is news when it comes back. */
  passed(kind: string): void {
    if (this.#state.warned.has(kind)) this.#dispatch({ type: 'warningPassed', kind })
  }

  // ---- events in, effects out

  #dispatch(event: Event): void {
    this.#queue.push(event)
    if (this.#draining) return
    this.#draining = true
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        const [state, effects] = step(this.#state, next, performance.now())
        this.#state = state
        for (const effect of effects) this.#perform(effect)
        // H3: What a question will be held against is what its endpoint's sockets have said before it.
        if (effects.some(({ type }) => type === 'ask')) this.#look(true)
      }
    } finally {
      this.#draining = false
    }
    this.#arm()
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'connect':
      case 'destroy':
      case 'adopt':
      case 'deliver':
      case 'reject':
        this.#performDial(effect, this.#dials)
        // Each knows its own dials alone.
        if (this.#bareDials !== undefined) this.#performDial(effect, this.#bareDials)
        return
      case 'ask':
        return this.#ask(effect)
      case 'abandon':
        this.#questions.get(effect.question)?.()
        this.#questions.delete(effect.question)
        return
      case 'closeMonitor':
        return this.#monitor.close(effect.address)
      case 'retire':
        return this.#sockets.retire(effect.socket)
      case 'sever':
        return this.#sockets.sever(effect.socket, effect.address, effect.reason)
      case 'settleRefresh':
        return this.#settleRefresh(effect.refresh, effect.outcome)
      case 'save':
        return this.#lists.save(effect.endpoints)
      case 'report':
        return this.#options.onReport(effect.report)
    }
  }

  #performDial(effect: DialEffect, dials: Dials<TLSSocket> | Dials<Socket>): void {
    switch (effect.type) {
      case 'connect':
        return dials.connect(effect.dial, effect.attempt, effect.endpoint)
      case 'destroy':
        return dials.destroy(effect.attempt)
      case 'adopt':
        return dials.adopt(effect.attempt)
      case 'deliver':
        return dials.deliver(effect.dial, effect.attempt, (socket: Socket) => {
          this.#sockets.add(effect.attempt, effect.address, socket)
        })
      case 'reject':
        return dials.end(effect.dial, this.#rejectionError(effect.rejection))
    }
  }

  // ---- the clock

  #arm(): void {
    const at = nextDeadline(this.#state)?.at ?? Infinity
    // A timer that fires too early costs less than a new one for each event.
    if (at < this.#timerAt || this.#timer === undefined || at === Infinity) this.#setTimer(at)
    if (this.#state.sampleAt === Infinity) this.#monitor.closeHolding()
    const dialling = this.#dials.size + (this.#bareDials?.size ?? 0)
    if (dialling > 0 || this.#refreshes.size > 0) this.#timer?.ref()
    else this.#timer?.unref()
  }

  #setTimer(at: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = at
    if (at === Infinity) {
      this.#timer = undefined
      this.#dueAt = Infinity
      return
    }
    // Weakly: a dialer that nobody has any more need not wait for its last deadline to be collected (H10).
    const self = this.#self
    const now = performance.now()
    const delay = Math.min(MAX_MS, Math.max(0, Math.ceil(at - now)))
    this.#dueAt = Math.min(this.#dueAt, now + delay)
    // What has arrived by now is read first: it may be just what is being waited for.
    this.#timer = setTimeout(() => setImmediate(() => Runtime.#wakeIfAlive(self)), delay)
  }

  static #wakeIfAlive(self: WeakRef<Runtime>): void {
    const runtime = self.deref()
    if (runtime !== undefined) runtime.#wake()
  }

  #wake(): void {
    const due = this.#dueAt
    this.#timer = undefined
    this.#timerAt = Infinity
    this.#dueAt = Infinity
    const deadline = nextDeadline(this.#state)
    if (deadline === undefined || deadline.at > performance.now()) return this.#arm()
    // Bytes are looked at several times a second: that would hide the rest.
    if (deadline.why !== 'sample') debug('woken: %s', deadline.why)
    this.#look(deadline.why !== 'sample' || isCloselyWatched(this.#state))
    this.#dispatch({ type: 'deadlineReached', due })
  }

  #look(closely: boolean): void {
    if (this.#sockets.size > 0) this.#dispatch({ type: 'socketsSampled', readings: this.#sockets.sample(closely) })
  }

  // ---- how things end

  #rejectionError(rejection: Rejection): Error {
    switch (rejection.kind) {
      case 'closed':
        return closedError()
      case 'cancelled':
        return rejection.reason instanceof Error ? rejection.reason : abortError(rejection.reason)
      case 'failed':
        return new MultidialError(failuresOf(rejection.causes))
      case 'timedOut': {
        const late = timeoutError('the dial', this.#options.checked.settings.dialTimeout)
        return new MultidialError(failuresOf(rejection.causes), late)
      }
    }
  }

  #refusal(request: DialRequest): Error | undefined {
    if (this.#state.closed) return closedError()
    if (request.signal?.aborted === true) return abortError(request.signal.reason)
    return this.#hosts.serves(request, this.#state.peers) ? undefined : foreignHost(hostText(request))
  }

  // ---- questions

  #ask(effect: Effect & { type: 'ask' }): void {
    const { question, endpoint, via, depth, on, reauthorize, attempt } = effect
    const address = addressOf(endpoint)
    this.#connections.refresh()
    const asked = {
      endpoint, via, depth, on,
      authorization: () => this.#lists.authorize(reauthorize),
      onConnected: () => this.#dispatch({ type: 'questionConnected', address, question }),
    }
    const settle = (answer: Answer): void => {
      if (this.#questions.delete(question)) this.#dispatch(this.#eventOf(answer, address, question, via))
    }
    const giveUp = attempt === undefined
      ? this.#monitor.ask(asked, settle)
      : this.#dials.borrow(attempt, (socket) => this.#monitor.askOn(socket, asked, settle))
    if (giveUp !== undefined) this.#questions.set(question, giveUp)
  }

  #eventOf(answer: Answer, address: Address, question: Id, via: 'endpoints' | 'endpointslices'): Event {
    if ('error' in answer) {
      return { type: 'questionFailed', address, question, failure: failureOf(answer.error) }
    }
    const { response: { status, body }, authorized } = answer
    const event = { type: 'questionAnswered', address, question, status, authorized } as const
    return status === 200 ? { ...event, body: this.#lists.read(body, via) } : event
  }

  #settleRefresh(id: Id, outcome: RefreshOutcome): void {
    const refresh = this.#refreshes.get(id)
    this.#refreshes.delete(id)
    switch (outcome.kind) {
      case 'refreshed':
        return refresh?.resolve(outcome.endpoints.map((endpoint) => ({ ...endpoint })))
      case 'closed':
        return refresh?.reject(closedError())
      case 'failed':
        return refresh?.reject(new MultidialError(failuresOf(outcome.causes)))
    }
  }
}

function failuresOf(causes: readonly Cause[]): AttemptFailure[] {
  return causes.map(({ address, failure }) => ({ address, error: failureError(failure) }))
}

/** Calls the listener when the signal is aborted; returns what stops listening. */
export function onAbort(signal: AbortSignal | undefined, listener: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {}
  const aborted = (): void => listener(signal.reason)
  signal.addEventListener('abort', aborted, { once: true })
  return () => signal.removeEventListener('abort', aborted)
}
