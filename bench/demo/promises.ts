/** What is promised under each fault of the demo, and whether what was seen keeps it. Pure: no clock, no socket. */
import { REQUEST_EVERY } from './client.ts'
import { count, time } from './table.ts'

/** ms: by when a caller is served by another apiserver where one refuses, beyond a dial; and where one is silent. */
const AT_ONCE = 50
const ATTEMPT_DELAY = 250
/** ms: by when a request on a connection that fell silent is freed, and a watch is back. */
const REQUEST_FREED = 6_000
const WATCH_BACK = 10_000

/** What this machine needs with nothing wrong, in ms: no promise can be kept in less. */
export interface Calm {
  /** A dial: TCP, TLS and identity. */
  readonly dial: number
  /** Between two answers. */
  readonly gap: number
  /** Between two events of the watch. */
  readonly watchGap: number
}

/** Bounds, in ms. */
export interface Promised {
  readonly gap: number
  readonly wait: number
  readonly watchGap: number
}

export interface Observed extends Promised {
  /** Requests that failed, whatever for. */
  readonly failed: number
  /** Those of them that took an idle connection to the server at fault. */
  readonly swallowed: number
  /** ms by which timers of this process were late: the machine's doing, and in addition to what is promised. */
  readonly late: number
  /** ms that a dial of a healthy server took meanwhile at the most, by node:tls alone. */
  readonly dial: number
  /** Those of them that were not on a connection to the server at fault: none may. */
  readonly stray: readonly string[]
  /** Objects written that the watch did not show. */
  readonly lost: number
  /** 'host:port' that answers now. */
  readonly servedBy: string | undefined
  /** What was still amiss when it was given up. */
  readonly unfinished: string | undefined
}

/** The server in use refuses, or ends its connections in good order: the next one, at once. */
export function promisedAtOnce({ dial, gap, watchGap }: Calm, slack: number): Promised {
  const atOnce = AT_ONCE + dial + slack
  return { gap: gap + atOnce, wait: gap + atOnce, watchGap: watchGap + atOnce }
}

/**
 * The server in use falls silent: the next one for a new connection, and what it holds is freed.
 *
 * @param swallowed how many requests went to idle connections that it had: only then a new one is asked for
 */
export function promisedInSilence({ dial, gap }: Calm, slack: number, swallowed: number): Promised {
  const asked = gap + swallowed * REQUEST_EVERY
  return { gap: asked + ATTEMPT_DELAY + dial + slack, wait: REQUEST_FREED + slack, watchGap: WATCH_BACK + slack }
}

/**
 * What is not as promised, in words; nothing where all is.
 *
 * @param mayFail how many requests may fail where not all of those under way may
 */
export function broken(promised: Promised, observed: Observed, mayFail: number = Infinity): string[] {
  const { gap, wait, watchGap, failed, stray, lost, servedBy, unfinished } = observed
  const complaints = [
    gap > promised.gap && `no answer for ${time(gap)}`,
    wait > promised.wait && `a request waited ${time(wait)}`,
    watchGap > promised.watchGap && `the watch was silent for ${time(watchGap)}`,
    failed > mayFail && `${count(failed, 'request')} failed, at most ${mayFail} may`,
    stray.length > 0 && `${count(stray.length, 'request')} failed that had nothing to do with it: ${stray[0] ?? ''}`,
    lost > 0 && `${count(lost, 'event')} lost`,
    servedBy === undefined && 'nobody serves',
    unfinished,
  ]
  return complaints.filter((complaint) => typeof complaint === 'string')
}

/** Several observations of one fault, each at its worst. */
export function worst(observations: readonly Observed[]): Observed {
  const most = (of: (each: Observed) => number): number => Math.max(0, ...observations.map(of))
  const last = observations.at(-1)
  return {
    gap: most(({ gap }) => gap),
    wait: most(({ wait }) => wait),
    watchGap: most(({ watchGap }) => watchGap),
    failed: observations.reduce((sum, { failed }) => sum + failed, 0),
    swallowed: observations.reduce((sum, { swallowed }) => sum + swallowed, 0),
    late: most(({ late }) => late),
    dial: most(({ dial }) => dial),
    stray: observations.flatMap(({ stray }) => stray),
    lost: last?.lost ?? 0,
    servedBy: last?.servedBy,
    unfinished: observations.map(({ unfinished }) => unfinished).find((each) => each !== undefined),
  }
}
