/**
 * The client that the demo shows: requests every 20 ms and a watch, all through one agent, as a busy controller makes
 * them. It measures what it sees and judges nothing; which faults there are, and what is promised, is demo-faults.ts's.
 *
 * It retries no request, so that each one that a fault costs is counted. Its writes it sends again, and its watch it
 * opens again from where it was, as every Kubernetes client does.
 */
import type { ClientRequest, IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'

/** Between two requests, in ms. */
export const REQUEST_EVERY = 20
/** Between two writes, which feed the watch, in ms. */
const WRITE_EVERY = 200
/** Before a watch is opened again that could not be opened, in ms. */
const WATCH_AGAIN = 100

export interface ClientOptions {
  readonly agent: https.Agent
  readonly server: URL
  /** Asked for each request. */
  readonly token: () => string | undefined
  /** What is watched, with its query if it has one. */
  readonly watch: string
  /** Where objects are created for the watch to show; nothing is written without it. */
  readonly write?: string
  readonly onAnswer?: (answer: Answer) => void
  readonly onFailure?: (failure: Failure) => void
  readonly onWatch?: (status: number) => void
}

export interface Answer {
  readonly status: number
  /** 'host:port' that answered. */
  readonly address: string
  /** ms since the answer before. */
  readonly gap: number
}

export interface Failure {
  readonly error: Error
  /** 'host:port' of the connection that it was on; undefined where it never had one. */
  readonly address: string | undefined
  /** The connection had served another request before. */
  readonly reused: boolean
}

/** What was seen since the last `mark()`. */
export interface Seen {
  /** The longest time between two answers, in ms; that before the first is counted from the answer before the mark. */
  readonly gap: number
  /** The longest that one request took to be answered or to fail, in ms. */
  readonly wait: number
  /** The longest time between two events of the watch, in ms. */
  readonly watchGap: number
  readonly failures: readonly Failure[]
}

/** The connection that a request came to be on. */
interface On {
  address: string | undefined
  reused: boolean
}

interface Pending extends On {
  readonly startedAt: number
}

/** The longest pause between beats. */
class Pulse {
  #last = performance.now()
  #longest = 0

  beat(): number {
    const now = performance.now()
    const gap = now - this.#last
    this.#longest = Math.max(this.#longest, gap)
    this.#last = now
    return gap
  }

  mark(): void {
    this.#longest = 0
  }

  get longest(): number {
    return Math.max(this.#longest, performance.now() - this.#last)
  }
}

export class DemoClient {
  readonly #options: ClientOptions
  readonly #pending = new Set<Pending>()
  readonly #answers = new Pulse()
  readonly #events = new Pulse()
  readonly #timers: NodeJS.Timeout[] = []
  /** Written, and not yet seen by the watch; the name of an object that exists. */
  readonly #unseen = new Set<string>()
  readonly #shown = new Set<string>()
  #failures: Failure[] = []
  #slowest = 0
  #writes = 0
  #watching: ClientRequest | undefined
  #watchTimer: NodeJS.Timeout | undefined
  #version: string | undefined
  #stopped = false
  /** All of them, since the start. */
  readonly totals: { answered: number; failed: number; events: number } = { answered: 0, failed: 0, events: 0 }
  /** Since the last mark, by the address that gave them. */
  readonly answersOf: Map<string, number> = new Map()
  readonly eventsOf: Map<string, number> = new Map()
  /** 'host:port' that answered last. */
  servedBy: string | undefined

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
    this.#slowest = 0
    this.answersOf.clear()
    this.eventsOf.clear()
  }

  seen(): Seen {
    const wait = Math.max(this.#slowest, this.oldest())
    return { gap: this.#answers.longest, wait, watchGap: this.#events.longest, failures: this.#failures }
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
      if (status === undefined) setImmediate(() => this.#write(object))
      else if (!this.#shown.has(object)) this.#unseen.add(object)
    })
  }

  #send(method: string, path: string, body?: string, onEnd?: (status: number | undefined) => void): void {
    const pending: Pending = { startedAt: performance.now(), address: undefined, reused: false }
    this.#pending.add(pending)
    const settle = (status: number | undefined, error?: Error): void => {
      if (!this.#pending.delete(pending) || this.#stopped) return
      this.#slowest = Math.max(this.#slowest, performance.now() - pending.startedAt)
      if (status === undefined) this.#failed({ error: error ?? new Error('cut short'), ...pending })
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
    const { agent, server } = this.#options
    const token = this.#options.token()
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const request = https.request(new URL(path, server), { agent, method, headers }, onResponse)
    request.once('socket', (socket) => {
      to.address = addressOf(socket)
      to.reused = request.reusedSocket
    })
    request.on('error', () => undefined)
    return request
  }

  #answered(status: number, address: string): void {
    this.totals.answered += 1
    this.answersOf.set(address, (this.answersOf.get(address) ?? 0) + 1)
    this.servedBy = address
    const gap = this.#answers.beat()
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
    const to: On = { address: undefined, reused: false }
    let delay = WATCH_AGAIN
    const path = new URL(this.#options.watch, this.#options.server)
    path.searchParams.set('watch', '1')
    if (this.#version !== undefined) path.searchParams.set('resourceVersion', this.#version)
    const request = this.#open('GET', path.pathname + path.search, to, (response) => {
      const { statusCode = 0 } = response
      this.#options.onWatch?.(statusCode)
      // A watch that was open is opened again at once; one that is refused is asked for again, at leisure.
      delay = statusCode === 200 ? 0 : 50 * WATCH_AGAIN
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
    request.once('close', () => { this.#watchTimer = setTimeout(() => this.#watch(), delay) })
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

function addressOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`
}
