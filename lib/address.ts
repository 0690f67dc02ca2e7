/**
 * Endpoints and IP literals: what an apiserver's address is, how it is written, and where on the network it points.
 *
 * Here live the only readers of addresses in the project. They are strict: whatever resolvers read in two ways (leading
 * zeros, hexadecimal, fewer than four parts, a zone) is no IP literal here, so that what was vetted is what is dialled.
 * No name is resolved here, no URL is read, and nothing is dialled.
 */
import type { Endpoint } from './core/endpoint.ts'

/** How far an IP address reaches. Private ranges (RFC 1918, fc00::/7) are where clusters live: they count as global. */
export type Scope = 'global' | 'loopback' | 'link-local' | 'multicast' | 'unspecified'

/** The longest IPv6 literal: six full groups and an IPv4 tail. */
const LONGEST_IP = 45

/** The longest DNS name in text, without its final dot (RFC 1035, 255 octets on the wire). */
const LONGEST_NAME = 253

const NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$/

/** A name that ends like a number is read as an IPv4 address by resolvers (inet_aton) and by URL. */
const ENDS_IN_NUMBER = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/

/**
 * Reads 'host:port' or '[v6]:port': an IP literal becomes canonical, a name lower case.
 * Undefined if malformed: no port, a port that is not decimal 1 to 65535, an IPv6 literal without brackets.
 */
export function parseAddress(text: string): Endpoint | undefined {
  const colon = text.lastIndexOf(':')
  const port = portOf(text.slice(colon + 1))
  const host = hostOf(text.slice(0, Math.max(colon, 0)))
  return port === undefined || host === undefined ? undefined : { host, port }
}

/**
 * The canonical form of an IP literal: IPv4 as it is, IPv6 as RFC 5952 has it (lower case, the longest run of zeros
 * compressed, v4-mapped addresses with their dotted tail). Undefined for anything else, and for a literal with a zone.
 */
export function canonicalIP(text: string): string | undefined {
  if (parseV4(text) !== undefined) return text
  const v6 = parseV6(text)
  return v6 === undefined ? undefined : writeV6(v6)
}

/** Like `net.isIP`, but a literal with a zone is 0. */
export function isIP(text: string): 0 | 4 | 6 {
  if (parseV4(text) !== undefined) return 4
  return parseV6(text) === undefined ? 0 : 6
}

/** The scope of an IP literal; undefined for a name. An IPv6 address that stands for an IPv4 one is judged by that. */
export function scopeOf(host: string): Scope | undefined {
  const v4 = parseV4(host)
  if (v4 !== undefined) return scopeOfV4(v4)
  const v6 = parseV6(host)
  return v6 === undefined ? undefined : scopeOfV6(v6)
}

function portOf(text: string): number | undefined {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return undefined
  const port = Number(text)
  return port > 65_535 ? undefined : port
}

function hostOf(text: string): string | undefined {
  if (text.startsWith('[') && text.endsWith(']')) {
    const v6 = parseV6(text.slice(1, -1))
    return v6 === undefined ? undefined : writeV6(v6)
  }
  if (parseV4(text) !== undefined) return text
  const name = text.toLowerCase()
  if (name.replace(/\.$/, '').length > LONGEST_NAME || ENDS_IN_NUMBER.test(name)) return undefined
  return NAME.test(name) ? name : undefined
}

/** The 32 bits of a dotted quad without leading zeros. */
function parseV4(text: string): number | undefined {
  if (!/^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$/.test(text)) return undefined
  let bits = 0
  for (const octet of text.split('.')) {
    const value = Number(octet)
    if (value > 255 || String(value) !== octet) return undefined
    bits = bits * 256 + value
  }
  return bits
}

/** The 128 bits of an IPv6 literal. `::` stands for one group of zeros or more. */
function parseV6(text: string): bigint | undefined {
  if (text.length > LONGEST_IP || !text.includes(':')) return undefined
  const gap = text.indexOf('::')
  if (gap === -1) {
    const groups = parseGroups(text, true)
    return groups?.length === 8 ? bitsOf(groups) : undefined
  }
  const head = parseGroups(text.slice(0, gap), false)
  const tail = parseGroups(text.slice(gap + 2), true)
  if (head === undefined || tail === undefined || head.length + tail.length > 7) return undefined
  return bitsOf([...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail])
}

/** The 16-bit groups of a part of an IPv6 literal; only its end may have an IPv4 tail, which makes two of them. */
function parseGroups(text: string, isEnd: boolean): readonly number[] | undefined {
  if (text === '') return []
  const parts = text.split(':')
  const groups: number[] = []
  for (const [index, part] of parts.entries()) {
    const v4 = isEnd && index === parts.length - 1 ? parseV4(part) : undefined
    if (v4 !== undefined) groups.push(Math.floor(v4 / 0x1_0000), v4 % 0x1_0000)
    else if (/^[0-9a-f]{1,4}$/i.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

function bitsOf(groups: readonly number[]): bigint {
  return groups.reduce((bits, group) => bits << 16n | BigInt(group), 0n)
}

function writeV6(bits: bigint): string {
  if (bits >> 32n === 0xffffn) return `::ffff:${writeV4(Number(bits & 0xffff_ffffn))}`
  const groups = Array.from({ length: 8 }, (_, index) => (bits >> BigInt(112 - 16 * index) & 0xffffn).toString(16))
  const text = groups.join(':')
  let longest = { at: 0, length: 0 }
  for (const run of text.matchAll(/\b0(?::0)+\b/g)) {
    if (run[0].length > longest.length) longest = { at: run.index, length: run[0].length }
  }
  if (longest.length === 0) return text
  const before = text.slice(0, longest.at).replace(/:$/, '')
  const after = text.slice(longest.at + longest.length).replace(/^:/, '')
  return `${before}::${after}`
}

function writeV4(bits: number): string {
  return [24, 16, 8, 0].map((shift) => bits >>> shift & 0xff).join('.')
}

function scopeOfV4(bits: number): Scope {
  const first = bits >>> 24
  if (first === 0) return 'unspecified' // 0.0.0.0/8: "this host"; Linux dials 0.0.0.0 as loopback
  if (first === 127) return 'loopback'
  if (bits >>> 16 === 0xa9fe) return 'link-local' // 169.254/16, where clouds keep their metadata services
  if (first >= 224 && first <= 239 || bits === 0xffff_ffff) return 'multicast' // and broadcast
  return 'global'
}

function scopeOfV6(bits: bigint): Scope {
  if (bits === 0n) return 'unspecified'
  if (bits === 1n) return 'loopback'
  const inner = embeddedV4(bits)
  if (inner !== undefined) return scopeOfV4(inner)
  if (bits >> 118n === 0x3fan) return 'link-local' // fe80::/10
  if (bits >> 120n === 0xffn) return 'multicast' // ff00::/8
  return 'global'
}

/** The IPv4 address that an IPv6 one stands for: ways round a check of the IPv4 one, if they were not undone here. */
function embeddedV4(bits: bigint): number | undefined {
  const low = Number(bits & 0xffff_ffffn)
  const prefix = bits >> 32n
  if (prefix === 0xffffn) return low // ::ffff:0:0/96, v4-mapped
  if (prefix === 0n) return low // ::/96, v4-compatible
  if (prefix === 0xffff_0000n) return low // ::ffff:0:0:0/96, v4-translated
  if (prefix === 0x64_ff9b_0000_0000_0000_0000n) return low // 64:ff9b::/96, NAT64
  if (bits >> 112n === 0x2002n) return Number(bits >> 80n & 0xffff_ffffn) // 2002::/16, 6to4
  return undefined
}
