/** Which of a request's options are TLS options of the caller's own: they win over the dialer's for that connection. */
import type { ConnectionOptions, SecureContextOptions } from 'node:tls'
import { checkServerIdentity } from 'node:tls'
import type { DialRequest } from '../pool.ts'
import { CONTEXT_OPTIONS, HANDSHAKE_OPTIONS } from './tls-options.ts'

/** Those that say by which way to go; they prove nothing, and are nobody's secret. */
const ROUTE = [
  'localAddress', 'localPort', 'family', 'hints', 'lookup', 'autoSelectFamily', 'autoSelectFamilyAttemptTimeout',
  'ALPNProtocols', 'highWaterMark',
] as const

export interface OwnTLS {
  /** Options of a context of its own; undefined where the dialer's will do. */
  readonly context: SecureContextOptions | undefined
  readonly handshake: ConnectionOptions
  readonly servername: string | undefined
  readonly rejectUnauthorized: boolean | undefined
}

/** The caller's own; undefined where there are none, and the dialer's own hold. */
export function ownTLSOf(request: DialRequest, rejectUnauthorized: boolean): OwnTLS | undefined {
  const context: SecureContextOptions | undefined = pick(request, CONTEXT_OPTIONS)
  const handshake: ConnectionOptions | undefined = pick(request, HANDSHAKE_OPTIONS)
  const { servername } = request
  const policy = request.rejectUnauthorized === rejectUnauthorized ? undefined : request.rejectUnauthorized
  const named = typeof servername === 'string' && servername !== ''
  if (context === undefined && handshake === undefined && !named && typeof policy !== 'boolean') return undefined
  return {
    context,
    handshake: handshake ?? {},
    servername: named ? servername : undefined,
    rejectUnauthorized: policy,
  }
}

export function routeOf(request: DialRequest): ConnectionOptions {
  return pick(request, ROUTE) ?? {}
}

/**
 * Those of the options that are set; undefined where none is. For each dial: looking the names up is faster than
 * walking over what a request has.
 */
function pick<Name extends string>(
  request: Readonly<Partial<Record<Name, unknown>>>,
  names: readonly Name[],
): object | undefined {
  let picked: Partial<Record<Name, unknown>> | undefined
  for (const name of names) {
    const value = request[name]
    if (isOwn(value)) picked = { ...picked, [name]: value }
  }
  return picked
}

/** Clients pass null, and got the check that Node makes anyway, for what their user did not set. */
export function isOwn(value: unknown): boolean {
  return value !== undefined && value !== null && value !== checkServerIdentity
}

/** Whether both are the same certificates or keys, or the same plain value. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, i) => sameValue(one, b[i]))
  return isText(a) && isText(b) && Buffer.compare(bytesOf(a), bytesOf(b)) === 0
}

function isText(value: unknown): value is string | Uint8Array {
  return typeof value === 'string' || value instanceof Uint8Array
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text) : text
}
