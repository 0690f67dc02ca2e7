/**
 * Dialling (D1 to D6): one caller, one socket. Candidates are started one after another, the next one at
 * once when an attempt fails and after `attemptDelay` of silence; the first that is verified wins.
 */
import { firstCandidate, nextCandidate } from './candidates.ts'
import type { Address } from './endpoint.ts'
import { doubt, LATE, wakeSampling } from './health.ts'
import { refreshFirst, refreshSoon } from './discovery.ts'
import { drawBetween, failed, heard, statusOf, unwarn, verified, warn, withPeer } from './peers.ts'
import type { Attempt, Cause, Dial, Effect, Failure, Id, Peer, Rejection, State } from './state.ts'
import { dueRows, rowOf, rowsOf, withoutRow, withRow } from './table.ts'

/**
 * Of `maxConnectionAge`, at least: sockets made together must not end together. Never more than all of it, so that a
 * fleet has evened out within one age.
 */
const LEAST_AGE = 0.9

/**
 * R1: the list is asked for this long after an attempt failed. At once would be beside the next attempt, whose handshake
 * would take almost twice as long; this is many times what a dial needs to fail over.
 */
const REFRESH_PAUSE = 100

export function dialRequested(state: State, id: Id, own: boolean, now: number, effects: Effect[]): State {
  if (state.closed) {
    effects.push({ type: 'reject', dial: id, rejection: { kind: 'closed' } })
    return state
  }
  if (rowOf(state.dials, id) !== undefined) return state
  const dial: Dial = {
    id,
    own,
    deadline: now + state.settings.dialTimeout,
    graced: false,
    tried: [],
    attempts: [],
    causes: [],
    nextAt: Infinity,
    wakeAt: Infinity,
  }
  const counters = { ...state.counters, dials: state.counters.dials + 1 }
  return startNext({ ...state, counters }, dial, now, effects)
}

export function dialCancelled(state: State, id: Id, reason: unknown, effects: Effect[]): State {
  const dial = rowOf(state.dials, id)
  return dial === undefined ? state : endDial(state, dial, { kind: 'cancelled', reason }, effects)
}

export function attemptConnected(state: State, id: Id, attemptId: Id, now: number, effects: Effect[]): State {
  const dial = rowOf(state.dials, id)
  const attempt = dial?.attempts.find((each) => each.id === attemptId)
  const peer = attempt && state.peers.get(attempt.address)
  if (dial === undefined || attempt === undefined || peer === undefined) {
    // It lost, and its success crossed our order to destroy it.
    effects.push({ type: 'destroy', dial: id, attempt: attemptId })
    return state
  }
  effects.push({ type: 'deliver', dial: id, attempt: attemptId, address: attempt.address })
  for (const other of dial.attempts) {
    if (other.id !== attemptId) effects.push({ type: 'destroy', dial: id, attempt: other.id })
  }
  let next: State = { ...state, dials: withoutRow(state.dials, id) }
  next = handedOver(next, dial, attempt, peer, now)
  if (!dial.own) next = unwarn(next, `identity ${peer.address}`)
  next = workedAt(next, dial, attempt.address, effects)
  if (!peer.verified || peer.failures > 0) next = refreshFirst(next, now)
  return askLosers(next, dial, attempt, now, effects)
}

export function attemptFailed(
  state: State,
  id: Id,
  attemptId: Id,
  failure: Failure,
  now: number,
  effects: Effect[],
): State {
  const dial = rowOf(state.dials, id)
  const attempt = dial?.attempts.find((each) => each.id === attemptId)
  if (dial === undefined || attempt === undefined) return state
  const next = blame(state, attempt.address, failure, now, effects)
  return startNext(next, withoutAttempt(dial, attempt, failure), now, effects)
}

/** The dials whose time has come: for their next candidate, for an attempt, or for good. */
export function dialsDue(state: State, now: number, effects: Effect[]): State {
  let next = state
  for (const dial of dueRows(state.dials, now)) next = dialDue(next, dial, now, effects)
  return next
}

/** Dials that had run out of candidates go on with those that became known since. */
export function newcomersDue(state: State, now: number, effects: Effect[]): State {
  let next = state
  for (const dial of rowsOf(state.dials)) if (dial.nextAt === Infinity) next = startNext(next, dial, now, effects)
  return next
}

/** `close()`: every dial ends. */
export function endAllDials(state: State, effects: Effect[]): State {
  let next = state
  for (const dial of rowsOf(state.dials)) next = endDial(next, dial, { kind: 'closed' }, effects)
  return next
}

function dialDue(state: State, dial: Dial, now: number, effects: Effect[]): State {
  if (dial.deadline <= now) {
    if (dial.graced || now - dial.deadline <= LATE) {
      const failure = silence(state.settings.dialTimeout)
      const causes = dial.attempts.map(({ address }): Cause => ({ address, failure }))
      return endDial(state, dial, { kind: 'timedOut', causes: [...dial.causes, ...causes] }, effects)
    }
    dial = { ...dial, graced: true, deadline: now + state.settings.attemptTimeout }
  }
  for (const attempt of dial.attempts) {
    if (attempt.deadline > now) continue
    if (now - attempt.deadline > LATE) {
      dial = withAttempt(dial, { ...attempt, deadline: now + state.settings.attemptTimeout })
      continue
    }
    const failure = silence(state.settings.attemptTimeout)
    effects.push({ type: 'destroy', dial: dial.id, attempt: attempt.id })
    state = blame(state, attempt.address, failure, now, effects)
    dial = { ...withoutAttempt(dial, attempt, failure), nextAt: now }
  }
  return dial.nextAt <= now ? startNext(state, dial, now, effects) : withDial(state, dial)
}

/** Starts the next candidate; where none is left and nothing is under way, the dial has failed (D6). */
function startNext(state: State, dial: Dial, now: number, effects: Effect[]): State {
  let peer: Peer | undefined
  if (dial.tried.length === 0) [peer, state] = firstCandidate(state, now)
  else peer = nextCandidate(state, dial.tried)
  if (peer === undefined) {
    if (dial.attempts.length > 0) return withDial(state, { ...dial, nextAt: Infinity })
    return endDial(state, dial, { kind: 'failed', causes: dial.causes }, effects)
  }
  const attempt: Attempt = {
    id: state.nextId,
    address: peer.address,
    startedAt: now,
    deadline: now + state.settings.attemptTimeout,
  }
  effects.push({ type: 'connect', dial: dial.id, attempt: attempt.id, endpoint: peer.endpoint })
  const counters = { ...state.counters, attempts: state.counters.attempts + 1 }
  return withDial({ ...state, nextId: state.nextId + 1, counters }, {
    ...dial,
    tried: [...dial.tried, peer.address],
    attempts: [...dial.attempts, attempt],
    nextAt: now + state.settings.attemptDelay,
  })
}

function endDial(state: State, dial: Dial, rejection: Rejection, effects: Effect[]): State {
  for (const attempt of dial.attempts) effects.push({ type: 'destroy', dial: dial.id, attempt: attempt.id })
  effects.push({ type: 'reject', dial: dial.id, rejection })
  return { ...state, dials: withoutRow(state.dials, dial.id) }
}

/** The socket is its caller's from now on, and counted. */
function handedOver(state: State, dial: Dial, attempt: Attempt, peer: Peer, now: number): State {
  const { maxConnectionAge } = state.settings
  let wakeAt = Infinity
  if (maxConnectionAge !== undefined) {
    const [age, drawn] = drawBetween(state, LEAST_AGE * maxConnectionAge, maxConnectionAge)
    wakeAt = now + age
    state = drawn
  }
  const proven = dial.own ? heard(peer, now) : verified(peer, now)
  const sockets = withRow(state.sockets, {
    id: attempt.id,
    address: peer.address,
    read: 0,
    written: 0,
    owedSince: Infinity,
    idle: false,
    retired: false,
    wakeAt,
  })
  return wakeSampling({ ...withPeer(state, { ...proven, sockets: peer.sockets + 1, retired: false }), sockets }, now)
}

/**
 * The endpoint that served becomes the current one. A dial that began before the last change of mind, and did
 * not itself find the current one wanting, changes nothing: two dials must not undo each other's failover.
 */
function workedAt(state: State, dial: Dial, to: Address, effects: Effect[]): State {
  const spread = state.settings.balance === 'spread'
  const from = spread ? dial.tried[0] : state.current
  if (from === undefined || from === to) return state.current === to ? state : { ...state, current: to }
  const peer = state.peers.get(from)
  const status = peer && statusOf(peer)
  if (!spread && status === 'ready' && !dial.tried.includes(from)) return state
  const failure = dial.causes.find((cause) => cause.address === from)?.failure
  if (status === 'ready' && failure?.blame === 'none') return state
  const reason =
    failure?.message ??
    peer?.lastError ??
    (status === 'leaving' ? 'leaving' : `no connection within ${state.settings.attemptDelay} ms`)
  effects.push({ type: 'report', report: { event: 'failover', from, to, reason } })
  return { ...state, current: to, counters: { ...state.counters, failovers: state.counters.failovers + 1 } }
}

/** An endpoint that lost a race by silence is asked whether it lives, so that the next dial need not find out. */
function askLosers(state: State, dial: Dial, winner: Attempt, now: number, effects: Effect[]): State {
  for (const { id, address, startedAt } of dial.attempts) {
    const lost = id !== winner.id && now - startedAt >= state.settings.attemptDelay
    if (lost) state = doubt(state, address, now, effects)
  }
  return state
}

/** H1: what an attempt's failure means for its endpoint. */
function blame(state: State, address: Address, failure: Failure, now: number, effects: Effect[]): State {
  const peer = state.peers.get(address)
  if (peer === undefined || failure.blame === 'none') return state
  let next = failed(state, peer, failure, now, effects)
  if (failure.blame === 'identity') next = warn(next, `identity ${address}`, failure.message, effects, failure.error)
  // The sockets that it still has may be as dead; they are not, because a new connection failed.
  if (peer.sockets > 0) next = doubt(next, address, now, effects)
  return refreshSoon(next, now + REFRESH_PAUSE)
}

function silence(after: number): Failure {
  return { blame: 'endpoint', message: `no connection within ${after} ms` }
}

function withAttempt(dial: Dial, attempt: Attempt): Dial {
  return { ...dial, attempts: dial.attempts.map((each) => (each.id === attempt.id ? attempt : each)) }
}

function withoutAttempt(dial: Dial, attempt: Attempt, failure: Failure): Dial {
  return {
    ...dial,
    attempts: dial.attempts.filter((each) => each.id !== attempt.id),
    causes: [...dial.causes, { address: attempt.address, failure }],
  }
}

function withDial(state: State, dial: Dial): State {
  let wakeAt = Math.min(dial.deadline, dial.nextAt)
  for (const attempt of dial.attempts) wakeAt = Math.min(wakeAt, attempt.deadline)
  return { ...state, dials: withRow(state.dials, { ...dial, wakeAt }) }
}
