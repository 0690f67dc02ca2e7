/**
 * Connections, made with the credentials of now: for a caller's dial or for a question of our own. When other
 * credentials come, what those before have made or proven is used no more (I3, I5).
 */
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { Endpoint } from '../core/endpoint.ts'
import type { Credentials } from '../credentials/credentials.ts'
import { toError } from '../errors.ts'
import type { CheckedOptions } from '../options.ts'
import type { DialRequest } from '../pool.ts'
import type { ConnectSocket, Settle } from './attempt.ts'
import { attempt, Sessions } from './attempt.ts'
import { connectBare, connectDirectly } from './bare.ts'
import type { Identity, IdentityPolicy } from './identity.ts'
import { identityOf } from './identity.ts'
import type { OwnTLS } from './own-tls.ts'
import { ownTLSOf, routeOf } from './own-tls.ts'
import type { RouteOptions } from './route.ts'

export interface ConnectionOptions {
  readonly checked: CheckedOptions
  readonly route: RouteOptions
  readonly credentials: Credentials
  readonly connectSocket: ConnectSocket | undefined
  /** The identity is another one than before. */
  readonly onIdentityChanged: () => void
}

/** What a caller asks for, and what of that sets its connection apart. */
export interface Wanted {
  readonly request: DialRequest
  readonly own: OwnTLS | undefined
  /** It differs from everyone's connections, by any option of its caller's (H1). */
  readonly differs: boolean
}

/** What programs take from one agent or KubeConfig for requests of their own, in groups of what belongs together. */
const SHAREABLE = [['ca'], ['cert', 'key', 'pfx', 'passphrase']] as const

export class Connections {
  readonly #options: ConnectionOptions
  #context: SecureContext
  #policy: IdentityPolicy
  #generation: number
  #sessions: Sessions = new Sessions()

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { context, generation } = options.credentials.current()
    this.#context = context
    this.#generation = generation
    this.#policy = this.#policyNow()
  }

  /** Gives the request without what is just the dialer's own: it is no option of its caller's. */
  plain<Request extends DialRequest>(request: Request): Request {
    const same = SHAREABLE.flatMap((group) => {
      const given = group.filter((name) => request[name])
      return given.every((name) => this.#options.credentials.holds(name, request[name])) ? given : []
    })
    if (same.length === 0) return request
    const plain = { ...request }
    for (const name of same) Reflect.deleteProperty(plain, name)
    return plain
  }

  /** H1: Finds out what of a request is its caller's own. */
  wantedBy(request: DialRequest): Wanted {
    const own = ownTLSOf(request, this.#options.checked.rejectUnauthorized)
    return { request, own, differs: own !== undefined || isRouted(request) }
  }

  /**
   * I3, I5: Looks for other credentials, once for each request, dial and question. Sessions that the ones before made
   * are dropped; what becomes of their connections is told to the core.
   */
  refresh(): void {
    const { context, generation } = this.#options.credentials.current()
    this.#context = context
    if (generation === this.#generation) return
    this.#generation = generation
    this.#policy = this.#policyNow()
    this.#sessions = new Sessions()
    this.#options.onIdentityChanged()
  }

  /** Makes a connection for a question of our own: it keeps no process alive. `full`: without resuming a session. */
  connectOwn(endpoint: Endpoint, full: boolean, settle: Settle): () => void {
    return this.#secure(endpoint, { request: {}, own: undefined, differs: false }, { ref: false, full }, settle)
  }

  /** Makes a connection for a caller. Settles once, and never at once; returns what gives it up. */
  connect(endpoint: Endpoint, wanted: Wanted, settle: Settle): () => void {
    return this.#secure(endpoint, wanted, { ref: true, full: false }, settle)
  }

  /** Makes a connection without TLS, for a pipe. Settles once, and never at once; returns what gives it up. */
  connectBare(endpoint: Endpoint, settle: (error: Error | undefined, socket?: Socket) => void): () => void {
    return connectBare(endpoint, this.#way, settle)
  }

  /**
   * Makes a connection as everyone's dial does, with a full handshake, for `check()`. Nobody may write to one that is
   * not verified (`verified: false`): it is there to be looked at.
   */
  probe(endpoint: Endpoint, verified: boolean, onRoute: () => void, settle: Settle): () => void {
    const connectSocket: ConnectSocket = async (to, options) => {
      const stream = await this.#way(to, options)
      onRoute()
      return stream
    }
    return attempt({
      endpoint,
      identity: this.identityOf(endpoint),
      rejectUnauthorized: verified && this.#options.checked.rejectUnauthorized,
      connectSocket,
      tls: { secureContext: this.#context },
      sessions: undefined,
      ref: true,
    }, settle)
  }

  /** Gives what that endpoint must prove to everyone (I1, I2). */
  identityOf(endpoint: Endpoint): Identity {
    return identityOf(endpoint, this.#policy)
  }

  get #way(): ConnectSocket {
    return this.#options.connectSocket ?? connectDirectly(this.#options.route)
  }

  #secure(
    endpoint: Endpoint,
    { request, own }: Wanted,
    { ref, full }: { readonly ref: boolean; readonly full: boolean },
    settle: Settle,
  ): () => void {
    const { checked, credentials, connectSocket, route } = this.#options
    const policy = own === undefined ? this.#policy : {
      ...this.#policy,
      servername: own.servername ?? checked.servername,
      publicAuthorities: this.#policy.publicAuthorities && !own.context?.ca,
    }
    let secureContext = this.#context
    try {
      if (own?.context !== undefined) secureContext = credentials.contextWith(own.context)
    } catch (error) {
      process.nextTick(settle, toError(error))
      return () => {}
    }
    return attempt({
      endpoint,
      identity: identityOf(endpoint, policy),
      rejectUnauthorized: own?.rejectUnauthorized ?? checked.rejectUnauthorized,
      connectSocket,
      tls: { secureContext, ...route, ...routeOf(request), ...own?.handshake },
      sessions: own === undefined && !full ? this.#sessions : undefined,
      ref,
      keylog: request.keylog,
    }, settle)
  }

  #policyNow(): IdentityPolicy {
    const { checked: { servername, seeds, alternates }, credentials } = this.#options
    return { servername, seeds, alternates, publicAuthorities: !credentials.hasAuthority }
  }
}

/** H1: Tells whether a request goes its own way. HTTP/1.1 is what is offered anyway. */
function isRouted(request: DialRequest): boolean {
  const { ALPNProtocols, ...others } = routeOf(request)
  if (Object.keys(others).length > 0) return true
  if (ALPNProtocols === undefined) return false
  return !Array.isArray(ALPNProtocols) || ALPNProtocols.length !== 1 || ALPNProtocols[0] !== 'http/1.1'
}
