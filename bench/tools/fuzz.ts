// Fuzzes the readers of network input: `node --import tsx bench/tools/fuzz.ts --cases 1000000 [--seed N]`.
//
// The cases run in a process of their own, so that a hang is seen from outside. Exits 1, naming seed and case, on an
// exception, a verdict that depends on the split, a hang, memory beyond the bound, or an endpoint that is not vetted.
// `--case N` runs that case alone.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fuzz, labelled } from '../../spec/support/http1-fuzz.ts'
import type { Progress } from '../../spec/support/http1-fuzz.ts'

/** Milliseconds without a thousand cases: they take some 100. */
const HANG = 60_000

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 0x1_0000_0000) },
    case: { type: 'string' },
  },
})
const cases = whole('cases', values.cases)
const seed = whole('seed', values.seed)

if (values.case !== undefined) console.log(labelled(seed, whole('case', values.case)))
else if (process.send === undefined) await watch()
else work()

function whole(name: string, text: string): number {
  if (!/^[0-9]{1,10}$/.test(text)) throw new TypeError(`--${name} must be a whole number`)
  return Number(text)
}

/** The child: runs the cases and reports. */
function work(): void {
  const startedAt = performance.now()
  let reportedAt = startedAt
  const progress = fuzz({
    cases,
    seed,
    onProgress(sofar) {
      process.send?.(sofar.cases)
      if (performance.now() - reportedAt < 10_000) return
      reportedAt = performance.now()
      console.log(lineOf(sofar, reportedAt - startedAt))
    },
  })
  for (const [verdict, count] of [...progress.verdicts].toSorted(([, a], [, b]) => b - a)) {
    console.log(`${String(count).padStart(9)}  ${verdict}`)
  }
  console.log(lineOf(progress, performance.now() - startedAt))
  process.disconnect?.()
}

function lineOf(progress: Progress, elapsed: number): string {
  const rate = Math.round(progress.cases / elapsed * 1_000)
  const megabytes = Math.ceil(progress.worstMemory / 1_048_576)
  return `${progress.cases} cases, ${rate} cases/s, worst memory ${megabytes} MiB, slowest case ` +
    `${progress.slowestMs.toFixed(0)} ms, seed ${seed}`
}

/** The parent: waits for the child, and ends it when it stands still. */
async function watch(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['--cases', String(cases), '--seed', String(seed)])
  let done = 0
  const hang = setTimeout(() => {
    console.error(`seed ${seed}: hangs in one of the cases from ${done} on`)
    child.kill('SIGKILL')
  }, HANG)
  child.on('message', (message) => {
    done = Number(message)
    hang.refresh()
  })
  const [code] = await once(child, 'exit')
  clearTimeout(hang)
  console.log(code === 0 ? `passed: ${cases} cases, seed ${seed}` : `FAILED: seed ${seed}`)
  process.exitCode = code === 0 ? 0 : 1
}
