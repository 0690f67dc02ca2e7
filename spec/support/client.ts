/**
 * A user of the embedded control plane, as a spec needs one: a dialer and an agent over it, requests and watches that
 * say how they ended, and a count of how often each dial ended. Nothing here knows what is right.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { MultidialError } from '../../lib/errors.ts'
import { Multidialer, poolOf } from '../../lib/multidialer.ts'
import type { FailedEvent, FailoverEvent, MultidialerOptions } from '../../lib/multidialer.ts'
import type { DialCallback, DialerPool, DialRequest } from '../../lib/pool.ts'
import { PooledAgent } from '../../lib/agent/pooled-agent.ts'
import type { ApiServer, ControlPlane } from './control-plane.ts'

export interface Answer {
  readonly status: number
  /** The name of the server that answered. */
  readonly server: string
  readonly body: string
  /** From asking to the end of the answer. */
  readonly ms: number
}

/** How a dial ended, and how often. */
export interface CountedDial {
  ended: number
  /** Whether it ended before the function that began it had returned. */
  synchronous: boolean
}

/** An agent whose dials are counted. */
class CountingAgent extends PooledAgent {
  readonly #pool: DialerPool

  constructor(pool: DialerPool, options: https.AgentOptions) {
    super(options)
    this.#pool = pool
  }

  protected override get pool(): DialerPool {
    return this.#pool
  }
}

export class Client {
  readonly dialer: Multidialer
  readonly agent: https.Agent
  readonly dials: CountedDial[] = []
  readonly failovers: FailoverEvent[] = []
  readonly failed: FailedEvent[] = []
  readonly warnings: (Error & { kind: string })[] = []
  readonly #plane: ControlPlane
  /** What its requests name: its seed, whoever answers. */
  readonly #url: string
  readonly #requests = new Set<ClientRequest>()
  readonly #closing: (() => void)[] = []

  constructor(plane: ControlPlane, options: Partial<MultidialerOptions> = {}, agent: https.AgentOptions = {}) {
    this.#plane = plane
    this.#url = typeof options.server === 'string' ? options.server : at(plane, 0).url
    this.dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token, ...options })
    this.agent = new CountingAgent(this.#counted(poolOf(this.dialer)), { keepAlive: true, ...agent })
    this.dialer.on('failover', (failover) => this.failovers.push(failover))
    this.dialer.on('failed', (failed) => this.failed.push(failed))
    this.dialer.on('warning', (warning) => this.warnings.push(warning))
  }

  /** One request through the agent. The host is the seed's, whoever answers. It ends within two minutes, or fails. */
  get(path: string, options: https.RequestOptions = {}): Promise<Answer> {
    const from = performance.now()
    const answer = new Promise<Answer>((resolve, reject) => {
      const request = this.request(path, options)
      // Node says it twice when a connection ends before the answer and then cannot be written to either.
      request.on('error', reject)
      request.once('response', (response) => {
        textOf(response).then((body) => {
          const server = String(response.headers['x-served-by'])
          resolve({ status: response.statusCode ?? 0, server, body, ms: performance.now() - from })
        }, reject)
      })
      request.end()
    })
    return happens(`GET ${path.slice(0, 60)} is answered, or fails`, answer, 120_000)
  }

  request(path: string, options: https.RequestOptions = {}): ClientRequest {
    const { headers, ...rest } = options
    const request = https.request(this.#url + path, {
      agent: this.agent, headers: { authorization: `Bearer ${this.#plane.token}`, ...headers }, ...rest,
    })
    this.#requests.add(request)
    request.once('close', () => this.#requests.delete(request))
    return request
  }

  /** One request on a connection of its own, past the agent. */
  fresh(path: string): Promise<Answer> {
    return this.get(path, { agent: undefined, createConnection: this.#createConnection })
  }

  /** A watch that is told nothing, once its head is there. */
  async watch(path = '/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0'): Promise<Watch> {
    const request = this.request(path).end()
    const [response] = await once(request, 'response')
    return new Watch(request, response)
  }

  /** How many requests are under way. */
  get busy(): number {
    return this.#requests.size
  }

  /** The sockets that wait in the pool. */
  get pooled(): Duplex[] {
    return Object.values(this.agent.freeSockets).flatMap((list) => list ?? [])
  }

  /** A socket of the dialer's own giving, closed with the client. */
  async connect(): Promise<TLSSocket> {
    const dial = this.#count()
    try {
      return await this.dialer.connect()
    } finally {
      dial.ended += 1
    }
  }

  /** Which server answers now, by its name. */
  async served(): Promise<string> {
    return (await this.get('/version')).server
  }

  /** The end: every request, every socket of the pool, every dial; each dial has ended once, in its time. */
  async close(): Promise<void> {
    for (const listener of this.#closing) listener()
    for (const request of this.#requests) request.on('error', () => undefined).destroy()
    this.agent.destroy()
    this.dialer.close()
    await until('every dial has ended', () => this.dials.every(({ ended }) => ended > 0))
    assert.deepEqual(this.dials.filter(({ ended, synchronous }) => ended !== 1 || synchronous), [])
  }

  /** Is called when it is about to be closed. */
  onClosing(listener: () => void): void {
    this.#closing.push(listener)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #count(): CountedDial {
    const dial = { ended: 0, synchronous: false }
    this.dials.push(dial)
    return dial
  }

  readonly #createConnection = (
    options: https.RequestOptions, callback: (error: Error | null, socket: TLSSocket) => void,
  ): undefined => {
    const dial = this.#count()
    let returned = false
    this.dialer.createConnection(options, (error, socket) => {
      dial.ended += 1
      dial.synchronous ||= !returned
      // Node's type has a socket beside an error, too; no Node calls it so.
      const settle = callback as DialCallback
      settle(error, socket)
    })
    returned = true
  }

  #counted(pool: DialerPool): DialerPool {
    return {
      dial: (request: DialRequest, callback: DialCallback) => {
        const dial = this.#count()
        let returned = false
        const giveUp = pool.dial(request, (error, socket) => {
          dial.ended += 1
          dial.synchronous ||= !returned
          callback(error, socket)
        })
        returned = true
        return giveUp
      },
      serves: (request) => pool.serves(request),
      plain: (request) => pool.plain(request),
      released: (socket) => pool.released(socket),
      acquired: (socket, isPlain) => pool.acquired(socket, isPlain),
      answered: (socket, status) => pool.answered(socket, status),
      close: () => pool.close(),
    }
  }
}

/** An answer that is streamed, and how it ended. */
export class Watch {
  readonly server: string
  readonly lines: string[] = []
  /** Resolves with the error it was ended with; with undefined where it ended in good order. */
  readonly ended: Promise<Error & { code?: string } | undefined>
  /** When it was over, on the clock of `performance.now()`; undefined while it goes on. */
  endedAt: number | undefined
  readonly #response: IncomingMessage

  constructor(request: ClientRequest, response: IncomingMessage) {
    this.#response = response
    this.server = String(response.headers['x-served-by'])
    let error: Error | undefined
    response.on('data', (chunk: Buffer) => this.lines.push(...String(chunk).split('\n').filter(Boolean)))
    // The reason of the connection's end comes to the request; the answer learns no more than that it was aborted.
    request.on('error', (reason) => { error = reason })
    response.on('error', (reason) => { error ??= reason })
    this.ended = new Promise((resolve) => response.once('close', () => {
      this.endedAt = performance.now()
      resolve(error)
    }))
  }

  destroy(): void {
    this.#response.destroy()
  }
}

/**
 * One request to `/readyz` by a connection of its own, up to the end of that: the name of the server that answered. TLS
 * tickets have come by then.
 */
export async function servedBy(
  dialer: Multidialer, url: string, options: https.RequestOptions = {},
): Promise<string> {
  const { createConnection } = dialer
  const sent = https.get(`${url}/readyz`, { createConnection, headers: { connection: 'close' }, ...options })
  const [response] = await once(sent, 'response')
  response.resume()
  await once(response, 'close')
  return String(response.headers['x-served-by'])
}

/** A server of a control plane, by its number. */
export function at(plane: ControlPlane, index: number): ApiServer {
  const server = plane.servers[index]
  assert.ok(server, `there is a server ${index}`)
  return server
}

/** Waits until it holds, for a minute at most: far longer than anything here takes. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, within = 60_000): Promise<void> {
  const end = performance.now() + within
  while (!await holds()) {
    assert.ok(performance.now() < end, `within ${within} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/**
 * Its outcome, when it comes within a minute. Waiting for it keeps the process alive, which what is waited for need
 * not: the sockets and timers of a dialer's own do not.
 */
export async function happens<T>(what: string, outcome: Promise<T>, within = 60_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new assert.AssertionError({ message: `within ${within} ms: ${what}` })), within)
  })
  try {
    return await Promise.race([outcome, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The outcome, and when it came, in ms from now. */
export async function timed<T>(outcome: Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const from = performance.now()
  const value = await outcome
  return { value, ms: performance.now() - from }
}

/** What it was rejected with; fails where it was not. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome: unknown = await promise.then(() => undefined, (error: unknown) => error)
  assert.ok(outcome instanceof Error, 'it is rejected with an Error')
  return outcome
}

/** The error of a dial, which names every endpoint that was tried. */
export async function dialError(promise: Promise<unknown>): Promise<MultidialError> {
  const error = await rejection(promise)
  assert.ok(error instanceof MultidialError, `${error.name}: ${error.message}`)
  return error
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return text
}
