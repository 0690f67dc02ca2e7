/**
 * Asking (H2): who is asked whether it lives, when, how deep and on which connection. The heartbeat is the discovery
 * request. What its answer, or its absence, says of an endpoint is in heartbeat.ts, and what its list means in
 * discovery.ts.
 *
 * The questions of one doubt follow each other:
 *   kept connection --no answer--> fresh connection --no answer, but a deep one, and its handshake was done-->
 *   shallow, on another fresh connection. A deep question beside the kept connection ('full') is followed by a shallow
 *   one on that; a deep one that is answered with 5xx by a shallow one, too.
 */
import type { Address } from './endpoint.ts'
import { becomeDoubted, isGivenUp } from './peers.ts'
import type { Deaf, Depth, Id, Peer, Question, State } from './state.ts'
import type { Turn } from './turn.ts'

/** H2: For how long a written request may be without any answer before its endpoint is asked. */
export const OWED_AFTER = 1_000
/** H2: How often an endpoint is asked for what it surely owes, and until how long after the request it is. */
const OWED_AGAIN = 2_000
const OWED_LASTS = 10_000
/** H12: For how long, although small answers come, before its endpoint is asked deep; it is found out within 10 s. */
const OWED_DEEP = 3_000
/** H12: For how long, although the kept connection answers, before it is asked with a full handshake. */
const OWED_LONG = 5_000
/**
 * H12: How long an endpoint in use goes without a deep question, and the least pause between two full handshakes, or
 * two deep questions for what is owed. So there are 4 a minute: what is always owed must not cost etcd more.
 */
const DEEP_EVERY = 15_000
/** H12: For how long a deep question that is due may wait for one that is asked anyway. */
const DEEP_WAITS = 5_000
/** F4: How long after its first socket an endpoint has a connection of ours: programs that end at once need none. */
const KEPT_AFTER = 100
/** F4: The same for who opens a second one, and so does not end at once. */
const KEPT_SOON = 10
/**
 * H7: In heartbeat intervals: how long an endpoint in use goes without any question, busy or not; less the jittered
 * silence after which it is asked anyway. It is 15 to 16 s, so that there are 4 a minute, and no fleet asks in step.
 */
const BUSY_INTERVALS = 4
/** Dials may fail a thousand times a second; their endpoint is not asked as often. */
const DOUBT_AGAIN = 1_000

/** What is asked, and what went before. */
export interface Asking {
  readonly misses: Question['misses']
  readonly missedAt: Question['missedAt']
  readonly depth: Depth
  readonly on: Question['on']
  readonly after: Question['after']
  readonly silent: boolean
  readonly via: Question['via']
  readonly reauthorized: boolean
  readonly otherStatus: number | undefined
}

// ---- asking

/** H2: Asks an endpoint now, unless it is being asked. */
export function ask(turn: Turn, address: Address, depth: Depth, on: Question['on'] = 'kept'): void {
  if (turn.peer(address)?.question === undefined) send(turn, address, firstOf(turn, depth, on))
}

/** F3: Asks on the connection of an attempt, before it is handed over. */
export function askOn(turn: Turn, address: Address, attempt: Id): void {
  send(turn, address, firstOf(turn, 'shallow', 'fresh'), attempt)
}

/** H1: Asks an endpoint whose dial failed: at most once a second, however many dials there are. */
export function wonder(turn: Turn, address: Address): void {
  const peer = turn.peer(address)
  if (peer !== undefined && turn.now - peer.askedAt >= DOUBT_AGAIN) ask(turn, address, 'shallow')
}

/**
 * H11: Doubts an endpoint that callers gave up on: dials begin elsewhere until it has answered. It is asked at most
 * once a second, as one that answered just now is not asked again.
 */
export function doubt(turn: Turn, address: Address, on: 'kept' | 'fresh'): void {
  const peer = turn.peer(address)
  if (peer === undefined || turn.state.dormant) return
  if (peer.question === undefined && turn.now - peer.askedAt < DOUBT_AGAIN) return
  becomeDoubted(turn, address)
  ask(turn, address, 'deep', on)
}

/** H7, H9, H11, H12: Asks an endpoint for what it last did not answer. */
export function askWhatIsInDoubt(turn: Turn, { address, voice }: Peer): void {
  const isDeep = voice.is === 'sick' || voice.is === 'hollow'
  ask(turn, address, isDeep ? 'deep' : 'shallow', isDeep && voice.full ? 'full' : 'kept')
}

/** H7: Asks an endpoint of which a caller read 429 or 5xx: a hint, followed at most once per heartbeat interval. */
export function hint(turn: Turn, address: Address): void {
  const { heartbeatInterval } = turn.state.settings
  const peer = turn.peer(address)
  if (peer === undefined || peer.question !== undefined || heartbeatInterval === 0) return
  if (turn.now - peer.hintedAt < heartbeatInterval) return
  turn.setPeer({ ...peer, hintedAt: turn.now })
  ask(turn, address, 'deep')
}

function firstOf(turn: Turn, depth: Depth, on: Question['on']): Asking {
  const { via } = turn.state.discovery
  return {
    misses: 0, missedAt: undefined, depth, on, after: undefined, silent: true, via, reauthorized: false,
    otherStatus: undefined,
  }
}

/** R2: Asks again what was answered, in another way, on the same connection. */
export function askAgain(turn: Turn, address: Address, question: Question, change: Partial<Asking>): void {
  send(turn, address, { ...question, misses: 0, on: 'kept', ...change })
}

/** H2: Sends a question; until its connection is there, that has its own time. */
export function send(turn: Turn, address: Address, asking: Asking, attempt?: Id): void {
  const { now } = turn
  const { depth, on, via, reauthorized } = asking
  turn.changePeer(address, (peer) => {
    const id = turn.nextId()
    turn.emit({
      type: 'ask', question: id, endpoint: peer.endpoint, depth, on, via, reauthorize: reauthorized,
      ...(attempt === undefined ? {} : { attempt }),
    })
    turn.count('heartbeats')
    const isConnected = attempt !== undefined || (on === 'kept' && peer.kept !== undefined)
    const bound = isConnected ? turn.state.settings.heartbeatTimeout : connectBound(turn.state, peer)
    return {
      question: {
        ...asking, id, attempt, sentAt: now, connectedAt: isConnected ? now : undefined, deadline: now + bound,
        hesitated: false,
      },
      askedAt: now,
      askedDeepAt: depth === 'deep' && on !== 'full' ? now : peer.askedDeepAt,
      askedFullAt: on === 'full' ? now : peer.askedFullAt,
      kept: on === 'kept' && peer.kept !== undefined ? { ...peer.kept, usedAt: now } : peer.kept,
    }
  })
}

/**
 * H2: Bounds the making of a connection for a question: `attemptTimeout`, or, where it is known how long one takes,
 * twice that and `heartbeatTimeout` at least, so that a dead server's sockets are not left waiting for the longer one.
 */
function connectBound(state: State, { connectMs }: Peer): number {
  const { attemptTimeout, heartbeatTimeout } = state.settings
  return connectMs === undefined ? attemptTimeout : Math.min(attemptTimeout, Math.max(heartbeatTimeout, 2 * connectMs))
}

// ---- when to ask

export interface NextAsking {
  readonly at: number
  readonly depth: Depth
  readonly on: Question['on']
  /** It is for what is owed. */
  readonly owed: boolean
}

/** H2, H7, H10, H12: Gives when an endpoint in use is to be asked next, and how. */
export function nextAsking(state: State, peer: Peer): NextAsking {
  const { heartbeatInterval, heartbeatTimeout } = state.settings
  const { voice, active, askedAt, askedFullAt, kept } = peer
  if (peer.question !== undefined || heartbeatInterval === 0 || state.dormant) return NEVER
  // H11: What it was asked last did not end the doubt. Where no socket is left either, dials wait for it elsewhere.
  const doubtedAt = voice.is === 'doubted' ? askedAt + DOUBT_AGAIN : Infinity
  if (peer.sockets === 0) return doubtedAt === Infinity ? NEVER : { ...NEVER, at: doubtedAt }
  const busyAt = Math.max(askedAt, peer.usedSince) + BUSY_INTERVALS * heartbeatInterval - peer.patience
  const silentAt = Math.max(peer.heardAt, askedAt) + peer.patience
  const deepAt = active ? Math.max(peer.askedDeepAt, askedFullAt, peer.usedSince) + DEEP_EVERY : Infinity
  const isHollow = voice.is === 'hollow' || voice.is === 'sick'
  const deepOn = isHollow && voice.full ? 'full' : 'kept'
  const anyhowAt = Math.min(busyAt, silentAt)
  let next: NextAsking = anyhowAt >= deepAt
    ? { at: anyhowAt, depth: 'deep', on: deepOn, owed: false }
    : { at: anyhowAt, depth: 'shallow', on: 'kept', owed: false }
  const consider = (at: number, depth: Depth, on: Question['on'], owed = false): void => {
    if (at < next.at || (depth === 'deep' && at === next.at)) next = { at, depth, on, owed }
  }
  consider(isHollow ? deepAt : deepAt + DEEP_WAITS, 'deep', deepOn)
  consider(doubtedAt, 'shallow', 'kept')
  if (isHollow) {
    if (voice.strikes < 2) {
      consider(Math.max(voice.full ? askedFullAt : askedAt, voice.since) + heartbeatTimeout, 'deep', deepOn)
    }
    // F4: What is asked beside the kept connection tells nothing of those in use, which may have gone deaf since.
    if (!voice.full) return next
  }
  // Whoever is known to be silent or slow is asked at the normal interval, even while requests wait.
  if (isGivenUp(voice)) return next
  // F4: A connection of ours that is about as old as those in use goes deaf with them. What was asked since they were
  // made has made one, or has failed to.
  if (active && kept === undefined && askedAt <= peer.usedSince) {
    consider(peer.usedSince + (peer.sockets > 1 ? KEPT_SOON : KEPT_AFTER), 'shallow', 'kept')
  }
  considerOwed(peer, consider)
  return next
}

type Consider = (at: number, depth: Depth, on: Question['on'], owed: boolean) => void

/** H2, H12: Considers when to ask an endpoint for what it owes: more often for what it surely does. */
function considerOwed(peer: Peer, consider: Consider): void {
  const { askedAt, askedDeepAt, askedFullAt, askedOwedAt, owedSince, surelyOwedSince, kept } = peer
  if (askedDeepAt < owedSince && askedAt < owedSince + OWED_AFTER) {
    const at = Math.max(owedSince, askedAt) + OWED_AFTER
    consider(at, at >= askedOwedAt + DEEP_EVERY ? 'deep' : 'shallow', 'kept', true)
  }
  if (surelyOwedSince === Infinity) return
  if (askedDeepAt < surelyOwedSince) {
    consider(Math.max(surelyOwedSince + OWED_DEEP, askedAt + OWED_AFTER), 'deep', 'kept', true)
  }
  const keptAskedAt = kept?.usedAt ?? askedAt
  const againAt = Math.max(surelyOwedSince + OWED_AFTER, keptAskedAt + OWED_AGAIN)
  if (againAt < surelyOwedSince + OWED_LASTS) consider(againAt, 'shallow', 'kept', true)
  if (askedFullAt < surelyOwedSince) {
    // Beside the kept connection only while that one answers: else it is not the packets' length.
    const at = Math.max(surelyOwedSince + OWED_LONG, askedFullAt + DEEP_EVERY)
    if (keptAskedAt + OWED_AFTER >= at) consider(at, 'deep', 'full', true)
    else consider(at, 'shallow', 'kept', true)
  }
}

const NEVER: NextAsking = { at: Infinity, depth: 'shallow', on: 'kept', owed: false }

/** H2: Asks those whose time has come. */
export function silencesDue(turn: Turn): void {
  turn.forEachPeer((peer) => askIfDue(turn, peer))
}

/** H7: Asks an endpoint whose only socket came just now if its time has come: before that one goes, too. */
export function askWhileUsed(turn: Turn, address: Address): void {
  const peer = turn.peer(address)
  if (peer?.sockets === 1) askIfDue(turn, peer)
}

function askIfDue(turn: Turn, peer: Peer): void {
  const { at, depth, on, owed } = nextAsking(turn.state, peer)
  if (at > turn.now) return
  if (owed && depth === 'deep') turn.changePeer(peer.address, { askedOwedAt: turn.now })
  ask(turn, peer.address, depth, on)
}

/** H2, H11: Gives since when an answer is waited for: its connection was there, or else it was sent. */
export function beganAt({ connectedAt, sentAt }: Question): number {
  return connectedAt ?? sentAt
}

// ---- the end of a question

/** Forgets a question that is over. */
export function release(turn: Turn, address: Address, id: Id): void {
  if (turn.peer(address)?.question?.id === id) turn.changePeer(address, { question: undefined })
}

/** Ends whatever an endpoint is being asked, and closes the connection of ours that is kept to it. */
export function hangUp(turn: Turn, { address, question, deaf, kept }: Peer): void {
  for (const id of [question?.id, deaf?.question]) {
    if (id !== undefined) turn.emit({ type: 'abandon', address, question: id })
  }
  if (kept !== undefined) turn.emit({ type: 'closeMonitor', address })
  turn.changePeer(address, { question: undefined, deaf: undefined, kept: undefined })
}

/** F4: What is listened to is no longer on the connection that is kept. */
export function replaced(deaf: Deaf | undefined): Deaf | undefined {
  return deaf === undefined || deaf.replaced === true ? deaf : { ...deaf, replaced: true }
}

/** F4: Listens no longer to a question that went unanswered. */
export function endDeaf(turn: Turn, address: Address): void {
  const deaf = turn.peer(address)?.deaf
  if (deaf === undefined) return
  if (deaf.question !== undefined) turn.emit({ type: 'abandon', address, question: deaf.question })
  turn.changePeer(address, { deaf: undefined })
}
