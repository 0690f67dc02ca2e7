/**
 * Looks on while a fault lasts, until everything goes on without the server at fault, and says what the client saw of
 * it. Which faults there are is in faults.ts.
 */
import type { ApiServer } from '../../spec/support/control-plane.ts'
import type { DemoClient } from './client.ts'
import { boundsOf, type Observed } from './promises.ts'
import { count } from './table.ts'

/** ms between two looks at how it goes. */
const LOOK_EVERY = 20
/** A timer may come so many ms late on an idle machine. Beyond that, this process could not run. */
const PUNCTUAL = 5
/** ms beyond the last promise after which a fault that is not over is given up. */
const GIVEN_UP = 2_000
/** A fault is over when so many good answers have come from other servers. */
const ANSWERS = 5
/** ms for which a request may look for a connection while everything goes on. */
const DIALLING = 1_000

export interface Fault {
  /** Nobody, where nothing is wrong. */
  readonly victim?: ApiServer
  readonly begin: () => Promise<void>
  /** The server at fault keeps the watches that it has, and they work. */
  readonly keepsWatches?: boolean
}

export class Observer {
  readonly #client: DemoClient
  #stalled = 0

  constructor(client: DemoClient) {
    this.#client = client
  }

  async observe({ victim, begin, keepsWatches = false }: Fault): Promise<Observed> {
    const client = this.#client
    client.mark()
    this.#stalled = 0
    await begin()
    const over = await this.until(() => amiss(client, victim?.address, keepsWatches) === undefined)
    const { gap, wait, watchGap, failures, refusals } = client.seen()
    const failed = [...failures, ...refusals]
    return {
      gap, wait, watchGap,
      failed: failed.length,
      stray: failed.filter(({ address }) => address === undefined || address !== victim?.address)
        .map(({ error }) => error.message),
      unfinished: over ? undefined : amiss(client, victim?.address, keepsWatches),
      stalled: this.#stalled,
    }
  }

  /** Looks again and again. Resolves with whether it came to be in so many ms, or before the last promise was over. */
  async until(condition: () => boolean, limit?: number): Promise<boolean> {
    const startedAt = performance.now()
    while (!condition()) {
      const waited = performance.now() - startedAt
      if (waited > (limit ?? boundsOf(this.#stalled).watch + GIVEN_UP)) return false
      await this.pause(LOOK_EVERY)
    }
    return true
  }

  /** Waits, and notices when it was for longer than that. */
  async pause(ms: number): Promise<void> {
    const due = performance.now() + ms
    await new Promise((resolve) => setTimeout(resolve, ms))
    const late = performance.now() - due
    if (late > PUNCTUAL) this.#stalled += late
  }
}

/** What does not go on yet without the server at fault. */
function amiss(client: DemoClient, victim: string | undefined, keepsWatches: boolean): string | undefined {
  const others = (counts: ReadonlyMap<string, number>, except: string | undefined): number => {
    let sum = 0
    for (const [address, number] of counts) if (address !== except) sum += number
    return sum
  }
  if (others(client.answersOf, victim) < ANSWERS) return 'no other server serves'
  if (victim !== undefined && client.oldest(new Set([victim])) > 0) return 'a request still hangs'
  if (client.oldest() > DIALLING) return 'a request finds no connection'
  if (others(client.eventsOf, keepsWatches ? undefined : victim) === 0) return 'the watch is not back'
  return client.unseen === 0 ? undefined : `the watch missed ${count(client.unseen, 'event')}`
}
