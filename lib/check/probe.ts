/**
 * One fresh connection to one endpoint, as a dial would make it, and the question for the list on it. How far it comes
 * is written down, and nothing is counted: the machine does not hear of it.
 */
import tls from 'node:tls'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import { drop } from '../connect/attempt.ts'
import type { Connections } from '../connect/connections.ts'
import type { Endpoint } from '../core/endpoint.ts'
import type { Via } from '../core/state.ts'
import type { Lists } from '../discovery/lists.ts'
import type { Answer } from '../discovery/monitor.ts'
import { Monitor } from '../discovery/monitor.ts'
import { causeText, codeOf, kindOf, timeoutError } from '../errors.ts'
import type { Probe } from './facts.ts'

export interface ProbeOptions {
  readonly endpoint: Endpoint
  readonly connections: Connections
  readonly lists: Lists
  readonly via: Via
  /** ms for the connection, TLS included. */
  readonly connectTimeout: number
  /** ms for the answer. */
  readonly answerTimeout: number
  readonly signal: AbortSignal
}

/** Never rejects: a failure is what it has found. Once the signal is aborted it settles at once, and leaves nothing. */
export async function probe(options: ProbeOptions): Promise<Probe> {
  const { endpoint, connections } = options
  const { names: needs } = connections.identityOf(endpoint)
  const begun = performance.now()
  let routeAt: number | undefined
  let socket: TLSSocket
  try {
    socket = await connect(options, true, () => { routeAt = performance.now() })
  } catch (error) {
    const failure = failureOf(error)
    const route = routeAt === undefined ? {} : { route: since(begun, routeAt) }
    if (failure.kind !== 'identity' || routeAt === undefined) {
      return { reached: routeAt === undefined ? 'nothing' : 'route', ms: route, needs, failure }
    }
    const ms = { ...route, tls: since(routeAt) }
    // Its names and dates say what is to be done. Nothing is written to a connection that is not verified.
    const certificate = await connect(options, false, () => {}).then(certificateOf, () => undefined)
    return { reached: 'tls', ms, needs, failure, ...described(certificate, needs) }
  }
  const connectedAt = performance.now()
  const ms = { route: since(begun, routeAt ?? connectedAt), tls: since(routeAt ?? begun, connectedAt) }
  const certificate = described(socket.getPeerCertificate(), needs)
  try {
    const answer = await ask(socket, options)
    if ('error' in answer) throw answer.error
    return {
      reached: 'answer', ms: { ...ms, answer: since(connectedAt) }, needs, ...certificate, ...answered(answer, options),
    }
  } catch (error) {
    return { reached: 'identity', ms, needs, failure: failureOf(error), ...certificate }
  } finally {
    drop(socket)
  }
}

function connect(
  { endpoint, connections, connectTimeout, signal }: ProbeOptions,
  verified: boolean,
  onRoute: () => void,
): Promise<TLSSocket> {
  let step = 'the connection'
  const onRouteOpen = (): void => {
    step = 'the TLS handshake'
    onRoute()
  }
  return within(connectTimeout, () => step, signal, (resolve, reject) => (
    connections.probe(endpoint, verified, onRouteOpen, (error, socket) => {
      if (socket === undefined) reject(error ?? new Error('no connection'))
      else resolve(socket)
    })
  ))
}

function ask(socket: TLSSocket, { endpoint, lists, via, answerTimeout, signal }: ProbeOptions): Promise<Answer> {
  // It makes no connection of its own, and what it asked on is not kept.
  const monitor = new Monitor(() => () => {})
  const question = {
    endpoint, via, depth: 'deep', on: 'fresh', authorization: () => lists.authorize(false), onConnected: () => {},
  } as const
  return within(answerTimeout, () => 'the answer', signal, (resolve) => monitor.askOn(socket, question, resolve).giveUp)
}

/** Settles once; when the time is up or the signal is aborted, what was begun is given up. */
function within<Value>(
  ms: number,
  what: () => string,
  signal: AbortSignal,
  begin: (resolve: (value: Value) => void, reject: (error: Error) => void) => () => void,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const giveUp = begin(
      (value) => {
        ended()
        resolve(value)
      },
      (error) => {
        ended()
        reject(error)
      },
    )
    const stop = (error: Error): void => {
      ended()
      giveUp()
      reject(error)
    }
    const timer = setTimeout(() => stop(timeoutError(what(), ms)), ms)
    const onAbort = (): void => stop(new Error('given up'))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
}

function answered(
  { response, authorized }: Exclude<Answer, { error: Error }>, { lists, via }: ProbeOptions,
): Partial<Probe> {
  const { status, headers, body } = response
  const date = Date.parse(headers.get('date') ?? '')
  const list = status === 200 ? lists.read(body, via) : undefined
  return {
    status,
    authorized,
    ...(Number.isNaN(date) ? {} : { ahead: date - Date.now() }),
    ...(list?.kind === 'rejected' ? { failure: { kind: 'answer', message: `list rejected: ${list.reason}` } } : {}),
  }
}

function certificateOf(socket: TLSSocket): PeerCertificate {
  const certificate = socket.getPeerCertificate()
  drop(socket)
  return certificate
}

/** Null where the connection is gone by then, whatever its type says. */
function described(
  certificate: PeerCertificate | null | undefined, needs: readonly string[],
): Pick<Probe, 'certificate'> {
  const validTo = Date.parse(certificate?.valid_to ?? '')
  if (!certificate || Number.isNaN(validTo)) return {}
  // A common name proves nothing, as in a dial.
  const nameless = { ...certificate, subject: { ...certificate.subject, CN: '' } }
  return { certificate: { names: needs.filter((name) => proves(nameless, name)), validTo } }
}

function proves(certificate: PeerCertificate, name: string): boolean {
  try {
    return tls.checkServerIdentity(name, certificate) === undefined
  } catch {
    return false
  }
}

function failureOf(error: unknown): NonNullable<Probe['failure']> {
  const code = codeOf(error)
  return { kind: kindOf(error), message: causeText(error), ...(code === undefined ? {} : { code }) }
}

function since(from: number, to: number = performance.now()): number {
  return Math.round((to - from) * 10) / 10
}
