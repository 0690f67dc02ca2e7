/** The soak, for a few seconds: that it runs, counts, finds its way back to where it began, and says so. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../../bench/tools/soak.ts', import.meta.url))

function run(args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...env } = process.env
  const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
  const child = spawn(process.execPath, [...loader, '--disable-warning=ExperimentalWarning', PROGRAM, ...args], { env })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => { output += chunk.toString() })
  }
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

describe('the soak', () => {
  it('passes, and prints where it began and where it ended', async (t) => {
    const { code, output } = await run(['--seconds', '6', '--seed', '7'])
    t.diagnostic(output)
    assert.equal(code, 0, output)
    assert.match(output, /^first line: 0 s \| handles \d+, timers \d+, heap [\d.]+ MiB, sockets 0 \|/m)
    assert.match(output, /^last line: \d+ s \|.*request: 200 \d+.*faults: /m)
    assert.match(output, /^soak: passed$/m)
  })

  it('refuses what it cannot do', async () => {
    for (const args of [['--seconds', 'x'], ['--seconds', '0'], ['--seed', '1.5']]) {
      const { code, output } = await run(args)
      assert.equal(code, 2, output)
    }
  })
})
