/**
 * Endpoints and IP literals: what an apiserver's address is, how it is written, and where on the network it points.
 *
 * Here live the only readers of addresses in the project, on node:net and URL. They are strict: what resolvers read in
 * two ways (leading zeros, hexadecimal, fewer than four parts, a zone) is no IP literal here, so that what was vetted
 * is what is dialled. No name is resolved here, and nothing is dialled.
 */
import { BlockList, isIP as isIPOfNode, SocketAddress } from 'node:net'
import type { Endpoint } from './core/endpoint.ts'

/** How far an IP address reaches. Private ranges (see `isPrivate`) are where clusters live: they count as global. */
export type Scope = 'global' | 'loopback' | 'link-local' | 'multicast' | 'unspecified'

/** What an IP literal without a zone is written in. The longest has six full groups and an IPv4 tail. */
const LITERAL = /^[0-9a-f:.]{2,45}$/i

/** The longest DNS name in text, without its final dot (RFC 1035, 255 octets on the wire). */
const LONGEST_NAME = 253

const NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$/

/** A name that ends like a number is read as an IPv4 address by resolvers (inet_aton) and by URL. */
const ENDS_IN_NUMBER = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/

type Range = readonly [network: string, bits: number]

/** In the order in which they are looked up: ::1 is in the v4-compatible form of 0.0.0.0/8, too. */
const scopes = once((): readonly (readonly [scope: Scope, list: BlockList])[] => [
  ['loopback', listOf(['127.0.0.0', 8], ['::1', 128])],
  ['link-local', listOf(['169.254.0.0', 16], ['fe80::', 10])], // clouds keep their metadata services there
  ['multicast', listOf(['224.0.0.0', 4], ['255.255.255.255', 32], ['ff00::', 8])], // and broadcast
  ['unspecified', listOf(['0.0.0.0', 8], ['::', 128])], // "this host"; Linux dials 0.0.0.0 as loopback
])

/** RFC 1918, RFC 6598 (carrier-grade NAT, which clouds use for clusters) and RFC 4193. */
const privateNetworks = once(() =>
  listOf(['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['100.64.0.0', 10], ['fc00::', 7]))

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
  const family = isIP(text)
  if (family !== 6) return family === 4 ? text : undefined
  const written = new URL(`http://[${text}]`).hostname.slice(1, -1)
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(written) ?? []
  return high === undefined || low === undefined ? written : `::ffff:${dotted(high)}.${dotted(low)}`
}

/** Like `net.isIP`, but a literal with a zone is 0. */
export function isIP(text: string): 0 | 4 | 6 {
  const family = LITERAL.test(text) ? isIPOfNode(text) : 0
  return family === 4 || family === 6 ? family : 0
}

/** The scope of an IP literal; undefined for a name. An IPv6 address that stands for an IPv4 one is judged by that. */
export function scopeOf(host: string): Scope | undefined {
  const address = addressed(host)
  if (address === undefined) return undefined
  return scopes().find(([, list]) => list.check(address))?.[0] ?? 'global'
}

/**
 * Whether an IP literal points into a private network, or no further than this machine or its link. A public address
 * hardly ever reaches one, nor is reached from elsewhere. False for a name, which says nothing of where it points.
 */
export function isPrivate(host: string): boolean {
  const address = addressed(host)
  if (address === undefined) return false
  const scope = scopeOf(host)
  return scope === 'loopback' || scope === 'link-local' || privateNetworks().check(address)
}

/** For a BlockList: made once, as that costs more than the checks. */
function addressed(host: string): SocketAddress | undefined {
  const family = isIP(host)
  return family === 0 ? undefined : new SocketAddress({ address: host, family: `ipv${family}` })
}

function portOf(text: string): number | undefined {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return undefined
  const port = Number(text)
  return port > 65_535 ? undefined : port
}

function hostOf(text: string): string | undefined {
  if (text.startsWith('[') && text.endsWith(']')) {
    const inner = text.slice(1, -1)
    return isIP(inner) === 6 ? canonicalIP(inner) : undefined
  }
  if (isIP(text) === 4) return text
  const name = text.toLowerCase()
  if (name.replace(/\.$/, '').length > LONGEST_NAME || ENDS_IN_NUMBER.test(name)) return undefined
  return NAME.test(name) ? name : undefined
}

/** Two octets, from a group of an IPv6 literal. */
function dotted(group: string): string {
  const bits = Number.parseInt(group, 16)
  return `${bits >> 8}.${bits & 0xff}`
}

/** Made when it is first asked for: lists of ranges are a tenth of what an import would cost. */
function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => (made ??= make())
}

/**
 * The ranges, and each IPv4 one also in the IPv6 forms that stand for it: ways round a check of the IPv4 address, if
 * they were not listed. v4-compatible, v4-mapped, v4-translated, NAT64 and 6to4.
 */
function listOf(...ranges: readonly Range[]): BlockList {
  const list = new BlockList()
  for (const [network, bits] of ranges) {
    if (network.includes(':')) {
      list.addSubnet(network, bits, 'ipv6')
      continue
    }
    list.addSubnet(network, bits, 'ipv4')
    for (const prefix of ['::', '::ffff:', '::ffff:0:', '64:ff9b::']) {
      list.addSubnet(`${prefix}${network}`, 96 + bits, 'ipv6')
    }
    const hex = Buffer.from(network.split('.').map(Number)).toString('hex')
    list.addSubnet(`2002:${hex.slice(0, 4)}:${hex.slice(4)}::`, 16 + bits, 'ipv6')
  }
  return list
}
