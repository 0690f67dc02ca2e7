/**
 * A request that has no socket yet. To destroy it, to abort it and to give it a timeout act on its socket, and there is
 * none: Node tells the agent nothing. So its destroy() and setTimeout() are covered by ones that act on its dial as
 * well, for as long as it waits and no longer. Nothing here knows of pools or dialers.
 */
import { AsyncResource } from 'node:async_hooks'
import type { ClientRequest } from 'node:http'
import type { Socket } from 'node:net'

import type { PendingDial } from './pending-dial.ts'

/** A request as `node:http` gives it to an agent: a `ClientRequest`, and what an agent's side of it needs. */
export type PooledRequest = ClientRequest & {
  onSocket(socket: Socket | undefined, error?: Error): void
  /** The request's own timeout in milliseconds, if it came with one. */
  timeout?: number
  /** Node's listener for the timeout of the request's socket, once there is one. */
  timeoutCb?: (() => void) | null
}

export class WaitingRequest {
  readonly request: PooledRequest
  /** The context the request was made in: its events belong there, whatever made its connection come about. */
  readonly scope: AsyncResource = new AsyncResource('MULTIDIALERREQUEST')
  #dial: PendingDial | undefined
  /** What it was last told with `setTimeout`, in milliseconds. */
  #timeout: number | undefined
  /** The stock agent would have given it its socket by now. */
  #underWay = false
  #destroyedEarly = false
  readonly #uncover: () => void

  constructor(request: PooledRequest) {
    this.request = request
    this.#uncover = this.#cover()
  }

  /** Its dial has begun. `agentTimeout` is that of the agent's sockets, `timeout` that of this one; 0 is none. */
  dialling(dial: PendingDial, timeout: number, agentTimeout: number): void {
    this.#dial = dial
    dial.once('timeout', () => this.#timedOut(agentTimeout))
    // In the stock agent's order: the socket's timeout, the request's own, and what setTimeout said.
    if (timeout > 0) dial.setTimeout(timeout)
    const own = this.request.timeout
    if (own !== undefined && own !== agentTimeout) dial.setTimeout(own)
    if (this.#timeout !== undefined) dial.setTimeout(this.#timeout)
    process.nextTick(() => { this.#underWay = true })
  }

  /** It waits no longer. */
  ended(): void {
    this.#dial = undefined
    this.#uncover()
  }

  /** It waits no longer, in vain. Emits 'error' and 'close', as the stock agent's request whose socket fails. */
  failed(error: Error): void {
    // abort() before the socket is assigned is the one end that Node reports without an error.
    if (this.request.aborted && this.#destroyedEarly) this.dropped()
    else this.#end(error)
  }

  /** It waits no longer, since it was destroyed. Emits what its destruction calls for. */
  dropped(): void {
    this.#end()
  }

  // Whatever ended the wait, a dial or another request, is not what this request was made in.
  #end(error?: Error): void {
    this.ended()
    this.scope.runInAsyncScope(() => this.request.onSocket(undefined, error))
  }

  #timedOut(agentTimeout: number): void {
    const { request } = this
    if (request.timeout === undefined && agentTimeout === 0 && !request.timeoutCb) return
    // Node says it once for each request. Its listener on the socket to come would say it again.
    request.once('socket', (socket) => {
      if (request.timeoutCb) socket.removeListener('timeout', request.timeoutCb)
    })
    this.scope.runInAsyncScope(() => request.emit('timeout'))
  }

  #destroyed(error: Error | undefined): void {
    if (!this.#underWay) this.#destroyedEarly = true
    this.#dial?.destroy(error)
  }

  #timeoutSet(milliseconds: number): void {
    this.#timeout = milliseconds
    this.#dial?.setTimeout(milliseconds)
  }

  // Covers, rather than sets req.socket: a client that finds a socket there would hold on to one that never connects.
  #cover(): () => void {
    const waiting = this
    const { request } = this
    const { destroy, setTimeout } = request

    function coveringDestroy(this: PooledRequest, error?: Error): PooledRequest {
      const again = request.destroyed
      destroy.call(request, error)
      if (!again) waiting.#destroyed(error)
      return request
    }
    function coveringSetTimeout(this: PooledRequest, milliseconds: number, callback?: () => void): PooledRequest {
      setTimeout.call(request, milliseconds, callback)
      waiting.#timeoutSet(milliseconds)
      return request
    }

    const hidden = { configurable: true, enumerable: false, writable: true }
    Object.defineProperty(request, 'destroy', { ...hidden, value: coveringDestroy })
    Object.defineProperty(request, 'setTimeout', { ...hidden, value: coveringSetTimeout })
    // What somebody else has put over them since goes on calling them: without a dial they do nothing more.
    // The last one goes first: any other order costs V8's fast properties, 3 kB for as long as the request lives.
    return () => {
      if (request.setTimeout === coveringSetTimeout) Reflect.deleteProperty(request, 'setTimeout')
      if (request.destroy === coveringDestroy) Reflect.deleteProperty(request, 'destroy')
    }
  }
}
