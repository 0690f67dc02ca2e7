/**
 * The scenarios of bench/fleet from the field: clients that come by a balancer, servers that refuse, are overloaded, or
 * have lost their etcd. What is judged is what the servers get to do: how many questions and handshakes come at once
 * when the fault is over, and whether the load goes back to what it was.
 */
import type { Core } from '../support/dist.ts'
import type { Workload } from './client.ts'
import { mean, peak } from './counts.ts'
import { named, spent } from './scenarios.ts'
import { WORK } from './server.ts'
import { Fleet } from './simulation.ts'

const MINUTE = 60_000
const SERVERS = 3
/** The clients start within one, and their first watches have ended after the other. */
const BEFORE = 5 * MINUTE
/** What is calm is measured for so long, right before the fault. */
const CALM = 2 * MINUTE
/** What comes of it is looked at for so long, and whether it is calm again at the end of that. */
const AFTER = 7 * MINUTE
/** The load is calm again where it is at most so many times what it was. */
export const CALM_AGAIN = 1.25
/** How many times the work of a calm fleet a server has capacity for; in an overload it has half of that work's. */
const HEADROOM = 10
const OVERLOADED = 0.5

export interface FieldScenario {
  readonly name: string
  readonly workload: Workload
  readonly lasts: number
  readonly begin: (fleet: Fleet) => void
  readonly end: (fleet: Fleet) => void
  /** Work takes time, so that servers can have too much of it. */
  readonly isBounded?: boolean
}

const LAST = SERVERS - 1

export const FIELD: readonly FieldScenario[] = [
  both('behind a balancer: one killed for 60 s', MINUTE, (fleet) => fleet.down(LAST), (fleet) => fleet.up(LAST)),
  both('behind a balancer: all down for 60 s', MINUTE, eachServer((fleet, index) => fleet.down(index)),
    eachServer((fleet, index) => fleet.up(index))),
  both('one refuses (503) for 5 min', 5 * MINUTE, (fleet) => refuse(fleet, LAST, true),
    (fleet) => refuse(fleet, LAST, false)),
  both('all refuse (503) for 5 min', 5 * MINUTE, eachServer((fleet, index) => refuse(fleet, index, true)),
    eachServer((fleet, index) => refuse(fleet, index, false))),
  both('one loses its etcd for 2 min', 2 * MINUTE, (fleet) => loseEtcd(fleet, LAST), (fleet) => regainEtcd(fleet, LAST)),
  both('all lose their etcd for 20 s', 20_000, eachServer(loseEtcd), eachServer(regainEtcd)),
  both('one overloaded for 3 min', 3 * MINUTE, (fleet) => slow(fleet, LAST), (fleet) => restore(fleet, LAST), true),
  both('all overloaded for 3 min', 3 * MINUTE, eachServer(slow), eachServer(restore), true),
].flat()

/** The same of clients whose watches are busy, and of those whose are silent. */
function both(
  name: string, lasts: number, begin: (fleet: Fleet) => void, end: (fleet: Fleet) => void, isBounded = false,
): FieldScenario[] {
  return (['busy watch', 'silent watch'] as const).map((workload) => (
    { name, workload, lasts, begin, end, isBounded }
  ))
}

function eachServer(act: (fleet: Fleet, index: number) => void): (fleet: Fleet) => void {
  return (fleet) => { for (const index of fleet.servers.keys()) act(fleet, index) }
}

function refuse(fleet: Fleet, index: number, refusing: boolean): void {
  const server = fleet.servers[index]
  if (server !== undefined) server.refusing = refusing
}

function loseEtcd(fleet: Fleet, index: number): void {
  fleet.servers[index]?.loseEtcd(fleet.now)
}

function regainEtcd(fleet: Fleet, index: number): void {
  fleet.regainEtcd(index)
}

function slow(fleet: Fleet, index: number): void {
  const server = fleet.servers[index]
  if (server !== undefined) server.capacity *= OVERLOADED / HEADROOM
}

function restore(fleet: Fleet, index: number): void {
  const server = fleet.servers[index]
  if (server !== undefined) server.capacity *= HEADROOM / OVERLOADED
}

export interface FieldPlay {
  readonly field: string
  readonly workload: Workload
  readonly clients: number
  readonly seed: number
}

/** Rates are those of a second. */
interface Load {
  /** Of the server that has most of it. */
  readonly calm: number
  /** A minute, of one client, to all servers: before the fault, and in it. */
  readonly calmEach: number
  readonly duringEach: number
  readonly peakDuring: number
  readonly peakAfter: number
  /** Of all servers, at the end, over what it was before. */
  readonly again: number
  /** What the peak after the fault must not exceed. */
  readonly bound: number
}

export interface FieldOutcome extends FieldPlay {
  readonly questions: Load
  readonly handshakes: Load
  readonly deep: Load
  readonly severed: number
  readonly failed: number
  /** Clients that have their watch, at the end, over all. */
  readonly watching: number
  readonly microseconds: number
  readonly events: number
}

export function playField(core: Core, asked: FieldPlay): FieldOutcome {
  const { clients, seed, workload } = asked
  const scenario = named(FIELD.filter((each) => each.workload === workload), asked.field)
  const from = process.cpuUsage()
  const settings = core.defaults
  const fleet = new Fleet(core, {
    clients, servers: SERVERS, settings, seed, startWithin: MINUTE, workload, isFronted: true,
  })
  fleet.runUntil(BEFORE - CALM)
  if (scenario.isBounded === true) boundWork(fleet)
  fleet.runUntil(BEFORE)
  const failedBefore = fleet.dials.failed
  const severedBefore = fleet.severed
  scenario.begin(fleet)
  const ended = BEFORE + scenario.lasts
  fleet.runUntil(ended)
  scenario.end(fleet)
  fleet.runUntil(ended + AFTER)
  const load = (counts: readonly (readonly number[])[], window: number): Load => {
    const total = (start: number, end: number): number => counts.reduce((sum, each) => sum + mean(each, start, end), 0)
    const calm = Math.max(...counts.map((each) => mean(each, BEFORE - CALM, BEFORE)))
    return {
      calm,
      calmEach: total(BEFORE - CALM, BEFORE) * 60 / clients,
      duringEach: total(BEFORE, ended) * 60 / clients,
      peakDuring: Math.max(...counts.map((each) => peak(each, BEFORE, ended))),
      peakAfter: Math.max(...counts.map((each) => peak(each, ended, fleet.now))),
      again: total(fleet.now - CALM, fleet.now) / total(BEFORE - CALM, BEFORE),
      bound: 2 * calm + 2 * clients / (SERVERS * window / 1_000),
    }
  }
  return {
    ...asked,
    questions: load(fleet.servers.map(({ questions }) => questions), settings.heartbeatInterval),
    deep: load(fleet.servers.map(({ deepQuestions }) => deepQuestions), settings.heartbeatInterval),
    handshakes: load(fleet.servers.map(({ handshakes }) => handshakes), settings.heartbeatInterval),
    severed: fleet.severed - severedBefore, failed: fleet.dials.failed - failedBefore,
    watching: fleet.watching / clients,
    microseconds: spent(from), events: fleet.events,
  }
}

/** Gives each server capacity for several times what it has to do now. */
function boundWork(fleet: Fleet): void {
  const until = fleet.now
  for (const server of fleet.servers) {
    const rate = WORK.question * mean(server.questions, until - MINUTE, until) +
      WORK.handshake * mean(server.handshakes, until - MINUTE, until)
    server.capacity = HEADROOM * rate
  }
}
