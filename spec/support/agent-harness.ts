/**
 * What the specs of the agent share: a TLS server that answers when it is told, requests that write down what they
 * emit, and agents made of the stub dialer. Nothing here knows what is right.
 */
import { once } from 'node:events'
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

import type { DialCallback, DialerPool } from '../../lib/pool.ts'
import { PooledAgent } from '../../lib/agent/pooled-agent.ts'
import { serverIdentity, StubDialer } from './stub-dialer.ts'

/** The agent under test, with the dialer given. */
export class StubbedAgent extends PooledAgent {
  readonly #pool: DialerPool
  readonly #idleTimeout: number | undefined

  constructor(pool: DialerPool, options?: https.AgentOptions, idleTimeout?: number) {
    super(options)
    this.#pool = pool
    this.#idleTimeout = idleTimeout
  }

  protected override get pool(): DialerPool {
    return this.#pool
  }

  protected override get idleTimeout(): number {
    return this.#idleTimeout ?? super.idleTimeout
  }
}

/** What everybody writes first, and what PooledAgent has to be better than. */
export class NaiveAgent extends https.Agent {
  readonly #pool: DialerPool

  constructor(pool: DialerPool, options?: https.AgentOptions) {
    super(options)
    this.#pool = pool
  }

  override createConnection(
    options: https.RequestOptions, callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#pool.dial(options, callback as DialCallback)
  }
}

export type MakeAgent = (pool: StubDialer, options?: https.AgentOptions) => https.Agent

/** A server whose requests wait until they are answered, unless their path says otherwise: /now, /status/503. */
export class HeldServer {
  readonly server: https.Server
  readonly held: Map<string, ServerResponse> = new Map()
  /** The numbers of the connections that requests came by, in their order: 'path by number'. */
  readonly seen: string[] = []
  connections = 0
  readonly #waiting: Map<string, () => void> = new Map()
  readonly #sockets: Set<Duplex> = new Set()
  readonly #numbers: WeakMap<Socket, number> = new WeakMap()

  private constructor(options: https.ServerOptions) {
    this.server = https.createServer({
      ...serverIdentity, keepAliveTimeout: 60_000, ...options,
    }, (request, response) => {
      this.#answerOrHold(request, response)
    })
    this.server.on('secureConnection', (socket: Socket) => {
      this.connections++
      this.#numbers.set(socket, this.connections)
    })
    this.server.on('connection', (socket: Duplex) => {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static async start(options: https.ServerOptions = {}): Promise<HeldServer> {
    const held = new HeldServer(options)
    held.server.listen(0, '127.0.0.1')
    await once(held.server, 'listening')
    return held
  }

  get port(): number {
    const address = this.server.address()
    if (address === null || typeof address === 'string') throw new Error('the server does not listen')
    return address.port
  }

  /** Resolves when the server has that request. */
  async arrived(path: string): Promise<ServerResponse> {
    const response = this.held.get(path)
    if (response !== undefined) return response
    await new Promise<void>((resolve) => this.#waiting.set(path, resolve))
    return this.arrived(path)
  }

  async answer(path: string): Promise<void> {
    const response = await this.arrived(path)
    this.held.delete(path)
    response.end(path)
  }

  /** Closes the connection that this request came by, without an answer. */
  async cut(path: string): Promise<void> {
    const response = await this.arrived(path)
    this.held.delete(path)
    response.socket?.destroy()
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #answerOrHold(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? ''
    this.seen.push(`${path} by ${this.#numbers.get(request.socket) ?? 0}`)
    if (path.startsWith('/close')) response.setHeader('connection', 'close')
    if (path.startsWith('/hint')) response.setHeader('keep-alive', 'timeout=1')
    if (path.startsWith('/status/')) response.statusCode = Number(path.split('/')[2])
    if (!path.startsWith('/held')) {
      response.end(path)
      return
    }
    this.held.set(path, response)
    this.#waiting.get(path)?.()
    this.#waiting.delete(path)
  }
}

/** A request, and what it has emitted so far. */
export interface Exchange {
  readonly request: ClientRequest
  /** 'abort', 'timeout', 'response', 'end', 'error CODE MESSAGE', 'close': in their order. */
  readonly events: string[]
  readonly error: Promise<Error & { code?: string }>
  readonly response: Promise<IncomingMessage>
  readonly timeout: Promise<void>
  readonly closed: Promise<void>
}

export function send(agent: https.Agent, path: string, options: https.RequestOptions = {}): Exchange {
  const request = https.request({ host: '127.0.0.1', path, agent, ...options })
  const events: string[] = []
  const exchange: Exchange = {
    request,
    events,
    error: new Promise((resolve) => {
      request.on('error', (error: Error & { code?: string }) => {
        events.push(`error ${error.code} ${error.message}`)
        resolve(error)
      })
    }),
    response: new Promise((resolve) => {
      request.on('response', (response) => {
        events.push('response')
        response.on('error', () => {})
        response.on('end', () => events.push('end'))
        response.resume()
        resolve(response)
      })
    }),
    timeout: new Promise((resolve) => {
      request.on('timeout', () => {
        events.push('timeout')
        resolve()
      })
    }),
    closed: new Promise((resolve) => {
      request.on('close', () => {
        events.push('close')
        resolve()
      })
    }),
  }
  request.on('abort', () => events.push('abort'))
  request.end()
  return exchange
}

/** The pool as its users see it: how many sockets in use, idle and in all, how many requests wait. */
export interface PoolCount {
  sockets: number
  free: number
  queued: number
  total: number
}

export function count(agent: https.Agent): PoolCount {
  const size = (lists: NodeJS.ReadOnlyDict<readonly unknown[]>): number =>
    Object.values(lists).reduce((sum, list) => sum + (list?.length ?? 0), 0)
  const total = 'totalSocketCount' in agent ? Number(agent.totalSocketCount) : Number.NaN
  return { sockets: size(agent.sockets), free: size(agent.freeSockets), queued: size(agent.requests), total }
}

/** Resolves when the pool has become so, or with what it is when there is no more use in waiting. */
export async function until(
  agent: https.Agent, holds: (count: PoolCount) => boolean, over: AbortSignal,
): Promise<PoolCount> {
  for (;;) {
    const now = count(agent)
    if (holds(now) || over.aborted) return now
    await new Promise((resolve) => setImmediate(resolve))
  }
}
