/** Plays scenarios of bench/fleet in a process of its own, so that several are played side by side. */
import { loadCore } from '../support/dist.ts'
import { type FieldOutcome, type FieldPlay, playField } from './field.ts'
import { type Outcome, type Play, simulate } from './scenarios.ts'
import { answerAll } from '../support/worker.ts'

export interface FleetQuestion {
  readonly play: Play | FieldPlay
  readonly dist: string
}

answerAll<FleetQuestion, Outcome | FieldOutcome>(async ({ dist, play }) => {
  const core = await loadCore(dist)
  return 'field' in play ? playField(core, play) : simulate(core, play)
})
