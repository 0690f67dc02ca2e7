/**
 * What is promised under every fault of the demo, and whether what was seen keeps it. No promise here depends on how
 * fast the machine is: times shorter than these are shown, and not judged. Pure: no clock, no socket.
 */
import { count, time } from './table.ts'

/** ms until a request on a server that fell silent has failed, so that its caller can send it again. */
const REQUEST_FREED = 6_000
/** ms until the watch brings events again. */
const WATCH_BACK = 10_000

/** What a client saw of one fault. Times in ms. */
export interface Observed {
  /** The longest time between two good answers. */
  readonly gap: number
  /** The longest that one request took to be answered or to fail. */
  readonly wait: number
  /** The longest time between two events of the watch. */
  readonly watchGap: number
  /** How many requests failed or were refused, whatever for. */
  readonly failed: number
  /** What those of them met with that were not sent to the server at fault. None may fail. */
  readonly stray: readonly string[]
  /** What did not go on when it was given up: nobody served, say, or the watch had missed an event. */
  readonly unfinished: string | undefined
  /** The time for which this process itself could not run: no client can do anything in it. */
  readonly stalled: number
}

/** The most that is allowed for that, in ms: with more, nothing that hangs would ever be called broken. */
const STALLED_MOST = 5_000

/** Returns how long a request may hang, and the watch be silent, in a process that could not run for `stalled` ms. */
export function boundsOf(stalled: number): { readonly request: number; readonly watch: number } {
  const allowed = Math.min(stalled, STALLED_MOST)
  return { request: REQUEST_FREED + allowed, watch: WATCH_BACK + allowed }
}

/** Says which promises were broken: none, where the list is empty. */
export function broken({ wait, watchGap, stray, unfinished, stalled }: Observed): string[] {
  const bounds = boundsOf(stalled)
  const complaints = [
    wait > bounds.request && `a request hung for ${time(wait)}`,
    watchGap > bounds.watch && `the watch was silent for ${time(watchGap)}`,
    stray.length > 0 && `${count(stray.length, 'request')} failed, but not on the server at fault: ${stray[0] ?? ''}`,
    unfinished,
  ]
  return complaints.filter((complaint) => typeof complaint === 'string')
}

/** Several faults as one, each figure at its worst. */
export function worst(observations: readonly Observed[]): Observed {
  const most = (of: (each: Observed) => number): number => Math.max(0, ...observations.map(of))
  return {
    gap: most(({ gap }) => gap),
    wait: most(({ wait }) => wait),
    watchGap: most(({ watchGap }) => watchGap),
    failed: observations.reduce((sum, { failed }) => sum + failed, 0),
    stray: observations.flatMap(({ stray }) => stray),
    unfinished: observations.map(({ unfinished }) => unfinished).find((each) => each !== undefined),
    stalled: most(({ stalled }) => stalled),
  }
}
