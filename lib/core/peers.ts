/** What is known of each apiserver, and the small changes to it that several rules share. */
import type { Endpoint } from './endpoint.ts'
import { addressOf } from './endpoint.ts'
import { draw } from './random.ts'
import type { Effect, Failure, Origin, Peer, State, Status } from './state.ts'

/** H1: the first retry within 250 ms, doubling to 30 s, as client-go's and gRPC's reconnection backoffs end up. */
const BACKOFF_FIRST = 250
const BACKOFF_MOST = 30_000

/** `state` with a number drawn from `low` to `high`. */
export function drawBetween(state: State, low: number, high: number): readonly [value: number, state: State] {
  const [value, seed] = draw(state.seed)
  return [low + value * (high - low), { ...state, seed }]
}

/**
 * How long an endpoint may be silent before it is asked: up to 20 % less than `heartbeatInterval`, so that a
 * fleet does not ask in step. Never more, since a silent watch is promised back within 10 s.
 */
export function drawPatience(state: State): readonly [patience: number, state: State] {
  const { heartbeatInterval } = state.settings
  return drawBetween(state, 0.8 * heartbeatInterval, heartbeatInterval)
}

/** Unready, draining, or no longer listed (H5), whether or not it failed as well. */
export function isLeaving(peer: Peer): boolean {
  return peer.unready || peer.draining || peer.removedAt !== undefined
}

export function statusOf(peer: Peer): Status {
  if (peer.failures > 0) return 'failed'
  if (isLeaving(peer)) return 'leaving'
  return peer.verified ? 'ready' : 'unverified'
}

/** `state` with this peer in the place of the one of the same address. */
export function withPeer(state: State, peer: Peer): State {
  return { ...state, peers: new Map(state.peers).set(peer.address, peer) }
}

/** `state` after this change for each peer in turn, each seen as the changes before it left it. */
export function overPeers(state: State, change: (state: State, peer: Peer) => State): State {
  let next = state
  for (const address of state.peers.keys()) {
    const peer = next.peers.get(address)
    if (peer !== undefined) next = change(next, peer)
  }
  return next
}

/** `state` with an endpoint that was not known before. Its lot is drawn here, once (D2). */
export function withNewPeer(state: State, endpoint: Endpoint, origin: Origin): State {
  const [lot, afterLot] = drawBetween(state, 0, 1)
  const [patience, drawn] = drawPatience(afterLot)
  const address = addressOf(endpoint)
  return withPeer(drawn, {
    address,
    endpoint,
    origin,
    lot,
    listed: false,
    unready: false,
    draining: false,
    removedAt: undefined,
    verified: false,
    failures: 0,
    failedAt: -Infinity,
    retryAt: -Infinity,
    lastError: undefined,
    sockets: 0,
    retired: true,
    heardAt: -Infinity,
    askedAt: -Infinity,
    patience,
    owedSince: Infinity,
    heartbeat: undefined,
    provenAt: -Infinity,
    suspectSince: undefined,
    silent: false,
    monitoredAt: undefined,
  })
}

/** `state` with those of the endpoints that were not known before. */
export function withNewPeers(state: State, endpoints: readonly Endpoint[], origin: Origin): State {
  let next = state
  for (const endpoint of endpoints) {
    if (!next.peers.has(addressOf(endpoint))) next = withNewPeer(next, endpoint, origin)
  }
  return next
}

/** H1: its TLS and identity were good just now. */
export function verified(peer: Peer, now: number): Peer {
  return { ...heard(peer, now), verified: true, failures: 0, retryAt: -Infinity, lastError: undefined }
}

/** A byte came from it: whatever it was suspected of is over. */
export function heard(peer: Peer, now: number): Peer {
  return { ...peer, heardAt: now, suspectSince: undefined, silent: false }
}

/** H1: it failed, which moves it down the order and never out of it. */
export function failed(state: State, peer: Peer, failure: Failure, now: number, effects: Effect[]): State {
  const failures = peer.failures + 1
  // Capped before the power overflows; 2^7 * 250 ms is past the most already.
  const ceiling = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(failures - 1, 7))
  const [pause, drawn] = drawBetween(state, 0, ceiling)
  if (peer.failures === 0 || peer.lastError !== failure.message) {
    effects.push({ type: 'report', report: { event: 'failed', address: peer.address, failure } })
  }
  return withPeer(drawn, {
    ...peer,
    failures,
    failedAt: now,
    retryAt: now + pause,
    lastError: failure.message,
  })
}

/** Warns of `kind`, unless that very message was the last one of its kind. */
export function warn(state: State, kind: string, message: string, effects: Effect[], error?: unknown): State {
  if (state.warned.get(kind) === message) return state
  const report = { event: 'warning', kind, message, ...(error === undefined ? {} : { error }) } as const
  effects.push({ type: 'report', report })
  return { ...state, warned: new Map(state.warned).set(kind, message) }
}

/** What was warned of has passed: the next time is news again. */
export function unwarn(state: State, kind: string): State {
  if (!state.warned.has(kind)) return state
  const warned = new Map(state.warned)
  warned.delete(kind)
  return { ...state, warned }
}
