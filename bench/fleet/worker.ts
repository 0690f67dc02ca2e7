/** Plays scenarios of bench/fleet in a process of its own, so that several are played side by side. */
import { type Core, loadCore } from '../support/dist.ts'
import { type FieldOutcome, type FieldPlay, playField } from './field.ts'
import { type Brief, type StartUp, startUp } from './growth.ts'
import { type Outcome, type Play, simulate } from './scenarios.ts'
import { type Traffic, type TrafficPlay, trafficOf } from './traffic.ts'
import { answerAll } from '../support/worker.ts'

export type FleetPlay = Play | FieldPlay | StartUp | TrafficPlay
export type FleetOutcome = Outcome | FieldOutcome | Brief | Traffic

export interface FleetQuestion {
  readonly play: FleetPlay
  readonly dist: string
}

answerAll<FleetQuestion, FleetOutcome>(async ({ dist, play }) => outcomeOf(await loadCore(dist), play))

function outcomeOf(core: Core, play: FleetPlay): FleetOutcome {
  if ('field' in play) return playField(core, play)
  if ('starting' in play) return startUp(core, play)
  return 'carried' in play ? trafficOf(core, play) : simulate(core, play)
}
