/**
 * What a dial holds back (F3). The first connections of a process are those that stay: an informer's watches live for
 * as long as their connection. So before the first list is known, a connection is asked for the list before it is
 * handed over, and where it turns out to be a front's, the listed apiservers are dialled beside it for `attemptDelay`.
 *
 * The phases of a dial's hold:   wanted --connected--> list --it is a front's--> listed --> over
 * (it is over from the start where a list is known, or none can be had; a connection that is lost makes it wanted
 * again)
 */
import { nextCandidate } from './candidates.ts'
import { countFailedAttempt } from './counting.ts'
import {
  connected, deliver, releaseAttempt, setDial, startNext, withAttempt, withStarted,
} from './dialling.ts'
import { beginRound } from './discovery.ts'
import type { Address } from './endpoint.ts'
import { ask, askOn } from './asking.ts'
import { isListed, patienceFor } from './peers.ts'
import type { Attempt, Dial, Failure, Hold, Id, Peer } from './state.ts'
import { rowOf, rowsOf } from './table.ts'
import type { Turn } from './turn.ts'

const OVER: Hold = { is: 'over' }

/** D4, F3: Takes a verified connection: it wins its dial at once, or is held back until it is known who is listed. */
export function attemptConnected(turn: Turn, id: Id, attemptId: Id, isPrivate: boolean | undefined): void {
  const dial = rowOf(turn.state.dials, id)
  const attempt = dial?.attempts.find((each) => each.id === attemptId)
  // It lost, and its success crossed our order to destroy it.
  if (dial === undefined || attempt === undefined) return turn.emit({ type: 'destroy', dial: id, attempt: attemptId })
  connected(turn, dial, attempt)
  const held: Attempt = { ...attempt, phase: 'held', isPrivate }
  if (dial.hold.is === 'over') return deliver(turn, dial, held)
  if (dial.hold.is !== 'wanted') return holdBack(turn, withAttempt(dial, held), held)
  // Never so long that nothing else could be done.
  const patience = Math.min(patienceWith(turn, attempt), (dial.deadline - turn.now) / 2)
  const hold: Hold = { is: 'list', until: turn.now + patience }
  holdBack(turn, { ...withAttempt(dial, held), hold, nextAt: Infinity }, held)
}

/**
 * F3: Gives how long a connection is held back for what comes next: for `attemptDelay`, or, on a way or a machine that
 * is slow, for twice as long as it has taken itself; never for more than four times `attemptDelay`.
 */
function patienceWith({ state: { settings }, now }: Turn, { startedAt }: Attempt): number {
  return patienceFor(settings, settings.attemptDelay, 2 * (now - startedAt))
}

/** F3: Decides, after any event, about the connections that are held back. */
export function settleHeld(turn: Turn): void {
  for (const dial of rowsOf(turn.state.dials)) {
    if (dial.hold.is !== 'list' && dial.hold.is !== 'listed') continue
    const answered = withAnswered(turn, dial)
    if (answered !== dial) setDial(turn, answered)
    if (dial.hold.is === 'list') awaitList(turn, answered, dial.hold.until)
    else awaitListed(turn, answered, dial.hold.until)
  }
}

/**
 * F3: The question on an attempt's connection came to nothing, and the connection with it. Beside a front's it is no
 * better than none; where it is all that there is, another is made, and nothing is asked on that.
 */
export function questionLost(turn: Turn, attemptId: Id, failure: Failure): void {
  for (const dial of rowsOf(turn.state.dials)) {
    const attempt = dial.attempts.find(({ id, phase }) => id === attemptId && phase === 'asking')
    if (attempt === undefined) continue
    turn.emit({ type: 'destroy', dial: dial.id, attempt: attempt.id })
    countFailedAttempt(turn, failure)
    const rest: Dial = { ...dial, attempts: dial.attempts.filter((each) => each !== attempt) }
    const isAlone = dial.hold.is === 'list' && rest.attempts.every(({ phase }) => phase === 'connecting')
    if (isAlone) return setDial(turn, withStarted(turn, { ...rest, hold: OVER }, attempt))
    const causes = [...dial.causes, { address: attempt.address, failure }]
    return setDial(turn, { ...rest, causes, nextAt: dial.hold.is === 'listed' ? turn.now : Infinity })
  }
}

/** F3: Tells whether any dial holds a connection back. */
export function isHolding(turn: Turn): boolean {
  for (const { hold } of rowsOf(turn.state.dials)) if (hold.is === 'list' || hold.is === 'listed') return true
  return false
}

/** F3: Tells whether a dial holds back a connection to this endpoint. */
export function isHeldAt(turn: Turn, address: Address): boolean {
  for (const { attempts } of rowsOf(turn.state.dials)) {
    if (attempts.some((attempt) => attempt.address === address && attempt.phase !== 'connecting')) return true
  }
  return false
}

/** F3: Asks for the list, or whether this one gives it, too: on the connection that is there, if that can carry it. */
function holdBack(turn: Turn, dial: Dial, held: Attempt): void {
  const { listedAt, round } = turn.state.discovery
  const peer = turn.peer(held.address)
  const isFirst = listedAt === undefined && round === undefined
  if (peer === undefined || peer.answer === 200 || (listedAt === undefined && !isFirst)) return setDial(turn, dial)
  if (isFirst) beginRound(turn, peer.address)
  if (peer.question !== undefined) return setDial(turn, dial)
  setDial(turn, dial.plain ? withAttempt(dial, { ...held, phase: 'asking', asked: true }) : dial)
  if (dial.plain) askOn(turn, peer.address, held.id)
  else ask(turn, peer.address, 'shallow')
}

/** F3: Waits for the list, and delivers what is listed, or what is all that there is. */
function awaitList(turn: Turn, dial: Dial, until: number): void {
  const { listedAt, status } = turn.state.discovery
  const held = dial.attempts.filter(({ phase }) => phase === 'held')
  if (held.length === 0 && !dial.attempts.some(({ phase }) => phase === 'asking')) {
    return startNext(turn, { ...dial, hold: { is: 'wanted' } })
  }
  if (held.length === 0 || (listedAt === undefined && status === 'pending')) {
    return until <= turn.now ? expire(turn, dial) : undefined
  }
  const first = held.find((attempt) => !isSpent(turn, attempt))
  if (first === undefined) return startOver(turn, dial, held)
  const listed = held.find(({ address }) => isListed(turn.peer(address)))
  const next = nextListed(turn, dial)
  // Private addresses can hardly be reached from where a public one was dialled.
  const isOutOfReach = turn.state.discovery.isPrivate && first.isPrivate === false
  if (listed !== undefined || listedAt === undefined || next === undefined || isOutOfReach) {
    return deliver(turn, dial, listed ?? first)
  }
  const patience = patienceWith(turn, first)
  const hold: Hold = { is: 'listed', until: turn.now + patience }
  // Where the first of them is the one that hangs, there is time for another.
  setDial(turn, { ...withStarted(turn, { ...dial, hold }, next), nextAt: turn.now + patience / 2 })
}

/** F1, F3: Waits for a listed one that answers as the front did; the front's own is good after `attemptDelay`. */
function awaitListed(turn: Turn, given: Dial, until: number): void {
  let dial = given
  const isHeld = (attempt: Attempt): boolean => attempt.phase === 'held'
  const isOfListed = ({ address }: Attempt): boolean => isListed(turn.peer(address))
  const front = dial.attempts.find((each) => isHeld(each) && !isOfListed(each))
  if (front === undefined) return awaitAnyListed(turn, dial, until)
  for (const attempt of dial.attempts.filter((each) => isHeld(each) && isOfListed(each))) {
    const peer = turn.peer(attempt.address)
    if (peer?.answer === 200) return deliver(turn, dial, attempt)
    if (peer?.answer === undefined || peer.question !== undefined) continue
    // It answers otherwise than the front: no better than none.
    releaseAttempt(turn, dial, attempt)
    dial = { ...dial, attempts: dial.attempts.filter((each) => each !== attempt), nextAt: turn.now }
  }
  const isAlone = !dial.attempts.some(isOfListed) && nextListed(turn, dial) === undefined
  if (until <= turn.now || isAlone) return deliver(turn, dial, front)
  if (dial.nextAt <= turn.now) startListed(turn, dial)
}

/** F3: The front's connection was lost: a listed one that is there will do, whatever it answers. */
function awaitAnyListed(turn: Turn, dial: Dial, until: number): void {
  const held = dial.attempts.find(({ phase }) => phase === 'held')
  if (held !== undefined) return deliver(turn, dial, held)
  if (!dial.attempts.some(({ phase }) => phase === 'asking')) return startNext(turn, { ...dial, hold: OVER })
  if (until <= turn.now) return expire(turn, dial)
  if (dial.nextAt <= turn.now) startListed(turn, dial)
}

/** D3: Starts the next of the listed ones beside a front's connection. */
function startListed(turn: Turn, dial: Dial): void {
  const next = nextListed(turn, dial)
  setDial(turn, next === undefined ? { ...dial, nextAt: Infinity } : withStarted(turn, dial, next))
}

/** F3: No list came in time: a connection with the question on it cannot be handed over, so that another is made. */
function expire(turn: Turn, dial: Dial): void {
  const held = dial.attempts.find((attempt) => attempt.phase === 'held' && !isSpent(turn, attempt))
  if (held !== undefined) return deliver(turn, dial, held)
  startOver(turn, dial, dial.attempts.filter(({ phase }) => phase !== 'connecting'))
}

/** F3: Makes new connections in the place of these, and holds none of them back. */
function startOver(turn: Turn, dial: Dial, attempts: readonly Attempt[]): void {
  let next: Dial = { ...dial, hold: OVER, attempts: dial.attempts.filter((attempt) => !attempts.includes(attempt)) }
  for (const attempt of attempts) {
    releaseAttempt(turn, dial, attempt)
    next = withStarted(turn, next, attempt)
  }
  setDial(turn, next)
}

/** What apiservers answer to the question for the list, granted or not. */
const USUAL: ReadonlySet<number> = new Set([401, 403, 404, 410])

/**
 * F3: Tells whether a connection carried an answer that apiservers do not give: a 200 without a list, a redirect, a
 * 5xx. Who answers like that may close it next, so that another is made.
 */
function isSpent({ state }: Turn, { asked, address }: Attempt): boolean {
  const answer = state.peers.get(address)?.answer
  return asked && state.discovery.listedAt === undefined && answer !== undefined && !USUAL.has(answer)
}

/** Those whose question has been answered are held by nothing but the decision. */
function withAnswered(turn: Turn, dial: Dial): Dial {
  return dial.attempts.reduce((next, attempt) => {
    const isOver = attempt.phase === 'asking' && turn.peer(attempt.address)?.question?.attempt !== attempt.id
    return isOver ? withAttempt(next, { ...attempt, phase: 'held' }) : next
  }, dial)
}

function nextListed(turn: Turn, dial: Dial): Peer | undefined {
  return nextCandidate(turn.state, dial.tried, (peer) => peer.listing.is === 'listed' && peer.listing.ready)
}
