/**
 * The dispatcher that API calls of client-node 2.x are given: an Agent of the undici that client-node itself uses,
 * which connects through a dialer. What it reads of refusals the dialer learns as of every dispatcher that uses the
 * connector (H7).
 */
import { optionError } from '../errors.ts'
import type { Multidialer } from '../multidialer.ts'
import type { KubeConfigLike } from './kube-config.ts'
import { undiciConnector } from './undici.ts'

export interface Dispatcher {
  dispatch(...args: readonly unknown[]): unknown
  close(): Promise<void>
  /** Somebody has called close() or destroy(): it takes no more requests. */
  readonly closed?: boolean
  readonly destroyed?: boolean
}

/** @param idleTimeout ms after which an idle connection is closed, whatever the server says */
export async function makeDispatcher(
  kubeConfig: KubeConfigLike, apply: ApplySecurityAuthentication, dialer: Multidialer, idleTimeout: number,
): Promise<Dispatcher> {
  const Agent = await dispatcherClassOf(kubeConfig, apply)
  const dispatcher = new Agent({
    connect: undiciConnector(dialer),
    keepAliveTimeout: idleTimeout,
    // A server that offers to keep connections for longer is not asked to: see IDLE in client-node.ts.
    keepAliveMaxTimeout: idleTimeout,
  })
  if (!isDispatcher(dispatcher)) throw new TypeError('@kubernetes/client-node uses another client than undici')
  return dispatcher
}

export type ApplySecurityAuthentication = (context: object) => Promise<void>

type DispatcherClass = new (options: {
  connect: unknown
  keepAliveTimeout: number
  keepAliveMaxTimeout: number
}) => unknown

/**
 * The class of the dispatchers that client-node itself makes: undici's Agent, of the same undici as its fetch, which no
 * search through node_modules would find as surely. A cluster and a user that are nobody's make it show one.
 */
async function dispatcherClassOf(
  kubeConfig: KubeConfigLike, apply: ApplySecurityAuthentication,
): Promise<DispatcherClass> {
  const probe: unknown = Object.create(kubeConfig, {
    getCurrentCluster: { value: () => ({ name: 'probe', server: 'https://127.0.0.1', skipTLSVerify: true }) },
    getCurrentUser: { value: () => ({ name: 'probe' }) },
  })
  let shown: unknown
  const request = { setHeaderParam: () => {}, setDispatcher: (dispatcher: unknown) => { shown = dispatcher } }
  await Reflect.apply(apply, probe, [request])
  if (!isDispatcher(shown) || !isDispatcherClass(shown.constructor)) throw unknownVersion()
  return shown.constructor
}

/** A request that is none of the versions known. */
export function unknownVersion(): Error {
  return optionError('withMultidialer() supports @kubernetes/client-node 0.2x, 1.x and 2.x. This one gives a request ' +
    'neither an agent nor a dispatcher')
}

function isDispatcher(value: unknown): value is Dispatcher {
  return typeof value === 'object' && value !== null && 'dispatch' in value && typeof value.dispatch === 'function' &&
    'close' in value && typeof value.close === 'function'
}

function isDispatcherClass(value: unknown): value is DispatcherClass {
  return typeof value === 'function'
}
