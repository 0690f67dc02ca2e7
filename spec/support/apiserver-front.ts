/**
 * The connections of one stand-in apiserver: TCP, TLS, and HTTP on top, each a server of its own that is handed what
 * the one below has accepted, so that a misbehaviour can step in between. What is asked and answered is not known here.
 */
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import tls from 'node:tls'
import { GOOD, type Behaviour, type ConnectionFault, type SecuredFault } from './apiserver-behaviour.ts'
import { Exchange, clientNameOf } from './apiserver-exchange.ts'
import type { ServerConfig, ServerStats } from './apiserver-protocol.ts'

const FOLDER = new URL('certificates/', import.meta.url)
const HANDSHAKE_FAILURE = Buffer.from([0x15, 3, 3, 0, 2, 2, 40])

export interface FrontHandlers {
  readonly request: (exchange: Exchange) => void
  readonly upgrade: (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => void
}

/** A draining server waits this long (ms) for the first request on a connection that came just before it stopped. */
const LAST_REQUEST = 1_000

/**
 * Then connections that the other end does not close are cut (ms); kube-apiserver's limit for requests is 60 s, too.
 */
const DRAINED_WITHIN = 60_000

export class Front {
  readonly #config: ServerConfig
  readonly #handlers: FrontHandlers
  readonly #tcp: net.Server
  readonly #tls: tls.Server
  readonly #http1: http.Server
  readonly #http2: http2.Http2Server
  readonly #sockets = new Map<net.Socket, { requests: number; http2: boolean }>()
  /** By the other end's address and port, which a TLS socket and the TCP socket below it have in common. */
  readonly #raw = new Map<string, net.Socket>()
  readonly #behindTls = new WeakSet<net.Socket>()
  readonly #sessions = new Set<http2.ServerHttp2Session>()
  /** Connections, and secured ones, that wait until the server hears again. */
  readonly #heldBack: net.Socket[] = []
  readonly #heldBackSecured: tls.TLSSocket[] = []
  /** By the SNI name, what is shown to it. */
  #named = new Map<string, tls.SecureContext>()
  #behaviour: Behaviour = GOOD
  #accepted = 0
  #secured = 0
  #drained = false
  #stats: ServerStats = emptyStats()

  constructor(config: ServerConfig, handlers: FrontHandlers) {
    this.#config = config
    this.#handlers = handlers
    this.#tcp = net.createServer({ noDelay: true }, (socket) => this.#onTcp(socket))
    this.#tls = tls.createServer({
      ...this.#certificate(undefined),
      ca: pem('ca.crt'), requestCert: true, rejectUnauthorized: false,
      minVersion: config.minVersion, maxVersion: config.maxVersion,
      ticketKeys: Buffer.from(config.ticketKeys, 'base64'), sessionIdContext: 'apiserver',
      ALPNProtocols: config.http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
      SNICallback: (name, done) => done(null, this.#named.get(name)),
    }, (socket) => this.#onTls(socket))
    this.#tls.on('tlsClientError', () => { this.#stats.handshakesFailed += 1 })
    // No timeout of Node's own, nor the Keep-Alive header that announces one: Go's server has neither.
    this.#http1 = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 },
      (request, response) => this.#onRequest(Exchange.http1(request, response), request.socket))
    this.#http1.on('upgrade', (request, socket, head) => {
      if (socket instanceof net.Socket) this.#handlers.upgrade(request, socket, head)
    })
    this.#http2 = http2.createServer((request, response) =>
      this.#onRequest(Exchange.http2(request, response), undefined))
    this.#http2.on('session', (session) => {
      this.#sessions.add(session)
      if (this.#draining) session.close()
      session.on('error', () => undefined)
      session.once('close', () => this.#sessions.delete(session))
    })
  }

  /** The port it listens on; rejects with the system's error. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#tcp.once('error', reject)
      this.#tcp.listen({ host: this.#config.host, port: this.#config.port, backlog: 511 }, () => {
        const address = this.#tcp.address()
        resolve(typeof address === 'object' && address !== null ? address.port : this.#config.port)
      })
    })
  }

  get stats(): ServerStats {
    return { ...this.#stats, open: this.#sockets.size, rawOpen: this.#raw.size }
  }

  resetStats(): void {
    this.#stats = emptyStats()
  }

  async behave(behaviour: Behaviour): Promise<void> {
    const before = this.#behaviour
    // Throws for a fixture that does not exist, before anything has changed.
    const named = Object.entries(behaviour.sni).map(([name, certificate]) =>
      [name, tls.createSecureContext(this.#certificate(certificate))] as const)
    if (behaviour.certificate !== before.certificate) {
      this.#tls.setSecureContext({
        ...this.#certificate(behaviour.certificate), ca: pem('ca.crt'),
        minVersion: this.#config.minVersion, maxVersion: this.#config.maxVersion,
        ticketKeys: Buffer.from(this.#config.ticketKeys, 'base64'), sessionIdContext: 'apiserver',
      })
    }
    this.#named = new Map(named)
    this.#behaviour = behaviour
    if (behaviour.silence !== undefined && before.silence === undefined) {
      for (const socket of this.#sockets.keys()) deafen(socket)
    }
    if (behaviour.silence === undefined && before.silence !== undefined) this.#hearAgain()
    if (behaviour.secured !== undefined && before.secured === undefined) {
      for (const socket of this.#sockets.keys()) this.#end(socket, behaviour.secured)
    }
    if (behaviour.connection === 'refuse-clients' && before.connection !== 'refuse-clients') {
      for (const socket of this.#sockets.keys()) socket.end()
    }
    if (behaviour.draining && !before.draining) void this.#stopListening()
    if (!behaviour.draining && before.draining && !this.#tcp.listening) await this.listen()
  }

  /** Stops listening, lets what is under way finish, and resolves when the last connection is closed. */
  drain(): Promise<void> {
    this.#drained = true
    setTimeout(() => { for (const socket of this.#raw.values()) socket.destroy() }, DRAINED_WITHIN).unref()
    return this.#stopListening()
  }

  /** Closes the listener and what is idle; resolves when the last connection is closed. */
  #stopListening(): Promise<void> {
    for (const session of this.#sessions) session.close()
    for (const [socket, use] of this.#sockets) if (!use.http2 && use.requests === 0) socket.end()
    for (const socket of this.#raw.values()) if (!this.#behindTls.has(socket)) socket.destroy()
    return new Promise((resolve) => this.#tcp.close(() => resolve()))
  }

  get #draining(): boolean {
    return this.#drained || this.#behaviour.draining
  }

  /** RST instead of FIN, which only the TCP socket below can send. */
  reset(socket: net.Socket): void {
    this.#raw.get(remoteOf(socket))?.resetAndDestroy()
  }

  #onTcp(socket: net.Socket): void {
    this.#stats.rawConnections += 1
    this.#accepted += 1
    const remote = remoteOf(socket)
    this.#raw.set(remote, socket)
    socket.on('error', () => undefined)
    socket.once('close', () => this.#raw.delete(remote))
    const { half, connection, latency, silence } = this.#behaviour
    if (silence === 'deaf') {
      socket.pause()
      this.#heldBack.push(socket)
    } else if (half === 'handshake' && this.#accepted % 2 === 1) {
      this.#fault('reset-handshake', socket)
    } else if (connection !== undefined) {
      this.#fault(connection, socket)
    } else if (latency > 0) {
      setTimeout(() => this.#secure(socket), latency)
    } else {
      this.#secure(socket)
    }
  }

  #secure(socket: net.Socket): void {
    if (socket.destroyed) return
    this.#behindTls.add(socket)
    this.#tls.emit('connection', socket)
  }

  #fault(fault: ConnectionFault, socket: net.Socket): void {
    switch (fault) {
      case 'hang-handshake':
        socket.resume()
        return
      case 'reset-handshake':
        socket.once('data', () => socket.resetAndDestroy())
        return
      case 'fin-handshake':
        socket.once('data', () => socket.end())
        return
      case 'alert':
        socket.once('data', () => socket.end(HANDSHAKE_FAILURE))
        return
      case 'old-tls':
        oldTls().emit('connection', socket)
        return
      case 'refuse-clients':
        refusingTls().emit('connection', socket)
        return
      case 'plain-http':
        socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n'))
        return
    }
  }

  #onTls(socket: tls.TLSSocket): void {
    const http2 = socket.alpnProtocol === 'h2'
    this.#secured += 1
    this.#stats.connections += 1
    if (socket.isSessionReused()) this.#stats.sessionsReused += 1
    note(this.#stats.servernames, 'servername' in socket ? socket.servername : undefined)
    note(this.#stats.clients, clientNameOf(socket))
    const use = { requests: 0, http2 }
    this.#sockets.set(socket, use)
    socket.on('error', () => undefined)
    socket.once('close', () => this.#sockets.delete(socket))
    const { secured, silence } = this.#behaviour
    if (secured !== undefined) {
      this.#end(socket, secured)
      return
    }
    if (silence === 'mute') {
      this.#heldBackSecured.push(socket)
      return
    }
    this.#serve(socket, use)
    if (silence === 'deaf') deafen(socket)
  }

  #end(socket: net.Socket, how: SecuredFault): void {
    // Read from, or the other end's would never be seen.
    if (how === 'close-after-handshake') socket.resume().end()
    else this.reset(socket)
  }

  #serve(socket: tls.TLSSocket, use: { readonly requests: number; readonly http2: boolean }): void {
    if (this.#behaviour.half === 'request' && this.#secured % 2 === 1) {
      socket.once('data', () => this.reset(socket))
      return
    }
    if (this.#draining) setTimeout(() => { if (use.requests === 0) socket.end() }, LAST_REQUEST)
    if (use.http2) this.#http2.emit('connection', socket)
    else this.#http1.emit('connection', socket)
  }

  #onRequest(exchange: Exchange, socket: net.Socket | undefined): void {
    this.#stats.requests += 1
    const path = exchange.url.pathname
    this.#stats.byPath[path] = (this.#stats.byPath[path] ?? 0) + 1
    note(this.#stats.tokens, exchange.headers.authorization)
    const use = socket === undefined ? undefined : this.#sockets.get(socket)
    if (use !== undefined) use.requests += 1
    exchange.onClose(() => {
      if (use !== undefined) use.requests -= 1
      if (this.#draining && use?.requests === 0) socket?.end()
    })
    this.#handlers.request(exchange)
  }

  /** What an upgrade asked for counts like any request. */
  noteUpgrade(request: http.IncomingMessage, path: string): void {
    this.#stats.requests += 1
    this.#stats.byPath[path] = (this.#stats.byPath[path] ?? 0) + 1
    note(this.#stats.tokens, request.headers.authorization)
  }

  #hearAgain(): void {
    for (const socket of this.#sockets.keys()) {
      socket.uncork()
      socket.resume()
    }
    for (const socket of this.#heldBack.splice(0)) this.#secure(socket)
    for (const socket of this.#heldBackSecured.splice(0)) {
      const use = this.#sockets.get(socket)
      if (use !== undefined) this.#serve(socket, use)
    }
  }

  #certificate(name: string | undefined): { cert: string; key: string } {
    const own = this.#config.host === '::1' ? 'ip6' : this.#config.host.split('.').at(-1) ?? '1'
    const wanted = name ?? this.#config.certificate
    const file = wanted === 'kubeadm' || wanted === 'own-ip' ? `${wanted}-${own}` : wanted
    const cert = [file, ...this.#config.chain].map((each) => pem(`${each}.crt`)).join('')
    return { cert, key: pem('server.key') }
  }
}

function pem(file: string): string {
  return readFileSync(new URL(file, FOLDER), 'utf8')
}

/** Nothing is read from it and nothing written to it from now on; the kernel still acknowledges. */
function deafen(socket: net.Socket): void {
  socket.cork()
  socket.pause()
}

function remoteOf(socket: net.Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`
}

function note(seen: string[], value: unknown): void {
  if (typeof value === 'string' && value !== '' && !seen.includes(value)) seen.push(value)
}

let old: tls.Server | undefined

function oldTls(): tls.Server {
  old ??= tls.createServer({
    cert: pem('every-ip.crt'), key: pem('server.key'),
    minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0',
  })
  return old
}

let refusing: tls.Server | undefined

/** Wants a certificate of an authority that no client has: to a client without one it says so itself, in TLS. */
function refusingTls(): tls.Server {
  refusing ??= tls.createServer({
    cert: pem('every-ip.crt'), key: pem('server.key'), ca: pem('self-signed.crt'),
    requestCert: true, rejectUnauthorized: true,
  }).on('tlsClientError', () => undefined)
  return refusing
}

function emptyStats(): ServerStats {
  return {
    connections: 0, open: 0, rawConnections: 0, rawOpen: 0, handshakesFailed: 0, sessionsReused: 0, requests: 0,
    byPath: {}, tokens: [], servernames: [], clients: [], watches: 0,
  }
}
