/**
 * What a fault costs a client: one of this module, of Node's agent, of @kubernetes/client-node alone and with this
 * module, and one behind HAProxy. All of them suffer the same fault of the same server at the same moment. Each is a
 * process of its own.
 */
import { enterClientNamespace, unavailable } from '../../spec/cluster/enter.ts'
import { type HAProxy, haproxyVersion, startHAProxy } from './haproxy.ts'
import { availableClients, type Target } from '../support/client-node.ts'
import { type FailoverQuestion, type Kind, OBJECT, type Seen, VERSION } from './client-protocol.ts'
import { median, sum } from '../measure.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import type { Refused, RefusedQuestion } from './refused-client.ts'
import { embedded, FAULTS, type FaultName, real, type Setting, type Stage } from './stage.ts'
import { Worker } from '../support/worker.ts'

type Client = Worker<FailoverQuestion, Seen>

/** How a fault is observed. */
interface Manner {
  /** ms from its beginning, and from its end where it ends by itself. */
  readonly window: number
  /** ms between two requests, each on a new connection, where the fault is in the handshake. Undefined: kept ones. */
  readonly unkeptPace?: number
  /**
   * How many of these run side by side. Kept connections cost next to nothing, and waiting nothing at all, so several
   * do not disturb each other.
   */
  readonly lanes: number
  /** RUNS unless told otherwise. */
  readonly runs?: number
  readonly setting: Setting
  /** What is asked for; VERSION unless told otherwise. */
  readonly requestPath?: string
  /** The stock agent and HAProxy alone are beside: client-node cannot be put on the server that is to fail. */
  readonly isField?: boolean
}

/** What is over at once is measured alone, as all clients dial at the same time, and more often: ms decide. */
const AT_ONCE: Manner = { window: 2_000, lanes: 1, runs: 5, setting: 'direct' }
const SILENT: Manner = { window: 11_000, lanes: 5, setting: 'direct' }
const HANDSHAKE: Manner = { window: 1_500, unkeptPace: 100, lanes: 5, setting: 'direct' }
/** Servers that start compete for the machine with the clients that wait for them: one runs at a time, or two. */
const LASTING: Manner = { window: 1_500, lanes: 1, setting: 'direct' }
const OUTAGE: Manner = { window: 1_500, lanes: 2, setting: 'direct' }
/** A server that refuses is found out soon, or never. */
const REFUSAL: Manner = { window: 4_000, lanes: 5, setting: 'direct', isField: true }
/** Its watches are promised back within 30 s; HAProxy cuts what is silent after 35. */
const HOLLOW: Manner = { window: 33_000, lanes: 5, setting: 'direct', requestPath: OBJECT, isField: true }
const FRONTED: Manner = { window: 14_000, lanes: 5, setting: 'balancer', isField: true }
const KEPT_PACE = 20
/** Those of a group side by side: behind a balancer all is waiting. */
const SETTINGS: readonly (readonly Setting[])[] = [['direct'], ['balancer', 'balancer, no list']]
const FIELD_KINDS: readonly Kind[] = ['mine', 'stock', 'haproxy']
const RUNS = 3
/** Runs of dials that are measured by themselves, dials in each, and dials before them to compile the code. */
const DIAL_RUNS = 3
const DIAL_TURNS = 100
const WARM_UP = 400

function mannerOf(fault: FaultName): Manner {
  switch (fault) {
    case 'killed':
      return AT_ONCE
    case 'SIGSTOP':
    case 'reads and writes nothing':
    case 'packets dropped both ways':
    case 'packets dropped to the client':
      return SILENT
    case 'silence in the handshake':
    case 'RST in the handshake':
    case 'FIN in the handshake':
    case 'TLS alert':
    case 'TLS 1.1':
    case 'plain HTTP':
    case 'wrong name':
    case 'wrong CA':
    case 'expired certificate':
    case '200 ms latency':
    case 'half of connections reset':
      return HANDSHAKE
    case 'graceful restart of each':
      return LASTING
    case 'flapping':
    case 'all down for 4 s':
      return OUTAGE
    case '503 to everything':
      return REFUSAL
    case 'etcd lost':
      return HOLLOW
    case 'behind a balancer: SIGSTOP':
      return FRONTED
    case 'behind a balancer: old connections deaf':
      return { ...FRONTED, setting: 'balancer, no list' }
  }
}

interface Contender {
  readonly kind: Kind
  readonly name: string
  readonly client: Client
}

interface Sample {
  readonly calm: Seen
  readonly seen: Seen
}

interface Row {
  readonly fault: FaultName
  readonly samples: ReadonlyMap<Kind, readonly Sample[]>
}

export async function run(options: Options): Promise<Report> {
  if (options.cluster) {
    const reason = unavailable()
    if (reason !== undefined) throw new Error(reason)
    await enterClientNamespace()
  }
  const notes: string[] = []
  const contenders = contendersHere(options, notes)
  try {
    const runsOf = (fault: FaultName): number => (options.quick ? 1 : mannerOf(fault).runs ?? RUNS)
    const wanted = FAULTS.filter((fault) => fault.includes(options.only))
    const rows: Row[] = []
    let dial: Dials = { first: [], refused: [], fresh: [] }
    let made = 0
    const lane = (setting: Setting): Promise<Lane> => laneOf(made++, setting, options)
    const sufferIn = async (setting: Setting): Promise<void> => {
      const faults = wanted.filter((fault) => mannerOf(fault).setting === setting)
      if (faults.length === 0 || (options.cluster && setting !== 'direct')) return
      const first = await lane(setting)
      const lanes = [first]
      try {
        // This comes first, while there are no other lanes to share the machine with.
        if (setting === 'direct') dial = await dials(first, options)
        const widest = Math.max(...faults.map((fault) => mannerOf(fault).lanes))
        const others = options.cluster || options.quick ? 0 : Math.min(widest, sum(faults.map(runsOf))) - 1
        lanes.push(...await Promise.all(Array.from({ length: others }, () => lane(setting))))
        const possible = faults.filter((fault) => first.stage.faults.has(fault))
        rows.push(...await suffer(possible, lanes, contenders, runsOf, options))
      } finally {
        for (const lane of lanes) await lane.stop()
      }
    }
    for (const settings of SETTINGS) await Promise.all(settings.map(sufferIn))
    rows.sort((one, other) => FAULTS.indexOf(one.fault) - FAULTS.indexOf(other.fault))
    return reportOf(rows, contenders, dial, notes)
  } finally {
    for (const { client } of contenders) await client.end()
  }
}

function contendersHere({ cluster, nodes }: Options, notes: string[]): Contender[] {
  const made = (kind: Kind, name: string, node?: string): Contender => (
    { kind, name, client: new Worker(new URL('client.ts', import.meta.url), node) }
  )
  const contenders = [made('mine', 'this module'), made('stock', 'https.Agent')]
  for (const { version, name, node } of availableClients(nodes, notes)) {
    if (version !== '2') continue
    contenders.push(made('client-node 2 with', `${name} with`, node), made('client-node 2', `${name} alone`, node))
  }
  const version = haproxyVersion()
  if (version === undefined) notes.push("HAProxy is left out: not in PATH (Debian's package is haproxy)")
  else if (cluster) notes.push('HAProxy is left out: a real apiserver does not say which one it is, and the fault ' +
    'must be of the one in use')
  else contenders.push(made('haproxy', `HAProxy ${version}`))
  return contenders
}

/** One control plane with a proxy in front of it. Its number is its own. */
interface Lane {
  readonly number: number
  readonly stage: Stage
  readonly proxy: HAProxy | undefined
  /** Where its client finds it. */
  readonly proxyUrl: string
  stop(): Promise<void>
}

async function laneOf(number: number, setting: Setting, { cluster }: Options): Promise<Lane> {
  const stage = await (cluster ? real() : embedded(setting))
  const proxy = haproxyVersion() === undefined ? undefined : await startHAProxy(stage.addresses)
  const port = proxy?.port ?? 0
  const proxyUrl = stage.path === undefined || proxy === undefined
    ? `https://127.0.0.1:${port}`
    : await stage.path(port)
  return {
    number, stage, proxy, proxyUrl,
    stop: async () => {
      await proxy?.stop()
      await stage.stop()
    },
  }
}

/** Plays each fault so many times, spread over the lanes; those that may run side by side do, the longest first. */
async function suffer(
  faults: readonly FaultName[], lanes: readonly Lane[], all: readonly Contender[],
  runsOf: (fault: FaultName) => number, options: Options,
): Promise<Row[]> {
  const contendersOf = (fault: FaultName): readonly Contender[] => (
    mannerOf(fault).isField === true ? all.filter(({ kind }) => FIELD_KINDS.includes(kind)) : all
  )
  const rows = faults.map((fault) => (
    { fault, samples: new Map<Kind, Sample[]>(contendersOf(fault).map(({ kind }) => [kind, []])) }
  ))
  for (const width of new Set(faults.map((fault) => mannerOf(fault).lanes))) {
    const left = rows.filter(({ fault }) => mannerOf(fault).lanes === width)
      .toSorted((one, other) => mannerOf(one.fault).window - mannerOf(other.fault).window)
      .flatMap((row) => Array.from({ length: runsOf(row.fault) }, () => row))
    const work = async (lane: Lane): Promise<void> => {
      for (let row = left.pop(); row !== undefined; row = left.pop()) {
        const { fault, samples } = row
        const seen = await once(fault, mannerOf(fault), lane, contendersOf(fault), options)
        for (const [kind, sample] of seen) samples.get(kind)?.push(sample)
      }
    }
    await Promise.all(lanes.slice(0, width).map(work))
  }
  return rows
}

async function once(
  fault: FaultName, manner: Manner, { number: lane, stage, proxyUrl }: Lane, contenders: readonly Contender[],
  { dist }: Options,
): Promise<Map<Kind, Sample>> {
  const target = targetOf(stage)
  const unkept = manner.unkeptPace !== undefined
  const each = <T>(ask: (contender: Contender) => Promise<T>): Promise<T[]> => Promise.all(contenders.map(ask))
  await each(({ client, kind }) => client.ask({
    what: 'begin', kind, lane, dist, unkept, pace: manner.unkeptPace ?? KEPT_PACE,
    requestPath: manner.requestPath ?? VERSION,
    target: kind === 'haproxy' ? { ...target, url: proxyUrl } : target,
    wanted: kind === 'haproxy' || manner.setting !== 'direct' ? stage.name : undefined,
  }))
  await each(({ client }) => client.ask({ what: 'mark', lane }))
  await pause(500)
  const calm = await each(({ client }) => client.ask({ what: 'seen', lane }))
  await each(({ client }) => client.ask({ what: 'mark', lane }))
  const begin = stage.faults.get(fault)
  const mend = await begin?.()
  await pause(manner.window)
  const seen = await each(({ client }) => client.ask({ what: 'seen', lane }))
  await each(({ client }) => client.ask({ what: 'end', lane }))
  await mend?.()
  return new Map(contenders.map(({ kind }, index) => [kind, { calm: calm[index] ?? NONE, seen: seen[index] ?? NONE }]))
}

const NONE: Seen = { gap: NaN, slowest: NaN, watchGap: NaN, failed: NaN, answered: NaN }

function targetOf({ url, caFile, token }: Stage): Target {
  return { url, caFile, token }
}

interface Dials {
  /** In ms: one of each run. */
  readonly first: readonly number[]
  /** Of all runs. */
  readonly refused: readonly number[]
  readonly fresh: readonly number[]
}

/** Measures a dial whose server was killed, and beside it a handshake with one that lives. */
async function dials({ stage }: Lane, { dist, quick }: Options): Promise<Dials> {
  const begin = stage.faults.get('killed')
  const [, other] = stage.addresses
  if (begin === undefined || other === undefined) throw new Error('a stage where no server can be killed')
  const client = new Worker<RefusedQuestion, Refused>(new URL('refused-client.ts', import.meta.url))
  const runs: Refused[] = []
  try {
    for (let run = 0; run <= (quick ? 1 : DIAL_RUNS); run += 1) {
      const turns = run === 0 ? WARM_UP : quick ? 10 : DIAL_TURNS
      await client.ask({ what: 'prepare', target: targetOf(stage), other, dist, turns })
      const mend = await begin()
      const seen = await client.ask({ what: 'measure' })
      await mend()
      // The first run compiles the code, and is not counted.
      if (run > 0) runs.push(seen)
    }
  } finally {
    await client.end()
  }
  return {
    first: runs.map(({ first }) => first),
    refused: runs.flatMap(({ refused }) => refused), fresh: runs.flatMap(({ fresh }) => fresh),
  }
}

// ---- what it comes to

interface Summary {
  readonly gap: number
  readonly slowest: number
  readonly watchGap: number
  readonly failed: number
}

function summaryOf(samples: readonly Sample[]): Summary {
  const of = (value: (seen: Seen) => number): number => median(samples.map(({ seen }) => value(seen)))
  return {
    gap: of(({ gap }) => gap),
    slowest: of(({ slowest }) => slowest),
    watchGap: of(({ watchGap }) => watchGap),
    failed: of(({ failed }) => failed),
  }
}

/**
 * What two of the same can differ by: the longest pause of a client with nothing wrong. The pace of its requests and
 * events is part of it. A peer that is ahead by less is not ahead.
 */
function noiseOf(row: Row): Pick<Summary, Measure> {
  const calm = [...row.samples.values()].flat().map((sample) => sample.calm)
  const most = (value: (seen: Seen) => number): number => median(calm.map(value).filter(Number.isFinite))
  return {
    gap: most(({ gap }) => gap),
    watchGap: most(({ watchGap }) => watchGap),
    failed: 1,
  }
}

const MEASURES = ['gap', 'watchGap', 'failed'] as const
type Measure = (typeof MEASURES)[number]
/** While nothing serves, each request fails, so the number of failed ones only says how many were made. */
const UNCOUNTED: FaultName = 'all down for 4 s'

/** The measures in which a peer is ahead of this module by more than noise. */
function behind(row: Row, kind: Kind): string[] {
  const mine = row.samples.get('mine') ?? []
  const theirs = row.samples.get(kind) ?? []
  const { gap, slowest } = summaryOf(theirs)
  // A peer that hangs is not ahead: what does not end does not fail.
  if (gap === Infinity || slowest === Infinity) return []
  const noise = noiseOf(row)
  return MEASURES.filter((measure) => {
    if (measure === 'failed' && row.fault === UNCOUNTED) return false
    // The difference is taken within a run: servers take longer to start in one run than in another.
    const behindBy = mine.map(({ seen }, run) => difference(seen[measure], theirs[run]?.seen[measure] ?? NaN))
    // In one run, or two, it may be so by chance.
    return Math.min(...behindBy) > noise[measure]
  })
}

/** Two that are both Infinity do not differ. */
function difference(one: number, other: number): number {
  return one === other ? 0 : one - other
}

function reportOf(
  rows: readonly Row[], contenders: readonly Contender[], { first, refused, fresh }: Dials, notes: readonly string[],
): Report {
  const peers = contenders.filter(({ kind }) => kind !== 'mine' && kind !== 'client-node 2 with')
  const compared = rows.flatMap((row) => (
    peers.filter(({ kind }) => row.samples.has(kind)).map(({ kind }) => ({ row, kind, measures: behind(row, kind) }))
  ))
  const lost = compared.filter(({ measures }) => measures.length > 0)
  const figures: Figure[] = [
    ...(fresh.length === 0 ? [] : [{
      name: 'a dial whose server was killed over a fresh handshake', value: median(refused) / median(fresh),
      unit: '×', most: 1.2,
    }]),
    ...(compared.length === 0 ? [] : [{
      name: `rows and peers, of ${compared.length}, where the peer is ahead`, value: lost.length, unit: '', most: 0,
    }]),
  ]
  return {
    bench: 'failover',
    tables: rows.map((row) => table(row, contenders)),
    figures,
    notes: [
      ...(fresh.length === 0 ? [] : [
        `a dial whose server was killed: ${median(refused).toFixed(2)} ms, the very first after a kill ` +
          `${median(first).toFixed(2)} ms; a fresh handshake ${median(fresh).toFixed(2)} ms`,
      ]),
      'medians, in ms; never: not before the end of the window; (calm): the longest gap with nothing wrong, below ' +
        'which nothing can be told apart',
      ...lost.map(({ row, kind, measures }) => `${row.fault}: ${kind} is ahead in ${measures.join(', ')}`),
      ...notes,
    ],
  }
}

function table(row: Row, contenders: readonly Contender[]): Table {
  const { window, unkeptPace } = mannerOf(row.fault)
  const how = unkeptPace === undefined
    ? `kept connections, a request every ${KEPT_PACE} ms`
    : `a new connection for each request, every ${unkeptPace} ms`
  return {
    title: `failover: ${row.fault} (${how}; window ${window / 1_000} s)`,
    columns: [
      '', 'runs', 'gap', 'worst', 'slowest request', 'watch gap', 'worst', 'failed', 'worst', '(calm gap)',
      '(calm watch)',
    ],
    rows: contenders.filter(({ kind }) => row.samples.has(kind)).map(({ kind, name }): Cell[] => {
      const samples = row.samples.get(kind) ?? []
      const { gap, slowest, watchGap, failed } = summaryOf(samples)
      const worst = (value: (seen: Seen) => number): number => Math.max(...samples.map(({ seen }) => value(seen)))
      return [
        name, samples.length, gap, worst((seen) => seen.gap), slowest,
        watchGap, worst((seen) => seen.watchGap), failed, worst((seen) => seen.failed),
        sum(samples.map(({ calm }) => calm.gap)) / samples.length,
        sum(samples.map(({ calm }) => calm.watchGap)) / samples.length,
      ]
    }),
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
