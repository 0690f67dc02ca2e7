/**
 * A program in a process of its own that answers questions over IPC. The servers and the clients of a bench are such
 * programs, so that none has another's garbage or waits for another's work.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

interface Asked {
  readonly id: number
  readonly question: unknown
}

interface Answered {
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

/** `Q` is what it is asked, `A` what it answers. */
export class Worker<Q, A> {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (answer: A) => void; reject: (error: Error) => void }>()
  readonly #ended: Promise<unknown>
  #lastId = 0

  /** Runs this file, by this Node or by that at the path. */
  constructor(file: URL, node: string = process.execPath) {
    const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...inherited } = process.env
    this.#child = fork(fileURLToPath(file), [], {
      env: inherited,
      execPath: node,
      // JSON has no word for Infinity.
      serialization: 'advanced',
    })
    workers.add(this.#child)
    this.#child.on('message', (message: Answered) => this.#onMessage(message))
    this.#ended = once(this.#child, 'exit').then(([code, signal]: (number | string | null)[]) => {
      workers.delete(this.#child)
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file.pathname} ended with ${code ?? signal}`))
      this.#waiting.clear()
    })
  }

  ask(question: Q): Promise<A> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, question } satisfies Asked, (error) => { if (error !== null) reject(error) })
    })
  }

  /** It stops in the middle of what it does, as a process does that hangs; `resume` lets it go on. */
  suspend(): void {
    this.#child.kill('SIGSTOP')
  }

  resume(): void {
    this.#child.kill('SIGCONT')
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  #onMessage({ id, answer, error }: Answered): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(answer as A)
    else waiting?.reject(new Error(error))
  }
}

const workers = new Set<ChildProcess>()
process.on('exit', () => { for (const child of workers) child.kill('SIGKILL') })

/** In the worker: answers each question. The worker ends with the process that started it. */
export function answerAll<Q, A>(answer: (question: Q) => Promise<A> | A): void {
  process.on('message', ({ id, question }: { id: number; question: Q }) => {
    const settle = async (): Promise<Answered> => {
      try {
        return { id, answer: await answer(question) }
      } catch (error) {
        return { id, error: error instanceof Error ? error.stack ?? error.message : String(error) }
      }
    }
    void settle().then((message) => process.send?.(message))
  })
  process.on('disconnect', () => process.exit())
}
