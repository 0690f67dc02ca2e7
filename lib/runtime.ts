/**
 * The interpreter of effects: it owns the clock, the random seed, the timer, the sockets and the queue of events,
 * and decides nothing. An effect that causes an event enqueues it; `step` is never re-entered.
 */
import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { SecureContext, TLSSocket } from 'node:tls'
import type { Credentials } from './credentials/credentials.ts'
import type { Address, Endpoint } from './core/endpoint.ts'
import type { Scope } from './address.ts'
import { addressOf } from './core/endpoint.ts'
import { scopeOf } from './address.ts'
import { readEndpointsBody } from './discovery/endpoints-body.ts'
import type { EndpointsBody } from './core/state.ts'
import { identityOf } from './connect/identity.ts'
import type { IdentityPolicy } from './connect/identity.ts'
import type { CheckedOptions } from './options.ts'
import { MAX_MS, toEndpoint, toHost } from './options.ts'
import type { Snapshot } from './core/snapshot.ts'
import { snapshotOf } from './core/snapshot.ts'
import type {
  Cause, Effect, Event, Failure, Id, Reading, RefreshOutcome, Rejection, Report, State,
} from './core/state.ts'
import { initialState, nextDeadline, step } from './core/step.ts'
import {
  abortError, causeText, closedError, codeOf, failureError, foreignHost, isIdentityCode, isLocalCode, MultidialError,
  severedError, timeoutError, withoutSecret,
} from './errors.ts'
import type { AttemptFailure } from './errors.ts'
import type { Answer } from './discovery/monitor.ts'
import { Monitor } from './discovery/monitor.ts'
import type { OwnTLS } from './connect/own-tls.ts'
import { ownTLSOf, routeOf } from './connect/own-tls.ts'
import type { DialCallback, DialerPool, DialRequest } from './pool.ts'
import type { ConnectSocket, Settle } from './connect/attempt.ts'
import { attempt, drop, Sessions } from './connect/attempt.ts'

/** A heartbeat goes without its token after this share of its time: that the endpoint lives is worth knowing anyway. */
const TOKEN_SHARE = 0.5

export interface RuntimeOptions {
  readonly checked: CheckedOptions
  readonly credentials: Credentials
  readonly connectSocket: ConnectSocket | undefined
  readonly mapEndpoint: ((endpoint: Endpoint) => Endpoint | undefined) | undefined
  readonly store: EndpointStore | undefined
  readonly onReport: (report: Report) => void
}

/** Where endpoints are kept from one process to the next, as hints. */
export interface EndpointStore {
  load(): Endpoint[] | Promise<Endpoint[]>
  save(endpoints: Endpoint[]): void | Promise<void>
}

interface PendingDial {
  readonly request: DialRequest
  readonly own: OwnTLS | undefined
  readonly callback: DialCallback
  readonly unlisten: () => void
}

/** What a connection is made for. */
interface Wanted {
  readonly request: DialRequest
  readonly own: OwnTLS | undefined
  /** False: it keeps no process alive. */
  readonly ref: boolean
  /** Called when TCP is there. */
  readonly onReached?: () => void
}

interface PendingAttempt {
  readonly cancel: () => void
  socket?: TLSSocket
}

/** A socket in its caller's hands. */
interface Held {
  readonly id: Id
  readonly socket: TLSSocket
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
  readonly #monitor: Monitor
  readonly #allowed: ReadonlySet<Scope>
  readonly #dials = new Map<Id, PendingDial>()
  /** Of all dials, those that have ended too: the losers of a race are destroyed after its winner is handed over. */
  readonly #attempts = new Map<Id, PendingAttempt>()
  readonly #refreshes = new Map<Id, Refresh>()
  readonly #heartbeats = new Map<Id, () => void>()
  readonly #held = new Map<Id, Held>()
  readonly #bySocket = new WeakMap<Duplex, Held>()
  readonly #queue: Event[] = []
  #draining = false
  #state: State
  #lastId = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Infinity
  #secureContext: SecureContext
  #policy: IdentityPolicy
  #generation: number
  #sessions = new Sessions()
  #sentToken: string | undefined
  #hinted = false
  /** The hosts and ports of this cluster, for the peers that they were made of. */
  #served: { readonly peers: State['peers']; readonly hosts: Set<string>; readonly ports: Set<number> } | undefined

  constructor(options: RuntimeOptions) {
    this.#options = options
    const { settings, seeds, alternates } = options.checked
    this.#allowed = new Set(seeds.flatMap(({ host }) => scopeOf(host) ?? []))
    this.#state = initialState(settings, seeds, alternates, randomInt(2 ** 32))
    const { context, generation } = options.credentials.current()
    this.#secureContext = context
    this.#policy = policyOf(options)
    this.#generation = generation
    this.#monitor = new Monitor((endpoint, settle) => this.#connectOwn(endpoint, settle))
  }

  dial(request: DialRequest, callback: DialCallback): (reason: Error) => void {
    const refusal = this.#refusal(request)
    if (refusal !== undefined) {
      process.nextTick(callback, refusal)
      return () => {}
    }
    const id = ++this.#lastId
    const own = ownTLSOf(request, this.#options.checked.rejectUnauthorized)
    const giveUp = (reason: Error): void => this.#dispatch({ type: 'dialCancelled', dial: id, reason })
    const unlisten = onAbort(request.signal ?? undefined, (reason) => giveUp(abortError(reason)))
    this.#dials.set(id, { request, own, callback, unlisten })
    this.#refreshContext()
    this.#loadHints()
    this.#dispatch({ type: 'dialRequested', dial: id, own: own !== undefined })
    return giveUp
  }

  refresh(): Promise<readonly Endpoint[]> {
    const refresh = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#refreshes.set(refresh, { resolve, reject })
      this.#loadHints()
      this.#dispatch({ type: 'refreshRequested', refresh })
    })
  }

  snapshot(): Snapshot {
    return snapshotOf(this.#state, performance.now())
  }

  serves(request: DialRequest): boolean {
    return this.#isServed(request.host ?? undefined, request.port ?? undefined)
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

  answered(_socket: Duplex, _status: number): void {}

  close(): void {
    this.#dispatch({ type: 'closed' })
    this.#monitor.closeAll()
    clearTimeout(this.#timer)
  }

  /** Other certificates from now on: see Credentials. Sessions that the ones before made are dropped (I3). */
  renew(values: Parameters<Credentials['renew']>[0]): void {
    this.#options.credentials.renew(values)
  }

  /** What another part of the shell has to warn of. */
  warn(kind: string, error: Error): void {
    this.#dispatch({ type: 'warningRaised', kind, message: error.message, error })
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
      case 'deliver':
        return this.#deliver(effect.dial, effect.attempt)
      case 'reject':
        return this.#settle(effect.dial, this.#rejectionError(effect.rejection))
      case 'heartbeat':
        return this.#heartbeat(effect)
      case 'abandon':
        this.#heartbeats.get(effect.heartbeat)?.()
        this.#heartbeats.delete(effect.heartbeat)
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
        return this.#save(effect.endpoints)
      case 'report':
        return this.#options.onReport(effect.report)
    }
  }

  // ---- the clock

  #arm(): void {
    const at = nextDeadline(this.#state)?.at ?? Infinity
    // A timer that fires too early costs less than a new one for each event.
    if (at < this.#timerAt || this.#timer === undefined) this.#setTimer(at)
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
    const at = nextDeadline(this.#state)?.at ?? Infinity
    if (at > performance.now()) return this.#arm()
    const readings = this.#sample()
    if (this.#held.size > 0) this.#dispatch({ type: 'socketsSampled', readings })
    this.#dispatch({ type: 'deadlineReached' })
  }

  /** What sockets have carried, of those that have carried anything since the last time. */
  #sample(): Reading[] {
    const readings: Reading[] = []
    for (const held of this.#held.values()) {
      const { id, socket, idle } = held
      const read = socket.bytesRead
      const written = socket.bytesWritten
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
    const { request, own } = dial
    let reached = false
    const onReached = (): void => {
      reached = true
    }
    const cancel = this.#secure(endpoint, { request, own, ref: true, onReached }, (error, socket) => {
      const pending = this.#attempts.get(attemptId)
      if (pending === undefined) return socket && drop(socket)
      if (socket === undefined) {
        this.#attempts.delete(attemptId)
        const failure = failureOf(error, own !== undefined && reached)
        return this.#dispatch({ type: 'attemptFailed', dial: dialId, attempt: attemptId, failure })
      }
      pending.socket = socket
      this.#dispatch({ type: 'attemptConnected', dial: dialId, attempt: attemptId })
    })
    this.#attempts.set(attemptId, { cancel })
  }

  #destroy(attemptId: Id): void {
    const pending = this.#attempts.get(attemptId)
    this.#attempts.delete(attemptId)
    if (pending?.socket === undefined) pending?.cancel()
    else drop(pending.socket)
  }

  #deliver(dialId: Id, attemptId: Id): void {
    const dial = this.#dials.get(dialId)
    const socket = this.#attempts.get(attemptId)?.socket
    if (dial === undefined || socket === undefined) return
    this.#attempts.delete(attemptId)
    const held = { id: attemptId, socket, read: 0, written: 0, idle: false, wasIdle: false, retired: false }
    this.#held.set(attemptId, held)
    this.#bySocket.set(socket, held)
    socket.once('close', () => {
      this.#held.delete(attemptId)
      this.#dispatch({ type: 'socketClosed', socket: attemptId })
    })
    this.#settle(dialId, null, socket)
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

  // ---- heartbeats and lists

  #heartbeat(effect: Effect & { type: 'heartbeat' }): void {
    const { heartbeat, endpoint, via, fresh, reauthorize } = effect
    const address = addressOf(endpoint)
    // A connection that is kept was made with the credentials of then.
    this.#refreshContext()
    const token = (): Promise<string | undefined> => this.#token(reauthorize)
    const giveUp = this.#monitor.ask({ endpoint, via, fresh, token }, (answer) => {
      if (!this.#heartbeats.delete(heartbeat)) return
      this.#dispatch(this.#eventOf(answer, address, heartbeat, via))
    })
    this.#heartbeats.set(heartbeat, giveUp)
  }

  #eventOf(answer: Answer, address: Address, heartbeat: Id, via: 'endpoints' | 'endpointslices'): Event {
    if ('error' in answer) {
      return { type: 'heartbeatFailed', address, heartbeat, failure: failureOf(answer.error, false) }
    }
    const { response, fresh } = answer
    const event = { type: 'heartbeatAnswered', address, heartbeat, status: response.status, fresh } as const
    if (response.status !== 200) return event
    const body = this.#withoutToken(readEndpointsBody(response.body, via, this.#allowed))
    if (body.kind === 'rejected' || this.#options.mapEndpoint === undefined) return { ...event, body }
    const failures: unknown[] = []
    const ready = this.#mapped(body.ready, failures)
    const unready = this.#mapped(body.unready, failures)
    if (failures.length > 0) {
      const others = failures.length > 1 ? `, and for ${failures.length - 1} more` : ''
      const message = `mapEndpoint failed: ${causeText(failures[0])}${others}`
      this.warn('mapEndpoint', new Error(message, { cause: failures[0] }))
    }
    if (ready.length > 0) return { ...event, body: { ...body, ready, unready } }
    return { ...event, body: { kind: 'rejected', reason: 'mapEndpoint dropped every endpoint' } }
  }

  /** What is refused is quoted, and a server that errs may send back what it was sent. */
  #withoutToken(body: EndpointsBody): EndpointsBody {
    const clean = (text: string): string => withoutSecret(text, this.#sentToken)
    if (body.kind === 'list') return { ...body, refused: body.refused.map(clean) }
    return { ...body, reason: clean(body.reason) }
  }

  #mapped(endpoints: readonly Endpoint[], failures: unknown[]): Endpoint[] {
    const mapped = new Map<Address, Endpoint>()
    for (const endpoint of endpoints) {
      try {
        const to = this.#options.mapEndpoint?.({ ...endpoint })
        if (to === undefined) continue
        const checked = toEndpoint(to)
        if (checked === undefined) {
          throw new TypeError(`it must return { host, port } or undefined for ${addressOf(endpoint)}`)
        }
        mapped.set(addressOf(checked), checked)
      } catch (error) {
        failures.push(error)
      }
    }
    return [...mapped.values()]
  }

  /** The token, or none where it takes too long: it is asked for again as soon as it is there. */
  async #token(fresh: boolean): Promise<string | undefined> {
    const { credentials, checked } = this.#options
    let late = false
    let timer: NodeJS.Timeout | undefined
    const token = credentials.token(fresh).then(
      (value) => {
        if (late && value !== undefined) this.#dispatch({ type: 'refreshRequested' })
        return value
      },
      (error: unknown) => {
        this.warn('token', error instanceof Error ? error : new Error('the token could not be read'))
        return undefined
      },
    )
    const none = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => {
        late = true
        resolve(undefined)
      }, TOKEN_SHARE * checked.settings.heartbeatTimeout).unref()
    })
    const value = await Promise.race([token, none])
    clearTimeout(timer)
    this.#sentToken = value ?? this.#sentToken
    return value
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

  // ---- hints

  #loadHints(): void {
    const { store } = this.#options
    if (this.#hinted || store === undefined || this.#state.closed) return
    this.#hinted = true
    const loaded = (endpoints: unknown): void => {
      const hints = Array.isArray(endpoints) ? endpoints.map(toEndpoint) : [undefined]
      if (!hints.every((hint) => hint !== undefined)) throw new TypeError('load() must give a list of { host, port }')
      this.#dispatch({ type: 'hintsLoaded', endpoints: hints })
    }
    const failed = (error: unknown): void => {
      this.warn('store', new Error(`stored endpoints cannot be used: ${causeText(error)}`, { cause: error }))
    }
    try {
      // A list that is there already must be known before the dial that asked for it.
      const endpoints = store.load()
      if (endpoints instanceof Promise) endpoints.then(loaded).catch(failed)
      else loaded(endpoints)
    } catch (error) {
      failed(error)
    }
  }

  #save(endpoints: readonly Endpoint[]): void {
    const failed = (error: unknown): void => {
      this.warn('store', new Error(`endpoints cannot be stored: ${causeText(error)}`, { cause: error }))
    }
    const saved = async (): Promise<void> => this.#options.store?.save(endpoints.map((endpoint) => ({ ...endpoint })))
    saved().catch(failed)
  }

  // ---- connections

  /** A connection of the dialer's own, for a heartbeat. */
  #connectOwn(endpoint: Endpoint, settle: Settle): () => void {
    return this.#secure(endpoint, { request: {}, own: undefined, ref: false }, settle)
  }

  #secure(endpoint: Endpoint, wanted: Wanted, settle: Settle): () => void {
    const { request, own, ref, onReached } = wanted
    const { checked, credentials, connectSocket } = this.#options
    let secureContext = this.#secureContext
    const policy = own === undefined ? this.#policy : {
      ...this.#policy,
      servername: own.servername ?? checked.servername,
      publicAuthorities: this.#policy.publicAuthorities && !own.context?.ca,
    }
    const identity = identityOf(endpoint, policy)
    try {
      if (own?.context !== undefined) secureContext = credentials.contextWith(own.context)
    } catch (error) {
      onReached?.()
      process.nextTick(settle, error)
      return () => {}
    }
    const rejectUnauthorized = own?.rejectUnauthorized ?? checked.rejectUnauthorized
    const sessions = own === undefined ? this.#sessions : undefined
    const tls = { secureContext, ...routeOf(request), ...own?.handshake }
    const { keylog } = request
    return attempt(
      { endpoint, identity, rejectUnauthorized, connectSocket, tls, sessions, ref, keylog, onReached },
      settle,
    )
  }

  /**
   * Looks for other credentials, once for each dial and each heartbeat. What those before have made or proven is used
   * no more (I3).
   */
  #refreshContext(): void {
    const { context, generation } = this.#options.credentials.current()
    this.#secureContext = context
    if (generation === this.#generation) return
    this.#generation = generation
    this.#policy = policyOf(this.#options)
    this.#sessions = new Sessions()
    this.#monitor.closeAll()
  }

  // ---- whose host it is

  #refusal(request: DialRequest): Error | undefined {
    if (this.#state.closed) return closedError()
    if (request.signal?.aborted === true) return abortError(request.signal.reason)
    if (this.serves(request)) return undefined
    const { host, port } = request
    return foreignHost(`${host?.replace(/^[^[].*:.*$/, '[$&]') ?? ''}${port ? `:${port}` : ''}`)
  }

  #isServed(host: string | undefined, port: string | number | undefined): boolean {
    if (host === undefined || host === '') return true
    if (this.#served?.peers !== this.#state.peers) this.#learnServed()
    const served = this.#served
    if (served === undefined) return false
    const { hosts, ports } = served
    if (port !== undefined && port !== '' && !ports.has(Number(port))) return false
    if (hosts.has(host)) return true
    const plain = toHost(host.replace(/^\[(.*)\]$/, '$1')) ?? ''
    return hosts.has(plain) || /^kubernetes(\.default(\.svc(\.[a-z0-9-]+)*)?)?$/.test(plain)
  }

  #learnServed(): void {
    const { peers } = this.#state
    // 443 is what a URL without a port means.
    const hosts = new Set<string>()
    const ports = new Set([443])
    for (const { endpoint } of peers.values()) {
      hosts.add(endpoint.host)
      ports.add(endpoint.port)
    }
    this.#served = { peers, hosts, ports }
  }
}

function policyOf({ checked, credentials }: RuntimeOptions): IdentityPolicy {
  const { servername, seeds, alternates } = checked
  return { servername, seeds, alternates, publicAuthorities: !credentials.hasAuthority }
}

function failuresOf(causes: readonly Cause[]): AttemptFailure[] {
  return causes.map(({ address, failure }) => ({ address, error: failureError(failure) }))
}

function failureOf(error: Error | undefined, callersFault: boolean): Failure {
  const code = codeOf(error)
  const message = causeText(error)
  if (callersFault || isLocalCode(code) || isMistake(error)) return { blame: 'none', message, error }
  return { blame: isIdentityCode(code) ? 'identity' : 'endpoint', message, error }
}

/** Thrown before anything is sent: an option of the caller's that Node refuses, or a bug in its `connectSocket`. */
function isMistake(error: Error | undefined): boolean {
  return error instanceof TypeError || error instanceof RangeError
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
