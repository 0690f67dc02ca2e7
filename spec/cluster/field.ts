/**
 * What lives in the field: a client that is busy and has watches which it opened at once, as informers do; a watch that
 * resumes where it was ended; and, beside them, the stock agent of Node, which shows that a fault is felt.
 *
 * As in client.ts, nothing is promised here; it is only measured and recorded.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import { cheapPath, Client, Load, timed, watchPath, within, type ClientOptions, type Watch } from './client.ts'
import type { ApiServer, Cluster, User } from './cluster.ts'

const informers = 6
const requestInterval = 200
const configMaps = '/api/v1/namespaces/default/configmaps'
/** Nobody watches there. 12 MB are more than the buffers of two kernels hold of an answer that is not read. */
const largeFolder = '/api/v1/namespaces/kube-public/configmaps'
const largeObjects = 24
const largeSize = 500_000
/** More than a server of few has seats for: the others wait in their user's queues, and are turned away after 15 s. */
const lists = 80
/** After how long who is turned away comes again, in ms. */
const turnedAway = 100

/** Six watches opened at once, before anything is learned, and a request every 200 ms, whatever the others do. */
export class BusyClient implements Disposable {
  readonly client: Client
  readonly load: Load
  readonly watches: readonly Watch[]

  private constructor(client: Client, load: Load, watches: readonly Watch[]) {
    this.client = client
    this.load = load
    this.watches = watches
  }

  /** Resolves when the watches are open. */
  static async open(cluster: Cluster, options?: ClientOptions): Promise<BusyClient> {
    const client = new Client(cluster, options)
    try {
      const opened = Array.from({ length: informers }, () => client.watch())
      const load = new Load(client, requestInterval, false)
      return new BusyClient(client, load, await Promise.all(opened))
    } catch (error) {
      client.agent.destroy()
      throw error
    }
  }

  /** How many of the watches have ended. */
  get ended(): number {
    return this.watches.filter(({ endedWith }) => endedWith !== undefined).length
  }

  [Symbol.dispose](): void {
    this.load.end()
    this.client.agent.destroy()
  }
}

/** What a watch ends with and after how long, in ms; rejects when it is still open after `bound`. */
export async function ending(watch: Watch, bound: number): Promise<{ error: Error; ms: number }> {
  const { error, ms } = await timed(() => within(bound, () => watch.ended))
  if (watch.endedWith === undefined) throw new Error(`the watch on ${watch.host} is still open after ${bound} ms`)
  if (!(error instanceof Error)) throw error
  return { error, ms }
}

/** An informer's watch of what a feed writes: it is opened again where it ended, from the last version that it saw. */
export class ResumingWatch implements Disposable {
  /** The counts that came, in their order. */
  readonly counts: number[] = []
  /** Whom the last event came from. */
  host = ''
  /** How each of those that ended did. */
  readonly ends: unknown[] = []
  readonly #client: Client
  #version: string
  #rest = ''
  #stopped = false

  constructor(client: Client, version: string) {
    this.#client = client
    this.#version = version
    this.#run().catch(() => {})
  }

  get last(): number {
    return this.counts.at(-1) ?? -1
  }

  /** Opens none again; the one that is open is its client's to end. */
  [Symbol.dispose](): void {
    this.#stopped = true
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const opened: { host?: string } = {}
      this.#rest = ''
      const query = `&resourceVersion=${this.#version}`
      const watch = await this.#client.watch(chunk => this.#read(chunk, opened.host), query).catch(() => delay(20))
      if (watch === undefined) continue
      opened.host = watch.host
      this.ends.push(await watch.ended.catch((error: unknown) => error))
    }
  }

  #read(chunk: Buffer, host: string | undefined): void {
    const lines = (this.#rest + chunk.toString()).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      const { object }: {
        object: { metadata: { resourceVersion: string }; data?: { count?: string } }
      } = JSON.parse(line)
      this.#version = object.metadata.resourceVersion
      if (object.data?.count !== undefined) this.counts.push(Number(object.data.count))
      this.host = host ?? this.host
    }
  }
}

/** What writes events for watches, every 200 ms, through a server of its own: a count in one object. */
export class Feed implements AsyncDisposable {
  /** The last count that is known to be written. */
  written = -1
  /** One from which on a watch sees all of it. */
  readonly version: string
  readonly #server: ApiServer
  readonly #done: Promise<void>
  #on = true

  private constructor(server: ApiServer, version: string) {
    this.#server = server
    this.version = version
    this.#done = this.#run()
  }

  static async start(server: ApiServer): Promise<Feed> {
    await server.request(configMaps, { method: 'POST', body: object({}) }) // 409 where it exists.
    const { metadata }: {
      metadata: { resourceVersion: string }
    } = JSON.parse((await server.request(`${configMaps}/fed`)).text)
    return new Feed(server, metadata.resourceVersion)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#on = false
    await this.#done
  }

  async #run(): Promise<void> {
    for (let count = 0; this.#on; count++) {
      const put = { method: 'PUT', body: object({ count: String(count) }), timeout: 2_000 } as const
      const answer = await this.#server.request(`${configMaps}/fed`, put).catch(() => undefined)
      if (answer?.status === 200) this.written = count
      await delay(200)
    }
  }
}

function object(data: Readonly<Record<string, string>>): unknown {
  return { metadata: { name: 'fed' }, data }
}

/** The stock `https.Agent`, to show that a fault is one: what a client without a dialer feels of it. */
export class StockClient implements Disposable {
  readonly #agent: https.Agent
  readonly #url: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(cluster: Cluster, { url }: Pick<ApiServer, 'url'>, caller: User = 'admin') {
    this.#agent = new https.Agent({ keepAlive: true, ca: readFileSync(cluster.caFile) })
    this.#url = url
    this.#headers = { authorization: `Bearer ${cluster.token(caller)}`, 'user-agent': 'stock' }
  }

  /** Opens so many connections that are kept in the pool. */
  async connect(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.get()))
  }

  /** One GET; resolves with the status, rejects with what the request emits. */
  async get(path: string = cheapPath): Promise<number> {
    const response = await this.#respond(path)
    response.resume()
    await once(response, 'end')
    return response.statusCode ?? 0
  }

  /**
   * So many requests at once, kept connections first: how many of them have failed, or are unanswered after `ms`.
   * Resolves when all are settled, at the latest after `ms`.
   */
  async unanswered(ms: number, count = 1, path?: string): Promise<number> {
    let answered = 0
    const get = (): Promise<void> => this.get(path).then(status => { if (status === 200) answered++ }, () => {})
    const over = new AbortController()
    const waited = delay(ms, undefined, { signal: over.signal }).catch(() => {})
    await Promise.race([Promise.all(Array.from({ length: count }, get)), waited])
    over.abort()
    return count - answered
  }

  /** Opens so many watches; resolves with a function that says how many of them have ended since. */
  async watch(count: number): Promise<() => number> {
    let ended = 0
    await Promise.all(Array.from({ length: count }, async () => {
      const response = await this.#respond(watchPath)
      response.on('error', () => {}).once('close', () => ended++).resume()
    }))
    return () => ended
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  #respond(path: string): Promise<{ statusCode?: number } & NodeJS.ReadableStream> {
    return new Promise((resolve, reject) => {
      https.get(this.#url + path, { agent: this.#agent, headers: this.#headers })
        .on('response', resolve).on('error', reject)
    })
  }
}

/**
 * Expensive lists of one user, more at once than a server with few seats has, until it is disposed of. Nobody reads
 * what is answered, so that each holds its seat without any work for this machine; who is turned away asks again.
 */
export class Saturation implements Disposable {
  readonly #server: ApiServer
  readonly #request: string
  readonly #sockets = new Set<tls.TLSSocket>()
  #on = true

  private constructor(server: ApiServer, token: string) {
    this.#server = server
    this.#request = `GET ${largeFolder} HTTP/1.1\r\nHost: kubernetes\r\nAuthorization: Bearer ${token}\r\n\r\n`
  }

  /** Resolves when the lists are asked for; what they list is made first, by another server. */
  static async start(cluster: Cluster, server: ApiServer, caller: User): Promise<Saturation> {
    const maker = cluster.servers.find(each => each !== server) ?? server
    for (let count = 0; count < largeObjects; count++) {
      const body = { metadata: { name: `large-${count}` }, data: { filler: 'x'.repeat(largeSize) } }
      await maker.request(largeFolder, { method: 'POST', body }) // 409 where it exists.
    }
    const saturation = new Saturation(server, cluster.token(caller))
    const ca = readFileSync(cluster.caFile)
    await Promise.all(Array.from({ length: lists }, () => saturation.#list(ca)))
    return saturation
  }

  [Symbol.dispose](): void {
    this.#on = false
    for (const socket of this.#sockets) socket.destroy()
  }

  async #list(ca: Buffer): Promise<void> {
    const { host, port } = this.#server
    const socket = tls.connect({ host, port, ca })
    this.#sockets.add(socket)
    socket.on('error', () => {}).once('close', () => {
      this.#sockets.delete(socket)
      if (this.#on) this.#list(ca).catch(() => {})
    })
    await once(socket, 'secureConnect')
    socket.write(this.#request)
    // The first bytes tell a list, which is left unread, from being turned away.
    socket.once('data', (chunk: Buffer) => {
      if (chunk.includes('HTTP/1.1 200')) socket.pause()
      else setTimeout(() => socket.destroy(), turnedAway).unref()
    })
  }
}
