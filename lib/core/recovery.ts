/**
 * Who is asked although nobody holds a socket of it: the listed ones of which none is known to be within reach (F2),
 * and those that are out of service while nothing better is there (H8).
 */
import { ask, askWhatIsInDoubt } from './asking.ts'
import { isAnyReady, nextCandidate } from './candidates.ts'
import { viewFronts } from './fronts.ts'
import { isHolding } from './holding.ts'
import { currentOf, drawPatience, isAnyAnswering, isFront, isLeaving, isListed, isUseless, statusOf } from './peers.ts'
import type { Peer, State } from './state.ts'
import type { Turn } from './turn.ts'

/**
 * H8: While nobody waits, or nobody answers, the pause between two rounds of questions doubles up to this, as
 * client-go's backoff does.
 */
const PAUSE_MOST = 30_000
/** H8: Nothing is asked for who neither dialled nor used a socket for this long. */
const USED_WITHIN = 60_000

/** F2: Asks, after any event, the listed ones that were never tried, while none of the listed ones is ready. */
export function settleProbe(turn: Turn): void {
  const { probe, settings } = turn.state
  if (!isProbeWanted(turn)) return void (probe !== undefined && turn.set({ probe: undefined }))
  if (probe !== undefined && probe.nextAt > turn.now) return
  const next = nextCandidate(turn.state, [], isUntried)
  if (next === undefined) return turn.set({ probe: undefined })
  turn.set({ probe: { nextAt: turn.now + settings.attemptDelay } })
  ask(turn, next.address, 'shallow')
}

/** H8: Begins or ends, after any event, the questions to those that are out of service. */
export function settleRecovery(turn: Turn): void {
  const { recovery, settings } = turn.state
  if (!isRecoveryWanted(turn.state, turn.now) || settings.heartbeatInterval === 0) {
    if (recovery !== undefined) turn.set({ recovery: undefined })
    return
  }
  if (recovery !== undefined) return
  turn.set({ recovery: { nextAt: turn.now + drawPatience(turn), pause: settings.heartbeatInterval } })
}

/** H8: Asks those that are leaving, failed, useless, or fronts, as often as somebody waits for them. */
export function recoveryDue(turn: Turn): void {
  const { recovery } = turn.state
  if (recovery === undefined || recovery.nextAt > turn.now || !isRecoveryWanted(turn.state, turn.now)) return
  const { heartbeatInterval } = turn.state.settings
  const isAnswering = isAnyAnswering(turn.state, turn.now, recovery.pause)
  // Where nobody answers, who looks for a witness asks them all, and that is enough.
  if (isAnswering || turn.state.witness === undefined) {
    turn.forEachPeer((peer) => {
      if (isOutOfService(turn.state, peer)) askWhatIsInDoubt(turn, peer)
    })
  }
  // Who is using it now is promised to be served soon after one is back.
  const isWaitedFor = turn.now - turn.state.usedAt <= 2 * heartbeatInterval
  const current = currentOf(turn.state)
  const isServed = current !== undefined && !isPoor(current) && isStandIn(turn.state, current)
  const isUrgent = isWaitedFor && isAnswering && !isServed
  const pause = isUrgent ? heartbeatInterval : Math.min(PAUSE_MOST, 2 * recovery.pause)
  // A fleet that lost all at once must not come back at once: long pauses vary more.
  const least = pause > heartbeatInterval ? 0.5 : 0.8
  turn.set({ recovery: { nextAt: turn.now + turn.draw(least * pause, pause), pause } })
}

/** H8: Tells whether it is worth asking those that are out of service. */
function isRecoveryWanted(state: State, now: number): boolean {
  if (now - state.usedAt > USED_WITHIN || state.usedAt === -Infinity) return false
  const current = currentOf(state)
  const isBadlyServed = current !== undefined && current.sockets > 0 && (isPoor(current) || isStandIn(state, current))
  return isBadlyServed || (!isAnyReady(state) && isAnyOut(state))
}

/** F1: Tells whether it is a front that serves only while those are out that should: they are within reach. */
function isStandIn(state: State, peer: Peer): boolean {
  if (!isFront(state, peer)) return false
  const { reachable, replaced } = viewFronts(state)
  return reachable && !replaced
}

function isAnyOut(state: State): boolean {
  for (const peer of state.peers.values()) if (statusOf(peer) === 'failed' || statusOf(peer) === 'leaving') return true
  return false
}

/** H7, H9, H12: One in use that refuses, or is of no use. */
function isPoor(peer: Peer): boolean {
  return peer.voice.is === 'refusing' || isUseless(peer)
}

/** H8: Tells whether it is asked then: leaving, failed, untried, useless, or a front. */
function isOutOfService(state: State, peer: Peer): boolean {
  if (peer.listing.is === 'removed' && peer.sockets === 0 && peer.origin !== 'seed') return false
  return isLeaving(peer) || statusOf(peer) !== 'ready' || isFront(state, peer)
}

/** F2: Tells whether nobody knows if any of the listed ones is within reach, and somebody may want to. */
function isProbeWanted(turn: Turn): boolean {
  const { state } = turn
  if (state.discovery.listedAt === undefined || state.dormant || isHolding(turn)) return false
  let isAnyUntried = false
  for (const peer of state.peers.values()) {
    if (!isListed(peer)) continue
    if (statusOf(peer) === 'ready') return false
    isAnyUntried ||= isUntried(peer)
  }
  return isAnyUntried || state.probe !== undefined
}

function isUntried(peer: Peer): boolean {
  const { listing, askedAt } = peer
  return listing.is === 'listed' && listing.ready && askedAt === -Infinity && statusOf(peer) === 'unverified'
}
