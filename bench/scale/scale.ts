/**
 * Watches of an event a second each, from a hundred to twenty thousand, held by this module's agent and by
 * `https.Agent`: what they cost, what they weigh, and how long they take to open. Server and client are processes of
 * their own, and new ones each time; the two agents take turns.
 */
import { spawnSync } from 'node:child_process'
import type { ScaleQuestion, Side, Weighed } from './client.ts'
import { interleaved, median, ratio } from '../measure.ts'
import type { Cell, Figure, Options, Report } from '../report.ts'
import type { ServerAnswer, ServerQuestion } from '../support/server.ts'
import { Worker } from '../support/worker.ts'

/** How many watches, how often each agent holds them, and whether the stock agent stands in a second time. */
const LONG = { watches: 20_000, turns: 1, twice: false } as const
const SIZES = [
  { watches: 100, turns: 1, twice: false }, { watches: 1_000, turns: 1, twice: false },
  { watches: 4_000, turns: 2, twice: true },
] as const
const QUICK = [{ watches: 100, turns: 1, twice: false }, { watches: 300, turns: 1, twice: true }] as const
/** From so many on something is promised; below, the process itself is most of what is measured. */
const PROMISED = 4_000
/** Descriptors that a process needs for itself. */
const OWN_DESCRIPTORS = 100
/** What a socket may weigh beyond the stock agent's, in bytes. */
const HEAP = 2_000

/** The stock agent stands in twice: what it differs from itself by is noise. */
const SIDES: readonly Side[] = ['mine', 'stock', 'stock']

interface Row {
  readonly watches: number
  readonly mine: readonly Weighed[]
  readonly stock: readonly Weighed[]
  /** The stock one again; empty where it is not held again. */
  readonly again: readonly Weighed[]
}

export async function run({ quick, long, dist, only }: Options): Promise<Report> {
  const most = Math.max(0, descriptors() - OWN_DESCRIPTORS)
  const rows: Row[] = []
  for (const { watches: wanted, turns, twice } of quick ? QUICK : long ? [...SIZES, LONG] : SIZES) {
    const watches = Math.min(wanted, most)
    if (!String(wanted).includes(only)) continue
    const sides = twice ? SIDES : SIDES.slice(0, 2)
    const [mine = [], stock = [], again = []] =
      await interleaved(sides, turns, (side) => weigh({ side, dist, watches, ms: quick ? 1_000 : 4_000 }))
    rows.push({ watches, mine, stock, again })
  }
  return {
    bench: 'scale',
    tables: [{
      title: 'scale: watches of an event a second each',
      columns: [
        'watches', 'held by', 'CPU % of a core', '× stock', 'CPU µs an event', 'growth', 'heap kB a socket',
        'process kB a socket', 'opened in s', '× stock', 'CPU ms a socket opened', 'events a second and watch',
      ],
      rows: rows.flatMap((row) => [
        cells('this module', row, ({ mine }) => mine, rows[0]),
        cells('https.Agent', row, ({ stock }) => stock, rows[0]),
        ...(row.again.length > 0 ? [cells('https.Agent²', row, ({ again }) => again, rows[0])] : []),
      ]),
    }],
    figures: rows.filter(({ watches }) => watches >= PROMISED).flatMap(figuresOf),
    notes: [
      'growth: the CPU of an event over what it is in the first row; https.Agent² is the stock one once more',
      ...(long && most < LONG.watches
        ? [`a process may open ${most + OWN_DESCRIPTORS} descriptors here, so ${most} watches`]
        : []),
    ],
  }
}

async function weigh(question: Omit<ScaleQuestion, 'port'>): Promise<Weighed> {
  const server = new Worker<ServerQuestion, ServerAnswer>(new URL('../support/server.ts', import.meta.url))
  const client = new Worker<ScaleQuestion, Weighed>(new URL('client.ts', import.meta.url))
  try {
    const { port } = await server.ask({ what: 'address' })
    return await client.ask({ ...question, port })
  } finally {
    await client.end()
    await server.end()
  }
}

function cells(name: string, row: Row, its: (row: Row) => readonly Weighed[], first: Row | undefined): Cell[] {
  const seen = its(row)
  const of = (value: (weighed: Weighed) => number): number => median(seen.map(value))
  return [
    row.watches, name, 100 * of(cpu), ratio(seen.map(cpu), row.stock.map(cpu)), cpuOfEvent(row, seen),
    first === undefined ? NaN : cpuOfEvent(row, seen) / cpuOfEvent(first, its(first)),
    of(heap) / 1_000, of(({ resident }) => resident) / 1_000,
    of(opening) / 1_000, ratio(seen.map(opening), row.stock.map(opening)),
    of(({ openingCpu }) => openingCpu) / row.watches, of(({ events }) => events),
  ]
}

function figuresOf({ watches, mine, stock, again }: Row): Figure[] {
  const name = `${watches} watches`
  const heapBeyond = (median(mine.map(heap)) - median(stock.map(heap))) / 1_000
  const compared = (value: (weighed: Weighed) => number): Pick<Figure, 'value' | 'noise' | 'unit'> => ({
    value: ratio(mine.map(value), stock.map(value)), unit: '×',
    ...(again.length > 0 && { noise: ratio(again.map(value), stock.map(value)) }),
  })
  return [
    { name: `${name}: CPU over https.Agent's`, ...compared(cpu), most: 1.15 },
    { name: `${name}: heap of a socket beyond https.Agent's`, value: heapBeyond, unit: 'kB', most: HEAP / 1_000 },
    { name: `${name}: time to open them over https.Agent's`, ...compared(opening), most: 1.1 },
  ]
}

function cpu(weighed: Weighed): number {
  return weighed.cpu
}

function heap(weighed: Weighed): number {
  return weighed.heap
}

function opening(weighed: Weighed): number {
  return weighed.opening
}

/** In µs. */
function cpuOfEvent({ watches }: Row, its: readonly Weighed[]): number {
  return median(its.map((weighed) => weighed.cpu / (weighed.events * watches))) * 1e6
}

/** How many descriptors a process may open here. */
function descriptors(): number {
  const { stdout } = spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })
  const limit = Number.parseInt(stdout, 10)
  return Number.isNaN(limit) ? Infinity : limit
}
