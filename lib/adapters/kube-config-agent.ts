/**
 * The agent that a KubeConfig of client-node gives its requests: a pool of a dialer's connections that also shows, as
 * the agent that client-node itself makes does, what it connects with (`agent.options.ca`, ...). Programs take that for
 * connections of their own. What a request brings of just these values is none of its own, so that it shares the pool.
 */
import type { Duplex } from 'node:stream'
import type { PooledOptions } from '../agent/pooled-agent.ts'
import { PooledAgent } from '../agent/pooled-agent.ts'
import type { PooledRequest } from '../agent/waiting-request.ts'
import type { DialerPool } from '../pool.ts'

/** What client-node tells an agent of TLS. */
const SHOWN = ['ca', 'cert', 'key', 'pfx', 'passphrase', 'rejectUnauthorized', 'servername'] as const

type Shown = Partial<Record<(typeof SHOWN)[number], unknown>>

/** What the request itself asks of its connection: the stock agent puts the agent's options over it. */
const GIVEN: unique symbol = Symbol('multidialer.given')

interface MarkedOptions extends PooledOptions {
  [GIVEN]?: Shown
}

export class KubeConfigAgent extends PooledAgent {
  readonly #pool: DialerPool
  #shown: Shown = {}
  #retired = false

  /** @param idleTimeout ms after which an idle connection is closed */
  constructor(pool: DialerPool, idleTimeout: number) {
    super({ keepAlive: true, timeout: idleTimeout })
    this.#pool = pool
  }

  /**
   * Shows these values from now on, those of the KubeConfig's current user and cluster; nothing changes where there are
   * none. What a program has written over the ones before is undone: this agent is everyone's.
   */
  show(applied: Shown): void {
    const entries = SHOWN.map((name): [string, unknown] => [name, applied[name]])
      .filter(([, value]) => value !== undefined && value !== null)
    if (entries.length === 0) return
    this.forget()
    this.#shown = Object.fromEntries(entries)
    Object.assign(this.options, this.#shown)
  }

  /** Shows none: they are not what is connected with any more. */
  forget(): void {
    this.#shown = {}
    for (const name of SHOWN) Reflect.deleteProperty(this.options, name)
  }

  /** Closes what is idle. */
  closeIdle(): void {
    for (const socket of Object.values(this.freeSockets).flat()) socket?.destroy()
  }

  /** Idle connections are closed, and those in use when they become idle. */
  retire(): void {
    this.#retired = true
    this.closeIdle()
  }

  /**
   * What is idle is closed; what is in use goes on, as it may be others', and later requests are served. Programs end
   * an agent that they take for their own. The end of all is the dialer's `close()`.
   */
  override destroy(): void {
    this.closeIdle()
  }

  protected override get pool(): DialerPool {
    return this.#pool
  }

  override addRequest(
    request: PooledRequest, options: PooledOptions | string, port?: number, localAddress?: string,
  ): void {
    super.addRequest(request, typeof options === 'string' ? options : this.#marked(options), port, localAddress)
  }

  override getName(options?: PooledOptions): string {
    return super.getName(options === undefined ? undefined : this.#marked(options))
  }

  override createConnection(
    options: MarkedOptions, callback?: (error: Error | null, stream: Duplex) => void,
  ): ReturnType<PooledAgent['createConnection']> {
    const given = options[GIVEN]
    if (given === undefined) return super.createConnection(this.#marked(options), callback)
    // These very options are the ones that the stock agent knows the socket by.
    for (const name of SHOWN) Reflect.deleteProperty(options, name)
    return super.createConnection(Object.assign(options, given), callback)
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return !this.#retired && super.keepSocketAlive(socket)
  }

  /** The options without those that are the same as the dialer's own. */
  #marked(options: MarkedOptions): MarkedOptions {
    if (options[GIVEN] !== undefined) return options
    const marked: MarkedOptions = { ...this.#pool.plain(options) }
    // Servers are verified unless the KubeConfig says otherwise.
    if (marked.rejectUnauthorized === (this.#shown.rejectUnauthorized ?? true)) delete marked.rejectUnauthorized
    if (marked.servername === this.#shown.servername) delete marked.servername
    const given: Shown = {}
    for (const name of SHOWN) if (marked[name] !== undefined && marked[name] !== null) given[name] = marked[name]
    marked[GIVEN] = given
    return marked
  }
}
