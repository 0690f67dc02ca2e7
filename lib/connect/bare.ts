/**
 * Bare connections: TCP to one endpoint, or the stream of the caller's `connectSocket`, with nothing on it yet. TLS is
 * put on top of one by attempt.ts, or by a program at the other end of a pipe (forward).
 */
import net from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Endpoint } from '../core/endpoint.ts'
import { abortError, coded, toError } from '../errors.ts'
import type { ConnectSocket } from './attempt.ts'
import { drop } from './attempt.ts'
import type { RouteOptions } from './route.ts'

/** H6: TCP keepalive from 5 s of idleness on. */
const KEEPALIVE_DELAY = 5_000

/** Makes what `connectSocket` would be where there is none: TCP, by the way that the dialer was told. */
export function connectDirectly(route: RouteOptions): ConnectSocket {
  return ({ host, port }, { signal }) => new Promise<Socket>((resolve, reject) => {
    const socket = net.connect({ ...route, host, port, allowHalfOpen: true })
    const settle = (error: Error | undefined): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect).off('error', settle).off('close', onClose)
      if (error === undefined) return resolve(socket)
      drop(socket)
      reject(error)
    }
    const onConnect = (): void => settle(undefined)
    const onClose = (): void => settle(coded('ECONNRESET', 'closed before it was connected'))
    const onAbort = (): void => settle(abortError(signal.reason))
    socket.on('connect', onConnect).on('error', settle).on('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * Connects, and settles once, never at once, unless the function that this returns is called first: that gives up. Of a
 * socket whose other end has closed its side, the side of its own stays open.
 */
export function connectBare(
  endpoint: Endpoint,
  connectSocket: ConnectSocket,
  settle: (error: Error | undefined, socket?: Socket) => void,
): () => void {
  const abort = new AbortController()
  const given = new Promise<Duplex>((resolve) => resolve(connectSocket(endpoint, { signal: abort.signal })))
  given.then(
    (stream) => {
      if (abort.signal.aborted) return drop(stream)
      if (!(stream instanceof net.Socket)) {
        drop(stream)
        return settle(coded('ECONNRESET', 'connectSocket must give a net.Socket where no TLS is put on top of it'))
      }
      stream.allowHalfOpen = true
      stream.setNoDelay(true)
      stream.setKeepAlive(true, KEEPALIVE_DELAY)
      settle(undefined, stream)
    },
    (error: unknown) => {
      if (!abort.signal.aborted) settle(toError(error))
    },
  )
  return () => abort.abort()
}
