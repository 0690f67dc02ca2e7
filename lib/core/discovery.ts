/**
 * Discovery (R1 to R6): which endpoints there are. A refresh is a round: one endpoint after another is asked until one
 * gives a list. The question is the heartbeat of asking.ts, so that any heartbeat's list is taken.
 */
import { ask, askAgain, askWhatIsInDoubt, hangUp } from './asking.ts'
import { nextCandidate } from './candidates.ts'
import type { Address, Endpoint } from './endpoint.ts'
import { addressOf } from './endpoint.ts'
import { warnOfUselessList } from './fronts.ts'
import { addPeers, becomeListed, isListed } from './peers.ts'
import { hurryAges, retireUnchosen } from './retiring.ts'
import type { Cause, Depth, EndpointsBody, Event, Failure, Id, Peer, Question, Round, State, Via } from './state.ts'
import { rowsOf } from './table.ts'
import type { Turn } from './turn.ts'

/** R1: Failures ask for a new list at most this often. */
const SOONEST = 1_000
/** R2: Where no list could be had, it is asked for again after this, then twice as long, and so on. */
const AGAIN_FIRST = 10_000
/** R2: Where asking is forbidden, a grant may come; that is worth a question now and then. */
const FORBIDDEN_INTERVAL = 300_000
/** R5: What may pass by itself is warned of when it has lasted for this long. */
const LASTING = 60_000
/** D2: Removed endpoints stay the last resort for this long. */
const REMEMBERED = 300_000
/** R4: And no more of them than a list may have. */
const REMEMBERED_MOST = 64
/** R1: ±20 %, so that a fleet does not ask in step. */
const REFRESH_JITTER = 0.2

// ---- when

/**
 * R1: Asks for a new list soon after a failure, at most once a second. Not where it is forbidden, nor while a round is
 * asking anyway.
 */
export function refreshSoon(turn: Turn, earliest: number): void {
  const { status, startedAt, nextAt, round } = turn.state.discovery
  if (status === 'off' || status === 'forbidden' || round !== undefined || turn.state.dormant) return
  const at = Math.min(nextAt, Math.max(earliest, startedAt + SOONEST))
  if (at !== nextAt) turn.setDiscovery({ nextAt: at })
}

/** R1, H10: Asks for the list now, as `refresh()` does, or as part of the round that is under way. */
export function refreshRequested(turn: Turn, refresh: Id | undefined): void {
  if (turn.state.closed) {
    if (refresh !== undefined) turn.emit({ type: 'settleRefresh', refresh, outcome: { kind: 'closed' } })
    return
  }
  const { dormant, usedAt } = turn.state
  // Nobody would be served by it; the next dial asks (H10).
  if (refresh === undefined && (dormant || usedAt === -Infinity)) return
  const { waiting, round, nextAt } = turn.state.discovery
  if (refresh !== undefined && waiting.includes(refresh)) return
  turn.setDiscovery({
    waiting: refresh === undefined ? waiting : [...waiting, refresh],
    nextAt: round === undefined ? turn.now : nextAt,
  })
}

/** R1: Starts, after any event, the round that is due. Those of which the last answer was no good are asked, too. */
export function settleRound(turn: Turn): void {
  const { round, nextAt } = turn.state.discovery
  if (round !== undefined || nextAt > turn.now) return
  moveOn(turn, startRound(turn, 'deep'))
  turn.forEachPeer((peer) => {
    if (peer.listing.is !== 'removed' && isInDoubt(peer)) askWhatIsInDoubt(turn, peer)
  })
}

/** R1, H9, H12: Tells whether its last answer was no good, and nothing but a refresh would ask it again. */
function isInDoubt({ voice, sockets }: Peer): boolean {
  if (voice.is === 'slow' || voice.is === 'hollow') return sockets === 0
  return voice.is === 'refusing' || voice.is === 'sick'
}

/** F3: Begins a round with an endpoint that is asked by the caller of this. */
export function beginRound(turn: Turn, address: Address): void {
  turn.setDiscovery({ round: { ...startRound(turn, 'shallow'), tried: [address], at: address } })
}

/** R1: Starts a round. */
function startRound(turn: Turn, depth: Depth): Round {
  turn.count('refreshes')
  const round: Round = { tried: [], at: undefined, causes: [], depth, answer: undefined }
  turn.setDiscovery({ startedAt: turn.now, nextAt: Infinity, round })
  return round
}

/** R1: The endpoint that was asked did not answer: another is. The last one gets its second try first (H2). */
export function roundMissed(turn: Turn, address: Address, failure: Failure): void {
  const { round } = turn.state.discovery
  if (round?.at !== address) return
  const causes = withCause(round.causes, { address, failure })
  const isAsked = turn.peer(address)?.question !== undefined
  const isLast = nextCandidate(turn.state, round.tried) === undefined
  if (isAsked && isLast) turn.setDiscovery({ round: { ...round, causes } })
  else moveOn(turn, { ...round, causes })
}

/** R1: Asks the next endpoint of a round; where none is left, the round has failed. */
function moveOn(turn: Turn, round: Round): void {
  const candidate = nextCandidate(turn.state, round.tried)
  if (candidate === undefined) {
    if (round.answer !== undefined) warnOfAnswer(turn, round.answer.address, round.answer.status)
    return endRound(turn, 'failing', round.causes)
  }
  turn.setDiscovery({ round: { ...round, tried: [...round.tried, candidate.address], at: candidate.address } })
  ask(turn, candidate.address, round.depth)
}

/** R2, R5: Ends a round that came to no list. */
function endRound(turn: Turn, status: 'failing' | 'forbidden', causes: readonly Cause[]): void {
  const { discovery, settings } = turn.state
  turn.count('refreshesFailed')
  for (const refresh of discovery.waiting) {
    turn.emit({ type: 'settleRefresh', refresh, outcome: { kind: 'failed', causes } })
  }
  const failures = discovery.failures + 1
  const failingSince = discovery.failures === 0 ? turn.now : discovery.failingSince
  const most = status === 'forbidden' ? FORBIDDEN_INTERVAL : settings.refreshInterval
  const pause = Math.min(most, AGAIN_FIRST * 2 ** Math.min(failures - 1, 5))
  const lastError = causes.at(-1)?.failure.message
  // What an endpoint answered tells more than that another was silent.
  const failedBy = (causes.find(({ failure }) => failure.kind === 'answer') ?? causes.at(-1))?.failure.kind
  const ended = { lastError, round: undefined, waiting: [], failures, failingSince, failedBy }
  if (discovery.status === 'off') return turn.setDiscovery({ ...ended, nextAt: Infinity })
  turn.setDiscovery({ ...ended, status, nextAt: drawNext(turn, pause) })
}

/** R1: Draws when the list is asked for again. */
function drawNext(turn: Turn, interval: number): number {
  return turn.now + turn.draw((1 - REFRESH_JITTER) * interval, (1 + REFRESH_JITTER) * interval)
}

// ---- answers

/** R2, R6: Takes what an answer means for the list. The peer has been counted as alive already. */
export function answered(
  turn: Turn, address: Address, question: Question, event: Event & { type: 'questionAnswered' },
): void {
  const { discovery } = turn.state
  const { status, body, authorized } = event
  const round = discovery.round?.at === address ? discovery.round : undefined
  if (round === undefined && discovery.status === 'off') return
  // The answer is to a question that was not ours: it went without its token, and tells nothing of what is granted.
  if (!authorized) return round && withoutToken(turn, round, address, status)
  if (status === 200 && body?.kind === 'list') return accepted(turn, address, body, question.via)
  if (status === 401 && !question.reauthorized) return askAgain(turn, address, question, { reauthorized: true })
  const problem = body?.kind === 'rejected' ? body.reason : `it answered ${status}`
  if (body?.kind === 'rejected') turn.warn('list', `list rejected: ${problem}`)
  if (round === undefined) return
  const isMissing = status === 403 || status === 404 || status === 410
  if (isMissing && question.otherStatus === undefined) {
    const via: Via = question.via === 'endpoints' ? 'endpointslices' : 'endpoints'
    return askAgain(turn, address, question, { via, otherStatus: status })
  }
  if (isMissing && (status === 403 || question.otherStatus === 403)) return forbidden(turn, address)
  moveOnAfter(turn, round, address, problem + adviceFor(status), status)
}

/** R6: The question went without its token. */
function withoutToken(turn: Turn, round: Round, address: Address, status: number): void {
  const what = `it answered ${status} to a question without the token, which could not be had in time`
  moveOnAfter(turn, round, address, what)
}

/** R1, R5: The endpoint answered, but not with a list: another is asked. Where none has one, that is complained of. */
function moveOnAfter(turn: Turn, round: Round, address: Address, message: string, status?: number): void {
  const answer = status === undefined || status === 200 ? round.answer : { address, status }
  moveOn(turn, { ...round, answer, causes: withCause(round.causes, { address, failure: { kind: 'answer', message } }) })
}

/** Each endpoint has one cause: the last. */
function withCause(causes: readonly Cause[], cause: Cause): readonly Cause[] {
  return [...causes.filter(({ address }) => address !== cause.address), cause]
}

/** R2: Nobody may read the list: what is known is kept. */
function forbidden(turn: Turn, address: Address): void {
  const advice = 'grant get on endpoints "kubernetes" in namespace "default"'
  turn.warn('discovery', `discovery is forbidden: ${advice}; only the configured servers are used`)
  endRound(turn, 'forbidden', [{ address, failure: { kind: 'answer', message: `it answered 403: ${advice}` } }])
}

/**
 * R5: Warns of an answer that is no list, and says what to do about it. One that may pass is news only at the start.
 */
function warnOfAnswer(turn: Turn, address: Address, status: number): void {
  const mayPass = status === 429 || status >= 500
  if (mayPass && turn.state.discovery.status !== 'pending') return
  turn.warn('discovery', `the list of apiservers cannot be had, so that there is no failover: ${address} answered ` +
    `${status}${adviceFor(status)}`)
}

/** R5: Says what to do about an answer that is no list. */
function adviceFor(status: number): string {
  if (status === 401) return ': look at the token, its expiry and its audience'
  if (status === 404 || status === 410) {
    return ': it serves neither endpoints nor endpointslices, and may be no apiserver'
  }
  if (status >= 300 && status < 400) return ', a redirect: it may be a login page or a proxy, and no apiserver'
  return ''
}

/** R5: Warns, after any event, where late answers, 5xx or 429 have kept the list away for a minute. */
export function settleWarnings(turn: Turn): void {
  const { status, failures, failingSince, failedBy, lastError, startedAt, round } = turn.state.discovery
  const hasLasted = status === 'failing' && round === undefined && failures > 1 && startedAt - failingSince >= LASTING
  if (hasLasted && (failedBy === 'late' || failedBy === 'answer') && !turn.state.warned.has('discovery')) {
    const what = 'the list of apiservers cannot be had for a minute and more, so that there is no failover'
    turn.warn('discovery', `${what}: ${lastError}`)
  }
  warnOfUselessList(turn)
}

// ---- lists

/** D1, R4: Takes hints of an earlier process, which count until the first list. */
export function hintsLoaded(turn: Turn, endpoints: readonly Endpoint[]): void {
  if (turn.state.discovery.listedAt === undefined) addPeers(turn, endpoints, 'stored')
}

/** R3, R4: Puts a well-formed list that is not empty in the place of the last one. */
function accepted(turn: Turn, address: Address, body: EndpointsBody & { kind: 'list' }, via: Via): void {
  // A copy: the turn's own goes on changing.
  const before = { ...turn.state }
  const endpoints = body.ready
  list(turn, body)
  hurryAges(turn, before)
  forgetSurplus(turn, address)
  if (!sameListing(before, turn.state)) {
    turn.report({ event: 'endpoints', endpoints })
    turn.emit({ type: 'save', endpoints })
  }
  const { discovery, settings } = turn.state
  for (const refresh of discovery.waiting) {
    turn.emit({ type: 'settleRefresh', refresh, outcome: { kind: 'refreshed', endpoints } })
  }
  const isOff = discovery.status === 'off'
  turn.setDiscovery({
    status: isOff ? 'off' : 'ok',
    via,
    listedAt: turn.now,
    isPrivate: body.isPrivate === true,
    lastError: undefined,
    nextAt: isOff ? Infinity : drawNext(turn, settings.refreshInterval),
    round: undefined,
    waiting: [],
    failures: 0,
  })
  const isFirstChoice = before.discovery.listedAt === undefined && settings.balance === 'spread' && endpoints.length > 1
  if (isFirstChoice) retireUnchosen(turn)
  turn.unwarn('discovery')
  if (body.refused.length === 0) turn.unwarn('list')
  else turn.warn('list', `list refused in part: ${body.refused.join('; ')}`)
}

/** R3: Puts what a list says into the peers. */
function list(turn: Turn, body: EndpointsBody & { kind: 'list' }): void {
  const ready = new Set(body.ready.map(addressOf))
  const unready = new Set(body.unready.map(addressOf))
  addPeers(turn, [...body.ready, ...body.unready], 'learned')
  turn.forEachPeer((peer) => {
    const { address } = peer
    becomeListed(turn, peer, ready.has(address) ? 'ready' : unready.has(address) ? 'unready' : 'absent')
  })
}

function sameListing(one: State, other: State): boolean {
  for (const peer of other.peers.values()) {
    const before = one.peers.get(peer.address)
    if (isListed(before) !== isListed(peer) || isReadyListed(before) !== isReadyListed(peer)) return false
  }
  return true
}

function isReadyListed(peer: Peer | undefined): boolean {
  return peer?.listing.is === 'listed' && peer.listing.ready
}

// ---- forgetting

/** D2: Gives when a removed endpoint is forgotten; Infinity where it is not. */
export function forgottenAt(peer: Peer): number {
  const { listing, question } = peer
  return listing.is === 'removed' && !isKept(peer) && question === undefined ? listing.at + REMEMBERED : Infinity
}

/** D2: A seed is never forgotten, nor is who serves a socket. */
function isKept({ origin, sockets }: Peer): boolean {
  return origin === 'seed' || sockets > 0
}

/** D2: Forgets those that were removed long ago. */
export function removedDue(turn: Turn): void {
  turn.forEachPeer((peer) => {
    if (forgottenAt(peer) > turn.now) return
    if (!isAttempted(turn.state, peer)) return forget(turn, peer)
    // A dial may be about to get a socket of it: it is looked at again in a while.
    turn.setPeer({ ...peer, listing: { is: 'removed', at: turn.now - REMEMBERED + SOONEST } })
  })
}

/**
 * R4: Forgets the first removed beyond REMEMBERED_MOST: a list that is another one each time must not fill the memory,
 * nor may one whose endpoints are all being asked. Who gave the list is still being judged by its answer.
 */
function forgetSurplus(turn: Turn, from: Address): void {
  const removed = [...turn.state.peers.values()].flatMap((peer) => {
    const { listing, address } = peer
    if (listing.is !== 'removed' || address === from || isKept(peer) || isAttempted(turn.state, peer)) return []
    return { peer, at: listing.at }
  })
  if (removed.length <= REMEMBERED_MOST) return
  const first = removed.sort((one, other) => one.at - other.at).slice(0, -REMEMBERED_MOST)
  for (const { peer } of first) forget(turn, peer)
}

function forget(turn: Turn, peer: Peer): void {
  const { address } = peer
  hangUp(turn, peer)
  const peers = new Map(turn.state.peers)
  peers.delete(address)
  turn.set({ peers, ...(turn.state.current === address ? { current: undefined } : {}) })
  turn.unwarn(`identity ${address}`)
}

function isAttempted(state: State, peer: Peer): boolean {
  for (const dial of rowsOf(state.dials)) {
    if (dial.attempts.some((attempt) => attempt.address === peer.address)) return true
  }
  return false
}
