/**
 * Lists of endpoints, read and vetted: the body of Endpoints or of an EndpointSliceList, and what a store had kept.
 *
 * They are untrusted: whoever can write the list can name any address. So nothing leaves here but IP literals of a
 * permitted scope, canonical and at most 64, each with the port of the apiserver (R4), and of a body only if it is
 * well-formed and has at least one of them ready (R3). The rest is refused, each item with a sentence, and the good
 * part is used. What is written of refused items is bounded in length and number, and plain ASCII whatever was in it.
 */
import { addressOf } from '../core/endpoint.ts'
import { canonicalIP, isIP, scopeOf } from '../address.ts'
import type { Address, Endpoint } from '../core/endpoint.ts'
import type { Scope } from '../address.ts'
import type { EndpointsBody, Via } from '../core/state.ts'
import { isRecord } from '../options.ts'
import { withoutSecrets } from '../secrets.ts'

/** Endpoints of each kind that are used. No control plane is that large; a list that is, is a mistake or an attack. */
const ENDPOINT_LIMIT = 64
/** Refusals that are spelled out: enough to see a pattern, few enough for a log line. */
const SENTENCE_LIMIT = 8
/** Characters of untrusted text in a sentence: an IPv6 literal fits. */
const QUOTE_LIMIT = 48

const SERVICE_LABEL = 'kubernetes.io/service-name'
const SLICES = 'discovery.k8s.io/v1'

type Json = { readonly [name: string]: unknown }

/**
 * Reads the answer to a discovery request. `allowed` has the scopes besides global that are permitted: those of the
 * seeds themselves. A 'rejected' body must change nothing; an unready endpoint that is also ready is only ready.
 */
export function readEndpointsBody(text: string, via: Via, allowed: ReadonlySet<Scope>): EndpointsBody {
  const body = parsed(text)
  if (!isRecord(body)) return { kind: 'rejected', reason: body === undefined ? 'not JSON' : 'not a JSON object' }
  const mismatch = via === 'endpoints' ? errorOfEndpoints(body) : errorOfSlices(body)
  if (mismatch !== undefined) return { kind: 'rejected', reason: mismatch }
  const sieve = new Sieve(allowed)
  if (via === 'endpoints') readSubsets(sieve, body['subsets'])
  else readSlices(sieve, body)
  return sieve.result()
}

/** Stored endpoints that may be dialled, and what is said of the others. */
export interface VettedHints {
  readonly endpoints: readonly Endpoint[]
  /** At most nine sentences, as of a list. */
  readonly refused: readonly string[]
}

/** Stored hints that are looked at. A store has no more than a list; the others are counted, which takes no time. */
const HINTS_LOOKED_AT = 1_024

/**
 * R4: vets and bounds what a store gave, as a list is: whoever can write the store can name any address, too.
 * `allowed` has the scopes besides global that are permitted: those of the seeds themselves.
 */
export function vetHints(hints: unknown, allowed: ReadonlySet<Scope>): VettedHints {
  const sieve = new Sieve(allowed)
  const list = arrayOf(sieve, 'stored endpoints', hints)
  for (const hint of objectsOf(sieve, 'endpoint', 'stored endpoints', list.slice(0, HINTS_LOOKED_AT))) {
    const port = checkedPort(sieve, hint['port'])
    if (port !== undefined) sieve.take(hint['host'], port, true)
  }
  sieve.leaveOut(Math.max(0, list.length - HINTS_LOOKED_AT))
  return sieve.hints()
}

/** Sorts addresses into ready and unready ones, and those that are refused. */
class Sieve {
  readonly #allowed: ReadonlySet<Scope>
  readonly #ready = new Map<Address, Endpoint>()
  readonly #unready = new Map<Address, Endpoint>()
  readonly #sentences: string[] = []
  #refusals = 0
  #surplus = 0

  constructor(allowed: ReadonlySet<Scope>) {
    this.#allowed = allowed
  }

  refuse(sentence: string): void {
    this.#refusals++
    if (this.#sentences.length < SENTENCE_LIMIT) this.#sentences.push(sentence)
  }

  take(address: unknown, port: number, isReady: boolean): void {
    const host = typeof address === 'string' ? canonicalIP(address) : undefined
    if (host === undefined) return this.refuse(`address ${shown(address)} is not an IP address`)
    const scope = scopeOf(host)
    if (scope !== 'global' && (scope === undefined || !this.#allowed.has(scope))) {
      return this.refuse(`address ${host} is ${scope}`)
    }
    const endpoint: Endpoint = { host, port }
    const key = addressOf(endpoint)
    const kept = isReady ? this.#ready : this.#unready
    if (kept.size < ENDPOINT_LIMIT || kept.has(key)) kept.set(key, endpoint)
    else this.#surplus++
  }

  /** Counts those that were not even looked at. */
  leaveOut(count: number): void {
    this.#surplus += count
  }

  hints(): VettedHints {
    // A store may hold what was written there by mistake; what a server was sent is looked for where it is known.
    const refused = this.#refused().map((sentence) => withoutSecrets(sentence))
    return { endpoints: [...this.#ready.values()], refused }
  }

  result(): EndpointsBody {
    const refused = this.#refused()
    if (this.#ready.size === 0) return { kind: 'rejected', reason: this.#reason(refused) }
    for (const address of this.#ready.keys()) this.#unready.delete(address)
    const ready = [...this.#ready.values()]
    return { kind: 'list', ready, unready: [...this.#unready.values()], refused }
  }

  /** One sentence for many items; it comes first, so that it is never among the 'N more'. */
  #spellOut(sentence: string): void {
    this.#refusals++
    this.#sentences.unshift(sentence)
    this.#sentences.splice(SENTENCE_LIMIT)
  }

  #refused(): readonly string[] {
    if (this.#surplus > 0) this.#spellOut(`${this.#surplus} beyond the first ${ENDPOINT_LIMIT} addresses`)
    const more = this.#refusals - this.#sentences.length
    return more === 0 ? this.#sentences : [...this.#sentences, `and ${more} more`]
  }

  #reason(refused: readonly string[]): string {
    const because = refused.length === 0 ? '' : `: ${refused.join('; ')}`
    if (this.#unready.size > 0) return `the list has notReadyAddresses only${because}`
    return refused.length === 0 ? 'the list is empty' : `the list has no address that may be used${because}`
  }
}

function errorOfEndpoints(body: Json): string | undefined {
  if (body['kind'] !== 'Endpoints') return `kind is ${shown(body['kind'])}, not "Endpoints"`
  return body['apiVersion'] === 'v1' ? undefined : `apiVersion of Endpoints is ${shown(body['apiVersion'])}, not "v1"`
}

function errorOfSlices(body: Json): string | undefined {
  if (body['kind'] !== 'EndpointSliceList') return `kind is ${shown(body['kind'])}, not "EndpointSliceList"`
  const version = body['apiVersion']
  return version === SLICES ? undefined : `apiVersion of EndpointSliceList is ${shown(version)}, not "${SLICES}"`
}

function readSubsets(sieve: Sieve, subsets: unknown): void {
  for (const subset of objectsOf(sieve, 'subset', 'subsets', subsets)) {
    const port = portOf(sieve, subset['ports'])
    if (port === undefined) continue
    for (const [name, isReady] of [['addresses', true], ['notReadyAddresses', false]] as const) {
      for (const address of objectsOf(sieve, 'address', name, subset[name])) sieve.take(address['ip'], port, isReady)
    }
  }
}

function readSlices(sieve: Sieve, body: Json): void {
  for (const slice of objectsOf(sieve, 'slice', 'items', body['items'])) {
    const error = errorOfSlice(slice)
    if (error === undefined) readSlice(sieve, slice, slice['addressType'] === 'IPv4' ? 4 : 6)
    else sieve.refuse(error)
  }
}

function errorOfSlice(slice: Json): string | undefined {
  const metadata = slice['metadata']
  const labels = isRecord(metadata) ? metadata['labels'] : undefined
  const service = isRecord(labels) ? labels[SERVICE_LABEL] : undefined
  // A server that ignores the label selector answers with the slices of every service.
  if (service !== undefined && service !== 'kubernetes') return `slice is of service ${shown(service)}`
  const type = slice['addressType']
  return type === 'IPv4' || type === 'IPv6' ? undefined : `addressType ${shown(type)} is not IPv4 or IPv6`
}

function readSlice(sieve: Sieve, slice: Json, family: 4 | 6): void {
  const port = portOf(sieve, slice['ports'])
  if (port === undefined) return
  for (const endpoint of objectsOf(sieve, 'endpoint', 'endpoints', slice['endpoints'])) {
    const isReady = readyOf(endpoint['conditions'])
    if (isReady === undefined) {
      sieve.refuse('endpoint has conditions that are neither true nor false')
      continue
    }
    for (const address of arrayOf(sieve, 'addresses', endpoint['addresses'])) {
      if (typeof address === 'string' && isIP(address) === 10 - family) {
        sieve.refuse(`address ${shown(address)} is not of its slice's family, IPv${family}`)
      } else {
        sieve.take(address, port, isReady)
      }
    }
  }
}

/** Of the conditions only `ready` decides; unknown (absent or null) is to be taken as ready, says the API. */
function readyOf(conditions: unknown): boolean | undefined {
  const ready = isRecord(conditions) ? conditions['ready'] : conditions
  if (ready === undefined || ready === null) return true
  return typeof ready === 'boolean' && isRecord(conditions) ? ready : undefined
}

/** The port named `https`, else the only one. One that is not TCP is not an apiserver's. */
function portOf(sieve: Sieve, ports: unknown): number | undefined {
  const known = objectsOf(sieve, 'port', 'ports', ports).filter((port) => (port['protocol'] ?? 'TCP') === 'TCP')
  const named = known.filter((port) => port['name'] === 'https')
  const candidates = named.length > 0 ? named : known
  const numbers = [...new Set(candidates.map((port) => port['port']))]
  const [number] = numbers
  if (numbers.length !== 1) {
    sieve.refuse(numbers.length === 0 ? 'no port' : `${numbers.length} ports, and no single one named https`)
    return undefined
  }
  return checkedPort(sieve, number)
}

function checkedPort(sieve: Sieve, port: unknown): number | undefined {
  if (typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535) return port
  sieve.refuse(`port ${shown(port)} is not a whole number from 1 to 65535`)
  return undefined
}

/** The objects in a list; its other items are refused. */
function objectsOf(sieve: Sieve, noun: string, name: string, list: unknown): readonly Json[] {
  const objects: Json[] = []
  for (const item of arrayOf(sieve, name, list)) {
    if (isRecord(item)) objects.push(item)
    else sieve.refuse(`${noun} ${shown(item)} is not an object`)
  }
  return objects
}

/** Lists may be absent or null (Go writes a nil slice so): then they are empty. */
function arrayOf(sieve: Sieve, name: string, list: unknown): readonly unknown[] {
  if (list === undefined || list === null) return []
  if (Array.isArray(list)) return list
  sieve.refuse(`${name} ${shown(list)} is not a list`)
  return []
}

/** Undefined for what is not JSON, and for nesting deeper than the parser's stack. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** An untrusted value in few words of plain ASCII. */
function shown(value: unknown): string {
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object') return String(value)
  if (value === null) return 'null'
  return Array.isArray(value) ? '(a list)' : '(an object)'
}

function quoted(text: string): string {
  const start = text.slice(0, QUOTE_LIMIT).replace(/[^\x20-\x7e]|["\\]/g, escaped)
  return text.length > QUOTE_LIMIT ? `"${start}"...` : `"${start}"`
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
