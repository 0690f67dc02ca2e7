/**
 * The demo as a newcomer starts it: in a process of its own, to its end, judged by its exit status and by what it
 * prints.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { boundsOf, broken, type Observed, worst } from '../../bench/demo/promises.ts'
import { feltIn } from '../../bench/demo/stock.ts'
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
  it('breaks apiservers behind a balancer in every way, and no promise with them', async (t) => {
    const { code, output, errors } = await start(t).ended
    assert.equal(code, 0, output + errors)
    assert.equal(errors, '')
    const faults = [
      /\(nothing is wrong\)/, /[\w.:]+ answers 503/, /[\w.:]+ is killed/, /[\w.:]+ is killed, too/,
      /both back, [\w.:]+ killed/, /[\w.:]+ hangs \(SIGSTOP\)/, /[\w.:]+ is cut off/, /all 3 replaced, one by one/,
    ]
    const times = / +\d+(\.\d+)? m?s +\d+(\.\d+)? m?s +\d+(\.\d+)? m?s/
    const rows = output.split('\n').filter((line) => line.startsWith('  ok  '))
    assert.equal(rows.length, faults.length, output)
    for (const [index, fault] of faults.entries()) {
      assert.match(rows[index] ?? '', new RegExp(`^  ok {6}${fault.source}${times.source} +\\d+  \\w`))
    }
    assert.match(output, /Every promise was kept\.\n$/)
    assert.ok(!output.includes('\u001b'), 'colour, and no terminal')
    for (const line of output.split('\n')) assert.ok(line.length <= 100, `${line.length} columns: ${line}`)
  })

  it('says what a stock https.Agent felt, whose watch a hung apiserver silences for good', async (t) => {
    const { code, output, errors } = await start(t, '--only', 'hangs').ended
    assert.equal(code, 0, output + errors)
    assert.match(output, /^  ok +[\w.:]+ hangs \(SIGSTOP\) .*watch silent/m)
  })

  it('fails where a promise is broken: a heartbeat that waits for a minute notices no server that hangs', async (t) => {
    const { code, output, errors } = await start(t, '--only', 'hangs', '--heartbeat-timeout', '60000').ended
    assert.equal(code, 1, output + errors)
    assert.equal(errors, '')
    assert.match(output, /^  BROKEN  [\w.:]+ hangs \(SIGSTOP\) /m)
    assert.match(output, /^ +(a request hung|the watch was silent) for 1\d\.\d\d s$/m)
    assert.match(output, /BROKEN: not every promise was kept\.\n$/)
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

  it('takes the connection flags of the program, a kubeconfig in JSON among them', async (t) => {
    const plane = await ControlPlane.start({ servers: 2 })
    t.after(() => plane.stop())
    const folder = mkdtempSync(join(tmpdir(), 'demo-spec-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'config.json')
    writeFileSync(file, JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: plane.servers[0]?.url, 'certificate-authority': plane.caFile } }],
      users: [{ name: 'u', user: { token: plane.token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }))
    const demo = start(t, '--kubeconfig', file)
    await demo.prints(/discovery: ok/)
    for (const { address } of plane.servers) assert.match(demo.output(), new RegExp(`^  ${address} .*yes`, 'm'))
    // A stand-in has no leases, and says so to those alone whose token it knows.
    await demo.prints(/watch +answered with 404/)
    demo.child.kill('SIGINT')
    const { code, output, errors } = await demo.ended
    assert.equal(code, 0, output + errors)
    assert.match(output, /\d+ requests? answered, 0 failed/)
    assert.ok(!output.includes(plane.token), 'the token is printed')
  })

  it('--help says what there is', async (t) => {
    const { code, output } = await start(t, '--help').ended
    assert.equal(code, 0)
    const options = ['only', 'heartbeat-timeout', 'server', 'ca', 'token-file', 'cert', 'key', 'servername', 'proxy',
      'kubeconfig', 'help']
    for (const option of options) {
      assert.match(output, new RegExp(`^  (--\\S+, )?--${option}[ ,]`, 'm'))
    }
  })

  const wrong: readonly (readonly [string, string[], RegExp])[] = [
    ['an option that it does not have', ['--sever', 'x'], /Unknown option '--sever'/],
    ['an argument that is no option', ['x'], /Unexpected argument 'x'/],
    ['an option without its value', ['--server'], /--server/],
    ['a fault that it does not have', ['--only', 'burnt'], /--only must be one of refuses, .* Received 'burnt'/],
    ['one fault of a real cluster', ['--server', 'https://127.0.0.1:1', '--only', 'killed'],
      /--only is for the demo without --server/],
    ['another timeout for a real cluster', ['--server', 'https://127.0.0.1:1', '--heartbeat-timeout', '1'],
      /--heartbeat-timeout is for the demo without --server/],
    ['a timeout that is no number', ['--heartbeat-timeout', 'long'],
      /--heartbeat-timeout must be a positive whole number of milliseconds. Received 'long'/],
    ['a certificate authority without a server', ['--ca', 'x'], /--ca needs --server/],
    ['a kubeconfig beside a server', ['--server', 'https://127.0.0.1:1', '--kubeconfig', 'x'],
      /--kubeconfig and --server exclude each other/],
    ['a kubeconfig in YAML', ['--kubeconfig', fileURLToPath(import.meta.url)], /kubectl config view --raw --minify -o json/],
    ['a proxy that is none', ['--server', 'https://127.0.0.1:1', '--proxy', 'x'], /--proxy must be/],
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
  const good: Observed = { gap: 40, wait: 30, watchGap: 210, failed: 1, stray: [], unfinished: undefined, stalled: 0 }
  const rows: readonly (readonly [string, Partial<Observed>, string[]])[] = [
    ['nothing, where all is as promised', {}, []],
    ['no time that is long for this machine alone', { gap: 5_900, wait: 6_000, watchGap: 10_000 }, []],
    ['a request that hung for more than 6 s', { wait: 6_010 }, ['a request hung for 6.01 s']],
    ['a watch that was silent for more than 10 s', { watchGap: 10_010 }, ['the watch was silent for 10.01 s']],
    ['no time for which this process could not run', { wait: 7_000, watchGap: 11_000, stalled: 1_000 }, []],
    ['what took longer than that, too', { wait: 7_010, stalled: 1_000 }, ['a request hung for 7.01 s']],
    ['a hang, however long this process could not run', { wait: 11_010, stalled: 60_000 },
      ['a request hung for 11.01 s']],
    ['no number of failures on the server at fault', { failed: 100 }, []],
    ['a failure that has nothing to do with the fault', { stray: ['a cause'] },
      ['1 request failed, but not on the server at fault: a cause']],
    ['what never came to an end', { unfinished: 'the watch missed 1 event' }, ['the watch missed 1 event']],
  ]
  for (const [name, change, complaints] of rows) {
    it(name, () => assert.deepEqual(broken({ ...good, ...change }), complaints))
  }

  it('several faults as one by the worst of each figure, and by all of their failures', () => {
    const other: Observed = { ...good, gap: 20, wait: 50, failed: 2, stray: ['x'], unfinished: 'y', stalled: 7 }
    assert.deepEqual(worst([good, other, good]),
      { gap: 40, wait: 50, watchGap: 210, failed: 4, stray: ['x'], unfinished: 'y', stalled: 7 })
  })

  it('by 6 s and 10 s, and by 5 s more at the most', () => {
    assert.deepEqual(boundsOf(0), { request: 6_000, watch: 10_000 })
    assert.deepEqual(boundsOf(120), { request: 6_120, watch: 10_120 })
    assert.deepEqual(boundsOf(60_000), { request: 11_000, watch: 15_000 })
  })
})

describe('what the demo says that the stock agent felt', () => {
  const calm = { hanging: 0, silence: 200, failures: [], refusals: [] }
  const failure = { error: new Error('x'), address: undefined }
  const rows: readonly (readonly [Partial<Parameters<typeof feltIn>[0]>, string])[] = [
    [{}, 'nothing'],
    [{ hanging: 1 }, '1 hangs'],
    [{ hanging: 2, silence: 4_000 }, '2 hang, watch silent'],
    [{ refusals: [failure] }, '1 refused'],
    [{ hanging: 12, silence: 4_000, failures: [failure] }, '12 hang, watch silent'],
    [{ failures: [failure, failure], silence: 4_000 }, 'watch silent, 2 failed'],
  ]
  for (const [change, felt] of rows) it(felt, () => assert.equal(feltIn({ ...calm, ...change }), felt))
})
