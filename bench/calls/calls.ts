/**
 * @kubernetes/client-node with a dialer under it and without: how many calls a second it makes, and how many
 * connections it opens for them. It asks the embedded control plane. Each client is a process of its own.
 */
import { ControlPlane } from '../../spec/support/control-plane.ts'
import type { Calls, CallsQuestion } from './client.ts'
import { availableClients, type Version } from '../support/client-node.ts'
import { interleaved, median, ratio } from '../measure.ts'
import type { Cell, Figure, Options, Report } from '../report.ts'
import { Worker } from '../support/worker.ts'

interface Contender {
  readonly name: string
  readonly version: Version
  readonly with: boolean
  readonly worker: Worker<CallsQuestion, Calls>
}

interface Slice extends Calls {
  /** Opened during the slice. */
  readonly connections: number
}

interface Row {
  readonly contender: Contender
  readonly concurrency: number
  readonly slices: readonly Slice[]
}

const CONCURRENCIES = [1, 50] as const

export async function run({ quick, dist, nodes }: Options): Promise<Report> {
  const notes: string[] = []
  const plane = await ControlPlane.start({ servers: 3 })
  const contenders = availableClients(nodes, notes).flatMap(({ version, name, node }) =>
    [true, false].map((dialed): Contender => ({
      name: `${name} ${dialed ? 'with' : 'alone'}`, version, with: dialed,
      worker: new Worker(new URL('client.ts', import.meta.url), node),
    })))
  try {
    const target = { url: plane.servers[0]?.url ?? '', caFile: plane.caFile, token: plane.token }
    for (const { worker, version, with: dialed } of contenders) {
      await worker.ask({ what: 'start', version, dist: dialed ? dist : undefined, target })
    }
    const rows: Row[] = []
    for (const concurrency of CONCURRENCIES) rows.push(...await compare(plane, contenders, concurrency, quick))
    return report(rows, notes)
  } finally {
    for (const { worker } of contenders) await worker.end()
    await plane.stop()
  }
}

async function compare(
  plane: ControlPlane, contenders: readonly Contender[], concurrency: number, quick: boolean,
): Promise<Row[]> {
  const ms = quick ? 200 : 500
  for (const { worker } of contenders) await worker.ask({ what: 'calls', concurrency, ms: quick ? 200 : 1_000 })
  const slices = await interleaved(contenders, quick ? 2 : 3, async ({ worker }): Promise<Slice> => {
    for (const server of plane.servers) await server.resetStats()
    const calls = await worker.ask({ what: 'calls', concurrency, ms })
    const stats = await Promise.all(plane.servers.map((server) => server.stats()))
    return { ...calls, connections: stats.reduce((total, { connections }) => total + connections, 0) }
  })
  return contenders.map((contender, index) => ({ contender, concurrency, slices: slices[index] ?? [] }))
}

function report(rows: readonly Row[], notes: readonly string[]): Report {
  const alone = (row: Row): Row | undefined =>
    rows.find(({ contender, concurrency }) =>
      !contender.with && contender.version === row.contender.version && concurrency === row.concurrency)
  return {
    bench: 'calls',
    tables: [{
      title: 'calls: GET /version by VersionApi.getCode(), one server of three',
      columns: [
        '', 'at a time', 'calls/s', 'over alone', 'connections per 1,000 calls', 'connections/s', 'CPU µs a call',
      ],
      rows: rows.map((row): Cell[] => [
        row.contender.name, row.concurrency, median(row.slices.map(rate)),
        ratio(row.slices.map(rate), alone(row)?.slices.map(rate) ?? []),
        median(row.slices.map(({ count, connections }) => connections / count * 1_000)),
        median(row.slices.map(({ connections, took }) => connections / took * 1_000)),
        median(row.slices.map(({ cpu, count }) => cpu / count * 1_000)),
      ]),
    }],
    figures: rows.filter(({ contender }) => contender.with).map((row): Figure => {
      const name = `${row.contender.name}, ${row.concurrency} at a time: calls/s over alone`
      const value = ratio(row.slices.map(rate), alone(row)?.slices.map(rate) ?? [])
      // 2.x makes a connection for each call, and the promise is to save that. 1.x can keep its connections itself.
      return { name, value, unit: '×', ...(row.contender.version === '2' && row.concurrency === 1 ? { least: 5 } : {}) }
    }),
    notes,
  }
}

function rate({ count, took }: Slice): number {
  return count / took * 1_000
}
