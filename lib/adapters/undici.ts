/**
 * A connector for undici 6, 7 and 8, and so for `fetch`: it asks a dialer for each connection that undici wants. Pools
 * and requests are undici's own. Nothing of undici is imported: these types have the structure of its types.
 */
import { isIP, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { tellUndiciAnswers } from '../agent/answers.ts'
import { connectPlain, connectTLS, isDirect } from '../connect/direct.ts'
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
  readonly httpSocket?: Socket | null | undefined
  /** The option of the dispatcher. undici 6 does not pass it on. */
  readonly allowH2?: boolean | undefined
}

export type UndiciConnectCallback = (...result: [error: null, socket: Socket] | [error: Error, socket: null]) => void

/** As `buildConnector.connector` of undici. */
export type UndiciConnector = (options: UndiciConnectOptions, callback: UndiciConnectCallback) => void

export interface UndiciConnectorOptions {
  /** Whether HTTP/2 is offered where the dispatcher's own `allowH2` says nothing, as that of undici 6: false. */
  readonly allowH2?: boolean | undefined
  /**
   * What becomes of a connection to a host that is not this cluster's. 'refuse', the default: it fails with
   * ERR_MULTIDIALER_FOREIGN_HOST. 'direct': it is made as undici's own connector would, with nothing of the dialer's
   * options, so that a dispatcher with this connector can be given to setGlobalDispatcher().
   */
  readonly foreign?: 'refuse' | 'direct' | undefined
}

/**
 * A connector: `new Agent({ connect: undiciConnector(dialer) })`, or of a Pool or Client. HTTP/2 is offered only where
 * the dispatcher has `allowH2: true`, or this has. It calls back once, never at once; the error is the dialer's own
 * (MultidialError, ERR_MULTIDIALER_FOREIGN_HOST, ERR_MULTIDIALER_CLOSED), and `fetch` has it as the cause of its own.
 * undici keeps a connection that is under way when its request is aborted, for the next one; `dialer.close()` ends it.
 *
 * Idle connections are undici's to close: after 4 s, its `keepAliveTimeout`, or after what the Keep-Alive header of a
 * server says. An Agent with `keepAliveTimeout: 50_000` needs fewer handshakes; more is too much, as kube-apiserver
 * closes after 90 s and balancers after 60.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for anything but a Multidialer, or for an unknown `foreign`
 */
export function undiciConnector(
  dialer: Multidialer,
  { allowH2 = false, foreign }: UndiciConnectorOptions = {},
): UndiciConnector {
  const pool = checkedPool(dialer)
  const direct = isDirect(foreign)
  return (options, callback) => {
    const { hostname, port, servername, localAddress } = options
    // undici speaks HTTP/2 on any socket on which it was negotiated, whether it was to or not.
    const ALPNProtocols = options.allowH2 ?? allowH2 ? ['h2', 'http/1.1'] : ['http/1.1']
    if (direct && !pool.serves({ host: hostname, port: portOf(options) })) {
      return connectDirectly(options, ALPNProtocols, callback)
    }
    const refusal = refusalOf(options)
    if (refusal !== undefined) {
      process.nextTick(callback, refusal, null)
      return
    }
    const request = {
      host: hostname,
      port,
      ...(servername && servername !== hostname ? { servername } : {}),
      ...(localAddress ? { localAddress } : {}),
      ALPNProtocols,
    }
    pool.dial(request, (error, socket) => {
      if (socket === undefined) return callback(error ?? new Error('no connection'), null)
      tellWhenIdle(socket, pool)
      tellUndiciAnswers(socket, pool)
      callback(null, socket)
    })
  }
}

/** As undici's own connector, but for its cache of TLS sessions. */
function connectDirectly(
  options: UndiciConnectOptions, ALPNProtocols: string[], callback: UndiciConnectCallback,
): void {
  const { hostname, host, protocol, servername, localAddress, socketPath, httpSocket } = options
  const target = socketPath
    ? { path: socketPath }
    : { host: hostname, port: portOf(options), ...(localAddress ? { localAddress } : {}) }
  const settle = (error: Error | null, socket: Socket | undefined): void => {
    if (socket === undefined) return callback(error ?? new Error('no connection'), null)
    socket.setNoDelay(true).setKeepAlive(true, 60_000)
    callback(null, socket)
  }
  if (protocol !== 'https:') return connectPlain(target, settle)
  const tunnel = httpSocket ? { socket: httpSocket } : {}
  connectTLS({ ...target, ...tunnel, servername: servername || nameOf(host ?? hostname), ALPNProtocols }, settle)
}

/** The name in a Host header, for SNI; empty for an IP address, which is none. */
function nameOf(host: string): string {
  const name = host.replace(/:\d*$/, '')
  return isIP(name.replace(/^\[(.*)\]$/, '$1')) === 0 ? name : ''
}

/** undici leaves out the port that a protocol has by default. */
function portOf({ port, protocol }: UndiciConnectOptions): number {
  return Number(port) || (protocol === 'https:' ? 443 : 80)
}

/**
 * Tells the dialer when undici has no request for a socket, so that it can be closed at once when its endpoint is
 * leaving. undici unrefs a socket when it becomes idle, and refs it again for the next request.
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
