/**
 * A connector for undici 6, 7 and 8, and so for `fetch`: how undici asks for a connection, told to a dialer. It has no
 * pool and no request in it: those are undici's. Nothing of undici is imported: its types are met by their structure.
 */
import type { TLSSocket } from 'node:tls'
import { optionError } from '../errors.ts'
import { Multidialer, poolOf } from '../multidialer.ts'
import type { DialerPool } from '../pool.ts'

/** What undici says of a connection that it wants: `buildConnector.Options`, and what it leaves out of them. */
export interface UndiciConnectOptions {
  readonly hostname: string
  readonly host?: string | undefined
  readonly protocol: string
  readonly port: string
  /** The one that a request asks for, or that undici derives from its Host header. */
  readonly servername?: string | null | undefined
  readonly localAddress?: string | null | undefined
  readonly socketPath?: string | null | undefined
  readonly httpSocket?: unknown
  /** The option of the dispatcher. undici 6 does not pass it on. */
  readonly allowH2?: boolean | undefined
}

export type UndiciConnectCallback = (...result: [error: null, socket: TLSSocket] | [error: Error, socket: null]) => void

/** As `buildConnector.connector` of undici. */
export type UndiciConnector = (options: UndiciConnectOptions, callback: UndiciConnectCallback) => void

export interface UndiciConnectorOptions {
  /** Whether HTTP/2 is offered where the dispatcher's own `allowH2` says nothing, as that of undici 6: false. */
  readonly allowH2?: boolean | undefined
}

/**
 * A connector: `new Agent({ connect: undiciConnector(dialer) })`, or of a Pool or Client. HTTP/2 is offered only where
 * the dispatcher has `allowH2: true`, or this has. It calls back once, never at once; the error is the dialer's own
 * (MultidialError, ERR_MULTIDIALER_FOREIGN_HOST, ERR_MULTIDIALER_CLOSED), and `fetch` has it as the cause of its own.
 * undici keeps a connection that is under way when its request is aborted, for the next one; `dialer.close()` ends it.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for anything but a Multidialer
 */
export function undiciConnector(
  dialer: Multidialer,
  { allowH2 = false }: UndiciConnectorOptions = {},
): UndiciConnector {
  const pool = checkedPool(dialer)
  return (options, callback) => {
    const refusal = refusalOf(options)
    if (refusal !== undefined) {
      process.nextTick(callback, refusal, null)
      return
    }
    const { hostname, port, servername, localAddress } = options
    const request = {
      host: hostname,
      port,
      ...(servername && servername !== hostname ? { servername } : {}),
      ...(localAddress ? { localAddress } : {}),
      // undici speaks HTTP/2 on any socket on which it was negotiated, whether it was to or not.
      ALPNProtocols: options.allowH2 ?? allowH2 ? ['h2', 'http/1.1'] : ['http/1.1'],
    }
    pool.dial(request, (error, socket) => {
      if (socket === undefined) return callback(error ?? new Error('no connection'), null)
      tellWhenIdle(socket, pool)
      callback(null, socket)
    })
  }
}

/**
 * undici unrefs a socket when it has no request for it, and refs it for the next one: thereby the dialer knows which
 * sockets of an endpoint that is leaving can be closed at once.
 */
function tellWhenIdle(socket: TLSSocket, pool: DialerPool): void {
  let idle = false
  const { ref, unref } = socket
  socket.ref = () => {
    if (idle) pool.acquired(socket)
    idle = false
    return ref.call(socket)
  }
  socket.unref = () => {
    if (!idle && !pool.released(socket)) {
      // undici is in the middle of its own bookkeeping, and may have found a request meanwhile.
      process.nextTick(() => {
        if (idle) socket.destroy()
      })
    }
    idle = true
    return unref.call(socket)
  }
}

function refusalOf({ protocol, httpSocket, socketPath }: UndiciConnectOptions): Error | undefined {
  if (protocol !== 'https:') {
    return optionError(`A connection by undiciConnector() is TLS: the URL must begin with 'https:', not '${protocol}'`)
  }
  if (httpSocket || socketPath) {
    return optionError('undiciConnector() makes its connections itself: it cannot use a tunnel or socket of undici. ' +
      "Use an Agent, Pool or Client of undici without a proxy, and the option 'connectSocket' of the dialer")
  }
  return undefined
}

function checkedPool(dialer: unknown): DialerPool {
  if (dialer instanceof Multidialer) return poolOf(dialer)
  throw optionError(`undiciConnector() must be given a Multidialer: ${adviceFor(dialer)}`)
}

function adviceFor(value: unknown): string {
  if (typeof value !== 'object' || value === null) return `it was given ${value === null ? 'null' : typeof value}`
  if ('dialer' in value && value.dialer instanceof Multidialer) return "for a MultidialerAgent, give its 'dialer'"
  if ('hostname' in value && 'protocol' in value) {
    return "it was itself used as a connector. Give what it returns: 'connect: undiciConnector(dialer)'"
  }
  if ('dispatch' in value) {
    return "it was given a dispatcher. Make that of it: 'new Agent({ connect: undiciConnector(dialer) })'"
  }
  if ('server' in value) return "it was given options. Make a dialer of them: 'new Multidialer(options)'"
  return 'it was given another object'
}
