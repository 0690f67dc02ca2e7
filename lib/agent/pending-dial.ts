/**
 * The place of a connection in a pool while it is being dialled. `agent.sockets` shows it until the dialer has
 * answered, so that a pool that counts its sockets counts those to come. It is a socket that is connecting, which is
 * what the stock agent would show there: to destroy it gives the dial up, and it has the timer of a socket. It never
 * connects, and no request is ever written to it.
 */
import { Socket } from 'node:net'

import { coded } from '../errors.ts'

export class PendingDial extends Socket {
  override readonly connecting: boolean = true
  #giveUp: ((reason: Error) => void) | undefined

  constructor() {
    super()
    // The reason it was destroyed for reaches the request through the dialer.
    this.on('error', ignore)
  }

  /** The dial is under way, and this gives it up. */
  dialling(giveUp: (reason: Error) => void): void {
    this.#giveUp = giveUp
  }

  /** The dial has ended: nothing is left to give up, and the timer stops. */
  ended(): void {
    this.#giveUp = undefined
    this.destroy()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const giveUp = this.#giveUp
    this.#giveUp = undefined
    giveUp?.(error ?? hangUp())
    super._destroy(error, callback)
  }
}

/** What a request of `node:http` fails with when its connection is gone before an answer. */
export function hangUp(): Error {
  return coded('ECONNRESET', 'socket hang up')
}

function ignore(): void {}
