/**
 * Puts a dialer under a KubeConfig of @kubernetes/client-node, 0.2x, 1.x or 2.x, and so under the API calls, watches,
 * informers, execs, logs and all else that is made of it. Who the user is stays the KubeConfig's business: it is asked
 * anew each time, once, and the dialer is told when the answer is another one. Only public methods are used, and those
 * of this one instance by which requests are made are replaced until `close()`. Nothing of the package is imported:
 * 0.2x and 1.x take an https.Agent (kube-config-agent.ts), 2.x a dispatcher of undici (kube-config-dispatcher.ts).
 */
import { setImmediate } from 'node:timers/promises'
import { NoToken } from '../credentials/token.ts'
import { debuglog } from 'node:util'
import { publish } from '../channels.ts'
import type { ConnectSocket } from '../connect/attempt.ts'
import { causeText, optionError } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { Multidialer, poolOf, renewCertificates } from '../multidialer.ts'
import { KubeConfigAgent } from './kube-config-agent.ts'
import type { ApplySecurityAuthentication, Dispatcher } from './kube-config-dispatcher.ts'
import { makeDispatcher, unknownVersion } from './kube-config-dispatcher.ts'
import {
  bearerOf, certificatesOf, contextOf, dialerOptionsOf, hasPlugin, headersOf, identityOfContext,
  sameContext, withoutPlugin,
} from './kube-config.ts'
import type {
  AppliedOptions, AppliedRequest, CertificateOptions, ClusterLike, Context, KubeConfigLike,
} from './kube-config.ts'
import { SOCKS_ADVICE, throughProxy } from './proxy.ts'

export type { AppliedOptions, ClusterLike, KubeConfigLike, UserLike } from './kube-config.ts'

/** Those of a dialer, without the ones that the KubeConfig has an answer to. */
export type ClientNodeOptions = Omit<MultidialerOptions, FromKubeConfig>
export type FromKubeConfig = 'server' | 'servername' | 'rejectUnauthorized' | 'token' | 'tokenFile' | 'ca' | 'caFile' |
  'cert' | 'certFile' | 'key' | 'keyFile' | 'pfx' | 'passphrase'

/**
 * H10: how long an idle connection is kept, in ms. The apiserver closes one after 90 s (the IdleTimeout of its
 * http.Server), balancers do after 60: a request must not be written to one that is being closed.
 */
const IDLE = 50_000

/** The part of an attempt that a proxy may take, so that the error is the one that names the proxy. */
const PROXY_SHARE = 0.9

/**
 * From now on, whatever is made of this KubeConfig connects through a dialer: the one returned, for its events and its
 * `close()`, which undoes it. What was made before is included. Nothing else of the KubeConfig changes, and no other
 * KubeConfig. Where its user is given other certificates, files or a token, connections made before are not used again
 * (I5). If another context is made the current one, calls go out as without a dialer, and a `warning` says so.
 *
 * A cluster with an HTTP proxy (`proxyUrl`) is dialled through it. One with a SOCKS proxy is left alone, with a
 * `warning`, unless the option `connectSocket` says how to go through it.
 *
 * @param options those of a dialer; what the KubeConfig says of server, credentials and verification is not among them
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for no KubeConfig, one without a current cluster, one whose server
 * is not `https://host:port`, one whose `proxyUrl` cannot be used, one that has a dialer, and as the Multidialer does
 */
export function withMultidialer(kubeConfig: KubeConfigLike, options: ClientNodeOptions = {}): Multidialer {
  checkKubeConfig(kubeConfig)
  const context = contextOf(kubeConfig)
  if (replaced.has(kubeConfig)) {
    throw optionError('This KubeConfig has a dialer: close() that one first, or use it')
  }
  const original = originalOf(kubeConfig)
  const token = (): Promise<string> => tokenOf(kubeConfig, original, context)
  const proxied = options.connectSocket === undefined ? connectSocketOf(context.cluster, options) : {}
  const dialer = new KubeConfigDialer({ ...options, ...proxied, ...dialerOptionsOf(context), token })
  if (options.signal?.aborted === true) return dialer
  if (hasSOCKSProxy(context.cluster) && options.connectSocket === undefined) {
    warn(dialer, 'proxy', `The cluster '${context.cluster.name}' is behind a SOCKS proxy (proxyUrl): its connections ` +
      `are left as they are. To have them dialled: ${SOCKS_ADVICE}`)
    return dialer
  }
  dialer.onClose(replace(kubeConfig, original, context, dialer))
  return dialer
}

function hasSOCKSProxy({ proxyUrl }: ClusterLike): boolean {
  return /^socks/i.test(proxyUrl ?? '')
}

function connectSocketOf(
  cluster: ClusterLike, { attemptTimeout }: ClientNodeOptions,
): { connectSocket?: ConnectSocket } {
  if (!cluster.proxyUrl || hasSOCKSProxy(cluster)) return {}
  // What is no number of milliseconds is the dialer's to refuse.
  const known = typeof attemptTimeout === 'number' && attemptTimeout > 0 && Number.isFinite(attemptTimeout)
  try {
    return { connectSocket: throughProxy(cluster.proxyUrl, known ? { timeout: PROXY_SHARE * attemptTimeout } : {}) }
  } catch (error) {
    throw optionError(`The cluster '${cluster.name}' of the KubeConfig has a proxyUrl that cannot be used: ` +
      causeText(error))
  }
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
type Original = Pick<KubeConfigLike, Method>

const METHODS = ['applyToHTTPSOptions', 'applySecurityAuthentication', 'applyToRequest'] as const
type Method = (typeof METHODS)[number]

const debug = debuglog('multidialer')

const replaced = new WeakSet<KubeConfigLike>()

function checkKubeConfig(kubeConfig: unknown): asserts kubeConfig is KubeConfigLike {
  if (['getCurrentCluster', 'getCurrentUser', 'applyToHTTPSOptions'].every((name) => hasMethod(kubeConfig, name)) &&
    ['applySecurityAuthentication', 'applyToRequest'].some((name) => hasMethod(kubeConfig, name))) return
  throw optionError('withMultidialer() must be given a KubeConfig of @kubernetes/client-node 0.2x, 1.x or 2.x')
}

function hasMethod(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, name) === 'function'
}

function originalOf(kubeConfig: KubeConfigLike): Original {
  const { applyToHTTPSOptions, applySecurityAuthentication, applyToRequest } = kubeConfig
  return {
    applyToHTTPSOptions,
    ...(applySecurityAuthentication === undefined ? {} : { applySecurityAuthentication }),
    ...(applyToRequest === undefined ? {} : { applyToRequest }),
  }
}

/**
 * Replaces the methods of this instance; returns what undoes it. A copy of the KubeConfig has the replaced methods as
 * well, and whatever it is by then, so they ask the one that they are called on.
 */
function replace(kubeConfig: KubeConfigLike, original: Original, context: Context, dialer: Multidialer): () => void {
  const link = new Link(original, context, dialer)
  const undo = METHODS.filter((name) => original[name] !== undefined).map((name) => {
    const before = Object.getOwnPropertyDescriptor(kubeConfig, name)
    const method = function (this: KubeConfigLike | undefined, argument: object): Promise<void> {
      return link[name](this ?? kubeConfig, argument)
    }
    kubeConfig[name] = method
    return () => {
      // What a program has put in its place since stays, and goes through the closed link.
      if (kubeConfig[name] !== method) return
      if (before === undefined) Reflect.deleteProperty(kubeConfig, name)
      else Object.defineProperty(kubeConfig, name, before)
    }
  })
  replaced.add(kubeConfig)
  return () => {
    for (const one of undo) one()
    replaced.delete(kubeConfig)
    link.close()
  }
}

/** Between a KubeConfig and its dialer: the pools of both kinds of client, and the certificates on their way. */
class Link {
  readonly #original: Original
  readonly #identity: string
  readonly #dialer: Multidialer
  readonly #agent: KubeConfigAgent
  #dispatcher: Promise<Dispatcher> | undefined
  #certificates: string
  #closed = false
  #elsewhere = false

  constructor(original: Original, context: Context, dialer: Multidialer) {
    this.#original = original
    this.#identity = identityOfContext(context)
    this.#dialer = dialer
    this.#agent = new KubeConfigAgent(poolOf(dialer), IDLE)
    this.#certificates = textOf(certificatesOf(context))
  }

  /** For 1.x, but for its API calls, and for the WebSockets of all. */
  async applyToHTTPSOptions(kubeConfig: KubeConfigLike, options: AppliedOptions): Promise<void> {
    const context = this.#context(kubeConfig)
    await this.#original.applyToHTTPSOptions.call(kubeConfig, options)
    if (context === undefined) return
    this.#renew(context, options)
    options.agent = this.#agent
  }

  /** For all of 0.2x but the WebSockets. */
  async applyToRequest(kubeConfig: KubeConfigLike, options: AppliedRequest): Promise<void> {
    const context = this.#context(kubeConfig)
    await this.#original.applyToRequest?.call(kubeConfig, options)
    if (context === undefined) return
    this.#renew(context, options)
    options.agent = this.#agent
    // `false` is a connection of its own, as the watch of 0.2x asks for; a watch has its own from this pool as well.
    delete options.pool
  }

  /** For the API calls of 1.x and 2.x, and all of 2.x but the WebSockets. */
  async applySecurityAuthentication(kubeConfig: KubeConfigLike, request: object): Promise<void> {
    const context = this.#context(kubeConfig)
    const apply = this.#original.applySecurityAuthentication
    if (apply === undefined) throw unknownVersion()
    if (context === undefined) return apply.call(kubeConfig, request)
    const applied = await this.#authenticate(kubeConfig, context, apply, request)
    if (takesDispatcher(request)) {
      request.setDispatcher(await this.#dispatcherNow(kubeConfig, apply))
    } else if (takesAgent(request)) {
      request.setAgent(this.#agent)
    } else {
      throw unknownVersion()
    }
    // undici takes a connection back one turn of the loop after the answer was read, and meanwhile opens another one;
    // and any pool learns in that turn which of its connections the other end has closed.
    await setImmediate()
    // Last, so that no other call comes between this and its request.
    this.#renew(context, applied)
  }

  /** Requests under way are left to finish. */
  close(): void {
    this.#closed = true
    this.#agent.retire()
    this.#closeDispatcher()
  }

  /** The current context, if it is the one that the dialer is for. */
  #context(kubeConfig: KubeConfigLike): Context | undefined {
    if (this.#closed) return undefined
    const context = sameContext(kubeConfig, this.#identity)
    if (context === undefined && !this.#elsewhere) {
      warn(this.#dialer, 'context', 'The KubeConfig has another current context than when withMultidialer() was ' +
        'called: its connections are left as they are. For a dialer of the new context, close() this one and call ' +
        'it again')
      // I5: what is idle was made by another user than the one by now.
      this.#agent.closeIdle()
      this.#closeDispatcher()
    }
    this.#elsewhere = context === undefined
    return context
  }

  /** Has client-node tell the request who the user is. A plugin of the user's is run once; what it gave is returned. */
  async #authenticate(
    kubeConfig: KubeConfigLike, { user }: Context, apply: (request: object) => Promise<void>, request: object,
  ): Promise<AppliedOptions> {
    if (user === null || !hasPlugin(user)) {
      await apply.call(kubeConfig, request)
      return agentOptionsOf(request)
    }
    const applied: AppliedOptions = {}
    await this.#original.applyToHTTPSOptions.call(kubeConfig, applied)
    if (takesHeaders(request)) for (const [name, value] of headersOf(applied)) request.setHeaderParam(name, `${value}`)
    await apply.call(withoutPlugin(kubeConfig, user, applied), request)
    return applied
  }

  /** I5: from now on connections are made with these, and with nothing of those before. */
  #renew(context: Context, applied: AppliedOptions): void {
    const certificates = certificatesOf(context, applied)
    const text = textOf(certificates)
    if (text !== this.#certificates) {
      renewCertificates(this.#dialer, certificates)
      this.#certificates = text
      this.#agent.forget()
    }
    this.#agent.show(applied)
  }

  /** The one of all calls; another where a program has closed it, as it may do with one that is its own. */
  async #dispatcherNow(kubeConfig: KubeConfigLike, apply: ApplySecurityAuthentication): Promise<Dispatcher> {
    const made = this.#dispatcher
    const dispatcher = await made
    const isOver = dispatcher?.closed === true || dispatcher?.destroyed === true
    if (isOver && this.#dispatcher === made) this.#dispatcher = undefined
    this.#dispatcher ??= makeDispatcher(kubeConfig, apply, this.#dialer, IDLE)
    return this.#dispatcher
  }

  #closeDispatcher(): void {
    const ignore = (): void => {}
    this.#dispatcher?.then((dispatcher) => dispatcher.close()).catch(ignore)
    this.#dispatcher = undefined
  }
}

/** The token that discovery goes with: that of the user the dialer is for, and of no other. */
async function tokenOf(kubeConfig: KubeConfigLike, original: Original, context: Context): Promise<string> {
  const identity = identityOfContext(context)
  const applied: AppliedOptions = {}
  await original.applyToHTTPSOptions.call(kubeConfig, applied)
  if (sameContext(kubeConfig, identity) === undefined) throw new Error('the KubeConfig has another current context')
  const token = bearerOf(applied)
  if (token === undefined) throw new NoToken()
  return token
}

/** The whole set as one text, each part of it in its place. */
function textOf({ ca, caFile, cert, certFile, key, keyFile }: CertificateOptions): string {
  return JSON.stringify([ca, caFile, cert, certFile, key, keyFile].map((value) => value?.toString() ?? ''))
}

/** Shown by the process where nobody listens: it must not be missed. */
function warn(dialer: Multidialer, kind: string, message: string): void {
  const warning = Object.assign(new Error(message), { kind })
  debug('warning: %s', message)
  process.nextTick(() => {
    publish('warning', () => ({ dialer, error: warning }))
    if (!dialer.emit('warning', warning)) process.emitWarning(message)
  })
}

/** What the agent that 1.x has made for this request connects with. */
function agentOptionsOf(request: object): AppliedOptions {
  const agent: unknown = takesAgent(request) && hasMethod(request, 'getAgent')
    ? Reflect.apply(Reflect.get(request, 'getAgent'), request, []) : undefined
  const given = typeof agent === 'object' && agent !== null && 'options' in agent ? agent.options : undefined
  return typeof given === 'object' && given !== null ? given : {}
}

function takesHeaders(request: object): request is { setHeaderParam(name: string, value: string): void } {
  return hasMethod(request, 'setHeaderParam')
}

function takesDispatcher(request: object): request is { setDispatcher(dispatcher: Dispatcher): void } {
  return hasMethod(request, 'setDispatcher')
}

function takesAgent(request: object): request is { setAgent(agent: KubeConfigAgent): void } {
  return hasMethod(request, 'setAgent')
}
