/**
 * One attempt: TCP, TLS and identity, to one endpoint, settled exactly once. Nothing is decided about endpoints
 * here; whether a certificate will do is (I1 to I4), with node:tls's own check of one name.
 */
import { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import type { Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import { isIP } from '../address.ts'
import type { Identity } from './identity.ts'
import { causeText, coded, codeOf, kindOf, toError } from '../errors.ts'

/** A dialer that is wrapped: gives a connected stream to the endpoint, through a proxy or a tunnel. */
export type ConnectSocket = (endpoint: Endpoint, options: { signal: AbortSignal }) => Duplex | Promise<Duplex>

export interface AttemptOptions {
  readonly endpoint: Endpoint
  readonly identity: Identity
  readonly rejectUnauthorized: boolean
  readonly connectSocket: ConnectSocket | undefined
  /** What only this connection asks for; wins over all else. */
  readonly tls: tls.ConnectionOptions
  /** Where TLS sessions of this endpoint are kept; undefined where none may be used or kept. */
  readonly sessions: Sessions | undefined
  /** False: the socket keeps no process alive. */
  readonly ref: boolean
  readonly keylog?: ((line: Buffer, socket: TLSSocket) => void) | undefined
}

export type Settle = (error: Error | undefined, socket?: TLSSocket) => void

/** H6: TCP keepalive from 5 s of idleness on, then every 5 s, three times. Nodes that cannot set these ignore them. */
const KEEPALIVE: readonly [boolean, number, number, number] = [true, 5_000, 5_000, 3]

/** A session to resume, and what was proven when it began: a resumed handshake shows no certificate. */
export interface Session {
  readonly ticket: Buffer
  readonly certificate: PeerCertificate
}

/**
 * TLS sessions, the latest of each endpoint and name. They belong to one set of credentials and one policy: the owner
 * of this makes a new one when any of these changes (I3).
 */
export class Sessions {
  readonly #sessions = new Map<string, Session>()

  get(endpoint: Endpoint, sni: string): Session | undefined {
    return this.#sessions.get(keyOf(endpoint, sni))
  }

  set(endpoint: Endpoint, sni: string, session: Session): void {
    this.#sessions.set(keyOf(endpoint, sni), session)
  }

  delete(endpoint: Endpoint, sni: string): void {
    this.#sessions.delete(keyOf(endpoint, sni))
  }
}

/**
 * Begins one attempt. `settle` is called exactly once and never before this returns, unless the function that this
 * returns is called first: that destroys whatever there is and settles nothing.
 */
export function attempt(options: AttemptOptions, settle: Settle): () => void {
  const { connectSocket, endpoint } = options
  if (connectSocket === undefined) return secure(options, { host: endpoint.host, port: endpoint.port }, settle)
  const abort = new AbortController()
  let given: (() => void) | undefined
  const wrapped = new Promise<Duplex>((resolve) => resolve(connectSocket(endpoint, { signal: abort.signal })))
  wrapped.then(
    (stream) => {
      if (abort.signal.aborted) return discard(stream)
      const fault = faultOf(stream)
      if (fault !== undefined) return settle(wrappedError(endpoint, fault))
      if (!(stream instanceof Socket)) guardWrites(stream)
      given = secure(options, { socket: stream }, settle)
    },
    (error: unknown) => {
      if (!abort.signal.aborted) settle(givenError(endpoint, error))
    },
  )
  return () => {
    abort.abort()
    given?.()
  }
}

function secure(options: AttemptOptions, target: tls.ConnectionOptions, settle: Settle): () => void {
  const { endpoint, identity, rejectUnauthorized, sessions, keylog } = options
  const own = options.tls.checkServerIdentity
  const session = sessions?.get(endpoint, identity.sni)
  // Kept from the check: to have it built again for each ticket costs as much CPU as a tenth of the handshake.
  let shown: PeerCertificate | null | undefined
  const demanded: tls.ConnectionOptions = {
    ALPNProtocols: ['http/1.1'],
    ...(session === undefined ? {} : { session: session.ticket }),
    ...options.tls,
    ...target,
    // Always given, so that no variable of the environment has a say (I4).
    rejectUnauthorized,
    servername: identity.sni,
    checkServerIdentity: (_host, certificate) => {
      shown = certificate
      return own === undefined ? identityError(identity.names, certificate) : ownError(own, identity.names, certificate)
    },
  }
  let socket: TLSSocket
  try {
    socket = tls.connect(demanded)
  } catch (error) {
    // What tls.connect refuses at once, an option of the caller's for one.
    if (target.socket !== undefined) drop(target.socket)
    process.nextTick(() => settle(toError(error)))
    return () => {}
  }
  if (target.socket !== undefined && !(target.socket instanceof Socket)) unendable.add(socket)
  const describeAll = own === undefined ? describeOneCertificate(socket) : () => {}
  if (!options.ref) socket.unref()

  const onError = (error: Error): void => finish(error)
  const onClose = (): void => finish(coded('ECONNRESET', 'closed before it was secure'))
  const onSecure = (): void => {
    const error = rejectUnauthorized ? verificationError(socket, identity, session) : undefined
    finish(error)
  }
  const tune = (): void => {
    socket.setNoDelay(true)
    socket.setKeepAlive(...KEEPALIVE)
  }
  const finish = (error: Error | undefined): void => {
    socket.off('error', onError).off('close', onClose).off('secureConnect', onSecure)
    describeAll()
    if (error === undefined) {
      if (options.connectSocket !== undefined) tune()
      return settle(undefined, socket)
    }
    if (kindOf(error) === 'identity') sessions?.delete(endpoint, identity.sni)
    // Not before: it may start another attempt, and that need not wait for what is done about this one.
    settle(error)
    drop(socket)
  }
  socket.on('error', onError).on('close', onClose).on('secureConnect', onSecure)
  // While the server does its part of the handshake.
  if (options.connectSocket === undefined) socket.once('connect', tune)
  if (keylog !== undefined) socket.on('keylog', (line: Buffer) => keylog(line, socket))
  if (sessions !== undefined) {
    socket.on('session', (ticket: Buffer) => {
      // Null where the connection is gone by now, whatever its type says: that session proves nothing later.
      const certificate = socket.isSessionReused() ? session?.certificate : (shown ??= socket.getPeerCertificate())
      if (certificate?.valid_to !== undefined) sessions.set(endpoint, identity.sni, { ticket, certificate })
    })
  }
  return () => {
    socket.off('error', onError).off('close', onClose).off('secureConnect', onSecure)
    drop(socket)
  }
}

/**
 * Node has every certificate of the chain described for its check of the name, which is a seventh of all the work of a
 * handshake, although only the server's own is looked at. Until the function returned is called, only that one is.
 */
function describeOneCertificate(socket: TLSSocket): () => void {
  const { getPeerCertificate } = socket
  const value = (): PeerCertificate => getPeerCertificate.call(socket, false)
  Object.defineProperty(socket, 'getPeerCertificate', { configurable: true, writable: true, value })
  return () => {
    // Not deleted: an object that a property was deleted from is slower from then on.
    socket.getPeerCertificate = getPeerCertificate
  }
}

/**
 * Why the peer is not who it must be; undefined where it is one of `names`. A common name proves nothing, as nowhere
 * since RFC 9525, and as for Go's clients: in a cluster it is a user's name, signed by the same CA.
 */
function identityError(names: readonly string[], certificate: PeerCertificate): Error | undefined {
  let first: Error | undefined
  // node:tls falls back to it for a certificate whose subjectAltName has no DNS name.
  const nameless = { ...certificate, subject: { ...certificate.subject, CN: '' } }
  for (const name of names) {
    // Some releases of Node 22 take an IPv6 address for a name that they cannot write in ASCII, and refuse them all.
    if (isIP(name) === 6 && provesIP(certificate, name)) return undefined
    const error = tls.checkServerIdentity(name, nameless)
    if (error === undefined) return undefined
    first ??= error
  }
  const proven = certificate.subjectaltname ?? `CN ${certificate.subject?.CN ?? 'none'}`
  const message = `its certificate proves none of ${names.join(', ')}, but ${proven.slice(0, 500)}`
  return Object.assign(new Error(message, { cause: first?.message }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
}

function provesIP(certificate: PeerCertificate, ip: string): boolean {
  return new X509Certificate(certificate.raw).checkIP(ip) !== undefined
}

/** The caller's own check, of each name that would do: the first of them may be that of another endpoint (I2). */
function ownError(
  check: typeof tls.checkServerIdentity,
  names: readonly string[],
  certificate: PeerCertificate,
): Error | undefined {
  let first: Error | undefined
  for (const name of names) {
    const error = checked(check, name, certificate)
    if (error === undefined) return undefined
    first ??= error
  }
  return first
}

/** A check that throws refuses, and does not end the process from within the handshake. */
function checked(check: typeof tls.checkServerIdentity, name: string, certificate: PeerCertificate): Error | undefined {
  try {
    return check(name, certificate)
  } catch (error) {
    return toError(error)
  }
}

/**
 * Node checks neither the name nor the CA on a resumed session (I3). The CA is the one that was good when the session
 * began, or there would be no session; its certificate must still prove a name that counts now, and must not be over.
 */
function verificationError(socket: TLSSocket, identity: Identity, session: Session | undefined): Error | undefined {
  if (!socket.authorized) return socket.authorizationError ?? new Error('not authorized')
  if (!socket.isSessionReused()) return undefined
  if (session === undefined) return coded('UNABLE_TO_GET_ISSUER_CERT', 'a session was resumed that is not known')
  const { certificate } = session
  if (Date.parse(certificate.valid_to) <= Date.now()) return coded('CERT_HAS_EXPIRED', 'certificate has expired')
  return identityError(identity.names, certificate)
}

/** Made of streams that are no sockets: they cannot be told to let the process end. */
const unendable: WeakSet<Duplex> = new WeakSet()

/** Tells whether an open connection keeps the process alive, whatever is done about it. */
export function holdsProcess(socket: Duplex): boolean {
  return unendable.has(socket)
}

/** What a stream of somebody else's throws while node:tls writes to it could be caught nowhere: it fails the write. */
function guardWrites(stream: Duplex): void {
  const { _write } = stream
  stream._write = (chunk, encoding, callback) => {
    try {
      _write.call(stream, chunk, encoding, callback)
    } catch (error) {
      callback(toError(error))
    }
  }
}

/** Destroyed by us: what it still says of that is of no interest. */
export function drop(socket: Duplex): void {
  socket.on('error', () => {})
  socket.destroy()
}

/** It came after the attempt was over. */
function discard(stream: Duplex): void {
  if (faultOf(stream) === undefined) drop(stream)
}

/** What is wrong with the stream that `connectSocket` gave; undefined where nothing is. */
function faultOf(stream: unknown): string | undefined {
  if (typeof stream !== 'object' || stream === null || !('pipe' in stream) || !('write' in stream)) {
    return 'connectSocket must give a Duplex stream'
  }
  const isDestroyed = 'destroyed' in stream && stream.destroyed === true
  return isDestroyed ? 'connectSocket gave a stream that is destroyed' : undefined
}

/** What `connectSocket` failed with: an error as it is; anything else as a connection that broke. */
function givenError(endpoint: Endpoint, thrown: unknown): Error {
  const error = toError(thrown)
  if (error === thrown || codeOf(error) !== undefined) return error
  return wrappedError(endpoint, thrown === undefined ? 'connectSocket failed with undefined' : causeText(thrown))
}

function wrappedError(endpoint: Endpoint, message: string): Error {
  return coded('ECONNRESET', `${message} (${addressOf(endpoint)})`)
}

function keyOf(endpoint: Endpoint, sni: string): string {
  return `${addressOf(endpoint)} ${sni}`
}
