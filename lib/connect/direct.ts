/**
 * Hosts that are not this cluster's, where a caller has chosen `foreign: 'direct'`: a connection to one is made as if
 * there were no dialer. Nothing here knows one, so that no certificate, key or CA of a cluster can get into it.
 */
import net, { type Socket } from 'node:net'
import tls, { type ConnectionOptions, type TLSSocket } from 'node:tls'

import { coded, invalidOption } from '../errors.ts'

/**
 * Says whether foreign hosts are connected directly. They are refused by default: a request that was meant for the
 * cluster and has a mistake in its host must not carry its token elsewhere.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for anything but 'refuse', 'direct' and undefined
 */
export function isDirect(foreign: unknown): boolean {
  if (foreign === undefined || foreign === 'refuse') return false
  if (foreign === 'direct') return true
  throw invalidOption('foreign', foreign, "'refuse' or 'direct'")
}

/** Called exactly once, and never at once: with an error, or with null and a socket that is connected. */
type DirectCallback<Made> = (...result: [error: null, socket: Made] | [error: Error, socket: undefined]) => void

/** How long a connection may take, in ms. undici gives up after as long. */
const CONNECT_TIMEOUT = 10_000

/** Connects with TLS, verified as node:tls does without being told anything. */
export function connectTLS(options: ConnectionOptions, callback: DirectCallback<TLSSocket>): void {
  settle(() => tls.connect(options), 'secureConnect', callback)
}

/** Connects without TLS, as a URL that begins with 'http:' says. */
export function connectPlain(options: net.NetConnectOpts, callback: DirectCallback<Socket>): void {
  settle(() => net.connect(options), 'connect', callback)
}

function settle<Made extends Socket>(make: () => Made, event: string, callback: DirectCallback<Made>): void {
  let socket: Made
  try {
    socket = make()
  } catch (error) {
    // An option of the caller's that Node refuses.
    process.nextTick(callback, error instanceof Error ? error : new Error(String(error)), undefined)
    return
  }
  const late = (): void => {
    socket.destroy(coded('UND_ERR_CONNECT_TIMEOUT', `no connection within ${CONNECT_TIMEOUT} ms`))
  }
  const timer = setTimeout(late, CONNECT_TIMEOUT)
  const ended = (): void => {
    clearTimeout(timer)
    socket.off(event, onConnected).off('error', onError).off('close', onClose)
  }
  const onConnected = (): void => {
    ended()
    callback(null, socket)
  }
  const onError = (error: Error): void => {
    ended()
    callback(error, undefined)
  }
  const onClose = (): void => onError(coded('ECONNRESET', 'closed before it was connected'))
  socket.on(event, onConnected).on('error', onError).on('close', onClose)
}
