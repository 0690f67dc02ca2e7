/**
 * Watches of an event a second each, from a hundred to twenty thousand, held by this module's agent and by
 * `https.Agent`: what they cost, what they weigh, and how long they take to open. Each agent has a client and a server
 * in processes of their own. They open in turn, while nothing is sent; what events cost is measured at the same time,
 * slice by slice.
 */
import { spawnSync } from 'node:child_process'
import type { Opened, ScaleQuestion, Side, Watched, Weighed } from './client.ts'
import { median, pairedRatio } from '../measure.ts'
import type { Cell, Figure, Options, Report } from '../report.ts'
import type { ServerAnswer, ServerQuestion } from '../support/server.ts'
import { Worker } from '../support/worker.ts'

interface Size {
  readonly watches: number
  /** Who holds them, a group at a time: those of a group at the same time. */
  readonly groups: readonly (readonly Side[])[]
}

const BOTH: Size['groups'] = [['mine', 'stock']]
/** The stock agent stands in twice: what it differs from itself by is noise. */
const TWICE: Size['groups'] = [['mine', 'stock', 'stock']]
/** So many that two cores cannot serve those of both at once. */
const LONG: Size = { watches: 20_000, groups: [['mine'], ['stock']] }
const SIZES: readonly Size[] = [
  { watches: 100, groups: BOTH }, { watches: 1_000, groups: BOTH }, { watches: 4_000, groups: TWICE },
]
const QUICK: readonly Size[] = [{ watches: 100, groups: BOTH }, { watches: 300, groups: TWICE }]
const SLICES = 5
/** ms */
const SLICE = 1_000
/** ms of events before that: what was made for the opening alone is done, and what takes events is compiled. */
const WARM_UP = 2_000
/** From so many on something is promised; below, the process itself is most of what is measured. */
const PROMISED = 4_000
/** Below so many, what a process gives back to the system meanwhile is more than what they take. */
const WEIGHTY = 1_000
/** Descriptors that a process needs for itself. */
const OWN_DESCRIPTORS = 100
/** What a socket may weigh beyond the stock agent's, in bytes. */
const HEAP = 2_000

type Client = Worker<ScaleQuestion, Opened | Watched | Weighed>

/** What one agent held. */
interface Held extends Opened, Weighed {
  readonly slices: readonly Watched[]
}

interface Row {
  readonly watches: number
  readonly mine: Held
  readonly stock: Held
  /** The stock one again; undefined where it is not held again. */
  readonly again: Held | undefined
}

export async function run({ quick, long, dist, only }: Options): Promise<Report> {
  const most = Math.max(0, descriptors() - OWN_DESCRIPTORS)
  const rows: Row[] = []
  for (const { watches: wanted, groups } of quick ? QUICK : long ? [...SIZES, LONG] : SIZES) {
    const watches = Math.min(wanted, most)
    if (!String(wanted).includes(only)) continue
    const held: Held[] = []
    for (const sides of groups) held.push(...await holdAll(sides, { dist, watches }, quick ? 1 : SLICES))
    const [mine, stock, again] = held
    if (mine !== undefined && stock !== undefined) rows.push({ watches, mine, stock, again })
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
        ...(row.again === undefined ? [] : [cells('https.Agent²', row, ({ again, stock }) => again ?? stock, rows[0])]),
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

/** They open in turn, and are then measured side by side: what disturbs the machine disturbs all of them. */
async function holdAll(
  sides: readonly Side[], question: { readonly dist: string; readonly watches: number }, slices: number,
): Promise<Held[]> {
  const holders: Holder[] = []
  const each = <T>(ask: (holder: Holder, index: number) => Promise<T>): Promise<T[]> => Promise.all(holders.map(ask))
  try {
    for (const side of sides) {
      const holder = new Holder()
      holders.push(holder)
      await holder.open(side, question)
    }
    // Their parts of a second's events do not meet.
    await each((holder, index) => holder.send(index / holders.length))
    await each((holder) => holder.watch(WARM_UP))
    for (let slice = 0; slice < slices; slice += 1) await each((holder) => holder.measure())
    return await each((holder) => holder.held())
  } finally {
    for (const holder of holders) await holder.end()
  }
}

/** One agent, with a server of its own. */
class Holder {
  readonly #server = new Worker<ServerQuestion, ServerAnswer>(new URL('../support/server.ts', import.meta.url))
  readonly #client: Client = new Worker(new URL('client.ts', import.meta.url))
  readonly #slices: Watched[] = []
  #opened: Opened = { opening: NaN, openingCpu: NaN }

  async open(side: Side, question: { readonly dist: string; readonly watches: number }): Promise<void> {
    const { port } = await this.#server.ask({ what: 'address' })
    const answer = await this.#client.ask({ what: 'open', side, port, ...question })
    this.#opened = 'opening' in answer ? answer : unanswered('open')
  }

  /** Events come from now on. */
  async send(share: number): Promise<void> {
    await this.#server.ask({ what: 'send', share })
  }

  async watch(ms: number): Promise<Watched> {
    const answer = await this.#client.ask({ what: 'watch', ms })
    return 'cpu' in answer ? answer : unanswered('watch')
  }

  async measure(): Promise<void> {
    this.#slices.push(await this.watch(SLICE))
  }

  async held(): Promise<Held> {
    const answer = await this.#client.ask({ what: 'weigh' })
    const weighed = 'heap' in answer ? answer : unanswered('weigh')
    return { ...this.#opened, ...weighed, slices: this.#slices }
  }

  async end(): Promise<void> {
    await this.#client.end()
    await this.#server.end()
  }
}

function unanswered(what: ScaleQuestion['what']): never {
  throw new Error(`the client does not answer '${what}'`)
}

function cells(name: string, row: Row, its: (row: Row) => Held, first: Row | undefined): Cell[] {
  const held = its(row)
  return [
    row.watches, name, 100 * median(cpus(held)), pairedRatio(cpus(held), cpus(row.stock)), cpuOfEvent(row, held),
    first === undefined ? NaN : cpuOfEvent(row, held) / cpuOfEvent(first, its(first)),
    held.heap / 1_000, row.watches < WEIGHTY ? NaN : held.resident / 1_000,
    held.opening / 1_000, held.opening / row.stock.opening,
    held.openingCpu / row.watches, median(held.slices.map(({ events }) => events)),
  ]
}

function figuresOf({ watches, mine, stock, again }: Row): Figure[] {
  const name = `${watches} watches`
  return [
    {
      name: `${name}: CPU over https.Agent's`, value: pairedRatio(cpus(mine), cpus(stock)), unit: '×', most: 1.15,
      ...(again !== undefined && { noise: pairedRatio(cpus(again), cpus(stock)) }),
    },
    {
      name: `${name}: heap of a socket beyond https.Agent's`, value: (mine.heap - stock.heap) / 1_000, unit: 'kB',
      most: HEAP / 1_000,
    },
    {
      name: `${name}: time to open them over https.Agent's`, value: mine.opening / stock.opening, unit: '×', most: 1.1,
      ...(again !== undefined && { noise: again.opening / stock.opening }),
    },
  ]
}

function cpus({ slices }: Held): number[] {
  return slices.map(({ cpu }) => cpu)
}

/** In µs. */
function cpuOfEvent({ watches }: Row, { slices }: Held): number {
  return median(slices.map(({ cpu, events }) => cpu / (events * watches))) * 1e6
}

/** How many descriptors a process may open here. */
function descriptors(): number {
  const { stdout } = spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' })
  const limit = Number.parseInt(stdout, 10)
  return Number.isNaN(limit) ? Infinity : limit
}
