/**
 * What a fleet of clients does to the servers of one control plane, in virtual time: how evenly they are loaded, and
 * how many handshakes come at once when servers come and go. What is simulated, and what is not, is in simulation.ts.
 */
import { availableParallelism } from 'node:os'
import type { Settings } from '../../lib/core/state.ts'
import { type Core, loadCore } from '../support/dist.ts'
import { Fleet, mean, peak } from './simulation.ts'
import {
  AGE, BALANCED, BEST, MINUTE, MODES, type Outcome, type Play, type Scenario, SCENARIOS, spent,
} from './scenarios.ts'
import type { FleetQuestion } from './worker.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import { Worker } from '../support/worker.ts'

const SIZES: readonly number[] = [3, 5, 7]
/** Clients for each server: so many that chance alone keeps max/mean well below 1.1. */
const ENOUGH = 800
/** Clients in all, where nothing is promised. */
const FEW = 1_000
/** Clients in all, where a peak is judged. In a smaller fleet the peak is far above the mean by chance. */
const MANY = 10_000

export async function run({ quick, dist, seed, only, clients }: Options): Promise<Report> {
  const core = await loadCore(dist)
  const wanted = SCENARIOS.filter(({ name }) => name.includes(only))
  const few = quick ? 300 : FEW
  const enough = (servers: number): number => clients ?? servers * (quick ? 100 : ENOUGH)
  // A given number of clients is for what is promised, not for the modes that are there for contrast.
  const others = clients === undefined ? MODES.filter(({ name }) => name !== BEST) : []
  const plays = wanted.flatMap(({ name: scenario, outage }): Play[] => [
    ...others.flatMap(({ name: mode }) => SIZES.map((servers) => ({ scenario, mode, clients: few, servers, seed }))),
    ...SIZES.map((servers) => ({ scenario, mode: BEST, clients: enough(servers), servers, seed })),
    ...(outage === true && !quick && clients === undefined
      ? [{ scenario, mode: BEST, clients: MANY, servers: 3, seed }]
      : []),
  ])
  const outcomes = await playAll(plays, dist)
  const sizes = quick ? [200, 1_000, 5_000] : [1_000, 10_000, 100_000]
  const settings = { ...core.defaults, balance: 'spread', maxConnectionAge: AGE } as const
  const growing = sizes.map((clients) => briefly(core, settings, clients, seed))
  return {
    bench: 'fleet',
    tables: [...wanted.map((scenario) => table(scenario, outcomes)), growth(growing), silence(core, FEW, seed)],
    figures: [...figures(outcomes.filter(({ mode }) => mode === BEST)), ...linear(growing)],
    notes: [
      'a client has one busy watch of 2 to 4 minutes at a time and a new connection every 5 minutes; ' +
        `age is ${AGE / MINUTE} minutes; seed ${seed}`,
      'load is watches; handshakes are of callers and of discovery together; balanced in: from the end of the fault',
      'a refresh is a heartbeat, too: each is one request for the list',
    ],
  }
}

/** Plays them side by side, the longest first. The outcomes are in the order of `plays`. */
async function playAll(plays: readonly Play[], dist: string): Promise<Outcome[]> {
  const outcomes = new Map<Play, Outcome>()
  const left = plays.toSorted((one, other) => one.clients * one.servers - other.clients * other.servers)
  const work = async (): Promise<void> => {
    const worker = new Worker<FleetQuestion, Outcome>(new URL('worker.ts', import.meta.url))
    try {
      for (let play = left.pop(); play !== undefined; play = left.pop()) {
        outcomes.set(play, await worker.ask({ ...play, dist }))
      }
    } finally {
      await worker.end()
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  return plays.flatMap((play) => outcomes.get(play) ?? [])
}

interface Brief {
  readonly clients: number
  readonly microseconds: number
  readonly events: number
  readonly megabytes: number
}

/** Plays a start-up and two minutes: the cost of one client must not depend on how many there are. */
function briefly(core: Core, settings: Settings, clients: number, seed: number): Brief {
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

function table(scenario: Scenario, all: readonly Outcome[]): Table {
  const rows = all.filter((outcome) => outcome.scenario === scenario.name)
  return {
    title: `fleet: ${scenario.name}`,
    columns: [
      'mode', 'clients', 'servers', 'max/mean during', 'after', 'balanced in min', 'peak handshakes/s of each server',
      'after the fault', 'bound', 'calm: heartbeats/s', 'refreshes/s', 'handshakes/s', 'failed dials',
      'CPU µs a client',
    ],
    rows: rows.map((row): Cell[] => [
      row.mode, row.clients, row.servers, row.during === 0 ? '' : row.during, row.after, row.balancedIn / MINUTE,
      row.peaks.join(' '), row.peakAfter, row.bound ?? '', row.heartbeats, row.refreshes, row.handshakes, row.failed,
      row.microseconds / row.clients,
    ]),
  }
}

function growth(growing: readonly Brief[]): Table {
  return {
    title: `fleet: cost of the simulation, 2 virtual minutes from start-up, ${BEST}, 3 servers`,
    columns: ['clients', 'CPU s', 'CPU µs a client', 'events/s', 'MB'],
    rows: growing.map(({ clients, microseconds, events, megabytes }) =>
      [clients, microseconds / 1e6, microseconds / clients, events / microseconds * 1e6, megabytes]),
  }
}

/** A fleet whose watches carry nothing: each client sends heartbeats to its server. */
function silence(core: Core, clients: number, seed: number): Table {
  const settings = core.defaults
  const fleet = new Fleet(core, { clients, servers: 3, settings, seed, startWithin: 10_000, silent: true })
  fleet.runUntil(5 * MINUTE)
  const heartbeats = mean(fleet.heartbeats, 2 * MINUTE, 5 * MINUTE)
  const refreshes = mean(fleet.refreshes, 2 * MINUTE, 5 * MINUTE)
  return {
    title: 'fleet: watches that carry nothing, sticky, 3 servers',
    columns: ['clients', 'heartbeats/s', 'a client', 'peak/s', 'refreshes/s'],
    rows: [[clients, heartbeats, heartbeats / clients, peak(fleet.heartbeats, 2 * MINUTE, 5 * MINUTE), refreshes]],
  }
}

function figures(aged: readonly Outcome[]): Figure[] {
  const balanced = aged.map(({ balancedIn }) => balancedIn / AGE)
  const outages = aged.filter(({ clients }) => clients >= MANY)
  const peaks = outages.flatMap(({ peakAfter, bound }) => bound === undefined ? [] : peakAfter / bound)
  return [
    ...(balanced.length === 0 ? [] : [{
      name: `${BEST}: max/mean ≤ ${BALANCED} within so many ages of the end of a fault, at worst`,
      value: Math.max(...balanced), unit: 'ages', most: 1,
    }]),
    ...(peaks.length === 0 ? [] : [{
      name: 'peak after an outage over 2N / (servers × the window of retries)', value: Math.max(...peaks), unit: '×',
      most: 1,
    }]),
  ]
}

function linear(growing: readonly Brief[]): Figure[] {
  // The smallest fleet also pays for what is compiled on the way, so it is left out.
  const [, fewest, most] = growing
  if (fewest === undefined || most === undefined) return []
  const value = (most.microseconds / most.clients) / (fewest.microseconds / fewest.clients)
  // Caches of the CPU make it a little more than linear. Something quadratic would be 10 ×.
  return [{ name: `cost per client of ${most.clients} over that of ${fewest.clients}`, value, unit: '×', most: 2 }]
}
