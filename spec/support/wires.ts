/**
 * Wires between a client and apiservers that can be cut: the option `connectSocket` for a dialer, over real sockets.
 * While a wire is cut what is sent on it does not arrive, in both directions or in one, and nobody is told; a new
 * connection is not established. When it is mended everything comes through, as TCP has sent it again and again.
 */
import net from 'node:net'
import { Duplex } from 'node:stream'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'

/**
 * What does not arrive: anything; what the server says; or that alone of what it says that fills a packet, and then all
 * that comes after it, as TCP sends the lost one again and again.
 */
export type Cut = 'both ways' | 'replies' | 'full packets'

/** What a path with an MTU of 1,452 lets through, less the headers. */
const PACKET = 1_400

export class Wires {
  readonly #links = new Map<string, Link>()
  readonly #wires = new Set<Wire>()

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
          const wire = new Wire(socket, link)
          this.#wires.add(wire)
          wire.once('close', () => this.#wires.delete(wire))
          resolve(wire)
        })
      }
      // The client's SYN is lost, or the answer to it: either way there is no connection, and no word.
      if (link.cut === undefined || link.cut === 'full packets') connect()
      else link.onMend(connect)
    })
  }

  cut(address: string, how: Cut = 'both ways'): void {
    this.#linkTo(address).cut = how
  }

  mend(address: string): void {
    this.#linkTo(address).mend()
  }

  /** What is open now leads nowhere any more, for ever; new connections work: the client's own address has changed. */
  strand(): void {
    for (const wire of this.#wires) wire.strand()
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

type Arrival = () => void

class Wire extends Duplex {
  readonly #socket: net.Socket
  readonly #link: Link
  #stranded = false
  /** What has not arrived yet, in order: what the client has sent, and what it was sent. */
  #requests: Arrival[] = []
  #replies: Arrival[] = []
  readonly #release = (): void => {
    const held = [...this.#requests, ...this.#replies]
    this.#requests = []
    this.#replies = []
    for (const arrive of held) if (!this.destroyed) arrive()
  }

  constructor(socket: net.Socket, link: Link) {
    super({ allowHalfOpen: true })
    this.#socket = socket
    this.#link = link
    socket.on('data', (chunk: Buffer) => this.#reply(chunk.length, () => {
      if (!this.push(chunk)) socket.pause()
    }))
    socket.on('end', () => this.#reply(0, () => this.push(null)))
    socket.on('error', (error) => this.#reply(0, () => this.destroy(error)))
    socket.on('close', () => this.#reply(0, () => this.destroy()))
  }

  strand(): void {
    this.#stranded = true
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#request(() => this.#socket.write(chunk))
    callback()
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#request(() => this.#socket.end())
    callback()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#link.forget(this.#release)
    this.#socket.destroy()
    callback(error)
  }

  #request(arrive: Arrival): void {
    if (this.#stranded) return
    if (this.#link.cut !== 'both ways' && this.#requests.length === 0) return arrive()
    this.#requests.push(arrive)
    this.#link.onMend(this.#release)
  }

  #reply(length: number, arrive: Arrival): void {
    if (this.#stranded) return
    const { cut } = this.#link
    const arrives = cut === undefined || (cut === 'full packets' && length <= PACKET)
    if (arrives && this.#replies.length === 0) return arrive()
    this.#replies.push(arrive)
    this.#link.onMend(this.#release)
  }
}
