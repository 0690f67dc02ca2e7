/**
 * The sockets in their callers' hands: how much each has carried, whether it waits in a pool, and what is done to it
 * when the core says so. When that is, is decided in core/.
 */
import { AsyncResource } from 'node:async_hooks'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Address } from './core/endpoint.ts'
import type { Event, Id, Reading } from './core/state.ts'
import { severedError } from './errors.ts'

/** How often, in ms, all of them are looked at, at the least; a fifth of `heartbeatInterval` where that is less. */
const ALL_EVERY = 1_000

interface Handed {
  readonly id: Id
  readonly address: Address
  readonly socket: Socket
  /** What it had carried when it was handed over. */
  readonly baseRead: number
  readonly baseWritten: number
  /** What was last told of it. */
  read: number
  written: number
  wasIdle: boolean
  wasUnanswered: boolean
  /** What it was last seen to have read, and when that was more than before. */
  seenRead: number
  heardAt: number
  idle: boolean
  retired: boolean
  /** Its user writes to it without a request of a pool's, as to an upgraded one. */
  streams: boolean
  /** A request has begun on it since it was last looked at; and what it had carried when the last one did. */
  hasBegun: boolean
  isPlain: boolean
  begunRead: number
  begunWritten: number
  begunAt: number
  /** Where its last request began: what it is severed with is told to that request, in its asynchronous context. */
  scope: AsyncResource | undefined
}

export class HandedSockets {
  readonly #dispatch: (event: Event) => void
  readonly #handed = new Map<Id, Handed>()
  readonly #bySocket = new WeakMap<Duplex, Handed>()
  /** Those that may come to owe something at any time, as far as a pool tells: they are looked at each time. */
  readonly #lively = new Set<Handed>()
  readonly #allEvery: number
  #allAt = -Infinity
  /** When they were last looked at, closely or not. */
  #lookedAt = -Infinity

  constructor(dispatch: (event: Event) => void, heartbeatInterval: number) {
    this.#dispatch = dispatch
    this.#allEvery = heartbeatInterval === 0 ? ALL_EVERY : Math.min(ALL_EVERY, heartbeatInterval / 5)
  }

  get size(): number {
    return this.#handed.size
  }

  add(id: Id, address: Address, socket: Socket): void {
    const handed: Handed = {
      id, address, socket, baseRead: socket.bytesRead, baseWritten: socket.bytesWritten,
      read: 0, written: 0, wasIdle: false, wasUnanswered: false, seenRead: 0, heardAt: -Infinity,
      idle: false, retired: false, streams: false, hasBegun: false, isPlain: false,
      begunRead: 0, begunWritten: 0, begunAt: -Infinity, scope: undefined,
    }
    this.#handed.set(id, handed)
    this.#lively.add(handed)
    this.#bySocket.set(socket, handed)
    // Not `once`: that would weigh more for as long as the socket lives.
    socket.on('close', () => this.#closed(handed))
  }

  /** Gives the id of a socket that was handed out; undefined for any other. */
  idOf(socket: Duplex): Id | undefined {
    return this.#bySocket.get(socket)?.id
  }

  /** Notes that a pool has it back. False: it must not be kept. */
  released(socket: Duplex): boolean {
    const handed = this.#bySocket.get(socket)
    if (handed === undefined) return true
    handed.idle = true
    this.#lively.add(handed)
    return !handed.retired
  }

  /**
   * Notes that a request takes it, out of a pool or as it was made; whether its answer comes as a whole. False where it
   * is none of ours.
   */
  acquired(socket: Duplex, isPlain: boolean): boolean {
    const handed = this.#bySocket.get(socket)
    if (handed === undefined) return false
    handed.idle = false
    this.#lively.add(handed)
    handed.scope = new AsyncResource('MULTIDIALERSOCKET')
    handed.hasBegun = true
    handed.isPlain = isPlain
    handed.begunRead = handed.socket.bytesRead - handed.baseRead
    handed.begunWritten = handed.socket.bytesWritten - handed.baseWritten
    handed.begunAt = performance.now()
    return true
  }

  /**
   * Reads what sockets have carried, of those that have carried anything since they were last told of. Unless it is
   * done `closely`, those that a pool knows to be answered are looked at less often, and of those that have read more
   * since one is told of for each endpoint. What is told later says when it was.
   */
  sample(closely: boolean): Reading[] {
    const now = performance.now()
    const isAll = closely || now - this.#allAt >= this.#allEvery
    if (isAll) this.#allAt = now
    const readings: Reading[] = []
    const heard = closely ? undefined : new Set<Address>()
    for (const handed of isAll ? this.#handed.values() : this.#lively) this.#look(handed, now, heard, readings)
    this.#lookedAt = now
    return readings
  }

  #look(handed: Handed, now: number, heard: Set<Address> | undefined, readings: Reading[]): void {
    const { id, address, socket, idle } = handed
    const read = socket.bytesRead - handed.baseRead
    const written = socket.bytesWritten - handed.baseWritten
    if (read !== handed.seenRead) {
      handed.seenRead = read
      handed.heardAt = now
    }
    const { hasBegun } = handed
    handed.hasBegun = false
    const isPooled = handed.scope !== undefined
    // Of an answer that comes as a whole the rest is owed, too: a path may lose its full packets from the second on.
    const hasAnswer = idle || (!handed.isPlain && read > handed.begunRead)
    const unanswered = isPooled && !hasAnswer && written > handed.begunWritten
    const isAnswered = isPooled && hasAnswer
    const isQuiet = written === handed.written && idle === handed.wasIdle && unanswered === handed.wasUnanswered
    if (isQuiet && isAnswered && !handed.streams) this.#lively.delete(handed)
    if (isQuiet && read === handed.read) return
    if (isQuiet && isAnswered && heard?.has(address) === true) return
    if (isAnswered && !hasBegun && !idle && !handed.wasIdle && !handed.wasUnanswered && written > handed.written) {
      handed.streams = true
      this.#lively.add(handed)
    }
    if (read > handed.read) heard?.add(address)
    handed.read = read
    handed.written = written
    handed.wasIdle = idle
    handed.wasUnanswered = unanswered
    const { heardAt } = handed
    if (!isPooled) readings.push({ socket: id, read, written, idle, heardAt })
    else if (!unanswered || read > handed.begunRead) {
      readings.push({ socket: id, read, written, idle, heardAt, unanswered })
    } else {
      // One that is begun may be written later.
      const begunAt = Math.max(handed.begunAt, this.#lookedAt)
      readings.push({ socket: id, read, written, idle, heardAt, unanswered, begunAt })
    }
  }

  /** Closes it as soon as it is idle. */
  retire(id: Id): void {
    const handed = this.#handed.get(id)
    if (handed === undefined) return
    handed.retired = true
    if (handed.idle) handed.socket.destroy()
  }

  /** Destroys it, with an error that clients know. */
  sever(id: Id, address: Address, reason: string): void {
    const handed = this.#handed.get(id)
    if (handed === undefined) return
    this.#forget(handed)
    const error = severedError(address, reason)
    // A socket that nobody listens to must not end the process.
    if (handed.socket.listenerCount('error') === 0) handed.socket.on('error', () => {})
    if (handed.scope === undefined) handed.socket.destroy(error)
    else handed.scope.runInAsyncScope(() => handed.socket.destroy(error))
  }

  #forget(handed: Handed): void {
    this.#handed.delete(handed.id)
    this.#lively.delete(handed)
  }

  #closed(handed: Handed): void {
    this.#forget(handed)
    const { id, socket, baseRead, baseWritten, seenRead, heardAt } = handed
    const read = socket.bytesRead - baseRead
    this.#dispatch({
      type: 'socketClosed',
      socket: id,
      read,
      heardAt: read === seenRead ? heardAt : performance.now(),
      written: socket.bytesWritten - baseWritten,
      byPeer: socket.errored === null || isOfPeer(socket.errored),
    })
  }
}

/**
 * Whether the other end broke the connection: what its caller destroys it with has no system call, nor is it OpenSSL's.
 * One that was closed without an error counts as the other end's, too: after an alert Node tells no more.
 */
function isOfPeer(error: Error): boolean {
  return 'syscall' in error || ('library' in error && error.library === 'SSL routines')
}
