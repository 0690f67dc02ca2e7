/**
 * The dials under way and their attempts: who waits for which, and what is done to each when the core says so. A
 * connection may be held back before it is delivered, with or without a question on it (F3).
 */
import type { Socket } from 'node:net'
import { isIP, isPrivate } from './address.ts'
import { drop } from './connect/attempt.ts'
import type { Wanted } from './connect/connections.ts'
import type { Endpoint } from './core/endpoint.ts'
import type { Event, Failure, Id } from './core/state.ts'
import type { BorrowedConnection } from './discovery/monitor.ts'
import { causeText, kindOf } from './errors.ts'

/** Gets what a dial came to, once: an error, or null and a socket. */
export type MadeCallback<Made> = (error: Error | null, socket?: Made) => void

/** Makes one connection; settles once, and never at once. Returns what gives it up. */
type MakeConnection<Made> = (
  endpoint: Endpoint,
  wanted: Wanted,
  settle: (error: Error | undefined, socket?: Made) => void,
) => () => void

interface PendingDial<Made> {
  readonly wanted: Wanted
  readonly callback: MadeCallback<Made>
  readonly unlisten: () => void
}

/** A connection being made, or made and held back. */
interface PendingAttempt<Made> {
  readonly cancel: () => void
  socket?: Made
  /** A question is, or was, on it. */
  borrowed?: BorrowedConnection
  /** Stops looking after it while it is held back. */
  unwatch?: () => void
}

/** Those that make sockets of one kind: TLS sockets, or the bare ones of pipes. Ids of other dials are unknown here. */
export class Dials<Made extends Socket> {
  readonly #make: MakeConnection<Made>
  readonly #dispatch: (event: Event) => void
  readonly #dials = new Map<Id, PendingDial<Made>>()
  /** Of all dials, those that have ended too: the losers of a race are destroyed after its winner is handed over. */
  readonly #attempts = new Map<Id, PendingAttempt<Made>>()

  constructor(make: MakeConnection<Made>, dispatch: (event: Event) => void) {
    this.#make = make
    this.#dispatch = dispatch
  }

  get size(): number {
    return this.#dials.size
  }

  /** @param unlisten is called when the dial has ended */
  begin(id: Id, wanted: Wanted, callback: MadeCallback<Made>, unlisten: () => void): void {
    this.#dials.set(id, { wanted, callback, unlisten })
  }

  connect(dialId: Id, attemptId: Id, endpoint: Endpoint): void {
    const dial = this.#dials.get(dialId)
    if (dial === undefined) return
    const cancel = this.#make(endpoint, dial.wanted, (error, socket) => {
      const pending = this.#attempts.get(attemptId)
      if (pending === undefined) return socket && drop(socket)
      if (socket === undefined) {
        this.#attempts.delete(attemptId)
        return this.#dispatch({ type: 'attemptFailed', dial: dialId, attempt: attemptId, failure: failureOf(error) })
      }
      pending.socket = socket
      // Through a proxy or a tunnel, the other end of the socket is that.
      const ip = isIP(endpoint.host) === 0 ? socket.remoteAddress : endpoint.host
      const where = ip === undefined ? {} : { isPrivate: isPrivate(ip) }
      this.#dispatch({ type: 'attemptConnected', dial: dialId, attempt: attemptId, ...where })
      if (this.#attempts.get(attemptId) === pending) this.#watch(dialId, attemptId, pending, socket)
    })
    this.#attempts.set(attemptId, { cancel })
  }

  /** Has a question asked on the connection of an attempt; returns what gives that up. */
  borrow(attemptId: Id, ask: (socket: Made) => BorrowedConnection): (() => void) | undefined {
    const pending = this.#attempts.get(attemptId)
    if (pending?.socket === undefined) return undefined
    pending.borrowed = ask(pending.socket)
    return pending.borrowed.giveUp
  }

  destroy(attemptId: Id): void {
    const pending = this.#take(attemptId)
    if (pending?.socket === undefined) pending?.cancel()
    else drop(pending.socket)
  }

  /** Leaves the connection, with the question on it, to the monitor. */
  adopt(attemptId: Id): void {
    this.#take(attemptId)?.borrowed?.keep()
  }

  /** Gives the attempt's connection to the caller. `handed` comes before the caller has it. */
  deliver(dialId: Id, attemptId: Id, handed: (socket: Made) => void): void {
    if (!this.#dials.has(dialId)) return
    const pending = this.#take(attemptId)
    const socket = pending?.socket
    if (socket === undefined) return
    pending?.borrowed?.release()
    handed(socket)
    this.end(dialId, null, socket)
  }

  /**
   * Ends a dial. A socket has no listener for its errors until its caller has it: that cannot wait. An error must not
   * come before `dial` has returned: that can.
   */
  end(id: Id, error: Error | null, socket?: Made): void {
    const dial = this.#dials.get(id)
    if (dial === undefined) return
    this.#dials.delete(id)
    dial.unlisten()
    if (socket !== undefined) invoke(dial.callback, null, socket)
    else process.nextTick(invoke, dial.callback, error)
  }

  #take(attemptId: Id): PendingAttempt<Made> | undefined {
    const pending = this.#attempts.get(attemptId)
    this.#attempts.delete(attemptId)
    pending?.unwatch?.()
    return pending
  }

  /** While it is held back, nobody else looks after it. */
  #watch(dial: Id, attempt: Id, pending: PendingAttempt<Made>, socket: Made): void {
    let failure: Failure = { kind: 'broken', message: 'closed before it was handed over' }
    const onError = (error: Error): void => {
      failure = failureOf(error)
    }
    const onClose = (): void => {
      this.#attempts.delete(attempt)
      this.#dispatch({ type: 'attemptFailed', dial, attempt, failure })
    }
    socket.on('error', onError).on('close', onClose)
    pending.unwatch = () => socket.off('error', onError).off('close', onClose)
  }
}

/** What happened, as the core takes it. */
export function failureOf(error: Error | undefined): Failure {
  return { kind: kindOf(error), message: causeText(error), error }
}

/** A callback that throws is its owner's bug, and must surface without keeping the queue from its next event. */
function invoke<Made>(callback: MadeCallback<Made>, error: Error | null, socket?: Made): void {
  try {
    callback(error, socket)
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}
