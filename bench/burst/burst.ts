/**
 * A thousand requests at once on an agent that has no connection yet, with and without `maxSockets`: how long the
 * slowest wait, and how many handshakes that makes, beside `https.Agent`. Then the same where one server of three
 * accepts connections and does nothing else. Servers and clients are processes of their own; clients take turns.
 */
import type { Burst, BurstQuestion, Side } from './client.ts'
import { interleaved, median, pairedRatio, quantile } from '../measure.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import type { ServerAnswer, ServerQuestion } from '../support/server.ts'
import { Worker } from '../support/worker.ts'

type Server = Worker<ServerQuestion, ServerAnswer>
type Client = Worker<BurstQuestion, Burst>

const REQUESTS = 1_000
/** Before: what the compiler makes of the code is made then. */
const WARM_UP = 300
const LIMITS = [Infinity, 100] as const
const TURNS = 2
/** The stock agent stands in twice: what it differs from itself by is noise. */
const SIDES: readonly Side[] = ['mine', 'stock', 'stock']
/** ms: the default of the option. */
const ATTEMPT_DELAY = 250

interface Seen extends Burst {
  readonly handshakes: number
}

interface Row {
  readonly maxSockets: number
  readonly mine: readonly Seen[]
  readonly stock: readonly Seen[]
  /** The stock one again. */
  readonly again: readonly Seen[]
}

/** One of three servers hangs, or none does. */
interface HungRow {
  readonly maxSockets: number
  readonly calm: readonly Seen[]
  readonly hung: readonly Seen[]
}

export async function run({ quick, dist }: Options): Promise<Report> {
  const requests = quick ? 50 : REQUESTS
  const servers: Server[] = []
  const clients: Client[] = []
  try {
    for (let count = 0; count < 3; count += 1) {
      servers.push(new Worker(new URL('../support/server.ts', import.meta.url)))
      clients.push(new Worker(new URL('client.ts', import.meta.url)))
    }
    const addresses = await Promise.all(servers.map(addressOf))
    const ask = { dist, requests, addresses }
    const rows: Row[] = []
    const hungRows: HungRow[] = []
    for (const maxSockets of LIMITS) rows.push(await alone(servers, clients, { ...ask, maxSockets }, quick ? 1 : TURNS))
    for (const maxSockets of LIMITS) {
      hungRows.push(await ofThree(servers, clients, { ...ask, maxSockets }, quick ? 1 : TURNS))
    }
    return reportOf(requests, rows, hungRows)
  } finally {
    for (const worker of [...clients, ...servers]) await worker.end()
  }
}

interface Asked {
  readonly dist: string
  readonly requests: number
  readonly addresses: readonly string[]
  readonly maxSockets: number
}

async function addressOf(server: Server): Promise<string> {
  const { port } = await server.ask({ what: 'address' })
  return `127.0.0.1:${port}`
}

/** One server, which works. */
async function alone(
  servers: readonly Server[], clients: readonly Client[], { addresses, ...asked }: Asked, turns: number,
): Promise<Row> {
  const [server = ''] = addresses
  const sides = SIDES.map((side, index) => ({ side, client: clients[index] }))
  const ask = ({ side, client }: typeof sides[number], requests = asked.requests): Promise<Seen> =>
    burst(servers, client, { ...asked, requests, side, server, alternates: [] })
  for (const side of sides) await ask(side, Math.min(WARM_UP, asked.requests))
  const [mine = [], stock = [], again = []] = await interleaved(sides, turns, (side) => ask(side))
  return { maxSockets: asked.maxSockets, mine, stock, again }
}

/** Three servers, all of which the agent knows; in turn all of them work, and the first one hangs. */
async function ofThree(
  servers: readonly Server[], [client]: readonly Client[], { addresses, ...asked }: Asked, turns: number,
): Promise<HungRow> {
  const [server = '', ...alternates] = addresses
  for (const each of servers) await each.ask({ what: 'list', addresses })
  const [first, ...others] = servers
  const states = [{ hangs: false }, { hangs: true }]
  const [calm = [], hung = []] = await interleaved(states, turns, async ({ hangs }) => {
    if (hangs) first?.suspend()
    try {
      return await burst(hangs ? others : servers, client, { ...asked, side: 'mine', server, alternates })
    } finally {
      first?.resume()
    }
  })
  return { maxSockets: asked.maxSockets, calm, hung }
}

/** One burst, and how many handshakes those servers saw meanwhile. */
async function burst(servers: readonly Server[], client: Client | undefined, question: BurstQuestion): Promise<Seen> {
  if (client === undefined) throw new Error('a burst without a client')
  const before = await handshakes(servers)
  const seen = await client.ask(question)
  return { ...seen, handshakes: await handshakes(servers) - before }
}

async function handshakes(servers: readonly Server[]): Promise<number> {
  const counts = await Promise.all(servers.map((server) => server.ask({ what: 'counts' })))
  return counts.reduce((total, { connections }) => total + connections, 0)
}

// ---- what it comes to

function reportOf(requests: number, rows: readonly Row[], hungRows: readonly HungRow[]): Report {
  return {
    bench: 'burst',
    tables: [coldTable(requests, rows), hungTable(requests, hungRows)],
    figures: [...rows.flatMap((row) => coldFigures(requests, row)), ...hungRows.flatMap(hungFigures)],
    notes: ['medians of bursts that took turns; https.Agent² is the stock one once more, in another process'],
  }
}

const COLUMNS = ['p50 ms', 'p99 ms', 'slowest ms', 'handshakes', 'failed', 'CPU ms'] as const

function coldTable(requests: number, rows: readonly Row[]): Table {
  return {
    title: `burst: ${requests} requests at once on a cold agent`,
    columns: ['', 'maxSockets', ...COLUMNS],
    rows: rows.flatMap(({ maxSockets, mine, stock, again }): Cell[][] => [
      ['this module', limitText(maxSockets), ...cells(mine)],
      ['https.Agent', limitText(maxSockets), ...cells(stock)],
      ['https.Agent²', limitText(maxSockets), ...cells(again)],
    ]),
  }
}

function hungTable(requests: number, rows: readonly HungRow[]): Table {
  return {
    title: `burst: the same ${requests} by this module, which knows three servers`,
    columns: ['', 'maxSockets', ...COLUMNS],
    rows: rows.flatMap(({ maxSockets, calm, hung }): Cell[][] => [
      ['all work', limitText(maxSockets), ...cells(calm)],
      ['the seed hangs', limitText(maxSockets), ...cells(hung)],
    ]),
  }
}

function limitText(maxSockets: number): string {
  return maxSockets === Infinity ? 'none' : String(maxSockets)
}

function cells(bursts: readonly Seen[]): number[] {
  const of = (value: (seen: Seen) => number): number => median(bursts.map(value))
  return [
    of(p50), of(p99), of(({ times }) => Math.max(...times)), of((seen) => seen.handshakes), of(({ failed }) => failed),
    of(({ cpu }) => cpu),
  ]
}

function coldFigures(requests: number, { maxSockets, mine, stock, again }: Row): Figure[] {
  const name = `${requests} at once, maxSockets ${limitText(maxSockets)}`
  const over = (value: (seen: Seen) => number): Pick<Figure, 'value' | 'noise' | 'unit' | 'most'> => ({
    value: pairedRatio(mine.map(value), stock.map(value)), noise: pairedRatio(again.map(value), stock.map(value)),
    unit: '×', most: 1.1,
  })
  return [
    { name: `${name}: p50 over https.Agent's`, ...over(p50) },
    { name: `${name}: p99 over https.Agent's`, ...over(p99) },
    { name: `${name}: handshakes over https.Agent's`, ...over((seen) => seen.handshakes) },
    { name: `${name}: requests that failed`, value: median(mine.map(({ failed }) => failed)), unit: '', most: 0 },
  ]
}

function hungFigures({ maxSockets, calm, hung }: HungRow): Figure[] {
  const name = `one of three hangs, maxSockets ${limitText(maxSockets)}`
  return [
    {
      name: `${name}: p99, of which attemptDelay is ${ATTEMPT_DELAY}`, value: median(hung.map(p99)), unit: 'ms',
      most: ATTEMPT_DELAY + 1.5 * median(calm.map(p99)),
    },
    { name: `${name}: requests that failed`, value: Math.max(...hung.map(({ failed }) => failed)), unit: '', most: 0 },
  ]
}

function p50({ times }: Seen): number {
  return quantile([...times], 0.5)
}

function p99({ times }: Seen): number {
  return quantile([...times], 0.99)
}
