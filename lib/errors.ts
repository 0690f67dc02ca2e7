/**
 * The errors that callers see, each with a code that a program can go by and a message that a person can act on.
 *
 * What a message may hold is decided here, also for the errors that other files make of these: addresses, causes
 * and option names; never a token, a key, or the contents of a file.
 */
import { optionError, invalidOption } from './options.ts'

export { optionError, invalidOption }

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

/**
 * What a code tells, the most telling first. The order is that of how long the cause will last if nobody acts, and
 * of how sure it is: a program retries what is near the end, a person is needed for what is at the start.
 */
const TELLING: readonly (readonly [string, RegExp])[] = [
  // A server is there and is not who it must be: a wrong CA, name or date, or somebody in between. It stays so until
  // a person acts, and is lost among refusals if it is not put first.
  ['identity', IDENTITY],
  // A server is there and does not speak TLS as we do, or refuses our client certificate.
  ['tls', /^(EPROTO|ERR_SSL_.*|ERR_TLS_.*|ERR_OSSL_.*)$/],
  // The cause is on this machine; looking at the servers would be in vain.
  ['local', /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|EACCES|EPERM)$/],
  // The name is wrong, or its resolver.
  ['name', /^(ENOTFOUND|EAI_.*|ENODATA|ESERVFAIL)$/],
  // The host is there, the apiserver is not.
  ['refused', /^ECONNREFUSED$/],
  // It began to answer and stopped (ECONNRESET, EPIPE), there is no way to it (EHOSTUNREACH), or something rarer.
  ['other', /^(?!ETIMEDOUT$|ABORT_ERR$)/],
  // Silence: what every cause looks like from afar.
  ['silence', /^ETIMEDOUT$/],
  // Given up because the dial ended; says nothing of the endpoint.
  ['given up', /^ABORT_ERR$/],
]

/** Whether a code says that the server is not who it must be: a matter for a warning, and for a person. */
export function isIdentityCode(code: string | undefined): boolean {
  return code !== undefined && IDENTITY.test(code)
}

/** Whether the cause is on this machine, so that no endpoint is to blame (H1). */
export function isLocalCode(code: string | undefined): boolean {
  return code !== undefined && /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL|ABORT_ERR)$/.test(code)
}

/** The error of a failure; one that was found by the clock has none of its own. */
export function failureError(failure: { readonly message: string; readonly error?: unknown }): Error {
  return failure.error instanceof Error ? failure.error : coded('ETIMEDOUT', failure.message)
}

/** The code that tells a person most; among equals the first. Undefined if none has a code. */
export function mostTellingCode(codes: readonly (string | undefined)[]): string | undefined {
  const present = codes.filter((code) => code !== undefined)
  for (const [, pattern] of TELLING) {
    const found = present.find((code) => pattern.test(code))
    if (found !== undefined) return found
  }
  return undefined
}

/** The code of whatever was thrown, if it is an object that has one. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' && error.code !== '' ? error.code : undefined
}

/** One line that says what went wrong, from whatever was thrown; at most 200 characters. */
export function causeText(error: unknown): string {
  const text = messageOf(error).replace(/\s+/g, ' ').trim()
  return text.length > 200 ? `${text.slice(0, 200)}...` : text
}

/** How much of a secret says too much: less is found in many a text by chance. */
const TELLTALE = 8

/** The text, unless it has a part of this secret in it. For what quotes a server that was given the secret. */
export function withoutSecret(text: string, secret: string | undefined): string {
  if (secret === undefined || secret === '') return text
  for (let at = 0; at === 0 || at + TELLTALE <= secret.length; at += 1) {
    if (text.includes(secret.slice(at, at + TELLTALE))) return '(not shown, as it has the token in it)'
  }
  return text
}

function messageOf(error: unknown): string {
  if (typeof error === 'string' && error !== '') return error
  if (!(error instanceof Error)) return codeOf(error) ?? 'unknown error'
  if (error.message !== '') return error.message
  // net.connect to a name with several addresses: an AggregateError without a message of its own.
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join(', ')
  return codeOf(error) ?? error.name
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
