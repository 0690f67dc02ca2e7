/** What is counted for a metrics exporter, beyond the plain counts of `turn.count`. Nothing is decided by a counter. */
import type { Counters, Dial, Failure } from './state.ts'
import type { Turn } from './turn.ts'

/** The counters of a new dialer. Every kind is there from the start: an exporter shows what has not happened, too. */
export const NOTHING_COUNTED: Counters = {
  dials: 0,
  dialsFailed: 0,
  dialTimes: { count: 0, sumMs: 0 },
  attempts: 0,
  attemptsFailed: {
    local: 0, mistake: 0, identity: 0, refused: 0, unreachable: 0, name: 0, silence: 0, late: 0, broken: 0, answer: 0,
  },
  failovers: 0,
  severed: 0,
  heartbeats: 0,
  heartbeatsFailed: 0,
  refreshes: 0,
  refreshesFailed: 0,
}

/** Counts an attempt that failed, by what happened to it. */
export function countFailedAttempt(turn: Turn, { kind }: Failure): void {
  const { counters } = turn.state
  const { attemptsFailed } = counters
  turn.set({ counters: { ...counters, attemptsFailed: { ...attemptsFailed, [kind]: attemptsFailed[kind] + 1 } } })
}

/** Counts how long a dial took that gives its connection now. */
export function countDialTime(turn: Turn, { startedAt }: Dial): void {
  const { counters } = turn.state
  const { count, sumMs } = counters.dialTimes
  turn.set({ counters: { ...counters, dialTimes: { count: count + 1, sumMs: sumMs + turn.now - startedAt } } })
}
