/**
 * In which order endpoints are tried (D1, D2). Everything that is known has a place in the order: failures, drains and
 * removals only move an endpoint down.
 */
import type { Address } from './endpoint.ts'
import type { FrontView } from './fronts.ts'
import { isUnentitled, viewFronts } from './fronts.ts'
import { isDoubted, isLeaving, isListed, isUseless, mayBeFront, statusOf } from './peers.ts'
import type { Dial, Peer, State } from './state.ts'
import type { Turn } from './turn.ts'

/** `spread` leaves an endpoint alone for this long after a failure, lest a flapping one be chosen again and again. */
export const SPREAD_REST = 60_000

/** F1: How many connections a dial makes in all before it tries no address again: one of three may be a dead one's. */
const WAYS_MOST = 3

/** The ranks of D2, first to last. */
const CURRENT = 0
const READY = 1
/** Listed, and listed ones are known to be within reach. */
const NEAR = 2
const READY_FRONT = 3
const UNVERIFIED = 4
const UNVERIFIED_SEED = 5
const UNVERIFIED_FRONT = 6
const LEFT_SEED = 7
const DOUBTED = 8
const LEAVING = 9
const FAILED = 10
const UNENTITLED = 11
const REMOVED = 12

/** D2: Finds the first in the order that is not in `tried`, and that `fits`; undefined when all have been. */
export function nextCandidate(
  state: State,
  tried: readonly Address[],
  fits: (peer: Peer) => boolean = () => true,
): Peer | undefined {
  const view = viewFronts(state)
  let best: Peer | undefined
  for (const peer of state.peers.values()) {
    if (tried.includes(peer.address) || !fits(peer)) continue
    if (best === undefined || comesBefore(state, view, peer, best)) best = peer
  }
  return best
}

/**
 * F1, D3: Finds the configured address that a dial tries once more where nothing else is left, as several apiservers
 * may stand behind it: what became of one connection says nothing of the next. Not where listed ones are within reach,
 * or others are configured, nor where the address itself failed or the time for it is over.
 */
export function anotherWay(state: State, { attempts, causes, tried }: Dial): Peer | undefined {
  if (attempts.length + causes.length >= WAYS_MOST || viewFronts(state).reachable) return undefined
  if (tried.length > 1 && state.discovery.listedAt === undefined) return undefined
  return [...state.peers.values()].find((peer) => mayBeFront(state, peer) && !causes.some(({ address, failure }) => (
    address === peer.address && failure.kind !== 'broken'
  )))
}

/** D2: Chooses where a dial begins: by `balance`, the last that worked or any that may work. */
export function firstCandidate(turn: Turn): Peer | undefined {
  const { state } = turn
  if (state.settings.balance === 'sticky') return nextCandidate(state, [])
  const view = viewFronts(state)
  const choice = [...state.peers.values()].filter((peer) => isChoice(state, view, peer, turn.now))
  return choice.length === 0 ? nextCandidate(state, []) : choice[Math.floor(turn.draw(0, choice.length))]
}

/** H5: Tells whether there is one that a new dial would rather go to than to one that is leaving. */
export function isAnyReady(state: State): boolean {
  for (const peer of state.peers.values()) if (statusOf(peer) === 'ready') return true
  return false
}

/**
 * F1, H5, H11: Tells whether `spread` may choose it: ready, or new and so unverified, or failed long enough ago to
 * deserve a try.
 */
function isChoice(state: State, view: FrontView, peer: Peer, now: number): boolean {
  if (state.discovery.listedAt !== undefined && !isListed(peer)) return false
  if (view.listGiven && !view.reachable) return false
  if (isUnentitled(peer, view) || isUseless(peer) || isDoubted(peer)) return false
  switch (statusOf(peer)) {
    case 'ready':
    case 'unverified':
      return true
    case 'failed':
      return !isLeaving(peer) && now >= restedAt(peer)
    case 'leaving':
      return false
  }
}

/** H1: Tells when `spread` may choose it again after its last failure; -Infinity where it has not failed. */
export function restedAt({ standing }: Peer): number {
  return standing.is === 'failed' ? Math.max(standing.retryAt, standing.at + SPREAD_REST) : -Infinity
}

/** D2: Tells which of two is tried first. */
function comesBefore(state: State, view: FrontView, one: Peer, other: Peer): boolean {
  const rank = rankOf(state, view, one)
  const difference = rank - rankOf(state, view, other)
  if (difference !== 0) return difference < 0
  if (rank === FAILED && retryOf(one) !== retryOf(other)) return retryOf(one) < retryOf(other)
  return one.lot < other.lot
}

/** H9, H12: Orders those that failed: the slow and the sick come after those that a retry may find well. */
function retryOf({ standing }: Peer): number {
  return standing.is === 'failed' ? standing.retryAt : Infinity
}

/** D2, F1, H11: Gives the rank of an endpoint. */
function rankOf(state: State, view: FrontView, peer: Peer): number {
  const isSeed = peer.origin === 'seed'
  if (peer.listing.is === 'removed' && !isSeed && peer.sockets === 0) return REMOVED
  if (isUnentitled(peer, view)) return UNENTITLED
  switch (statusOf(peer)) {
    case 'failed':
      return FAILED
    case 'leaving':
      return isSeed && peer.listing.is === 'removed' && peer.voice.is !== 'refusing' ? LEFT_SEED : LEAVING
    case 'ready':
      if (isDoubted(peer)) return DOUBTED
      return rankOfReady(state, view, peer)
    case 'unverified':
      if (isDoubted(peer)) return DOUBTED
      if (state.discovery.listedAt !== undefined && isListed(peer)) return view.reachable ? NEAR : UNVERIFIED
      return isSeed ? UNVERIFIED_SEED : UNVERIFIED_FRONT
  }
}

/** D2, F1: Gives the rank of one that is ready: a front has none before a listed one that took its place. */
function rankOfReady(state: State, view: FrontView, peer: Peer): number {
  const isFronting = state.discovery.listedAt !== undefined && !isListed(peer)
  if (isFronting && view.replaced) return READY_FRONT
  if (state.settings.balance === 'sticky' && peer.address === state.current) return CURRENT
  return isFronting ? READY_FRONT : READY
}
