/** What becomes of connections when the identity changes that they were made with (I5). */
import { hangUp, send } from './asking.ts'
import { setDial, withStarted } from './dialling.ts'
import { becomeUnasked } from './peers.ts'
import { retireAll } from './retiring.ts'
import type { Dial, Peer } from './state.ts'
import { rowsOf } from './table.ts'
import type { Turn } from './turn.ts'

/** I5: Connections do not outlive the identity that made them: all are retired, and what is being made begins anew. */
export function identityChanged(turn: Turn): void {
  turn.forEachPeer((peer) => retireAll(turn, peer))
  turn.forEachPeer((peer) => restartQuestion(turn, peer))
  const { round } = turn.state.discovery
  // Who was being asked for the list is asked again, as whom we are now.
  if (round !== undefined) turn.setDiscovery({ round: undefined, nextAt: turn.now })
  restartAttempts(turn)
}

/**
 * I5: Asks an endpoint in use again, as whom we are now, what it was being asked: credentials that change must not hide
 * that it is dead. What its old connection left unanswered counts (F4), and can be answered there no more.
 */
function restartQuestion(turn: Turn, peer: Peer): void {
  const { address, question, deaf, sockets } = peer
  const { via } = turn.state.discovery
  hangUp(turn, peer)
  const isAskedAgain = question !== undefined && question.attempt === undefined && sockets > 0
  if (deaf !== undefined && (isAskedAgain || deaf.until !== Infinity)) {
    turn.changePeer(address, { deaf: { ...deaf, question: undefined, replaced: true } })
  }
  if (isAskedAgain) send(turn, address, { ...question, via, reauthorized: false, otherStatus: undefined })
  else if (question !== undefined) becomeUnasked(turn, address)
}

/** I5: Begins every attempt anew: what it made so far was made with credentials that are no longer ours. */
function restartAttempts(turn: Turn): void {
  for (const dial of rowsOf(turn.state.dials)) {
    let restarted: Dial = { ...dial, attempts: [], hold: dial.hold.is === 'over' ? dial.hold : { is: 'wanted' } }
    for (const attempt of dial.attempts) {
      turn.emit({ type: 'destroy', dial: dial.id, attempt: attempt.id })
      restarted = withStarted(turn, restarted, attempt)
    }
    setDial(turn, restarted)
  }
}
