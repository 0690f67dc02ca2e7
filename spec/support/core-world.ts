/**
 * A little world of apiservers behind the machine, in virtual time: each is in one of the ways that are met in the
 * field, and what it does with a connection or a question follows from that. Everything is drawn from one seed.
 */
import type { Address } from '../../lib/core/endpoint.ts'
import type { Depth, EndpointsBody, Failure } from '../../lib/core/state.ts'
import { draw } from '../../lib/core/turn.ts'
import { at, broken, local, mistake, nameless, refused, unreachable, untrusted } from './core-given.ts'

export type Mode =
  | 'up'
  | 'refusing'
  | 'unreachable'
  | 'nameless'
  /** Before TLS: nothing comes back. */
  | 'hanging'
  /** TLS is done, and no question is ever answered. */
  | 'mute'
  | 'untrusted'
  /** Answers 429, 500 or 503. */
  | 'draining'
  /** Answers what its cache holds, and nothing else (H12). */
  | 'hollow'
  | 'flaky'
  /** Answers on new connections, and on none of those that were made before (F4). */
  | 'deaf'

const MODES: readonly [Mode, ...Mode[]] = [
  'up', 'up', 'up', 'refusing', 'unreachable', 'nameless', 'hanging', 'mute', 'untrusted', 'draining', 'hollow',
  'flaky', 'deaf',
]

/** Draws from one seed. */
export class Draws {
  #seed: number

  constructor(seed: number) {
    this.#seed = seed
  }

  /** From 0 (inclusive) to 1 (exclusive). */
  random(): number {
    const [value, next] = draw(this.#seed)
    this.#seed = next
    return value
  }

  chance(share: number): boolean {
    return this.random() < share
  }

  one<T>(values: readonly T[] & { readonly 0: T }): T
  one<T>(values: readonly T[]): T | undefined
  one<T>(values: readonly T[]): T | undefined {
    return values[Math.floor(this.random() * values.length)]
  }

  some<T>(values: readonly T[]): T[] {
    return values.filter(() => this.chance(0.5))
  }
}

/** What becomes of a connection or a question, and when; undefined where nothing ever does. */
export type Fate<Good> = ({ readonly at: number } & (Good | { readonly failure: Failure })) | undefined

export interface Answer {
  readonly status: number
  readonly authorized: boolean
  readonly body?: EndpointsBody
}

export class World {
  readonly #draws: Draws
  readonly #others: readonly Address[]
  readonly #servers = new Map<Address, { mode: Mode; since: number }>()
  #list: readonly Address[]

  constructor(draws: Draws, addresses: readonly Address[], others: readonly Address[]) {
    this.#draws = draws
    this.#others = others
    this.#list = others.slice(0, 3)
    for (const address of addresses) this.#servers.set(address, { mode: draws.one(MODES), since: 0 })
  }

  get addresses(): readonly Address[] {
    return [...this.#servers.keys()]
  }

  /** Since when a server has worked without a break; undefined where it does not now. */
  upSince(address: Address): number | undefined {
    const server = this.#servers.get(address)
    return server?.mode === 'up' ? server.since : undefined
  }

  /** One server changes, or not. */
  turn(now: number): void {
    const server = this.#servers.get(this.#draws.one(this.addresses) ?? '')
    const mode = this.#draws.one(MODES)
    if (server !== undefined && server.mode !== mode) Object.assign(server, { mode, since: now })
  }

  changeList(): void {
    this.#list = this.#draws.some(this.#others)
  }

  /** Tells whether a request on a connection that was made then is answered now. */
  speaks(address: Address, madeAt: number): boolean {
    const { mode, since } = this.#servers.get(address) ?? { mode: 'hanging', since: 0 }
    if (mode === 'deaf') return madeAt >= since
    return mode === 'up' || mode === 'draining' || mode === 'untrusted'
  }

  connect(address: Address, now: number): Fate<object> {
    const soon = now + 1 + this.#draws.random() * 20
    switch (this.#servers.get(address)?.mode) {
      case 'up':
      case 'mute':
      case 'draining':
      case 'hollow':
      case 'deaf':
        return { at: soon }
      case 'refusing':
        return { at: soon, failure: refused }
      case 'unreachable':
        return { at: soon, failure: unreachable }
      case 'nameless':
        return { at: soon, failure: nameless }
      case 'untrusted':
        return { at: soon, failure: untrusted }
      case 'flaky':
        return this.#mishap(soon) ?? { at: soon + this.#draws.random() * 9_000 }
      case 'hanging':
      case undefined:
        return undefined
    }
  }

  /** What a question comes to on a connection that was made then. */
  answer(address: Address, depth: Depth, madeAt: number, now: number): Fate<Answer> {
    const soon = now + 1 + this.#draws.random() * 20
    const { mode, since } = this.#servers.get(address) ?? { mode: 'hanging', since: 0 }
    switch (mode) {
      case 'up':
      case 'untrusted':
        return this.#say(soon, this.#draws.chance(0.85) ? 200 : this.#draws.one([302, 401, 403, 404, 410]))
      case 'draining':
        return this.#say(soon, this.#draws.one([429, 500, 503]))
      case 'refusing':
        return { at: soon, failure: broken }
      case 'flaky':
        return this.#mishap(soon) ?? this.#say(soon + (this.#draws.chance(0.5) ? 0 : this.#draws.random() * 5_000), 200)
      case 'hollow':
        if (depth === 'shallow') return this.#say(soon, 200)
        return this.#draws.chance(0.5) ? this.#say(soon, 500) : undefined
      case 'deaf':
        return madeAt < since ? undefined : this.#say(soon, 200)
      case 'mute':
      case 'hanging':
      case 'unreachable':
      case 'nameless':
        return undefined
    }
  }

  #mishap(soon: number): Fate<never> {
    if (this.#draws.chance(0.2)) return { at: soon, failure: this.#draws.one([local, mistake]) }
    return this.#draws.chance(0.4) ? { at: soon, failure: broken } : undefined
  }

  #say(soon: number, status: number): Fate<Answer> {
    const authorized = this.#draws.chance(0.95)
    return { at: soon, status, authorized, ...(status === 200 ? { body: this.#body() } : {}) }
  }

  #body(): EndpointsBody {
    const listed = this.#draws.chance(0.1) ? [] : this.#list
    if (listed.length === 0) return { kind: 'rejected', reason: this.#draws.one(['empty', 'not JSON']) }
    const unready = listed.length > 1 && this.#draws.chance(0.2) ? listed.slice(0, 1) : []
    const refusedParts = this.#draws.chance(0.1) ? ['loopback'] : []
    return {
      kind: 'list', ready: listed.slice(unready.length).map(at), unready: unready.map(at), refused: refusedParts,
      isPrivate: this.#draws.chance(0.3),
    }
  }
}
