/**
 * The client that the demo shows: requests every 50 ms and a watch, all through one agent, as a busy controller makes
 * them. It measures what it sees and judges nothing: what is promised is in promises.ts, which faults there are in
 * faults.ts.
 *
 * It retries no request, so that each one that a fault costs is counted. It does send a write again that failed, and
 * opens its watch again from where it was, as every Kubernetes client does.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'

/** Between two requests, in ms: often enough to feel everything, and little work beside a compiler. */
export const REQUEST_EVERY = 50
/** Between two writes, which feed the watch, in ms. */
const WRITE_EVERY = 200
/** Before a write that failed is sent again, in ms. */
const WRITE_AGAIN = 100
/** Before a watch is opened again, in ms: one that found no connection, one that was refused for now, and for good. */
const WATCH_AGAIN = { failed: 100, refused: 1_000, forbidden: 5_000 }
/** ms for which a request has no answer before it is said to hang. */
const HANGS = 1_000

export interface ClientOptions {
  readonly agent: https.Agent
  readonly server: URL
  /** Asked for each request. */
  readonly token: () => string | undefined
  /** What is watched, with its query if it has one. */
  readonly watch: string
  /** Where objects are created for the watch to show; nothing is written without it. */
  readonly write?: string
  /** The address of the apiserver that gave an answer, where its headers tell: a balancer hides it. */
  readonly locate?: (headers: IncomingHttpHeaders) => string | undefined
  readonly onAnswer?: (answer: Answer) => void
  readonly onFailure?: (failure: Failure) => void
  readonly onWatch?: (status: number) => void
}

export interface Answer {
  readonly status: number
  /** 'host:port' that answered. */
  readonly address: string
  /** ms since the last good answer. */
  readonly gap: number
}

export interface Failure {
  readonly error: Error
  /** 'host:port' of the apiserver that it was sent to; undefined where it never had a connection. */
  readonly address: string | undefined
}

/** What was seen since the last `mark()`. */
export interface Seen {
  /** The longest time between two good answers, in ms; the first is counted from the one before the mark. */
  readonly gap: number
  /** The longest that one request took to be answered or to fail, in ms. */
  readonly wait: number
  /** The longest time between two events of the watch, in ms. */
  readonly watchGap: number
  /** Requests that got no answer. */
  readonly failures: readonly Failure[]
  /** Requests that were answered with 429 or 5xx. */
  readonly refusals: readonly Failure[]
  /** How many requests have waited for an answer for a second or more, and still do. */
  readonly hanging: number
  /** ms since the last event of the watch. */
  readonly silence: number
}

/** The apiserver that a request was sent to, as far as is known. */
interface On {
  address: string | undefined
  /** The other end of its connection, which may be a balancer. */
  through: string | undefined
}

interface Pending extends On {
  readonly startedAt: number
}

/** The longest pause between beats. */
class Pulse {
  #last = performance.now()
  #longest = 0

  beat(): void {
    this.#longest = this.longest
    this.#last = performance.now()
  }

  mark(): void {
    this.#longest = 0
  }

  get longest(): number {
    return Math.max(this.#longest, this.current)
  }

  /** ms since the last beat. */
  get current(): number {
    return performance.now() - this.#last
  }
}

const NOWHERE = { at: undefined, through: undefined }

export class DemoClient {
  readonly #options: ClientOptions
  readonly #pending = new Set<Pending>()
  readonly #answers = new Pulse()
  readonly #events = new Pulse()
  readonly #timers: NodeJS.Timeout[] = []
  /** What an answer on a connection told of the apiserver at its other end. */
  readonly #located = new WeakMap<Socket, string>()
  /** Written, and not yet seen by the watch; the name of an object that exists. */
  readonly #unseen = new Set<string>()
  readonly #shown = new Set<string>()
  #failures: Failure[] = []
  #refusals: Failure[] = []
  #slowest = 0
  #writes = 0
  #watching: ClientRequest | undefined
  #watchTimer: NodeJS.Timeout | undefined
  #version: string | undefined
  #stopped = false
  /** All of them, since the start. Those that were refused were answered, too. */
  readonly totals: { answered: number; refused: number; failed: number; events: number } =
    { answered: 0, refused: 0, failed: 0, events: 0 }
  /** Since the last mark, by the address that gave them. */
  readonly answersOf: Map<string, number> = new Map()
  readonly eventsOf: Map<string, number> = new Map()
  /** 'host:port' that gave the last good answer. */
  servedBy: string | undefined
  /** 'host:port' of the apiserver that the watch is open at, and of the other end of its connection. */
  watch: { readonly at: string | undefined; readonly through: string | undefined } = NOWHERE

  constructor(options: ClientOptions) {
    this.#options = options
  }

  start(): void {
    this.#request()
    this.#watch()
    this.#timers.push(setInterval(() => this.#request(), REQUEST_EVERY))
    if (this.#options.write !== undefined) this.#timers.push(setInterval(() => this.#write(), WRITE_EVERY))
  }

  /** Nothing new is sent from now on. The agent is its owner's to destroy. */
  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#watchTimer)
    this.#watching?.destroy()
  }

  /** `seen()` begins anew. */
  mark(): void {
    this.#answers.mark()
    this.#events.mark()
    this.#failures = []
    this.#refusals = []
    this.#slowest = 0
    this.answersOf.clear()
    this.eventsOf.clear()
  }

  seen(): Seen {
    const now = performance.now()
    return {
      gap: this.#answers.longest,
      wait: Math.max(this.#slowest, this.oldest()),
      watchGap: this.#events.longest,
      failures: this.#failures,
      refusals: this.#refusals,
      hanging: [...this.#pending].filter(({ startedAt }) => now - startedAt >= HANGS).length,
      silence: this.#events.current,
    }
  }

  /** How long the oldest request has been waiting, in ms: all, or those on a connection to one of these addresses. */
  oldest(addresses?: ReadonlySet<string>): number {
    let oldest = 0
    for (const { startedAt, address } of this.#pending) {
      if (addresses !== undefined && (address === undefined || !addresses.has(address))) continue
      oldest = Math.max(oldest, performance.now() - startedAt)
    }
    return oldest
  }

  /** Ends the watch and opens it again, as a client does every few minutes. */
  renewWatch(): void {
    this.#watching?.destroy()
  }

  /** How many objects were written that the watch has not shown. */
  get unseen(): number {
    return this.#unseen.size
  }

  #request(): void {
    this.#send('GET', '/version')
  }

  #write(name?: string): void {
    if (this.#stopped || this.#options.write === undefined) return
    const object = name ?? `demo-${++this.#writes}`
    const body = JSON.stringify({ metadata: { name: object } })
    this.#send('POST', this.#options.write, body, (status) => {
      // One that was written, and whose answer was lost, is there already: 409.
      if (status === undefined || isRefusal(status)) setTimeout(() => this.#write(object), WRITE_AGAIN)
      else if (!this.#shown.has(object)) this.#unseen.add(object)
    })
  }

  #send(method: string, path: string, body?: string, onEnd?: (status: number | undefined) => void): void {
    const pending: Pending = { startedAt: performance.now(), address: undefined, through: undefined }
    this.#pending.add(pending)
    const settle = (status: number | undefined, error?: Error): void => {
      if (!this.#pending.delete(pending) || this.#stopped) return
      this.#slowest = Math.max(this.#slowest, performance.now() - pending.startedAt)
      if (status === undefined) this.#failed({ error: error ?? new Error('cut short'), address: pending.address })
      else this.#answered(status, pending.address ?? '')
      onEnd?.(status)
    }
    const request = this.#open(method, path, pending, (response) => {
      response.resume()
      response.once('end', () => settle(response.statusCode))
      response.once('error', (error) => settle(undefined, error))
      response.once('close', () => settle(undefined))
    })
    request.once('error', (error) => settle(undefined, error))
    request.end(body)
  }

  #open(method: string, path: string, to: On, onResponse: (response: IncomingMessage) => void): ClientRequest {
    const { agent, server, locate } = this.#options
    const token = this.#options.token()
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const request = https.request(new URL(path, server), { agent, method, headers }, (response) => {
      const located = locate?.(response.headers)
      if (located !== undefined) {
        to.address = located
        this.#located.set(response.socket, located)
      }
      onResponse(response)
    })
    request.once('socket', (socket) => {
      to.through = addressOf(socket)
      to.address = this.#located.get(socket) ?? to.through
    })
    request.on('error', () => undefined)
    return request
  }

  #answered(status: number, address: string): void {
    this.totals.answered += 1
    const gap = this.#answers.current
    if (isRefusal(status)) {
      this.totals.refused += 1
      this.#refusals.push({ error: new Error(`answered ${status}`), address })
    } else {
      this.answersOf.set(address, (this.answersOf.get(address) ?? 0) + 1)
      this.servedBy = address
      this.#answers.beat()
    }
    this.#options.onAnswer?.({ status, address, gap })
  }

  #failed(failure: Failure): void {
    this.totals.failed += 1
    this.#failures.push(failure)
    this.#options.onFailure?.(failure)
  }

  // ---- the watch

  #watch(): void {
    if (this.#stopped) return
    const to: On = { address: undefined, through: undefined }
    let delay = WATCH_AGAIN.failed
    const path = new URL(this.#options.watch, this.#options.server)
    path.searchParams.set('watch', '1')
    if (this.#version !== undefined) path.searchParams.set('resourceVersion', this.#version)
    const request = this.#open('GET', path.pathname + path.search, to, (response) => {
      const { statusCode = 0 } = response
      this.#options.onWatch?.(statusCode)
      if (statusCode === 200) this.watch = { at: to.address, through: to.through }
      // A watch that was open is opened again at once.
      delay = statusCode === 200 ? 0 : isRefusal(statusCode) ? WATCH_AGAIN.refused : WATCH_AGAIN.forbidden
      if (statusCode === 410) this.#version = undefined
      let rest = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        if (statusCode !== 200) return
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) this.#event(line, to.address ?? '')
      })
      response.on('error', () => undefined)
    })
    request.once('close', () => {
      this.watch = NOWHERE
      this.#watchTimer = setTimeout(() => this.#watch(), delay)
    })
    request.end()
    this.#watching = request
  }

  #event(line: string, address: string): void {
    const { type, name, version } = readEvent(line)
    // The changes since then are forgotten: all over again.
    this.#version = type === 'ERROR' ? undefined : version ?? this.#version
    if (type === 'ERROR') return
    if (name !== undefined && this.#options.write !== undefined) {
      this.#unseen.delete(name)
      this.#shown.add(name)
    }
    this.totals.events += 1
    this.eventsOf.set(address, (this.eventsOf.get(address) ?? 0) + 1)
    this.#events.beat()
  }
}

function readEvent(line: string): { type?: string; name?: string; version?: string } {
  const event: unknown = JSON.parse(line)
  const metadata = fieldOf(fieldOf(event, 'object'), 'metadata')
  const type = fieldOf(event, 'type')
  const name = fieldOf(metadata, 'name')
  const version = fieldOf(metadata, 'resourceVersion')
  return {
    ...(typeof type === 'string' ? { type } : {}),
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof version === 'string' ? { version } : {}),
  }
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return new Map<string, unknown>(Object.entries(value)).get(name)
}

/** Whether it is the answer of a server that cannot serve now, to anybody. */
function isRefusal(status: number): boolean {
  return status === 429 || status >= 500
}

function addressOf({ remoteAddress, remotePort = 0 }: Socket): string | undefined {
  if (remoteAddress === undefined) return undefined
  return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`
}
