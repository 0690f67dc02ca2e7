/**
 * What nobody uses costs nothing (H10): after two minutes without a dial, a refresh or a socket in use, a dialer keeps
 * no connection, asks nothing and waits for nothing, so that it can be collected although nobody closed it.
 */
import { endDeaf } from './asking.ts'
import { refreshRequested } from './discovery.ts'
import { becomeUnasked } from './peers.ts'
import type { State } from './state.ts'
import type { Turn } from './turn.ts'

/** H10: How long after its last use a dialer goes on. */
const UNUSED = 120_000

/** H10: Notes that somebody wants something. One that had gone to rest asks for the list again. */
export function used(turn: Turn): void {
  const { dormant, usedAt, discovery } = turn.state
  if (usedAt !== turn.now) turn.set({ usedAt: turn.now })
  if (!dormant) return
  turn.set({ dormant: false })
  // Where none was ever had, the dial itself asks for it (F3).
  if (discovery.status !== 'off' && discovery.status !== 'pending') refreshRequested(turn, undefined)
}

/** H10: Gives when a dialer goes to rest if nobody uses it until then. */
export function unusedAt(state: State): number {
  const isBusy = state.dials.size > 0 || state.sampleAt !== Infinity || state.discovery.waiting.length > 0
  return state.dormant || isBusy || state.usedAt === -Infinity ? Infinity : state.usedAt + UNUSED
}

/** H10: Goes to rest: ends what is asked, closes what is kept, and waits for nothing. */
export function unusedDue(turn: Turn): void {
  turn.forEachPeer((peer) => {
    endDeaf(turn, peer.address)
    const { address, question, kept } = peer
    if (question !== undefined) turn.emit({ type: 'abandon', address, question: question.id })
    if (kept !== undefined) turn.emit({ type: 'closeMonitor', address })
    turn.changePeer(address, { question: undefined, kept: undefined })
    becomeUnasked(turn, address)
  })
  turn.setDiscovery({ round: undefined, nextAt: Infinity })
  turn.set({ dormant: true, witness: undefined, probe: undefined, recovery: undefined })
}
