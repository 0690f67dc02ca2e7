/**
 * One request and its answer, the same to the routes whether HTTP/1.1 or HTTP/2 carries them. No route and no
 * misbehaviour lives here.
 */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { TLSSocket } from 'node:tls'

export class Exchange {
  readonly method: string
  readonly url: URL
  readonly headers: IncomingHttpHeaders
  /** The connection; over HTTP/2 the session's stand-in for it. */
  readonly socket: Socket
  readonly http2: boolean
  readonly #request: Readable
  readonly #response: Writable
  readonly #writeHead: (status: number, headers: OutgoingHttpHeaders) => void
  readonly #flush: () => void
  #closed = false

  static http1(request: IncomingMessage, response: ServerResponse): Exchange {
    return new Exchange(request.method, request.url, request.headers, request.socket, false, request, response,
      (status, headers) => { response.writeHead(status, headers) }, () => response.flushHeaders())
  }

  static http2(request: Http2ServerRequest, response: Http2ServerResponse): Exchange {
    return new Exchange(request.method, request.url, request.headers, request.socket, true, request, response,
      (status, headers) => { response.writeHead(status, headers) }, () => undefined)     // writeHead sends it already
  }

  private constructor(
    method: string | undefined, path: string | undefined, headers: IncomingHttpHeaders, socket: Socket,
    http2: boolean, request: Readable, response: Writable,
    writeHead: (status: number, headers: OutgoingHttpHeaders) => void, flush: () => void,
  ) {
    this.method = method ?? 'GET'
    this.url = urlOf(path)
    this.headers = headers
    this.socket = socket
    this.http2 = http2
    this.#request = request
    this.#response = response
    this.#writeHead = writeHead
    this.#flush = flush
    response.on('error', () => undefined)
    request.on('error', () => undefined)
    response.once('close', () => { this.#closed = true })
  }

  /** Nobody listens any more, or the answer is complete. */
  get closed(): boolean {
    return this.#closed
  }

  /** Is called once the answer is complete or its connection gone. */
  onClose(listener: () => void): void {
    if (this.#closed) listener()
    else this.#response.once('close', listener)
  }

  /** Whether the other end proved itself with a certificate of the cluster's authority. */
  get certified(): boolean {
    const socket = this.socket
    return 'authorized' in socket && socket.authorized === true
  }

  async body(): Promise<string> {
    const chunks: Buffer[] = []
    for await (const chunk of this.#request) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks).toString()
  }

  /** A whole answer, of known length. */
  answer(status: number, headers: OutgoingHttpHeaders, body: string): void {
    if (this.#closed) return
    this.#writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    this.#response.end(body)
  }

  /** The head of an answer that is streamed with `write` and `end`; it leaves at once. */
  head(status: number, headers: OutgoingHttpHeaders): void {
    if (this.#closed) return
    this.#writeHead(status, headers)
    this.#flush()
  }

  write(text: string): void {
    if (!this.#closed) this.#response.write(text)
  }

  end(text = ''): void {
    if (!this.#closed) this.#response.end(text)
  }
}

/** Where a request goes; the root for one that goes nowhere. */
export function urlOf(path: string = '/'): URL {
  const base = 'https://kubernetes.invalid'
  const absolute = path.replace(/^\/+/, '/')
  return URL.canParse(absolute, base) ? new URL(absolute, base) : new URL(base)
}

/** The common name in a connection's client certificate, if there is one. */
export function clientNameOf(socket: TLSSocket): string | undefined {
  const name = socket.getPeerCertificate().subject?.CN
  return typeof name === 'string' ? name : undefined
}
