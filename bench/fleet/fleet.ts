/**
 * What a fleet of clients does to the servers of one control plane, in virtual time: how often they are asked, how
 * evenly they are loaded, and how much comes at once when servers come, go, refuse, and are overloaded. What is
 * simulated, and what is not, is in simulation.ts.
 */
import { availableParallelism } from 'node:os'
import { CALM_AGAIN, FIELD, type FieldOutcome, type FieldPlay } from './field.ts'
import type { Brief, StartUp } from './growth.ts'
import {
  AGE, BALANCED, BEST, MINUTE, MODES, type Outcome, type Play, type Scenario, SCENARIOS,
} from './scenarios.ts'
import { type Traffic, type TrafficPlay, WORKLOADS } from './traffic.ts'
import type { FleetOutcome, FleetPlay, FleetQuestion } from './worker.ts'
import type { Cell, Figure, Options, Report, Table } from '../report.ts'
import { Worker } from '../support/worker.ts'

const SIZES: readonly number[] = [3]
const LONG_SIZES: readonly number[] = [3, 5, 7]
/** Clients for each server: so many that chance alone keeps max/mean well below 1.1. */
const ENOUGH = 500
/** Clients in all, where no balance is promised. */
const FEW = 200
const LONG_FEW = 1_000
/** Clients whose questions are counted one by one. */
const OBSERVED = 50
/** Clients in all, where a peak is judged. In a smaller fleet the peak is far above the mean by chance. */
const MANY = 10_000

export async function run({ quick, long, dist, seed, only, clients }: Options): Promise<Report> {
  const wanted = SCENARIOS.filter(({ name }) => name.includes(only))
  const field = FIELD.filter(({ name }) => name.includes(only))
  const few = long ? LONG_FEW : FEW
  const sizes = long ? LONG_SIZES : SIZES
  const enough = (servers: number): number => clients ?? servers * (quick ? 100 : ENOUGH)
  // A given number of clients is for what is promised, not for the modes that are there for contrast.
  const others = clients === undefined ? MODES.filter(({ name }) => name !== BEST) : []
  const plays = wanted.flatMap(({ name: scenario, outage }): Play[] => [
    ...others.flatMap(({ name: mode }) => sizes.map((servers) => ({ scenario, mode, clients: few, servers, seed }))),
    ...sizes.map((servers) => ({ scenario, mode: BEST, clients: enough(servers), servers, seed })),
    ...(outage === true && long && clients === undefined
      ? [{ scenario, mode: BEST, clients: MANY, servers: 3, seed }]
      : []),
  ])
  const fieldPlays = field.map(({ name, workload }): FieldPlay => (
    { field: name, workload, clients: clients ?? few, seed }
  ))
  const startUps = quick ? [200, 1_000, 2_000] : long ? [1_000, 10_000, 100_000] : [300, 1_000, 4_000]
  const growths = only === '' ? startUps.map((starting): StartUp => ({ starting, seed })) : []
  const observed = quick ? 20 : OBSERVED
  const observations = only === ''
    ? WORKLOADS.map((carried): TrafficPlay => ({ carried, clients: observed, seed }))
    : []
  const played = await playAll([...plays, ...growths, ...fieldPlays, ...observations], dist)
  const outcomes = played.filter((outcome) => 'scenario' in outcome)
  const growing = played.filter((outcome) => 'megabytes' in outcome)
  const fieldOutcomes = played.filter((outcome) => 'field' in outcome)
  const traffics = played.filter((outcome) => 'mostDeep' in outcome)
  return {
    bench: 'fleet',
    tables: [
      ...(traffics.length > 0 ? [trafficTable(traffics)] : []),
      ...(field.length > 0 ? [fieldTable('questions', fieldOutcomes), fieldTable('handshakes', fieldOutcomes)] : []),
      ...wanted.map((scenario) => table(scenario, outcomes)),
      ...(growing.length > 0 ? [growth(growing)] : []),
    ],
    figures: [
      ...trafficFigures(traffics), ...fieldFigures(fieldOutcomes),
      ...figures(outcomes.filter(({ mode }) => mode === BEST)), ...linear(growing),
    ],
    notes: [
      'a client has one watch of 2 to 4 minutes at a time and a new connection every 5 minutes; ' +
        `age is ${AGE / MINUTE} minutes; seed ${seed}`,
      'load is watches; handshakes are of callers and of questions together; balanced in: from the end of the fault',
      'a question is a heartbeat, which is a request for the list, too; a deep one goes through to etcd',
    ],
  }
}

/** Plays them side by side, those that take longest first. The outcomes are in the order of `plays`. */
async function playAll(plays: readonly FleetPlay[], dist: string): Promise<FleetOutcome[]> {
  const outcomes = new Map<FleetPlay, FleetOutcome>()
  const left = plays.toSorted((one, other) => costOf(one) - costOf(other))
  const work = async (): Promise<void> => {
    const worker = new Worker<FleetQuestion, FleetOutcome>(new URL('worker.ts', import.meta.url))
    try {
      for (let play = left.pop(); play !== undefined; play = left.pop()) {
        outcomes.set(play, await worker.ask({ play, dist }))
      }
    } finally {
      await worker.end()
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  return plays.flatMap((play) => outcomes.get(play) ?? [])
}

/** What a play takes, roughly: by its clients, and by what happens to each of them. */
function costOf(play: FleetPlay): number {
  if ('starting' in play) return play.starting
  return 'field' in play ? 8 * play.clients : 3 * play.clients
}

function table(scenario: Scenario, all: readonly Outcome[]): Table {
  const rows = all.filter((outcome) => outcome.scenario === scenario.name)
  return {
    title: `fleet: ${scenario.name}`,
    columns: [
      'mode', 'clients', 'servers', 'max/mean during', 'after', 'balanced in min', 'peak handshakes/s of each server',
      'after the fault', 'bound', 'calm: questions/s', 'refreshes/s', 'handshakes/s', 'failed dials',
      'CPU µs a client',
    ],
    rows: rows.map((row): Cell[] => [
      row.mode, row.clients, row.servers, row.during === 0 ? '' : row.during, row.after, row.balancedIn / MINUTE,
      row.peaks.join(' '), row.peakAfter, row.bound ?? '', row.questions, row.refreshes, row.handshakes, row.failed,
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

function trafficTable(traffics: readonly Traffic[]): Table {
  return {
    title: 'fleet: what one client asks, behind a balancer, sticky, 3 servers, 10 minutes',
    columns: [
      'its connections carry', 'clients', 'questions a minute', 'of them deep', 'most in a minute to one server',
      'most deep', 'handshakes a minute',
    ],
    rows: traffics.map((row): Cell[] => [
      row.workload, row.clients, row.questions, row.deep, row.most, row.mostDeep, row.handshakes,
    ]),
  }
}

function trafficFigures(traffics: readonly Traffic[]): Figure[] {
  return traffics.flatMap(({ workload, questions, deep, most, mostDeep }): Figure[] => {
    switch (workload) {
      case 'silent watch':
        return [
          { name: `${workload}: questions a minute`, value: questions, unit: '', most: 15 },
          { name: `${workload}: deep questions a minute`, value: deep, unit: '', most: 4 },
        ]
      case 'one request':
        return [{ name: `${workload}, then nothing: questions in any minute`, value: most, unit: '', most: 0 }]
      case 'busy watch':
      case 'requests, pooled':
        return [{ name: `${workload}: questions to one server in any minute`, value: most, unit: '', most: 4 }]
      case 'requests, never idle':
        // Something may be owed in each of its pauses, which are longer than 1 s: that is asked about, in the cache.
        return [{ name: `${workload}: deep questions to one server in any minute`, value: mostDeep, unit: '', most: 4 }]
    }
  })
}

function fieldTable(what: 'questions' | 'handshakes', outcomes: readonly FieldOutcome[]): Table {
  return {
    title: `fleet: ${what} a second on the server that has most, behind a balancer, sticky, 3 servers`,
    columns: [
      'fault', 'watches', 'clients', 'a minute, of a client, calm', 'in the fault', 'of them deep', 'calm',
      'worst second of the fault', 'after it', 'bound', 'again, over calm', 'severed', 'failed dials', 'verdict',
      'CPU µs a client',
    ],
    rows: outcomes.map((row): Cell[] => {
      const { calm, calmEach, duringEach, peakDuring, peakAfter, bound, again } = row[what]
      return [
        row.field, row.workload, row.clients, calmEach, duringEach, what === 'questions' ? row.deep.duringEach : '',
        calm, peakDuring, peakAfter, bound, again, row.severed, row.failed, verdictOf(row, what),
        row.microseconds / row.clients,
      ]
    }),
  }
}

function verdictOf(row: FieldOutcome, what: 'questions' | 'handshakes'): string {
  const { peakAfter, bound, again } = row[what]
  if (peakAfter > bound) return 'over its bound'
  // A handful of handshakes a minute is a matter of chance.
  return what === 'questions' && again > CALM_AGAIN ? 'not calm again' : 'kept'
}

function fieldFigures(outcomes: readonly FieldOutcome[]): Figure[] {
  return outcomes.flatMap(({ field, workload, questions, handshakes, watching }): Figure[] => [
    {
      name: `${field}, ${workload}: peak of questions after it, over its bound`,
      value: questions.peakAfter / questions.bound, unit: '×', most: 1,
    },
    {
      name: `${field}, ${workload}: peak of handshakes after it, over its bound`,
      value: handshakes.peakAfter / handshakes.bound, unit: '×', most: 1,
    },
    {
      name: `${field}, ${workload}: questions 5 to 7 minutes later, over calm`, value: questions.again, unit: '×',
      most: CALM_AGAIN,
    },
    { name: `${field}, ${workload}: clients that have their watch`, value: watching, unit: '×', least: 1 },
  ])
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
