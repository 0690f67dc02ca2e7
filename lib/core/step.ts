/**
 * The one verb: an event goes in, the next state and every effect of it come out. And the one question:
 * when is the clock to be looked at again. See `state.ts` for the law of this folder.
 */
import {
  attemptConnected, attemptFailed, dialCancelled, dialRequested, dialsDue, endAllDials, newcomersDue,
} from './dialling.ts'
import * as discovery from './discovery.ts'
import type { Address, Endpoint } from './endpoint.ts'
import * as health from './health.ts'
import type { Settings } from './state.ts'
import { overPeers, warn, withNewPeers, withPeer } from './peers.ts'
import type { Deadline, Effect, Event, Failure, Id, Peer, State } from './state.ts'
import { earliestOf, emptyTable } from './table.ts'

/** What a dialer knows before its first dial: the seeds for good, the alternates until the first list (D1). */
export function initialState(
  settings: Settings,
  seeds: readonly Endpoint[],
  alternates: readonly Endpoint[],
  randomSeed: number,
): State {
  const empty: State = {
    settings,
    closed: false,
    seed: randomSeed >>> 0,
    nextId: 1,
    peers: new Map(),
    current: undefined,
    dials: emptyTable(),
    sockets: emptyTable(),
    sampleAt: Infinity,
    witness: undefined,
    discovery: {
      status: settings.refreshInterval === 0 ? 'off' : 'pending',
      via: 'endpoints',
      listedAt: undefined,
      lastError: undefined,
      nextAt: Infinity,
      startedAt: -Infinity,
      round: undefined,
      waiting: [],
    },
    warned: new Map(),
    counters: { dials: 0, attempts: 0, failovers: 0, severed: 0, heartbeats: 0, refreshes: 0 },
  }
  return withNewPeers(withNewPeers(empty, seeds, 'seed'), alternates, 'alternate')
}

/** The state after this event, and everything to be done about it, in order. Pure: same input, same output. */
export function step(state: State, event: Event, now: number): readonly [state: State, effects: readonly Effect[]] {
  const effects: Effect[] = []
  const next = apply(state, event, now, effects)
  return [next.closed ? next : settle(state, next, now, effects), effects]
}

/** The earliest time at which `deadlineReached` will change something; undefined where nothing is waited for. */
export function nextDeadline(state: State): Deadline | undefined {
  if (state.closed) return undefined
  let at = earliestOf(state.dials)
  let why: Deadline['why'] = 'dial'
  const consider = (candidate: number, reason: Deadline['why']): void => {
    if (candidate >= at) return
    at = candidate
    why = reason
  }
  for (const peer of state.peers.values()) {
    consider(peer.heartbeat?.deadline ?? Infinity, 'heartbeat')
    consider(health.silenceEnds(state, peer), 'silence')
    consider(health.monitorEnds(peer), 'monitor')
    consider(discovery.forgottenAt(peer), 'forget')
  }
  consider(state.sampleAt, 'sample')
  consider(state.witness?.nextAt ?? Infinity, 'witness')
  consider(state.discovery.nextAt, 'refresh')
  consider(earliestOf(state.sockets), 'age')
  return at === Infinity ? undefined : { at, why }
}

function apply(state: State, event: Event, now: number, effects: Effect[]): State {
  switch (event.type) {
    case 'hintsLoaded':
      return discovery.hintsLoaded(state, event.endpoints)
    case 'dialRequested':
      return dialRequested(state, event.dial, event.own, now, effects)
    case 'dialCancelled':
      return dialCancelled(state, event.dial, event.reason, effects)
    case 'attemptConnected':
      return attemptConnected(state, event.dial, event.attempt, now, effects)
    case 'attemptFailed':
      return attemptFailed(state, event.dial, event.attempt, event.failure, now, effects)
    case 'socketClosed':
      return health.socketClosed(state, event.socket)
    case 'socketsSampled':
      return health.socketsSampled(state, event.readings, now)
    case 'trafficResumed':
      return state.closed ? state : health.wakeSampling(state, now)
    case 'heartbeatAnswered':
      return heartbeatAnswered(state, event, now, effects)
    case 'heartbeatFailed':
      return heartbeatFailed(state, event.address, event.heartbeat, event.failure, now, effects)
    case 'refreshRequested':
      return discovery.refreshRequested(state, event.refresh, now, effects)
    case 'warningRaised':
      return warn(state, event.kind, event.message, effects, event.error)
    case 'deadlineReached':
      return state.closed ? state : deadlineReached(state, now, effects)
    case 'closed':
      return close(state, effects)
  }
}

/** What follows from the new state whatever the event was. */
function settle(before: State, state: State, now: number, effects: Effect[]): State {
  const hasNewcomer = state.dials.size > 0 && [...state.peers.keys()].some((address) => !before.peers.has(address))
  let next = hasNewcomer ? newcomersDue(state, now, effects) : state
  next = discovery.roundDue(next, now, effects)
  next = health.severSilent(next, now, effects)
  return health.retireLeaving(next, now, effects)
}

function heartbeatAnswered(
  state: State,
  event: Event & { type: 'heartbeatAnswered' },
  now: number,
  effects: Effect[],
): State {
  const peer = state.peers.get(event.address)
  const heartbeat = peer?.heartbeat
  if (peer === undefined || heartbeat?.id !== event.heartbeat) return state
  const [next, alive] = health.proven(state, peer, event.status, event.fresh, now)
  return discovery.answered(next, alive, heartbeat, event.status, event.body, now, effects)
}

function heartbeatFailed(
  state: State,
  address: Address,
  heartbeat: Id,
  failure: Failure,
  now: number,
  effects: Effect[],
): State {
  const peer = state.peers.get(address)
  const asked = peer?.heartbeat
  if (peer === undefined || asked?.id !== heartbeat) return state
  // Only when it falls: one that goes on failing would otherwise have the list asked for every second.
  const stood = peer.sockets > 0 && peer.failures === 0
  let next = health.missed(state, peer, asked, failure, now, effects)
  next = discovery.roundMissed(next, address, failure, now, effects)
  const fell = next.peers.get(address)?.failures !== 0
  return stood && fell ? discovery.refreshSoon(next, now) : next
}

function deadlineReached(state: State, now: number, effects: Effect[]): State {
  let next = dialsDue(state, now, effects)
  next = overPeers(next, (each, peer) => heartbeatDue(each, peer, now, effects))
  // Whoever drives this reads the bytes of all sockets first: they have just been looked at.
  if (next.sampleAt <= now) next = health.wakeSampling({ ...next, sampleAt: Infinity }, now)
  next = health.healthDue(next, now, effects)
  return discovery.forgetRemoved(next, now, effects)
}

function heartbeatDue(state: State, peer: Peer, now: number, effects: Effect[]): State {
  const { heartbeat } = peer
  const { heartbeatTimeout } = state.settings
  if (heartbeat === undefined || heartbeat.deadline > now) return state
  if (now - heartbeat.deadline > health.LATE) {
    return withPeer(state, { ...peer, heartbeat: { ...heartbeat, deadline: now + heartbeatTimeout } })
  }
  effects.push({ type: 'abandon', address: peer.address, heartbeat: heartbeat.id })
  const failure: Failure = { blame: 'endpoint', message: `no answer within ${heartbeatTimeout} ms` }
  return heartbeatFailed(state, peer.address, heartbeat.id, failure, now, effects)
}

function close(state: State, effects: Effect[]): State {
  if (state.closed) return state
  const next = endAllDials(state, effects)
  for (const peer of state.peers.values()) {
    if (peer.heartbeat !== undefined) {
      effects.push({ type: 'abandon', address: peer.address, heartbeat: peer.heartbeat.id })
    }
    if (peer.monitoredAt !== undefined) effects.push({ type: 'closeMonitor', address: peer.address })
  }
  for (const refresh of state.discovery.waiting) {
    effects.push({ type: 'settleRefresh', refresh, outcome: { kind: 'closed' } })
  }
  const peers = new Map(
    [...next.peers].map(([address, peer]) => [address, { ...peer, heartbeat: undefined, monitoredAt: undefined }]),
  )
  const idle = { ...next.discovery, round: undefined, waiting: [], nextAt: Infinity }
  return { ...next, closed: true, peers, witness: undefined, sampleAt: Infinity, discovery: idle }
}
