/**
 * One apiserver of a simulated fleet: what it does to who connects and asks, how much work it gets done, and the counts
 * of what was asked of it. It has one queue of work: handshakes, questions and lists are done one after another, at the
 * rate that it has capacity for.
 */
import type { Address, Endpoint } from '../../lib/core/endpoint.ts'
import { count } from './counts.ts'

/** In units of work: what a server does for each. A question reads one small object; who is cut lists anew. */
export const WORK = { question: 1, handshake: 2, list: 10 } as const
/** ms of work that may wait. What comes beyond is not answered: a listen queue is full by then. */
const BACKLOG = 15_000

export class SimulatedServer {
  readonly endpoint: Endpoint
  readonly address: Address
  up = true
  listed = true
  /** It answers 503 to everything. */
  refusing = false
  /** Units of work a second; Infinity: no work takes any time. */
  capacity: number = Infinity
  /** Watches on it now. */
  watches = 0
  /** Of each second so far. */
  readonly handshakes: number[] = []
  readonly questions: number[] = []
  /** Those of the questions that go through to etcd. */
  readonly deepQuestions: number[] = []
  #freeAt = 0
  #streamed = 0
  #streamsSince: number | undefined = 0

  constructor(index: number) {
    this.endpoint = { host: `10.0.0.${index + 1}`, port: 6443 }
    this.address = `${this.endpoint.host}:6443`
  }

  /** Its etcd is gone: what is cached is answered, all else hangs, and watches fall silent. */
  get isHollow(): boolean {
    return this.#streamsSince === undefined
  }

  loseEtcd(now: number): void {
    this.#streamed = this.streamed(now)
    this.#streamsSince = undefined
  }

  regainEtcd(now: number): void {
    this.#streamsSince ??= now
  }

  /** For how many ms, in all, its watches have brought what happened. */
  streamed(now: number): number {
    return this.#streamed + (this.#streamsSince === undefined ? 0 : now - this.#streamsSince)
  }

  /** Takes some work. Returns when it is done; undefined where so much waits that it never will be. */
  take(work: number, now: number): number | undefined {
    const start = Math.max(now, this.#freeAt)
    if (start - now > BACKLOG) return undefined
    this.#freeAt = start + work * 1_000 / this.capacity
    return this.#freeAt
  }

  shakeHands(now: number): number | undefined {
    count(this.handshakes, now)
    return this.take(WORK.handshake, now)
  }

  beAsked(isDeep: boolean, now: number): number | undefined {
    count(this.questions, now)
    if (isDeep) count(this.deepQuestions, now)
    return this.take(WORK.question, now)
  }
}
