/**
 * Severing (H3, H9, H12, F4): which open sockets are cut, and when. None is while no other endpoint does better: a
 * control plane that is slow everywhere must not be stampeded. So where one is in doubt, a witness is looked for.
 */
import { nextCandidate } from './candidates.ts'
import type { Address } from './endpoint.ts'
import { ask, endDeaf } from './asking.ts'
import { becomeSick, becomeTested, drawPatience, isAnyAnswering, isGivenUp, lastErrorOf } from './peers.ts'
import { retire } from './retiring.ts'
import type { Depth, HandedSocket, Peer, Question, Search, State } from './state.ts'
import { rowsOf, withoutRow } from './table.ts'
import { countClosed } from './traffic.ts'
import type { Turn } from './turn.ts'

/** H9: A slow endpoint's sockets are left this long without a byte, as client-go's HTTP/2 leaves its own. */
export const SLOW_SILENCE = 30_000
/** The search for a witness rests at least this long, however short `heartbeatInterval` is, or 0; a deep one longer. */
const SEARCH_PAUSE = 1_000
const DEEP_SEARCH_PAUSE = 15_000
const SEARCH_PAUSE_MOST = 30_000

/** H3, H9, H12: Decides, after any event, about those in doubt: severs what is witnessed, and looks for a witness. */
export function settleDoubts(turn: Turn): void {
  const missing = new Set<Depth>()
  turn.forEachPeer((peer) => {
    const doubt = doubtOf(peer)
    if (doubt === undefined) return
    if (isWitnessed(turn.state, peer, doubt)) condemn(turn, peer)
    else if (peer.sockets > 0) missing.add(doubt.depth)
  })
  if (missing.size > 0 && !turn.state.dormant) searchWitness(turn, missing.has('deep') ? 'deep' : 'shallow')
  else endSearch(turn)
}

/** H3: Ends a search. One that nobody answered rests first, although a byte ended the doubt: the next is as vain. */
function endSearch(turn: Turn): void {
  const { witness, dormant } = turn.state
  if (witness === undefined) return
  const isUnderWay = witness.asked.length > 0
  const isOver = isUnderWay ? isAnyAnswering(turn.state, turn.now, 0) : witness.vain === 0 || witness.nextAt <= turn.now
  if (isOver || dormant) turn.set({ witness: undefined })
  else if (isUnderWay) restSearch(turn, witness, witness.depth)
}

/**
 * H12: Takes a strike into account. All of them count where another answered deep since the suspicion began, and before
 * this strike. Whoever is the first to come back when all had lost their etcd proves nothing of the others (condemn).
 */
export function struck(turn: Turn, address: Address): void {
  const peer = turn.peer(address)
  if (peer?.voice.is === 'hollow' && isWitnessed(turn.state, peer, { depth: 'deep', since: peer.voice.since })) {
    becomeSick(turn, address, peer.voice, peer.voice.strikes)
  }
  cutSick(turn, address)
}

/** H12, H4: Cuts what a sick endpoint owes, or has long been silent on, and closes what is idle. */
function cutSick(turn: Turn, address: Address): void {
  const peer = turn.peer(address)
  if (peer?.voice.is !== 'sick' || peer.voice.strikes < 2) return
  const { backAt, settings } = turn.state
  cut(turn, peer, 'it answers from its cache, and leaves all else unanswered', ({ idle, owedSince, heardAt }) => (
    idle || owedSince !== Infinity || turn.now - Math.max(heardAt, backAt) >= settings.heartbeatTimeout
  ))
}

/** F4, H4: Gives when the sockets are cut that are as old as a connection which went deaf. */
export function deafEnds({ backAt, settings }: State, { deaf }: Peer): number {
  return deaf === undefined ? Infinity : Math.max(deaf.until, backAt + settings.heartbeatTimeout)
}

/**
 * F4: Cuts the sockets made before a question that its own connection left unanswered, and silent since. Of an endpoint
 * that had been silent as a whole those that owe nothing have longer.
 */
export function deafDue(turn: Turn): void {
  turn.forEachPeer((peer) => {
    const { deaf, address } = peer
    if (deaf === undefined || deafEnds(turn.state, peer) > turn.now) return
    const { since, restUntil = -Infinity } = deaf
    const isRest = restUntil > turn.now
    if (isRest) turn.changePeer(address, { deaf: { ...deaf, until: restUntil } })
    else endDeaf(turn, address)
    const reason = 'it left a question on an older connection unanswered, and answers on a new one'
    cut(turn, peer, reason, ({ madeAt, heardAt, idle, owedSince }) => (
      madeAt < since && heardAt < since && (!isRest || idle || owedSince !== Infinity)
    ))
  })
}

/**
 * H3, H4, H9: Gives when the sockets of a peer are severed, which another has shown to be at fault; Infinity for never.
 */
export function silenceEnds(state: State, peer: Peer): number {
  const { voice, sockets, heardAt } = peer
  const { heartbeatTimeout } = state.settings
  if (!isGivenUp(voice) || sockets === 0 || voice.shownAt !== -Infinity) return Infinity
  return Math.max(heardAt + (voice.is === 'slow' ? SLOW_SILENCE : heartbeatTimeout), state.backAt + heartbeatTimeout)
}

/** What a witness must have answered, and since when. */
interface Doubt {
  readonly depth: Depth
  readonly since: number
}

/** H3, H12: Gives what a witness must have answered; undefined where none is needed. */
function doubtOf({ voice, question }: Peer): Doubt | undefined {
  if (voice.is === 'hollow') return { depth: 'deep', since: voice.since }
  if (isGivenUp(voice)) return { depth: 'shallow', since: voice.since }
  // It may turn out to be hollow, and then another is to have answered deep by that time. A byte says nothing of etcd.
  const isOpen = question?.missedAt !== undefined && (question.depth === 'deep' || question.after !== undefined)
  if (isOpen && voice.is !== 'sick') return { depth: 'deep', since: question.missedAt }
  return voice.is === 'suspect' ? { depth: 'shallow', since: voice.since } : undefined
}

/** H3, H12: Tells whether another endpoint has itself answered since, or did when it mattered. */
function isWitnessed(state: State, suspect: Peer, { depth, since }: Doubt): boolean {
  if (isGivenUp(suspect.voice) && suspect.voice.shownAt === -Infinity) return true
  for (const peer of state.peers.values()) {
    if (peer.address === suspect.address) continue
    if ((depth === 'deep' ? peer.answeredDeepAt : peer.answeredAt) >= since) return true
  }
  return false
}

/**
 * H3: Tells whether another answered while this one was missed. Who comes back first when all were missing proves
 * nothing of the others: they are asked once more (condemn).
 */
export function isOwnFault(state: State, address: Address, { missedAt }: Question): boolean {
  const peer = state.peers.get(address)
  if (peer?.voice.is !== 'suspect') return false
  return isWitnessed(state, peer, { depth: 'shallow', since: missedAt ?? peer.voice.since })
}

/** H3, H9, H12: What is witnessed has its consequences. */
function condemn(turn: Turn, peer: Peer): void {
  const { voice, address } = peer
  // What answered only after the last strike makes dials go elsewhere; it has to be at fault once more to be cut.
  if (voice.is === 'hollow') return becomeSick(turn, address, voice, 1)
  if (peer.sockets === 0 || !isGivenUp(voice)) return
  if (voice.shownAt === Infinity) {
    becomeTested(turn, address, voice)
    return ask(turn, address, 'shallow')
  }
  if (voice.shownAt !== -Infinity) return
  const error = lastErrorOf(peer)
  const reason = voice.is === 'silent'
    ? `it left two heartbeats in a row unanswered (${error})`
    : `it has sent nothing for ${Math.round((turn.now - peer.heardAt) / 1_000)} s (${error})`
  const isDue = silenceEnds(turn.state, peer) <= turn.now
  sever(turn, peer, ({ idle }) => (isDue || (idle && voice.is === 'silent') ? reason : undefined))
}

/** F4, H12: Severs those of its sockets that are dead and in use, and closes those that are idle. */
function cut(turn: Turn, peer: Peer, reason: string, isDead: (socket: HandedSocket) => boolean): void {
  for (const socket of rowsOf(turn.state.sockets)) {
    if (socket.address === peer.address && socket.idle && !socket.retired && isDead(socket)) retire(turn, socket)
  }
  sever(turn, peer, (socket) => (!socket.idle && isDead(socket) ? reason : undefined))
}

/** Severs the sockets for which there is a reason. */
function sever(turn: Turn, peer: Peer, reasonFor: (socket: HandedSocket) => string | undefined): void {
  let { sockets } = turn.state
  const severed: HandedSocket[] = []
  for (const socket of rowsOf(turn.state.sockets)) {
    const reason = socket.address === peer.address ? reasonFor(socket) : undefined
    if (reason === undefined) continue
    turn.emit({ type: 'sever', socket: socket.id, address: peer.address, reason })
    sockets = withoutRow(sockets, socket.id)
    severed.push(socket)
  }
  if (severed.length === 0) return
  turn.count('severed', severed.length)
  turn.set({ sockets, ...(sockets.size === 0 ? { sampleAt: Infinity } : {}) })
  countClosed(turn, peer.address, severed)
}

/**
 * H3: Looks for a witness. The others are asked as a dial would try them: the next after `attemptDelay`, all again
 * after a heartbeat's interval.
 */
function searchWitness(turn: Turn, depth: Depth): void {
  for (;;) {
    const { state } = turn
    // Who was asked less than is wanted now is asked again.
    const isEnough = state.witness !== undefined && (depth === 'shallow' || state.witness.depth === 'deep')
    const vain = state.witness?.vain ?? 0
    const search = isEnough && state.witness ? state.witness : { depth, asked: [], nextAt: turn.now, vain }
    const last = search.asked.at(-1)
    const isInVain = last !== undefined && state.peers.get(last)?.question?.misses !== 0
    if (search.nextAt > turn.now && !isInVain) return
    // Those in doubt and in use are asked anyhow.
    const inDoubt = [...state.peers.values()].filter((peer) => peer.sockets > 0 && doubtOf(peer) !== undefined)
    const candidate = nextCandidate(state, [...search.asked, ...inDoubt.map(({ address }) => address)])
    if (candidate === undefined) return search.nextAt > turn.now ? undefined : restSearch(turn, search, depth)
    const nextAt = turn.now + state.settings.attemptDelay
    // One that is being asked less than is wanted is asked when that is over.
    if (depth === 'deep' && candidate.question?.depth === 'shallow') {
      if (search.nextAt <= turn.now) turn.set({ witness: { ...search, nextAt } })
      return
    }
    turn.set({ witness: { ...search, asked: [...search.asked, candidate.address], nextAt } })
    ask(turn, candidate.address, depth)
  }
}

/** H3, H12: Rests until all are asked again: twice as long each time, up to a bound, while nobody answers anything. */
function restSearch(turn: Turn, { vain }: Search, depth: Depth): void {
  const pause = Math.max(drawPatience(turn), depth === 'deep' ? DEEP_SEARCH_PAUSE : SEARCH_PAUSE)
  const isVain = !isAnyAnswering(turn.state, turn.now, vain === 0 ? 0 : SEARCH_PAUSE_MOST)
  const rest = Math.max(pause, Math.min(SEARCH_PAUSE_MOST, pause * 2 ** (isVain ? vain + 1 : 0)))
  turn.set({ witness: { depth, asked: [], nextAt: turn.now + rest, vain: isVain ? vain + 1 : 0 } })
}
