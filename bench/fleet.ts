/**
 * What a fleet of clients does to the servers of one control plane, in virtual time: how evenly they are loaded, and how
 * many handshakes come at once when servers come and go. What is simulated, and what is not, is said in lib-fleet.ts.
 */
import { availableParallelism } from 'node:os'
import type { Settings } from '../lib/core/options.ts'
import { type Core, loadCore } from './lib-dist.ts'
import { Fleet, mean, peak } from './lib-fleet.ts'
import { AGE, BALANCED, BEST, MINUTE, MODES, type Outcome, type Play, type Scenario, SCENARIOS, spent } from './lib-fleet-scenarios.ts'
import type { FleetQuestion } from './lib-fleet-worker.ts'
import type { Cell, Figure, Options, Report, Table } from './lib-report.ts'
import { Worker } from './lib-worker.ts'

/** For each server: enough for chance alone to keep max/mean well below 1.1, and few where that is not promised. */
const ENOUGH = 1_000
const FEW = 300
/** In a smaller fleet chance makes peaks: that of a number as small as a few dozen a second is far above its mean. */
const MANY = 10_000

export async function run({ quick, dist, seed, only }: Options): Promise<Report> {
  const core = await loadCore(dist)
  const wanted = SCENARIOS.filter(({ name }) => name.includes(only))
  const enough = quick ? 100 : ENOUGH
  const few = quick ? 100 : FEW
  const others = MODES.filter(({ name }) => name !== BEST)
  const plays = wanted.flatMap(({ name: scenario, outage }): Play[] => [
    ...others.map((mode) => ({ scenario, mode: mode.name, clients: 3 * few, servers: 3, seed })),
    ...[3, 5, 7].map((servers) => ({ scenario, mode: BEST, clients: servers * enough, servers, seed })),
    ...(outage === true && !quick ? [{ scenario, mode: BEST, clients: MANY, servers: 3, seed }] : []),
  ])
  const outcomes = await playAll(plays, dist)
  const sizes = quick ? [200, 1_000, 5_000] : [1_000, 10_000, 100_000]
  const growing = sizes.map((clients) => briefly(core, { ...core.defaults, balance: 'spread', maxConnectionAge: AGE }, clients, seed))
  return {
    bench: 'fleet',
    tables: [...wanted.map((scenario) => table(scenario, outcomes)), growth(growing), silence(core, 3 * few, seed)],
    figures: [...figures(outcomes.filter(({ mode }) => mode === BEST)), ...linear(growing)],
    notes: [
      `a client has one busy watch of 2 to 4 minutes at a time and a new connection every 5 minutes; age is ${AGE / MINUTE} minutes; seed ${seed}`,
      'load is watches; handshakes are of callers and of discovery together; balanced in: from the end of the fault',
    ],
  }
}

/** Side by side, the longest first; in the order in which they were asked for. */
async function playAll(plays: readonly Play[], dist: string): Promise<Outcome[]> {
  const outcomes = new Map<Play, Outcome>()
  const left = plays.toSorted((one, other) => one.clients * one.servers - other.clients * other.servers)
  const work = async (): Promise<void> => {
    const worker = new Worker<FleetQuestion, Outcome>('lib-fleet-worker.ts')
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

function table(scenario: Scenario, all: readonly Outcome[]): Table {
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
function silence(core: Core, clients: number, seed: number): Table {
  const fleet = new Fleet(core, { clients, servers: 3, settings: core.defaults, seed, startWithin: 10_000, silent: true })
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
