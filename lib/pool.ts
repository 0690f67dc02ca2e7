/**
 * What a pool of connections asks of a dialer, and what it hands it. Types alone: the agent imports them without
 * importing a dialer, the dialer implements them without knowing a pool.
 */
import type { RequestOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions, TLSSocket } from 'node:tls'

/**
 * The options of `https.request` or `tls.connect` as the caller gave them. A `servername` is there only if the caller
 * gave one: the name that `https.Agent` derives from the host is not an explicit one.
 */
export interface DialRequest extends RequestOptions {
  ALPNProtocols?: ConnectionOptions['ALPNProtocols']
  session?: ConnectionOptions['session']
  /** There when somebody listens for key material: called with each line of NSS key log of each attempt. */
  keylog?: (line: Buffer, socket: TLSSocket) => void
}

/** Called exactly once, and never before `dial` has returned: with an error, or with null and a socket. */
export type DialCallback = (error: Error | null, socket?: TLSSocket) => void

/** What a pool of connections needs of the dialer. */
export interface DialerPool {
  /**
   * Dials once. Returns a function that gives the dial up: the callback then gets that reason, still exactly once and
   * not before that function has returned.
   */
  dial(request: DialRequest, callback: DialCallback): (reason: Error) => void
  /**
   * Is this request's host and port one of this cluster's? Asked for every request: a request to any other host never
   * takes a pooled connection, but is given to `dial`, which refuses it.
   */
  serves(request: DialRequest): boolean
  /** The request without those TLS options that are just the dialer's own: it shares the connections of all others. */
  plain<Request extends DialRequest>(request: Request): Request
  /** The socket has become idle. False: do not keep it (its endpoint is leaving or failed, or it has grown too old). */
  released(socket: Duplex): boolean
  /**
   * A request takes the socket, a new one or one that was idle. Called in the request's asynchronous context.
   * `isPlain`: its answer comes as a whole, without pauses, unlike a watch's.
   */
  acquired(socket: Duplex, isPlain?: boolean): void
  /**
   * The caller has read an answer with this status from the socket. 429 and 5xx are a hint that its endpoint may refuse
   * everything (H7); others mean nothing.
   */
  answered(socket: Duplex, status: number): void
  /** Ends every dial under way with ERR_MULTIDIALER_CLOSED, and every later one as soon as it is asked for. */
  close(): void
}
