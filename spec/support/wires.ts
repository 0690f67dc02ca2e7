/**
 * Wires between a client and apiservers that can be cut: the option `connectSocket` for a dialer, over real sockets.
 * While a wire is cut what is sent on it does not arrive, in both directions or in one, and nobody is told; a new
 * connection is not established. When it is mended everything comes through, as TCP has sent it again and again.
 */
import net from 'node:net'
import { Duplex } from 'node:stream'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'

/** What does not arrive: anything, or what the server says. */
export type Cut = 'both ways' | 'replies'

export class Wires {
  readonly #links = new Map<string, Link>()

  readonly connectSocket = (endpoint: Endpoint, { signal }: { signal: AbortSignal }): Promise<Duplex> => {
    const link = this.#linkTo(addressOf(endpoint))
    return new Promise((resolve, reject) => {
      const connect = (): void => {
        if (signal.aborted) return
        const socket = net.connect({ host: endpoint.host, port: endpoint.port, noDelay: true })
        const abort = (): void => { socket.destroy() }
        signal.addEventListener('abort', abort, { once: true })
        socket.once('error', reject)
        socket.once('connect', () => {
          socket.off('error', reject)
          signal.removeEventListener('abort', abort)
          resolve(new Wire(socket, link))
        })
      }
      // The client's SYN is lost, or the answer to it: either way there is no connection, and no word.
      if (link.cut === undefined) connect()
      else link.onMend(connect)
    })
  }

  cut(address: string, how: Cut = 'both ways'): void {
    this.#linkTo(address).cut = how
  }

  mend(address: string): void {
    this.#linkTo(address).mend()
  }

  #linkTo(address: string): Link {
    const known = this.#links.get(address) ?? new Link()
    this.#links.set(address, known)
    return known
  }
}

class Link {
  cut: Cut | undefined
  readonly #waiting = new Set<() => void>()

  onMend(listener: () => void): void {
    this.#waiting.add(listener)
  }

  forget(listener: () => void): void {
    this.#waiting.delete(listener)
  }

  mend(): void {
    this.cut = undefined
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const listener of waiting) listener()
  }
}

class Wire extends Duplex {
  readonly #socket: net.Socket
  readonly #link: Link
  /** What has not arrived yet, in order. */
  #held: (() => void)[] = []
  readonly #release = (): void => {
    const held = this.#held
    this.#held = []
    for (const arrive of held) if (!this.destroyed) arrive()
  }

  constructor(socket: net.Socket, link: Link) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#link = link
    socket.on('data', (chunk: Buffer) => this.#arrive('replies', () => {
      if (!this.push(chunk)) socket.pause()
    }))
    socket.on('end', () => this.#arrive('replies', () => this.push(null)))
    socket.on('error', (error) => this.#arrive('replies', () => this.destroy(error)))
    socket.on('close', () => this.#arrive('replies', () => this.destroy()))
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#arrive('both ways', () => this.#socket.write(chunk))
    callback()
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#arrive('both ways', () => this.#socket.end())
    callback()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#link.forget(this.#release)
    this.#socket.destroy()
    callback(error)
  }

  #arrive(lostWhen: Cut, arrive: () => void): void {
    const { cut } = this.#link
    if (cut !== 'both ways' && cut !== lostWhen && this.#held.length === 0) return arrive()
    this.#held.push(arrive)
    this.#link.onMend(this.#release)
  }
}
