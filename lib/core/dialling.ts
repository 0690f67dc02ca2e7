/**
 * Dialling (D3 to D7): one caller, one socket. Candidates are started one after another, the next one at once when an
 * attempt fails and after `attemptDelay` of silence; the first that is verified wins. What a dial holds back until it
 * is known who is listed (F3) is in holding.ts.
 */
import { anotherWay, firstCandidate, nextCandidate } from './candidates.ts'
import { countDialTime, countFailedAttempt } from './counting.ts'
import { refreshSoon } from './discovery.ts'
import type { Address } from './endpoint.ts'
import { askWhileUsed, doubt, replaced, wonder } from './asking.ts'
import { blamesNobody, workedAt } from './failover.ts'
import { areUntried } from './fronts.ts'
import {
  becomeFailed, becomeHeard, becomeMute, becomeReady, futileFrom, isListed, measured, muteAfter,
} from './peers.ts'
import type { Attempt, Cause, Dial, Failure, HandedSocket, Id, Peer, Rejection, State } from './state.ts'
import { retire } from './retiring.ts'
import { dueRows, rowOf, rowsOf, withoutRow, withRow } from './table.ts'
import { mayRaceEarly, raceAt, raceAtLast } from './racing.ts'
import { countHanded, wakeSampling } from './traffic.ts'
import { LATE } from './turn.ts'
import type { Turn } from './turn.ts'

/**
 * Of `maxConnectionAge`, at least: sockets made together must not end together. Never more than all of it, so that a
 * fleet has evened out within one age.
 */
const LEAST_AGE = 0.9

/** R1: the list is asked for this long after an attempt failed: at once would slow down the next one's handshake. */
const REFRESH_PAUSE = 100

/** H11: an attempt that its caller gave up says something of its endpoint after this much silence. */
const TELLING_SILENCE = 100

// ---- events

/** D1, D3: Begins a dial with its first candidate. A bare one holds nothing back: it can carry no question (F3). */
export function dialRequested(turn: Turn, id: Id, own: boolean, plain: boolean, bare?: true): void {
  if (turn.state.closed) return turn.emit({ type: 'reject', dial: id, rejection: { kind: 'closed' } })
  if (rowOf(turn.state.dials, id) !== undefined) return
  turn.count('dials')
  const isHeldBack = bare === undefined && (turn.state.discovery.status === 'pending' || areUntried(turn.state))
  startNext(turn, {
    id,
    own,
    plain,
    ...(bare === undefined ? {} : { bare }),
    startedAt: turn.now,
    deadline: turn.now + turn.state.settings.dialTimeout,
    graced: false,
    tried: [],
    attempts: [],
    causes: [],
    nextAt: Infinity,
    hold: isHeldBack ? { is: 'wanted' } : { is: 'over' },
    failedAt: -Infinity,
    wakeAt: Infinity,
  })
}

/** D5, H11: Ends a dial that its caller gave up. Whoever kept it waiting is doubted. */
export function dialCancelled(turn: Turn, id: Id, reason: unknown): void {
  const dial = rowOf(turn.state.dials, id)
  if (dial === undefined) return
  endDial(turn, dial, { kind: 'cancelled', reason })
  for (const { address, phase, startedAt } of dial.attempts) {
    if (phase === 'connecting' && turn.now - startedAt >= TELLING_SILENCE) doubt(turn, address, 'fresh')
  }
}

/** H1, H11: Takes a failed attempt into account, and starts the next candidate (D3). */
export function attemptFailed(turn: Turn, id: Id, attemptId: Id, failure: Failure): void {
  const dial = rowOf(turn.state.dials, id)
  const attempt = dial?.attempts.find((each) => each.id === attemptId)
  if (dial === undefined || attempt === undefined) return
  blame(turn, dial, attempt.address, failure)
  startNext(turn, withoutAttempt(turn, dial, attempt, failure))
}

/** D3, D5, D7, H4: Handles the dials whose time has come: for their next candidate, for an attempt, or for good. */
export function dialsDue(turn: Turn): void {
  for (const dial of dueRows(turn.state.dials, turn.now)) dialDue(turn, dial)
}

/**
 * D7: Looks again, after any event, at the dials that wait for endpoints of which it became known that they cannot be
 * reached.
 */
export function settleFutile(turn: Turn, before: State): void {
  const { peers, dials } = turn.state
  if (dials.size === 0 || peers === before.peers) return
  const isNews = [...peers.values()].some((peer) => (
    futileFrom(turn.state, peer) !== futileFrom(before, before.peers.get(peer.address))
  ))
  if (!isNews) return
  for (const dial of rowsOf(dials)) {
    const endsAt = futileAt(turn.state, dial)
    if (endsAt <= turn.now) endFutile(turn, dial)
    else if (endsAt < dial.wakeAt) setDial(turn, dial)
  }
}

/** D3: Lets dials that had run out of candidates go on with those that became known since. */
export function newcomersDue(turn: Turn): void {
  for (const dial of rowsOf(turn.state.dials)) {
    const { attempts, causes, tried, hold } = dial
    const hadRunOut = dial.nextAt === Infinity || attempts.length + causes.length > tried.length
    if (hadRunOut && (hold.is === 'wanted' || hold.is === 'over')) startNext(turn, dial)
  }
}

/** Ends every dial, as `close()` does. */
export function endAllDials(turn: Turn): void {
  for (const dial of rowsOf(turn.state.dials)) endDial(turn, dial, { kind: 'closed' })
}

// ---- the way of a dial

/** D3, D5, D7, H4: Handles one dial whose time has come. */
function dialDue(turn: Turn, given: Dial): void {
  const { now } = turn
  const { dialTimeout, attemptTimeout } = turn.state.settings
  let dial = given
  if (dial.deadline <= now) {
    if (dial.graced || now - dial.deadline <= LATE) return timeOut(turn, dial, dialTimeout)
    dial = { ...dial, graced: true, deadline: now + attemptTimeout }
  }
  if ('until' in dial.hold && now - dial.hold.until > LATE) {
    dial = { ...dial, hold: { ...dial.hold, until: now + turn.state.settings.attemptDelay } }
  }
  let hasLost = false
  for (const attempt of dial.attempts) {
    if (attempt.phase !== 'connecting' || attempt.deadline > now) continue
    if (now - attempt.deadline > LATE) {
      dial = withAttempt(dial, { ...attempt, deadline: now + attemptTimeout })
      continue
    }
    const failure = silence(attemptTimeout)
    turn.emit({ type: 'destroy', dial: dial.id, attempt: attempt.id })
    blame(turn, dial, attempt.address, failure)
    dial = withoutAttempt(turn, dial, attempt, failure)
    hasLost = true
  }
  const endsAt = futileAt(turn.state, dial)
  if (now - endsAt > LATE) dial = { ...dial, failedAt: now }
  else if (endsAt <= now) return endFutile(turn, dial)
  if (hasLost) startNext(turn, dial)
  else if (dial.nextAt <= now) nextDue(turn, dial)
  else setDial(turn, dial)
}

/** D3, D8: Starts the next candidate of a dial beside an attempt, or puts that off until `attemptDelay` is over. */
function nextDue(turn: Turn, dial: Dial): void {
  const atLast = raceAtLast(turn.state, dial)
  if (atLast <= turn.now) return startNext(turn, dial)
  if (!mayRaceEarly(turn, dial, candidateFor(turn, dial))) return setDial(turn, { ...dial, nextAt: atLast })
  turn.set({ racedAt: turn.now })
  startNext(turn, dial)
}

/** D5: Ends a dial that took too long in all. A connection that was held back is still better than none. */
function timeOut(turn: Turn, dial: Dial, dialTimeout: number): void {
  const held = dial.attempts.find(({ phase }) => phase === 'held')
  if (held !== undefined) return deliver(turn, dial, held)
  const causes = dial.attempts.map(({ address }) => givenUp(turn, address, dialTimeout))
  endDial(turn, dial, { kind: 'timedOut', causes: [...dial.causes, ...causes] })
}

/** D3, D6: Starts the next candidate; where none is left and nothing is under way, the dial has failed. */
export function startNext(turn: Turn, dial: Dial): void {
  // What becomes of a connection that is held back is decided when all is known of this event (F3).
  if (dial.hold.is === 'list') return setDial(turn, { ...dial, nextAt: Infinity })
  if (dial.hold.is === 'listed') return setDial(turn, { ...dial, nextAt: turn.now })
  const peer = candidateFor(turn, dial)
  if (peer !== undefined) return setDial(turn, withFutile(turn, withStarted(turn, dial, peer)))
  if (dial.attempts.length > 0) return setDial(turn, { ...dial, nextAt: Infinity })
  endDial(turn, dial, { kind: 'failed', causes: dial.causes })
}

/**
 * D2, D4, F1: Finds who is tried next. Nothing proves who is at the other end of a bare connection, or that anybody
 * is: a kernel accepts for a stopped process. So it goes only to an endpoint that something else has proved.
 */
function candidateFor(turn: Turn, dial: Dial): Peer | undefined {
  const { tried, bare } = dial
  if (bare === true) return nextCandidate(turn.state, tried, (peer) => peer.standing.is === 'ready')
  if (tried.length === 0) return firstCandidate(turn)
  return nextCandidate(turn.state, tried) ?? anotherWay(turn.state, dial)
}

/** D2, D7: Where nothing is left but what was never reached, all of it is tried at once: it is not waited for long. */
function withFutile(turn: Turn, dial: Dial): Dial {
  let next = dial
  while (dial.bare !== true && futileAt(turn.state, next) !== Infinity) {
    const peer = nextCandidate(turn.state, next.tried)
    if (peer === undefined) return next
    next = withStarted(turn, next, peer)
  }
  return next
}

/** D3, D8: Starts an attempt; the next is due after `attemptDelay`, or sooner. */
export function withStarted(turn: Turn, dial: Dial, { address, endpoint }: Peer | Attempt): Dial {
  const { attemptTimeout } = turn.state.settings
  const id = turn.nextId()
  turn.emit({ type: 'connect', dial: dial.id, attempt: id, endpoint })
  turn.count('attempts')
  const attempt: Attempt = {
    id,
    address,
    endpoint,
    startedAt: turn.now,
    // Another way to the same address is waited for no longer than the first.
    deadline: dial.attempts.find((each) => each.address === address)?.deadline ?? turn.now + attemptTimeout,
    phase: 'connecting',
    asked: false,
    isPrivate: undefined,
  }
  return {
    ...dial,
    tried: dial.tried.includes(address) ? dial.tried : [...dial.tried, address],
    attempts: [...dial.attempts, attempt],
    nextAt: raceAt(turn, dial, turn.peer(address)?.connectMs),
  }
}

/** D7: Gives when a dial ends for which nothing is left but what was never reached; Infinity where there is more. */
function futileAt(state: State, dial: Dial): number {
  if (dial.attempts.length === 0 || dial.failedAt === -Infinity) return Infinity
  const isOver = (peer: Peer): boolean => (
    dial.tried.includes(peer.address) && !dial.attempts.some(({ address }) => address === peer.address)
  )
  const times = [...state.peers.values()].map((peer) => (isOver(peer) ? -Infinity : futileFrom(state, peer)))
  return Math.max(dial.failedAt + state.settings.attemptDelay, ...times)
}

/** D7: Ends a dial for which nothing is left but what was never reached. */
function endFutile(turn: Turn, dial: Dial): void {
  const least = turn.state.settings.attemptDelay
  const causes = dial.attempts.map(({ address, startedAt }) => (
    givenUp(turn, address, Math.round(Math.max(turn.now - startedAt, least)))
  ))
  endDial(turn, dial, { kind: 'failed', causes: [...dial.causes, ...causes] })
}

function endDial(turn: Turn, dial: Dial, rejection: Rejection): void {
  for (const attempt of dial.attempts) releaseAttempt(turn, dial, attempt)
  turn.emit({ type: 'reject', dial: dial.id, rejection: withCausesOnce(rejection) })
  if (rejection.kind === 'failed' || rejection.kind === 'timedOut') turn.count('dialsFailed')
  turn.set({ dials: withoutRow(turn.state.dials, dial.id) })
}

/** D6: Names each endpoint once, with what happened first: one that was tried again is no other. */
function withCausesOnce(rejection: Rejection): Rejection {
  if (!('causes' in rejection)) return rejection
  const causes = new Map<Address, Cause>()
  for (const cause of rejection.causes) if (!causes.has(cause.address)) causes.set(cause.address, cause)
  return { ...rejection, causes: [...causes.values()] }
}

/** D3: Destroys an attempt; a connection with a question on it is the monitor's from now on. */
export function releaseAttempt(turn: Turn, dial: Dial, attempt: Attempt): void {
  if (attempt.phase === 'connecting' && turn.now - attempt.startedAt >= muteAfter(turn.state)) {
    becomeMute(turn, attempt.address)
  }
  const question = turn.peer(attempt.address)?.question
  if (question?.attempt !== attempt.id) return turn.emit({ type: 'destroy', dial: dial.id, attempt: attempt.id })
  turn.emit({ type: 'adopt', dial: dial.id, attempt: attempt.id })
  turn.changePeer(attempt.address, ({ deaf }) => ({
    question: { ...question, attempt: undefined }, kept: { since: question.sentAt, usedAt: turn.now },
    deaf: replaced(deaf),
  }))
}

// ---- success

/** D3: Hands the winner over, and destroys the others at once. */
export function deliver(turn: Turn, dial: Dial, attempt: Attempt): void {
  turn.emit({ type: 'deliver', dial: dial.id, attempt: attempt.id, address: attempt.address })
  for (const other of dial.attempts) if (other.id !== attempt.id) releaseAttempt(turn, dial, other)
  turn.set({ dials: withoutRow(turn.state.dials, dial.id) })
  countDialTime(turn, dial)
  const socket = handOver(turn, attempt)
  if (isUnchosen(turn.state, dial)) retire(turn, socket)
  workedAt(turn, dial, attempt.address)
  doubtLosers(turn, dial, attempt)
  askWhileUsed(turn, attempt.address)
}

/**
 * F3: Tells whether there was no choice yet. Under `spread`, a connection from then is not used again: all of a fleet
 * that was given the same seed would otherwise stay on it.
 */
function isUnchosen({ settings, discovery, peers }: State, { hold }: Dial): boolean {
  const wasBefore = settings.balance === 'spread' && hold.is === 'list' && discovery.listedAt !== undefined
  return wasBefore && [...peers.values()].filter(isListed).length > 1
}

/** H2: The socket is its caller's from now on, and counted. */
function handOver(turn: Turn, attempt: Attempt): HandedSocket {
  const { maxConnectionAge } = turn.state.settings
  const age = maxConnectionAge === undefined ? Infinity : turn.draw(LEAST_AGE * maxConnectionAge, maxConnectionAge)
  countHanded(turn, attempt.address)
  const socket: HandedSocket = {
    id: attempt.id,
    address: attempt.address,
    madeAt: turn.now,
    heardAt: turn.now,
    read: 0,
    written: 0,
    owedSince: Infinity,
    surelyOwed: false,
    idle: false,
    retired: false,
    wakeAt: turn.now + age,
  }
  turn.set({ sockets: withRow(turn.state.sockets, socket) })
  wakeSampling(turn)
  return socket
}

/**
 * H1: Takes a connection that was made into account. A dial of its caller's own kind proves only that somebody is
 * there, and a bare one not even that.
 */
export function connected(turn: Turn, dial: Dial, attempt: Attempt): void {
  const { address } = attempt
  if (dial.bare === true) return
  becomeHeard(turn, address)
  if (dial.own) return
  becomeReady(turn, address)
  turn.changePeer(address, (peer) => measured(peer, turn.now - attempt.startedAt))
  turn.unwarn(`identity ${address}`)
}

/** H11: An endpoint that lost a race by silence is asked whether it lives, so that the next dial need not find out. */
function doubtLosers(turn: Turn, dial: Dial, winner: Attempt): void {
  for (const { id, address, startedAt, phase } of dial.attempts) {
    const wasSilent = phase === 'connecting' && turn.now - startedAt >= turn.state.settings.attemptDelay
    if (id !== winner.id && wasSilent && address !== winner.address) doubt(turn, address, 'fresh')
  }
}

// ---- failure

/**
 * H1: Decides what an attempt's failure means for its endpoint. This machine's own troubles blame nobody, and neither
 * does a dial that differs from everyone's: whatever broke it, only everyone's question tells.
 */
function blame(turn: Turn, dial: Dial, address: Address, failure: Failure): void {
  if (blamesNobody(failure, dial)) {
    if (dial.own && failure.kind !== 'local' && failure.kind !== 'mistake') wonder(turn, address)
    return
  }
  // One dial tells of an endpoint once, however many ways to it were tried.
  if (!dial.causes.some((cause) => cause.address === address)) becomeFailed(turn, address, failure)
  if (failure.kind === 'identity') turn.warn(`identity ${address}`, failure.message, failure.error)
  // A failed dial does not prove the open sockets dead, so ask.
  const peer = turn.peer(address)
  if (peer !== undefined && peer.sockets > 0) wonder(turn, address)
  refreshSoon(turn, turn.now + REFRESH_PAUSE)
}

/** D5, D7: Counts an attempt that its dial waits for no longer, and gives it as a cause. */
function givenUp(turn: Turn, address: Address, after: number): Cause {
  const failure = silence(after)
  countFailedAttempt(turn, failure)
  return { address, failure }
}

function silence(after: number): Failure {
  return { kind: 'silence', message: `no connection within ${after} ms` }
}

// ---- rows

export function withAttempt(dial: Dial, attempt: Attempt): Dial {
  return { ...dial, attempts: dial.attempts.map((each) => (each.id === attempt.id ? attempt : each)) }
}

/** D7: Takes a failed attempt out of its dial, counts it, and notes when the last failed that was worth waiting for. */
function withoutAttempt(turn: Turn, dial: Dial, attempt: Attempt, failure: Failure): Dial {
  const isFutile = futileFrom(turn.state, turn.peer(attempt.address)) <= turn.now
  countFailedAttempt(turn, failure)
  return {
    ...dial,
    attempts: dial.attempts.filter((each) => each.id !== attempt.id),
    causes: [...dial.causes, { address: attempt.address, failure }],
    failedAt: isFutile && dial.failedAt !== -Infinity ? dial.failedAt : turn.now,
  }
}

/** D3, D5, D7: Puts the dial back, with the time at which it wants to be looked at. */
export function setDial(turn: Turn, dial: Dial): void {
  let wakeAt = Math.min(dial.deadline, dial.nextAt, 'until' in dial.hold ? dial.hold.until : Infinity)
  for (const attempt of dial.attempts) if (attempt.phase === 'connecting') wakeAt = Math.min(wakeAt, attempt.deadline)
  wakeAt = Math.min(wakeAt, futileAt(turn.state, dial))
  turn.set({ dials: withRow(turn.state.dials, { ...dial, wakeAt }) })
}
