/**
 * `npm run bench`: all benches, each in a process of its own, or those that are named. What they measure is in
 * bench/README.md. They are started, shown and written down here. Exits 1 where one could not be run, and with
 * `--strict` also where a promise is not met.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { installClients } from '../spec/clients/install.ts'
import { nodeFor } from './support/client-node.ts'
import { buildDist } from './support/dist.ts'
import {
  figuresTable, machine, machineText, type Options, type Report, reportText, tableText, verdictOf,
} from './report.ts'

const BENCHES = ['footprint', 'step', 'agent', 'burst', 'scale', 'calls', 'fleet', 'failover', 'forward'] as const
type Bench = (typeof BENCHES)[number]
const WITH_CLIENTS: readonly Bench[] = ['footprint', 'calls', 'failover']

const USAGE = `Usage: npm run bench -- [NAME ...] [options]

Runs the benches named, or all: ${BENCHES.join(', ')}.

  --json FILE    also writes the figures and the tables there
  --quick        short runs: for a look, not for a verdict
  --long         also what takes minutes: scale with 20,000 watches, fleet with 5 and 7 servers and 100,000 clients
  --seed N       of what is random in the simulation (1)
  --clients N    of the simulated fleet (200 to 10,000, as each scenario needs)
  --only TEXT    only the rows whose name holds it
  --cluster      failover on the real control plane (KUBEBUILDER_ASSETS)
  --strict       exit 1 where a promised figure is not met`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    quick: { type: 'boolean', default: false },
    long: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    clients: { type: 'string' },
    only: { type: 'string', default: '' },
    cluster: { type: 'boolean', default: false },
    strict: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    /** For a process that another one of these has started: the file that it writes its report to. */
    report: { type: 'string' },
    dist: { type: 'string' },
    'node-1': { type: 'string' },
    'node-2': { type: 'string' },
  },
})

const seed = wholeNumber('seed', values.seed)
const clients = values.clients === undefined ? undefined : wholeNumber('clients', values.clients)

if (values.help) console.log(USAGE)
else if (values.report !== undefined) await runOne(values.report)
else process.exitCode = await runAll(positionals.map(benchOf))

function benchOf(name: string): Bench {
  const bench = BENCHES.find((each) => each === name)
  if (bench !== undefined) return bench
  console.error(`There is no bench '${name}'.\n\n${USAGE}`)
  process.exit(2)
}

function wholeNumber(option: string, value: string): number {
  if (/^[0-9]{1,9}$/.test(value)) return Number(value)
  console.error(`--${option} takes a whole number, not '${value}'.\n\n${USAGE}`)
  process.exit(2)
}

/** The child: runs one and writes its report. */
async function runOne(file: string): Promise<void> {
  const [name] = positionals.map(benchOf)
  const options: Options = {
    quick: values.quick, long: values.long && !values.quick, seed, clients, cluster: values.cluster, only: values.only,
    dist: values.dist ?? await buildDist(),
    nodes: { 1: values['node-1'], 2: values['node-2'] },
  }
  const report = await runOf(name ?? 'step', options)
  writeFileSync(file, JSON.stringify(report, infinitely))
  // What a bench left open must not keep the others waiting.
  process.exit()
}

async function runOf(bench: Bench, options: Options): Promise<Report> {
  switch (bench) {
    case 'agent': return (await import('./agent/agent.ts')).run(options)
    case 'burst': return (await import('./burst/burst.ts')).run(options)
    case 'scale': return (await import('./scale/scale.ts')).run(options)
    case 'forward': return (await import('./forward/forward.ts')).run(options)
    case 'failover': return (await import('./failover/failover.ts')).run(options)
    case 'calls': return (await import('./calls/calls.ts')).run(options)
    case 'step': return (await import('./step/step.ts')).run(options)
    case 'fleet': return (await import('./fleet/fleet.ts')).run(options)
    case 'footprint': return (await import('./footprint/footprint.ts')).run(options)
  }
}

async function runAll(named: readonly Bench[]): Promise<number> {
  const its = machine()
  console.log(machineText(its))
  const startedAt = performance.now()
  const benches = named.length === 0 ? BENCHES : named
  const given = [
    '--dist', await buildDist(), ...(benches.some((bench) => WITH_CLIENTS.includes(bench)) ? clientArguments() : []),
  ]
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const reports: Report[] = []
  const failed: string[] = []
  try {
    for (const bench of benches) {
      const from = performance.now()
      const report = await inItsOwnProcess(bench, given, join(folder, `${bench}.json`))
      if (report === undefined) failed.push(bench)
      else reports.push(report)
      if (report !== undefined) console.log(`\n${reportText(report)}`)
      console.log(`  ${bench} took ${((performance.now() - from) / 1_000).toFixed(0)} s`)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  if (reports.length > 1) {
    const promised = reports.flatMap(({ figures }) => figures).filter((figure) => verdictOf(figure) !== '')
    console.log(`\n${tableText({ ...figuresTable('', promised), title: 'all that was promised' })}`)
  }
  console.log(`\n${((performance.now() - startedAt) / 1_000).toFixed(0)} s in all`)
  if (failed.length > 0) console.error(`could not be run: ${failed.join(', ')}`)
  if (values.json !== undefined) writeJSON(values.json, its, reports)
  const unmet = reports.some(({ figures }) => figures.some((figure) => verdictOf(figure) === 'NOT MET'))
  return failed.length > 0 || (values.strict && unmet) ? 1 : 0
}

/** Installs what the benches with other clients need, before any of them runs: some run without a network. */
function clientArguments(): string[] {
  installClients()
  return (['1', '2'] as const).flatMap((version) => {
    const node = nodeFor(version)
    return node === undefined ? [] : [`--node-${version}`, node]
  })
}

async function inItsOwnProcess(bench: Bench, given: readonly string[], file: string): Promise<Report | undefined> {
  const args = [bench, '--report', file, ...given, '--seed', values.seed, '--only', values.only]
  if (values.clients !== undefined) args.push('--clients', values.clients)
  if (values.quick) args.push('--quick')
  if (values.long) args.push('--long')
  if (values.cluster) args.push('--cluster')
  const child = spawn(process.execPath, [
    ...process.execArgv, '--expose-gc', fileURLToPath(import.meta.url), ...args,
  ], { stdio: 'inherit' })
  const [code]: (number | null)[] = await once(child, 'exit')
  if (code !== 0) return undefined
  const report: Report = JSON.parse(readFileSync(file, 'utf8'), revived)
  return report
}

function writeJSON(file: string, its: ReturnType<typeof machine>, reports: readonly Report[]): void {
  const benches = reports.map((report) => ({
    ...report, figures: report.figures.map((figure) => ({ ...figure, verdict: verdictOf(figure) })),
  }))
  writeFileSync(file, `${JSON.stringify({ machine: its, benches }, infinitely, 2)}\n`)
}

// JSON has neither Infinity nor NaN.
function infinitely(_key: string, value: unknown): unknown {
  if (value === Infinity) return 'Infinity'
  return typeof value === 'number' && Number.isNaN(value) ? 'NaN' : value
}

function revived(_key: string, value: unknown): unknown {
  return value === 'Infinity' ? Infinity : value === 'NaN' ? NaN : value
}
