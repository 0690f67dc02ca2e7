/**
 * The heartbeat (H2): what an answer, or its absence, says of an endpoint. Who is asked when is in asking.ts, what its
 * list means in discovery.ts, what becomes of its sockets in severing.ts.
 */
import { askAgain, beganAt, endDeaf, release, replaced, send } from './asking.ts'
import type { Asking } from './asking.ts'
import { answered, refreshSoon, roundMissed } from './discovery.ts'
import type { Address } from './endpoint.ts'
import {
  becomeAlive, becomeDoubted, becomeFailed, becomeHeard, becomeHollow, becomeReady, becomeRefusing, becomeShown,
  becomeSilent, becomeSlow, becomeSuspect, becomeUndoubted, becomeWell, drawPatience, isFront, measured, statusOf,
} from './peers.ts'
import { isHeldAt, questionLost } from './holding.ts'
import { hesitated } from './retiring.ts'
import { SLOW_SILENCE, isOwnFault, struck } from './severing.ts'
import type { Deaf, Event, Failure, Id, Peer, Question } from './state.ts'
import { forgetOwed } from './traffic.ts'
import { LATE } from './turn.ts'
import type { Turn } from './turn.ts'

/** H12: In heartbeat timeouts: an answer from the cache that takes longer tells of load, not of etcd. */
const QUICK = 0.5

// ---- answers

/** H2: The connection is there: from now on the answer has `heartbeatTimeout`. */
export function questionConnected(turn: Turn, address: Address, id: Id): void {
  const peer = turn.peer(address)
  const { heartbeatTimeout } = turn.state.settings
  if (peer?.question?.id !== id || peer.question.connectedAt !== undefined) return
  const question = { ...peer.question, connectedAt: turn.now, deadline: turn.now + heartbeatTimeout }
  const took = measured(peer, turn.now - question.sentAt)
  if (question.on === 'full') return turn.setPeer({ ...peer, ...took, question })
  const kept = { since: turn.now, usedAt: turn.now }
  turn.setPeer({ ...peer, ...took, question, kept, deaf: replaced(peer.deaf) })
}

/** H2: Takes an answer: the endpoint lives, and what the answer says of it is judged by the question. */
export function questionAnswered(turn: Turn, event: Event & { type: 'questionAnswered' }): void {
  const { address, status, authorized } = event
  const peer = turn.peer(address)
  const question = peer?.question
  if (peer?.deaf !== undefined && peer.deaf.question === event.question) return deafAnswered(turn, peer, peer.deaf)
  if (peer === undefined || question?.id !== event.question) return
  hesitated(turn, peer)
  const isTooLate = turn.peer(address)?.question?.hesitated === true
  proven(turn, peer, question, authorized ? status : peer.answer)
  const isBad = status === 429 || status >= 500
  // 429 tells of load, in which the cache has no share.
  if (status >= 500 && question.depth === 'deep') {
    becomeHeard(turn, address)
    return askAgain(turn, address, question, { depth: 'shallow', after: question.on === 'full' ? 'full' : 'answer' })
  }
  judge(turn, address, question, status, isBad)
  answered(turn, address, question, event)
  release(turn, address, question.id)
  // H11: It is asked again soon, unless there are no heartbeats: then nothing would end the doubt.
  if (isTooLate && turn.state.settings.heartbeatInterval > 0) becomeDoubted(turn, address)
}

/** H1, H2: Any HTTP answer proves the endpoint alive; on a connection that was made since it failed, verified, too. */
function proven(turn: Turn, peer: Peer, question: Question, answer: number | undefined): void {
  const { address, standing } = peer
  const { now } = turn
  const isProof = question.on !== 'kept' || standing.is !== 'failed' ||
    (peer.kept !== undefined && peer.kept.since >= standing.at)
  turn.changePeer(address, {
    answer,
    heardAt: now,
    answeredAt: now,
    quickestMs: Math.min(peer.quickestMs, now - beganAt(question)),
    patience: drawPatience(turn),
    kept: question.on === 'full' || question.attempt !== undefined
      ? peer.kept
      : { since: peer.kept?.since ?? question.connectedAt ?? now, usedAt: now },
  })
  if (question.on !== 'full') forgetOwed(turn, address)
  if (isProof) {
    becomeReady(turn, address)
    turn.unwarn(`identity ${address}`)
  }
  expectDeaf(turn, address, question)
}

/** H7, H9, H12: Judges an endpoint by an answer, and by what was asked. */
function judge(turn: Turn, address: Address, question: Question, status: number, isBad: boolean): void {
  if (isBad) return becomeRefusing(turn, address, status)
  const voice = turn.peer(address)?.voice
  if (question.depth === 'deep') {
    turn.changePeer(address, { answeredDeepAt: turn.now })
    const isUnproven = (voice?.is === 'hollow' || voice?.is === 'sick') && voice.full && question.on !== 'full'
    return isUnproven ? undefined : becomeWell(turn, address)
  }
  if (question.after === undefined) {
    return voice?.is === 'hollow' || voice?.is === 'sick' ? undefined : becomeWell(turn, address)
  }
  const took = turn.now - beganAt(question)
  if (question.after === 'silence' && took > QUICK * turn.state.settings.heartbeatTimeout) {
    const message = `it took ${Math.round(took)} ms to answer from its cache`
    return becomeSlow(turn, address, { kind: 'late', message }, isOwnFault(turn.state, address, question))
  }
  const strikes = question.after === 'silence' ? 2 : 1
  becomeHollow(turn, address, question.missedAt ?? turn.now, strikes, question.after === 'full')
  struck(turn, address)
}

/** F4: Its kept connection left a question unanswered, which is listened to beside the next, or none could be made. */
function becomeDeaf(turn: Turn, peer: Peer, { id, sentAt, connectedAt }: Question): void {
  endDeaf(turn, peer.address)
  const question = connectedAt === undefined ? undefined : id
  turn.changePeer(peer.address, { deaf: { question, since: sentAt, until: Infinity } })
}

/**
 * F4: A fresh connection was answered and the kept one was not: that one has `heartbeatTimeout` more. What is as old,
 * and silent, is as dead. One apiserver is reached by one way, so that there all count that are older than the fresh
 * connection; behind a front each has its own, and one that spoke after the question is not as dead.
 */
function expectDeaf(turn: Turn, address: Address, { on, after, connectedAt }: Question): void {
  const peer = turn.peer(address)
  if (peer === undefined || on === 'full') return
  const { voice, kept } = peer
  const { heartbeatTimeout } = turn.state.settings
  if (voice.is === 'silent' && kept !== undefined && kept.since >= voice.since) {
    // Nothing at all came from it for a while, as from all of them perhaps. What owes nothing may well be alive: a
    // fleet that came back in step would be the next fault.
    endDeaf(turn, address)
    const restUntil = turn.now + turn.draw(heartbeatTimeout, SLOW_SILENCE)
    const deaf = { question: undefined, since: kept.since, until: turn.now + heartbeatTimeout, restUntil }
    return peer.sockets > 0 ? turn.changePeer(address, { deaf }) : undefined
  }
  if (peer.deaf === undefined || peer.deaf.until !== Infinity) return
  // What only goes unanswered because it was deep says nothing of its connection.
  if (after !== undefined) return endDeaf(turn, address)
  const since = isFront(turn.state, peer) ? peer.deaf.since : (connectedAt ?? turn.now)
  turn.setPeer({ ...peer, deaf: { ...peer.deaf, since, until: turn.now + heartbeatTimeout } })
}

/** F4: The old connection was not deaf, but slow. It is kept on, unless another has taken its place. */
function deafAnswered(turn: Turn, { address, kept }: Peer, deaf: Deaf): void {
  const isReplaced = deaf.replaced === true || kept !== undefined
  turn.changePeer(address, { deaf: undefined, kept: isReplaced ? kept : { since: deaf.since, usedAt: turn.now } })
  becomeHeard(turn, address)
}

// ---- misses

/** H2: Takes the failure of a question. */
export function questionFailed(turn: Turn, address: Address, id: Id, failure: Failure): void {
  const peer = turn.peer(address)
  if (peer?.deaf?.question === id) return void turn.changePeer(address, { deaf: undefined })
  if (peer?.question?.id === id) missed(turn, peer, peer.question, failure)
}

/** H2, H4: Handles the questions that were not answered in time. */
export function questionsDue(turn: Turn): void {
  turn.forEachPeer((peer) => {
    const { question } = peer
    if (question === undefined || question.deadline > turn.now) return
    const { heartbeatTimeout } = turn.state.settings
    if (turn.now - question.deadline > LATE) {
      return turn.setPeer({ ...peer, question: { ...question, deadline: turn.now + heartbeatTimeout } })
    }
    const waited = Math.round(question.deadline - beganAt(question))
    const what = question.connectedAt === undefined ? 'no connection' : 'no answer'
    const isKept = question.on === 'kept' && question.misses === 0
    const isListenedTo = isKept && question.connectedAt !== undefined
    if (!isListenedTo) turn.emit({ type: 'abandon', address: peer.address, question: question.id })
    if (isListenedTo || (isKept && peer.sockets > 0)) becomeDeaf(turn, peer, question)
    const kind = question.connectedAt === undefined ? 'silence' : 'late'
    missed(turn, peer, question, { kind, message: `${what} within ${waited} ms` })
  })
}

/** H2, H12: Asks again on another connection, or gives the verdict. */
function missed(turn: Turn, peer: Peer, question: Question, failure: Failure): void {
  const { address } = peer
  turn.count('heartbeatsFailed')
  // The connection that it was on is kept no longer. One that was there before is, where a fresh one was not made.
  const hadKept = question.connectedAt !== undefined && question.on !== 'full' && question.attempt === undefined
  if (hadKept) turn.changePeer(address, { kept: undefined })
  if (question.attempt !== undefined) questionLost(turn, question.attempt, failure)
  if (failure.kind === 'local' || failure.kind === 'mistake') {
    release(turn, address, question.id)
    // One that may be deaf is listened to until another connection has been answered (F4), unless this question's had
    // taken its place: an answer there would find nothing to be kept.
    if (hadKept || peer.sockets === 0) endDeaf(turn, address)
    becomeUndoubted(turn, address)
    return roundMissed(turn, address, failure)
  }
  if (failure.kind !== 'identity') becomeSuspect(turn, address)
  if (isSilence(failure)) becomeShown(turn, address, question.sentAt)
  const isUsed = peer.sockets > 0 || isHeldAt(turn, address)
  const next = nextTry(isUsed, question, failure)
  if (next === undefined) verdict(turn, peer, question, failure)
  else {
    const missedAt = question.missedAt ?? turn.now
    send(turn, address, { ...question, ...next, missedAt, silent: question.silent && isSilence(failure) })
  }
  roundMissed(turn, address, failure)
}

/** H2, H12: Gives what is asked after a miss; undefined where nothing is left to be asked. */
function nextTry(isUsed: boolean, question: Question, failure: Failure): Partial<Asking> | undefined {
  const { misses, depth, on, connectedAt } = question
  // A refusal, or a reset, says nothing of full packets: a graceful end closes its listener first (H3).
  if (on === 'full') return isSilence(failure) ? { misses: 0, depth: 'shallow', on: 'kept', after: 'full' } : undefined
  if (misses === 0) {
    // Where no connection could be made, and nobody depends on it, a second try would tell nothing new.
    const isTelling = connectedAt !== undefined || failure.kind !== 'silence' || isUsed
    return isTelling ? { misses: 1, on: 'fresh', after: undefined } : undefined
  }
  const isLateDeep = misses === 1 && depth === 'deep' && failure.kind === 'late'
  return isLateDeep ? { misses: 2, depth: 'shallow', after: 'silence' } : undefined
}

/** H3: Tells whether the host was not heard at all, or not in time. */
function isSilence({ kind }: Failure): boolean {
  return kind === 'silence' || kind === 'late' || kind === 'unreachable'
}

/** H1, H3, H9: Says what an endpoint is that left its questions unanswered. */
function verdict(turn: Turn, peer: Peer, question: Question, failure: Failure): void {
  const { address, sockets } = peer
  release(turn, address, question.id)
  endDeaf(turn, address)
  const isSlow = failure.kind === 'late' || (question.misses === 2 && isSilence(failure))
  const isOwn = isOwnFault(turn.state, address, question)
  if (isSlow) becomeSlow(turn, address, failure, isOwn)
  else {
    if (isSilence(failure) && question.silent) becomeSilent(turn, address, isOwn)
    else becomeAlive(turn, address)
    becomeFailed(turn, address, failure)
    if (failure.kind === 'identity') turn.warn(`identity ${address}`, failure.message, failure.error)
  }
  // R1: Only when it falls: one that goes on failing would otherwise have the list asked for every second.
  if (sockets > 0 && statusOf(peer) !== 'failed') refreshSoon(turn, turn.now)
}
