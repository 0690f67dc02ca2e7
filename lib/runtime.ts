/**
 * The interpreter of effects: it owns the clock, the random seed, the timer, the sockets in their callers' hands and
 * the queue of events, and decides nothing. An effect that causes an event enqueues it; `step` is never re-entered.
 */
import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { debuglog } from 'node:util'
import { isPrivate } from './address.ts'
import type { ConnectSocket } from './connect/attempt.ts'
import { drop } from './connect/attempt.ts'
import type { Wanted } from './connect/connections.ts'
import { Connections } from './connect/connections.ts'
import type { RouteOptions } from './connect/route.ts'
import type { Address, Endpoint } from './core/endpoint.ts'
import { addressOf } from './core/endpoint.ts'
import type { Snapshot } from './core/snapshot.ts'
import { snapshotOf } from './core/snapshot.ts'
import type {
  Cause, Effect, Event, Failure, Id, Reading, RefreshOutcome, Rejection, Report, State,
} from './core/state.ts'
import { initialState, nextDeadline, step } from './core/step.ts'
import type { Credentials, IdentityOptions } from './credentials/credentials.ts'
import type { EndpointStore } from './discovery/lists.ts'
import { Lists } from './discovery/lists.ts'
import type { Answer, BorrowedConnection } from './discovery/monitor.ts'
import { Monitor } from './discovery/monitor.ts'
import {
  abortError, causeText, closedError, failureError, foreignHost, kindOf, MultidialError, severedError, timeoutError,
} from './errors.ts'
import type { AttemptFailure } from './errors.ts'
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

interface PendingDial {
  readonly wanted: Wanted
  readonly callback: DialCallback
  readonly unlisten: () => void
}

/** A connection being made, or made and held back. */
interface PendingAttempt {
  readonly cancel: () => void
  socket?: TLSSocket
  /** A question is, or was, on it (F3). */
  borrowed?: BorrowedConnection
  /** Stops looking after it while it is held back. */
  unwatch?: () => void
}

/** A socket in its caller's hands. */
interface Held {
  readonly id: Id
  readonly socket: TLSSocket
  /** What it had carried when it was handed over. */
  readonly baseRead: number
  readonly baseWritten: number
  read: number
  written: number
  idle: boolean
  wasIdle: boolean
  retired: boolean
}

interface Refresh {
  readonly resolve: (endpoints: readonly Endpoint[]) => void
  readonly reject: (error: Error) => void
}

export class Runtime implements DialerPool {
  readonly #options: RuntimeOptions
  readonly #connections: Connections
  readonly #monitor: Monitor
  readonly #lists: Lists
  readonly #hosts = new Hosts()
  readonly #dials = new Map<Id, PendingDial>()
  /** Of all dials, those that have ended too: the losers of a race are destroyed after its winner is handed over. */
  readonly #attempts = new Map<Id, PendingAttempt>()
  readonly #refreshes = new Map<Id, Refresh>()
  readonly #questions = new Map<Id, () => void>()
  readonly #held = new Map<Id, Held>()
  readonly #bySocket = new WeakMap<Duplex, Held>()
  readonly #queue: Event[] = []
  #draining = false
  #state: State
  #lastId = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Infinity

  constructor(options: RuntimeOptions) {
    this.#options = options
    const { checked, route, credentials, connectSocket, mapEndpoint, store } = options
    const { settings, seeds, alternates } = checked
    this.#state = initialState(settings, seeds, alternates, randomInt(2 ** 32))
    const onIdentityChanged = (): void => this.#dispatch({ type: 'identityChanged' })
    this.#connections = new Connections({ checked, route, credentials, connectSocket, onIdentityChanged })
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
    const wanted = this.#connections.wantedBy(request)
    const giveUp = (reason: Error): void => this.#dispatch({ type: 'dialCancelled', dial: id, reason })
    const unlisten = onAbort(request.signal ?? undefined, (reason) => giveUp(abortError(reason)))
    this.#dials.set(id, { wanted, callback, unlisten })
    this.#connections.refresh()
    this.#lists.loadHints()
    this.#dispatch({ type: 'dialRequested', dial: id, own: wanted.differs, plain: !wanted.differs })
    return giveUp
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

  serves(request: DialRequest): boolean {
    // Before a pool looks for an idle connection: those made as somebody else are closed (I5).
    if (!this.#state.closed) this.#connections.refresh()
    return this.#hosts.serves(request, this.#state.peers)
  }

  released(socket: Duplex): boolean {
    const held = this.#bySocket.get(socket)
    if (held === undefined) return true
    held.idle = true
    return !held.retired
  }

  acquired(socket: Duplex): void {
    const held = this.#bySocket.get(socket)
    if (held === undefined) return
    held.idle = false
    if (this.#state.sampleAt === Infinity) this.#dispatch({ type: 'trafficResumed' })
  }

  answered(socket: Duplex, status: number): void {
    const held = this.#bySocket.get(socket)
    if (held !== undefined && (status === 429 || status >= 500)) this.#dispatch({ type: 'refusalSeen', socket: held.id })
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
      }
    } finally {
      this.#draining = false
    }
    this.#arm()
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case 'connect':
        return this.#attempt(effect.dial, effect.attempt, effect.endpoint)
      case 'destroy':
        return this.#destroy(effect.attempt)
      case 'adopt':
        return this.#adopt(effect.attempt)
      case 'deliver':
        return this.#deliver(effect.dial, effect.attempt)
      case 'reject':
        return this.#settle(effect.dial, this.#rejectionError(effect.rejection))
      case 'ask':
        return this.#ask(effect)
      case 'abandon':
        this.#questions.get(effect.question)?.()
        this.#questions.delete(effect.question)
        return
      case 'closeMonitor':
        return this.#monitor.close(effect.address)
      case 'retire':
        return this.#retire(effect.socket)
      case 'sever':
        return this.#sever(effect.socket, effect.address, effect.reason)
      case 'settleRefresh':
        return this.#settleRefresh(effect.refresh, effect.outcome)
      case 'save':
        return this.#lists.save(effect.endpoints)
      case 'report':
        return this.#options.onReport(effect.report)
    }
  }

  // ---- the clock

  #arm(): void {
    const at = nextDeadline(this.#state)?.at ?? Infinity
    // A timer that fires too early costs less than a new one for each event.
    if (at < this.#timerAt || this.#timer === undefined || at === Infinity) this.#setTimer(at)
    if (this.#dials.size > 0 || this.#refreshes.size > 0) this.#timer?.ref()
    else this.#timer?.unref()
  }

  #setTimer(at: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = at
    if (at === Infinity) {
      this.#timer = undefined
      return
    }
    const delay = Math.min(MAX_MS, Math.max(0, Math.ceil(at - performance.now())))
    // What has arrived by now is read first: it may be just what is being waited for.
    this.#timer = setTimeout(() => setImmediate(() => this.#wake()), delay)
  }

  #wake(): void {
    this.#timer = undefined
    this.#timerAt = Infinity
    const deadline = nextDeadline(this.#state)
    if (deadline === undefined || deadline.at > performance.now()) return this.#arm()
    debug('woken: %s', deadline.why)
    const readings = this.#sample()
    if (this.#held.size > 0) this.#dispatch({ type: 'socketsSampled', readings })
    this.#dispatch({ type: 'deadlineReached' })
  }

  /** What sockets have carried, of those that have carried anything since the last time. */
  #sample(): Reading[] {
    const readings: Reading[] = []
    for (const held of this.#held.values()) {
      const { id, socket, idle } = held
      const read = socket.bytesRead - held.baseRead
      const written = socket.bytesWritten - held.baseWritten
      if (read === held.read && written === held.written && idle === held.wasIdle) continue
      held.read = read
      held.written = written
      held.wasIdle = idle
      readings.push({ socket: id, read, written, idle })
    }
    return readings
  }

  // ---- dials

  #attempt(dialId: Id, attemptId: Id, endpoint: Endpoint): void {
    const dial = this.#dials.get(dialId)
    if (dial === undefined) return
    const cancel = this.#connections.connect(endpoint, dial.wanted, (error, socket) => {
      const pending = this.#attempts.get(attemptId)
      if (pending === undefined) return socket && drop(socket)
      if (socket === undefined) {
        this.#attempts.delete(attemptId)
        return this.#dispatch({ type: 'attemptFailed', dial: dialId, attempt: attemptId, failure: failureOf(error) })
      }
      pending.socket = socket
      const { remoteAddress } = socket
      const where = remoteAddress === undefined ? {} : { isPrivate: isPrivate(remoteAddress) }
      this.#dispatch({ type: 'attemptConnected', dial: dialId, attempt: attemptId, ...where })
      if (this.#attempts.get(attemptId) === pending) this.#watch(dialId, attemptId, pending, socket)
    })
    this.#attempts.set(attemptId, { cancel })
  }

  /** While it is held back, nobody else looks after it. */
  #watch(dial: Id, attempt: Id, pending: PendingAttempt, socket: TLSSocket): void {
    let failure: Failure = { kind: 'broken', message: 'closed before it was handed over' }
    const onError = (error: Error): void => {
      failure = failureOf(error)
    }
    const onClose = (): void => {
      this.#attempts.delete(attempt)
      this.#dispatch({ type: 'attemptFailed', dial, attempt, failure })
    }
    socket.on('error', onError).on('close', onClose)
    pending.unwatch = () => socket.off('error', onError).off('close', onClose)
  }

  #destroy(attemptId: Id): void {
    const pending = this.#attempts.get(attemptId)
    this.#attempts.delete(attemptId)
    pending?.unwatch?.()
    if (pending?.socket === undefined) pending?.cancel()
    else drop(pending.socket)
  }

  #adopt(attemptId: Id): void {
    const pending = this.#attempts.get(attemptId)
    this.#attempts.delete(attemptId)
    pending?.unwatch?.()
    pending?.borrowed?.keep()
  }

  #deliver(dialId: Id, attemptId: Id): void {
    const dial = this.#dials.get(dialId)
    const pending = this.#attempts.get(attemptId)
    const socket = pending?.socket
    if (dial === undefined || socket === undefined) return
    this.#attempts.delete(attemptId)
    pending?.unwatch?.()
    pending?.borrowed?.release()
    const held: Held = {
      id: attemptId, socket, baseRead: socket.bytesRead, baseWritten: socket.bytesWritten,
      read: 0, written: 0, idle: false, wasIdle: false, retired: false,
    }
    this.#held.set(attemptId, held)
    this.#bySocket.set(socket, held)
    socket.once('close', () => this.#closed(held))
    this.#settle(dialId, null, socket)
  }

  #closed(held: Held): void {
    const { id, socket } = held
    this.#held.delete(id)
    this.#dispatch({
      type: 'socketClosed',
      socket: id,
      read: socket.bytesRead - held.baseRead,
      written: socket.bytesWritten - held.baseWritten,
      byPeer: socket.readableEnded || isOfPeer(socket.errored),
    })
  }

  #settle(dialId: Id, error: Error | null, socket?: TLSSocket): void {
    const dial = this.#dials.get(dialId)
    if (dial === undefined) return
    this.#dials.delete(dialId)
    dial.unlisten()
    // A socket has no listener for its errors until its caller has it: that cannot wait. An error must not come
    // before `dial` has returned: that can.
    if (socket !== undefined) invoke(dial.callback, null, socket)
    else process.nextTick(invoke, dial.callback, error)
  }

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

  // ---- sockets in use

  #retire(id: Id): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.retired = true
    if (held.idle) held.socket.destroy()
  }

  #sever(id: Id, address: Address, reason: string): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    this.#held.delete(id)
    const error = severedError(address, reason)
    // A socket that nobody listens to must not end the process.
    if (held.socket.listenerCount('error') === 0) held.socket.on('error', () => {})
    held.socket.destroy(error)
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
    const pending = attempt === undefined ? undefined : this.#attempts.get(attempt)
    if (attempt === undefined) this.#questions.set(question, this.#monitor.ask(asked, settle))
    else if (pending?.socket !== undefined) {
      pending.borrowed = this.#monitor.askOn(pending.socket, asked, settle)
      this.#questions.set(question, pending.borrowed.giveUp)
    }
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

function failureOf(error: Error | undefined): Failure {
  return { kind: kindOf(error), message: causeText(error), error }
}

/** Whether the other end broke the connection: what its caller destroys it with has no system call, nor is it OpenSSL's. */
function isOfPeer(error: Error | null): boolean {
  return error !== null && ('syscall' in error || ('library' in error && error.library === 'SSL routines'))
}

/** Calls the listener when the signal is aborted; returns what stops listening. */
export function onAbort(signal: AbortSignal | undefined, listener: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {}
  const aborted = (): void => listener(signal.reason)
  signal.addEventListener('abort', aborted, { once: true })
  return () => signal.removeEventListener('abort', aborted)
}

/** A callback that throws is its owner's bug, and must surface without keeping the queue from its next event. */
function invoke(callback: DialCallback, error: Error | null, socket?: TLSSocket): void {
  try {
    callback(error, socket)
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}
