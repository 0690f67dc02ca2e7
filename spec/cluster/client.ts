/**
 * A client of the real control plane as a program would be one: requests and watches through one agent with default
 * options, everything the dialer reports written down, and what the process still holds of connections.
 *
 * It measures and records. What is promised is in the specs; faults are in server.ts.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ClientRequest, IncomingMessage } from 'node:http'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import type { FailedEvent, FailoverEvent, Multidialer, MultidialerOptions } from '../../lib/multidialer.ts'
import type { ApiServer, Cluster, User } from './cluster.ts'

/** An answer from the watch cache of whoever is asked, so that etcd is not measured. */
export const cheapPath = '/api/v1/namespaces/default?resourceVersion=0'
export const watchPath = '/api/v1/namespaces/default/configmaps?watch=1'

/** More than any promise, in ms, so that a spec comes to its end whatever hangs. */
const patience = 30_000

export interface Answer {
  readonly status: number
  /** The IP address of the server that gave it. */
  readonly host: string
  /** From the call to the end of the answer, in ms. */
  readonly ms: number
}

export interface ClientOptions extends Partial<MultidialerOptions> {
  /** Of the agent; true by default. */
  readonly keepAlive?: boolean
  /** A server or a balancer; the first server of the cluster by default. */
  readonly seed?: Pick<ApiServer, 'url'>
  /** Whose token discovery uses; `admin` by default. */
  readonly user?: User
  /** Whose token the requests carry; `admin` by default. */
  readonly caller?: User
}

export class Client implements Disposable {
  readonly agent: MultidialerAgent
  readonly warnings: (Error & { kind: string })[] = []
  readonly failovers: FailoverEvent[] = []
  readonly failures: FailedEvent[] = []
  readonly #url: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(cluster: Cluster, options: ClientOptions = {}) {
    const { seed = cluster.server(0), user = 'admin', caller = 'admin', ...others } = options
    this.#url = seed.url
    this.#headers = { authorization: `Bearer ${cluster.token(caller)}`, 'user-agent': 'spec' }
    this.agent = new MultidialerAgent({
      server: seed.url, caFile: cluster.caFile, tokenFile: cluster.tokenFile(user), ...others,
    })
    this.dialer.on('warning', warning => this.warnings.push(warning))
    this.dialer.on('failover', failover => this.failovers.push(failover))
    this.dialer.on('failed', failure => this.failures.push(failure))
  }

  get dialer(): Multidialer {
    return this.agent.dialer
  }

  /** IP addresses of the last list, sorted. */
  get listed(): string[] {
    const { endpoints } = this.dialer.snapshot()
    return endpoints.filter(({ listed }) => listed).map(({ address }) => address.replace(/:\d+$/, '')).sort()
  }

  /**
   * One GET; rejects with what the request emits, or when it is not over within 30 s. The host is always the seed's,
   * whoever serves.
   */
  async get(path: string = cheapPath): Promise<Answer> {
    const begun = performance.now()
    return await within(patience, async () => {
      const { response } = await this.#respond(path)
      const host = response.socket.remoteAddress ?? ''
      response.resume()
      await once(response, 'end')
      return { status: response.statusCode ?? 0, host, ms: performance.now() - begun }
    })
  }

  /** One POST of JSON; resolves with the status of the answer, rejects as a GET does. */
  async post(path: string, body: unknown): Promise<number> {
    const { request, responded } = this.#open(path, 'POST')
    request.setHeader('content-type', 'application/json').end(JSON.stringify(body))
    return await within(patience, async () => {
      const { response } = await responded
      response.resume()
      await once(response, 'end')
      return response.statusCode ?? 0
    })
  }

  /**
   * Resolves when a watch of the configmaps in `default` is open, where nothing happens unless somebody feeds it.
   * `onData` is called with whatever comes of it. `query` are further parameters.
   */
  async watch(onData: (chunk: Buffer) => void = () => {}, query = ''): Promise<Watch> {
    const { request, response } = await within(patience, () => this.#respond(watchPath + query))
    if (response.statusCode !== 200) throw new Error(`the watch was answered with ${response.statusCode}`)
    return new Watch(request, response, onData)
  }

  /** How long a connection takes, in ms, and to whom. It is closed at once. */
  async dial(): Promise<{ readonly host: string; readonly ms: number }> {
    const begun = performance.now()
    const socket = await this.dialer.connect()
    const ms = performance.now() - begun
    const host = socket.remoteAddress ?? ''
    socket.on('error', () => {}).destroy()
    return { host, ms }
  }

  /** Resolves when the last list holds exactly the given servers. */
  async learned(servers: readonly ApiServer[]): Promise<void> {
    const expected = servers.map(({ host }) => host).sort().join()
    // Not by waiting for its event: an idle agent keeps no process alive, and so would not keep this one.
    await until(() => this.listed.join() === expected)
  }

  [Symbol.dispose](): void {
    this.agent.destroy()
  }

  #respond(path: string): Promise<Responded> {
    const { request, responded } = this.#open(path, 'GET')
    request.end()
    return responded
  }

  #open(path: string, method: string): { request: ClientRequest; responded: Promise<Responded> } {
    const request = https.request(this.#url + path, { method, agent: this.agent, headers: this.#headers })
    const responded = new Promise<Responded>((resolve, reject) => {
      request.on('response', response => resolve({ request, response }))
      request.on('error', reject)
    })
    return { request, responded }
  }
}

interface Responded {
  readonly request: ClientRequest
  readonly response: IncomingMessage
}

/** An open watch. */
export class Watch {
  readonly host: string
  /** Rejects with the error that ended it; never resolves. */
  readonly ended: Promise<never>
  /** That error, once it has ended. */
  endedWith: unknown

  constructor(request: ClientRequest, response: IncomingMessage, onData: (chunk: Buffer) => void) {
    this.host = response.socket.remoteAddress ?? ''
    this.ended = new Promise((_, reject) => {
      request.on('error', reject) // First, and with the cause; the response only says that it was aborted.
      response.on('error', reject)
      response.on('end', () => reject(new Error('the watch was ended by the server')))
    })
    this.ended.catch((error: unknown) => { this.endedWith = error })
    response.on('data', onData)
  }
}

export interface FailedRequest {
  readonly error: Error & { code?: unknown }
  /** When it was made, by `performance.now()`. */
  readonly begun: number
  /** From the call to the error, in ms. */
  readonly ms: number
}

/** What became of the requests of a load. */
export interface Outcome {
  readonly succeeded: number
  readonly failed: readonly FailedRequest[]
  /** The longest time between two answers, or between an end of the load and an answer, in ms. */
  readonly longestGap: number
  /** The longest time that one request took until its answer or its error, in ms. */
  readonly slowest: number
  /** The most requests at one time. */
  readonly peak: number
}

/**
 * Requests of one client until `stop()`. `patient`: one after another, `every` ms after the end of the last, like a
 * loop; else one every `every` ms whatever became of those before, like the users of a server.
 */
export class Load {
  readonly failed: FailedRequest[] = []
  succeeded = 0
  /** Who gave the last answer. */
  host = ''
  /** Who gave one since a spec cleared this. */
  readonly hosts: Set<string> = new Set()
  readonly #client: Client
  readonly #loop: Promise<void>
  readonly #pending = new Set<Promise<void>>()
  #stopped = false
  #lastAt = performance.now()
  #longestGap = 0
  #slowest = 0
  #peak = 0

  constructor(client: Client, every: number, patient: boolean) {
    this.#client = client
    this.#loop = this.#run(every, patient)
  }

  /** Resolves after `count` more answers. */
  async answers(count: number): Promise<void> {
    const enough = this.succeeded + count
    await until(() => this.succeeded >= enough)
  }

  /** Asks no more, and waits for nothing. */
  end(): void {
    this.#stopped = true
  }

  async stop(): Promise<Outcome> {
    this.end()
    await this.#loop
    await Promise.all(this.#pending)
    this.#close()
    return {
      succeeded: this.succeeded, failed: this.failed,
      longestGap: this.#longestGap, slowest: this.#slowest, peak: this.#peak,
    }
  }

  async #run(every: number, patient: boolean): Promise<void> {
    while (!this.#stopped) {
      const request = this.#request().finally(() => this.#pending.delete(request))
      this.#pending.add(request)
      this.#peak = Math.max(this.#peak, this.#pending.size)
      if (patient) await request
      await delay(every)
    }
  }

  async #request(): Promise<void> {
    const begun = performance.now()
    try {
      const { status, host } = await this.#client.get()
      if (status !== 200) throw new Error(`${host} answered ${status}`)
      this.host = host
      this.hosts.add(host)
      this.succeeded++
      this.#close()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.failed.push({ error, begun, ms: performance.now() - begun })
    } finally {
      this.#slowest = Math.max(this.#slowest, performance.now() - begun)
    }
  }

  #close(): void {
    const now = performance.now()
    this.#longestGap = Math.max(this.#longestGap, now - this.#lastAt)
    this.#lastAt = now
  }
}

/** What became of something: a value or an error, and after how long, in ms. */
export interface Timed<T> {
  readonly value?: T
  readonly error?: unknown
  readonly ms: number
}

/** Runs something and says how long it took until it resolved or rejected, and with what. */
export async function timed<T>(work: () => Promise<T>): Promise<Timed<T>> {
  const begun = performance.now()
  try {
    return { value: await work(), ms: performance.now() - begun }
  } catch (error) {
    return { error, ms: performance.now() - begun }
  }
}

/** Runs something while a fault lasts, which is ended whatever comes of it. */
export async function under<T>(begin: () => unknown, end: () => unknown, work: () => Promise<T>): Promise<T> {
  await begin()
  try {
    return await work()
  } finally {
    await end()
  }
}

/** Runs something, and rejects when it is still pending after `bound` ms. */
export async function within<T>(bound: number, work: () => Promise<T>): Promise<T> {
  const over = new AbortController()
  const expired = delay(bound, undefined, { signal: over.signal }).then(() => {
    throw new Error(`still pending after ${bound} ms`)
  })
  expired.catch(() => {}) // That it was aborted, for one.
  try {
    return await Promise.race([work(), expired])
  } finally {
    over.abort()
  }
}

/** Resolves when the condition holds; rejects after `bound` ms, so that no loop outlives its spec. */
export async function until(condition: () => boolean | Promise<boolean>, bound = 40_000): Promise<void> {
  const deadline = performance.now() + bound
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not so within ${bound} ms: ${condition}`)
    await delay(20)
  }
}

/** Resolves when nothing is held; rejects after 20 s, naming what still is. */
export async function released(): Promise<void> {
  await until(() => held().length === 0, 20_000).catch(() => {
    throw new Error(`still held: ${held().join(', ')}`)
  })
}

/**
 * What this process holds of connections to apiservers, and of timers and dials that keep it alive. Those of the kernel
 * alone, such as a last FIN to a host that is cut off, are not ours any more; sockets that are unref'd are.
 */
export function held(): string[] {
  const resources = process.getActiveResourcesInfo().filter(name => /TCP|TLS|Connect|GetAddrInfo|Timeout/.test(name))
  return [...resources, ...connections()]
}

/** As /proc has them: those whose inode is 0 belong to no process. This namespace is this process's own. */
function connections(): string[] {
  const securePort = (6443).toString(16).toUpperCase()
  const rows = readFileSync('/proc/self/net/tcp', 'utf8').split('\n').slice(1).map(line => line.trim().split(/\s+/))
  return rows.flatMap(([, , remote = '', state = '', , , , , , inode = '0']) =>
    remote.endsWith(`:${securePort}`) && inode !== '0' ? [`${remote} in state ${state}`] : [])
}
