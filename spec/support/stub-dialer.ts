/**
 * A dialer that does as it is told, for the specs of what takes its sockets: each dial is real, to a TLS server on this
 * machine, but begins or fails when the spec says so. No rule of dialling is here, nor of when a socket is good.
 */
import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import tls, { type TLSSocket } from 'node:tls'

import type { DialCallback, DialerPool, DialRequest } from '../../lib/pool.ts'

const certificates = new URL('./certificates/', import.meta.url)
/** What the server of these specs shows, and what its clients trust. */
export const serverIdentity: { cert: string; key: string; ca: string } = {
  cert: readFileSync(new URL('kubeadm-1.crt', certificates), 'utf8'),
  key: readFileSync(new URL('server.key', certificates), 'utf8'),
  ca: readFileSync(new URL('ca.crt', certificates), 'utf8'),
}

/** One dial, until it is settled. */
export class StubDial {
  readonly request: DialRequest
  /** Why its caller gave it up, if it did. */
  givenUp: Error | undefined
  settled = false
  /** Called with the socket as soon as the caller has it, before anything else happens. */
  delivered: (socket: TLSSocket) => void = () => {}
  readonly #callback: DialCallback
  readonly #port: number

  constructor(request: DialRequest, port: number, callback: DialCallback) {
    this.request = request
    this.#port = port
    this.#callback = callback
  }

  /** Connects to the server. Resolves with the socket, once the caller has it. */
  connect(): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const { ca, rejectUnauthorized, ALPNProtocols } = this.request
      const socket = tls.connect({
        host: '127.0.0.1', port: this.#port, servername: 'kubernetes.default.svc', ca: ca ?? serverIdentity.ca,
        rejectUnauthorized: rejectUnauthorized !== false, ...(ALPNProtocols && { ALPNProtocols }),
      })
      const failed = (error: Error): void => {
        this.fail(error)
        reject(error)
      }
      socket.once('error', failed)
      socket.once('secureConnect', () => {
        socket.removeListener('error', failed)
        if (this.settled) {
          socket.destroy()
          reject(new Error('the dial had been settled'))
          return
        }
        this.#settle(null, socket)
        this.delivered(socket)
        resolve(socket)
      })
    })
  }

  fail(error: Error): void {
    if (!this.settled) this.#settle(error)
  }

  giveUp(reason: Error): void {
    if (this.givenUp !== undefined) return
    this.givenUp = reason
    setImmediate(() => this.fail(reason))
  }

  #settle(error: Error | null, socket?: TLSSocket): void {
    this.settled = true
    this.#callback(error, socket)
  }
}

export class StubDialer implements DialerPool {
  readonly port: number
  /** Every dial there was, the oldest first. */
  readonly dials: StubDial[] = []
  /** Dials connect as soon as they are asked for, unless the spec wants to settle them itself. */
  automatic: boolean
  /** What released() answers. */
  keep: (socket: Duplex) => boolean = () => true
  readonly log: string[] = []
  /** Called as each dial begins. */
  began: () => void = () => {}
  /** Called with what answered() is told. */
  told: (socket: Duplex, status: number) => void = () => {}
  foreign: ReadonlySet<string> = new Set()
  closed = false
  #listeners: (() => void)[] = []

  constructor(port: number, automatic = false) {
    this.port = port
    this.automatic = automatic
  }

  get pending(): StubDial[] {
    return this.dials.filter((dial) => !dial.settled)
  }

  dial(request: DialRequest, callback: DialCallback): (reason: Error) => void {
    const dial = new StubDial(request, this.port, callback)
    this.dials.push(dial)
    this.began()
    if (this.closed) dial.giveUp(codedError('ERR_MULTIDIALER_CLOSED'))
    else if (!this.serves(request)) dial.giveUp(codedError('ERR_MULTIDIALER_FOREIGN_HOST'))
    else if (this.automatic) dial.connect().catch(() => {})
    for (const listener of this.#listeners.splice(0)) listener()
    return (reason) => dial.giveUp(reason)
  }

  /** The dial of that number, counted from 0, as soon as it is asked for. */
  async dialNumber(index: number): Promise<StubDial> {
    for (;;) {
      const dial = this.dials[index]
      if (dial !== undefined) return dial
      await new Promise<void>((resolve) => { this.#listeners.push(resolve) })
    }
  }

  serves(request: DialRequest): boolean {
    return !this.foreign.has(request.host ?? 'localhost')
  }

  plain<Request extends DialRequest>(request: Request): Request {
    return request
  }

  released(socket: Duplex): boolean {
    this.log.push('released')
    return this.keep(socket)
  }

  acquired(): void {
    this.log.push('acquired')
  }

  answered(socket: Duplex, status: number): void {
    this.log.push(`answered ${status}`)
    this.told(socket, status)
  }

  close(): void {
    this.closed = true
    for (const dial of this.pending) dial.giveUp(codedError('ERR_MULTIDIALER_CLOSED'))
  }
}

export function codedError(code: string): Error & { code: string } {
  return Object.assign(new Error(code), { code })
}
