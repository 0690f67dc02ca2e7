/** What becomes of connections when the identity changes that they were made with (I5). */
import { hangUp } from './asking.ts'
import { setDial, withStarted } from './dialling.ts'
import { becomeUnasked } from './peers.ts'
import { retireAll } from './retiring.ts'
import type { Dial } from './state.ts'
import { rowsOf } from './table.ts'
import type { Turn } from './turn.ts'

/** I5: Connections do not outlive the identity that made them: all are retired, and what is being made begins anew. */
export function identityChanged(turn: Turn): void {
  turn.forEachPeer((peer) => retireAll(turn, peer))
  turn.forEachPeer((peer) => {
    hangUp(turn, peer)
    if (peer.question !== undefined) becomeUnasked(turn, peer.address)
  })
  const { round } = turn.state.discovery
  // Who was being asked for the list is asked again, as whom we are now.
  if (round !== undefined) turn.setDiscovery({ round: undefined, nextAt: turn.now })
  restartAttempts(turn)
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
