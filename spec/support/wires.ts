/**
 * Wires between a client and apiservers that can be cut: the option `connectSocket` for a dialer, over real sockets.
 * What is sent on a cut wire is lost, in both directions or in one, and nobody is told, as when a link is down or a
 * NAT has forgotten a connection. A new connection over a cut wire is never established.
 */
import net from 'node:net'
import { Duplex } from 'node:stream'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'

/** What is lost: everything, or what the server says. */
export type Cut = 'both ways' | 'replies'

export class Wires {
  readonly #cut = new Map<string, Cut>()
  readonly #open = new Set<Wire>()
  /** Every attempt so far, by address. */
  readonly attempts: string[] = []

  readonly connectSocket = (endpoint: Endpoint, { signal }: { signal: AbortSignal }): Promise<Duplex> => {
    const address = addressOf(endpoint)
    this.attempts.push(address)
    return new Promise((resolve, reject) => {
      // The client's SYN is lost, or the answer to it: either way there is no connection, and no word.
      if (this.#cut.has(address)) return
      const socket = net.connect({ host: endpoint.host, port: endpoint.port, noDelay: true })
      signal.addEventListener('abort', () => socket.destroy(), { once: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        const wire = new Wire(socket, () => this.#cut.get(address))
        this.#open.add(wire)
        wire.once('close', () => this.#open.delete(wire))
        resolve(wire)
      })
    })
  }

  /** How many are open. */
  get open(): number {
    return this.#open.size
  }

  cut(address: string, how: Cut = 'both ways'): void {
    this.#cut.set(address, how)
  }

  /** What was lost stays lost, so that connections from before are no good: as with real ones, when they have waited long. */
  mend(address: string): void {
    this.#cut.delete(address)
  }
}

class Wire extends Duplex {
  readonly #socket: net.Socket
  readonly #cut: () => Cut | undefined
  #repliesLost = false
  #requestsLost = false

  constructor(socket: net.Socket, cut: () => Cut | undefined) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#cut = cut
    socket.on('data', (chunk: Buffer) => {
      if (this.#losesReplies()) return
      if (!this.push(chunk)) socket.pause()
    })
    socket.on('end', () => {
      if (!this.#losesReplies()) this.push(null)
    })
    socket.on('error', (error) => {
      if (!this.#losesReplies()) this.destroy(error)
    })
    socket.on('close', () => {
      if (!this.#losesReplies()) this.destroy()
    })
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.#losesRequests()) callback()
    else this.#socket.write(chunk, () => callback())
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (!this.#losesRequests()) this.#socket.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.destroy()
    callback(error)
  }

  // What was lost is missing for good: nothing that comes later makes sense without it.
  #losesReplies(): boolean {
    this.#repliesLost ||= this.#cut() !== undefined
    return this.#repliesLost
  }

  #losesRequests(): boolean {
    this.#requestsLost ||= this.#cut() === 'both ways'
    return this.#requestsLost
  }
}
