/**
 * Discovery (R1 to R4): which endpoints there are. A refresh is a round: one endpoint after another is asked
 * until one gives a list. The question is the heartbeat of `health.ts`, so that any heartbeat's list is taken.
 */
import { nextCandidate } from './candidates.ts'
import type { Address, Endpoint } from './endpoint.ts'
import { addressOf } from './endpoint.ts'
import type { EndpointsBody, Via } from './state.ts'
import { ask, hurryAges, retireUnchosen, send } from './health.ts'
import { drawBetween, overPeers, unwarn, warn, withNewPeers, withPeer } from './peers.ts'
import type { Cause, Discovery, Effect, Failure, Heartbeat, Id, Peer, Round, State } from './state.ts'
import { rowsOf } from './table.ts'

/** R1: failures ask for a new list at most this often. */
const SOONEST = 1_000
/** R2: where asking is forbidden, a grant may come; that is worth a question now and then. */
const FORBIDDEN_INTERVAL = 300_000
/** D2: removed endpoints stay the last resort for this long. */
const REMEMBERED = 300_000
/** And no more of them than a list may have (R4). */
const REMEMBERED_MOST = 64
/** R1: ±20 %, so that a fleet does not ask in step. */
const REFRESH_JITTER = 0.2

/** R1: a first verified connection asks at once, as long as there is no list. */
export function refreshFirst(state: State, now: number): State {
  return state.discovery.listedAt === undefined ? refreshSoon(state, now) : state
}

/** R1: after a failure, at most once a second. Not where it is forbidden (R2), nor while a round is asking anyway. */
export function refreshSoon(state: State, earliest: number): State {
  const { status, startedAt, nextAt, round } = state.discovery
  if (status === 'off' || status === 'forbidden' || round !== undefined) return state
  const at = Math.min(nextAt, Math.max(earliest, startedAt + SOONEST))
  return at === nextAt ? state : withDiscovery(state, { nextAt: at })
}

/** `refresh()`: now, or as part of the round that is under way. */
export function refreshRequested(state: State, refresh: Id | undefined, now: number, effects: Effect[]): State {
  if (state.closed) {
    if (refresh !== undefined) effects.push({ type: 'settleRefresh', refresh, outcome: { kind: 'closed' } })
    return state
  }
  const { waiting, round, nextAt } = state.discovery
  if (refresh !== undefined && waiting.includes(refresh)) return state
  return withDiscovery(state, {
    waiting: refresh === undefined ? waiting : [...waiting, refresh],
    nextAt: round === undefined ? now : nextAt,
  })
}

/** Starts the round that is due; asks those that were draining, too, since nobody else may ask them. */
export function roundDue(state: State, now: number, effects: Effect[]): State {
  const { round, nextAt } = state.discovery
  if (round !== undefined || nextAt > now) return state
  const counters = { ...state.counters, refreshes: state.counters.refreshes + 1 }
  const started: Round = { tried: [], at: undefined, causes: [] }
  const asking = withDiscovery({ ...state, counters }, { startedAt: now, nextAt: Infinity, round: started })
  const next = moveOn(asking, started, now, effects)
  return overPeers(next, (each, peer) => {
    return peer.draining && peer.removedAt === undefined ? ask(each, peer.address, now, effects) : each
  })
}

/** The endpoint that was asked did not answer: another is (R1). The last one gets its second try first (H2). */
export function roundMissed(state: State, address: Address, failure: Failure, now: number, effects: Effect[]): State {
  const { round } = state.discovery
  if (round?.at !== address) return state
  const causes = [...round.causes.filter((cause) => cause.address !== address), { address, failure }]
  const isAsked = state.peers.get(address)?.heartbeat !== undefined
  const isLast = nextCandidate(state, round.tried) === undefined
  if (isAsked && isLast) return withDiscovery(state, { round: { ...round, causes } })
  return moveOn(state, { ...round, causes }, now, effects)
}

/** R2: what an answer means for the list. The peer has been counted as alive already. */
export function answered(
  state: State,
  peer: Peer,
  heartbeat: Heartbeat,
  status: number,
  body: EndpointsBody | undefined,
  now: number,
  effects: Effect[],
): State {
  const { discovery } = state
  const asked = discovery.round?.at === peer.address
  if (!asked && discovery.status === 'off') return state
  if (status === 200 && body?.kind === 'list') return accepted(state, body, heartbeat.via, now, effects)
  if (status === 401 && !heartbeat.reauthorized) {
    return send(state, peer, { ...heartbeat, misses: 0, reauthorized: true }, now, effects)
  }
  const problem = body?.kind === 'rejected' ? body.reason : `it answered ${status}`
  let next = body?.kind === 'rejected' ? warn(state, 'list', `list rejected: ${problem}`, effects) : state
  if (!asked) return next
  const missing = status === 403 || status === 404 || status === 410
  if (missing && heartbeat.otherStatus === undefined) {
    const via: Via = heartbeat.via === 'endpoints' ? 'endpointslices' : 'endpoints'
    return send(next, peer, { ...heartbeat, misses: 0, via, otherStatus: status }, now, effects)
  }
  if (missing && (status === 403 || heartbeat.otherStatus === 403)) return forbidden(next, peer, now, effects)
  next = roundMissed(next, peer.address, { blame: 'none', message: problem }, now, effects)
  return next
}

/** D1: hints of an earlier process count until the first list. */
export function hintsLoaded(state: State, endpoints: readonly Endpoint[]): State {
  return state.discovery.listedAt === undefined ? withNewPeers(state, endpoints, 'stored') : state
}

/** When a removed endpoint is forgotten; Infinity where it is not. A seed never is. */
export function forgottenAt(peer: Peer): number {
  const needed = peer.origin === 'seed' || peer.sockets > 0 || peer.heartbeat !== undefined
  return peer.removedAt === undefined || needed ? Infinity : peer.removedAt + REMEMBERED
}

export function forgetRemoved(state: State, now: number, effects: Effect[]): State {
  return overPeers(state, (next, peer) => {
    if (forgottenAt(peer) > now) return next
    // A dial may be about to get a socket of it: it is looked at again in a while.
    if (isAttempted(next, peer)) return withPeer(next, { ...peer, removedAt: now - REMEMBERED + SOONEST })
    return forget(next, peer, effects)
  })
}

/** The first removed, beyond REMEMBERED_MOST: a list that is another one each time must not fill the memory. */
function forgetSurplus(state: State, effects: Effect[]): State {
  const isSpare = (peer: Peer): boolean => forgottenAt(peer) !== Infinity && !isAttempted(state, peer)
  const removed = [...state.peers.values()].filter(isSpare)
  if (removed.length <= REMEMBERED_MOST) return state
  return removed
    .sort((one, other) => forgottenAt(one) - forgottenAt(other))
    .slice(0, -REMEMBERED_MOST)
    .reduce((next, peer) => forget(next, peer, effects), state)
}

function forget(state: State, peer: Peer, effects: Effect[]): State {
  if (peer.monitoredAt !== undefined) effects.push({ type: 'closeMonitor', address: peer.address })
  const peers = new Map(state.peers)
  peers.delete(peer.address)
  const current = state.current === peer.address ? undefined : state.current
  return unwarn({ ...state, peers, current }, `identity ${peer.address}`)
}

function isAttempted(state: State, peer: Peer): boolean {
  for (const dial of rowsOf(state.dials)) {
    if (dial.attempts.some((attempt) => attempt.address === peer.address)) return true
  }
  return false
}

/** Asks the next endpoint of a round; where none is left, the round has failed. */
function moveOn(state: State, round: Round, now: number, effects: Effect[]): State {
  const candidate = nextCandidate(state, round.tried)
  if (candidate === undefined) {
    const lastError = round.causes.at(-1)?.failure.message
    return endRound(state, 'failing', lastError, round.causes, state.settings.refreshInterval, now, effects)
  }
  const next = { ...round, tried: [...round.tried, candidate.address], at: candidate.address }
  return ask(withDiscovery(state, { round: next }), candidate.address, now, effects)
}

function forbidden(state: State, peer: Peer, now: number, effects: Effect[]): State {
  const message = 'discovery is forbidden: grant get on endpoints "kubernetes" in namespace "default"; ' +
    'only the configured servers are used'
  const causes = [{ address: peer.address, failure: { blame: 'none', message } }] as const
  const next = warn(state, 'discovery', message, effects)
  return endRound(next, 'forbidden', 'it answered 403', causes, FORBIDDEN_INTERVAL, now, effects)
}

function endRound(
  state: State,
  status: Discovery['status'],
  lastError: string | undefined,
  causes: readonly Cause[],
  interval: number,
  now: number,
  effects: Effect[],
): State {
  for (const refresh of state.discovery.waiting) {
    effects.push({ type: 'settleRefresh', refresh, outcome: { kind: 'failed', causes } })
  }
  const off = state.discovery.status === 'off'
  const [nextAt, drawn] = off ? [Infinity, state] : drawNext(state, interval, now)
  const ended = { lastError, nextAt, round: undefined, waiting: [] }
  return withDiscovery(drawn, { ...ended, status: off ? 'off' : status })
}

/** R3, R4: a well-formed list that is not empty takes the place of the last one. */
function accepted(
  state: State,
  body: EndpointsBody & { kind: 'list' },
  via: Via,
  now: number,
  effects: Effect[],
): State {
  let next = listed(state, body, now)
  const endpoints = body.ready
  const changed = !sameListing(state, next)
  next = hurryAges(next, newcomersOf(state, next), now)
  next = forgetSurplus(next, effects)
  if (changed) {
    effects.push({ type: 'report', report: { event: 'endpoints', endpoints } }, { type: 'save', endpoints })
  }
  for (const refresh of state.discovery.waiting) {
    effects.push({ type: 'settleRefresh', refresh, outcome: { kind: 'refreshed', endpoints } })
  }
  const off = state.discovery.status === 'off'
  let nextAt = Infinity
  if (!off) [nextAt, next] = drawNext(next, state.settings.refreshInterval, now)
  next = withDiscovery(next, {
    status: off ? 'off' : 'ok',
    via,
    listedAt: now,
    lastError: undefined,
    nextAt,
    round: undefined,
    waiting: [],
  })
  const chosen = state.discovery.listedAt !== undefined || state.settings.balance === 'sticky' || endpoints.length === 1
  if (!chosen) next = retireUnchosen(next, effects)
  next = unwarn(next, 'discovery')
  if (body.refused.length === 0) return unwarn(next, 'list')
  return warn(next, 'list', `list refused in part: ${body.refused.join('; ')}`, effects)
}

function listed(state: State, body: EndpointsBody & { kind: 'list' }, now: number): State {
  const ready = new Set(body.ready.map(addressOf))
  const unready = new Set(body.unready.map(addressOf))
  const known = withNewPeers(state, [...body.ready, ...body.unready], 'learned')
  return overPeers(known, (each, peer) => {
    const isListed = ready.has(peer.address) || unready.has(peer.address)
    const isUnready = isListed && !ready.has(peer.address)
    // A seed that never was listed is no server that left: it may be a name or a balancer's address.
    const left = !isListed && (peer.listed || peer.origin !== 'seed')
    const removedAt = isListed ? undefined : (peer.removedAt ?? (left ? now : undefined))
    if (peer.listed === isListed && peer.unready === isUnready && peer.removedAt === removedAt) return each
    return withPeer(each, { ...peer, listed: isListed, unready: isUnready, removedAt })
  })
}

function sameListing(one: State, other: State): boolean {
  for (const peer of other.peers.values()) {
    const before = one.peers.get(peer.address)
    if (before?.listed !== peer.listed || before.unready !== peer.unready) return false
  }
  return true
}

/** Those that have joined. Nobody on a first list has: they were there before. */
function newcomersOf(before: State, after: State): Peer[] {
  if (before.discovery.listedAt === undefined) return []
  return [...after.peers.values()].filter((peer) => isOffered(peer) && !isOffered(before.peers.get(peer.address)))
}

function isOffered(peer: Peer | undefined): boolean {
  return peer !== undefined && peer.listed && !peer.unready
}

function drawNext(state: State, interval: number, now: number): readonly [number, State] {
  const [pause, drawn] = drawBetween(state, (1 - REFRESH_JITTER) * interval, (1 + REFRESH_JITTER) * interval)
  return [now + pause, drawn]
}

function withDiscovery(state: State, change: Partial<Discovery>): State {
  return { ...state, discovery: { ...state.discovery, ...change } }
}
