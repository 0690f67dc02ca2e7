/** Every deadline, declared once: when it is due, and what is done then. NODE_DEBUG prints the reason. */
import { nextAsking, silencesDue } from './asking.ts'
import { dialsDue } from './dialling.ts'
import { forgottenAt, removedDue } from './discovery.ts'
import { questionsDue } from './heartbeat.ts'
import { recoveryDue } from './recovery.ts'
import { agesDue, hesitatesAt, hesitationsDue } from './retiring.ts'
import { deafDue, deafEnds, silenceEnds } from './severing.ts'
import type { Deadline, Peer, State } from './state.ts'
import { earliestOf } from './table.ts'
import { wakeSampling } from './traffic.ts'
import { LATE } from './turn.ts'
import type { Turn } from './turn.ts'
import { unusedAt, unusedDue } from './usage.ts'

/**
 * H10: A monitor connection is closed when unused for this long. By default a refresh comes 48 to 72 s after the last
 * one, and is to find it open: a handshake costs a server more than the list. kube-apiserver itself closes after 90 s.
 */
const MONITOR_IDLE = 75_000

interface Entry {
  readonly why: Deadline['why']
  readonly at: (state: State) => number
  /** Of one peer; the earliest of all counts. */
  readonly ofPeer?: (state: State, peer: Peer) => number
  /** What is looked at only after the event (see `settle` in step.ts) has nothing to do here. */
  readonly handle?: (turn: Turn) => void
}

const never = (): number => Infinity

/** In the order in which they are handled. */
const ENTRIES: readonly Entry[] = [
  { why: 'unused', at: unusedAt, handle: unusedDue },
  { why: 'dial', at: ({ dials }) => earliestOf(dials), handle: dialsDue },
  { why: 'deaf', at: never, ofPeer: deafEnds, handle: deafDue },
  {
    why: 'question', at: never, ofPeer: (_state, { question }) => question?.deadline ?? Infinity, handle: questionsDue,
  },
  { why: 'hesitation', at: never, ofPeer: hesitatesAt, handle: hesitationsDue },
  { why: 'sample', at: ({ sampleAt }) => sampleAt, handle: samplesDue },
  { why: 'silence', at: never, ofPeer: (state, peer) => nextAsking(state, peer).at, handle: silencesDue },
  { why: 'slow', at: never, ofPeer: silenceEnds },
  { why: 'monitor', at: never, ofPeer: monitorEnds, handle: monitorsDue },
  { why: 'age', at: ({ sockets }) => earliestOf(sockets), handle: agesDue },
  { why: 'recovery', at: ({ recovery }) => recovery?.nextAt ?? Infinity, handle: recoveryDue },
  {
    why: 'forget', at: never, ofPeer: ({ dormant }, peer) => (dormant ? Infinity : forgottenAt(peer)),
    handle: removedDue,
  },
  { why: 'witness', at: ({ witness }) => witness?.nextAt ?? Infinity },
  { why: 'probe', at: ({ probe }) => probe?.nextAt ?? Infinity },
  { why: 'refresh', at: ({ discovery }) => discovery.nextAt },
]

/** Gives the earliest time at which `deadlineReached` will change something; undefined where nothing is waited for. */
export function nextDeadline(state: State): Deadline | undefined {
  if (state.closed) return undefined
  let at = Infinity
  let why: Deadline['why'] = 'dial'
  for (const entry of ENTRIES) {
    const due = dueAt(entry, state)
    if (due < at) [at, why] = [due, entry.why]
  }
  return at === Infinity ? undefined : { at, why }
}

/**
 * H4: Handles every deadline whose time has come. Who wakes late has been away, and silence until now tells nothing. A
 * deadline tells less: what was just learned may have set one in the past.
 */
export function deadlineReached(turn: Turn, due: number): void {
  if (turn.now - due > LATE) turn.set({ backAt: turn.now })
  for (const entry of ENTRIES) {
    if (entry.handle !== undefined && dueAt(entry, turn.state) <= turn.now) entry.handle(turn)
  }
}

function dueAt({ at, ofPeer }: Entry, state: State): number {
  let due = at(state)
  if (ofPeer === undefined) return due
  for (const peer of state.peers.values()) due = Math.min(due, ofPeer(state, peer))
  return due
}

/** Whoever drives this reads the bytes of all sockets first: they have just been looked at. */
function samplesDue(turn: Turn): void {
  turn.set({ sampleAt: Infinity })
  wakeSampling(turn)
}

/** H10, F4: Gives when an unused monitor connection is to be closed; Infinity where there is none, or it is needed. */
function monitorEnds({ settings }: State, { kept, question, active }: Peer): number {
  const isNeeded = question !== undefined || (active && settings.heartbeatInterval > 0)
  return kept === undefined || isNeeded ? Infinity : kept.usedAt + MONITOR_IDLE
}

function monitorsDue(turn: Turn): void {
  turn.forEachPeer((peer) => {
    if (monitorEnds(turn.state, peer) > turn.now) return
    turn.emit({ type: 'closeMonitor', address: peer.address })
    turn.setPeer({ ...peer, kept: undefined })
  })
}
