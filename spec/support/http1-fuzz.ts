// The fuzzer of everything in the core that reads what a network sent: responses and endpoint lists, from a seed.
//
// It asserts what holds for any bytes whatever: no exception, one outcome however the bytes are split, an end of every
// endless response within the parser's bound, memory bounded, and no endpoint out of a list that an oracle of another
// make (by bits) would not let pass.

import { isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { readEndpointsBody } from '../../lib/discovery/endpoints-body.ts'
import { ResponseParser } from '../../lib/discovery/http1.ts'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import type { Scope } from '../../lib/address.ts'
import { bytesOf, listText, mutated, Random, responseText } from './grammar.ts'
import { atRandom, byteByByte, outcomeOf } from './http1-outcome.ts'

export interface Progress {
  readonly cases: number
  /** How often each outcome came up, by its kind or reason. */
  readonly verdicts: ReadonlyMap<string, number>
  /** Bytes of JavaScript heap and buffers at the worst sample. */
  readonly worstMemory: number
  readonly slowestMs: number
}

export interface FuzzOptions {
  readonly cases: number
  readonly seed: number
  /** Called before each case, for a watchdog elsewhere. */
  readonly onCase?: (index: number) => void
  /** Called every `SAMPLE` cases. */
  readonly onProgress?: (progress: Progress) => void
}

/** Heap and buffers together: garbage not yet collected is in it, so it is far above what one parser holds. */
const MEMORY_LIMIT = 400 * 1_048_576
/** What a response may have on the wire before there must be a verdict; see the header of http1.ts. */
const WIRE_LIMIT = 24 * 1_048_576
const SAMPLE = 1_000
/** An endless response takes a thousand times as long as another case. */
const ENDLESS_EVERY = 20_000

/** Runs the cases; throws for the first that breaks a promise, naming seed and case. */
export function fuzz({ cases, seed, onCase, onProgress }: FuzzOptions): Progress {
  const verdicts = new Map<string, number>()
  let worstMemory = 0
  let slowestMs = 0
  for (let index = 0; index < cases; index++) {
    onCase?.(index)
    const startedAt = performance.now()
    const label = labelled(seed, index)
    verdicts.set(label, (verdicts.get(label) ?? 0) + 1)
    slowestMs = Math.max(slowestMs, performance.now() - startedAt)
    if ((index + 1) % SAMPLE !== 0 && index + 1 < cases) continue
    const { heapUsed, external } = process.memoryUsage()
    worstMemory = Math.max(worstMemory, heapUsed + external)
    if (worstMemory > MEMORY_LIMIT) throw new Error(`seed ${seed}, case ${index}: ${worstMemory} bytes of memory`)
    onProgress?.({ cases: index + 1, verdicts, worstMemory, slowestMs })
  }
  return { cases, verdicts, worstMemory, slowestMs }
}

/** Each case has a generator of its own, so that one can be run alone: the label of its outcome, or an exception. */
export function labelled(seed: number, index: number): string {
  const random = new Random(seed + Math.imul(index + 1, 0x9e3779b1))
  try {
    if (index % ENDLESS_EVERY === ENDLESS_EVERY - 1) return endlessCase(random)
    return random.chance(0.25) ? listCase(random) : responseCase(random)
  } catch (cause) {
    throw new Error(`seed ${seed}, case ${index} failed`, { cause })
  }
}

function responseCase(random: Random): string {
  const text = bytesOf(responseText(random, random.pick([0, 0.02, 0.1])))
  const bytes = random.chance(0.5) ? mutated(random, text) : text
  const whole = outcomeOf([bytes])
  const splits = bytes.length > 4_096 ? [atRandom(bytes, random)] : [byteByByte(bytes), atRandom(bytes, random)]
  for (const split of splits) {
    const outcome = outcomeOf(split)
    if (!isDeepStrictEqual(outcome, whole)) {
      throw new Error(`Split-dependent: ${JSON.stringify([whole, outcome, Buffer.from(bytes).toString('latin1')])}`)
    }
  }
  return whole.kind === 'malformed' ? `malformed: ${whole.reason}` : whole.kind
}

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'

/** Beginnings, and what follows them for ever. */
const ENDLESS: readonly (readonly [string, string])[] = [
  ['', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ['HTTP/1.1 200 ', 'O'],
  ['HTTP/1.1 200 OK\r\n', 'X: y\r\n'],
  ['HTTP/1.1 200 OK\r\nX:', ' '],
  ['HTTP/1.1 200 OK\r\n\r\n', 'x'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n', 'x'],
  [CHUNKED, '1\r\nx\r\n'],
  [CHUNKED, '0000000000000001\r\nx\r\n'],
  [CHUNKED, '1;a\r\nx\r\n'],
  [`${CHUNKED}1;a=`, 'b'],
  [`${CHUNKED}1;a="`, '\\"'],
  [`${CHUNKED}0\r\n`, 'X: y\r\n'],
  [CHUNKED, '0'],
]

function endlessCase(random: Random): string {
  const [start, more] = random.pick(ENDLESS)
  const parser = new ResponseParser()
  const chunk = bytesOf(more.repeat(Math.ceil(random.pick([100, 1_460, 65_536]) / more.length)))
  let verdict = parser.push(bytesOf(start))
  for (let sent = 0; verdict.kind === 'more'; sent += chunk.length) {
    if (sent > WIRE_LIMIT) throw new Error(`No verdict after ${sent} bytes of ${JSON.stringify([start, more])}`)
    verdict = parser.push(chunk)
  }
  if (verdict.kind !== 'malformed') throw new Error(`An end of ${JSON.stringify([start, more])}`)
  return `endless: ${verdict.reason}`
}

const SCOPES: readonly Scope[] = ['loopback', 'link-local', 'multicast', 'unspecified']

function listCase(random: Random): string {
  const { text, via } = listText(random, random.pick([0.01, 0.05, 0.15]))
  const spoilt = random.chance(0.3) ? Buffer.from(mutated(random, Buffer.from(text))).toString() : text
  const allowed = new Set(SCOPES.filter(() => random.chance(0.1)))
  const body = readEndpointsBody(spoilt, via, allowed)
  if (body.kind === 'rejected') {
    assertShort([body.reason], 2_000)
    return 'list rejected'
  }
  assertVetted(body.ready, allowed)
  assertVetted(body.unready, allowed)
  assertDistinct([...body.ready, ...body.unready])
  if (body.ready.length === 0) throw new Error('A list with no ready endpoint')
  if (body.refused.length > 9) throw new Error(`${body.refused.length} sentences`)
  assertShort(body.refused, 200)
  return body.refused.length === 0 ? 'list taken' : 'list taken in part'
}

function assertShort(sentences: readonly string[], limit: number): void {
  for (const sentence of sentences) {
    if (sentence.length > limit || !/^[\x20-\x7e]+$/.test(sentence)) throw new Error(`Not short: ${sentence}`)
  }
}

function assertDistinct(endpoints: readonly Endpoint[]): void {
  const keys = new Set(endpoints.map(({ host,
    port }) => `${new URL(`http://${isIP(host) === 6 ? `[${host}]` : host}`).host} ${port}`))
  if (keys.size !== endpoints.length) throw new Error(`The same endpoint twice: ${JSON.stringify(endpoints)}`)
}

/** Throws unless each is an IP literal of an allowed scope, with a port, and there are at most 64. */
export function assertVetted(endpoints: readonly Endpoint[], allowed: ReadonlySet<Scope>): void {
  if (endpoints.length > 64) throw new Error(`${endpoints.length} endpoints`)
  for (const { host, port } of endpoints) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`Port ${port}`)
    if (isIP(host) === 0 || host.includes('%')) throw new Error(`Host ${host}`)
    const scope = scopeByBits(host)
    if (scope !== 'global' && !allowed.has(scope)) throw new Error(`${host} is ${scope}`)
  }
}

/** The bits of an IPv4 address, and where they are in an IPv6 one that stands for it. */
function bitsOfV4(text: string): bigint {
  return text.split('.').reduce((bits, octet) => bits << 8n | BigInt(octet), 0n)
}

function bitsOfV6(text: string): bigint {
  const tail = /[0-9.]+$/.exec(text)?.[0] ?? ''
  const groups = (part: string): string[] => part === '' ? [] : part.split(':')
  const hex = tail.includes('.')
    ? `${text.slice(0, -tail.length)}${(bitsOfV4(tail) >> 16n).toString(16)}:${(bitsOfV4(tail) & 0xffffn).toString(16)}`
    : text
  const [head = '', rest] = hex.split('::')
  const [before, after] = [groups(head), groups(rest ?? '')]
  const zeros = Array<string>(8 - before.length - after.length).fill('0')
  return [...before, ...zeros, ...after].reduce((bits, group) => bits << 16n | BigInt(`0x${group}`), 0n)
}

function scopeOfV4(bits: bigint): Scope {
  const first = bits >> 24n
  if (first === 0n) return 'unspecified'
  if (first === 127n) return 'loopback'
  if (bits >> 16n === 0xa9fen) return 'link-local'
  return first >= 224n && first <= 239n || bits === 0xffff_ffffn ? 'multicast' : 'global'
}

/** v4-compatible, v4-mapped, v4-translated and NAT64. */
const PREFIXES: readonly bigint[] = [0n, 0xffffn, 0xffff_0000n, 0x64_ff9b_0000_0000_0000_0000n]

/** The scope of an IP literal, reckoned by its bits: of another make than lib/address.ts, which asks node:net. */
export function scopeByBits(host: string): Scope {
  if (isIP(host) === 4) return scopeOfV4(bitsOfV4(host))
  const bits = bitsOfV6(host)
  if (bits === 1n) return 'loopback'
  if (PREFIXES.includes(bits >> 32n)) return scopeOfV4(bits & 0xffff_ffffn)
  if (bits >> 112n === 0x2002n) return scopeOfV4(bits >> 80n & 0xffff_ffffn)
  if (bits >> 118n === 0x3fan) return 'link-local'
  return bits >> 120n === 0xffn ? 'multicast' : 'global'
}
