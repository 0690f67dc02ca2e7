/**
 * States, events and effects in few words, for the rows of spec/core. A state is built from parts, and never by
 * stepping there: a row says itself what it starts from. Draws are made once here and then fixed, so that a row can
 * name its times: the lots of peers rise in the order they are named, and every patience is 5 s. What a state says
 * twice is said once in a row: what the sockets of a peer add up to is found here, unless the row says it itself.
 */
import { parseAddress } from '../../lib/address.ts'
import { setDial } from '../../lib/core/dialling.ts'
import type { Address, Endpoint } from '../../lib/core/endpoint.ts'
import { addPeers } from '../../lib/core/peers.ts'
import type {
  Attempt, Cause, Dial, Discovery, Effect, EndpointsBody, Event, Failure, HandedSocket, Id, Peer, Question, Reading,
  RefreshOutcome, Rejection, Round, Settings, Standing, State,
} from '../../lib/core/state.ts'
import { initialState } from '../../lib/core/step.ts'
import { withRow } from '../../lib/core/table.ts'
import { Turn } from '../../lib/core/turn.ts'
import { DEFAULTS } from '../../lib/options.ts'

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

// ---- states

export interface Given {
  readonly settings?: Partial<Settings>
  /** Listed and unverified, learned and well, but for what is said. */
  readonly peers: Readonly<Record<Address, Partial<Peer>>>
  /** Made and heard at 0, in use, and owed nothing, but for what is said. */
  readonly sockets?: Readonly<Record<Id, Partial<HandedSocket> & { readonly address: Address }>>
  /** Begun at 0 by a caller as everyone, and holding nothing back, but for what is said. */
  readonly dials?: readonly (Partial<Dial> & { readonly id: Id })[]
  /** Off, and a list is known since 0, but for what is said. */
  readonly discovery?: Partial<Discovery>
  readonly current?: Address
  readonly racedAt?: number
  readonly hesitatedAt?: number
  readonly nextId?: Id
  readonly sampleAt?: number
  readonly usedAt?: number
  readonly dormant?: boolean
  readonly witness?: State['witness']
  readonly probe?: State['probe']
  readonly recovery?: State['recovery']
  readonly warned?: ReadonlyMap<string, string>
}

export function given(parts: Given): State {
  const settings: Settings = { ...DEFAULTS, ...parts.settings }
  const turn = new Turn(initialState(settings, [], [], 1), 0)
  const sockets = Object.entries(parts.sockets ?? {}).map(([id, socket]) => madeSocket(Number(id), socket))
  for (const [index, [address, change]] of Object.entries(parts.peers).entries()) {
    addPeers(turn, [at(address)], 'learned')
    const made = turn.peer(address)
    if (made === undefined) throw new Error(`${address} is not written as the core writes it`)
    turn.setPeer({
      ...made,
      ...sumOf(sockets.filter((socket) => socket.address === address)),
      lot: (index + 1) / 100,
      listing: { is: 'listed', ready: true },
      patience: 5_000,
      ...change,
    })
  }
  turn.set({
    sockets: sockets.reduce(withRow, turn.state.sockets),
    sampleAt: parts.sampleAt ?? Infinity,
    usedAt: parts.usedAt ?? 0,
    dormant: parts.dormant ?? false,
    nextId: parts.nextId ?? 100,
    current: parts.current,
    racedAt: parts.racedAt ?? -Infinity,
    hesitatedAt: parts.hesitatedAt ?? -Infinity,
    witness: parts.witness,
    probe: parts.probe,
    recovery: parts.recovery,
    warned: parts.warned ?? new Map(),
    discovery: { ...turn.state.discovery, status: 'off', listedAt: 0, ...parts.discovery },
  })
  for (const dial of parts.dials ?? []) setDial(turn, madeDial(settings, dial))
  return turn.state
}

function madeSocket(id: Id, change: Partial<HandedSocket> & { readonly address: Address }): HandedSocket {
  return {
    id, madeAt: 0, heardAt: 0, read: 0, written: 0, owedSince: Infinity, surelyOwed: false, idle: false, retired: false,
    wakeAt: Infinity, ...change,
  }
}

function sumOf(sockets: readonly HandedSocket[]): Partial<Peer> {
  if (sockets.length === 0) return {}
  const owed = sockets.map(({ owedSince }) => owedSince)
  const surelyOwed = sockets.map(({ owedSince, surelyOwed: isSure }) => (isSure ? owedSince : Infinity))
  return {
    sockets: sockets.length,
    usedSince: 0,
    kept: { since: 0, usedAt: 0 },
    active: sockets.some(({ idle }) => !idle),
    retired: sockets.every(({ retired }) => retired),
    owedSince: Math.min(...owed),
    surelyOwedSince: Math.min(...surelyOwed),
  }
}

function madeDial(settings: Settings, change: Partial<Dial> & { readonly id: Id }): Dial {
  return {
    own: false,
    plain: true,
    deadline: settings.dialTimeout,
    startedAt: 0,
    graced: false,
    tried: [],
    attempts: [],
    causes: [],
    nextAt: Infinity,
    hold: { is: 'over' },
    failedAt: -Infinity,
    wakeAt: Infinity,
    ...change,
  }
}

// ---- peers

/** Verified before. */
export const ready: Partial<Peer> = { standing: { is: 'ready' } }
/** Verified, and spoke last at 0. */
export const used: Partial<Peer> = { ...ready, heardAt: 0 }
export const seed: Partial<Peer> = { origin: 'seed' }
export const unlisted: Partial<Peer> = { listing: { is: 'unlisted' } }
/** A seed that the list does not hold (F1). */
export const front: Partial<Peer> = { ...seed, ...unlisted }
/** Listed among those that are not ready. */
export const unready: Partial<Peer> = { listing: { is: 'listed', ready: false } }
/** Dropped out of the list at 0. */
export const removed: Partial<Peer> = removedAt(0)

export function removedAt(time: number): Partial<Peer> {
  return { listing: { is: 'removed', at: time } }
}

/** Refused connections, and is tried again at `retryAt`. */
export function failing(
  retryAt: number, failures = 1, change: Partial<Standing & { is: 'failed' }> = {},
): Partial<Peer> {
  const failed = { failures, at: 0, retryAt, error: 'refused', reached: false, silent: false, untrusted: false }
  return { standing: { is: 'failed', ...failed, ...change } }
}

/** Never verified, and met silence when it was last tried (D7). */
export const unreached: Partial<Peer> = failing(0, 1, { silent: true, error: 'no connection within 5000 ms' })

export const doubted: Partial<Peer> = { voice: { is: 'doubted' } }

export function suspectSince(since: number): Partial<Peer> {
  return { voice: { is: 'suspect', since } }
}

/** Known to be its own fault, unless another was missing, too, and answered first then. */
export function silentSince(since: number, shownAt: number = -Infinity): Partial<Peer> {
  return { voice: { is: 'silent', since, shownAt } }
}

export function slowSince(since: number, error: string = noAnswer.message, shownAt: number = -Infinity): Partial<Peer> {
  return { voice: { is: 'slow', since, shownAt, error } }
}

export function refusing(status = 503): Partial<Peer> {
  return { voice: { is: 'refusing', status } }
}

export function hollowSince(since: number, strikes = 2, full = false): Partial<Peer> {
  return { voice: { is: 'hollow', since, strikes, full } }
}

export function sickSince(since: number, strikes = 2, full = false): Partial<Peer> {
  return { voice: { is: 'sick', since, strikes, full } }
}

/** Has a monitor connection. */
export function keptSince(since: number, usedAt: number = since): Partial<Peer> {
  return { kept: { since, usedAt } }
}

/** A question on a connection that is there, sent at `sentAt`. */
export function asking(id: Id, sentAt = 0, change: Partial<Question> = {}): Question {
  return {
    id,
    misses: 0,
    missedAt: undefined,
    depth: 'shallow',
    on: 'kept',
    via: 'endpoints',
    reauthorized: false,
    otherStatus: undefined,
    after: undefined,
    silent: true,
    sentAt,
    connectedAt: sentAt,
    deadline: sentAt + DEFAULTS.heartbeatTimeout,
    attempt: undefined,
    hesitated: false,
    ...change,
  }
}

/** A question whose connection is being made since `sentAt`. */
export function reaching(id: Id, sentAt = 0, change: Partial<Question> = {}): Question {
  return asking(id, sentAt, { connectedAt: undefined, deadline: sentAt + DEFAULTS.attemptTimeout, ...change })
}

// ---- discovery and dials

/** Works, and the next refresh is far off. */
export const known: Partial<Discovery> = { status: 'ok', listedAt: 0, startedAt: 0, nextAt: 600_000 }
/** Was never begun. */
export const pending: Partial<Discovery> = {
  status: 'pending', listedAt: undefined, startedAt: -Infinity, nextAt: Infinity,
}

/** A refresh that asks the last of `tried`. */
export function roundOf(tried: readonly Address[], change: Partial<Round> = {}): Round {
  return { tried, at: tried.at(-1), causes: [], depth: 'deep', answer: undefined, ...change }
}

export function attempt(id: Id, address: Address, startedAt = 0, change: Partial<Attempt> = {}): Attempt {
  const deadline = startedAt + DEFAULTS.attemptTimeout
  const asked = change.phase === 'asking'
  return {
    id, address, endpoint: at(address), startedAt, deadline, phase: 'connecting', asked, isPrivate: undefined, ...change,
  }
}

// ---- failures

export const refused: Failure = { kind: 'refused', message: 'refused' }
export const broken: Failure = { kind: 'broken', message: 'reset' }
export const untrusted: Failure = { kind: 'identity', message: 'wrong name' }
export const local: Failure = { kind: 'local', message: 'EMFILE' }
export const mistake: Failure = { kind: 'mistake', message: 'no such cipher' }
export const unreachable: Failure = { kind: 'unreachable', message: 'EHOSTUNREACH' }
export const nameless: Failure = { kind: 'name', message: 'ENOTFOUND' }
export const noConnection: Failure = noConnectionIn(5_000)
export const noDial: Failure = noConnectionIn(15_000)
export const noAnswer: Failure = noAnswerIn(2_000)

export function noConnectionIn(ms: number): Failure {
  return { kind: 'silence', message: `no connection within ${ms} ms` }
}

export function noAnswerIn(ms: number): Failure {
  return { kind: 'late', message: `no answer within ${ms} ms` }
}

/** An answer that was another than was asked for. */
export function otherAnswer(status: number): Failure {
  return { kind: 'answer', message: `it answered ${status}` }
}

export function cause(address: Address, failure: Failure): Cause {
  return { address, failure }
}

// ---- events

/** It wakes in time; where it was to wake at `due`, and could not, `tickFor(due)`. */
export const tick: Event = { type: 'deadlineReached', due: Infinity }
export const tickFor = (due: number): Event => ({ ...tick, due })
export const closed: Event = { type: 'closed' }
export const trafficResumed: Event = { type: 'trafficResumed' }
export const identityChanged: Event = { type: 'identityChanged' }

export function hintsLoaded(...addresses: readonly Address[]): Event {
  return { type: 'hintsLoaded', endpoints: addresses.map(at) }
}

/** By default as everyone's, over HTTP/1.1. */
export function dialled(dial: Id, parts: { readonly own?: boolean; readonly plain?: boolean } = {}): Event {
  const { own = false, plain = !own } = parts
  return { type: 'dialRequested', dial, own, plain }
}

export function cancelled(dial: Id, reason: unknown): Event {
  return { type: 'dialCancelled', dial, reason }
}

export function connected(dial: Id, id: Id, isPrivate?: boolean): Event {
  return { type: 'attemptConnected', dial, attempt: id, ...(isPrivate === undefined ? {} : { isPrivate }) }
}

export function attemptFailed(dial: Id, id: Id, failure: Failure = refused): Event {
  return { type: 'attemptFailed', dial, attempt: id, failure }
}

/** By default closed by the caller, after nothing was carried. */
export function socketClosed(
  socket: Id, parts: Partial<Omit<Event & { type: 'socketClosed' }, 'type' | 'socket'>> = {},
): Event {
  return { type: 'socketClosed', socket, read: 0, written: 0, byPeer: false, ...parts }
}

export function sampled(...readings: readonly Reading[]): Event {
  return { type: 'socketsSampled', readings }
}

export function reading(socket: Id, read: number, written: number, idle = false): Reading {
  return { socket, read, written, idle }
}

export function refusalSeen(socket: Id): Event {
  return { type: 'refusalSeen', socket }
}

export function questionConnected(address: Address, question: Id): Event {
  return { type: 'questionConnected', address, question }
}

export interface AnswerParts {
  readonly status?: number
  readonly authorized?: boolean
  readonly body?: EndpointsBody
}

/** By default 200, to a question that went with its token, and without a list. */
export function answered(address: Address, question: Id, parts: AnswerParts = {}): Event {
  return { type: 'questionAnswered', address, question, status: 200, authorized: true, ...parts }
}

export function missed(address: Address, question: Id, failure: Failure = noAnswer): Event {
  return { type: 'questionFailed', address, question, failure }
}

export function refreshRequested(refresh?: Id): Event {
  return { type: 'refreshRequested', ...(refresh === undefined ? {} : { refresh }) }
}

export function warningRaised(kind: string, message: string): Event {
  return { type: 'warningRaised', kind, message }
}

export function warningPassed(kind: string): Event {
  return { type: 'warningPassed', kind }
}

export function listOf(
  addresses: readonly Address[],
  unreadyOnes: readonly Address[] = [],
  refusedParts: readonly string[] = [],
  isPrivate = false,
): EndpointsBody {
  return { kind: 'list', ready: addresses.map(at), unready: unreadyOnes.map(at), refused: refusedParts, isPrivate }
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

/** All of its attempts failed, for these causes. */
export function rejectFailed(dial: Id, ...causes: readonly Cause[]): Effect {
  return reject(dial, { kind: 'failed', causes })
}

/** By default shallow, on the kept connection. */
export function ask(
  question: Id,
  address: Address,
  parts: Partial<Omit<Effect & { type: 'ask' }, 'type' | 'question' | 'endpoint'>> = {},
): Effect {
  return {
    type: 'ask', question, endpoint: at(address), depth: 'shallow', on: 'kept', via: 'endpoints', reauthorize: false,
    ...parts,
  }
}

/** Through to etcd, on the kept connection. */
export function askDeep(
  question: Id, address: Address, parts: Partial<Omit<Effect & { type: 'ask' }, 'type' | 'question' | 'endpoint'>> = {},
): Effect {
  return ask(question, address, { depth: 'deep', ...parts })
}

export function adopt(dial: Id, id: Id): Effect {
  return { type: 'adopt', dial, attempt: id }
}

export function abandon(address: Address, question: Id): Effect {
  return { type: 'abandon', address, question }
}

export function closeMonitor(address: Address): Effect {
  return { type: 'closeMonitor', address }
}

export function retire(socket: Id): Effect {
  return { type: 'retire', socket }
}

/** H3: For the silence of its endpoint, whose last failure said why. */
export function sever(socket: Id, address: Address, why: string): Effect {
  return severFor(socket, address, `it left two heartbeats in a row unanswered (${why})`)
}

/** H9: A slow one's, for a long silence. */
export function severSlow(socket: Id, address: Address, seconds: number, why: string = noAnswer.message): Effect {
  return severFor(socket, address, `it has sent nothing for ${seconds} s (${why})`)
}

/** F4: As old as a connection that went deaf. */
export function severDeaf(socket: Id, address: Address): Effect {
  return severFor(socket, address, 'it left a question on an older connection unanswered, and answers on a new one')
}

/** H12: A sick one's. */
export function severSick(socket: Id, address: Address): Effect {
  return severFor(socket, address, 'it answers from its cache, and leaves all else unanswered')
}

function severFor(socket: Id, address: Address, reason: string): Effect {
  return { type: 'sever', socket, address, reason }
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

/** H12: It became sick; `full` where only small answers come from it. */
export function reportSick(address: Address, full = false): Effect {
  const message = full
    ? 'small answers come from it, and whole packets do not'
    : 'it answers from its cache, and nothing that goes through to etcd'
  return reportFailed(address, { kind: 'silence', message })
}

export function reportFailover(from: Address, to: Address, reason: string): Effect {
  return { type: 'report', report: { event: 'failover', from, to, reason } }
}

export function reportWarning(kind: string, message: string): Effect {
  return { type: 'report', report: { event: 'warning', kind, message } }
}
