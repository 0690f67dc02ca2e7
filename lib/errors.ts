/**
 * The errors that callers see, each with a code that a program can go by and a message that a person can act on, and
 * what can be told from an error that others have thrown: its text, its code, its kind.
 *
 * What others throw may be anything: nothing at all, an error of another realm (which `instanceof` does not know), an
 * object without a prototype, a Proxy whose traps throw. All of it is read here, and nothing here throws for it. The
 * kind of a failure is a fact; whom to blame for it is decided in core/. What a message may show is for secrets.ts.
 */
import { types } from 'node:util'
import type { FailureKind } from './core/state.ts'
import { shownValue, withoutCredentials } from './secrets.ts'

/** An Error with a code, as Node's own have. */
export type CodedError<Code extends string = string> = Error & { code: Code }

/** Why one endpoint could not be reached. */
export interface AttemptFailure {
  /** 'host:port' */
  readonly address: string
  readonly error: unknown
}

/** One endpoint's failure: its cause's message and code, the endpoint's address, and the cause itself. */
export class AttemptError extends Error {
  /** That of the cause, if it has one. */
  readonly code: string | undefined
  /** 'host:port' of the endpoint. */
  readonly address: string

  constructor({ address, error }: AttemptFailure) {
    super(`${address} (${causeText(error)})`, { cause: error })
    this.name = 'AttemptError'
    this.address = address
    this.code = codeOf(error)
  }
}

/**
 * No apiserver could be reached. `errors` has one AttemptError for each endpoint that was tried, the message names
 * each with its cause, and `code` is that of the most telling one (see `mostTellingCode`).
 */
export class MultidialError extends AggregateError {
  readonly code: string | undefined
  declare readonly errors: AttemptError[]

  /**
   * @param failures in the order of the attempts; of several at one endpoint the last counts
   * @param reason what ended the dial, where that was not the last failure; it gives the code if no attempt has one
   */
  constructor(failures: readonly AttemptFailure[], reason?: Error) {
    const last = new Map(failures.map((failure) => [failure.address, failure]))
    const errors = [...last.values()].map((failure) => new AttemptError(failure))
    const details = [...(reason === undefined ? [] : [reason.message]), ...errors.map((error) => error.message)]
    super(errors, ['no apiserver could be reached', details.join(', ')].filter(Boolean).join(': '),
      reason === undefined ? undefined : { cause: reason })
    this.name = 'MultidialError'
    this.code = mostTellingCode(errors.map((error) => error.code)) ?? codeOf(reason)
  }
}

/** The codes of node:tls and OpenSSL for a certificate that does not prove who the server must be. */
const IDENTITY: RegExp = new RegExp('^(ERR_TLS_CERT_.*|CERT_.*|CRL_.*|UNABLE_TO_.*|SELF_SIGNED_.*|DEPTH_ZERO_.*' +
  '|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|ERROR_IN_CERT_.*)$')
const NAME = /^(ENOTFOUND|EAI_.*|ENODATA|ESERVFAIL|ETIMEOUT)$/

const KINDS: readonly (readonly [kind: FailureKind, codes: RegExp])[] = [
  ['local', /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|ABORT_ERR)$/],
  ['identity', IDENTITY],
  ['refused', /^ECONNREFUSED$/],
  ['unreachable', /^(EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN)$/],
  ['name', NAME],
  ['silence', /^(ETIMEDOUT|ERR_SOCKET_CONNECTION_TIMEOUT)$/],
]

/** For errors without a telling code. The first two are those of signals: aborted by somebody, or by the clock. */
const KIND_OF_NAMES: ReadonlyMap<string, FailureKind> = new Map([
  ['AbortError', 'local'], ['TimeoutError', 'silence'], ['TypeError', 'mistake'], ['RangeError', 'mistake'],
])

/** The kind of whatever was thrown: by its code, and where that tells nothing, by its name. */
export function kindOf(error: unknown): FailureKind {
  const code = codeOf(error) ?? ''
  const known = KINDS.find(([, codes]) => codes.test(code))
  if (known !== undefined) return known[0]
  const name = read(error, 'name')
  return (typeof name === 'string' && KIND_OF_NAMES.get(name)) || 'broken'
}

/**
 * The codes in the order of what they tell a person, the most telling first: of how long the cause will last if nobody
 * acts, and of how sure it is. A program retries what is near the end; a person is needed for what is at the start.
 */
const TELLING: readonly RegExp[] = [
  // A server is there and is not who it must be: a wrong CA, name or date, or somebody in between. It stays so until
  // a person acts, and is lost among refusals if it is not put first.
  IDENTITY,
  // A server is there and does not speak TLS as we do, or refuses our client certificate.
  /^(EPROTO|ERR_SSL_.*|ERR_TLS_.*|ERR_OSSL_.*)$/,
  // The cause is on this machine; looking at the servers would be in vain.
  /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|EACCES|EPERM)$/,
  // The name is wrong, or its resolver.
  NAME,
  // The host is there, the apiserver is not.
  /^ECONNREFUSED$/,
  // It began to answer and stopped (ECONNRESET, EPIPE), there is no way to it (EHOSTUNREACH), or something rarer.
  /^(?!ETIMEDOUT$|ABORT_ERR$)/,
  // Silence: what every cause looks like from afar.
  /^ETIMEDOUT$/,
  // Given up because the dial ended; says nothing of the endpoint.
  /^ABORT_ERR$/,
]

/** The code that tells a person most; among equals the first. Undefined if none has a code. */
export function mostTellingCode(codes: readonly (string | undefined)[]): string | undefined {
  const present = codes.filter((code) => code !== undefined)
  for (const pattern of TELLING) {
    const found = present.find((code) => pattern.test(code))
    if (found !== undefined) return found
  }
  return undefined
}

/** The error of a failure; one that was found by the clock has none of its own. */
export function failureError(failure: { readonly message: string; readonly error?: unknown }): Error {
  return failure.error === undefined ? coded('ETIMEDOUT', failure.message) : toError(failure.error)
}

/** What was thrown, if it is an error of any realm; else an error that says what it says, and has it as its cause. */
export function toError(thrown: unknown): Error {
  if (isError(thrown)) return thrown
  const error = new Error(causeText(thrown), { cause: thrown })
  const code = codeOf(thrown)
  return code === undefined ? error : Object.assign(error, { code })
}

/** instanceof knows the errors of this realm alone, and isNativeError no DOMException, as aborted signals have. */
function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error
  } catch {
    return false
  }
}

/** The code of whatever was thrown, if it is an object that has one. */
export function codeOf(error: unknown): string | undefined {
  const code = read(error, 'code')
  return typeof code === 'string' && code !== '' ? code : undefined
}

/** One line that says what went wrong, from whatever was thrown; at most 200 characters. */
export function causeText(error: unknown): string {
  const text = withoutCredentials(messageOf(error).slice(0, 2_000)).replace(/\s+/g, ' ').trim()
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}

function messageOf(error: unknown): string {
  const message = typeof error === 'string' ? error : read(error, 'message')
  if (typeof message === 'string' && message !== '') return message
  // net.connect to a name with several addresses: an AggregateError without a message of its own.
  const errors = itemsOf(read(error, 'errors')).map(ownMessageOf)
  return errors.length > 0 ? errors.join(', ') : ownMessageOf(error)
}

/** Without a look at the errors in it: one of them may be the error itself. */
function ownMessageOf(error: unknown): string {
  const texts = [error, read(error, 'message'), read(error, 'code'), read(error, 'name')]
  return texts.find((text): text is string => typeof text === 'string' && text !== '') ?? 'unknown error'
}

/** The first few items of a list; none of anything else. */
function itemsOf(list: unknown): readonly unknown[] {
  try {
    return Array.isArray(list) ? Array.from({ length: Math.min(list.length, 16) }, (_, i): unknown => list[i]) : []
  } catch {
    return []
  }
}

/** A property of whatever was thrown; undefined where there is none, and where reading it throws. */
function read(value: unknown, name: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  try {
    return Reflect.get(value, name)
  } catch {
    return undefined
  }
}

/**
 * Makes the error of an option that is wrong: "The option 'attemptDelay' must be a number of milliseconds from 1 to
 * 2147483647. Received 'x'". The value is shown as far as it is known to be no secret.
 *
 * @param expected what it must be, to be read after "must be", without a full stop
 */
export function invalidOption(
  name: string,
  value: unknown,
  expected: string,
): TypeError & { code: 'ERR_INVALID_ARG_VALUE' } {
  return optionError(`The option '${name}' must be ${expected}. Received ${shownValue(name, value)}`)
}

/** The same error in words of its own, for options that do not go together or whose file cannot be used. */
export function optionError(message: string): TypeError & { code: 'ERR_INVALID_ARG_VALUE' } {
  const code: 'ERR_INVALID_ARG_VALUE' = 'ERR_INVALID_ARG_VALUE'
  return Object.assign(new TypeError(message), { code })
}

/** A request to a host that is not this cluster's: sent to an apiserver, it would carry what was meant for another. */
export function foreignHost(host: string): CodedError<'ERR_MULTIDIALER_FOREIGN_HOST'> {
  return coded('ERR_MULTIDIALER_FOREIGN_HOST', `'${host}' is not a host of this cluster: it is none of the servers ` +
    "given, nor a listed apiserver, nor a name of the 'kubernetes' service. Use another agent for it, or add it to " +
    "the option 'server'")
}

/** Anything asked of a dialer after close(), after its signal was aborted, or of an agent after destroy(). */
export function closedError(): CodedError<'ERR_MULTIDIALER_CLOSED'> {
  return coded('ERR_MULTIDIALER_CLOSED', 'This dialer is closed: it makes no more connections. Construct a new one')
}

/** What a severed socket is destroyed with. Clients know ECONNRESET, and retry what can be. */
export function severedError(address: string, reason: string): CodedError<'ECONNRESET'> & { address: string } {
  const error = coded('ECONNRESET', `apiserver ${address} stopped answering (${reason}); the connection was severed`)
  return Object.assign(error, { address })
}

/** A limit of our own that was reached: `timeoutError('TLS handshake with 10.77.0.1:6443', 5_000)`. */
export function timeoutError(what: string, ms: number): CodedError<'ETIMEDOUT'> {
  return coded('ETIMEDOUT', `${what} timed out after ${ms} ms`)
}

/** The caller's signal was aborted. As everywhere in Node: name AbortError, code ABORT_ERR, the reason as cause. */
export function abortError(reason?: unknown): CodedError<'ABORT_ERR'> {
  const error = new Error('The operation was aborted', reason === undefined ? undefined : { cause: reason })
  error.name = 'AbortError'
  return Object.assign(error, { code: 'ABORT_ERR' } as const)
}

/** An error with a code, for what goes wrong in one file alone. */
export function coded<Code extends string>(code: Code, message: string): CodedError<Code> {
  return Object.assign(new Error(message), { code })
}
