/**
 * The TLS credentials and the token of one dialer, from values or from files that change while it runs.
 *
 * Here a SecureContext is built, once for each set of credentials: it is costly, and TLS sessions belong to it. Nothing
 * is decided about endpoints here and nothing is sent. How files are followed is in watched-file.ts, and where a token
 * comes from in token.ts.
 */
import { X509Certificate } from 'node:crypto'
import tls from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { sameValue } from '../connect/own-tls.ts'
import { CONTEXT_OPTIONS } from '../connect/tls-options.ts'
import { causeText, optionError } from '../errors.ts'
import { withoutReceived } from '../secrets.ts'
import { tokenSource } from './token.ts'
import type { TokenOptions, TokenSource } from './token.ts'
import { KeptValue, readWatched, watchedFile } from './watched-file.ts'
import type { Notices, WatchedFile } from './watched-file.ts'

/** The options that hold credentials. */
export interface CredentialOptions extends tls.SecureContextOptions, TokenOptions {
  caFile?: string | undefined
  certFile?: string | undefined
  keyFile?: string | undefined
}

/** Whom to trust and who to be: what `renew` replaces, as values or as names of files. */
export type IdentityOptions =
  Pick<CredentialOptions, 'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'caFile' | 'certFile' | 'keyFile'>

const FILE_OPTIONS = ['caFile', 'certFile', 'keyFile'] as const
type TLSFile = WatchedFile<(typeof FILE_OPTIONS)[number]>

/** What belongs to one identity, and must not be left over when it is replaced. */
const IDENTITY: ReadonlySet<string> = new Set([
  'ca', 'cert', 'key', 'pfx', 'passphrase', 'clientCertEngine', 'privateKeyEngine', 'privateKeyIdentifier',
])

/** The options of a context, with what the files hold, and the context that they make. */
interface Loaded {
  readonly options: tls.SecureContextOptions
  readonly context: tls.SecureContext
}

/** Owns the credentials of one dialer. Nothing of them shows when it is inspected, logged or serialised. */
export class Credentials {
  /** Whether a question should carry a token: one that goes without it is another question (R6). */
  readonly expectsToken: boolean
  readonly #notices: Notices
  readonly #token: TokenSource | undefined
  #base: tls.SecureContextOptions
  #kept: KeptValue<Loaded>
  #context: tls.SecureContext
  #generation = 1

  /**
   * Reads every file and builds the context, so that what cannot work fails here.
   *
   * @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option and the cause
   */
  constructor(options: CredentialOptions, notices: Notices = {}) {
    this.#notices = notices
    this.#base = contextOptionsOf(options)
    this.#kept = keptContext(this.#base, filesOf(options), notices)
    this.#context = this.#kept.last.context
    this.#token = tokenSource(options, notices)
    this.expectsToken = this.#token !== undefined
  }

  /**
   * The context to connect with now. When its generation has changed, what was made with the one before is of another
   * identity (I3, I5): verified by a CA, or opened by a certificate, that counts no more.
   */
  current(): { context: tls.SecureContext; generation: number } {
    const { context } = this.#kept.current()
    if (context !== this.#context) this.#generation += 1
    this.#context = context
    return { context, generation: this.#generation }
  }

  /** Whether the CAs were given. Where they were not, all that the system trusts count: those of the whole web. */
  get hasAuthority(): boolean {
    return Boolean(this.#kept.last.options.ca)
  }

  /**
   * Takes another identity from now on (I5). What is given replaces what was there, values and files alike, and is
   * never merged with it: without a certificate among them, there is none. The token and the options that are nobody's
   * identity (`ciphers`, ...) stay. The same identity again is no change.
   *
   * @throws TypeError as the constructor does; what was there before is kept then
   */
  renew(identity: IdentityOptions): void {
    const others = Object.entries(this.#base).filter(([name]) => !IDENTITY.has(name))
    const base = { ...Object.fromEntries(others), ...contextOptionsOf(identity) }
    this.#kept = keptContext(base, filesOf(identity), this.#notices, this.#kept.last)
    this.#base = base
    this.#notices.onPassed?.()
  }

  /** Tells whether a value is just what this dialer has for an option: programs take it from there for theirs. */
  holds(name: keyof tls.SecureContextOptions, value: unknown): boolean {
    const own = this.#kept.last.options[name]
    return own !== undefined && sameValue(own, value)
  }

  /** For one connection whose caller brings TLS options of its own: they win, and it is shared with nobody. */
  contextWith(own: tls.SecureContextOptions): tls.SecureContext {
    const given = contextOptionsOf(own)
    const identified = given.cert !== undefined || given.key !== undefined || given.pfx !== undefined
    const { cert, key, pfx, passphrase, ...shared } = this.#kept.last.options
    const identity = contextOptionsOf({ cert, key, pfx, passphrase })
    return tls.createSecureContext({ ...shared, ...(identified ? {} : identity), ...given })
  }

  /**
   * The token to send, or undefined where none was given.
   *
   * @param fresh true asks the function or the file again, even if what it gave last is young
   * @throws Error with code ERR_MULTIDIALER_TOKEN when a function fails, hangs or gives no token; it never holds one
   */
  async token(fresh = false): Promise<string | undefined> {
    return this.#token?.(fresh)
  }
}

function filesOf(options: IdentityOptions): readonly TLSFile[] {
  return FILE_OPTIONS.flatMap((option) => {
    const name = options[option]
    return name === undefined ? [] : [watchedFile(option, name)]
  })
}

/** Follows the files. The context stays the same one while the options do, and so while `present` has the same. */
function keptContext(
  base: tls.SecureContextOptions,
  files: readonly TLSFile[],
  notices: Notices,
  present?: Loaded,
): KeptValue<Loaded> {
  return new KeptValue(files, (before = present) => {
    const options = withContents(base, files)
    if (before !== undefined && isDeepStrictEqual(options, before.options)) return before
    return { options, context: buildContext(options, files) }
  }, notices)
}

/** The options of a context: whatever else is in the object is for others. */
function contextOptionsOf(options: CredentialOptions): tls.SecureContextOptions {
  // By name, since the types of an older Node do not have them all.
  const entries = CONTEXT_OPTIONS.map((name): [string, unknown] => [name, Reflect.get(options, name)])
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null))
}

function withContents(base: tls.SecureContextOptions, files: readonly TLSFile[]): tls.SecureContextOptions {
  const contents = files.map((file) => [nameOf(file.option), readWatched(file)] as const)
  return { ...base, ...Object.fromEntries(contents) }
}

function buildContext(options: tls.SecureContextOptions, files: readonly TLSFile[]): tls.SecureContext {
  checkAuthorities(options.ca, nameGiven('ca', files))
  try {
    return tls.createSecureContext(options)
  } catch (error) {
    throw contextError(options, files, error)
  }
}

/** OpenSSL takes a CA that it cannot read for none, so that the first sign of it would be a refused server. */
function checkAuthorities(ca: tls.SecureContextOptions['ca'], option: string): void {
  for (const one of Array.isArray(ca) ? ca : [ca]) {
    if (one === undefined || one === '') continue
    const cause = authorityFault(one)
    if (cause !== undefined) throw optionError(`The option '${option}' must hold certificates in PEM: ${cause}`)
  }
}

function authorityFault(ca: unknown): string | undefined {
  if (typeof ca !== 'string' && !ArrayBuffer.isView(ca)) return 'it is neither a string nor a Buffer'
  const text = typeof ca === 'string' ? ca : Buffer.from(ca.buffer, ca.byteOffset, ca.byteLength).toString('latin1')
  const begun = text.match(/-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----/g)?.length ?? 0
  const whole = text.match(/-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^]*?-----END \1-----/g)
  if (begun === 0) return 'there is none in it'
  if (whole === null || whole.length !== begun) return 'the last one is cut off'
  return whole.every(isCertificate) ? undefined : 'one of them is damaged'
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem)
    return true
  } catch {
    return false
  }
}

/**
 * Finds the option that is to blame, by trying them one by one: OpenSSL's messages do not name it. Each of them holds
 * at most a code of the library, but Node's of a wrong type repeats the value, so that part is cut.
 */
function contextError(options: tls.SecureContextOptions, files: readonly TLSFile[], error: unknown): Error {
  const { cert, key, pfx, passphrase, ...others } = options
  const lone: readonly (readonly [string, tls.SecureContextOptions])[] = [
    ['cert', { cert }],
    ['key', { key, passphrase }],
    ['pfx', { pfx, passphrase }],
    ...Object.entries(others).map(([name, value]) => [name, { [name]: value }] as const),
  ]
  const guilty = lone.find(([, subset]) => !buildable(subset))?.[0]
  if (guilty === undefined) {
    const pair = cert !== undefined && key !== undefined && !buildable({ cert, key, passphrase })
    const what = pair ? `The option '${nameGiven('key', files)}' must fit '${nameGiven('cert', files)}'`
      : 'The TLS options cannot be used together'
    return optionError(`${what}: ${openSSLText(error)}`)
  }
  const name = nameGiven(guilty, files)
  const passphrased = (guilty === 'key' || guilty === 'pfx') && passphrase !== undefined
  return optionError(`The option '${name}' cannot be used${passphrased ? " with the 'passphrase' given" : ''}: ` +
    openSSLText(error))
}

/** What a value of node:tls was given as: by its own name, or as a file. */
function nameGiven(name: string, files: readonly TLSFile[]): string {
  return files.find(({ option }) => nameOf(option) === name)?.option ?? name
}

function nameOf(file: TLSFile['option']): string {
  return file.replace(/File$/, '')
}

function buildable(options: tls.SecureContextOptions): boolean {
  try {
    tls.createSecureContext(Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)))
    return true
  } catch {
    return false
  }
}

function openSSLText(error: unknown): string {
  return withoutReceived(causeText(error))
}
