/**
 * A client as the field has them: watches that it opens at once, before anything is learned, as informers do, and a
 * request every 200 ms, whether or not those before are answered. It keeps what became of each; what is right is the
 * spec's to say.
 */
import assert from 'node:assert/strict'
import type { Answer, Client, Watch } from './client.ts'
import { happens, until } from './client.ts'

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
/** What a machine of two cores that has much else to do may add to any of the promises. ms */
export const SLACK = 2_000

export interface Outcome {
  /** When it was asked, on the clock of `performance.now()`. */
  readonly begun: number
  readonly ms: number
  readonly answer?: Answer
  readonly error?: Error & { code?: string }
}

export interface BusyOptions {
  readonly watches?: number
  /** ms between two requests; 200 by default. */
  readonly every?: number
  /** What is asked; the list of config maps, which etcd must answer, by default. */
  readonly path?: string
  readonly watchPath?: string
}

export class Busy {
  readonly client: Client
  readonly watches: readonly Watch[]
  /** Requests that are over, in the order in which they ended. */
  readonly outcomes: Outcome[] = []
  readonly #path: string
  readonly #pending = new Set<number>()
  readonly #timer: NodeJS.Timeout

  /** Resolves when the watches are open. */
  static async start(client: Client, options: BusyOptions = {}): Promise<Busy> {
    const { watches = 3, watchPath = `${CONFIGMAPS}?watch=1&resourceVersion=0` } = options
    return new Busy(client, await Promise.all(Array.from({ length: watches }, () => client.watch(watchPath))), options)
  }

  private constructor(client: Client, watches: readonly Watch[], { every = 200, path = CONFIGMAPS }: BusyOptions) {
    this.client = client
    this.watches = watches
    this.#path = path
    this.#ask()
    this.#timer = setInterval(() => this.#ask(), every)
    client.onClosing(() => this.stop())
  }

  /** Asks no more, as when its client is closed, with which all ends that is under way. */
  stop(): void {
    clearInterval(this.#timer)
  }

  /** How long the one has been under way, or was, that took longest of those asked since then. ms */
  longestSince(since: number): number {
    const over = this.outcomes.filter(({ begun }) => begun >= since).map(({ ms }) => ms)
    const pending = [...this.#pending].filter((begun) => begun >= since).map((begun) => performance.now() - begun)
    return Math.max(0, ...over, ...pending)
  }

  /** Those asked since then that were answered by a server. */
  answeredSince(since: number): (Outcome & { answer: Answer })[] {
    return this.outcomes.flatMap((outcome) => {
      const { answer, begun } = outcome
      return answer !== undefined && begun >= since ? [{ ...outcome, answer }] : []
    })
  }

  /** Resolves when so many more requests are over. */
  more(count: number): Promise<void> {
    const wanted = this.outcomes.length + count
    return until(`${count} more requests are over`, () => this.outcomes.length >= wanted)
  }

  /**
   * Resolves when requests are well served, by who is accepted: three in a row with 200. The first of them was asked
   * not later than `within` after `from`, or this rejects.
   */
  async served(what: string, from: number, within: number, accepted: (server: string) => boolean): Promise<void> {
    const good = ({ answer }: Outcome): boolean => answer?.status === 200 && accepted(answer.server)
    let first: Outcome | undefined
    await until(`${what} (${this.#last()})`, () => {
      const since = this.outcomes.filter(({ begun }) => begun >= from)
      const last = since.slice(-3)
      first = last.length === 3 && last.every(good) ? last[0] : undefined
      return first !== undefined
    }, within + SLACK + 10_000)
    const ms = (first?.begun ?? Infinity) - from
    assert.ok(ms < within + SLACK, `${what}: after ${Math.round(ms)} ms, promised ${within}`)
  }

  #ask(): void {
    const begun = performance.now()
    this.#pending.add(begun)
    const over = (how: { answer: Answer } | { error: Error }): void => {
      this.#pending.delete(begun)
      this.outcomes.push({ begun, ms: performance.now() - begun, ...how })
    }
    this.client.get(this.#path).then((answer) => over({ answer }), (error: Error) => over({ error }))
  }

  #last(): string {
    const last = this.outcomes.at(-1)
    return last?.error?.message ?? `${last?.answer?.status} by ${last?.answer?.server}`
  }
}

/** The watches of a server, which are to end, and not the others. */
export function watchesOn(busy: Busy, server: { readonly name: string }): Watch[] {
  return busy.watches.filter((watch) => watch.server === server.name)
}

/** Each of them was cut by the dialer, in time. */
export async function severed(watches: readonly Watch[], from: number, within: number): Promise<void> {
  await Promise.all(watches.map(async (watch) => {
    const reason = await happens(`the watch at ${watch.server} is severed`, watch.ended, within + SLACK + 10_000)
    const ms = (watch.endedAt ?? Infinity) - from
    assert.equal(reason?.code, 'ECONNRESET')
    assert.match(reason.message, /stopped answering/)
    assert.ok(ms < within + SLACK, `severed after ${Math.round(ms)} ms, promised ${within}`)
  }))
}

/** None of them is over. */
export function goOn(watches: readonly Watch[]): void {
  assert.deepEqual(watches.filter(({ endedAt }) => endedAt !== undefined).map(({ server }) => server), [])
}
