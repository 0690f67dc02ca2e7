/** Programs that a spec starts and reads: the command line of this package, and whatever else prints as it goes. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../../lib/cli/bin.ts', import.meta.url))

/** What follows this Node's own path where it is to run the command line of this package. */
export const CLI: readonly string[] = [
  ...process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')],
  '--disable-warning=ExperimentalWarning', PROGRAM,
]

/** This process's environment, without what is for the runner of specs. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...rest } = process.env
  return rest
}

export interface Printing {
  readonly child: ChildProcess
  /** What it has printed, to stdout and to stderr. */
  readonly output: () => string
  /** Resolves with the match when what it has printed since `from` has it; rejects when it ends without. */
  readonly prints: (text: RegExp, from?: number) => Promise<RegExpExecArray>
  /** Resolves when it has ended. */
  readonly ended: Promise<void>
}

export function startPrinting(
  file: string, args: readonly string[], env: NodeJS.ProcessEnv = plainEnvironment(),
): Printing {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], env })
  child.stdin.on('error', () => {})
  let output = ''
  const listeners = new Set<() => void>()
  const read = (text: string): void => {
    output += text
    for (const listener of listeners) listener()
  }
  child.stdout.setEncoding('utf8').on('data', read)
  child.stderr.setEncoding('utf8').on('data', read)
  const ended = once(child, 'close').then(() => {})
  const prints = (text: RegExp, from = 0): Promise<RegExpExecArray> => new Promise((resolve, reject) => {
    const look = (): void => {
      const found = text.exec(output.slice(from))
      if (found === null) return
      listeners.delete(look)
      resolve(found)
    }
    listeners.add(look)
    look()
    void ended.then(() => reject(new Error(`it ended without ${String(text)}: ${output}`)))
  })
  return { child, output: () => output, prints, ended }
}
