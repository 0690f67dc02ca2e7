/**
 * The server of random programs: it does nothing with a request until it is told. A dialer's own questions are answered
 * at once, and their connections are none of a program's.
 */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

import { serverIdentity } from './stub-dialer.ts'

/** What a dialer asks for begins so. */
const QUESTION = '/api'

export interface Answer {
  readonly status: number
  readonly body: number
  readonly chunked: boolean
  readonly close: boolean
  /** The seconds of a Keep-Alive header; 0 for none. */
  readonly hint: number
  /** A 103 goes before it. */
  readonly early: boolean
  /** The second half of the body is a step of its own. */
  readonly half: boolean
}

/** What the server has of one request. */
interface Held {
  readonly request: IncomingMessage
  /** Undefined for an upgrade or CONNECT, whose answer is written to the socket. */
  readonly response: ServerResponse | undefined
  readonly socket: Duplex
  state: 'waits' | 'half' | 'answered' | 'cut'
  /** It waits for a 100. */
  expected: boolean
  /** Its connection is closed after the answer. */
  closes: boolean
  read: boolean
  bytes: number
  half: number
  rest: number
}

export class ProgramServer {
  readonly #server: https.Server
  readonly #held: Map<number, Held> = new Map()
  readonly #sockets: Set<Socket> = new Set()
  /** The ports of the other ends of the dialer's own connections. */
  readonly #own: Set<number | undefined> = new Set()

  private constructor() {
    this.#server = https.createServer({ ...serverIdentity, keepAliveTimeout: 0 })
    this.#server.on('connection', (socket: Socket) => {
      const { remotePort } = socket
      this.#sockets.add(socket)
      this.#own.delete(remotePort)
      socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('tlsClientError', () => {})
    this.#server.on('clientError', (_error, socket: Duplex) => socket.destroy())
    this.#server.on('request', (request, response) => {
      if (request.url?.startsWith(QUESTION) !== true) return this.#hold(request, response, request.socket, false)
      this.#own.add(request.socket.remotePort)
      response.writeHead(404).end('{}')
    })
    this.#server.on('checkContinue', (request, response) => this.#hold(request, response, request.socket, true))
    for (const event of ['upgrade', 'connect'] as const) {
      this.#server.on(event, (request: IncomingMessage, socket: Duplex) => {
        socket.on('error', () => {})
        // A client that ends its side must be seen to have gone.
        socket.resume().on('end', () => socket.end())
        this.#hold(request, undefined, socket, false)
      })
    }
  }

  static async start(): Promise<ProgramServer> {
    const server = new ProgramServer()
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the server does not listen')
    return address.port
  }

  get open(): number {
    return [...this.#sockets].filter(({ remotePort }) => !this.#own.has(remotePort)).length
  }

  stateOf(id: number): Held['state'] | undefined {
    return this.#held.get(id)?.state
  }

  /** Whether it waits for a 100. */
  isExpected(id: number): boolean {
    const held = this.#held.get(id)
    return held?.expected === true && held.state === 'waits'
  }

  /** Whether its connection is closed after the answer. */
  closes(id: number): boolean {
    return this.#held.get(id)?.closes === true
  }

  hasBegun(id: number): boolean {
    return this.#held.get(id)?.expected === false
  }

  /** Whether there is nothing of it left to read. */
  isRead(id: number): boolean {
    const held = this.#held.get(id)
    return held !== undefined && (held.read || held.expected)
  }

  bytesOf(id: number): number {
    return this.#held.get(id)?.bytes ?? 0
  }

  halfOf(id: number): number {
    return this.#held.get(id)?.half ?? 0
  }

  answer(id: number, answer: Answer): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.state = 'answered'
    // Some Nodes close a connection whose client was never told to send the body that it announced, others do not.
    held.closes = answer.close || held.expected
    const { response, socket, request } = held
    if (response === undefined) return answerRaw(request, socket, answer)
    const { status, body, chunked, hint, early } = answer
    if (early) response.writeEarlyHints({ link: '</x>; rel=preload' })
    const headers: Record<string, string | number> = {}
    if (held.closes) headers['connection'] = 'close'
    if (hint !== 0) headers['keep-alive'] = `timeout=${hint}`
    const bare = request.method === 'HEAD' || status === 204 || status === 304
    if (!chunked && status !== 204) headers['content-length'] = body
    response.writeHead(status, headers)
    if (!answer.half || bare || body < 2) {
      response.end(bare ? undefined : Buffer.alloc(body, 'x'))
      return
    }
    held.state = 'half'
    held.half = Math.floor(body / 2)
    held.rest = body - held.half
    response.write(Buffer.alloc(held.half, 'x'))
  }

  /** The second half of an answer. */
  finish(id: number): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.state = 'answered'
    held.response?.end(Buffer.alloc(held.rest, 'x'))
  }

  /** Answers with a 100. */
  proceed(id: number): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.expected = false
    held.response?.writeContinue()
  }

  cut(id: number): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.state = 'cut'
    held.socket.destroy()
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #hold(request: IncomingMessage, response: ServerResponse | undefined, socket: Duplex, expected: boolean): void {
    const id = Number.parseInt(request.url?.replace('/', '') ?? '', 10)
    const held: Held = {
      request, response, socket, state: 'waits', expected, closes: false, read: response === undefined, bytes: 0,
      half: 0, rest: 0,
    }
    this.#held.set(id, held)
    socket.once('close', () => this.#held.delete(id))
    request.on('error', () => {})
    response?.on('error', () => {})
    request.on('data', (chunk: Buffer) => { held.bytes += chunk.length })
    request.on('end', () => { held.read = true })
  }
}

function answerRaw(request: IncomingMessage, socket: Duplex, { status }: Answer): void {
  if (request.method === 'CONNECT') {
    socket.write(`HTTP/1.1 ${status} x\r\n\r\n`)
    return
  }
  if (status === 200) {
    socket.write('HTTP/1.1 101 x\r\nconnection: Upgrade\r\nupgrade: test\r\n\r\n')
    return
  }
  socket.end(`HTTP/1.1 ${status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
}
