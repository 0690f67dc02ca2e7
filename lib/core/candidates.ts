/**
 * In which order endpoints are tried (D1, D2). Everything that is known has a place in the order: failures,
 * drains and removals only move an endpoint down.
 */
import type { Address } from './endpoint.ts'
import { isLeaving, statusOf } from './peers.ts'
import { draw } from './random.ts'
import type { Peer, State } from './state.ts'

/** `spread` leaves an endpoint alone for this long after a failure, lest a flapping one be chosen again and again. */
export const SPREAD_REST = 60_000

/** The ranks of D2, first to last. */
const CURRENT = 0
const READY = 1
const UNVERIFIED_SEED = 2
const UNVERIFIED = 3
const UNLISTED_SEED = 4
const LEAVING = 5
const FAILED = 6
const REMOVED = 7

/** The first in the order that is not in `tried`; undefined when all have been. */
export function nextCandidate(state: State, tried: readonly Address[]): Peer | undefined {
  let best: Peer | undefined
  for (const peer of state.peers.values()) {
    if (tried.includes(peer.address)) continue
    if (best === undefined || comesBefore(state, peer, best)) best = peer
  }
  return best
}

/** The first candidate of a dial: by `balance`, the last that worked or any that may work. */
export function firstCandidate(state: State, now: number): readonly [candidate: Peer | undefined, state: State] {
  if (state.settings.balance === 'sticky') return [nextCandidate(state, []), state]
  const choice = [...state.peers.values()].filter((peer) => isChoice(state, peer, now))
  if (choice.length === 0) return [nextCandidate(state, []), state]
  const [value, seed] = draw(state.seed)
  return [choice[Math.floor(value * choice.length)], { ...state, seed }]
}

/** Whether there is one that a new dial would rather go to than to one that is leaving (H5). */
export function isAnyReady(state: State): boolean {
  for (const peer of state.peers.values()) if (statusOf(peer) === 'ready') return true
  return false
}

/** Whether `spread` may choose it: ready, or new and so unverified, or failed long enough ago to deserve a try. */
function isChoice(state: State, peer: Peer, now: number): boolean {
  if (state.discovery.listedAt !== undefined && !peer.listed) return false
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

/** When `spread` may choose it again after its last failure; -Infinity where it has not failed. */
export function restedAt(peer: Peer): number {
  return peer.failures === 0 ? -Infinity : Math.max(peer.retryAt, peer.failedAt + SPREAD_REST)
}

function comesBefore(state: State, one: Peer, other: Peer): boolean {
  const rank = rankOf(state, one)
  const difference = rank - rankOf(state, other)
  if (difference !== 0) return difference < 0
  if (rank === FAILED && one.retryAt !== other.retryAt) return one.retryAt < other.retryAt
  return one.lot < other.lot
}

function rankOf(state: State, peer: Peer): number {
  const isSeed = peer.origin === 'seed'
  if (peer.removedAt !== undefined && !isSeed && peer.sockets === 0) return REMOVED
  const status = statusOf(peer)
  const learned = state.discovery.listedAt !== undefined
  switch (status) {
    case 'failed':
      return FAILED
    case 'leaving':
      return isSeed && !peer.listed && !peer.draining ? UNLISTED_SEED : LEAVING
    case 'ready':
      if (state.settings.balance === 'sticky' && peer.address === state.current) return CURRENT
      return isSeed && learned && !peer.listed ? UNLISTED_SEED : READY
    case 'unverified':
      if (learned) return isSeed && !peer.listed ? UNLISTED_SEED : UNVERIFIED
      return isSeed ? UNVERIFIED_SEED : UNVERIFIED
  }
}
