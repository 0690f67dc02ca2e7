/**
 * MultidialerAgent beside `https.Agent`, and `connect()` beside `tls.connect`: requests over kept connections, and new
 * connections. One server and three clients are processes of their own. The third client is the stock agent once more:
 * what two of the same differ by stands beside every ratio.
 */
import type { ClientQuestion, Side, Slice, Work } from './client.ts'
import { apart, interleaved, median, pairedRatio, quantile } from '../measure.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import type { ServerAnswer, ServerQuestion } from '../support/server.ts'
import { Worker } from '../support/worker.ts'

type Client = Worker<ClientQuestion, Slice>

const SIDES: readonly Side[] = ['mine', 'stock', 'stock']
const CONCURRENCIES = [1, 10, 50] as const
/**
 * Each round has new processes, as the compiler makes different things of the same code in different processes. A
 * figure is the median of the rounds, so that one round with a disturbance does not decide it.
 */
const ROUNDS = 3
/** Of new connections there are fewer in a slice than of requests, and their p99 needs many. */
const SLICES: Readonly<Record<Work['what'], number>> = { requests: 2, connections: 6, dials: 6, plain: 1 }
/**
 * ms, all clients side by side. What is done some hundred times a second is compiled within a second or two of its own;
 * until then the compiler, on one core of two, would be most of a p99.
 */
const WARM_UP: Readonly<Record<Work['what'], number>> = { requests: 1_500, connections: 3_000, dials: 3_000, plain: 0 }

/** The slices of one round. */
interface Round {
  readonly mine: readonly Slice[]
  readonly stock: readonly Slice[]
  /** The stock one again. */
  readonly again: readonly Slice[]
}

interface Compared {
  readonly name: string
  readonly rounds: readonly Round[]
}

export async function run({ quick, dist, only }: Options): Promise<Report> {
  const server = new Worker<ServerQuestion, ServerAnswer>(new URL('../support/server.ts', import.meta.url))
  const { port } = await server.ask({ what: 'address' })
  const ms = quick ? 100 : 350
  const works = worksOf(ms).filter(({ name }) => name.includes(only))
  const rounds = new Map(works.map(({ name }): [string, Round[]] => [name, []]))
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
          await Promise.all(clients.map((each) => each.ask({ ...work, ms: quick ? 100 : WARM_UP[work.what] })))
          const [mine = [], stock = [], again = []] =
            await interleaved(clients, quick ? 2 : SLICES[work.what], (each) => each.ask(work))
          rounds.get(name)?.push({ mine, stock, again })
        }
        plain.push(await plainDials(clients, ms))
      } finally {
        for (const client of clients) await client.end()
      }
    }
    const { connections: made, resumed } = await server.ask({ what: 'counts' })
    const of = (what: Work['what']): Compared[] =>
      works.filter(({ work }) => work.what === what).map(({ name }) => ({ name, rounds: rounds.get(name) ?? [] }))
    const requests = of('requests')
    const connections = [...of('connections'), ...of('dials')]
    return {
      bench: 'agent',
      tables: [rates(requests), latencies(connections)],
      figures: [...requests.flatMap(rateFigures), ...connections.flatMap(timeFigures)],
      notes: [
        'stock² is the stock one once more, in another process: two of the same differ by its ratio',
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

async function plainDials([, stock]: readonly Client[], ms: number): Promise<number> {
  return stock === undefined ? NaN : p50([await stock.ask({ what: 'plain', ms })])
}

function rates(compared: readonly Compared[]): Table {
  const columns = [
    'requests/s: mine', 'stock', 'ratio', 'stock²', 'p50 ms: mine', 'stock', 'p99 ms: mine', 'stock',
    'CPU µs: mine', 'stock', 'ratio',
  ]
  return {
    title: 'agent: requests over kept connections',
    columns: ['', ...columns],
    rows: compared.map(({ name, rounds }): Cell[] => [
      name, of(rounds, mine, rate), of(rounds, stock, rate), over(rounds, mine, rate), over(rounds, again, rate),
      of(rounds, mine, p50), of(rounds, stock, p50), of(rounds, mine, p99), of(rounds, stock, p99),
      of(rounds, mine, cpu), of(rounds, stock, cpu), over(rounds, mine, cpu),
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
    rows: compared.map(({ name, rounds }): Cell[] => [
      name, of(rounds, mine, p50), of(rounds, stock, p50), over(rounds, mine, p50), over(rounds, again, p50),
      of(rounds, mine, p99), of(rounds, stock, p99), over(rounds, mine, p99), over(rounds, again, p99),
      of(rounds, mine, cpu), of(rounds, stock, cpu), over(rounds, mine, cpu),
    ]),
  }
}

function rateFigures({ name, rounds }: Compared): Figure[] {
  return [{
    name: `${name}: rate over https.Agent's`, value: over(rounds, mine, rate), noise: noiseOf(rounds, rate),
    unit: '×', least: 1,
  }]
}

function timeFigures({ name, rounds }: Compared): Figure[] {
  return ([['p50', p50], ['p99', p99]] as const).map(([quantity, value]) => ({
    name: `${name}: ${quantity} over the stock one's`, value: over(rounds, mine, value),
    noise: noiseOf(rounds, value), unit: '×', most: 1.1,
  }))
}

type Who = (round: Round) => readonly Slice[]
/** One number of the slices of a round. */
type Quantity = (slices: readonly Slice[]) => number

/** The median of the rounds. */
function of(rounds: readonly Round[], who: Who, quantity: Quantity): number {
  return median(all(rounds, who, quantity))
}

/** The median of the rounds' ratios to the stock one. */
function over(rounds: readonly Round[], who: Who, quantity: Quantity): number {
  return pairedRatio(all(rounds, who, quantity), all(rounds, stock, quantity))
}

/** What the two stock ones of a round differ by. */
function noiseOf(rounds: readonly Round[], quantity: Quantity): number {
  return apart(all(rounds, again, quantity), all(rounds, stock, quantity))
}

function all(rounds: readonly Round[], who: Who, quantity: Quantity): number[] {
  return rounds.map((round) => quantity(who(round)))
}

function mine(round: Round): readonly Slice[] {
  return round.mine
}

function stock(round: Round): readonly Slice[] {
  return round.stock
}

function again(round: Round): readonly Slice[] {
  return round.again
}

function rate(slices: readonly Slice[]): number {
  return median(slices.map(({ count, took }) => count / took * 1_000))
}

/** µs for each. */
function cpu(slices: readonly Slice[]): number {
  return median(slices.map((slice) => slice.cpu / slice.count * 1_000))
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
