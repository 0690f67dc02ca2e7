/**
 * How often one client asks each server that it uses, by what it does there: the price of the heartbeat. The clients
 * come by a balancer, so that a few servers are in use by many.
 */
import type { Core } from '../support/dist.ts'
import { Fleet } from './simulation.ts'
import type { Workload } from './client.ts'

const MINUTE = 60_000
/** Clients start, and learn whom to use. */
const SETTLED = 3 * MINUTE
const MEASURED = 10 * MINUTE

export interface TrafficPlay {
  /** What the connections of its clients carry. */
  readonly carried: Workload
  readonly clients: number
  readonly seed: number
}

export interface Traffic {
  readonly workload: Workload
  readonly clients: number
  /** A minute, of one client to one server that it asked. */
  readonly questions: number
  readonly deep: number
  /** The most in any minute of any client and server. */
  readonly most: number
  readonly mostDeep: number
  /** Handshakes a minute, of one client. */
  readonly handshakes: number
}

export const WORKLOADS: readonly Workload[] = [
  'busy watch', 'silent watch', 'requests, pooled', 'requests, never idle', 'one request',
]

export function trafficOf(core: Core, { carried: workload, clients, seed }: TrafficPlay): Traffic {
  const servers = 3
  const minutes = MEASURED / MINUTE
  const all = new Float64Array(clients * servers * minutes)
  const deep = new Float64Array(clients * servers * minutes)
  const fleet: Fleet = new Fleet(core, {
    clients, servers, settings: core.defaults, seed, startWithin: 10_000, workload, isFronted: true,
    onQuestion: (client, server, isDeep) => {
      const minute = Math.floor((fleet.now - SETTLED) / MINUTE)
      if (minute < 0 || minute >= minutes) return
      const place = (client * servers + server) * minutes + minute
      all[place] = (all[place] ?? 0) + 1
      if (isDeep) deep[place] = (deep[place] ?? 0) + 1
    },
  })
  fleet.runUntil(SETTLED)
  const before = handshakesOf(fleet)
  fleet.runUntil(SETTLED + MEASURED)
  return {
    workload, clients,
    questions: sumOf(all) / clients / minutes, deep: sumOf(deep) / clients / minutes,
    most: mostOf(all), mostDeep: mostOf(deep),
    handshakes: (handshakesOf(fleet) - before) / clients / minutes,
  }
}

function handshakesOf({ servers }: Fleet): number {
  return servers.reduce((total, { handshakes }) => total + sumOf(handshakes), 0)
}

function sumOf(counts: Iterable<number>): number {
  let sum = 0
  for (const each of counts) sum += each
  return sum
}

function mostOf(counts: Iterable<number>): number {
  let most = 0
  for (const each of counts) most = Math.max(most, each)
  return most
}
