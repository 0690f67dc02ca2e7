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

/** How a work is measured. Times are in ms. */
interface Manner {
  /**
   * Each has new processes, as the compiler makes different things of the same code in different processes. A figure is
   * the median of the rounds, so that one with a disturbance does not decide it.
   */
  readonly rounds: number
  /** Of a round: clients take turns at them. */
  readonly slices: number
  readonly slice: number
  /**
   * All clients side by side. What is done some hundred times a second is compiled within a second or two of its own;
   * until then the compiler, on one core of two, would be most of a p99.
   */
  readonly warmUp: number
}

const REQUESTS: Manner = { rounds: 4, slices: 4, slice: 100, warmUp: 3_000 }
/** Of requests that are more at a time: most of what they run has been compiled for those before them. */
const MORE_REQUESTS: Manner = { ...REQUESTS, warmUp: 2_000 }
/** There are fewer of these in a second, and their p99 needs many. */
const CONNECTIONS: Manner = { rounds: 3, slices: 4, slice: 350, warmUp: 3_000 }
const QUICK: Manner = { rounds: 1, slices: 2, slice: 100, warmUp: 100 }

/**
 * Requests, so many at a time, and what is promised of the stock agent's rate: a pooled connection is asked for, and
 * given an idle timeout, between two requests, which shows where the client is the bottleneck.
 */
const AT_A_TIME: readonly { readonly concurrency: number; readonly manner: Manner; readonly least: number }[] = [
  { concurrency: 1, manner: REQUESTS, least: 1 },
  { concurrency: 10, manner: MORE_REQUESTS, least: 0.9 },
  { concurrency: 50, manner: MORE_REQUESTS, least: 0.9 },
]

/** The slices of one round. */
interface Round {
  readonly mine: readonly Slice[]
  readonly stock: readonly Slice[]
  /** The stock one again. */
  readonly again: readonly Slice[]
}

interface Compared {
  readonly name: string
  readonly least: number | undefined
  readonly rounds: readonly Round[]
}

export async function run({ quick, dist, only }: Options): Promise<Report> {
  const server = new Worker<ServerQuestion, ServerAnswer>(new URL('../support/server.ts', import.meta.url))
  const { port } = await server.ask({ what: 'address' })
  const connections = quick ? QUICK : CONNECTIONS
  const works = worksOf(quick, connections).filter(({ name }) => name.includes(only))
  const most = Math.max(...works.map(({ manner }) => manner.rounds))
  const rounds = new Map(works.map(({ name }): [string, Round[]] => [name, []]))
  const plain: number[] = []
  try {
    for (let round = 0; round < most; round += 1) {
      const clients: Client[] = []
      try {
        for (const side of SIDES) {
          const client: Client = new Worker(new URL('client.ts', import.meta.url))
          clients.push(client)
          await client.ask({ what: 'start', side, port, dist })
        }
        for (const { name, work, manner: { rounds: wanted, slices, warmUp } } of works) {
          if (round >= wanted) continue
          await Promise.all(clients.map((each) => each.ask({ ...work, ms: warmUp })))
          const [mine = [], stock = [], again = []] = await interleaved(clients, slices, (each) => each.ask(work))
          rounds.get(name)?.push({ mine, stock, again })
        }
        if (round < connections.rounds) plain.push(await plainDials(clients, connections.slice))
      } finally {
        for (const client of clients) await client.end()
      }
    }
    const { connections: opened, resumed } = await server.ask({ what: 'counts' })
    const of = (what: Work['what']): Compared[] => works
      .filter(({ work }) => work.what === what)
      .map(({ name, least }) => ({ name, least, rounds: rounds.get(name) ?? [] }))
    const kept = of('requests')
    const made = [...of('connections'), ...of('dials')]
    return {
      bench: 'agent',
      tables: [rates(kept), latencies(made)],
      figures: [...rateFigures(kept), ...made.flatMap(timeFigures)],
      notes: [
        'stock² is the stock one once more, in another process: two of the same differ by its ratio',
        `${resumed} of ${opened} connections resumed a TLS session`,
        `tls.connect without a kept context and session, as one would write it: p50 ${median(plain).toFixed(2)} ms`,
      ],
    }
  } finally {
    await server.end()
  }
}

interface Measured {
  readonly name: string
  readonly work: Work
  readonly manner: Manner
  /** Of the stock agent's rate, where one is promised. */
  readonly least?: number
}

function worksOf(quick: boolean, connections: Manner): Measured[] {
  const ms = connections.slice
  return [
    ...AT_A_TIME.map(({ concurrency, manner: whole, least }): Measured => {
      const manner = quick ? QUICK : whole
      const name = `requests, ${concurrency} at a time`
      return { name, work: { what: 'requests', concurrency, ms: manner.slice }, manner, least }
    }),
    { name: 'a new connection for each request', manner: connections, work: { what: 'connections', ms } },
    { name: 'connect() and tls.connect', manner: connections, work: { what: 'dials', ms } },
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

/** What two of the same differ by is a matter of the machine and of the compiler, and so taken of all of them. */
function rateFigures(requests: readonly Compared[]): Figure[] {
  const noise = noiseOf(requests.flatMap(({ rounds }) => rounds), rate)
  return requests.map(({ name, rounds, least }) => ({
    name: `${name}: rate over https.Agent's`, value: over(rounds, mine, rate), noise, unit: '×',
    ...(least === undefined ? {} : { least }),
  }))
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
