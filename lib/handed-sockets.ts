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

interface Handed {
  readonly id: Id
  readonly socket: Socket
  /** What it had carried when it was handed over. */
  readonly baseRead: number
  readonly baseWritten: number
  /** What was last told of it. */
  read: number
  written: number
  wasIdle: boolean
  idle: boolean
  retired: boolean
  /** What it had carried when it was last taken out of a pool. */
  begunRead: number
  begunWritten: number
  /** Where its last request began: what it is severed with is told to that request, in its asynchronous context. */
  scope: AsyncResource | undefined
}

export class HandedSockets {
  readonly #dispatch: (event: Event) => void
  readonly #handed = new Map<Id, Handed>()
  readonly #bySocket = new WeakMap<Duplex, Handed>()

  constructor(dispatch: (event: Event) => void) {
    this.#dispatch = dispatch
  }

  get size(): number {
    return this.#handed.size
  }

  add(id: Id, socket: Socket): void {
    const handed: Handed = {
      id, socket, baseRead: socket.bytesRead, baseWritten: socket.bytesWritten,
      read: 0, written: 0, wasIdle: false, idle: false, retired: false, begunRead: 0, begunWritten: 0,
      scope: undefined,
    }
    this.#handed.set(id, handed)
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
    return !handed.retired
  }

  /** Notes that a request takes it, out of a pool or as it was made. False where it is none of ours. */
  acquired(socket: Duplex): boolean {
    const handed = this.#bySocket.get(socket)
    if (handed === undefined) return false
    handed.idle = false
    handed.scope = new AsyncResource('MULTIDIALERSOCKET')
    handed.begunRead = handed.socket.bytesRead - handed.baseRead
    handed.begunWritten = handed.socket.bytesWritten - handed.baseWritten
    return true
  }

  /** Reads what sockets have carried, of those that have carried anything since the last time. */
  sample(): Reading[] {
    const readings: Reading[] = []
    for (const handed of this.#handed.values()) {
      const { id, socket, idle } = handed
      const read = socket.bytesRead - handed.baseRead
      const written = socket.bytesWritten - handed.baseWritten
      if (read === handed.read && written === handed.written && idle === handed.wasIdle) continue
      handed.read = read
      handed.written = written
      handed.wasIdle = idle
      if (handed.scope === undefined) {
        readings.push({ socket: id, read, written, idle })
      } else {
        const unanswered = read === handed.begunRead && written > handed.begunWritten
        readings.push({ socket: id, read, written, idle, unanswered })
      }
    }
    return readings
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
    this.#handed.delete(id)
    const error = severedError(address, reason)
    // A socket that nobody listens to must not end the process.
    if (handed.socket.listenerCount('error') === 0) handed.socket.on('error', () => {})
    if (handed.scope === undefined) handed.socket.destroy(error)
    else handed.scope.runInAsyncScope(() => handed.socket.destroy(error))
  }

  #closed({ id, socket, baseRead, baseWritten }: Handed): void {
    this.#handed.delete(id)
    this.#dispatch({
      type: 'socketClosed',
      socket: id,
      read: socket.bytesRead - baseRead,
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
