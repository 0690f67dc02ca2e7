/**
 * `dialer.check()`: whether this client would survive the loss of each apiserver, found out before the outage. It
 * gathers the facts; what they mean is judged in check/judge.ts. This is loaded when it is first used.
 */
import type { Check, Facts } from './check/facts.ts'
import { judge } from './check/judge.ts'
import { probe } from './check/probe.ts'
import { isFront, isListed } from './core/peers.ts'
import { abortError, closedError, invalidOption } from './errors.ts'
import { MAX_MS } from './options.ts'
import type { Runtime } from './runtime.ts'

export interface CheckOptions {
  /** Aborting it ends the check with an AbortError. */
  readonly signal?: AbortSignal | undefined
  /** ms for all of it, of which half at most go into the refresh: 15,000. */
  readonly timeout?: number | undefined
}

/** As the whole of a dial: two thirds of it are a connection that hangs, and an answer that does not come. */
const TIMEOUT = 15_000

/** Refreshes, connects afresh to every endpoint known, side by side, and judges what was met. */
export async function check(runtime: Runtime, options: CheckOptions = {}): Promise<Check> {
  const { signal, timeout = TIMEOUT } = options
  if (typeof timeout !== 'number' || !(timeout >= 1 && timeout <= MAX_MS)) {
    throw invalidOption('timeout', timeout, `a number of milliseconds from 1 to ${MAX_MS}`)
  }
  if (runtime.inspect().state.closed) throw closedError()
  const stopIfAborted = (): void => {
    if (signal?.aborted === true) throw abortError(signal.reason)
  }
  stopIfAborted()
  const until = performance.now() + timeout
  const stop = new AbortController()
  const onAbort = (): void => stop.abort()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    await refreshed(runtime, timeout / 2, stop.signal)
    if (runtime.inspect().state.closed) throw closedError()
    const facts = await gather(runtime, until, stop.signal)
    stopIfAborted()
    return judge(facts)
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Waits for the refresh, but not for long: what it fails with is in the state, and the probes tell more. */
async function refreshed(runtime: Runtime, ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    const settle = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', settle)
      resolve()
    }
    signal.addEventListener('abort', settle, { once: true })
    runtime.refresh().then(settle, settle)
  })
}

async function gather(runtime: Runtime, until: number, signal: AbortSignal): Promise<Facts> {
  const { connections, lists, state, checked: { rejectUnauthorized, settings } } = runtime.inspect()
  const { discovery } = state
  const left = Math.max(1, until - performance.now())
  // A connection that hangs must leave time for the answers of others, where there is not enough for both.
  const share = Math.min(1, left / (settings.attemptTimeout + settings.heartbeatTimeout))
  const bounds = {
    connectTimeout: Math.max(1, Math.round(settings.attemptTimeout * share)),
    answerTimeout: Math.max(1, Math.round(settings.heartbeatTimeout * share)),
  }
  const endpoints = await Promise.all([...state.peers.values()].map(async (peer) => {
    const { address, endpoint, origin } = peer
    const found = await probe({ endpoint, connections, lists, via: discovery.via, ...bounds, signal })
    return { address, host: endpoint.host, origin, listed: isListed(peer), front: isFront(state, peer), ...found }
  }))
  return {
    endpoints,
    discovery: {
      status: discovery.status,
      listed: discovery.listedAt !== undefined,
      ...(discovery.listedAt === undefined ? {} : { via: discovery.via }),
      ...(discovery.lastError === undefined ? {} : { lastError: discovery.lastError }),
    },
    verified: rejectUnauthorized,
    now: Date.now(),
  }
}
