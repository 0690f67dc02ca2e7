/**
 * `kube-multidialer forward` beside HAProxy in TCP mode, as kubeadm's guide sets it up: bytes a second through one pipe
 * and a hundred, and how long a small answer takes. What a pipe weighs, beside two bare sockets of Node's.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { certificateFile } from '../../spec/support/control-plane.ts'
import { haproxyVersion, startHAProxy } from '../failover/haproxy.ts'
import { interleaved, median, quantile, ratio } from '../measure.ts'
import type { Cell, Figure, Options, Report } from '../report.ts'
import { Worker } from '../support/worker.ts'
import type { ClientAnswer, ClientQuestion } from './client.ts'

interface Contender {
  readonly name: string
  readonly port: number
  readonly child: ChildProcess | undefined
  stop(): Promise<void>
}

const COLLECT = new URL('collect.mjs', import.meta.url).href
/** Held at once, to see what one weighs; forward's own limit is above. */
const HELD = 2_000

export async function run({ quick, dist }: Options): Promise<Report> {
  const notes: string[] = []
  const origin = new Worker<'port', number>(new URL('origin.ts', import.meta.url))
  const client = new Worker<ClientQuestion, ClientAnswer>(new URL('client.ts', import.meta.url))
  const started: Contender[] = []
  try {
    const port = await origin.ask('port')
    const forward = await startNode('forward', [
      join(dist, 'cli.js'), 'forward', '--listen', '127.0.0.1:0', '--server', `https://127.0.0.1:${port}`,
      '--ca', certificateFile('ca.crt'),
    ])
    started.push(forward)
    const plain = await startNode("Node's two sockets", [fileURLToPath(new URL('plain.mjs', import.meta.url)), String(port)])
    started.push(plain)
    const version = haproxyVersion()
    if (version === undefined) notes.push('no HAProxy in PATH: nothing to compare with')
    else {
      const haproxy = await startHAProxy([{ host: '127.0.0.1', port }])
      started.push({ name: `HAProxy ${version}`, port: haproxy.port, child: undefined, stop: () => haproxy.stop() })
    }
    const [ms, repetitions] = quick ? [300, 2] : [600, 3]
    const one = await interleaved(started, repetitions, async ({ port }) => (await client.ask({ what: 'bytes', port, pipes: 1, ms })).rate)
    const many = await interleaved(started, repetitions, async ({ port }) => (await client.ask({ what: 'bytes', port, pipes: 100, ms })).rate)
    const small = await interleaved(started, repetitions, async ({ port }) => (await client.ask({ what: 'echo', port, ms })).times)
    const weights = [await weigh(client, forward), await weigh(client, plain)]
    notes.push('Live: what is on the heap when it has been collected. Resident: what the process has grown by then. Fresh, ' +
      'and before it collects by itself, forward grows by more than two bare sockets do: to make a pipe takes a dial, and ' +
      "V8's young generation grows up to its limit, once for all pipes.")
    const p50 = small.map((times) => median(times.flat()))
    const rows = started.map(({ name }, index): Cell[] => [
      name, median(one[index] ?? []) / 1e6, median(many[index] ?? []) / 1e6, (p50[index] ?? NaN) * 1_000,
      quantile((small[index] ?? []).flat(), 0.99) * 1_000, weights[index]?.live ?? NaN, weights[index]?.resident ?? NaN,
    ])
    const weightOver = (what: keyof Weight): number => (weights[0]?.[what] ?? NaN) / (weights[1]?.[what] ?? NaN)
    const over = (all: readonly number[][]): number => ratio(all[0] ?? [], all[2] ?? [])
    const figures: Figure[] = [
      ...(version === undefined ? [] : [
        { name: 'bytes a second through one pipe, over HAProxy', value: over(one), unit: '×', least: 0.5 },
        { name: 'bytes a second through 100 pipes, over HAProxy', value: over(many), unit: '×', least: 0.5 },
        { name: 'p50 of a small request, over HAProxy', value: (p50[0] ?? NaN) / (p50[2] ?? NaN), unit: '×', most: 1.5 },
      ]),
      { name: `live memory of a pipe, ${HELD} at once, over Node's own two sockets`, value: weightOver('live'), unit: '×', most: 1.5 },
      { name: 'the same by resident memory', value: weightOver('resident'), unit: '×' },
    ]
    return {
      bench: 'forward',
      tables: [{
        title: 'forward: pipes on loopback, without TLS, to one server',
        columns: ['', 'MB/s, 1 pipe', 'MB/s, 100 pipes', 'small p50 µs', 'small p99 µs', 'kB a pipe', 'kB resident'],
        rows,
      }],
      figures,
      notes,
    }
  } finally {
    for (const { stop } of started) await stop()
    await Promise.all([origin.end(), client.end()])
  }
}

async function startNode(name: string, args: readonly string[]): Promise<Contender> {
  const child = spawn(process.execPath, ['--expose-gc', '--import', COLLECT, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => { output += String(chunk) })
  for (;;) {
    const port = /forwarding from 127\.0\.0\.1:(\d+)/.exec(output)?.[1]
    if (port === undefined) {
      await Promise.race([once(child.stdout, 'data'), ended])
      if (child.exitCode !== null) throw new Error(`${name} ended: ${output}`)
      continue
    }
    return {
      name,
      port: Number(port),
      child,
      stop: async () => {
        child.kill('SIGKILL')
        await ended
      },
    }
  }
}

/** ms until what is on its way has come. */
const REST = 1_000

/** kB, or bytes, as the function says that gives it. */
interface Weight {
  readonly live: number
  readonly resident: number
}

/** kB that each pipe takes: of the heap, once what was only needed to make it has been collected, and of memory. */
async function weigh(client: Worker<ClientQuestion, ClientAnswer>, { port, child }: Contender): Promise<Weight> {
  // Once before, so that what is grown and kept is not counted.
  await client.ask({ what: 'hold', port, pipes: 200 })
  const before = await weightOf(child)
  await client.ask({ what: 'hold', port, pipes: HELD + 200 })
  const after = await weightOf(child)
  await client.ask({ what: 'hold', port, pipes: 0 })
  const each = (what: keyof Weight): number => (after[what] - before[what]) / HELD / 1_024
  return { live: each('live'), resident: each('resident') }
}

/** Bytes of the whole process. */
async function weightOf(child: ChildProcess | undefined): Promise<Weight> {
  await new Promise((resolve) => setTimeout(resolve, REST))
  let output = ''
  child?.stdout?.on('data', (chunk: Buffer) => { output += String(chunk) })
  child?.kill('SIGUSR2')
  for (;;) {
    const [, live, resident] = /weighs (\d+) resident (\d+)\n/.exec(output) ?? []
    if (live !== undefined && resident !== undefined) return { live: Number(live), resident: Number(resident) }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
