/** Failover (D2): which endpoint is the current one once a dial has been served, and why the last one was left. */
import type { Address } from './endpoint.ts'
import { isDoubted, isFront, isListed, lastErrorOf, statusOf } from './peers.ts'
import type { Dial, Failure, Peer } from './state.ts'
import type { Turn } from './turn.ts'

/**
 * D2: Makes the endpoint that served the current one. A dial that began before the last change of mind, and did not
 * itself find the current one wanting, changes nothing: two dials must not undo each other's failover.
 */
export function workedAt(turn: Turn, dial: Dial, to: Address): void {
  const { state } = turn
  const isSpread = state.settings.balance === 'spread'
  const from = isSpread ? dial.tried[0] : state.current
  if (from === undefined || from === to) return void (state.current !== to && turn.set({ current: to }))
  const peer = turn.peer(from)
  const status = peer && statusOf(peer)
  const isLeft = peer !== undefined && (isDoubted(peer) || isFront(state, peer))
  if (!isSpread && status === 'ready' && !isLeft && !dial.tried.includes(from)) return
  const failure = dial.causes.find(({ address }) => address === from)?.failure
  if (status === 'ready' && failure !== undefined && blamesNobody(failure, dial)) return
  turn.report({ event: 'failover', from, to, reason: reasonToLeave(turn, dial, peer, failure, to) })
  turn.count('failovers')
  turn.set({ current: to })
}

function reasonToLeave(
  turn: Turn, dial: Dial, peer: Peer | undefined, failure: Failure | undefined, to: Address,
): string {
  const known = failure?.message ?? (peer && lastErrorOf(peer))
  if (known !== undefined) return known
  if (peer !== undefined && statusOf(peer) === 'leaving') return 'leaving'
  if (peer !== undefined && isDoubted(peer)) return 'callers gave up on it'
  const target = turn.peer(to)
  if (peer !== undefined && target !== undefined && isFront(turn.state, peer) && isListed(target)) {
    return 'a listed apiserver can be reached itself'
  }
  const since = dial.attempts.find(({ address }) => address === peer?.address)?.startedAt ?? -Infinity
  return `no connection within ${Math.round(Math.min(turn.now - since, turn.state.settings.attemptDelay))} ms`
}

/** H1: Tells whether a failure says nothing of its endpoint. */
export function blamesNobody(failure: Failure, dial: { readonly own: boolean }): boolean {
  return dial.own || failure.kind === 'local' || failure.kind === 'mistake'
}
