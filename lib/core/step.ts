/**
 * The one verb: an event goes in, the next state and every effect of it come out. See `state.ts` for the law of this
 * folder, and `deadlines.ts` for when the clock is to be looked at again.
 */
import { hangUp, hint } from './asking.ts'
import { NOTHING_COUNTED } from './counting.ts'
import { deadlineReached } from './deadlines.ts'
import { attemptFailed, dialCancelled, dialRequested, endAllDials, newcomersDue, settleFutile } from './dialling.ts'
import { hintsLoaded, refreshRequested, settleRound, settleWarnings } from './discovery.ts'
import type { Endpoint } from './endpoint.ts'
import { questionAnswered, questionConnected, questionFailed } from './heartbeat.ts'
import { attemptConnected, settleHeld } from './holding.ts'
import { addPeers } from './peers.ts'
import { settleProbe, settleRecovery } from './recovery.ts'
import { identityChanged } from './renewal.ts'
import { retireRefused, settleLeaving } from './retiring.ts'
import { settleDoubts } from './severing.ts'
import type { Effect, Event, Id, Settings, State } from './state.ts'
import { emptyTable, rowOf } from './table.ts'
import { socketClosed, socketsSampled, wakeSampling } from './traffic.ts'
import { Turn } from './turn.ts'
import { used } from './usage.ts'

export { nextDeadline } from './deadlines.ts'

/** D1: Makes what a dialer knows before its first dial: the seeds for good, the alternates until the first list. */
export function initialState(
  settings: Settings,
  seeds: readonly Endpoint[],
  alternates: readonly Endpoint[],
  randomSeed: number,
): State {
  const turn = new Turn({
    settings,
    closed: false,
    seed: randomSeed >>> 0,
    nextId: 1,
    peers: new Map(),
    current: undefined,
    racedAt: -Infinity,
    hesitatedAt: -Infinity,
    dials: emptyTable(),
    sockets: emptyTable(),
    sampleAt: Infinity,
    usedAt: -Infinity,
    backAt: -Infinity,
    dormant: false,
    witness: undefined,
    probe: undefined,
    recovery: undefined,
    discovery: {
      status: settings.refreshInterval === 0 ? 'off' : 'pending',
      via: 'endpoints',
      listedAt: undefined,
      isPrivate: false,
      lastError: undefined,
      nextAt: Infinity,
      startedAt: -Infinity,
      round: undefined,
      waiting: [],
      failures: 0,
      failingSince: -Infinity,
      failedBy: undefined,
    },
    warned: new Map(),
    counters: NOTHING_COUNTED,
  }, 0)
  addPeers(turn, seeds, 'seed')
  addPeers(turn, alternates, 'alternate')
  return turn.state
}

/** Gives the state after this event, and everything to be done about it, in order. Pure: same input, same output. */
export function step(state: State, event: Event, now: number): readonly [state: State, effects: readonly Effect[]] {
  const turn = new Turn(state, now)
  apply(turn, event)
  if (!turn.state.closed) settle(turn, state)
  return [turn.state, turn.effects]
}

function apply(turn: Turn, event: Event): void {
  switch (event.type) {
    case 'hintsLoaded':
      return hintsLoaded(turn, event.endpoints)
    case 'dialRequested':
      if (!turn.state.closed) used(turn)
      return dialRequested(turn, event.dial, event.own, event.plain, event.bare)
    case 'dialCancelled':
      return dialCancelled(turn, event.dial, event.reason)
    case 'attemptConnected':
      return attemptConnected(turn, event.dial, event.attempt, event.isPrivate)
    case 'attemptFailed':
      return attemptFailed(turn, event.dial, event.attempt, event.failure)
    case 'socketClosed':
      return socketClosed(turn, event)
    case 'socketsSampled':
      return socketsSampled(turn, event.readings)
    case 'trafficResumed':
      if (!turn.state.closed) used(turn)
      return wakeSampling(turn)
    case 'refusalSeen':
      return turn.state.closed ? undefined : refusalSeen(turn, event.socket)
    case 'questionConnected':
      return questionConnected(turn, event.address, event.question)
    case 'questionAnswered':
      return questionAnswered(turn, event)
    case 'questionFailed':
      return questionFailed(turn, event.address, event.question, event.failure)
    case 'refreshRequested':
      if (!turn.state.closed && event.refresh !== undefined) used(turn)
      return refreshRequested(turn, event.refresh)
    case 'identityChanged':
      return turn.state.closed ? undefined : identityChanged(turn)
    case 'warningRaised':
      return turn.warn(event.kind, event.message, event.error)
    case 'warningPassed':
      return turn.unwarn(event.kind)
    case 'deadlineReached':
      return turn.state.closed ? undefined : deadlineReached(turn, event.due)
    case 'closed':
      return close(turn)
  }
}

/** Decides what follows from the new state whatever the event was, until nothing more does. */
function settle(turn: Turn, before: State): void {
  const { dials, peers } = turn.state
  if (dials.size > 0 && peers.size > before.peers.size) newcomersDue(turn)
  for (let changes = -1; changes !== turn.changes;) {
    changes = turn.changes
    settleRound(turn)
    settleHeld(turn)
    settleDoubts(turn)
    settleProbe(turn)
    settleLeaving(turn)
    settleRecovery(turn)
    settleFutile(turn, before)
    settleWarnings(turn)
  }
}

/** H7, H10, F1: A caller's 429 or 5xx is a hint, and no more; who reads one is there. */
function refusalSeen(turn: Turn, id: Id): void {
  const socket = rowOf(turn.state.sockets, id)
  if (socket === undefined) return
  if (turn.state.dormant) used(turn)
  hint(turn, socket.address)
  retireRefused(turn, socket)
}

/** Ends everything, as `close()` does. */
function close(turn: Turn): void {
  if (turn.state.closed) return
  endAllDials(turn)
  turn.forEachPeer((peer) => hangUp(turn, peer))
  for (const refresh of turn.state.discovery.waiting) {
    turn.emit({ type: 'settleRefresh', refresh, outcome: { kind: 'closed' } })
  }
  turn.set({ closed: true, witness: undefined, probe: undefined, recovery: undefined, sampleAt: Infinity })
  turn.setDiscovery({ round: undefined, waiting: [], nextAt: Infinity })
}
