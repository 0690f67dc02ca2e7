/** What simulating a fleet costs by its size: the work of one client must not depend on how many there are. */
import type { Core } from '../support/dist.ts'
import { AGE, MINUTE, spent } from './scenarios.ts'
import { Fleet } from './simulation.ts'

export interface StartUp {
  /** So many clients. */
  readonly starting: number
  readonly seed: number
}

export interface Brief {
  readonly clients: number
  readonly microseconds: number
  readonly events: number
  readonly megabytes: number
}

/** Plays a start-up and two minutes. */
export function startUp(core: Core, { starting: clients, seed }: StartUp): Brief {
  const settings = { ...core.defaults, balance: 'spread', maxConnectionAge: AGE } as const
  globalThis.gc?.()
  const before = process.memoryUsage()
  const from = process.cpuUsage()
  const fleet = new Fleet(core, { clients, servers: 3, settings, seed, startWithin: 10_000, workload: 'busy watch' })
  fleet.runUntil(2 * MINUTE)
  const microseconds = spent(from)
  globalThis.gc?.()
  const after = process.memoryUsage()
  const megabytes = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / 1e6
  return { clients: fleet.watching === clients ? clients : NaN, microseconds, events: fleet.events, megabytes }
}
