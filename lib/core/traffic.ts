/**
 * Traffic: what the sockets in their callers' hands carry, as far as bytes tell (H2). What has been written and not
 * answered is owed; who is asked because of it is decided in asking.ts.
 */
import type { Address } from './endpoint.ts'
import { doubt } from './asking.ts'
import { becomeHeard, becomeHeardThen } from './peers.ts'
import type { Event, HandedSocket, Reading, State } from './state.ts'
import { rowOf, rowsOf, withoutRow, withRow, withRows } from './table.ts'
import type { Turn } from './turn.ts'

/** How often bytes are looked at while a socket is in use: what it adds to the 1 s of H2 must stay small against it. */
const SAMPLE_EVERY = 250
/** H11: A request that its caller gave up says something of its endpoint after this much silence. */
const TELLING_SILENCE = 100
/** H7: In heartbeat intervals, about as often as who is busy is asked: uses less than that apart are one. */
const ONE_USE = 3

/** What the sockets of one endpoint add up to. */
interface Sum {
  owedSince: number
  surelyOwedSince: number
  active: boolean
}

/**
 * H2: Takes what sockets carried since they were last looked at. Those that carried nothing are not among the readings.
 */
export function socketsSampled(turn: Turn, readings: readonly Reading[]): void {
  const heard = new Map<Address, number>()
  const changed: HandedSocket[] = []
  for (const reading of readings) {
    const socket = rowOf(turn.state.sockets, reading.socket)
    if (socket === undefined) continue
    const { heardAt = turn.now } = reading
    if (reading.read > socket.read && heardAt > (heard.get(socket.address) ?? -Infinity)) {
      heard.set(socket.address, heardAt)
    }
    changed.push(sampled(socket, reading, turn.now))
  }
  if (changed.length > 0) turn.set({ sockets: withRows(turn.state.sockets, changed) })
  for (const [address, heardAt] of heard) hear(turn, address, heardAt)
  let isActive = false
  for (const [address, { owedSince, surelyOwedSince, active }] of sumUp(turn)) {
    isActive ||= active
    turn.changePeer(address, ({ owedSince: owed, surelyOwedSince: surelyOwed, active: wasActive }) => (
      owed === owedSince && surelyOwed === surelyOwedSince && wasActive === active
        ? undefined
        : { owedSince, surelyOwedSince, active }
    ))
  }
  if (isActive) turn.set({ usedAt: turn.now, sampleAt: turn.now + SAMPLE_EVERY })
  else if (turn.state.sampleAt !== Infinity) turn.set({ sampleAt: Infinity })
}

/** H2, H3: A byte came from an endpoint then. What is told late says nothing of now. */
function hear(turn: Turn, address: Address, heardAt: number): void {
  if (turn.now - heardAt < SAMPLE_EVERY) becomeHeard(turn, address)
  else becomeHeardThen(turn, address, heardAt)
}

/** H3: Tells whether it matters when each socket last spoke: an endpoint in use is being asked, or is in doubt. */
export function isCloselyWatched({ peers }: State): boolean {
  for (const { sockets, question, voice, standing } of peers.values()) {
    if (sockets > 0 && (question !== undefined || voice.is !== 'well' || standing.is !== 'ready')) return true
  }
  return false
}

/** H10: A pooled socket is in use again, or a new one is. */
export function wakeSampling(turn: Turn): void {
  const { sampleAt, sockets, closed } = turn.state
  if (closed || sampleAt !== Infinity || sockets.size === 0) return
  turn.set({ sampleAt: turn.now + SAMPLE_EVERY, usedAt: turn.now })
}

/**
 * H2, H11: Counts a socket no more. What it read at last is a byte of its endpoint's; one that was closed without a
 * word, or given up unanswered, has it doubted.
 */
export function socketClosed(turn: Turn, event: Event & { type: 'socketClosed' }): void {
  const socket = rowOf(turn.state.sockets, event.socket)
  if (socket === undefined) return
  const sockets = withoutRow(turn.state.sockets, socket.id)
  turn.set({ sockets, ...(sockets.size === 0 ? { sampleAt: Infinity } : {}) })
  countClosed(turn, socket.address, [socket])
  if (event.read > socket.read) hear(turn, socket.address, event.heardAt ?? turn.now)
  if (turn.state.closed || !isTelling(socket, event, turn.now)) return
  // One that never said a word is as new ones are; one that fell silent is as the kept connection is (F4).
  doubt(turn, socket.address, event.read === 0 ? 'fresh' : 'kept')
}

/** H11: Tells whether the end of a socket says something of its endpoint: it owed an answer. */
function isTelling(
  socket: HandedSocket, { read, written, byPeer }: Event & { type: 'socketClosed' }, now: number,
): boolean {
  if (socket.retired && socket.idle) return false
  if (read === 0 && written > 0) return byPeer || now - socket.madeAt >= TELLING_SILENCE
  return socket.surelyOwed && read === socket.read && now - socket.owedSince >= TELLING_SILENCE
}

/**
 * H7: Counts one more socket in a caller's hands. Who makes one for each request uses its endpoint all the time, and
 * has it asked as others do.
 */
export function countHanded(turn: Turn, address: Address): void {
  const pause = ONE_USE * turn.state.settings.heartbeatInterval
  turn.changePeer(address, ({ sockets, usedSince, usedUntil }) => ({
    sockets: sockets + 1,
    usedSince: sockets > 0 || turn.now - usedUntil < pause ? usedSince : turn.now,
    active: true,
    retired: false,
  }))
}

/** H2: Counts sockets of an endpoint no more, which are gone from the state, nor what they owed. */
export function countClosed(turn: Turn, address: Address, closed: readonly HandedSocket[]): void {
  turn.changePeer(address, (peer) => {
    const sockets = peer.sockets - closed.length
    if (sockets === 0) {
      return {
        sockets, usedUntil: turn.now, owedSince: Infinity, surelyOwedSince: Infinity, active: false, retired: true,
      }
    }
    const isOldest = closed.some(({ owedSince }) => owedSince !== Infinity && owedSince <= peer.surelyOwedSince)
    if (!isOldest) return { sockets }
    const sum = sumUp(turn).get(address)
    return { sockets, ...(sum && { owedSince: sum.owedSince, surelyOwedSince: sum.surelyOwedSince }) }
  })
}

/** H2: The endpoint has answered: what may have been answered is not owed until the next write. */
export function forgetOwed(turn: Turn, address: Address): void {
  const peer = turn.peer(address)
  if (peer === undefined || peer.owedSince === Infinity) return
  let { sockets } = turn.state
  for (const socket of rowsOf(sockets)) {
    if (socket.address !== address || socket.owedSince === Infinity || socket.surelyOwed) continue
    sockets = withRow(sockets, { ...socket, owedSince: Infinity })
  }
  turn.set({ sockets })
  turn.setPeer({ ...peer, owedSince: peer.surelyOwedSince })
}

/** H2: Gives what one socket owes after a reading: a write that no byte followed. */
function sampled(socket: HandedSocket, reading: Reading, now: number): HandedSocket {
  const { read, written, idle, unanswered, begunAt = now } = reading
  const wrote = written > socket.written
  const answered = read > socket.read
  let { owedSince, surelyOwed } = socket
  if (idle) {
    owedSince = Infinity
    surelyOwed = false
  } else if (answered) {
    // Which came first cannot be told within one sample, unless by who knows when the request began: it may be owed.
    owedSince = unanswered ?? wrote ? begunAt : Infinity
    surelyOwed = unanswered === true
  } else if (wrote) {
    owedSince = Math.min(owedSince, begunAt)
    surelyOwed = true
  }
  const { id, address, madeAt, retired, wakeAt } = socket
  // Field by field, as thousands of sockets may have spoken: a copy of all of them would cost more.
  return {
    id, address, madeAt, heardAt: answered ? reading.heardAt ?? now : socket.heardAt, read, written, owedSince,
    surelyOwed, idle, retired, wakeAt,
  }
}

function sumUp(turn: Turn): Map<Address, Sum> {
  const sums = new Map<Address, Sum>()
  for (const socket of rowsOf(turn.state.sockets)) {
    let sum = sums.get(socket.address)
    if (sum === undefined) {
      sum = { owedSince: Infinity, surelyOwedSince: Infinity, active: false }
      sums.set(socket.address, sum)
    }
    if (socket.owedSince < sum.owedSince) sum.owedSince = socket.owedSince
    if (socket.surelyOwed && socket.owedSince < sum.surelyOwedSince) sum.surelyOwedSince = socket.owedSince
    if (!socket.idle) sum.active = true
  }
  return sums
}
