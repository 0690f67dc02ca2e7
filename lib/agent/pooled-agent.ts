/**
 * An `https.Agent` whose connections come from a dialer, some time after they were asked for. Pooling, queueing and
 * scheduling stay with the stock agent, whose methods are called and never copied. The stock agent takes it for granted
 * that a socket exists as soon as it is asked for. Here it does not: until it does, a `PendingDial` stands in the pool
 * for it, and a `WaitingRequest` acts for its request.
 * Which endpoint is dialled, and whether a connection is still good, is for the dialer alone to decide.
 */
import type { ClientRequest } from 'node:http'
import https from 'node:https'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'

import { holdsProcess } from '../connect/attempt.ts'
import type { RouteOptions } from '../connect/route.ts'
import type { DialCallback, DialerPool, DialRequest } from '../pool.ts'
import { tellAnswers } from './answers.ts'
import { hangUp, PendingDial } from './pending-dial.ts'
import { ownPool, SHARED_POOL } from './pool-key.ts'
import { type PooledRequest, WaitingRequest } from './waiting-request.ts'

/**
 * H10: how long a socket may be idle in the pool, in ms. kube-apiserver closes idle connections after 90 s, balancers
 * after 60: whoever closes second may lose the request that it has just written.
 */
const IDLE_TIMEOUT = 50_000

/** The same for one that keeps the process alive while it is idle, as one made of a stream that is no socket does. */
const HOLDING_TIMEOUT = 1_000

/** The options that a request comes with, and what this agent adds to them on their way through the stock agent. */
export interface PooledOptions extends DialRequest {
  /** The pool of the request, where it is not the shared one. */
  [OWN]?: OwnPool
  /** Whose connection is to be made. */
  [WAITING]?: Waiting | undefined
  /** Added by the stock agent. */
  _agentKey?: string
  encoding?: null
  /** Added to by the stock agent: a servername, for one, that no caller gave. */
  [PASSED]?: true
}

interface OwnPool {
  readonly name: string
  /** The one that the caller gave. */
  readonly servername: string | undefined
  /** Its host is not the dialer's: all else is left to the stock agent. */
  readonly direct: boolean
}

interface Waiting {
  readonly request: WaitingRequest
  readonly dial: PendingDial
}

type SocketCallback = (error: Error | null, socket?: Socket) => void

/** The methods of `http.Agent` that carry its pool: undocumented, overridden by many, and alike on Node 20 to 26. */
interface StockAgent {
  addRequest(request: PooledRequest, options: PooledOptions): void
  createSocket(request: PooledRequest, options: PooledOptions, callback: SocketCallback): void
  removeSocket(socket: Socket, options: PooledOptions): void
  keepSocketAlive(socket: Duplex): boolean
}

const OWN: unique symbol = Symbol('multidialer.own')
const WAITING: unique symbol = Symbol('multidialer.waiting')
const PASSED: unique symbol = Symbol('multidialer.passed')

const stock: StockAgent = stockAgent(https.Agent.prototype)

/** A pool of the connections that a dialer makes. A subclass says which dialer. */
export abstract class PooledAgent extends https.Agent {
  declare readonly requests: NodeJS.Dict<PooledRequest[]>
  declare readonly sockets: NodeJS.Dict<Socket[]>
  declare readonly freeSockets: NodeJS.Dict<Socket[]>
  /** All of them: being dialled, in use and idle. */
  declare totalSocketCount: number
  declare keepAlive: boolean

  protected abstract get pool(): DialerPool

  /** Where hosts that are not the dialer's are connected directly: by which way. Undefined: the dialer refuses them. */
  protected get direct(): RouteOptions | undefined {
    return undefined
  }

  protected get idleTimeout(): number {
    return IDLE_TIMEOUT
  }

  /** Those in a queue. */
  readonly #queued: WeakMap<PooledRequest, WaitingRequest> = new WeakMap()
  /** A new socket on its way to the request it was dialled for. */
  #fresh: Socket | undefined
  /** Those that the dialer has made. */
  readonly #dialled: WeakSet<Duplex> = new WeakSet()
  /** The timeouts of idle sockets that are under this agent's own now, as they are to be again. */
  readonly #timeouts: WeakMap<Duplex, number> = new WeakMap()
  #destroyed = false

  /** Takes the options of `http.Agent` alone, and throws as it does; those of a connection are the dialer's. */
  constructor(options?: https.AgentOptions) {
    super(options)
    // The stock agent adds its own options to those of each request. This marks the ones that it has added to.
    Object.assign(this.options, { [PASSED]: true })
    this.prependListener('free', (socket: Socket, options: PooledOptions) => this.#aboutToFree(socket, options))
  }

  /** Called by `node:http` for each request. */
  addRequest(request: PooledRequest, options: PooledOptions | string, port?: number, localAddress?: string): void {
    const given: PooledOptions = typeof options === 'string' ? legacyOptions(options, port, localAddress) : options
    if (this.#destroyed) return this.#refuse(new WaitingRequest(request))
    // Nothing to dial for: its signal had been aborted before, for one.
    if (request.destroyed) return request.onSocket(undefined)

    const own = this.#ownPool(given)
    const name = own?.name ?? SHARED_POOL
    dropDestroyed(this.freeSockets[name])
    stock.addRequest.call(this, request, own === undefined ? given : { ...given, [OWN]: own })
    if (own?.direct === true) return
    const queue = this.requests[name]
    if (queue !== undefined && queue.at(-1) === request) this.#queued.set(request, new WaitingRequest(request))
  }

  /** The pool of a request with these options: one for all hosts of the cluster, unless it asks for one of its own. */
  override getName(options?: PooledOptions): string {
    if (options === undefined) return SHARED_POOL
    const own = options[OWN]
    if (own !== undefined) return own.name
    if (options[PASSED]) return SHARED_POOL
    return this.#ownPool(options)?.name ?? SHARED_POOL
  }

  /** Called by the stock agent for a new request, or for the first of a queue when there is room for a socket. */
  createSocket(request: PooledRequest, options: PooledOptions, callback: SocketCallback): void {
    if (options[OWN]?.direct === true) return stock.createSocket.call(this, request, options, callback)
    const name = this.getName(options)
    if (this.requests[name]?.[0] !== request) return this.#dialFor(new WaitingRequest(request), options, callback)

    // Each dial has a request of its own. One that stayed in the queue could be both failed and served, and would then
    // leave those behind it without a socket.
    const next = this.#takeQueued(name)
    if (next === undefined) return stock.removeSocket.call(this, new PendingDial(), options)
    // What made room for it is the end of another request, whose context this is.
    next.scope.runInAsyncScope(() => {
      this.#dialFor(next, options, (_error, socket) => this.#giveTo(next.request, name, socket))
    })
  }

  /**
   * Dials. For the stock agent the socket goes into the pool; for any other caller it is theirs and never in the pool.
   * Returns undefined and never throws: the callback is called exactly once, never before this has returned. For a host
   * that is connected directly it is the stock agent's own, which returns a socket that is still connecting.
   */
  override createConnection(
    options: PooledOptions, callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    if (options[OWN]?.direct ?? this.#isDirect(options)) {
      return super.createConnection({ ...options, ...this.direct }, callback)
    }
    // Node's type has a stream beside an error, too; no Node calls it so.
    const settle = callback as DialCallback | undefined
    if (settle === undefined) return undefined
    const waiting = options[WAITING]
    if (waiting !== undefined) this.#begin(waiting, options, settle)
    else this.pool.dial(options, settle)
    return undefined
  }

  /** Called by the stock agent before it keeps an idle socket. False: it must not. */
  override keepSocketAlive(socket: Duplex): boolean {
    if (!stock.keepSocketAlive.call(this, socket)) return false
    if (!(socket instanceof Socket) || !this.#dialled.has(socket)) return true
    if (!this.pool.released(socket)) return false
    // H10. The stock agent destroys an idle socket whose timeout is over.
    const timeout = socket.timeout ?? 0
    const limit = holdsProcess(socket) ? HOLDING_TIMEOUT : this.idleTimeout
    if (timeout === 0 || timeout > limit) {
      this.#timeouts.set(socket, timeout)
      socket.setTimeout(limit)
    }
    return true
  }

  /** Called by the stock agent when it takes an idle socket for a request. */
  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    super.reuseSocket(socket, request)
    if (!(socket instanceof Socket) || !this.#dialled.has(socket)) return
    const timeout = this.#timeouts.get(socket)
    if (timeout !== undefined) socket.setTimeout(timeout)
    this.#timeouts.delete(socket)
    this.pool.acquired(socket, isPlain(request))
  }

  /**
   * The end: the sockets of the pool are destroyed, and every request that has none fails with ERR_MULTIDIALER_CLOSED,
   * as does every later one.
   */
  override destroy(): void {
    this.#destroyed = true
    // First, so that a request whose dial is under way learns of this rather than of its socket's end.
    this.pool.close()
    for (const [name, queue] of Object.entries(this.requests)) {
      delete this.requests[name]
      for (const request of queue ?? []) this.#refuse(this.#queued.get(request) ?? new WaitingRequest(request))
    }
    super.destroy()
  }

  // A dialer that is closed says so itself.
  #refuse(waiting: WaitingRequest): void {
    const dial = new PendingDial()
    dial.dialling(this.pool.dial({ host: waiting.request.host }, (error, socket) => {
      socket?.destroy()
      dial.ended()
      waiting.failed(error ?? hangUp())
    }))
    waiting.dialling(dial, 0, 0)
  }

  #dialFor(waiting: WaitingRequest, options: PooledOptions, callback: SocketCallback): void {
    const { request } = waiting
    const dial = new PendingDial()
    const name = this.getName(options)
    const sockets = (this.sockets[name] ??= [])
    sockets.push(dial)
    this.totalSocketCount++
    stock.createSocket.call(this, request, { ...options, [WAITING]: { request: waiting, dial } }, callback)
  }

  #begin({ request, dial }: Waiting, options: PooledOptions, callback: DialCallback): void {
    // These options live as long as the socket: they must not keep what it waited for.
    options[WAITING] = undefined
    // Not that of the options, which may be those of the request whose place this one takes in the pool.
    const agentTimeout = this.options.timeout ?? 0
    const timeout = request.request.timeout || agentTimeout
    const giveUp = this.pool.dial(this.#dialRequest(options), (error, socket) => {
      request.scope.runInAsyncScope(() => {
        if (error === null && socket !== undefined && !socket.destroyed && !dial.destroyed) {
          this.#connected(dial, socket, request.request, options)
          if (timeout > 0) socket.setTimeout(timeout)
          request.ended()
          callback(null, socket)
        } else {
          socket?.destroy()
          request.failed(error ?? socket?.errored ?? hangUp())
          this.#failed(dial, options)
        }
      })
    })
    dial.dialling(giveUp)
    request.dialling(dial, timeout, agentTimeout)
  }

  // The callback that follows puts the socket into the pool, in the same turn: nobody sees the pool without either.
  #connected(dial: PendingDial, socket: TLSSocket, request: ClientRequest, options: PooledOptions): void {
    dial.ended()
    const sockets = this.sockets[this.getName(options)]
    const index = sockets?.indexOf(dial) ?? -1
    if (index !== -1) sockets?.splice(index, 1)
    this.totalSocketCount--

    this.#dialled.add(socket)
    this.pool.acquired(socket, isPlain(request))
    tellAnswers(socket, this.pool)
    // There are moments when neither request nor pool listens: before the first tick, and after each response.
    socket.on('error', ignore)
    socket.once('agentRemove', () => socket.removeListener('error', ignore))
  }

  // As when a socket is closed: the next in the queue gets its place, and a dial of its own.
  #failed(dial: PendingDial, options: PooledOptions): void {
    dial.ended()
    this.totalSocketCount--
    stock.removeSocket.call(this, dial, options)
  }

  #takeQueued(name: string): WaitingRequest | undefined {
    const queue = this.requests[name] ?? []
    let next: WaitingRequest | undefined
    while (next === undefined) {
      const request = queue.shift()
      if (request === undefined) break
      const waiting = this.#queued.get(request) ?? new WaitingRequest(request)
      this.#queued.delete(request)
      if (request.destroyed) waiting.dropped()
      else next = waiting
    }
    if (queue.length === 0) delete this.requests[name]
    return next
  }

  // A free socket is given to the first in the queue by the stock agent, in the asynchronous context it was queued in.
  #giveTo(request: PooledRequest, name: string, socket: Socket | undefined): void {
    if (socket === undefined) return
    const queue = (this.requests[name] ??= [])
    queue.unshift(request)
    this.#fresh = socket
    socket.emit('free')
    this.#fresh = undefined
  }

  // A socket that goes straight to the next in the queue is asked for as one that has been idle is.
  #aboutToFree(socket: Socket, options: PooledOptions): void {
    if (socket === this.#fresh || !socket.writable || !this.#dialled.has(socket)) return
    const [next] = this.requests[this.getName(options)] ?? []
    if (next === undefined) return
    if (this.pool.released(socket)) this.pool.acquired(socket, isPlain(next))
    else socket.destroy()
  }

  #isDirect(options: PooledOptions): boolean {
    return this.direct !== undefined && !options[PASSED] && !this.pool.serves(options)
  }

  #ownPool(options: PooledOptions): OwnPool | undefined {
    const name = ownPool(this.pool.plain(options), this.pool.serves(options))
    if (name === undefined) return undefined
    return { name, servername: options.servername ?? undefined, direct: this.#isDirect(options) }
  }

  // What the caller gave: without the name that the stock agent derived from the host, and without what is for a pool.
  #dialRequest(options: PooledOptions): DialRequest {
    const {
      [OWN]: own, [WAITING]: _waiting, [PASSED]: _passed, _agentKey, _defaultAgent, agent: _agent,
      servername: _servername, path: _path, encoding: _encoding, timeout: _timeout, ...rest
    } = options
    const request: DialRequest = rest
    if (own?.servername !== undefined) request.servername = own.servername
    if (this.listenerCount('keylog') > 0) request.keylog = (line, socket) => this.emit('keylog', line, socket)
    return request
  }
}

function stockAgent(prototype: object): StockAgent {
  if (!isStockAgent(prototype)) throw new Error('https.Agent of this Node lacks a method that pools need')
  return prototype
}

function isStockAgent(prototype: object): prototype is StockAgent {
  return ['addRequest', 'createSocket', 'removeSocket', 'keepSocketAlive'].every((name) => name in prototype)
}

function legacyOptions(host: string, port: number | undefined, localAddress: string | undefined): PooledOptions {
  return { host, port, localAddress }
}

// A socket that was severed while idle is gone, though it is in the list until it has emitted 'close'.
function dropDestroyed(sockets: Socket[] | undefined): void {
  while (sockets?.at(-1)?.destroyed) sockets.pop()
}

function ignore(): void {}

/** What is answered piece by piece, for as long as a client likes: watches, logs that are followed, proxies. */
const LASTING = /[?&](?:watch|follow)=|\/watch\/|\/proxy(?:[/?]|$)/

/** Tells whether a request's answer comes as a whole. */
function isPlain(request: ClientRequest): boolean {
  return request.method !== 'CONNECT' && request.getHeader('upgrade') === undefined && !LASTING.test(request.path)
}
