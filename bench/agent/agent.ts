/**
 * MultidialerAgent against `https.Agent`, and `connect()` against `tls.connect`: requests over kept connections, and
 * new connections. One server and three clients, each a process of its own; the third is the stock agent once more, so
 * that the difference between two of the same is seen beside every ratio.
 */
import type { ClientQuestion, Side, Slice, Work } from './client.ts'
import { interleaved, median, quantile, ratio } from '../measure.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import type { ServerAnswer, ServerQuestion } from '../support/server.ts'
import { Worker } from '../support/worker.ts'

type Client = Worker<ClientQuestion, Slice>

const SIDES: readonly Side[] = ['mine', 'stock', 'stock']
const CONCURRENCIES = [1, 10, 50] as const
/**
 * Clients are made anew for each: what the compiler makes of the same code is one thing in this process, another in
 * that.
 */
const ROUNDS = 3
const SLICES = 4

interface Compared {
  readonly name: string
  readonly mine: Slice[]
  readonly stock: Slice[]
  /** The stock one again. */
  readonly again: Slice[]
}

export async function run({ quick, dist, only }: Options): Promise<Report> {
  const server = new Worker<ServerQuestion, ServerAnswer>(new URL('../support/server.ts', import.meta.url))
  const { port } = await server.ask({ what: 'address' })
  const ms = quick ? 100 : 350
  const works = worksOf(ms).filter(({ name }) => name.includes(only))
  const all = new Map(works.map(({ name }): [string, Compared] => [name, { name, mine: [], stock: [], again: [] }]))
  const plain: number[] = []
  try {
    for (let round = 0; round < (quick ? 1 : ROUNDS); round += 1) {
      const clients: Client[] = []
      try {
        for (const side of SIDES) {
          const client: Client = new Worker(new URL('client.ts', import.meta.url))
          clients.push(client)
          await client.ask({ what: 'start', side, port, dist })
        }
        for (const { name, work } of works) {
          for (const each of clients) await each.ask({ ...work, ms: quick ? 100 : 500 })
          const [mine = [], stock = [], again = []] =
            await interleaved(clients, quick ? 2 : SLICES, (each) => each.ask(work))
          all.get(name)?.mine.push(...mine)
          all.get(name)?.stock.push(...stock)
          all.get(name)?.again.push(...again)
        }
        plain.push(await plainDials(clients, 2, ms))
      } finally {
        for (const client of clients) await client.end()
      }
    }
    const { connections: made, resumed } = await server.ask({ what: 'counts' })
    const of = (what: Work['what']): Compared[] =>
      works.filter(({ work }) => work.what === what).flatMap(({ name }) => all.get(name) ?? [])
    const requests = of('requests')
    const connections = [...of('connections'), ...of('dials')]
    return {
      bench: 'agent',
      tables: [rates(requests), latencies(connections)],
      figures: [...requests.flatMap(rateFigures), ...connections.flatMap(timeFigures)],
      notes: [
        'stock² is the stock one in another process: how far its ratio is from 1 is what noise alone makes of two ' +
          'that are the same',
        `${resumed} of ${made} connections resumed a TLS session`,
        `tls.connect without a kept context and session, as one would write it: p50 ${median(plain).toFixed(2)} ms`,
      ],
    }
  } finally {
    await server.end()
  }
}

function worksOf(ms: number): { readonly name: string; readonly work: Work }[] {
  return [
    ...CONCURRENCIES.map((concurrency) => (
      { name: `requests, ${concurrency} at a time`, work: { what: 'requests', concurrency, ms } } as const
    )),
    { name: 'a new connection for each request', work: { what: 'connections', ms } },
    { name: 'connect() and tls.connect', work: { what: 'dials', ms } },
  ]
}

async function plainDials([, stock]: readonly Client[], repetitions: number, ms: number): Promise<number> {
  const slices: Slice[] = []
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    if (stock !== undefined) slices.push(await stock.ask({ what: 'plain', ms }))
  }
  return p50(slices)
}

function rates(compared: readonly Compared[]): Table {
  const columns = [
    'requests/s: mine', 'stock', 'ratio', 'stock²', 'p50 ms: mine', 'stock', 'p99 ms: mine', 'stock',
    'CPU µs: mine', 'stock', 'ratio',
  ]
  return {
    title: 'agent: requests over kept connections',
    columns: ['', ...columns],
    rows: compared.map(({ name, mine, stock, again }): Cell[] => [
      name, median(mine.map(rate)), median(stock.map(rate)), ratio(mine.map(rate), stock.map(rate)),
      ratio(again.map(rate), stock.map(rate)),
      p50(mine), p50(stock), p99(mine), p99(stock),
      median(mine.map(cpu)), median(stock.map(cpu)), ratio(mine.map(cpu), stock.map(cpu)),
    ]),
  }
}

function latencies(compared: readonly Compared[]): Table {
  return {
    title: 'agent: new connections, one after another, TLS sessions resumed on both sides',
    columns: [
      '', 'p50 ms: mine', 'stock', 'ratio', 'stock²', 'p99 ms: mine', 'stock', 'ratio', 'stock²',
      'CPU µs: mine', 'stock', 'ratio',
    ],
    rows: compared.map(({ name, mine, stock, again }): Cell[] => [
      name, p50(mine), p50(stock), p50(mine) / p50(stock), p50(again) / p50(stock),
      p99(mine), p99(stock), p99(mine) / p99(stock), p99(again) / p99(stock),
      median(mine.map(cpu)), median(stock.map(cpu)), ratio(mine.map(cpu), stock.map(cpu)),
    ]),
  }
}

function rateFigures({ name, mine, stock }: Compared): Figure[] {
  return [{
    name: `${name}: rate over https.Agent's`, value: ratio(mine.map(rate), stock.map(rate)), unit: '×', least: 1,
  }]
}

function timeFigures({ name, mine, stock }: Compared): Figure[] {
  return [
    { name: `${name}: p50 over the stock one's`, value: p50(mine) / p50(stock), unit: '×', most: 1.1 },
    { name: `${name}: p99 over the stock one's`, value: p99(mine) / p99(stock), unit: '×', most: 1.1 },
  ]
}

function rate({ count, took }: Slice): number {
  return count / took * 1_000
}

/** µs for each. */
function cpu(slice: Slice): number {
  return slice.cpu / slice.count * 1_000
}

function p50(slices: readonly Slice[]): number {
  return quantile(timesOf(slices), 0.5)
}

function p99(slices: readonly Slice[]): number {
  return quantile(timesOf(slices), 0.99)
}

/** Of all slices together: the slowest hundredth of one is a handful. */
function timesOf(slices: readonly Slice[]): number[] {
  return slices.flatMap(({ times }) => [...times])
}
