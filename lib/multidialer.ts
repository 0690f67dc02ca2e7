/** The class: options in, sockets out, events on the way. What is decided is decided in core/. */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { debuglog } from 'node:util'
import { publish } from './channels.ts'
import type { CheckOptions } from './check.ts'
import type { Check } from './check/facts.ts'
import type { Endpoint } from './core/endpoint.ts'
import { checkOptions, MAX_MS } from './options.ts'
import type { Snapshot } from './core/snapshot.ts'
import type { Report } from './core/state.ts'
import type { RouteOptions } from './connect/route.ts'
import { checkRoute } from './connect/route.ts'
import { Credentials } from './credentials/credentials.ts'
import { coded, failureError } from './errors.ts'
import type { DialCallback, DialerPool, DialRequest } from './pool.ts'
import type { EndpointStore } from './discovery/lists.ts'
import { onAbort, Runtime } from './runtime.ts'
import type { ConnectSocket } from './connect/attempt.ts'

/**
 * How to reach the cluster, and how to go about it. All of tls.SecureContextOptions (`ca`, `cert`, `key`, `pfx`, ...)
 * is taken as well. Times are milliseconds.
 */
export interface MultidialerOptions extends SecureContextOptions, RouteOptions {
  /** The seed or seeds, `https://host:port`; port 443 by default. Kept for good. */
  server: string | URL | readonly (string | URL)[]
  /** 'host:port' of others known beforehand, used until the first list arrives. */
  alternates?: readonly string[] | undefined
  /** kubeconfig's tls-server-name: every endpoint must prove exactly this name. */
  servername?: string | undefined
  /** Whether certificates are verified. True unless explicitly false. */
  rejectUnauthorized?: boolean | undefined
  /** For discovery alone: callers carry their own. A function may be asked again every minute, and after a 401. */
  token?: string | (() => string | Promise<string>) | undefined
  /** Read again when it changes, as are the other files. */
  tokenFile?: string | undefined
  caFile?: string | undefined
  certFile?: string | undefined
  keyFile?: string | undefined
  /** Aborting it is `close()`. */
  signal?: AbortSignal | undefined
  /** The dialer to wrap: gives a connected stream to the endpoint, through a proxy or a tunnel. TLS is put on top. */
  connectSocket?: ConnectSocket | undefined
  /** For listed endpoints: another address for it (NAT), or undefined to drop it. */
  mapEndpoint?: ((endpoint: Endpoint) => Endpoint | undefined) | undefined
  /** Keeps the list across restarts, as hints for the first dial. `fileStore(path)` is one. */
  store?: EndpointStore | undefined
  /** The last working endpoint first (`sticky`, the default), or a random ready one for each connection (`spread`). */
  balance?: 'sticky' | 'spread' | undefined
  /** An idle connection older than this, or up to 10 % less, is not used again. Off by default. */
  maxConnectionAge?: number | undefined
  /**
   * Silence after which the next endpoint is tried beside the first: 250. Once a second at most it is tried sooner:
   * after four times what the last connection to the first one took, and 50 at least.
   */
  attemptDelay?: number | undefined
  /** TCP and TLS of one attempt together: 5,000. */
  attemptTimeout?: number | undefined
  /** The whole dial: 15,000. */
  dialTimeout?: number | undefined
  /** Between two refreshes of the list, ±20 %: 60,000. 0 turns discovery off. */
  refreshInterval?: number | undefined
  /** Silence of an endpoint with open sockets after which it is asked, or up to 20 % earlier: 5,000. 0 turns it off. */
  heartbeatInterval?: number | undefined
  /** For the answer to a heartbeat: 2,000. */
  heartbeatTimeout?: number | undefined
}

export interface FailoverEvent {
  readonly from: string
  readonly to: string
  readonly reason: string
}

export interface FailedEvent {
  readonly address: string
  readonly error: Error
}

export interface MultidialerEvents {
  /** The list has changed. */
  endpoints: [endpoints: readonly Endpoint[]]
  /** Another endpoint than before serves from now on. */
  failover: [failover: FailoverEvent]
  /** An endpoint has failed, or fails in another way than before. */
  failed: [failed: FailedEvent]
  /** Something that a person should look at: each kind once until it changes. */
  warning: [warning: Error & { kind: string }]
}

/**
 * The messages of node:diagnostics_channel, by the names of the channels: what the events carry, and whose event it is.
 * They tell a program of the dialers that its dependencies made.
 */
export interface MultidialerChannels {
  'kube-multidialer:endpoints': { readonly dialer: Multidialer; readonly endpoints: readonly Endpoint[] }
  'kube-multidialer:failover': { readonly dialer: Multidialer } & FailoverEvent
  'kube-multidialer:failed': { readonly dialer: Multidialer } & FailedEvent
  'kube-multidialer:warning': { readonly dialer: Multidialer; readonly error: Error & { kind: string } }
}

/**
 * The type of `createConnection`: what it does is in the first form; what the types of https.request and https.Agent
 * ask for is in the second. Without a callback nobody could have the socket, and none is made.
 */
export interface CreateConnection {
  (options: DialRequest, callback: DialCallback): undefined
  (options: DialRequest, callback?: (error: Error | null, socket: TLSSocket) => void): undefined
}

const debug = debuglog('multidialer')

/** Nobody's business but this package's: not a property, so that inspecting a dialer shows no internals. */
const runtimes = new WeakMap<Multidialer, Runtime>()

/**
 * Hands out connected, verified TLS sockets to an apiserver that works, as long as one does. Nothing is started
 * before the first dial. Emits `endpoints`, `failover`, `failed` and `warning` (see MultidialerEvents); never `error`.
 */
export class Multidialer extends EventEmitter<MultidialerEvents> {
  /**
   * For `agent.createConnection`, `https.request({ createConnection })`, got, ws. Returns undefined and never throws;
   * the callback is called once, never at once. Errors: MultidialError, ERR_MULTIDIALER_FOREIGN_HOST,
   * ERR_MULTIDIALER_CLOSED, ABORT_ERR; ETIMEDOUT where the options have a `timeout`.
   */
  readonly createConnection: CreateConnection

  readonly #unlisten: () => void

  /** @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option that is wrong */
  constructor(options: MultidialerOptions) {
    super()
    const checked = checkOptions(options)
    const { connectSocket, mapEndpoint, store, signal } = options
    const credentials = new Credentials(options, {
      onWarning: (warning) => runtime.warn('credentials', warning),
      onPassed: () => runtime.passed('credentials'),
    })
    const onReport = (report: Report): void => this.#report(report)
    const route = checkRoute(options)
    const runtime = new Runtime({ checked, route, credentials, connectSocket, mapEndpoint, store, onReport })
    runtimes.set(this, runtime)
    // Node's type has a socket beside an error, too; no Node calls it so.
    this.createConnection = (request: DialRequest, callback?: (error: Error | null, socket: TLSSocket) => void) =>
      callback && createConnection(runtime, request, callback as DialCallback)
    // Weakly: a signal may live as long as the process, and must not keep a dialer that nobody else has (H10).
    const self = new WeakRef(this)
    this.#unlisten = onAbort(signal, () => self.deref()?.close())
    if (signal?.aborted === true) runtime.close()
  }

  /**
   * A connected, verified socket, for `http2.connect` or raw use. Its listeners and its end are its caller's.
   * `ALPNProtocols` is ['http/1.1'] by default. Rejects as `createConnection` does.
   */
  connect(options: { ALPNProtocols?: string[]; signal?: AbortSignal } = {}): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      runtimeOf(this).dial({ ...options }, (error, socket) => {
        if (socket === undefined) reject(error)
        else resolve(socket)
      })
    })
  }

  /** Asks for the endpoints now. Rejects with a MultidialError that has what each of those asked said. */
  refresh(): Promise<readonly Endpoint[]> {
    return runtimeOf(this).refresh()
  }

  /**
   * Tells whether this client would survive the loss of each apiserver, and if not, why. It refreshes, then connects
   * afresh to every endpoint known, side by side, as a dial would, and asks each for the list; what it meets there
   * counts against none of them. Rejects with ABORT_ERR, ERR_MULTIDIALER_CLOSED, or a TypeError for a wrong option.
   */
  async check(options: CheckOptions = {}): Promise<Check> {
    // Loaded when it is wanted: most programs never check.
    const { check } = await import('./check.ts')
    return check(runtimeOf(this), options)
  }

  /** What is known, as plain JSON that holds no secret. */
  snapshot(): Snapshot {
    return runtimeOf(this).snapshot()
  }

  /** Ends every dial with ERR_MULTIDIALER_CLOSED. Sockets that were handed out stay their callers'. */
  close(): void {
    this.#unlisten()
    runtimeOf(this).close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #report(report: Report): void {
    try {
      this.#emit(report)
    } catch (thrown) {
      // A listener's bug must surface, and must not keep the other effects from being done.
      process.nextTick(() => {
        throw thrown
      })
    }
  }

  #emit(report: Report): void {
    switch (report.event) {
      case 'endpoints': {
        debug('endpoints %j', report.endpoints)
        const endpoints = report.endpoints.map((endpoint) => ({ ...endpoint }))
        publish('endpoints', () => ({ dialer: this, endpoints }))
        this.emit('endpoints', endpoints)
        return
      }
      case 'failover': {
        const { from, to, reason } = report
        debug('failover from %s to %s: %s', from, to, reason)
        publish('failover', () => ({ dialer: this, from, to, reason }))
        this.emit('failover', { from, to, reason })
        return
      }
      case 'failed': {
        const { address, failure } = report
        debug('failed %s: %s', address, failure.message)
        const error = failureError(failure)
        publish('failed', () => ({ dialer: this, address, error }))
        this.emit('failed', { address, error })
        return
      }
      case 'warning': {
        debug('warning: %s', report.message)
        const cause = report.error === undefined ? undefined : { cause: report.error }
        const error = Object.assign(new Error(report.message, cause), { kind: report.kind })
        publish('warning', () => ({ dialer: this, error }))
        this.emit('warning', error)
        return
      }
    }
  }
}

/** For the adapters of this package. */
export function poolOf(dialer: Multidialer): DialerPool {
  return runtimeOf(dialer)
}

/** For `forward`: dials for a pipe (see Runtime). */
export function dialBare(
  dialer: Multidialer, callback: (error: Error | null, socket?: Socket) => void,
): (reason: Error) => void {
  return runtimeOf(dialer).dialBare(callback)
}

/** For the adapters of this package: certificates that come neither from a value nor from a file, but now and then. */
export function renewCertificates(dialer: Multidialer, values: Parameters<Runtime['renew']>[0]): void {
  runtimeOf(dialer).renew(values)
}

function runtimeOf(dialer: Multidialer): Runtime {
  const runtime = runtimes.get(dialer)
  if (runtime === undefined) throw new TypeError('not a Multidialer')
  return runtime
}

function createConnection(runtime: Runtime, options: DialRequest, callback: DialCallback): undefined {
  const request = { ...options, servername: explicitServername(options) }
  const { timeout } = options
  let timer: NodeJS.Timeout | undefined
  const giveUp = runtime.dial(request, (error, socket) => {
    clearTimeout(timer)
    callback(error, socket)
  })
  if (typeof timeout === 'number' && timeout > 0) {
    const late = (): void => giveUp(coded('ETIMEDOUT', `no connection within ${timeout} ms`))
    timer = setTimeout(late, Math.min(timeout, MAX_MS))
  }
}

/** The name that the caller gave, and not the one that https.Agent derives from the Host header or the host. */
function explicitServername(options: DialRequest & { headers?: unknown }): string | undefined {
  const { servername, host, headers } = options
  if (servername === undefined || servername === '' || servername === host) return undefined
  return servername === hostHeaderOf(headers) ? undefined : servername
}

function hostHeaderOf(headers: unknown): string | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined
  const [, value] = Object.entries(headers).find(([name]) => name.toLowerCase() === 'host') ?? []
  return typeof value === 'string' ? value.replace(/:\d+$/, '') : undefined
}
