/**
 * Health (H2 to H5): who is asked whether it lives, and what follows when it does not answer. A heartbeat is
 * the discovery request; what its answer lists is the business of `discovery.ts`.
 */
import { isAnyReady, nextCandidate, restedAt } from './candidates.ts'
import type { Address } from './endpoint.ts'
import type { Via } from './state.ts'
import {
  drawBetween, drawPatience, failed, heard, isLeaving, overPeers, statusOf, unwarn, verified, warn, withPeer,
} from './peers.ts'
import type { Effect, Failure, HandedSocket, Heartbeat, Id, Peer, Reading, State } from './state.ts'
import { dueRows, rowOf, rowsOf, withoutRow, withRow } from './table.ts'

/** H4: a deadline handled later than this says that this machine was away, and nothing of the endpoint. */
export const LATE = 1_000
/** H2: for how long a written request may be without any answer before its endpoint is asked. */
const OWED_AFTER = 1_000
/** Dials may fail a thousand times a second; their endpoint is not asked as often. */
const DOUBT_AGAIN = 1_000
/** How often bytes are looked at while a socket is in use: what it adds to the 1 s above must stay small against it. */
const SAMPLE_EVERY = 250
/**
 * A monitor connection is closed when unused for this long. By default a refresh comes 48 to 72 s after the last one,
 * and is to find it open: a handshake costs a server more than the list. kube-apiserver itself closes after 90 s.
 */
const MONITOR_IDLE = 75_000

/** The search for a witness rests at least this long, however short `heartbeatInterval` is, or 0. */
const SEARCH_PAUSE = 1_000

export interface Asking {
  readonly misses: 0 | 1
  readonly via: Via
  readonly reauthorized: boolean
  readonly otherStatus: number | undefined
}

/** Asks an endpoint now, unless it is being asked. */
export function ask(state: State, address: Address, now: number, effects: Effect[]): State {
  const peer = state.peers.get(address)
  if (peer === undefined || peer.heartbeat !== undefined) return state
  const asking = { misses: 0, via: state.discovery.via, reauthorized: false, otherStatus: undefined } as const
  return send(state, peer, asking, now, effects)
}

/** Asks an endpoint that a dial found wanting: at most once a second, however many dials there are. */
export function doubt(state: State, address: Address, now: number, effects: Effect[]): State {
  const peer = state.peers.get(address)
  return peer === undefined || now - peer.askedAt < DOUBT_AGAIN ? state : ask(state, address, now, effects)
}

export function send(state: State, peer: Peer, asking: Asking, now: number, effects: Effect[]): State {
  const id = state.nextId
  effects.push({
    type: 'heartbeat',
    heartbeat: id,
    endpoint: peer.endpoint,
    via: asking.via,
    fresh: asking.misses > 0,
    reauthorize: asking.reauthorized,
  })
  const heartbeat = { ...asking, id, deadline: now + state.settings.heartbeatTimeout }
  const counters = { ...state.counters, heartbeats: state.counters.heartbeats + 1 }
  return withPeer({ ...state, nextId: id + 1, counters }, { ...peer, heartbeat, askedAt: now, monitoredAt: now })
}

/** Any HTTP answer proves the endpoint alive; 429 and 5xx make it leaving (H2). */
export function proven(
  state: State,
  peer: Peer,
  status: number,
  fresh: boolean,
  now: number,
): readonly [state: State, alive: Peer] {
  const [patience, drawn] = drawPatience(state)
  let sockets = drawn.sockets
  if (peer.owedSince !== Infinity) {
    // The endpoint lives, so what is owed is only slow; the next write is a new question.
    for (const socket of rowsOf(drawn.sockets)) {
      if (socket.address === peer.address) sockets = withRow(sockets, { ...socket, owedSince: Infinity })
    }
  }
  const alive: Peer = {
    ...(fresh ? verified(peer, now) : heard(peer, now)),
    heartbeat: undefined,
    draining: status === 429 || status >= 500,
    provenAt: now,
    monitoredAt: now,
    owedSince: Infinity,
    patience,
  }
  const next = withPeer({ ...drawn, sockets }, alive)
  return [fresh ? unwarn(next, `identity ${peer.address}`) : next, alive]
}

/** No answer: again at once on a fresh connection; twice: failed (H2). */
export function missed(
  state: State,
  peer: Peer,
  heartbeat: Heartbeat,
  failure: Failure,
  now: number,
  effects: Effect[],
): State {
  if (failure.blame === 'none') return withPeer(state, { ...peer, heartbeat: undefined })
  const suspect: Peer = { ...peer, suspectSince: peer.suspectSince ?? now }
  if (heartbeat.misses === 0) return send(state, suspect, { ...heartbeat, misses: 1 }, now, effects)
  // A certificate that will not do was at least sent by somebody: sockets that were good are not cut for it.
  const silent = failure.blame === 'endpoint'
  const gone: Peer = { ...suspect, heartbeat: undefined, silent, monitoredAt: undefined }
  const next = failed(state, gone, failure, now, effects)
  return silent ? next : warn(next, `identity ${peer.address}`, failure.message, effects, failure.error)
}

/** What the sockets carried since they were last looked at. Those that carried nothing are not among the readings. */
export function socketsSampled(state: State, readings: readonly Reading[], now: number): State {
  const talking = new Set<Address>()
  let sockets = state.sockets
  for (const reading of readings) {
    const socket = rowOf(sockets, reading.socket)
    if (socket === undefined) continue
    if (reading.read > socket.read) talking.add(socket.address)
    sockets = withRow(sockets, sampled(socket, reading, now))
  }
  const owed = new Map<Address, number>()
  let sampleAt = Infinity
  for (const socket of rowsOf(sockets)) {
    owed.set(socket.address, Math.min(socket.owedSince, owed.get(socket.address) ?? Infinity))
    if (!socket.idle) sampleAt = now + SAMPLE_EVERY
  }
  let next: State = { ...state, sockets, sampleAt }
  for (const [address, owedSince] of owed) {
    const peer = next.peers.get(address)
    if (peer === undefined || (peer.owedSince === owedSince && !talking.has(address))) continue
    next = withPeer(next, { ...(talking.has(address) ? talked(peer, now) : peer), owedSince })
  }
  return next
}

/** A byte came from it while it was being asked: the next miss is a first one again. */
function talked(peer: Peer, now: number): Peer {
  const { heartbeat } = peer
  return heartbeat?.misses === 1 ? { ...heard(peer, now), heartbeat: { ...heartbeat, misses: 0 } } : heard(peer, now)
}

/** A pooled socket is in use again, or a new one is. */
export function wakeSampling(state: State, now: number): State {
  return state.sampleAt === Infinity && state.sockets.size > 0 ? { ...state, sampleAt: now + SAMPLE_EVERY } : state
}

export function socketClosed(state: State, id: Id): State {
  const socket = rowOf(state.sockets, id)
  const peer = socket && state.peers.get(socket.address)
  if (peer === undefined) return state
  const sockets = withoutRow(state.sockets, id)
  const next: State = { ...state, sockets, sampleAt: sockets.size === 0 ? Infinity : state.sampleAt }
  return withPeer(next, withFewerSockets(peer, 1))
}

/** Deadlines of heartbeats, silences to be broken, monitor connections nobody uses, sockets of age. */
export function healthDue(state: State, now: number, effects: Effect[]): State {
  let next = overPeers(state, (each, peer) => {
    if (silenceEnds(each, peer) <= now) return ask(each, peer.address, now, effects)
    if (monitorEnds(peer) > now) return each
    effects.push({ type: 'closeMonitor', address: peer.address })
    return withPeer(each, { ...peer, monitoredAt: undefined })
  })
  for (const socket of dueRows(state.sockets, now)) next = retire(next, socket, effects)
  return next
}

/** When a silent endpoint with open sockets is to be asked; Infinity where it is not. */
export function silenceEnds(state: State, peer: Peer): number {
  if (peer.sockets === 0 || peer.heartbeat !== undefined || state.settings.heartbeatInterval === 0) return Infinity
  const since = Math.max(peer.heardAt, peer.askedAt)
  // Whoever is known to be silent is asked in peace, however much is owed.
  if (peer.silent || peer.owedSince === Infinity) return since + peer.patience
  return Math.min(since + peer.patience, Math.max(since, peer.owedSince) + OWED_AFTER)
}

/** When an unused monitor connection is to be closed; Infinity where there is none. */
export function monitorEnds(peer: Peer): number {
  return peer.monitoredAt === undefined || peer.heartbeat !== undefined ? Infinity : peer.monitoredAt + MONITOR_IDLE
}

/**
 * H3: severs what fell silent as soon as another endpoint has itself answered since, and looks for such a
 * witness as long as there is none. While nothing else answers, nothing is severed.
 */
export function severSilent(state: State, now: number, effects: Effect[]): State {
  let unwitnessed = false
  const next = overPeers(state, (each, peer) => {
    if (peer.suspectSince === undefined || peer.sockets === 0) return each
    if (hasWitness(each, peer, peer.suspectSince)) return isDead(each, peer, now) ? sever(each, peer, effects) : each
    unwitnessed = true
    return each
  })
  if (!unwitnessed) return next.witness === undefined ? next : { ...next, witness: undefined }
  return searchWitness(next, now, effects)
}

/** H5: the idle sockets of an endpoint that is leaving while another is ready are closed, the busy ones when done. */
export function retireLeaving(state: State, now: number, effects: Effect[]): State {
  return overPeers(state, (each, peer) => {
    if (peer.retired || !isLeaving(peer)) return each
    if (!isAnyReady(each)) return askNewcomer(each, now, effects)
    let next = each
    for (const socket of rowsOf(each.sockets)) {
      if (socket.address === peer.address && !socket.retired) next = retire(next, socket, effects)
    }
    return withPeer(next, { ...peer, retired: true })
  })
}

/** None is known to be ready: those that have not been tried yet are asked, one by one, so that nobody has to stay. */
function askNewcomer(state: State, now: number, effects: Effect[]): State {
  const newcomers = [...state.peers.values()].filter((peer) => statusOf(peer) === 'unverified' && peer.listed)
  if (newcomers.some((peer) => peer.heartbeat !== undefined)) return state
  const untried = newcomers.find((peer) => peer.askedAt === -Infinity)
  return untried === undefined ? state : ask(state, untried.address, now, effects)
}

function sampled(socket: HandedSocket, reading: Reading, now: number): HandedSocket {
  const { read, written, idle } = reading
  const wrote = written > socket.written
  const answered = read > socket.read
  let { owedSince } = socket
  if (idle) owedSince = Infinity
  // Which came first cannot be told within one sample: owed.
  else if (answered) owedSince = wrote ? now : Infinity
  else if (wrote) owedSince = Math.min(owedSince, now)
  return { ...socket, read, written, idle, owedSince }
}

/**
 * `spread`: the sockets made before there was a choice are not used again now that there is one. All of a fleet that
 * was given the same seed would otherwise stay on it.
 */
export function retireUnchosen(state: State, effects: Effect[]): State {
  let next = state
  for (const socket of rowsOf(state.sockets)) if (!socket.retired) next = retire(next, socket, effects)
  return next
}

/**
 * `spread` with a `maxConnectionAge`: an endpoint that joins has no connections yet. From when it may be chosen, each
 * of those that the others have is left a part of half its time, so that load is even well within one age, and not only
 * in the course of a second one where connections must wait until they are idle.
 */
export function hurryAges(state: State, newcomers: readonly Peer[], now: number): State {
  if (state.settings.balance !== 'spread' || newcomers.length === 0) return state
  const from = Math.max(now, Math.min(...newcomers.map(restedAt)))
  let next = state
  for (const socket of rowsOf(state.sockets)) {
    if (socket.wakeAt === Infinity || socket.wakeAt <= from) continue
    const [wakeAt, drawn] = drawBetween(next, from, (from + socket.wakeAt) / 2)
    next = { ...drawn, sockets: withRow(drawn.sockets, { ...socket, wakeAt }) }
  }
  return next
}

function retire(state: State, socket: HandedSocket, effects: Effect[]): State {
  effects.push({ type: 'retire', socket: socket.id })
  return { ...state, sockets: withRow(state.sockets, { ...socket, retired: true, wakeAt: Infinity }) }
}

/** Refusing new connections is not being silent: one that spoke just now may be draining, and finish its answers. */
function isDead(state: State, peer: Peer, now: number): boolean {
  return peer.silent && now - peer.heardAt >= state.settings.heartbeatTimeout
}

function hasWitness(state: State, suspect: Peer, since: number): boolean {
  for (const peer of state.peers.values()) {
    if (peer.address !== suspect.address && peer.provenAt >= since) return true
  }
  return false
}

function sever(state: State, peer: Peer, effects: Effect[]): State {
  let { sockets } = state
  let severed = 0
  for (const socket of rowsOf(state.sockets)) {
    if (socket.address !== peer.address) continue
    const reason = `it left two heartbeats in a row unanswered (${peer.lastError})`
    effects.push({ type: 'sever', socket: socket.id, address: peer.address, reason })
    sockets = withoutRow(sockets, socket.id)
    severed += 1
  }
  const counters = { ...state.counters, severed: state.counters.severed + severed }
  const sampleAt = sockets.size === 0 ? Infinity : state.sampleAt
  return withPeer({ ...state, sockets, counters, sampleAt }, withFewerSockets(peer, peer.sockets))
}

/** Asks the others as a dial would try them: the next after `attemptDelay`, all again after a heartbeat's interval. */
function searchWitness(state: State, now: number, effects: Effect[]): State {
  const search = state.witness ?? { asked: [], nextAt: now }
  const last = search.asked.at(-1)
  const heartbeat = last === undefined ? undefined : state.peers.get(last)?.heartbeat
  const inVain = last !== undefined && heartbeat?.misses !== 0
  if (search.nextAt > now && !inVain) return state
  // Suspects in use are asked anyhow.
  const suspects = [...state.peers.values()].filter((peer) => peer.suspectSince !== undefined && peer.sockets > 0)
  const candidate = nextCandidate(state, [...search.asked, ...suspects.map((peer) => peer.address)])
  if (candidate === undefined) {
    if (search.nextAt > now) return state
    const [pause, drawn] = drawPatience(state)
    return { ...drawn, witness: { asked: [], nextAt: now + Math.max(pause, SEARCH_PAUSE) } }
  }
  const witness = { asked: [...search.asked, candidate.address], nextAt: now + state.settings.attemptDelay }
  // It may be in its second try already: then the next one is asked, too.
  return searchWitness(ask({ ...state, witness }, candidate.address, now, effects), now, effects)
}

function withFewerSockets(peer: Peer, fewer: number): Peer {
  const sockets = peer.sockets - fewer
  return sockets > 0 ? { ...peer, sockets } : { ...peer, sockets: 0, owedSince: Infinity, retired: true }
}
