/**
 * The token and the TLS credentials of one dialer, from values or from files that change while it runs.
 *
 * Here files are read and a SecureContext is built, once for each set of credentials: it is costly, and TLS sessions
 * belong to it. Nothing is decided about endpoints here and nothing is sent. A file is looked at when it is needed,
 * by one stat each: watching would keep the process alive, and misses the symlink swap by which Kubernetes renews
 * mounted secrets.
 *
 * What changes on disk is replaced in steps that a reader can fall between: a certificate is new while its key is
 * old, a file is empty while it is written. At construction that is an error, as a person is there to read it; later
 * the last good credentials stay, with one warning until something changes.
 */
import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import tls from 'node:tls'
import { isToken, mayHoldSecret, TOKEN } from '../options.ts'
import { causeText, codeOf, optionError } from '../errors.ts'
import { CONTEXT_OPTIONS } from '../connect/tls-options.ts'

/** The options that hold credentials. */
export interface CredentialOptions extends tls.SecureContextOptions {
  /** For discovery alone. A function is asked again after a minute, and when a server refused what it gave. */
  token?: string | (() => string | Promise<string>) | undefined
  tokenFile?: string | undefined
  caFile?: string | undefined
  certFile?: string | undefined
  keyFile?: string | undefined
}

export interface CredentialHooks {
  /** Called when a file can no longer be used and the last good one is kept; once until it changes. */
  readonly onWarning?: ((warning: Error) => void) | undefined
  /** Milliseconds, monotonic. */
  readonly now?: (() => number) | undefined
  /** How long a token function may take. Milliseconds, 10,000 by default. */
  readonly tokenTimeout?: number | undefined
}

/** As long as client-go keeps a token that it read from a file; bound service-account tokens live for an hour. */
const TOKEN_LIFETIME = 60_000

/** Longer than any signing or exec plugin that still is of use takes. Without a limit, one that hangs hangs all. */
const TOKEN_TIMEOUT = 10_000

/** All of Mozilla's CAs are 0.2 MB. A device or a log by mistake must not be read into memory. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

type FileOption = 'tokenFile' | 'caFile' | 'certFile' | 'keyFile'
type TLSFile = Exclude<FileOption, 'tokenFile'>
const FILE_NAMES = [['caFile', 'ca'], ['certFile', 'cert'], ['keyFile', 'key']] as const

const NOTHING = Buffer.alloc(0)
type Contents = Partial<Record<TLSFile, Buffer>>

/** Owns the credentials of one dialer. Nothing of them shows when it is inspected, logged or serialised. */
export class Credentials {
  #base: tls.SecureContextOptions
  readonly #files: readonly WatchedFile<TLSFile>[]
  readonly #onWarning: (warning: Error) => void
  readonly #token: TokenSource | undefined
  #contents: Contents
  #context: tls.SecureContext
  #generation = 1
  #seen: string
  #warned = false

  /**
   * Reads every file and builds the context, so that what cannot work fails here.
   *
   * @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option and the cause
   */
  constructor(options: CredentialOptions, hooks: CredentialHooks = {}) {
    this.#onWarning = hooks.onWarning ?? (() => {})
    this.#base = contextOptionsOf(options)
    this.#files = watchedFiles(options)
    this.#seen = stampOf(this.#files)
    this.#contents = readAll(this.#files)
    this.#context = buildContext(this.#base, this.#contents)
    this.#token = tokenSource(options, this.#onWarning, hooks)
  }

  /**
   * The context to connect with now. When its generation has changed, sessions made with the one before must be
   * dropped: they were verified by a CA, or opened by a certificate, that counts no more.
   */
  current(): { context: tls.SecureContext; generation: number } {
    const stamp = stampOf(this.#files)
    if (stamp !== this.#seen) {
      this.#seen = stamp
      this.#reload()
    }
    return { context: this.#context, generation: this.#generation }
  }

  /** Whether the CAs were given. Where they were not, all that the system trusts count: those of the whole web. */
  get hasAuthority(): boolean {
    return Boolean(withContents(this.#base, this.#contents).ca)
  }

  /**
   * Takes other values from now on, for a source of credentials that is no file. What was given as files stays so.
   *
   * @throws TypeError as the constructor does; the values before are kept then
   */
  renew(values: Pick<tls.SecureContextOptions, 'ca' | 'cert' | 'key'>): void {
    const base = { ...this.#base, ...contextOptionsOf(values) }
    this.#context = buildContext(base, this.#contents)
    this.#base = base
    this.#generation += 1
  }

  /** For one connection whose caller brings TLS options of its own: they win, and it is shared with nobody. */
  contextWith(own: tls.SecureContextOptions): tls.SecureContext {
    const given = contextOptionsOf(own)
    const identified = given.cert !== undefined || given.key !== undefined || given.pfx !== undefined
    const { cert, key, pfx, passphrase, ...shared } = withContents(this.#base, this.#contents)
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

  #reload(): void {
    try {
      const contents = readAll(this.#files)
      if (!sameContents(contents, this.#contents)) {
        this.#context = buildContext(this.#base, contents)
        this.#contents = contents
        this.#generation += 1
      }
      this.#warned = false
    } catch (error) {
      if (!this.#warned) this.#onWarning(keptWarning(error))
      this.#warned = true
    }
  }
}

function keptWarning(error: unknown): Error {
  return new Error(`${causeText(error)}. The credentials read before are kept`)
}

// ---- files

interface WatchedFile<Option extends FileOption = FileOption> {
  readonly option: Option
  /** As it was given, for messages. */
  readonly name: string
  /** Absolute: a process that changes its folder later must not lose its credentials. */
  readonly path: string
}

function watchedFiles(options: CredentialOptions): readonly WatchedFile<TLSFile>[] {
  return FILE_NAMES.flatMap(([option]) => {
    const path = options[option]
    return path === undefined ? [] : [{ option, name: path, path: resolve(path) }]
  })
}

/**
 * Tells whether any of the files is another one than before. stat follows symlinks, so the new file behind a swapped
 * link has another inode; ctime finds what was rewritten in place within the granularity of mtime.
 */
function stampOf(files: readonly WatchedFile[]): string {
  return files.map(({ path }) => {
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path)
      return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`
    } catch (error) {
      return codeOf(error) ?? 'gone'
    }
  }).join('|')
}

function readAll(files: readonly WatchedFile<TLSFile>[]): Contents {
  return Object.fromEntries(files.map((file) => [file.option, readFile(file)]))
}

function sameContents(a: Contents, b: Contents): boolean {
  return FILE_NAMES.every(([file]) => Buffer.compare(a[file] ?? NOTHING, b[file] ?? NOTHING) === 0)
}

function readFile(file: WatchedFile): Buffer {
  let cause
  try {
    const stat = statSync(file.path)
    if (stat.isFile() && stat.size <= MAX_FILE_BYTES) return readFileSync(file.path)
    cause = stat.isFile() ? `it is larger than ${MAX_FILE_BYTES} bytes` : 'it is not a regular file'
  } catch (error) {
    cause = FILE_CAUSES.get(codeOf(error) ?? '') ?? codeOf(error) ?? 'unreadable'
  }
  throw fileError(file, `cannot be read: ${cause}`)
}

/** In words of our own, as Node's message repeats the path, which must not always be shown. */
const FILE_CAUSES: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'ENOENT, no such file'],
  ['EACCES', 'EACCES, permission denied'],
  ['ENOTDIR', 'ENOTDIR, a part of its path is not a folder'],
])

function fileError({ option, name }: WatchedFile, cause: string): Error {
  // A token or a PEM passed as a file name by mistake is a secret.
  const shown = isFileName(name) ? `'${name}'` : 'a file whose name is not shown, as it could be a secret,'
  return optionError(`The option '${option}' must be the path of a file that can be used: ${shown} ${cause}`)
}

/** Whether it can only be a file name: it starts with a folder, or is too short for a token. Nothing breaks a line. */
function isFileName(name: string): boolean {
  if (/[^\x20-\x7e\u00a0-\uffff]/.test(name)) return false
  return /^(\.{0,2}[/\\]|[A-Za-z]:[/\\])/.test(name) || (name.length <= 20 && !mayHoldSecret(name))
}

// ---- the TLS context

/** The options of a context: whatever else is in the object is for others. */
function contextOptionsOf(options: CredentialOptions): tls.SecureContextOptions {
  // By name, since the types of an older Node do not have them all.
  const entries = CONTEXT_OPTIONS.map((name): [string, unknown] => [name, Reflect.get(options, name)])
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined && value !== null))
}

function withContents(base: tls.SecureContextOptions, contents: Contents): tls.SecureContextOptions {
  const options: tls.SecureContextOptions = { ...base }
  for (const [file, name] of FILE_NAMES) {
    const content = contents[file]
    if (content !== undefined) options[name] = content
  }
  return options
}

function buildContext(base: tls.SecureContextOptions, contents: Contents): tls.SecureContext {
  const options = withContents(base, contents)
  checkAuthorities(options.ca, contents.caFile === undefined ? 'ca' : 'caFile')
  try {
    return tls.createSecureContext(options)
  } catch (error) {
    throw contextError(options, contents, error)
  }
}

/** OpenSSL takes a CA that it cannot read for none, so that the first sign of it would be a refused server. */
function checkAuthorities(ca: tls.SecureContextOptions['ca'], option: 'ca' | 'caFile'): void {
  for (const one of Array.isArray(ca) ? ca : [ca]) {
    if (one === undefined || one === '') continue
    const cause = authorityFault(one)
    if (cause !== undefined) throw optionError(`The option '${option}' must hold certificates in PEM: ${cause}`)
  }
}

function authorityFault(ca: unknown): string | undefined {
  if (typeof ca !== 'string' && !(ca instanceof Uint8Array)) return 'it is neither a string nor a Buffer'
  const text = typeof ca === 'string' ? ca : Buffer.from(ca).toString('latin1')
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
function contextError(options: tls.SecureContextOptions, contents: Contents, error: unknown): Error {
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
    const what = pair ? `The option '${nameGiven('key', contents)}' must fit '${nameGiven('cert', contents)}'`
      : 'The TLS options cannot be used together'
    return optionError(`${what}: ${openSSLText(error)}`)
  }
  const name = nameGiven(guilty, contents)
  const passphrased = (guilty === 'key' || guilty === 'pfx') && passphrase !== undefined
  return optionError(`The option '${name}' cannot be used${passphrased ? " with the 'passphrase' given" : ''}: ` +
    openSSLText(error))
}

function nameGiven(name: string, contents: Contents): string {
  return FILE_NAMES.find(([file, option]) => option === name && contents[file] !== undefined)?.[0] ?? name
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
  return causeText(error).replace(/\.? Received .*$/, '')
}

// ---- the token

type TokenSource = (fresh: boolean) => string | Promise<string>

function tokenSource(
  { token, tokenFile }: CredentialOptions,
  warn: (warning: Error) => void,
  hooks: CredentialHooks,
): TokenSource | undefined {
  if (tokenFile !== undefined) {
    return fileToken({ option: 'tokenFile', name: tokenFile, path: resolve(tokenFile) }, warn)
  }
  if (typeof token === 'function') return functionToken(token, hooks)
  return token === undefined ? undefined : () => token
}

/** The token of a file: read again when the file has changed, the last good one otherwise. */
function fileToken(file: WatchedFile, warn: (warning: Error) => void): TokenSource {
  let seen = stampOf([file])
  let token = readToken(file)
  let warned = false
  return (fresh) => {
    const stamp = stampOf([file])
    if (stamp === seen && !fresh) return token
    seen = stamp
    try {
      token = readToken(file)
      warned = false
    } catch (error) {
      if (!warned) warn(keptWarning(error))
      warned = true
    }
    return token
  }
}

function readToken(file: WatchedFile): string {
  const token = readFile(file).toString('utf8').trim()
  if (!isToken(token)) throw fileError(file, `must hold ${TOKEN}`)
  return token
}

/** The token of a function: kept for a minute, asked for once however many want it, given up when it hangs. */
function functionToken(ask: () => unknown, hooks: CredentialHooks): TokenSource {
  const now = hooks.now ?? (() => performance.now())
  const limit = hooks.tokenTimeout ?? TOKEN_TIMEOUT
  let last: { readonly token: string; readonly at: number } | undefined
  let asking: Promise<string> | undefined
  return (fresh) => {
    if (last !== undefined && !fresh && now() - last.at < TOKEN_LIFETIME) return last.token
    asking ??= within(limit, ask).then((token) => {
      if (!isToken(token)) throw new TokenError(`gave something else than ${TOKEN}`)
      last = { token, at: now() }
      return token
    }).catch((error: unknown) => {
      throw error instanceof TokenError ? error : new TokenError(`failed: ${withoutToken(error, last?.token)}`)
    }).finally(() => {
      asking = undefined
    })
    return asking
  }
}

/** What the function gives, if it does so in time. The timer keeps no process alive. */
async function within(ms: number, ask: () => unknown): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TokenError(`gave no answer within ${ms} ms`)), ms).unref()
  })
  try {
    return await Promise.race([late, new Promise((settle) => settle(ask()))])
  } finally {
    clearTimeout(timer)
  }
}

class TokenError extends Error {
  readonly code = 'ERR_MULTIDIALER_TOKEN'

  constructor(what: string) {
    super(`The function given as the option 'token' ${what}`)
    this.name = 'Error'
  }
}

/** The function's own words, without what it gave before nor anything that looks like a token. */
function withoutToken(error: unknown, token: string | undefined): string {
  // A JWT, what follows 'Bearer', what is as long as only a key is, and a word with a digit that is longer than most.
  const likely = /eyJ[\w.-]+|(?<=\bbearer\s+)\S+|[\w+/=-]{40,}|(?=[a-z_+=~-]*\d)[\w+=~-]{16,}/gi
  const text = causeText(error).replace(likely, '(not shown)')
  return token === undefined ? text : text.replaceAll(token, '(not shown)')
}
