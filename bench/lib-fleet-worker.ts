/** Plays scenarios of bench/fleet.ts in a process of its own, so that several are played side by side. */
import { loadCore } from './lib-dist.ts'
import { type Outcome, type Play, simulate } from './lib-fleet-scenarios.ts'
import { answerAll } from './lib-worker.ts'

export interface FleetQuestion extends Play {
  readonly dist: string
}

answerAll<FleetQuestion, Outcome>(async ({ dist, ...play }) => simulate(await loadCore(dist), play))
