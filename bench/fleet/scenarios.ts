/**
 * The scenarios of bench/fleet about balance: servers that come and go, how evenly the load is spread, and how many
 * handshakes come at once. Nobody is asked because of silence here: what is asked is in field.ts.
 */
import type { Settings } from '../../lib/core/state.ts'
import type { Core } from '../support/dist.ts'
import { mean, peak } from './counts.ts'
import { Fleet, RETRY_WINDOW } from './simulation.ts'

export const MINUTE = 60_000
/** ms. It is long beside a watch (2 to 4 minutes): a connection is only retired when its watch has ended. */
export const AGE: number = 12 * MINUTE
export const BALANCED = 1.1
/** How often the load is looked at. */
const LOOK = 10_000

export interface Mode {
  readonly name: string
  readonly change: Partial<Settings>
}

export const MODES: readonly Mode[] = [
  { name: 'sticky', change: { balance: 'sticky' } },
  { name: 'sticky, age', change: { balance: 'sticky', maxConnectionAge: AGE } },
  { name: 'spread', change: { balance: 'spread' } },
  { name: 'spread, age', change: { balance: 'spread', maxConnectionAge: AGE } },
]
export const BEST = 'spread, age'

export interface Scenario {
  readonly name: string
  /** ms before it begins. The clients start at random within that time, or within 10 s where it is 0. */
  readonly before: number
  /** Plays the fault from beginning to end, and calls `look` now and then. */
  readonly play: (fleet: Fleet, look: () => void) => void
  /** All servers are down for a while, so that there is a peak with a bound. */
  readonly outage?: boolean
}

export const SCENARIOS: readonly Scenario[] = [
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
  // The lease of the killed server ends, and the others take it off the list.
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

export function pass(fleet: Fleet, ms: number, look: () => void): void {
  const until = fleet.now + ms
  while (fleet.now < until) {
    fleet.runUntil(Math.min(until, fleet.now + LOOK))
    look()
  }
}

export interface Outcome {
  readonly scenario: string
  readonly mode: string
  readonly clients: number
  readonly servers: number
  readonly during: number
  readonly after: number
  /** ms from the end of the fault until max/mean is first at most 1.1; Infinity where it never is. */
  readonly balancedIn: number
  /** For each server, the handshakes of its worst second since the fault began. */
  readonly peaks: readonly number[]
  /** The same since the fault ended, of the server that has the most. */
  readonly peakAfter: number
  /** A second, of the whole fleet, once it is calm again. */
  readonly questions: number
  readonly refreshes: number
  readonly handshakes: number
  readonly failed: number
  readonly bound: number | undefined
  /** Of this simulation. */
  readonly microseconds: number
  readonly events: number
}

/** One scenario with its parameters, as another process is asked to play it. */
export interface Play {
  readonly scenario: string
  readonly mode: string
  readonly clients: number
  readonly servers: number
  readonly seed: number
}

export function simulate(core: Core, asked: Play): Outcome {
  const { clients, servers, seed } = asked
  const scenario = named(SCENARIOS, asked.scenario)
  const settings = { ...core.defaults, heartbeatInterval: 0, ...named(MODES, asked.mode).change }
  const from = process.cpuUsage()
  const startWithin = scenario.before === 0 ? 10_000 : scenario.before
  const fleet = new Fleet(core, { clients, servers, settings, seed, startWithin, workload: 'busy watch' })
  // As long again, so that how it started no longer shows.
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
    scenario: scenario.name, mode: asked.mode, clients, servers, during, after: fleet.imbalance(),
    balancedIn: balancedAt - ended, bound,
    peaks: seconds.map((each) => peak(each, began, fleet.now)),
    peakAfter: Math.max(...seconds.map((each) => peak(each, ended, fleet.now))),
    questions: fleet.servers.reduce((total, { questions }) => total + mean(questions, calm, fleet.now), 0),
    refreshes: mean(fleet.refreshes, calm, fleet.now),
    handshakes: seconds.reduce((total, each) => total + mean(each, calm, fleet.now), 0),
    failed: fleet.dials.failed - failedBefore,
    microseconds: spent(from), events: fleet.events,
  }
}

export function named<T extends { readonly name: string }>(all: readonly T[], name: string): T {
  const found = all.find((each) => each.name === name)
  if (found === undefined) throw new RangeError(`there is no '${name}'`)
  return found
}

/** µs of CPU since `from`. The clock would count what other processes take, too. */
export function spent(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from)
  return user + system
}
