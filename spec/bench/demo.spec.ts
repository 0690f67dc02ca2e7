/**
 * The demo as a newcomer starts it: in a process of its own, to its end, judged by its exit status and by what it
 * prints. Times are not judged here, where the machine may be busy: hence the slack.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { broken, type Observed, promisedAtOnce, promisedInSilence } from '../../bench/demo/promises.ts'
import { ControlPlane } from '../support/control-plane.ts'

const PROGRAM = fileURLToPath(new URL('../../bench/demo/demo.ts', import.meta.url))

interface Demo {
  readonly child: ChildProcess
  readonly output: () => string
  /** Resolves when the output has it; rejects when the demo ends without. */
  readonly prints: (text: RegExp) => Promise<void>
  readonly ended: Promise<{ code: number | null; output: string; errors: string }>
}

/** A demo that ends with its test. */
function start(t: TestContext, ...args: string[]): Demo {
  const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
  const child = spawn(process.execPath, [...loader, '--disable-warning=ExperimentalWarning', PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const ended = once(child, 'close').then(([code]) => ({
    code: typeof code === 'number' ? code : null, output, errors,
  }))
  const prints = async (text: RegExp): Promise<void> => {
    while (!text.test(output)) {
      await Promise.race([
        once(child.stdout, 'data'),
        ended.then(({ output, errors }) => {
          if (!text.test(output)) throw new Error(`it ended without ${String(text)}: ${output}${errors}`)
        }),
      ])
    }
  }
  return { child, output: () => output, prints, ended }
}

describe('npm start', () => {
  it('breaks apiservers of its own in every way, and no promise with them', async (t) => {
    const { code, output, errors } = await start(t, '--slack', '5000').ended
    assert.equal(code, 0, output + errors)
    assert.equal(errors, '')
    const faults = ['killed', 'killed', 'back again', 'renumbered', 'hung', 'cut off']
    const lines = output.split('\n').filter((line) => / ok$/.test(line))
    const told = lines.filter((line) => /^ +\d+\.\d s  /.test(line)).map((line) => line.replace(/^ +\d+\.\d s  /, ''))
    const summed = lines.filter((line) => line.includes('≤')).map((line) => line.trimStart())
    for (const [index, fault] of faults.entries()) {
      assert.ok(told[index]?.startsWith(fault), `${fault}: ${told[index] ?? 'no line'}`)
      assert.ok(summed[index]?.startsWith(fault), `${fault}: ${summed[index] ?? 'not summed up'}`)
    }
    assert.equal(told.length, faults.length)
    assert.equal(summed.length, faults.length)
    assert.match(output, /5\.00 s of slack is added/)
    assert.match(output, /Every promise held\.\n$/)
    assert.ok(!output.includes('\u001b'), 'colour, and no terminal')
  })

  it('with --server prints what it learned, a failover as it happens, and a summary on Ctrl-C', async (t) => {
    const plane = await ControlPlane.start({ servers: 2 })
    t.after(() => plane.stop())
    const [one, two] = plane.servers
    assert.ok(one && two)
    const demo = start(t, '--server', one.url, '--ca', plane.caFile, '--token-file', plane.tokenFile)
    await demo.prints(/discovery: ok/)
    for (const { address } of [one, two]) assert.match(demo.output(), new RegExp(`^  ${address} .*yes`, 'm'))
    await one.kill()
    await demo.prints(new RegExp(`failover +${one.address} → ${two.address}: `))
    await demo.prints(new RegExp(`cost +longest gap .*; ${two.address} serves now`))
    demo.child.kill('SIGINT')
    const { code, output, errors } = await demo.ended
    assert.equal(code, 0, output + errors)
    assert.match(output, /\d+ requests answered, \d+ failed; .* 1 failover, .*; longest gap \d+/)
    assert.ok(!output.includes(plane.token), 'the token is printed')
  })

  it('--help says what there is', async (t) => {
    const { code, output } = await start(t, '--help').ended
    assert.equal(code, 0)
    for (const option of ['slack', 'server', 'ca', 'token-file', 'cert', 'key', 'servername', 'help']) {
      assert.match(output, new RegExp(`^  --${option} `, 'm'))
    }
  })

  const wrong: readonly (readonly [string, string[], RegExp])[] = [
    ['an option that it does not have', ['--sever', 'x'], /Unknown option '--sever'/],
    ['an argument that is no option', ['x'], /Unexpected argument 'x'/],
    ['an option without its value', ['--server'], /--server/],
    ['a slack that is no number', ['--slack', 'much'],
      /--slack must be a whole number of milliseconds. Received 'much'/],
    ['a slack for a real cluster', ['--server', 'https://127.0.0.1:1', '--slack', '1'],
      /--slack is for the demo without --server/],
    ['a certificate authority without a server', ['--ca', 'x'], /--ca needs --server/],
    ['a server without TLS', ['--server', 'http://127.0.0.1:1'], /--server must be/],
    ['a file that is not there', ['--server', 'https://127.0.0.1:1', '--ca', '/nowhere/ca.crt'], /\/nowhere\/ca\.crt/],
    ['a certificate without its key', ['--server', 'https://127.0.0.1:1', '--cert', PROGRAM], /--(cert|key)/],
  ]
  for (const [what, args, message] of wrong) {
    it(`refuses ${what}, with a hint and status 2`, async (t) => {
      const { code, output, errors } = await start(t, ...args).ended
      assert.equal(code, 2, errors)
      assert.equal(output, '')
      assert.match(errors, message)
      assert.match(errors, /--help/)
      assert.doesNotMatch(errors, /^ +at /m)
    })
  }
})

describe('what the demo calls broken', () => {
  const calm = { dial: 10, gap: 25, watchGap: 205 }
  const good: Observed = {
    gap: 40, wait: 30, watchGap: 210, failed: 1, swallowed: 0, late: 0, dial: 10, stray: [], lost: 0,
    servedBy: '127.0.0.2:1', unfinished: undefined,
  }
  const bounds = promisedAtOnce(calm, 0)
  const rows: readonly (readonly [string, Partial<Observed>, number, string[]])[] = [
    ['nothing, where all is as promised', {}, 1, []],
    ['a gap longer than promised', { gap: 86 }, 1, ['no answer for 86 ms']],
    ['no gap of just the promised length', { gap: 85 }, 1, []],
    ['a request that waited longer', { wait: 86 }, 1, ['a request waited 86 ms']],
    ['a watch that was silent for longer', { watchGap: 266 }, 1, ['the watch was silent for 266 ms']],
    ['more failures than may be', { failed: 2 }, 1, ['2 requests failed, at most 1 may']],
    ['a failure that has nothing to do with the fault', { stray: ['a cause'] }, 1,
      ['1 request failed that had nothing to do with it: a cause']],
    ['an event lost', { lost: 1 }, 1, ['1 event lost']],
    ['nobody who serves', { servedBy: undefined }, 1, ['nobody serves']],
    ['what never came to an end', { unfinished: 'the watch is not back' }, 1, ['the watch is not back']],
  ]
  for (const [name, change, mayFail, complaints] of rows) {
    it(name, () => assert.deepEqual(broken(bounds, { ...good, ...change }, mayFail), complaints))
  }

  it('in silence, 250 ms and a dial once idle connections have swallowed their requests; 6 s; 10 s', () => {
    assert.deepEqual(promisedInSilence(calm, 0, 2), { gap: 25 + 2 * 20 + 250 + 10, wait: 6_000, watchGap: 10_000 })
  })
})
