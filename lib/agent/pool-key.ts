/**
 * The name of the pool that a request's connection belongs to. Two requests share a connection only if their names are
 * equal, so everything that a caller can ask of one connection takes part in it; and because the names are keys of
 * public objects (`agent.sockets`, `agent.freeSockets`), no certificate, key or passphrase is ever part of one: they
 * are hashed. Nothing here opens, keeps or closes a connection.
 */
import { createHash, type Hash } from 'node:crypto'

import { isOwn } from '../connect/own-tls.ts'
import { CONTEXT_OPTIONS, HANDSHAKE_OPTIONS } from '../connect/tls-options.ts'

/** All hosts of one cluster: a connection to any apiserver serves a request to any of them. */
export const SHARED_POOL = 'multidialer:'

const CONNECTION_OPTIONS = [
  'rejectUnauthorized', 'servername', 'ALPNProtocols', 'session', 'pskCallback', 'socket', 'socketPath', 'localAddress',
  'family',
] as const

type OwnOption = (typeof CONTEXT_OPTIONS | typeof HANDSHAKE_OPTIONS | typeof CONNECTION_OPTIONS)[number]

/** What sets a connection apart from the others: all that `https.Agent` puts into its pool key, and what it forgets. */
const OWN_OPTIONS: readonly OwnOption[] = [...CONTEXT_OPTIONS, ...HANDSHAKE_OPTIONS, ...CONNECTION_OPTIONS]

const OWN_NAMES: ReadonlySet<string> = new Set(OWN_OPTIONS)

/** What the pool of a request depends on. */
export type PoolOptions = Readonly<Partial<Record<OwnOption | 'host' | 'port', unknown>>>

/**
 * The pool of a request with these options, as its caller gave them and before `https.Agent` adds to them; `undefined`
 * for the shared one, which is what a request to a served host has unless it brings options of its own.
 */
export function ownPool(options: PoolOptions, served: boolean): string | undefined {
  const own = hasOwnOption(options)
  if (!own) return served ? undefined : `${hostOf(options)}:`
  return `${served ? SHARED_POOL : `${hostOf(options)}:`}${digest(options)}`
}

// Asked for every request, which has far fewer options than there are names.
function hasOwnOption(options: PoolOptions): boolean {
  return Object.keys(options).some((name) => OWN_NAMES.has(name) && isOwn(Reflect.get(options, name)))
}

function hostOf(options: PoolOptions): string {
  return `${options.host ?? 'localhost'}:${options.port ?? ''}`
}

function digest(options: PoolOptions): string {
  const hash = createHash('sha256')
  for (const name of OWN_OPTIONS) {
    const value = options[name]
    if (!isOwn(value)) continue
    add(hash, 'option', name)
    addValue(hash, value, 0)
  }
  return hash.digest('hex')
}

// The type and the length go before the bytes: no two different lists of values are the same bytes.
function add(hash: Hash, type: string, bytes: string | Uint8Array): void {
  hash.update(`${type} ${typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.byteLength}:`)
  hash.update(bytes)
}

function addValue(hash: Hash, value: unknown, depth: number): void {
  if (typeof value === 'string') return add(hash, 'string', value)
  if (ArrayBuffer.isView(value)) {
    return add(hash, 'bytes', new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  }
  if (Array.isArray(value) && depth < 4) {
    add(hash, 'array', `${value.length}`)
    for (const item of value) addValue(hash, item, depth + 1)
    return
  }
  if (isPlain(value) && depth < 4) {
    const entries = Object.entries(value)
    add(hash, 'object', `${entries.length}`)
    for (const [name, item] of entries) {
      add(hash, 'name', name)
      addValue(hash, item, depth + 1)
    }
    return
  }
  if (typeof value === 'function' || (typeof value === 'object' && value !== null)) {
    return add(hash, 'identity', `${identity(value)}`)
  }
  add(hash, typeof value, String(value))
}

function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

// A SecureContext, a KeyObject or a function says nothing of what is in it: it is the same only as itself.
const identities: WeakMap<object, number> = new WeakMap()
let lastIdentity = 0

function identity(value: object): number {
  let number = identities.get(value)
  if (number === undefined) {
    number = ++lastIdentity
    identities.set(value, number)
  }
  return number
}
