/**
 * The pass-through at layer 4: programs that take no agent connect to it, and are piped to an apiserver that works. TLS
 * stays between the program and the apiserver. Which apiserver that is, whether it still answers, and what becomes of
 * its pipes is decided by the dialer, as for every socket that it hands out; here are the listener and its limits.
 *
 * A TCP connection proves nothing: a kernel accepts for a stopped process. So no pipe is made before the dialer itself
 * has lately made a verified connection (D4), and pipes go only to endpoints that it has verified.
 */
import net from 'node:net'
import type { Server, Socket } from 'node:net'
import type { Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import { closedError } from '../errors.ts'
import type { Multidialer } from '../multidialer.ts'
import { dialBare } from '../multidialer.ts'
import { join, reset } from './pipe.ts'
import { messageOf } from './text.ts'

export interface ForwarderOptions {
  readonly dialer: Multidialer
  /** Port 0: any that is free. */
  readonly listen: Endpoint
  /** How many programs may be connected; further ones are closed at once. */
  readonly maxConnections: number
  /** Gets a line for what a person may want to know. */
  readonly say: (line: string) => void
  /** ms that a program may be connected without a word: 10,000. */
  readonly patience?: number | undefined
}

/** As Go's and HAProxy's limits for a TLS handshake: whoever connects and says nothing holds a place for others. */
const PATIENCE = 10_000
/**
 * Pipes that follow each other within a second share one proof: many cost a handshake a second, and a program waits no
 * longer than that for an apiserver that has just begun to hang.
 */
const PROOF_AGE = 1_000
/** H6: TCP keepalive of the program's side, from 5 s of idleness on. */
const KEEPALIVE_DELAY = 5_000
/**
 * Bytes: what is read ahead of a side that does not take it, on each of the two ways. Node's own default since 22; with
 * less, a pipe is slower.
 */
const WAITING = 65_536

export class Forwarder {
  readonly #options: ForwarderOptions
  readonly #server: Server
  /** All that are connected, with or without a pipe, and since when those of them that have said nothing yet. */
  readonly #programs = new Set<Socket>()
  readonly #silent = new Map<Socket, number>()
  #silentTimer: NodeJS.Timeout | undefined
  #proof: Promise<void> | undefined
  #provenAt = -Infinity
  #isFull = false
  #isFailing = false
  #isEnded = false

  constructor(options: ForwarderOptions) {
    this.#options = options
    const server = net.createServer({
      allowHalfOpen: true, noDelay: true, highWaterMark: WAITING, keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_DELAY,
    }, (program) => this.#accept(program))
    server.maxConnections = options.maxConnections
    server.on('drop', () => this.#full())
    this.#server = server
  }

  /** How many programs are connected. */
  get connections(): number {
    return this.#programs.size
  }

  /** Resolves with the endpoint that it listens at; rejects where it cannot. */
  listen(): Promise<Endpoint> {
    const { host, port } = this.#options.listen
    return new Promise((resolve, reject) => {
      const server = this.#server
      server.once('error', reject)
      server.listen({ host, port, backlog: 1_024 }, () => {
        server.off('error', reject)
        server.on('error', (error) => this.#options.say(`the listener failed: ${messageOf(error)}`))
        const bound = server.address()
        const isNamed = typeof bound === 'object' && bound !== null
        resolve(isNamed ? { host: bound.address, port: bound.port } : { host, port })
      })
    })
  }

  /** Listens no longer, and resolves when the last pipe has ended. Those that have not after `ms` are reset. */
  async drain(ms: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const program of this.#silent.keys()) program.destroy()
    const timer = setTimeout(() => this.end(), ms)
    await closed
    clearTimeout(timer)
    this.end()
  }

  /** Listens no longer, and resets every pipe. */
  end(): void {
    this.#isEnded = true
    clearTimeout(this.#silentTimer)
    this.#server.close(() => {})
    for (const program of this.#programs) reset(program)
  }

  // ---- one program

  #accept(program: Socket): void {
    this.#programs.add(program)
    this.#silent.set(program, performance.now())
    this.#watchSilent()
    program.on('error', ignored)
    // Not `once`: it weighs more, and this is kept as long as the pipe is.
    program.on('close', () => this.#gone(program))
    // Who speaks TLS speaks first: until then no apiserver needs to hear of it.
    program.once('readable', () => {
      this.#silent.delete(program)
      if (program.readableLength === 0) program.destroy()
      else void this.#connect(program)
    })
  }

  /** Closes those that have said nothing for too long: one timer for all, as each has the same time. */
  #watchSilent(): void {
    if (this.#silentTimer !== undefined || this.#isEnded) return
    const { patience = PATIENCE } = this.#options
    const now = performance.now()
    for (const [program, since] of this.#silent) {
      const left = since + patience - now
      if (left <= 0) program.destroy()
      else {
        this.#silentTimer = setTimeout(() => {
          this.#silentTimer = undefined
          this.#watchSilent()
        }, left)
        return
      }
    }
  }

  async #connect(program: Socket): Promise<void> {
    try {
      await this.#prove(false)
      const apiserver = await this.#dial(program).catch(async (error: unknown) => {
        if (program.destroyed) throw error
        // Each that was verified has failed since: the dialer looks for one that works.
        await this.#prove(true)
        return this.#dial(program)
      })
      this.#recovered()
      join(program, apiserver)
    } catch (error) {
      if (!program.destroyed) this.#failed(error)
      reset(program)
    }
  }

  /** Has the dialer make a verified connection, unless it lately has. It fails over as for everyone. */
  #prove(anew: boolean): Promise<void> {
    if (!anew && performance.now() - this.#provenAt < PROOF_AGE) return Promise.resolve()
    this.#proof ??= this.#options.dialer.connect().then((socket) => {
      socket.on('error', () => {}).destroy()
      this.#provenAt = performance.now()
    }).finally(() => {
      this.#proof = undefined
    })
    return this.#proof
  }

  #dial(program: Socket): Promise<Socket> {
    return new Promise((resolve, reject) => {
      if (program.destroyed || this.#isEnded) return reject(closedError())
      const onClose = (): void => giveUp(new Error('the program is gone'))
      const giveUp = dialBare(this.#options.dialer, (error, socket) => {
        program.off('close', onClose)
        if (socket === undefined) return reject(error ?? new Error('no connection'))
        if (!program.destroyed) return resolve(socket)
        reset(socket)
        reject(closedError())
      })
      program.once('close', onClose)
    })
  }

  #gone(program: Socket): void {
    this.#programs.delete(program)
    this.#silent.delete(program)
    // Not at the very limit, where it would be said again with every connection.
    if (this.#isFull && this.#programs.size <= 0.9 * this.#options.maxConnections) this.#isFull = false
  }

  // ---- what is said, once until it has passed

  #full(): void {
    if (this.#isFull) return
    this.#isFull = true
    this.#options.say(`${this.#options.maxConnections} connections are open, the most that may be: further ones are ` +
      'closed at once. Raise --max-connections if that is too few')
  }

  #failed(error: unknown): void {
    if (this.#isFailing || this.#isEnded) return
    this.#isFailing = true
    this.#options.say(`connections are closed at once until an apiserver can be reached: ${messageOf(error)}`)
  }

  #recovered(): void {
    if (!this.#isFailing) return
    this.#isFailing = false
    this.#options.say('an apiserver can be reached again')
  }
}

/** What is to be said of an error, 'close' says. */
function ignored(): void {}

/** Has what the dialer reports said in lines: a failover, a failure, a warning, another list. */
export function narrate(dialer: Multidialer, say: (line: string) => void): void {
  dialer.on('failover', ({ from, to, reason }) => say(`failover from ${from} to ${to}: ${reason}`))
  dialer.on('failed', ({ address, error }) => say(`failed ${address}: ${messageOf(error)}`))
  dialer.on('warning', (warning) => say(`warning: ${messageOf(warning)}`))
  dialer.on('endpoints', (endpoints) => say(`list: ${endpoints.map(addressOf).join(', ')}`))
}
