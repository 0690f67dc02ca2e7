/**
 * Racing: when a dial starts its next candidate beside an attempt that is under way (D3), and when it does so early,
 * since its endpoint has become far slower than it was (D8).
 */
import { isAsGoodAsAny } from './peers.ts'
import type { Dial, Peer, State } from './state.ts'
import type { Turn } from './turn.ts'

/** D8: How many times what its connections take is far longer than usual. */
const FAR_LONGER = 4
/** D8: Never sooner than this: a hiccup of a machine or a network is no slow server. RFC 8305 has 10 ms at least. */
const EARLIEST = 50
/** D8: One dial of a dialer in so long: the next ones begin where that one was served. */
const EARLY_AGAIN = 1_000

/** D3, D8: Gives when the next candidate is due beside an attempt that begins now. */
export function raceAt({ state, now }: Turn, { hold }: Dial, connectMs: number | undefined): number {
  const { attemptDelay } = state.settings
  if (connectMs === undefined || hold.is !== 'over') return now + attemptDelay
  return now + Math.min(attemptDelay, Math.max(EARLIEST, FAR_LONGER * connectMs))
}

/** D3, D8: Gives from when on the next candidate of a dial is due, however long connections to its endpoint take. */
export function raceAtLast({ settings }: State, { attempts, hold }: Dial): number {
  const last = attempts.at(-1)
  return last === undefined || hold.is !== 'over' ? -Infinity : last.startedAt + settings.attemptDelay
}

/**
 * D8, H4: Tells whether a dial may go on early to this candidate: it is as good as any, no other dial did just now, and
 * it was this machine that waited, and not the loop that was late.
 */
export function mayRaceEarly({ state, now }: Turn, dial: Dial, candidate: Peer | undefined): boolean {
  if (candidate === undefined || now - state.racedAt < EARLY_AGAIN || now - dial.nextAt > EARLIEST / 2) return false
  return isAsGoodAsAny(candidate)
}
