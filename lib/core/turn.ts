/**
 * One turn of the machine: the state as it stands, the time, and the effects so far. The functions of this folder take
 * a turn and change it. The state that came in is never changed, nor is anything inside it: the first change of a turn
 * copies it, and what is in it is replaced. Here, too, is the one source of chance: a draw takes a seed from the state
 * and leaves the next one there, so that the same state and events give the same effects. Nothing drawn here is, or may
 * be used as, a secret.
 */
import type { Address } from './endpoint.ts'
import type { Counters, Discovery, Effect, Id, Peer, Report, Seed, State } from './state.ts'

/** H4: A deadline handled later than this says that this machine was away, and nothing of the endpoint. */
export const LATE = 1_000

/** A counter that is one number. */
type CounterName = { [Name in keyof Counters]: Counters[Name] extends number ? Name : never }[keyof Counters]

export class Turn {
  state: State
  readonly now: number
  readonly effects: Effect[] = []
  /** How often the state was changed in this turn. */
  changes = 0

  constructor(state: State, now: number) {
    this.state = state
    this.now = now
  }

  emit(effect: Effect): void {
    this.effects.push(effect)
  }

  report(report: Report): void {
    this.effects.push({ type: 'report', report })
  }

  /** Replaces parts of the state: of a copy that nobody else has seen, made for the first change of the turn. */
  set(change: Partial<State>): void {
    if (this.changes === 0) this.state = { ...this.state }
    this.changes += 1
    Object.assign(this.state, change)
  }

  setDiscovery(change: Partial<Discovery>): void {
    this.set({ discovery: { ...this.state.discovery, ...change } })
  }

  peer(address: Address): Peer | undefined {
    return this.state.peers.get(address)
  }

  /** Puts this peer in the place of the one of the same address, or adds it. */
  setPeer(peer: Peer): void {
    this.set({ peers: new Map(this.state.peers).set(peer.address, peer) })
  }

  /** Replaces parts of a peer, if it is known: these, or what is made of it; undefined for none. */
  changePeer(address: Address, change: Partial<Peer> | ((peer: Peer) => Partial<Peer> | undefined)): void {
    const peer = this.peer(address)
    if (peer === undefined) return
    const changed = typeof change === 'function' ? change(peer) : change
    if (changed !== undefined) this.setPeer({ ...peer, ...changed })
  }

  /** Calls `visit` for each peer, each as the visits before it left it. */
  forEachPeer(visit: (peer: Peer) => void): void {
    for (const address of this.state.peers.keys()) {
      const peer = this.peer(address)
      if (peer !== undefined) visit(peer)
    }
  }

  count(name: CounterName, more: number = 1): void {
    const { counters } = this.state
    this.set({ counters: { ...counters, [name]: counters[name] + more } })
  }

  /** Allots an id. */
  nextId(): Id {
    const { nextId } = this.state
    this.set({ nextId: nextId + 1 })
    return nextId
  }

  /** Draws a number from `low` (inclusive) to `high` (exclusive). */
  draw(low: number, high: number): number {
    const [value, seed] = draw(this.state.seed)
    this.set({ seed })
    return low + value * (high - low)
  }

  /** Warns of `kind`, unless that very message was the last one of its kind. */
  warn(kind: string, message: string, error?: unknown): void {
    const { warned } = this.state
    if (warned.get(kind) === message) return
    this.report({ event: 'warning', kind, message, ...(error === undefined ? {} : { error }) })
    this.set({ warned: new Map(warned).set(kind, message) })
  }

  /** What was warned of has passed: the next time is news again. */
  unwarn(kind: string): void {
    if (!this.state.warned.has(kind)) return
    const warned = new Map(this.state.warned)
    warned.delete(kind)
    this.set({ warned })
  }
}

/** Draws a number from 0 (inclusive) to 1 (exclusive) and the seed of the next draw (mulberry32). */
export function draw(seed: Seed): readonly [value: number, next: Seed] {
  const next = (seed + 0x6d2b79f5) >>> 0
  let mixed = next
  mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
  return [((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296, next]
}
