/**
 * Puts a dialer under a KubeConfig of @kubernetes/client-node, 1.x or 2.x, and so under the API calls, watches,
 * informers, execs, logs and all else that is made of it. Who the user is stays the KubeConfig's business: it is asked
 * anew each time. Only public methods are used, and two of this one instance are replaced until `close()`. Nothing of
 * the package is imported: 1.x takes an https.Agent, and the undici that 2.x must be given is known by what 2.x makes
 * with it.
 */
import { setImmediate } from 'node:timers/promises'
import { debuglog } from 'node:util'
import { optionError } from '../errors.ts'
import {
  bearerOf, certificateDataOf, contextOf, dialerOptionsOf, hasPlugin, identityOfContext, mayHaveToken,
  pluginCertificateOf,
} from './kube-config.ts'
import type { AppliedOptions, CertificateData, Context, KubeConfigLike } from './kube-config.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { Multidialer, poolOf, renewCertificates } from '../multidialer.ts'
import type { DialerPool } from '../pool.ts'
import { PooledAgent } from '../agent/pooled-agent.ts'
import { undiciConnector } from './undici.ts'

export type { AppliedOptions, ClusterLike, KubeConfigLike, UserLike } from './kube-config.ts'

/** Those of a dialer, without the ones that the KubeConfig has an answer to. */
export type ClientNodeOptions = Omit<MultidialerOptions, FromKubeConfig>
type FromKubeConfig = 'server' | 'servername' | 'rejectUnauthorized' | 'token' | 'tokenFile' | 'ca' | 'caFile' |
  'cert' | 'certFile' | 'key' | 'keyFile' | 'pfx' | 'passphrase'

/**
 * How long an idle connection is kept. The apiserver closes one after 90 s (the IdleTimeout of its http.Server); a
 * request must not be written to one that is being closed.
 */
const IDLE = 60_000

/**
 * From now on, whatever is made of this KubeConfig connects through a dialer: the one returned, for its events and its
 * `close()`, which undoes it. What was made before is included. Nothing else of the KubeConfig changes, and no other
 * KubeConfig. If another context is made the current one, calls go out as without a dialer, and a `warning` says so;
 * the same holds for a cluster with a proxy (`proxyUrl`), unless the option `connectSocket` says how to go through it.
 *
 * @param options those of a dialer; what the KubeConfig says of server, credentials and verification is not among them
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for no KubeConfig, one without a current cluster, one whose server
 * is not `https://host:port`, one that has a dialer, and as the Multidialer does
 */
export function withMultidialer(kubeConfig: KubeConfigLike, options: ClientNodeOptions = {}): Multidialer {
  checkKubeConfig(kubeConfig)
  const context = contextOf(kubeConfig)
  const original = originalOf(kubeConfig)
  const token = mayHaveToken(context.user) ? { token: () => tokenOf(kubeConfig, original, context) } : {}
  const dialer = new KubeConfigDialer({ ...options, ...dialerOptionsOf(context), ...token })
  if (options.signal?.aborted === true) return dialer
  if (context.cluster.proxyUrl && options.connectSocket === undefined) {
    warn(dialer, 'proxy', `The cluster '${context.cluster.name}' is behind a proxy (proxyUrl): its connections are ` +
      "left as they are. To have them dialled, give the option 'connectSocket', a function that connects through " +
      'the proxy')
    return dialer
  }
  dialer.onClose(replace(kubeConfig, original, context, dialer))
  return dialer
}

/** A dialer with something to undo. */
class KubeConfigDialer extends Multidialer {
  #undo: (() => void) | undefined

  onClose(undo: () => void): void {
    this.#undo = undo
  }

  override close(): void {
    super.close()
    const undo = this.#undo
    this.#undo = undefined
    undo?.()
  }
}

/** The methods that are replaced, as they were: with the KubeConfig as their `this`, whoever it is that has them. */
interface Original {
  readonly applyToHTTPSOptions: KubeConfigLike['applyToHTTPSOptions']
  readonly applySecurityAuthentication: KubeConfigLike['applySecurityAuthentication']
}

const debug = debuglog('multidialer')

const METHODS = ['applyToHTTPSOptions', 'applySecurityAuthentication'] as const
const replaced = new WeakSet<KubeConfigLike>()

function checkKubeConfig(kubeConfig: unknown): asserts kubeConfig is KubeConfigLike {
  const methods = ['getCurrentCluster', 'getCurrentUser', ...METHODS]
  const known = typeof kubeConfig === 'object' && kubeConfig !== null &&
    methods.every((name) => name in kubeConfig && typeof Reflect.get(kubeConfig, name) === 'function')
  if (!known) throw optionError('withMultidialer() must be given a KubeConfig of @kubernetes/client-node 1.x or 2.x')
}

function originalOf(kubeConfig: KubeConfigLike): Original {
  if (replaced.has(kubeConfig)) {
    throw optionError('This KubeConfig has a dialer: close() that one first, or use it')
  }
  const { applyToHTTPSOptions, applySecurityAuthentication } = kubeConfig
  return { applyToHTTPSOptions, applySecurityAuthentication }
}

/** Replaces the two methods of this instance; returns what undoes it. */
function replace(kubeConfig: KubeConfigLike, original: Original, context: Context, dialer: Multidialer): () => void {
  const own = METHODS.map((name) => [name, Object.getOwnPropertyDescriptor(kubeConfig, name)] as const)
  const link = new Link(kubeConfig, original, context, dialer)
  kubeConfig.applyToHTTPSOptions = (options) => link.applyToHTTPSOptions(options)
  kubeConfig.applySecurityAuthentication = (request) => link.applySecurityAuthentication(request)
  replaced.add(kubeConfig)
  return () => {
    for (const [name, descriptor] of own) {
      if (descriptor === undefined) Reflect.deleteProperty(kubeConfig, name)
      else Object.defineProperty(kubeConfig, name, descriptor)
    }
    replaced.delete(kubeConfig)
    link.close()
  }
}

/** Between one KubeConfig and its dialer: the pools of both kinds of client, and the certificates on their way. */
class Link {
  readonly #kubeConfig: KubeConfigLike
  readonly #original: Original
  readonly #identity: string
  readonly #dialer: Multidialer
  readonly #agent: KubeConfigAgent
  #dispatcher: Promise<Dispatcher> | undefined
  #certificates: string
  #warned = false

  constructor(kubeConfig: KubeConfigLike, original: Original, context: Context, dialer: Multidialer) {
    this.#kubeConfig = kubeConfig
    this.#original = original
    this.#identity = identityOfContext(context)
    this.#dialer = dialer
    this.#agent = new KubeConfigAgent(poolOf(dialer))
    this.#certificates = textOf(certificateDataOf(context))
  }

  /** For 1.x, but for its API calls, and for the WebSockets of both. */
  async applyToHTTPSOptions(options: AppliedOptions): Promise<void> {
    const context = this.#context()
    if (context === undefined) return this.#original.applyToHTTPSOptions.call(this.#kubeConfig, options)
    // What it finds for TLS is the dialer's: in the options, it would be asked for by this one connection alone.
    const applied: AppliedOptions = { ...options }
    await this.#original.applyToHTTPSOptions.call(this.#kubeConfig, applied)
    this.#renew({ ...certificateDataOf(context), ...pluginCertificateOf(applied, context) })
    if (applied.headers !== undefined) options.headers = applied.headers
    if (applied.auth !== undefined) options.auth = applied.auth
    options.agent = this.#agent
  }

  /** For the API calls of both, and all of 2.x but the WebSockets. */
  async applySecurityAuthentication(request: object): Promise<void> {
    await this.#original.applySecurityAuthentication.call(this.#kubeConfig, request)
    const context = this.#context()
    if (context === undefined) return
    this.#renew({ ...certificateDataOf(context), ...(await this.#pluginCertificate(context)) })
    if (takesDispatcher(request)) {
      this.#dispatcher ??= this.#makeDispatcher()
      request.setDispatcher(await this.#dispatcher)
      // undici takes a connection back one turn of the loop after the answer was read, and meanwhile opens another one.
      await setImmediate()
    } else if (takesAgent(request)) {
      request.setAgent(this.#agent)
    } else {
      throw new TypeError('withMultidialer() knows @kubernetes/client-node 1.x and 2.x; this is neither')
    }
  }

  /** Requests under way are left to finish. */
  close(): void {
    this.#agent.retire()
    const ignore = (): void => {}
    this.#dispatcher?.then((dispatcher) => dispatcher.close()).catch(ignore)
  }

  /** The current context, if it is the one that the dialer is for: its connections are no other user's. */
  #context(): Context | undefined {
    const context = sameContext(this.#kubeConfig, this.#identity)
    if (context === undefined && !this.#warned) {
      warn(this.#dialer, 'context', 'The KubeConfig has another current context than when withMultidialer() was ' +
        'called: its connections are left as they are. For a dialer of the new context, close() this one and call ' +
        'it again')
    }
    this.#warned = context === undefined
    return context
  }

  async #pluginCertificate(context: Context): Promise<CertificateData> {
    if (!hasPlugin(context.user)) return {}
    const applied: AppliedOptions = {}
    await this.#original.applyToHTTPSOptions.call(this.#kubeConfig, applied)
    return pluginCertificateOf(applied, context)
  }

  #renew(data: CertificateData): void {
    const text = textOf(data)
    if (text === this.#certificates) return
    renewCertificates(this.#dialer, data)
    this.#certificates = text
  }

  async #makeDispatcher(): Promise<Dispatcher> {
    const Agent = await dispatcherClassOf(this.#kubeConfig, this.#original)
    const dispatcher = new Agent({ connect: undiciConnector(this.#dialer), keepAliveTimeout: IDLE })
    if (!isDispatcher(dispatcher)) throw new TypeError('@kubernetes/client-node uses another client than undici')
    return dispatcher
  }
}

class KubeConfigAgent extends PooledAgent {
  readonly #pool: DialerPool
  #retired = false

  constructor(pool: DialerPool) {
    super({ keepAlive: true, timeout: IDLE })
    this.#pool = pool
  }

  /** Idle connections are closed, and those in use when they become idle. */
  retire(): void {
    this.#retired = true
    for (const socket of Object.values(this.freeSockets).flat()) socket?.destroy()
  }

  protected override get pool(): DialerPool {
    return this.#pool
  }

  override keepSocketAlive(socket: Parameters<PooledAgent['keepSocketAlive']>[0]): boolean {
    return !this.#retired && super.keepSocketAlive(socket)
  }
}

function sameContext(kubeConfig: KubeConfigLike, identity: string): Context | undefined {
  const cluster = kubeConfig.getCurrentCluster()
  if (cluster === null || cluster === undefined) return undefined
  const context = { cluster, user: kubeConfig.getCurrentUser() ?? null }
  return identityOfContext(context) === identity ? context : undefined
}

/** The token that discovery goes with: that of the user the dialer is for, and of no other. */
async function tokenOf(kubeConfig: KubeConfigLike, original: Original, context: Context): Promise<string> {
  const identity = identityOfContext(context)
  const applied: AppliedOptions = {}
  await original.applyToHTTPSOptions.call(kubeConfig, applied)
  if (sameContext(kubeConfig, identity) === undefined) throw new Error('the KubeConfig has another current context')
  const token = bearerOf(applied)
  if (token === undefined) throw new Error('the user of the KubeConfig has no bearer token')
  return token
}

function textOf({ ca, cert, key }: CertificateData): string {
  return [ca, cert, key].map((value) => value?.toString() ?? '').join('\0')
}

/** Shown by the process where nobody listens: it must not be missed. */
function warn(dialer: Multidialer, kind: string, message: string): void {
  const warning = Object.assign(new Error(message), { kind })
  debug('warning: %s', message)
  process.nextTick(() => {
    if (!dialer.emit('warning', warning)) process.emitWarning(message)
  })
}

// ---- undici, as 2.x uses it

interface Dispatcher {
  dispatch(...args: readonly unknown[]): unknown
  close(): Promise<void>
}

type DispatcherClass = new (options: { connect: unknown; keepAliveTimeout: number }) => unknown

/**
 * The class of the dispatchers that client-node itself makes: undici's Agent, of the same undici as its fetch, which no
 * search through node_modules would find as surely. A cluster and a user that are nobody's make it show one.
 */
async function dispatcherClassOf(kubeConfig: KubeConfigLike, original: Original): Promise<DispatcherClass> {
  const probe: unknown = Object.create(kubeConfig, {
    getCurrentCluster: { value: () => ({ name: 'probe', server: 'https://127.0.0.1', skipTLSVerify: true }) },
    getCurrentUser: { value: () => ({ name: 'probe' }) },
  })
  let shown: unknown
  const request = { setHeaderParam: () => {}, setDispatcher: (dispatcher: unknown) => { shown = dispatcher } }
  await Reflect.apply(original.applySecurityAuthentication, probe, [request])
  if (!isDispatcher(shown) || !isDispatcherClass(shown.constructor)) {
    throw new TypeError('withMultidialer() knows @kubernetes/client-node 1.x and 2.x; this is neither')
  }
  return shown.constructor
}

function isDispatcher(value: unknown): value is Dispatcher {
  return typeof value === 'object' && value !== null && 'dispatch' in value && typeof value.dispatch === 'function' &&
    'close' in value && typeof value.close === 'function'
}

function isDispatcherClass(value: unknown): value is DispatcherClass {
  return typeof value === 'function'
}

function takesDispatcher(request: object): request is { setDispatcher(dispatcher: Dispatcher): void } {
  return 'setDispatcher' in request && typeof request.setDispatcher === 'function'
}

function takesAgent(request: object): request is { setAgent(agent: PooledAgent): void } {
  return 'setAgent' in request && typeof request.setAgent === 'function'
}
