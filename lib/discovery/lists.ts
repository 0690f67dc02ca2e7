/**
 * Lists of endpoints on their way in and out: the token that their question goes with, what an answer holds, what the
 * caller's `mapEndpoint` makes of it, and the hints that a store keeps from one process to the next.
 */
import { isPrivate, scopeOf } from '../address.ts'
import type { Scope } from '../address.ts'
import type { Address, Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import type { EndpointsBody, Via } from '../core/state.ts'
import type { Credentials } from '../credentials/credentials.ts'
import { causeText, toError } from '../errors.ts'
import { toEndpoint } from '../options.ts'
import { withoutSecret } from '../secrets.ts'
import { readEndpointsBody, vetHints } from './endpoints-body.ts'
import type { Authorization } from './monitor.ts'

/** A question goes without its token after this share of its time: that the endpoint lives is worth knowing anyway. */
const TOKEN_SHARE = 0.5

/** A question that should have a token, and goes without. */
const WITHOUT: Authorization = { token: undefined, authorized: false }

/** Where endpoints are kept from one process to the next, as hints. */
export interface EndpointStore {
  load(): Endpoint[] | Promise<Endpoint[]>
  save(endpoints: Endpoint[]): void | Promise<void>
}

export interface ListOptions {
  readonly seeds: readonly Endpoint[]
  readonly heartbeatTimeout: number
  readonly credentials: Credentials
  readonly mapEndpoint: ((endpoint: Endpoint) => Endpoint | undefined) | undefined
  readonly store: EndpointStore | undefined
  readonly onWarning: (kind: string, error: Error) => void
  /** What was warned of has passed. */
  readonly onPassed: (kind: string) => void
  readonly onHints: (endpoints: readonly Endpoint[]) => void
  /** A token has come for which a question did not wait. */
  readonly onLateToken: () => void
}

export class Lists {
  readonly #options: ListOptions
  /** What is allowed in a list besides global addresses: the scopes of the seeds themselves (R4). */
  readonly #allowed: ReadonlySet<Scope>
  #sentToken: string | undefined
  #hinted = false

  constructor(options: ListOptions) {
    this.#options = options
    this.#allowed = new Set(options.seeds.flatMap(({ host }) => scopeOf(host) ?? []))
  }

  /**
   * I4, R6: Gives the token for the question of a connection that has been verified, or none where it takes too long or
   * cannot be had. Never rejects.
   */
  async authorize(fresh: boolean): Promise<Authorization> {
    const { credentials, heartbeatTimeout, onWarning, onPassed, onLateToken } = this.#options
    if (!credentials.expectsToken) return { token: undefined, authorized: true }
    let isLate = false
    let timer: NodeJS.Timeout | undefined
    const given = credentials.token(fresh).then(
      (token) => {
        onPassed('token')
        if (isLate) onLateToken()
        return { token, authorized: true }
      },
      (error: unknown) => {
        onWarning('token', toError(error))
        return WITHOUT
      },
    )
    const none = new Promise<Authorization>((resolve) => {
      timer = setTimeout(() => {
        isLate = true
        resolve(WITHOUT)
      }, TOKEN_SHARE * heartbeatTimeout).unref()
    })
    const authorization = await Promise.race([given, none])
    clearTimeout(timer)
    this.#sentToken = authorization.token ?? this.#sentToken
    return authorization
  }

  /** Reads the body of a 200: what is listed, vetted (R4) and mapped. */
  read(text: string, via: Via): EndpointsBody {
    const body = this.#withoutToken(readEndpointsBody(text, via, this.#allowed))
    const { mapEndpoint } = this.#options
    if (body.kind === 'rejected') return body
    if (mapEndpoint === undefined) return { ...body, isPrivate: body.ready.every(({ host }) => isPrivate(host)) }
    const failures: unknown[] = []
    const ready = mapped(body.ready, mapEndpoint, failures)
    const unready = mapped(body.unready, mapEndpoint, failures)
    if (failures.length > 0) {
      const others = failures.length > 1 ? `, and for ${failures.length - 1} more` : ''
      const message = `mapEndpoint failed: ${causeText(failures[0])}${others}`
      this.#options.onWarning('mapEndpoint', new Error(message, { cause: failures[0] }))
    } else this.#options.onPassed('mapEndpoint')
    if (ready.length === 0) return { kind: 'rejected', reason: 'mapEndpoint dropped every endpoint' }
    return { ...body, ready, unready, isPrivate: ready.every(({ host }) => isPrivate(host)) }
  }

  /** D1: Loads the hints, once. A list that is there already is known before the dial that asked for it. */
  loadHints(): void {
    const { store, onHints, onWarning } = this.#options
    if (this.#hinted || store === undefined) return
    this.#hinted = true
    const loaded = (endpoints: unknown): void => {
      if (!Array.isArray(endpoints)) throw new TypeError('load() must give a list of { host, port }')
      const hints = vetHints(endpoints, this.#allowed)
      const refused = hints.refused.join('; ')
      if (refused !== '') onWarning('store', new Error(`stored endpoints refused: ${refused}`))
      onHints(hints.endpoints)
    }
    const failed = (error: unknown): void => {
      onWarning('store', new Error(`stored endpoints cannot be used: ${causeText(error)}`, { cause: error }))
    }
    try {
      const endpoints: unknown = store.load()
      if (isThenable(endpoints)) void Promise.resolve(endpoints).then(loaded).catch(failed)
      else loaded(endpoints)
    } catch (error) {
      failed(error)
    }
  }

  /** Has the endpoints stored, whenever that is done. */
  save(endpoints: readonly Endpoint[]): void {
    const { store, onWarning, onPassed } = this.#options
    if (store === undefined) return
    const saved = async (): Promise<void> => store.save(endpoints.map((endpoint) => ({ ...endpoint })))
    saved().then(
      () => onPassed('store'),
      (error: unknown) => {
        onWarning('store', new Error(`endpoints cannot be stored: ${causeText(error)}`, { cause: error }))
      },
    )
  }

  /** What is refused is quoted, and a server that errs may send back what it was sent. */
  #withoutToken(body: EndpointsBody): EndpointsBody {
    const clean = (text: string): string => withoutSecret(text, this.#sentToken)
    if (body.kind === 'list') return { ...body, refused: body.refused.map(clean) }
    return { ...body, reason: clean(body.reason) }
  }
}

function mapped(
  endpoints: readonly Endpoint[],
  map: (endpoint: Endpoint) => Endpoint | undefined,
  failures: unknown[],
): Endpoint[] {
  const all = new Map<Address, Endpoint>()
  for (const endpoint of endpoints) {
    try {
      const to = map({ ...endpoint })
      if (to === undefined) continue
      const checked = toEndpoint(to)
      if (checked === undefined) {
        throw new TypeError(`it must return { host, port } or undefined for ${addressOf(endpoint)}`)
      }
      all.set(addressOf(checked), checked)
    } catch (error) {
      failures.push(error)
    }
  }
  return [...all.values()]
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
