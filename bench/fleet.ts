/**
 * What a fleet of clients does to the servers of one control plane, in virtual time: how evenly they are loaded, and how
 * many handshakes come at once when servers come and go. What is simulated, and what is not, is said in lib-fleet.ts.
 */
import type * as OptionsModule from '../lib/core/options.ts'
import type { Settings } from '../lib/core/options.ts'
import { moduleOf } from './lib-dist.ts'
import { type Core, Fleet, mean, peak, RETRY_WINDOW } from './lib-fleet.ts'
import type { Cell, Figure, Options, Report, Table } from './lib-report.ts'

const MINUTE = 60_000
/** ms. Long beside a watch (2 to 4 minutes), which it waits for: only an idle connection is not used again. */
const AGE = 12 * MINUTE
const BALANCED = 1.1
/** In a smaller fleet chance makes peaks: that of a number as small as a few dozen a second is far above its mean. */
const MANY = 10_000
/** How often the load is looked at. */
const LOOK = 10_000

interface Mode {
  readonly name: string
  readonly change: Partial<Settings>
}

const MODES: readonly Mode[] = [
  { name: 'sticky', change: { balance: 'sticky' } },
  { name: 'sticky, age', change: { balance: 'sticky', maxConnectionAge: AGE } },
  { name: 'spread', change: { balance: 'spread' } },
  { name: 'spread, age', change: { balance: 'spread', maxConnectionAge: AGE } },
]
const BEST = 'spread, age'

interface Scenario {
  readonly name: string
  /** Before it begins, in ms; the clients start at random within that time, or all within 10 s where there is none. */
  readonly before: number
  /** Lets the fault come and go; returns when it is over. */
  readonly play: (fleet: Fleet, look: () => void) => void
  /** Where all servers were down there are peaks to be bounded. */
  readonly outage?: boolean
}

const SCENARIOS: readonly Scenario[] = [
  { name: 'start-up from one seed', before: 0, play: () => undefined },
  { name: 'rolling restart', before: AGE, play: rollingRestart },
  { name: 'one down for 10 min', before: AGE, play: oneDown },
  { name: 'two more', before: AGE, play: (fleet) => { fleet.add(); fleet.add() } },
  { name: 'all down for 60 s', before: AGE, play: allDown, outage: true },
]

function rollingRestart(fleet: Fleet, look: () => void): void {
  for (const index of fleet.servers.keys()) {
    fleet.list(index, false)
    fleet.down(index)
    pass(fleet, 30_000, look)
    fleet.up(index)
    fleet.list(index, true)
    pass(fleet, 90_000, look)
  }
}

function oneDown(fleet: Fleet, look: () => void): void {
  const last = fleet.servers.length - 1
  fleet.down(last)
  // The lease of a server that was killed ends, and the others drop it.
  pass(fleet, 20_000, look)
  fleet.list(last, false)
  pass(fleet, 10 * MINUTE - 20_000, look)
  fleet.up(last)
  fleet.list(last, true)
}

function allDown(fleet: Fleet, look: () => void): void {
  for (const index of fleet.servers.keys()) fleet.down(index)
  pass(fleet, MINUTE, look)
  for (const index of fleet.servers.keys()) fleet.up(index)
}

function pass(fleet: Fleet, ms: number, look: () => void): void {
  const until = fleet.now + ms
  while (fleet.now < until) {
    fleet.runUntil(Math.min(until, fleet.now + LOOK))
    look()
  }
}

interface Outcome {
  readonly scenario: string
  readonly mode: string
  readonly clients: number
  readonly servers: number
  readonly during: number
  readonly after: number
  /** ms from the end of the fault until max/mean is 1.1 for the first time; Infinity where it never is. */
  readonly balancedIn: number
  /** Handshakes in the worst second of the server that has the most, from the beginning of the fault, and from its end. */
  readonly peak: number
  readonly peakAfter: number
  /** A second, of the fleet, when it is calm again. */
  readonly heartbeats: number
  readonly handshakes: number
  readonly failed: number
  readonly bound: number | undefined
  /** Of this simulation. */
  readonly microseconds: number
  readonly events: number
}

export async function run({ quick, dist, seed, only }: Options): Promise<Report> {
  const core: Core = await import(moduleOf(dist, 'core/step'))
  const { DEFAULTS }: typeof OptionsModule = await import(moduleOf(dist, 'core/options'))
  const play = (scenario: Scenario, mode: Mode, clients: number, servers: number): Outcome =>
    simulate(core, { ...DEFAULTS, ...mode.change }, scenario, mode.name, clients, servers, seed)
  const wanted = SCENARIOS.filter(({ name }) => name.includes(only))
  const few = quick ? 100 : 500
  const others = MODES.filter(({ name }) => name !== BEST)
  const small = wanted.flatMap((scenario) => others.map((mode) => play(scenario, mode, 3 * few, 3)))
  const best = MODES.filter(({ name }) => name === BEST)
  // As many for each server, so that chance alone unbalances none more than the others.
  const large = wanted.flatMap((scenario) => [3, 5, 7].flatMap((servers) => best.map((mode) => play(scenario, mode, few * servers, servers))))
  const [startUp] = SCENARIOS
  const outage = wanted.filter((scenario) => scenario.outage === true && !quick).flatMap((scenario) => best.map((mode) => play(scenario, mode, MANY, 3)))
  const sizes = quick ? [200, 1_000, 5_000] : [1_000, 10_000, 100_000]
  const growing = startUp === undefined ? [] : sizes.map((clients) => briefly(core, { ...DEFAULTS, ...best[0]?.change }, clients, seed))
  return {
    bench: 'fleet',
    tables: [...wanted.map((scenario) => outcomes(scenario, [...small, ...large, ...outage])), growth(growing), silence(core, DEFAULTS, 2 * few, seed)],
    figures: [...figures([...large, ...outage]), ...linear(growing)],
    notes: [
      `a client has one busy watch of 2 to 4 minutes at a time and a new connection every 5 minutes; age is ${AGE / MINUTE} minutes; seed ${seed}`,
      'load is watches; handshakes are of callers and of discovery together; balanced in: from the end of the fault',
    ],
  }
}

function simulate(
  core: Core, settings: Settings, scenario: Scenario, mode: string, clients: number, servers: number, seed: number,
): Outcome {
  const from = process.cpuUsage()
  const startWithin = scenario.before === 0 ? 10_000 : scenario.before
  const fleet = new Fleet(core, { clients, servers, settings, seed, startWithin, silent: false })
  // As long again, so that the fleet has forgotten how it started.
  fleet.runUntil(2 * scenario.before)
  const began = fleet.now
  let during = 0
  const failedBefore = fleet.dials.failed
  scenario.play(fleet, () => { during = Math.max(during, fleet.imbalance()) })
  const ended = fleet.now
  const settle = settings.maxConnectionAge === undefined ? 15 * MINUTE : 1.7 * AGE
  let balancedAt = Infinity
  pass(fleet, settle, () => {
    if (balancedAt === Infinity && fleet.imbalance() <= BALANCED) balancedAt = fleet.now
  })
  const seconds = fleet.servers.map(({ handshakes }) => handshakes)
  const calm = fleet.now - 10 * MINUTE
  const bound = scenario.outage === true ? 2 * clients / (servers * RETRY_WINDOW / 1_000) : undefined
  return {
    scenario: scenario.name, mode, clients, servers, during, after: fleet.imbalance(), balancedIn: balancedAt - ended, bound,
    peak: Math.max(...seconds.map((each) => peak(each, began, fleet.now))),
    peakAfter: Math.max(...seconds.map((each) => peak(each, ended, fleet.now))),
    heartbeats: mean(fleet.heartbeats, calm, fleet.now),
    handshakes: seconds.reduce((total, each) => total + mean(each, calm, fleet.now), 0),
    failed: fleet.dials.failed - failedBefore,
    microseconds: spent(from), events: fleet.events,
  }
}

/** A start-up and two minutes, whatever the number of clients, to see that the cost of each stays the same. */
function briefly(core: Core, settings: Settings, clients: number, seed: number): { clients: number; microseconds: number; events: number; megabytes: number } {
  globalThis.gc?.()
  const before = process.memoryUsage()
  const from = process.cpuUsage()
  const fleet = new Fleet(core, { clients, servers: 3, settings, seed, startWithin: 10_000, silent: false })
  fleet.runUntil(2 * MINUTE)
  const microseconds = spent(from)
  globalThis.gc?.()
  const after = process.memoryUsage()
  const megabytes = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / 1e6
  return { clients: fleet.watching === clients ? clients : NaN, microseconds, events: fleet.events, megabytes }
}

/** µs of CPU, as other processes take their share of the clock. */
function spent(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from)
  return user + system
}

function outcomes(scenario: Scenario, all: readonly Outcome[]): Table {
  const rows = all.filter((outcome) => outcome.scenario === scenario.name)
  return {
    title: `fleet: ${scenario.name}`,
    columns: ['mode', 'clients', 'servers', 'max/mean during', 'after', 'balanced in min', 'peak handshakes/s a server', 'after the fault',
      'bound', 'calm: lists/s', 'handshakes/s', 'failed dials', 'CPU µs a client'],
    rows: rows.map((row): Cell[] => [
      row.mode, row.clients, row.servers, row.during === 0 ? '' : row.during, row.after, row.balancedIn / MINUTE, row.peak, row.peakAfter,
      row.bound ?? '', row.heartbeats, row.handshakes, row.failed, row.microseconds / row.clients,
    ]),
  }
}

function growth(growing: readonly { clients: number; microseconds: number; events: number; megabytes: number }[]): Table {
  return {
    title: `fleet: cost of the simulation, 2 virtual minutes from start-up, ${BEST}, 3 servers`,
    columns: ['clients', 'CPU s', 'CPU µs a client', 'events/s', 'MB'],
    rows: growing.map(({ clients, microseconds, events, megabytes }) =>
      [clients, microseconds / 1e6, microseconds / clients, events / microseconds * 1e6, megabytes]),
  }
}

/** What a fleet costs the servers whose watches carry nothing at all: each client asks its own. */
function silence(core: Core, defaults: Settings, clients: number, seed: number): Table {
  const fleet = new Fleet(core, { clients, servers: 3, settings: defaults, seed, startWithin: 10_000, silent: true })
  fleet.runUntil(5 * MINUTE)
  const lists = mean(fleet.heartbeats, 2 * MINUTE, 5 * MINUTE)
  return {
    title: 'fleet: watches that carry nothing, sticky, 3 servers',
    columns: ['clients', 'lists/s of the fleet', 'a client', 'peak/s'],
    rows: [[clients, lists, lists / clients, peak(fleet.heartbeats, 2 * MINUTE, 5 * MINUTE)]],
  }
}

function figures(aged: readonly Outcome[]): Figure[] {
  const balanced = aged.map(({ balancedIn }) => balancedIn / AGE)
  const peaks = aged.flatMap(({ clients, peakAfter, bound }) => bound === undefined || clients < MANY ? [] : peakAfter / bound)
  return [
    ...(balanced.length === 0 ? [] : [{
      name: `${BEST}: max/mean ≤ ${BALANCED} within so many ages of the end of a fault, at worst`, value: Math.max(...balanced), unit: 'ages', most: 1,
    }]),
    ...(peaks.length === 0 ? [] : [{
      name: 'peak after an outage over 2N / (servers × the window of retries)', value: Math.max(...peaks), unit: '×', most: 1,
    }]),
  ]
}

function linear(growing: readonly { clients: number; microseconds: number }[]): Figure[] {
  const [fewest] = growing
  const most = growing.at(-1)
  if (fewest === undefined || most === undefined) return []
  const value = (most.microseconds / most.clients) / (fewest.microseconds / fewest.clients)
  return [{ name: `cost per client of ${most.clients} over that of ${fewest.clients}`, value, unit: '×' }]
}
