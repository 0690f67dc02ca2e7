/**
 * The hand-rolled HTTPS GET of a heartbeat, over a connection that is kept for the next one (H2, R2). It asks and
 * hands the answer over; whom to ask, when, and what an answer means is decided in core/. Its sockets keep no
 * process alive. Redirects are not followed: a 3xx is an answer like any other.
 */
import type { TLSSocket } from 'node:tls'
import type { Address, Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import type { Via } from '../core/state.ts'
import { requestHead, ResponseParser } from './http1.ts'
import type { Response } from './http1.ts'
import { coded } from '../errors.ts'

const PATHS: Readonly<Record<Via, string>> = {
  // resourceVersion=0: answered from the apiserver's watch cache, without a read of etcd.
  endpoints: '/api/v1/namespaces/default/endpoints/kubernetes?resourceVersion=0',
  endpointslices:
    '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices' +
    '?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes&resourceVersion=0',
}

/** One attempt at that endpoint; returns what gives it up. The socket is verified: a token may be written to it. */
export type Connect = (endpoint: Endpoint, settle: (error: Error | undefined, socket?: TLSSocket) => void) => () => void

export interface Question {
  readonly endpoint: Endpoint
  readonly via: Via
  /** On a connection of its own, whatever is kept. */
  readonly fresh: boolean
  /** Called when a connection is there; undefined where the question goes without one. */
  readonly token: () => Promise<string | undefined>
}

/** Why there was no answer, or the answer and whether its connection was made for it. */
export type Answer = { readonly error: Error } | { readonly response: Response; readonly fresh: boolean }

export class Monitor {
  readonly #connect: Connect
  readonly #kept = new Map<Address, KeptConnection>()

  constructor(connect: Connect) {
    this.#connect = connect
  }

  /** Asks. `settle` is called once, never at once, unless the function returned is called first: that gives up. */
  ask(question: Question, settle: (answer: Answer) => void): () => void {
    const address = addressOf(question.endpoint)
    const kept = this.#kept.get(address)
    if (question.fresh || kept === undefined || !kept.idle) {
      this.close(address)
      return this.#askAnew(question, address, settle)
    }
    return this.#exchange(kept, question, address, false, settle)
  }

  /** Closes the connection that is kept to this endpoint, if there is one. */
  close(address: Address): void {
    this.#kept.get(address)?.destroy()
    this.#kept.delete(address)
  }

  closeAll(): void {
    for (const address of [...this.#kept.keys()]) this.close(address)
  }

  #askAnew(question: Question, address: Address, settle: (answer: Answer) => void): () => void {
    let giveUp = this.#connect(question.endpoint, (error, socket) => {
      if (socket === undefined) return settle({ error: error ?? new Error('no connection') })
      const connection = new KeptConnection(socket, () => {
        if (this.#kept.get(address) === connection) this.#kept.delete(address)
      })
      this.close(address)
      this.#kept.set(address, connection)
      giveUp = this.#exchange(connection, question, address, true, settle)
    })
    return () => giveUp()
  }

  #exchange(
    connection: KeptConnection,
    { endpoint, via, token }: Question,
    address: Address,
    fresh: boolean,
    settle: (answer: Answer) => void,
  ): () => void {
    let over = false
    const finish = (answer: Answer): void => {
      if (over) return
      over = true
      settle(answer)
    }
    connection.await((error, response) => {
      if (response === undefined) finish({ error: error ?? new Error('no answer') })
      else finish({ response, fresh })
    })
    const send = (value: string | undefined): void => {
      if (!over) connection.write(headOf(endpoint, via, value))
    }
    // Whoever gives the token reports its errors; without one, the answer still proves that the endpoint lives.
    token().then(send, () => send(undefined))
    return () => {
      over = true
      if (this.#kept.get(address) === connection) this.#kept.delete(address)
      connection.destroy()
    }
  }
}

function headOf(endpoint: Endpoint, via: Via, token: string | undefined): string {
  return requestHead(PATHS[via], [
    ['host', addressOf(endpoint)],
    ['user-agent', 'kube-multidialer'],
    ['accept', 'application/json'],
    ['accept-encoding', 'identity'],
    ...(token === undefined ? [] : ([['authorization', `Bearer ${token}`]] as const)),
  ])
}

type Awaiting = (error: Error | undefined, response?: Response) => void

/** A socket of ours, with one question at a time on it. A byte that nobody asked for ends it. */
class KeptConnection {
  readonly #socket: TLSSocket
  #parser: ResponseParser | undefined
  #awaiting: Awaiting | undefined

  constructor(socket: TLSSocket, onClose: () => void) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', (error: Error) => this.#end(error))
    socket.on('end', () => this.destroy())
    socket.on('close', () => {
      onClose()
      // A body that only the end of the connection delimits cannot be told from one that was cut short: node:tls
      // does not say whether close_notify came. So the end is never the end of a response.
      this.#end(coded('ECONNRESET', 'the connection was closed before the whole answer had come'))
    })
  }

  get idle(): boolean {
    return this.#awaiting === undefined && !this.#socket.destroyed
  }

  await(awaiting: Awaiting): void {
    this.#awaiting = awaiting
  }

  /** From now on a byte is part of the answer; before, it was of an answer to nothing. */
  write(head: string): void {
    if (this.#socket.destroyed) return
    this.#parser = new ResponseParser()
    this.#socket.write(head)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #read(chunk: Buffer): void {
    const verdict = this.#parser?.push(chunk)
    if (verdict === undefined) return this.destroy()
    switch (verdict.kind) {
      case 'more':
        return
      case 'response':
        if (!verdict.response.reusable) this.destroy()
        return this.#end(undefined, verdict.response)
      case 'malformed':
        this.destroy()
        return this.#end(coded('EPROTO', `malformed answer: ${verdict.reason}`))
    }
  }

  #end(error: Error | undefined, response?: Response): void {
    const awaiting = this.#awaiting
    this.#awaiting = undefined
    this.#parser = undefined
    awaiting?.(error, response)
  }
}
