/**
 * States, events and effects in few words, for the rows of spec/core. A state is built from parts, and never by
 * stepping there: a row says itself what it starts from. Draws are made once here and then fixed, so that a row can
 * name its times: the lots of peers rise in the order they are named, and every patience is 5 s.
 */
import type { Address, Endpoint } from '../../lib/core/endpoint.ts'
import { parseAddress } from '../../lib/address.ts'
import type { EndpointsBody, Via } from '../../lib/core/state.ts'
import type { Settings } from '../../lib/core/state.ts'
import { DEFAULTS } from '../../lib/options.ts'
import { withNewPeer } from '../../lib/core/peers.ts'
import type {
  Attempt,
  Cause,
  Dial,
  Discovery,
  Effect,
  Event,
  Failure,
  HandedSocket,
  Heartbeat,
  Id,
  Peer,
  Reading,
  RefreshOutcome,
  Rejection,
  State,
} from '../../lib/core/state.ts'
import { initialState } from '../../lib/core/step.ts'
import { emptyTable, withRow } from '../../lib/core/table.ts'

export const A = '10.0.0.1:6443'
export const B = '10.0.0.2:6443'
export const C = '10.0.0.3:6443'
export const D = '10.0.0.4:6443'
export const E = '10.0.0.5:6443'

export function at(address: Address): Endpoint {
  const endpoint = parseAddress(address)
  if (endpoint === undefined) throw new Error(`no address: ${address}`)
  return endpoint
}

export interface Given {
  readonly settings?: Partial<Settings>
  /** Listed and unverified, and learned, but for what is said. */
  readonly peers: Readonly<Record<Address, Partial<Peer>>>
  readonly sockets?: Readonly<Record<Id, Partial<HandedSocket> & { readonly address: Address }>>
  readonly dials?: readonly (Partial<Dial> & { readonly id: Id })[]
  /** Off, and a list is known since 0, but for what is said. */
  readonly discovery?: Partial<Discovery>
  readonly current?: Address
  readonly nextId?: Id
  readonly sampleAt?: number
  readonly witness?: State['witness']
  readonly warned?: ReadonlyMap<string, string>
}

/** Of a peer: verified before. */
export const ready: Partial<Peer> = { verified: true }
export const unlisted: Partial<Peer> = { listed: false }
/** Of a peer that dropped out of the list at 0. */
export const removed: Partial<Peer> = { listed: false, removedAt: 0 }
/** Of a peer whose retry time is as given. */
export function failing(retryAt: number, failures = 1): Partial<Peer> {
  return { failures, failedAt: 0, retryAt, lastError: 'refused' }
}
export const seed: Partial<Peer> = { origin: 'seed' }
/** Of a peer with sockets that spoke last at 0. */
export const used: Partial<Peer> = { verified: true, heardAt: 0 }

/** Of a discovery that works, and whose next refresh is far off. */
export const known: Partial<Discovery> = { status: 'ok', listedAt: 0, startedAt: 0, nextAt: 600_000 }
/** Of a discovery that was never begun. */
export const pending: Partial<Discovery> = {
  status: 'pending',
  listedAt: undefined,
  startedAt: -Infinity,
  nextAt: Infinity,
}

export function given(parts: Given): State {
  const settings: Settings = { ...DEFAULTS, ...parts.settings }
  let state = initialState(settings, [], [], 1)
  const sockets = Object.entries(parts.sockets ?? {})
  let lot = 0
  for (const [address, change] of Object.entries(parts.peers)) {
    state = withNewPeer(state, at(address), 'learned')
    const made = state.peers.get(address)
    if (made === undefined) throw new Error(`${address} is not written as the core writes it`)
    lot += 1
    const count = sockets.filter(([, socket]) => socket.address === address).length
    const peer = {
      ...made,
      lot: lot / 100,
      listed: true,
      patience: 5_000,
      sockets: count,
      retired: count === 0,
      ...change,
    }
    state = { ...state, peers: new Map(state.peers).set(address, peer) }
  }
  let table = state.sockets
  for (const [id, socket] of sockets) {
    const fresh = {
      id: Number(id),
      read: 0,
      written: 0,
      owedSince: Infinity,
      idle: false,
      retired: false,
      wakeAt: Infinity,
    }
    table = withRow(table, { ...fresh, ...socket })
  }
  let dials = emptyTable<Dial>()
  for (const dial of parts.dials ?? []) dials = withRow(dials, madeDial(settings, dial))
  return {
    ...state,
    sockets: table,
    dials,
    sampleAt: parts.sampleAt ?? Infinity,
    nextId: parts.nextId ?? 100,
    current: parts.current,
    witness: parts.witness,
    warned: parts.warned ?? new Map(),
    discovery: { ...state.discovery, status: 'off', listedAt: 0, ...parts.discovery },
  }
}

function madeDial(settings: Settings, dial: Partial<Dial> & { readonly id: Id }): Dial {
  const made = {
    own: false,
    deadline: settings.dialTimeout,
    graced: false,
    tried: [],
    attempts: [],
    causes: [],
    nextAt: Infinity,
    ...dial,
  }
  const wakeAt = Math.min(made.deadline, made.nextAt, ...made.attempts.map((attempt) => attempt.deadline))
  return { ...made, wakeAt }
}

export function attempt(id: Id, address: Address, startedAt = 0): Attempt {
  return { id, address, startedAt, deadline: startedAt + DEFAULTS.attemptTimeout }
}

/** A heartbeat sent at `sentAt`. */
export function asking(id: Id, sentAt = 0, change: Partial<Heartbeat> = {}): Heartbeat {
  const deadline = sentAt + DEFAULTS.heartbeatTimeout
  return { id, misses: 0, via: 'endpoints', reauthorized: false, otherStatus: undefined, deadline, ...change }
}

// ---- failures

export const refused: Failure = { blame: 'endpoint', message: 'refused' }
export const untrusted: Failure = { blame: 'identity', message: 'wrong name' }
export const local: Failure = { blame: 'none', message: 'EMFILE' }
export const noConnection: Failure = { blame: 'endpoint', message: 'no connection within 5000 ms' }
export const noDial: Failure = { blame: 'endpoint', message: 'no connection within 15000 ms' }
export const noAnswer: Failure = { blame: 'endpoint', message: 'no answer within 2000 ms' }

export function cause(address: Address, failure: Failure): Cause {
  return { address, failure }
}

// ---- events

export const tick: Event = { type: 'deadlineReached' }
export const closed: Event = { type: 'closed' }

export function dialled(dial: Id, own = false): Event {
  return { type: 'dialRequested', dial, own }
}

export function cancelled(dial: Id, reason: unknown): Event {
  return { type: 'dialCancelled', dial, reason }
}

export function connected(dial: Id, id: Id): Event {
  return { type: 'attemptConnected', dial, attempt: id }
}

export function attemptFailed(dial: Id, id: Id, failure: Failure = refused): Event {
  return { type: 'attemptFailed', dial, attempt: id, failure }
}

export function socketClosed(socket: Id): Event {
  return { type: 'socketClosed', socket }
}

export function sampled(...readings: readonly Reading[]): Event {
  return { type: 'socketsSampled', readings }
}

export function reading(socket: Id, read: number, written: number, idle = false): Reading {
  return { socket, read, written, idle }
}

export interface AnswerParts {
  readonly status?: number
  readonly fresh?: boolean
  readonly body?: EndpointsBody
}

export function answered(address: Address, heartbeat: Id, parts: AnswerParts = {}): Event {
  return { type: 'heartbeatAnswered', address, heartbeat, status: 200, fresh: false, ...parts }
}

export function missed(address: Address, heartbeat: Id, failure: Failure = noAnswer): Event {
  return { type: 'heartbeatFailed', address, heartbeat, failure }
}

export function refreshRequested(refresh?: Id): Event {
  return { type: 'refreshRequested', ...(refresh === undefined ? {} : { refresh }) }
}

export function listOf(
  addresses: readonly Address[],
  unready: readonly Address[] = [],
  refusedParts: readonly string[] = [],
): EndpointsBody {
  return { kind: 'list', ready: addresses.map(at), unready: unready.map(at), refused: refusedParts }
}

export function rejectedList(reason: string): EndpointsBody {
  return { kind: 'rejected', reason }
}

// ---- effects

export function connect(dial: Id, id: Id, address: Address): Effect {
  return { type: 'connect', dial, attempt: id, endpoint: at(address) }
}

export function destroy(dial: Id, id: Id): Effect {
  return { type: 'destroy', dial, attempt: id }
}

export function deliver(dial: Id, id: Id, address: Address): Effect {
  return { type: 'deliver', dial, attempt: id, address }
}

export function reject(dial: Id, rejection: Rejection): Effect {
  return { type: 'reject', dial, rejection }
}

export function heartbeat(
  id: Id,
  address: Address,
  parts: { readonly via?: Via; readonly fresh?: boolean; readonly reauthorize?: boolean } = {},
): Effect {
  return {
    type: 'heartbeat',
    heartbeat: id,
    endpoint: at(address),
    via: 'endpoints',
    fresh: false,
    reauthorize: false,
    ...parts,
  }
}

export function abandon(address: Address, id: Id): Effect {
  return { type: 'abandon', address, heartbeat: id }
}

export function closeMonitor(address: Address): Effect {
  return { type: 'closeMonitor', address }
}

export function retire(socket: Id): Effect {
  return { type: 'retire', socket }
}

export function sever(socket: Id, address: Address, why: string): Effect {
  return { type: 'sever', socket, address, reason: `it left two heartbeats in a row unanswered (${why})` }
}

export function settleRefresh(refresh: Id, outcome: RefreshOutcome): Effect {
  return { type: 'settleRefresh', refresh, outcome }
}

export function refreshed(refresh: Id, ...addresses: readonly Address[]): Effect {
  return settleRefresh(refresh, { kind: 'refreshed', endpoints: addresses.map(at) })
}

export function save(...addresses: readonly Address[]): Effect {
  return { type: 'save', endpoints: addresses.map(at) }
}

export function reportEndpoints(...addresses: readonly Address[]): Effect {
  return { type: 'report', report: { event: 'endpoints', endpoints: addresses.map(at) } }
}

export function reportFailed(address: Address, failure: Failure = refused): Effect {
  return { type: 'report', report: { event: 'failed', address, failure } }
}

export function reportFailover(from: Address, to: Address, reason: string): Effect {
  return { type: 'report', report: { event: 'failover', from, to, reason } }
}

export function reportWarning(kind: string, message: string): Effect {
  return { type: 'report', report: { event: 'warning', kind, message } }
}
