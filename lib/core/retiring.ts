/**
 * Retiring (H5, H11, F1, ages): which sockets are told to close as soon as they are idle. None in use is touched here.
 */
import { beganAt, OWED_AFTER } from './asking.ts'
import { isAnyReady, restedAt } from './candidates.ts'
import { viewFronts } from './fronts.ts'
import {
  becomeDoubted, isAsGoodAsAny, isDoubted, isFront, isLeaving, isListed, mayBeFront, patienceFor,
} from './peers.ts'
import type { HandedSocket, Peer, State } from './state.ts'
import { dueRows, rowsOf, withRow } from './table.ts'
import type { Turn } from './turn.ts'

/** F1: What is younger is not made anew. */
const MADE_JUST_NOW = 1_000
/** H11: One endpoint in so long: where all are slow, connections are not made anew again and again. */
const HESITATES_AGAIN = 5_000
/** H11: How long a question may go unanswered, in attempt delays, and in times the least that an answer has taken. */
const WHERE_CONNECTED = { delays: 0.5, times: 2 }
/** The same where it waits for a connection of its own. */
const WHERE_NOT = { delays: 1, times: 3 }

/**
 * H5, F1: Retires, after any event, the sockets of an endpoint that is leaving while another is ready, and those of a
 * front whose place a listed one has taken.
 */
export function settleLeaving(turn: Turn): void {
  turn.forEachPeer((peer) => {
    if (peer.retired) return
    if (isLeaving(peer) ? isAnyReady(turn.state) : isFront(turn.state, peer) && viewFronts(turn.state).replaced) {
      retireAll(turn, peer)
    }
  })
}

/** H5: Tells every socket of an endpoint to close when idle. */
export function retireAll(turn: Turn, { address }: Peer): void {
  for (const socket of rowsOf(turn.state.sockets)) {
    if (socket.address === address && !socket.retired) retire(turn, socket)
  }
  turn.changePeer(address, { retired: true })
}

/**
 * F1, H7: A caller read 429 or 5xx on a connection to what may be a front: it leads to an apiserver that refuses,
 * perhaps, and the next one to another. One that was made just now is left: what fails everywhere costs a handshake a
 * second.
 */
export function retireRefused(turn: Turn, socket: HandedSocket): void {
  const peer = turn.peer(socket.address)
  if (peer === undefined || socket.retired || turn.now - socket.madeAt < MADE_JUST_NOW) return
  if (mayBeFront(turn.state, peer)) retire(turn, socket)
}

/** H11: Gives when an endpoint in use hesitates: it is doubted, or surely owes an answer, and leaves ours out, too. */
export function hesitatesAt(state: State, peer: Peer): number {
  const { question, voice, sockets, retired, heardAt, surelyOwedSince, quickestMs } = peer
  const { settings, backAt, hesitatedAt } = state
  if (question === undefined || sockets === 0 || retired || heardAt >= question.sentAt) return Infinity
  // H9: An overloaded one answers those at least that still go to it, and so is known to live.
  if (voice.is !== 'well' && voice.is !== 'doubted' && voice.is !== 'suspect') return Infinity
  const owedAt = isDoubted(peer) ? -Infinity : surelyOwedSince + OWED_AFTER
  if (owedAt === Infinity) return Infinity
  const isAnother = [...state.peers.values()].some((other) => other.address !== peer.address && isAsGoodAsAny(other))
  if (!isAnother) return Infinity
  const { delays, times } = question.connectedAt === undefined ? WHERE_NOT : WHERE_CONNECTED
  const patience = patienceFor(settings, delays * settings.attemptDelay, times * quickestMs)
  return Math.max(owedAt, Math.max(beganAt(question), backAt) + patience, hesitatedAt + HESITATES_AGAIN)
}

/** H11: Doubts those that hesitate. */
export function hesitationsDue(turn: Turn): void {
  turn.forEachPeer((peer) => hesitated(turn, peer))
}

/**
 * H11: Doubts an endpoint that hesitates, or did until now, and closes its idle sockets: who takes one of them for a
 * request would wait as long as those that already do.
 */
export function hesitated(turn: Turn, peer: Peer): void {
  if (hesitatesAt(turn.state, peer) > turn.now) return
  becomeDoubted(turn, peer.address)
  retireAll(turn, peer)
  turn.changePeer(peer.address, ({ question }) => question && { question: { ...question, hesitated: true } })
  turn.set({ hesitatedAt: turn.now })
}

/** H5: Retires the sockets that have come of age (`maxConnectionAge`). */
export function agesDue(turn: Turn): void {
  for (const socket of dueRows(turn.state.sockets, turn.now)) retire(turn, socket)
}

/**
 * R1: For `spread`, retires the sockets made before there was a choice. All of a fleet that was given the same seed
 * would otherwise stay on it.
 */
export function retireUnchosen(turn: Turn): void {
  for (const socket of rowsOf(turn.state.sockets)) if (!socket.retired) retire(turn, socket)
}

/**
 * H5: For `spread` with a `maxConnectionAge`: an endpoint that joins has no connections yet. From when it may be
 * chosen, each of those that the others have is left a part of half its time, so that load is even well within one age,
 * and not only in the course of a second one where connections must wait until they are idle.
 */
export function hurryAges(turn: Turn, before: State): void {
  const newcomers = newcomersOf(before, turn.state)
  if (turn.state.settings.balance !== 'spread' || newcomers.length === 0) return
  const from = Math.max(turn.now, Math.min(...newcomers.map(restedAt)))
  for (const socket of rowsOf(turn.state.sockets)) {
    if (socket.wakeAt === Infinity || socket.wakeAt <= from) continue
    const wakeAt = turn.draw(from, (from + socket.wakeAt) / 2)
    turn.set({ sockets: withRow(turn.state.sockets, { ...socket, wakeAt }) })
  }
}

/** Those that have joined. Nobody on a first list has: they were there before. */
function newcomersOf(before: State, after: State): Peer[] {
  if (before.discovery.listedAt === undefined) return []
  return [...after.peers.values()].filter((peer) => isOffered(peer) && !isOffered(before.peers.get(peer.address)))
}

function isOffered(peer: Peer | undefined): boolean {
  return isListed(peer) && peer?.listing.is === 'listed' && peer.listing.ready
}

/** Tells one socket to close when idle. */
export function retire(turn: Turn, socket: HandedSocket): void {
  turn.emit({ type: 'retire', socket: socket.id })
  turn.set({ sockets: withRow(turn.state.sockets, { ...socket, retired: true, wakeAt: Infinity }) })
}
