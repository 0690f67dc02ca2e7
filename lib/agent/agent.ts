/**
 * MultidialerAgent: a dialer and the pool of its connections in one, which is what most users need. It parts the
 * options between the two; how a pool works is in pooled-agent.ts, how a dialer does in multidialer.ts.
 */
import https from 'node:https'

import { optionError } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { Multidialer, poolOf } from '../multidialer.ts'
import type { DialerPool } from '../pool.ts'
import { PooledAgent } from './pooled-agent.ts'

/** The options that say how a pool is kept. All others are the dialer's, certificates and keys before all. */
const POOL_OPTIONS: ReadonlySet<string> = new Set([
  'keepAlive', 'keepAliveMsecs', 'agentKeepAliveTimeoutBuffer', 'maxSockets', 'maxTotalSockets', 'maxFreeSockets',
  'maxCachedSessions', 'scheduling', 'timeout', 'noDelay', 'defaultPort', 'protocol',
])

/**
 * An `https.Agent` that connects to whichever apiserver works. Give it to any HTTPS client.
 *
 * Of `https.AgentOptions` it takes those of a pool: `keepAlive` (here true unless given, as for `https.globalAgent`: a
 * connection for each request would be a handshake for each), `keepAliveMsecs`, `maxSockets`, `maxTotalSockets`,
 * `maxFreeSockets`, `scheduling`, `timeout`. The limits count the connections that are still being dialled, and
 * `maxSockets` is for the whole cluster: all its apiservers share one pool.
 */
export class MultidialerAgent extends PooledAgent {
  /** For its events, its snapshot and connections outside the pool. */
  readonly dialer: Multidialer
  readonly #pool: DialerPool

  /**
   * @throws TypeError or RangeError as `https.Agent` does for the options of the pool; TypeError with code
   * ERR_INVALID_ARG_VALUE, naming the option, for the dialer's
   */
  constructor(options: MultidialerOptions & https.AgentOptions) {
    super({ keepAlive: true, ...poolOptions(options) })
    // After the pool's options have been checked: a dialer listens to its signal from the first.
    this.dialer = new Multidialer(dialerOptions(options))
    this.#pool = poolOf(this.dialer)
  }

  /** Called by undici and `fetch` when this is given where a dispatcher belongs: a TypeError says what to give. */
  dispatch(): never {
    throw optionError("A MultidialerAgent is an https.Agent, and no dispatcher of undici. Give undici and fetch " +
      "'new Agent({ connect: undiciConnector(agent.dialer) })', from 'undici' and 'kube-multidialer/undici'")
  }

  protected override get pool(): DialerPool {
    return this.#pool
  }
}

function poolOptions(options: https.AgentOptions): https.AgentOptions {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => POOL_OPTIONS.has(name) && value !== undefined),
  )
}

function dialerOptions(options: MultidialerOptions & https.AgentOptions): MultidialerOptions {
  if (options === null || typeof options !== 'object') return options
  const rest: MultidialerOptions & https.AgentOptions = { ...options }
  for (const name of POOL_OPTIONS) Reflect.deleteProperty(rest, name)
  return rest
}
