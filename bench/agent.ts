/**
 * MultidialerAgent against `https.Agent`, and `connect()` against `tls.connect`: requests over kept connections, and new
 * connections. One server and three clients, each a process of its own; the third is the stock agent once more, so that
 * the difference between two of the same is seen beside every ratio.
 */
import type { ClientQuestion, Side, Slice, Work } from './lib-agent-client.ts'
import { interleaved, median, ratio } from './lib-measure.ts'
import type { Cell, Figure, Options, Report, Table } from './lib-report.ts'
import type { ServerAnswer, ServerQuestion } from './lib-server.ts'
import { Worker } from './lib-worker.ts'

type Client = Worker<ClientQuestion, Slice>

const CONCURRENCIES = [1, 10, 50] as const

interface Compared {
  readonly name: string
  readonly mine: readonly Slice[]
  readonly stock: readonly Slice[]
  /** The stock one again. */
  readonly again: readonly Slice[]
}

export async function run({ quick, dist, only }: Options): Promise<Report> {
  const server = new Worker<ServerQuestion, ServerAnswer>('lib-server.ts')
  const workers: { end(): Promise<void> }[] = [server]
  const client = async (side: Side): Promise<Client> => {
    const made: Client = new Worker('lib-agent-client.ts')
    workers.push(made)
    await made.ask({ what: 'start', side, port, dist })
    return made
  }
  const { port } = await server.ask({ what: 'address' })
  try {
    const clients = [await client('mine'), await client('stock'), await client('stock')]
    const compare = async (name: string, question: Work, repetitions: number): Promise<Compared[]> => {
      if (!name.includes(only)) return []
      for (const each of clients) await each.ask({ ...question, ms: quick ? 100 : 1_000 })
      const [mine = [], stock = [], again = []] = await interleaved(clients, quick ? 2 : repetitions, (each) => each.ask(question))
      return [{ name, mine, stock, again }]
    }
    const ms = quick ? 100 : 400
    const requests: Compared[] = []
    for (const concurrency of CONCURRENCIES) {
      requests.push(...await compare(`requests, ${concurrency} at a time`, { what: 'requests', concurrency, ms }, 15))
    }
    const connections = await compare('a new connection for each request', { what: 'connections', ms }, 15)
    const dials = await compare('connect() and tls.connect', { what: 'dials', ms }, 15)
    const plain = await plainDials(clients, quick ? 2 : 5, ms)
    const { connections: made, resumed } = await server.ask({ what: 'counts' })
    return {
      bench: 'agent',
      tables: [rates(requests), latencies([...connections, ...dials])],
      figures: [...requests.flatMap(rateFigures), ...connections.flatMap(timeFigures), ...dials.flatMap(timeFigures)],
      notes: [
        'stock² is the stock one in another process: how far its ratio is from 1 is what noise alone makes of two that are the same',
        `${resumed} of ${made} connections resumed a TLS session`,
        `tls.connect without a kept context and session, as one would write it: p50 ${plain.toFixed(2)} ms`,
      ],
    }
  } finally {
    for (const worker of workers) await worker.end()
  }
}

async function plainDials([, stock]: readonly Client[], repetitions: number, ms: number): Promise<number> {
  const p50: number[] = []
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    if (stock !== undefined) p50.push((await stock.ask({ what: 'plain', ms })).p50)
  }
  return median(p50)
}

function rates(compared: readonly Compared[]): Table {
  const columns = ['requests/s: mine', 'stock', 'ratio', 'stock²', 'p50 ms: mine', 'stock', 'p99 ms: mine', 'stock', 'CPU µs: mine', 'stock', 'ratio']
  return {
    title: 'agent: requests over kept connections',
    columns: ['', ...columns],
    rows: compared.map(({ name, mine, stock, again }): Cell[] => [
      name, median(mine.map(rate)), median(stock.map(rate)), ratio(mine.map(rate), stock.map(rate)), ratio(again.map(rate), stock.map(rate)),
      median(mine.map(p50)), median(stock.map(p50)), median(mine.map(p99)), median(stock.map(p99)),
      median(mine.map(cpu)), median(stock.map(cpu)), ratio(mine.map(cpu), stock.map(cpu)),
    ]),
  }
}

function latencies(compared: readonly Compared[]): Table {
  return {
    title: 'agent: new connections, one after another, TLS sessions resumed on both sides',
    columns: ['', 'p50 ms: mine', 'stock', 'ratio', 'stock²', 'p99 ms: mine', 'stock', 'ratio', 'stock²', 'CPU µs: mine', 'stock', 'ratio'],
    rows: compared.map(({ name, mine, stock, again }): Cell[] => [
      name, median(mine.map(p50)), median(stock.map(p50)), ratio(mine.map(p50), stock.map(p50)), ratio(again.map(p50), stock.map(p50)),
      median(mine.map(p99)), median(stock.map(p99)), ratio(mine.map(p99), stock.map(p99)), ratio(again.map(p99), stock.map(p99)),
      median(mine.map(cpu)), median(stock.map(cpu)), ratio(mine.map(cpu), stock.map(cpu)),
    ]),
  }
}

function rateFigures({ name, mine, stock }: Compared): Figure[] {
  return [{ name: `${name}: rate over https.Agent's`, value: ratio(mine.map(rate), stock.map(rate)), unit: '×', least: 1 }]
}

function timeFigures({ name, mine, stock }: Compared): Figure[] {
  return [
    { name: `${name}: p50 over the stock one's`, value: ratio(mine.map(p50), stock.map(p50)), unit: '×', most: 1.1 },
    { name: `${name}: p99 over the stock one's`, value: ratio(mine.map(p99), stock.map(p99)), unit: '×', most: 1.1 },
  ]
}

function rate({ count, took }: Slice): number {
  return count / took * 1_000
}

/** µs for each. */
function cpu(slice: Slice): number {
  return slice.cpu / slice.count * 1_000
}

function p50(slice: Slice): number {
  return slice.p50
}

function p99(slice: Slice): number {
  return slice.p99
}
