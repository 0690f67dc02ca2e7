/**
 * One client of bench/failover, in a process of its own. It makes requests at a fixed pace and never retries them, and
 * it opens its watch again when that ends. It is told when a fault begins, and says what it saw since. Several clients
 * of one kind run side by side, one for each lane.
 */
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type * as Adapter from '../../lib/adapters/client-node.ts'
import type * as Library from '../../lib/index.ts'
import { kubeConfigOf, loadClientNode, type Target } from '../support/client-node.ts'
import { moduleOf } from '../support/dist.ts'
import { type Begin, type FailoverQuestion, type Seen, WATCHED } from './client-protocol.ts'
import { answerAll } from '../support/worker.ts'

const NOTHING: Seen = { gap: 0, slowest: 0, watchGap: 0, failed: 0, answered: 0 }
/** At most so many requests wait at once: more would say nothing new. */
const WAITING = 50
const WATCH_AGAIN = 50

/** What each kind of client does in its own way. */
interface Way {
  /** Makes a request; resolves with the name of the server, or an empty string where the server gives none. */
  request(): Promise<string>
  /** Opens a watch; resolves when it is over, for whatever reason. */
  watch(onEvent: () => void): Promise<void>
  /** Resolves when it has learned of the other servers, where it can. */
  ready(): Promise<void>
  /** Accepts any server from now on. */
  settle(): void
  end(): void
}

class Pulse {
  #last = performance.now()
  #longest = 0
  beats = 0

  beat(): void {
    const now = performance.now()
    this.#longest = Math.max(this.#longest, now - this.#last)
    this.#last = now
    this.beats += 1
  }

  mark(): void {
    this.#longest = 0
    this.beats = 0
  }

  /** Infinity where the pulse has stopped: the pause at the end is the longest, and longer than `patience`. */
  longest(patience: number): number {
    const silent = performance.now() - this.#last
    return silent > this.#longest && silent > patience ? Infinity : this.#longest
  }
}

class Session {
  readonly #way: Way
  readonly #begin: Begin
  readonly #answers = new Pulse()
  readonly #events = new Pulse()
  readonly #waiting = new Set<{ readonly since: number }>()
  #timer: NodeJS.Timeout | undefined
  #slowest = 0
  #failed = 0
  #ended = false

  constructor(way: Way, begin: Begin) {
    this.#way = way
    this.#begin = begin
  }

  async start(): Promise<void> {
    const { wanted, pace } = this.#begin
    await until('a request is answered', async () =>
      [wanted, ''].includes(await this.#way.request().catch(() => undefined)) || wanted === undefined)
    await this.#way.ready()
    void this.#watch()
    await until('the watch tells something', () => this.#events.beats > 1)
    this.#timer = setInterval(() => this.#request(), pace)
    await until('requests are answered', () => this.#answers.beats > 2)
    this.#way.settle()
  }

  mark(): void {
    this.#answers.mark()
    this.#events.mark()
    this.#slowest = 0
    this.#failed = 0
  }

  seen(): Seen {
    // What takes ten times as long as usual counts as not over.
    const patience = Math.max(1_000, 10 * this.#begin.pace)
    const oldest = Math.max(0, ...[...this.#waiting].map(({ since }) => performance.now() - since))
    return {
      ...NOTHING,
      gap: this.#answers.longest(patience),
      slowest: oldest > Math.max(patience, this.#slowest) ? Infinity : this.#slowest,
      watchGap: this.#events.longest(patience),
      failed: this.#failed,
      answered: this.#answers.beats,
    }
  }

  end(): void {
    this.#ended = true
    clearInterval(this.#timer)
    this.#way.end()
  }

  #request(): void {
    if (this.#waiting.size >= WAITING) return
    const waiting = { since: performance.now() }
    this.#waiting.add(waiting)
    const settled = (): void => {
      this.#waiting.delete(waiting)
      this.#slowest = Math.max(this.#slowest, performance.now() - waiting.since)
    }
    this.#way.request().then(() => {
      settled()
      this.#answers.beat()
    }, () => {
      settled()
      if (!this.#ended) this.#failed += 1
    }).catch(() => undefined)
  }

  async #watch(): Promise<void> {
    while (!this.#ended) {
      await this.#way.watch(() => this.#events.beat()).catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, WATCH_AGAIN))
    }
  }
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; !await holds();) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

// ---- the ways

class AgentWay implements Way {
  readonly #agent: https.Agent
  readonly #watcher: https.Agent
  readonly #target: Target
  readonly #requestPath: string
  readonly #wanted: string | undefined
  readonly #isReady: () => Promise<void>
  #settled = false

  constructor(agent: https.Agent, watcher: https.Agent, begin: Begin, isReady: () => Promise<void>) {
    this.#agent = agent
    this.#watcher = watcher
    this.#target = begin.target
    this.#requestPath = begin.requestPath
    this.#wanted = begin.wanted
    this.#isReady = isReady
  }

  request(): Promise<string> {
    return new Promise((resolve, reject) => {
      const request = https.get(new URL(this.#requestPath, this.#target.url), {
        agent: this.#agent, headers: this.#headers,
      }, (response) => {
        const server = String(response.headers['x-served-by'] ?? '')
        const { socket } = response
        response.once('error', reject).once('end', () => {
          if (response.statusCode === 200) resolve(server)
          else reject(new Error(`status ${response.statusCode}`))
          // It was the wrong server, so the next request tries another connection.
          if (!this.#isWanted(server)) setImmediate(() => socket.destroy())
        }).once('close', () => reject(new Error('cut short'))).resume()
      })
      request.once('error', reject)
    })
  }

  watch(onEvent: () => void): Promise<void> {
    return new Promise((resolve) => {
      const url = new URL(`${WATCHED}?watch=1`, this.#target.url)
      const request = https.get(url, { agent: this.#watcher, headers: this.#headers }, (response) => {
        const server = String(response.headers['x-served-by'] ?? '')
        if (this.#isWanted(server)) response.on('data', onEvent)
        else request.destroy()
        response.once('error', () => undefined)
      })
      request.once('error', () => undefined).once('close', () => resolve())
    })
  }

  #isWanted(server: string): boolean {
    return this.#settled || this.#wanted === undefined || server === this.#wanted
  }

  settle(): void {
    this.#settled = true
  }

  get #headers(): Record<string, string> {
    return { authorization: `Bearer ${this.#target.token}` }
  }

  ready(): Promise<void> {
    return this.#isReady()
  }

  end(): void {
    this.#agent.destroy()
    this.#watcher.destroy()
  }
}

async function wayOf(begin: Begin): Promise<Way> {
  const { kind, target, dist, unkept } = begin
  const ca = readFileSync(target.caFile)
  switch (kind) {
    case 'mine': {
      const { MultidialerAgent }: typeof Library = await import(moduleOf(dist, 'index'))
      const options = { server: target.url, caFile: target.caFile, token: target.token }
      const agent = await wantedAgent(() => new MultidialerAgent({ ...options, keepAlive: !unkept }), begin)
      const watcher = unkept ? new MultidialerAgent(options) : agent
      // Where nobody may read the list, it is as ready as it ever will be.
      return new AgentWay(agent, watcher, begin, async () => { await agent.dialer.refresh().catch(() => undefined) })
    }
    case 'stock':
      return new AgentWay(
        new https.Agent({ ca, keepAlive: !unkept }), new https.Agent({ ca }), begin, async () => undefined,
      )
    case 'haproxy': {
      // The certificate is the server's, whatever the address of the proxy is.
      const options = { ca, servername: 'kubernetes' }
      return new AgentWay(
        new https.Agent({ ...options, keepAlive: !unkept }), new https.Agent(options), begin, async () => undefined,
      )
    }
    case 'client-node 2':
      return clientNodeWay(target, undefined)
    case 'client-node 2 with':
      return clientNodeWay(target, dist)
  }
}

/**
 * Makes agents until one uses the server that is to fail: behind a balancer each chooses one by chance. Where the list
 * is forbidden it uses the balancer itself.
 */
async function wantedAgent(make: () => Library.MultidialerAgent, { wanted, target }: Begin): Promise<Library.MultidialerAgent> {
  for (;;) {
    const agent = make()
    if (wanted === undefined || await servedBy(agent, target) === wanted) return agent
    agent.destroy()
  }
}

function servedBy(agent: https.Agent, { url, token }: Target): Promise<string> {
  return new Promise((resolve, reject) => {
    https.get(new URL('/version', url), { agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
      response.resume().once('end', () => resolve(String(response.headers['x-served-by'] ?? '')))
    }).once('error', reject)
  })
}

async function clientNodeWay(target: Target, dist: string | undefined): Promise<Way> {
  const module = await loadClientNode('2')
  const config = kubeConfigOf(module, target)
  const adapter: typeof Adapter | undefined =
    dist === undefined ? undefined : await import(moduleOf(dist, 'client-node'))
  const dialer = adapter?.withMultidialer(config)
  const api = config.makeApiClient(module.VersionApi)
  const watch = new module.Watch(config)
  let watching: AbortController | undefined
  return {
    request: async () => { await api.getCode(); return '' },
    watch: (onEvent) => new Promise((resolve) => {
      watch.watch(WATCHED, {}, onEvent, () => resolve())
        .then((controller) => { watching = controller }, () => resolve())
    }),
    ready: async () => { await dialer?.refresh() },
    settle: () => undefined,
    end: () => { watching?.abort(); dialer?.close() },
  }
}

// ---- what it is asked

const sessions = new Map<number, Session>()

answerAll<FailoverQuestion, Seen>(async (question) => {
  switch (question.what) {
    case 'begin': {
      const session = new Session(await wayOf(question), question)
      sessions.set(question.lane, session)
      await session.start()
      return NOTHING
    }
    case 'mark':
      sessions.get(question.lane)?.mark()
      return NOTHING
    case 'seen':
      return sessions.get(question.lane)?.seen() ?? NOTHING
    case 'end':
      sessions.get(question.lane)?.end()
      sessions.delete(question.lane)
      return NOTHING
  }
})
