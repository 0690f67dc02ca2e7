/**
 * TLS servers in the spec's own process, behind addresses that a spec makes up: the option `connectSocket` leads a
 * dialer's connections to them, so that it can be told of 10.77.0.2 or of 169.254.169.254 and nothing leaves this
 * machine. Every address that a dialer dials is written down, and every byte that reaches a server once TLS stands.
 * Nothing here knows what is right.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'
import { certificateFile } from './control-plane.ts'

export const pem = (file: string): string => readFileSync(certificateFile(file), 'utf8')

/** What a server does with a request: the bytes to answer with, or something of its own with the socket. */
export type Answerer = (head: string, socket: tls.TLSSocket) => string | Buffer | undefined

export class LocalServer {
  readonly #tls: tls.Server
  readonly #sockets = new Set<net.Socket>()
  /** Heads of the requests that came, in their order. */
  readonly heads: string[] = []
  /** Whether each handshake that was completed here resumed a session, in their order. */
  readonly resumed: boolean[] = []
  /** The common name of each client's certificate, in the same order; '' for none. */
  readonly clients: string[] = []
  /** The names asked for by SNI, in the same order; '' for none. */
  readonly names: string[] = []
  /** Bytes that came once TLS stood. */
  received = ''
  answer: Answerer

  private constructor(options: tls.TlsOptions, answer: Answerer) {
    this.answer = answer
    this.#tls = tls.createServer({ requestCert: true, rejectUnauthorized: false, ca: pem('ca.crt'), ...options })
    this.#tls.on('connection', (socket: net.Socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket))
    })
    this.#tls.on('tlsClientError', () => {})
    this.#tls.on('secureConnection', (socket) => this.#serve(socket))
  }

  static async start(
    certificate: string, options: tls.TlsOptions = {}, answer: Answerer = () => '',
  ): Promise<LocalServer> {
    const server = new LocalServer({ cert: pem(`${certificate}.crt`), key: pem('server.key'), ...options }, answer)
    server.#tls.listen(0, '127.0.0.1')
    await once(server.#tls, 'listening')
    return server
  }

  get port(): number {
    const address = this.#tls.address()
    if (address === null || typeof address === 'string') throw new Error('the server does not listen')
    return address.port
  }

  /** TCP connections open now. */
  get open(): number {
    return this.#sockets.size
  }

  async stop(): Promise<void> {
    const closed = once(this.#tls, 'close')
    this.#tls.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #serve(socket: tls.TLSSocket): void {
    this.resumed.push(socket.isSessionReused())
    this.clients.push(String(socket.getPeerCertificate().subject?.CN ?? ''))
    this.names.push('servername' in socket && typeof socket.servername === 'string' ? socket.servername : '')
    let head = ''
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1')
      head += chunk.toString('latin1')
      for (let end = head.indexOf('\r\n\r\n'); end !== -1; end = head.indexOf('\r\n\r\n')) {
        const one = head.slice(0, end + 4)
        head = head.slice(end + 4)
        this.heads.push(one)
        const answer = this.answer(one, socket)
        if (answer !== undefined) socket.write(answer)
      }
    })
  }
}

/** An answer in full, with its length. */
export function response(status: number, body: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ 'content-type': 'application/json', ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${status} x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${lines.join('')}\r\n${body}`
}

/** The body of the Endpoints with these addresses, 'ip:port' each. */
export function endpointsBody(addresses: readonly string[]): string {
  const subsets = addresses.map((address) => {
    const colon = address.lastIndexOf(':')
    const ip = address.slice(0, colon).replace(/^\[|\]$/g, '')
    return { addresses: [{ ip }], ports: [{ name: 'https', port: Number(address.slice(colon + 1)), protocol: 'TCP' }] }
  })
  return JSON.stringify({ kind: 'Endpoints', apiVersion: 'v1', metadata: { name: 'kubernetes' }, subsets })
}

/** A network of addresses that are made up. One that leads nowhere refuses. */
export class Network {
  /** Every address that was dialled, in its order. */
  readonly dialled: string[] = []
  readonly #ports = new Map<string, number>()
  readonly #dead = new Set<string>()

  /** From now on the address leads to this server. */
  lead(address: string, server: LocalServer): void {
    this.#ports.set(address, server.port)
  }

  /** It refuses; `mend` undoes it. */
  cut(address: string): void {
    this.#dead.add(address)
  }

  mend(address: string): void {
    this.#dead.delete(address)
  }

  readonly connectSocket = (endpoint: Endpoint, { signal }: { signal: AbortSignal }): Promise<net.Socket> => {
    const address = addressOf(endpoint)
    this.dialled.push(address)
    const port = this.#dead.has(address) ? undefined : this.#ports.get(address)
    if (port === undefined) {
      return Promise.reject(Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: 'ECONNREFUSED' }))
    }
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: '127.0.0.1', port })
      signal.addEventListener('abort', () => socket.destroy(), { once: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(socket)
      })
    })
  }
}
