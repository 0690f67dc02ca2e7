/** One client of a simulated fleet: what it wants, what it holds, and the state of its dialer. */
import type { Address } from '../../lib/core/endpoint.ts'
import type { Reading, State } from '../../lib/core/state.ts'

/**
 * A client keeps one watch open, and now and then makes a request on a connection of its own; or it makes requests on
 * one connection, which is idle between them or never counts as idle, as undici's; or it makes one request, and no more.
 */
export type Workload = 'busy watch' | 'silent watch' | 'requests, pooled' | 'requests, never idle' | 'one request'

/** A connection in the client's hands. */
export interface Held {
  readonly server: number
  readonly isWatch: boolean
  /** Bytes, or rather pieces: a request, an answer, an event. */
  read: number
  written: number
  idle: boolean
  retired: boolean
  /** What its server's watches had brought when this one was opened; Infinity: it brings nothing. */
  streamedAt: number
  readonly seen: { read: number; written: number; idle: boolean }
}

export class Client {
  state: State
  timerAt: number = Infinity
  lastDial = 0
  /** The dial that the watch waits for, and the watch's connection; 0 for none. */
  watchDial = 0
  watch = 0
  /** What the watch waited before it was last tried, in ms. */
  pause = 0
  readonly sockets: Map<number, Held> = new Map()
  /** Which server an attempt has come to: behind a balancer it may be any. */
  readonly attempts: Map<number, number> = new Map()
  /** The attempts that have a question on them, and whom it was meant for. */
  readonly asked: Map<number, Address> = new Map()
  /** Which server a monitor connection goes to. */
  readonly kept: Map<Address, number> = new Map()

  constructor(state: State) {
    this.state = state
  }

  hold(socket: number, server: number, isWatch: boolean): Held {
    this.asked.delete(socket)
    const held: Held = {
      server, isWatch, read: 0, written: 0, idle: false, retired: false, streamedAt: Infinity,
      seen: { read: 0, written: 0, idle: false },
    }
    this.sockets.set(socket, held)
    return held
  }

  /** A server is gone, and so are the monitor connections to it. */
  forgetKept(server: number): void {
    for (const [address, its] of this.kept) if (its === server) this.kept.delete(address)
  }

  /** Looks at what its connections have carried: those that carried nothing since the last look are left out. */
  readings(eventsOf: (held: Held) => number): Reading[] {
    const readings: Reading[] = []
    for (const [socket, held] of this.sockets) {
      const { written, idle, seen } = held
      const read = held.read + eventsOf(held)
      if (read === seen.read && written === seen.written && idle === seen.idle) continue
      seen.read = read
      seen.written = written
      seen.idle = idle
      readings.push({ socket, read, written, idle })
    }
    return readings
  }
}
