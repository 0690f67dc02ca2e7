/**
 * What is known of each apiserver, as named phases, and the one function for each change of phase. See the diagram in
 * state.ts. When a change happens is decided by the callers; what it comes to is decided here.
 */
import type { Address, Endpoint } from './endpoint.ts'
import { addressOf } from './endpoint.ts'
import type { Failure, Listing, Origin, Peer, Settings, State, Status, Voice } from './state.ts'
import type { Turn } from './turn.ts'

/** H1: the first retry within 250 ms, doubling to 30 s, as client-go's and gRPC's reconnection backoffs end up. */
const BACKOFF_FIRST = 250
const BACKOFF_MOST = 30_000

/** D7: In attempt delays: silence after which one that was never reached is not worth waiting for. */
const MUTE_DELAYS = 2
/** F3, D7: In attempt delays: how long what is slow may be waited for. */
const SLOW_DELAYS = 4

const UNLISTED: Listing = { is: 'unlisted' }

// ---- what a peer is

/** D2: Gives the last one that worked. */
export function currentOf({ current, peers }: State): Peer | undefined {
  return current === undefined ? undefined : peers.get(current)
}

/** H5, H7: Tells whether it is on its way out: unready, no longer listed, or refusing, whether or not it failed too. */
export function isLeaving({ listing, voice }: Peer): boolean {
  return listing.is === 'removed' || (listing.is === 'listed' && !listing.ready) || voice.is === 'refusing'
}

/** H9, H12: Tells whether it is known to be of no use now, although its handshakes may be done. */
export function isUseless({ voice }: Peer): boolean {
  return voice.is === 'sick' || voice.is === 'slow'
}

/** H1, H5, H9, H12: Gives the status that a snapshot shows and the order goes by. */
export function statusOf(peer: Peer): Status {
  if (peer.standing.is === 'failed' || isUseless(peer)) return 'failed'
  return isLeaving(peer) ? 'leaving' : peer.standing.is
}

export function isListed(peer: Peer | undefined): boolean {
  return peer?.listing.is === 'listed'
}

/**
 * F1: Tells whether it is a front: configured, and not in the list. What one of its connections proves says nothing of
 * another.
 */
export function isFront(state: State, peer: Peer): boolean {
  return state.discovery.listedAt !== undefined && peer.listing.is === 'unlisted'
}

/** F1: Tells whether several apiservers may stand behind it: a front, or a seed before a list says what it is. */
export function mayBeFront(state: State, peer: Peer): boolean {
  return peer.listing.is === 'unlisted' && (peer.origin === 'seed' || isFront(state, peer))
}

/** H11: Tells whether callers gave up on it, and it has not answered since. */
export function isDoubted({ voice }: Peer): boolean {
  return voice.is === 'doubted' || (voice.is === 'suspect' && voice.doubted === true)
}

/** D8, H11: Tells whether a dial may as well go there: listed, and nothing bad is known of it. */
export function isAsGoodAsAny(peer: Peer): boolean {
  const status = statusOf(peer)
  return isListed(peer) && !isDoubted(peer) && !isMissing(peer) && (status === 'ready' || status === 'unverified')
}

type GivenUp = Voice & { is: 'silent' | 'slow' }

/** H3, H9: Tells whether it left both tries unanswered, whatever of it was reached. */
export function isGivenUp(voice: Voice): voice is GivenUp {
  return voice.is === 'silent' || voice.is === 'slow'
}

/** H2: Tells whether one that was suspected has not been heard since. */
export function isMissing(peer: Peer | undefined): boolean {
  return peer?.voice.is === 'suspect' || peer?.voice.is === 'silent'
}

export function failuresOf(peer: Peer): number {
  const { standing } = peer
  if (standing.is === 'failed') return standing.failures
  return isUseless(peer) ? 1 : 0
}

export function lastErrorOf({ standing, voice }: Peer): string | undefined {
  if (standing.is === 'failed') return standing.error
  if (voice.is === 'slow') return voice.error
  return voice.is === 'sick' ? hollowReason(voice.full) : undefined
}

function hollowReason(full: boolean): string {
  return full
    ? 'small answers come from it, and whole packets do not'
    : 'it answers from its cache, and nothing that goes through to etcd'
}

/**
 * H3, H8: Tells whether anybody answered anything for so long, and two heartbeat intervals more. Where nobody did,
 * questions are part of the load that keeps them from being answered.
 */
export function isAnyAnswering({ peers, settings }: State, now: number, within: number): boolean {
  const since = now - within - 2 * settings.heartbeatInterval
  for (const { answeredAt } of peers.values()) if (answeredAt >= since) return true
  return false
}

// ---- new ones

/** D2: Adds those of the endpoints that were not known before. The lot of each is drawn here, once. */
export function addPeers(turn: Turn, endpoints: readonly Endpoint[], origin: Origin): void {
  for (const endpoint of endpoints) {
    if (turn.peer(addressOf(endpoint)) === undefined) turn.setPeer(newPeer(turn, endpoint, origin))
  }
}

function newPeer(turn: Turn, endpoint: Endpoint, origin: Origin): Peer {
  return {
    address: addressOf(endpoint),
    endpoint,
    origin,
    lot: turn.draw(0, 1),
    listing: UNLISTED,
    standing: { is: 'unverified' },
    voice: { is: 'well' },
    mute: false,
    sockets: 0,
    usedSince: -Infinity,
    usedUntil: -Infinity,
    active: false,
    retired: true,
    heardAt: -Infinity,
    askedAt: -Infinity,
    askedDeepAt: -Infinity,
    askedFullAt: -Infinity,
    askedOwedAt: -Infinity,
    hintedAt: -Infinity,
    patience: drawPatience(turn),
    owedSince: Infinity,
    surelyOwedSince: Infinity,
    question: undefined,
    deaf: undefined,
    answeredAt: -Infinity,
    answeredDeepAt: -Infinity,
    answer: undefined,
    kept: undefined,
    connectMs: undefined,
    quickestMs: Infinity,
  }
}

/**
 * H2: Draws how long an endpoint may be silent before it is asked: up to 20 % less than `heartbeatInterval`, so that a
 * fleet does not ask in step. Never more, since a silent watch is promised back within 10 s.
 */
export function drawPatience(turn: Turn): number {
  const { heartbeatInterval } = turn.state.settings
  return turn.draw(0.8 * heartbeatInterval, heartbeatInterval)
}

// ---- standing

/** H1: Makes it ready: its TLS and identity were good just now. */
export function becomeReady(turn: Turn, address: Address): void {
  turn.changePeer(address, ({ standing }) => (
    standing.is === 'ready' ? undefined : { standing: { is: 'ready' }, mute: false }
  ))
}

/** D8, H11: Gives what is known of it once a connection has taken so long. */
export function measured({ quickestMs }: Peer, connectMs: number): Pick<Peer, 'connectMs' | 'quickestMs'> {
  return { connectMs, quickestMs: Math.min(quickestMs, connectMs) }
}

/** D7: Notes that it kept somebody waiting for a connection, and was never reached before. */
export function becomeMute(turn: Turn, address: Address): void {
  turn.changePeer(address, (peer) => (peer.mute || wasReached(peer) ? undefined : { mute: true }))
}

/**
 * D7: Gives from when on it is known to be silent, and never was reached; Infinity where it may be worth waiting for.
 */
export function futileFrom(state: State, peer: Peer | undefined): number {
  if (peer === undefined || wasReached(peer)) return Infinity
  if (peer.mute || (peer.standing.is === 'failed' && peer.standing.silent)) return -Infinity
  const { question } = peer
  const isMute = question !== undefined && question.connectedAt === undefined
  return isMute ? question.sentAt + muteAfter(state) : Infinity
}

/**
 * D7: Gives how long a connection may take before it counts as silence: twice `attemptDelay`, or, on a way or a machine
 * that is slow, three times what the one in use has taken; never more than four times `attemptDelay`.
 */
export function muteAfter(state: State): number {
  const { settings } = state
  return patienceFor(settings, MUTE_DELAYS * settings.attemptDelay, 3 * (currentOf(state)?.connectMs ?? 0))
}

/** F3, D7, H11: Gives how long what is slow is waited for: for so long, or at least that, and within a bound of all. */
export function patienceFor({ attemptDelay }: Settings, least: number, wanted: number): number {
  return Math.min(Math.max(least, wanted), SLOW_DELAYS * attemptDelay)
}

function wasReached({ standing }: Peer): boolean {
  return standing.is === 'ready' || (standing.is === 'failed' && standing.reached)
}

/** H1: Makes it failed, which moves it down the order and never out of it. */
export function becomeFailed(turn: Turn, address: Address, failure: Failure): void {
  const isSilent = failure.kind === 'silence' || failure.kind === 'unreachable'
  turn.changePeer(address, ({ standing, mute }) => {
    const before = standing.is === 'failed' ? standing : undefined
    const failures = (before?.failures ?? 0) + 1
    // Capped before the power overflows; 2^7 * 250 ms is past the most already.
    const pause = turn.draw(0, Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(failures - 1, 7)))
    if (before?.error !== failure.message) turn.report({ event: 'failed', address, failure })
    return {
      mute: mute && isSilent,
      standing: {
        is: 'failed',
        failures,
        at: turn.now,
        retryAt: turn.now + pause,
        error: failure.message,
        reached: before?.reached ?? standing.is === 'ready',
        silent: isSilent,
        untrusted: failure.kind === 'identity',
      },
    }
  })
}

// ---- listing

/** F1, H5: Takes from a list whether it is there. A front stays one; any other that is not listed has left. */
export function becomeListed(turn: Turn, peer: Peer, place: 'ready' | 'unready' | 'absent'): void {
  const { listing, origin } = peer
  if (place === 'absent') {
    if (listing.is === 'removed') return
    const isConfigured = listing.is === 'unlisted' && (origin === 'seed' || origin === 'alternate')
    if (!isConfigured) turn.setPeer({ ...peer, listing: { is: 'removed', at: turn.now } })
    return
  }
  const ready = place === 'ready'
  if (listing.is === 'listed' && listing.ready === ready) return
  turn.setPeer({ ...peer, listing: { is: 'listed', ready } })
}

// ---- voice

/** H2, H9: A byte came from it. Its silence is over; what its answers, and their lateness, say of it is not. */
export function becomeHeard(turn: Turn, address: Address): void {
  turn.changePeer(address, (peer) => (
    { heardAt: turn.now, voice: isMissing(peer) ? unsuspected(peer.voice) : peer.voice }
  ))
}

/** H3: A byte came from it then, as was told later: it says when its silence began, and nothing of now. */
export function becomeHeardThen(turn: Turn, address: Address, at: number): void {
  turn.changePeer(address, ({ heardAt }) => (at > heardAt ? { heardAt: at } : undefined))
}

function unsuspected(voice: Voice): Voice {
  return voice.is === 'suspect' && voice.doubted === true ? { is: 'doubted' } : { is: 'well' }
}

/** H11: Makes it doubted, unless worse is known of it. */
export function becomeDoubted(turn: Turn, address: Address): void {
  changeVoice(turn, address, (voice) => {
    if (voice.is === 'well') return { is: 'doubted' }
    return voice.is === 'suspect' ? { ...voice, doubted: true } : undefined
  })
}

/** H2, H11: Makes it suspect, from its first missed question on. One that was doubted still is. */
export function becomeSuspect(turn: Turn, address: Address): void {
  changeVoice(turn, address, ({ is }) => {
    if (is === 'well') return { is: 'suspect', since: turn.now }
    return is === 'doubted' ? { is: 'suspect', since: turn.now, doubted: true } : undefined
  })
}

/**
 * H3: Its host lives: it is not silent, nor slow, nor doubted, but failed. Its open connections are not dead for that.
 */
export function becomeAlive(turn: Turn, address: Address): void {
  turn.changePeer(address, (peer) => (
    isMissing(peer) || isDoubted(peer) || peer.voice.is === 'slow' ? { voice: { is: 'well' } } : undefined
  ))
}

/** H11: Its question came to nothing, through no fault of its own: a doubt that nothing would end is dropped. */
export function becomeUndoubted(turn: Turn, address: Address): void {
  changeVoice(turn, address, (voice) => {
    if (voice.is === 'doubted') return { is: 'well' }
    return voice.is === 'suspect' ? { is: 'suspect', since: voice.since } : undefined
  })
}

/** H2, H11: It is asked no more: what only an answer would have told is not known. */
export function becomeUnasked(turn: Turn, address: Address): void {
  changeVoice(turn, address, ({ is }) => (is === 'suspect' || is === 'doubted' ? { is: 'well' } : undefined))
}

/** H3: Makes it silent: nothing of it is reached. `isOwn`: it is shown already to be a fault of its own. */
export function becomeSilent(turn: Turn, address: Address, isOwn: boolean): void {
  changeVoice(turn, address, (voice) => (
    { is: 'silent', since: missingSince(voice) ?? turn.now, shownAt: shownAtOf(voice, isOwn) }
  ))
}

/** H3: Another has answered, the first of all that were missing: from now on a miss shows a fault of this one's own. */
export function becomeTested(turn: Turn, address: Address, voice: GivenUp): void {
  turn.changePeer(address, { voice: { ...voice, shownAt: turn.now } })
}

/** H3: It left a question unanswered that was sent then: after another had answered, that shows a fault of its own. */
export function becomeShown(turn: Turn, address: Address, sentAt: number): void {
  changeVoice(turn, address, (voice) => (
    isGivenUp(voice) && voice.shownAt <= sentAt ? { ...voice, shownAt: -Infinity } : undefined
  ))
}

function shownAtOf(voice: Voice, isOwn: boolean): number {
  if (isOwn) return -Infinity
  return isGivenUp(voice) ? voice.shownAt : Infinity
}

/** H3: Gives since when it has been missing: an answer of another's since then is a witness. */
function missingSince(voice: Voice): number | undefined {
  return voice.is === 'suspect' || isGivenUp(voice) ? voice.since : undefined
}

/** H9: Makes it slow: its handshake was done, and its answer did not come. */
export function becomeSlow(turn: Turn, address: Address, failure: Failure, isOwn: boolean): void {
  changeVoice(turn, address, (voice) => {
    if (voice.is !== 'slow') turn.report({ event: 'failed', address, failure })
    const since = missingSince(voice) ?? turn.now
    return { is: 'slow', since, shownAt: shownAtOf(voice, isOwn), error: failure.message }
  })
}

/** H12: Counts deep questions that went without an answer, the first of them then, where a shallow one was answered. */
export function becomeHollow(turn: Turn, address: Address, since: number, misses: 1 | 2, full: boolean): void {
  changeVoice(turn, address, (voice) => {
    if (voice.is === 'hollow' || voice.is === 'sick') {
      return { ...voice, strikes: voice.strikes + misses, full: voice.full || full }
    }
    return { is: 'hollow', since, strikes: misses, full }
  })
}

/** H12: Makes a hollow one sick, from now on and with so many strikes: another has answered what it does not. */
export function becomeSick(turn: Turn, address: Address, { full }: Voice & { is: 'hollow' }, strikes: number): void {
  turn.report({ event: 'failed', address, failure: { kind: 'silence', message: hollowReason(full) } })
  turn.changePeer(address, { voice: { is: 'sick', since: turn.now, strikes, full } })
}

/** H7: Makes it refusing. */
export function becomeRefusing(turn: Turn, address: Address, status: number): void {
  changeVoice(turn, address, () => ({ is: 'refusing', status }))
}

/** H2, H7, H12: Makes it well: it gave a good answer, of the depth that was in doubt. */
export function becomeWell(turn: Turn, address: Address): void {
  changeVoice(turn, address, ({ is }) => (is === 'well' ? undefined : { is: 'well' }))
}

function changeVoice(turn: Turn, address: Address, change: (voice: Voice) => Voice | undefined): void {
  turn.changePeer(address, ({ voice: before }) => {
    const voice = change(before)
    return voice && { voice }
  })
}
