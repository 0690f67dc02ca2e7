/** Plays scenarios of bench/fleet in a process of its own, so that several are played side by side. */
import { loadCore } from '../support/dist.ts'
import { type Outcome, type Play, simulate } from './scenarios.ts'
import { answerAll } from '../support/worker.ts'

export interface FleetQuestion extends Play {
  readonly dist: string
}

answerAll<FleetQuestion, Outcome>(async ({ dist, ...play }) => simulate(await loadCore(dist), play))
