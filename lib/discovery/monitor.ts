/**
 * The hand-rolled HTTPS GET of a question (H2, R2), over a connection that is kept for the next one. It asks and hands
 * the answer over; whom to ask, when, and what an answer means is decided in core/. Its sockets keep no process alive.
 * Redirects are not followed: a 3xx is an answer like any other.
 */
import type { TLSSocket } from 'node:tls'
import { holdsProcess } from '../connect/attempt.ts'
import type { Address, Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import type { Depth, Question as CoreQuestion, Via } from '../core/state.ts'
import { coded } from '../errors.ts'
import type { Response } from './http1.ts'
import { requestHead, ResponseParser } from './http1.ts'

const PATHS: Readonly<Record<Via, string>> = {
  endpoints: '/api/v1/namespaces/default/endpoints/kubernetes',
  endpointslices:
    '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices' +
    '?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes',
}

/**
 * I4: Makes a connection to that endpoint; returns what gives it up. It is verified: a token may be written to it.
 */
export type Connect = (
  endpoint: Endpoint,
  full: boolean,
  settle: (error: Error | undefined, socket?: TLSSocket) => void,
) => () => void

/** What goes with a question. */
export interface Authorization {
  readonly token: string | undefined
  /** It has the token that it should have, if any (R6). */
  readonly authorized: boolean
}

export interface Question {
  readonly endpoint: Endpoint
  readonly via: Via
  readonly depth: Depth
  readonly on: CoreQuestion['on']
  /** Called when a connection is there; never rejects. */
  readonly authorization: () => Promise<Authorization>
  /** Called when a connection that had to be made is there. */
  readonly onConnected: () => void
}

/** Why there was no answer, or the answer, and whether its question went with the token that it should have. */
export type Answer =
  | { readonly error: Error }
  | { readonly response: Response; readonly authorized: boolean }

export class Monitor {
  readonly #connect: Connect
  readonly #kept = new Map<Address, QuestionedConnection>()

  constructor(connect: Connect) {
    this.#connect = connect
  }

  /** Asks. `settle` is called once, never at once, unless the function returned is called first: that gives up. */
  ask(question: Question, settle: (answer: Answer) => void): () => void {
    const address = addressOf(question.endpoint)
    const kept = this.#kept.get(address)
    if (question.on === 'kept' && kept?.idle === true) return this.#exchange(kept, question, settle)
    return this.#askAnew(question, address, settle)
  }

  /**
   * Asks on a connection that is an attempt's, before it is handed over (F3). When it has been answered, `release`
   * gives the socket as it was; `keep` makes the connection one of the monitor's, whatever became of the question.
   */
  askOn(socket: TLSSocket, question: Question, settle: (answer: Answer) => void): BorrowedConnection {
    const address = addressOf(question.endpoint)
    const connection = new QuestionedConnection(socket, () => this.#forget(address, connection))
    connection.isBorrowed = true
    return {
      giveUp: this.#exchange(connection, question, settle),
      release: () => connection.detach(),
      keep: () => {
        if (socket.destroyed) return
        connection.isBorrowed = false
        socket.unref()
        this.#keep(address, connection)
      },
    }
  }

  /** Closes the connection that is kept to this endpoint, if there is one. */
  close(address: Address): void {
    this.#kept.get(address)?.destroy()
    this.#kept.delete(address)
  }

  /** Closes those that keep the process alive although no caller uses a socket: made of streams that are no sockets. */
  closeHolding(): void {
    for (const [address, connection] of this.#kept) {
      if (connection.holdsProcess && connection.idle) this.close(address)
    }
  }

  closeAll(): void {
    for (const address of [...this.#kept.keys()]) this.close(address)
  }

  #askAnew(question: Question, address: Address, settle: (answer: Answer) => void): () => void {
    const isFull = question.on === 'full'
    let giveUp = this.#connect(question.endpoint, isFull, (error, socket) => {
      if (socket === undefined) return settle({ error: error ?? new Error('no connection') })
      const connection = new QuestionedConnection(socket, () => this.#forget(address, connection))
      if (!isFull) this.#keep(address, connection)
      giveUp = this.#exchange(connection, question, (answer) => {
        if (isFull) connection.destroy()
        settle(answer)
      })
      question.onConnected()
    })
    return () => giveUp()
  }

  /** One that waits for an answer is left to wait, beside the one that is kept from now on (F4). */
  #keep(address: Address, connection: QuestionedConnection): void {
    const before = this.#kept.get(address)
    if (before?.idle === true) before.destroy()
    this.#kept.set(address, connection)
  }

  #forget(address: Address, connection: QuestionedConnection): void {
    if (this.#kept.get(address) === connection) this.#kept.delete(address)
  }

  #exchange(connection: QuestionedConnection, question: Question, settle: (answer: Answer) => void): () => void {
    const address = addressOf(question.endpoint)
    let isOver = false
    let authorized = false
    connection.await((error, response) => {
      if (isOver) return
      isOver = true
      settle(response === undefined ? { error: error ?? new Error('no answer') } : { response, authorized })
      // Another has taken its place meanwhile.
      if (this.#kept.get(address) !== connection && !connection.isBorrowed) connection.destroy()
    })
    void question.authorization().then((given) => {
      if (isOver) return
      authorized = given.authorized
      connection.write(headOf(question, given.token))
    })
    return () => {
      isOver = true
      this.#forget(address, connection)
      connection.destroy()
    }
  }
}

/** An attempt's connection, with a question on it. */
export interface BorrowedConnection {
  readonly giveUp: () => void
  /** False where it is not as it was: it is destroyed then. */
  readonly release: () => boolean
  readonly keep: () => void
}

function headOf({ endpoint, via, depth }: Question, token: string | undefined): string {
  // resourceVersion=0: answered from the apiserver's watch cache, without a read of etcd (H12).
  const cached = depth === 'deep' ? '' : `${PATHS[via].includes('?') ? '&' : '?'}resourceVersion=0`
  return requestHead(`${PATHS[via]}${cached}`, [
    ['host', addressOf(endpoint)],
    ['user-agent', 'kube-multidialer'],
    ['accept', 'application/json'],
    ['accept-encoding', 'identity'],
    ...(token === undefined ? [] : ([['authorization', `Bearer ${token}`]] as const)),
  ])
}

type Awaiting = (error: Error | undefined, response?: Response) => void

/** A socket with one question at a time on it. A byte that nobody asked for ends it. */
class QuestionedConnection {
  readonly #socket: TLSSocket
  readonly #onClose: () => void
  #parser: ResponseParser | undefined
  #awaiting: Awaiting | undefined
  /** An attempt's, and only for now the monitor's. */
  isBorrowed = false

  constructor(socket: TLSSocket, onClose: () => void) {
    this.#socket = socket
    this.#onClose = onClose
    // Not 'data': what has once flowed is not as it was when nobody listens any more.
    socket.on('readable', this.#onReadable).on('error', this.#onError).on('end', this.#onEnd).on('close', this.#closed)
  }

  get holdsProcess(): boolean {
    return holdsProcess(this.#socket)
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

  /** Takes its listeners off. False where the socket cannot be handed over: a question is on it, or bytes are left. */
  detach(): boolean {
    const socket = this.#socket
    if (!this.idle || socket.readableLength > 0) {
      this.destroy()
      return false
    }
    socket.off('readable', this.#onReadable).off('error', this.#onError)
    socket.off('end', this.#onEnd).off('close', this.#closed)
    return true
  }

  readonly #onReadable = (): void => {
    const socket = this.#socket
    for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) this.#read(chunk)
  }

  readonly #onError = (error: Error): void => this.#end(error)

  readonly #onEnd = (): void => this.destroy()

  readonly #closed = (): void => {
    this.#onClose()
    // A body that only the end of the connection delimits cannot be told from one that was cut short: node:tls
    // does not say whether close_notify came. So the end is never the end of a response.
    this.#end(coded('ECONNRESET', 'the connection was closed before the whole answer had come'))
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
