/**
 * MultidialerAgent: a dialer and the pool of its connections in one, which is what most users need. This file divides
 * the options between the two. How a pool works is in pooled-agent.ts, how a dialer does in multidialer.ts.
 */
import https from 'node:https'

import { isDirect } from '../connect/direct.ts'
import { checkRoute, type RouteOptions } from '../connect/route.ts'
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

/** The options of the agent alone. */
const AGENT_OPTIONS: ReadonlySet<string> = new Set(['foreign', 'proxyEnv'])

/** The options of a dialer, those of a pool, and what becomes of requests to other hosts. */
export type MultidialerAgentOptions = MultidialerOptions & https.AgentOptions & {
  /**
   * What becomes of a request to a host that is not this cluster's. 'refuse', the default: it fails with
   * ERR_MULTIDIALER_FOREIGN_HOST. 'direct': it is connected as `https.Agent` would, by the given way (`localAddress`,
   * `family`, `lookup`, ...) and with nothing else of these options, so that this agent can be `https.globalAgent`.
   */
  foreign?: 'refuse' | 'direct' | undefined
}

/** What an agent has been made of: nobody's business but this package's, and so not a property of it. */
interface Parts {
  readonly pool: DialerPool
  /** The way to foreign hosts; undefined where they are refused. */
  readonly direct: RouteOptions | undefined
}

const parts: WeakMap<object, Parts> = new WeakMap()

class DialerAgent extends PooledAgent {
  protected override get pool(): DialerPool {
    const pool = parts.get(this)?.pool
    if (pool === undefined) throw new TypeError('not a MultidialerAgent')
    return pool
  }

  protected override get direct(): RouteOptions | undefined {
    return parts.get(this)?.direct
  }
}

/** To its users it is an https.Agent: how it does that is not part of its type. */
const Agent: new (options: https.AgentOptions) => https.Agent = DialerAgent

/**
 * An `https.Agent` that connects to whichever apiserver works. Give it to any HTTPS client.
 *
 * Of `https.AgentOptions` it takes those of a pool: `keepAlive` (here true unless given, as for `https.globalAgent`: a
 * connection for each request would be a handshake for each), `keepAliveMsecs`, `maxSockets`, `maxTotalSockets`,
 * `maxFreeSockets`, `scheduling`, `timeout`. The limits count the connections that are still being dialled, and
 * `maxSockets` is for the whole cluster: all its apiservers share one pool. A connection that has been idle for 50 s is
 * closed, or earlier where `timeout` says so. A request's 'socket' event comes when its connection has been made and
 * verified; that of the stock agent comes before.
 */
export class MultidialerAgent extends Agent {
  /** For its events, its snapshot and connections outside the pool. */
  readonly dialer: Multidialer
  /** How many connections there are: being dialled, in use and idle. */
  declare readonly totalSocketCount: number

  /**
   * @throws TypeError or RangeError as `https.Agent` does for the options of the pool; TypeError with code
   * ERR_INVALID_ARG_VALUE, naming the option, for its own and the dialer's
   */
  constructor(options: MultidialerAgentOptions) {
    super({ keepAlive: true, ...poolOptions(options) })
    const direct = directRoute(options)
    // After the other options have been checked: a dialer listens to its signal from the first.
    this.dialer = new Multidialer(dialerOptions(options))
    parts.set(this, { pool: poolOf(this.dialer), direct })
  }

  /** Called by undici and `fetch` when this is given where a dispatcher belongs: a TypeError says what to give. */
  dispatch(): never {
    throw optionError("A MultidialerAgent is an https.Agent, not a dispatcher of undici. Give undici and fetch " +
      "'new Agent({ connect: undiciConnector(agent.dialer) })', from 'undici' and 'kube-multidialer/undici'")
  }

  /** The end: destroys its sockets, ends its pending dials with ERR_MULTIDIALER_CLOSED, and closes its dialer. */
  override destroy(): void {
    super.destroy()
  }
}

function poolOptions(options: MultidialerAgentOptions): https.AgentOptions {
  return Object.fromEntries(
    Object.entries(options ?? {}).filter(([name, value]) => POOL_OPTIONS.has(name) && value !== undefined),
  )
}

function directRoute(options: MultidialerAgentOptions): RouteOptions | undefined {
  const { foreign, proxyEnv } = options ?? {}
  if (proxyEnv !== undefined && proxyEnv !== null) {
    throw optionError("The option 'proxyEnv' is not supported here. Give the way through the proxy instead: " +
      "'connectSocket: throughProxy(url)'")
  }
  return isDirect(foreign) ? checkRoute(options) : undefined
}

function dialerOptions(options: MultidialerAgentOptions): MultidialerOptions {
  if (options === null || typeof options !== 'object') return options
  const rest: MultidialerAgentOptions = { ...options }
  for (const name of [...POOL_OPTIONS, ...AGENT_OPTIONS]) Reflect.deleteProperty(rest, name)
  return rest
}
