/**
 * What the servers answer for Endpoints and EndpointSlices, from a list of addresses or from what a spec says. Pure.
 */
import type { DiscoveryAnswer, DiscoveryAnswers } from './apiserver-protocol.ts'
import { status } from './apiserver-status.ts'

export interface Address { readonly host: string; readonly port: number }

/** What a spec can have the servers answer instead of the truth. */
export type DiscoveryOverride =
  | { readonly addresses: readonly (string | Address)[] }   // 'host:port', all ready
  | { readonly subsets: unknown }       // of the Endpoints, taken as they are;
                                        // the slices hold what is well-formed in them
  | { readonly slices: unknown; readonly endpoints?: number }   // items of the list;
                                                                // status of the Endpoints, 404 by default
  | { readonly status: number }         // for both
  | { readonly body: string; readonly status?: number; readonly contentType?: string }    // for both

interface Subset {
  readonly addresses?: readonly { ip: string }[]
  readonly notReadyAddresses?: readonly { ip: string }[]
  readonly ports?: readonly { name?: string; port: number; protocol?: string }[]
}

export function discoveryOf(override: DiscoveryOverride, revision: number): DiscoveryAnswers {
  if ('addresses' in override) {
    const subsets = subsetsOf(override.addresses.map((address) =>
      typeof address === 'string' ? parsed(address) : address))
    return { endpoints: endpoints(subsets, revision), ...slices(subsets.flatMap(sliceOf), revision) }
  }
  if ('subsets' in override) {
    const known = Array.isArray(override.subsets) ? override.subsets.filter(isSubset) : []
    return { endpoints: endpoints(override.subsets, revision), ...slices(known.flatMap(sliceOf), revision) }
  }
  if ('slices' in override) {
    return { endpoints: failure(override.endpoints ?? 404), ...slices(override.slices, revision) }
  }
  if ('body' in override) {
    const { body, status = 200, contentType = 'application/json' } = override
    return all({ status, contentType, body })
  }
  return all(failure(override.status))
}

const all = (answer: DiscoveryAnswer): DiscoveryAnswers =>
  ({ endpoints: answer, endpointslice: answer, endpointslices: answer })

const json = (body: unknown, status = 200): DiscoveryAnswer =>
  ({ status, contentType: 'application/json', body: JSON.stringify(body) })

const failure = (code: number): DiscoveryAnswer => json(status(code), code)

/** One subset for each port, as the endpoints controller groups them. */
function subsetsOf(addresses: readonly Address[]): Subset[] {
  const ports = [...new Set(addresses.map(({ port }) => port))]
  return ports.map((port) => ({
    addresses: addresses.filter((address) => address.port === port).map(({ host }) => ({ ip: host })),
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  }))
}

function endpoints(subsets: unknown, revision: number): DiscoveryAnswer {
  const labels = { 'endpointslice.kubernetes.io/skip-mirror': 'true' }
  const metadata = { name: 'kubernetes', namespace: 'default', resourceVersion: String(revision), labels }
  return json({ kind: 'Endpoints', apiVersion: 'v1', metadata, subsets })
}

function sliceOf(subset: Subset, index: number): unknown[] {
  const conditions = (ready: boolean): unknown => ({ ready, serving: ready, terminating: false })
  const all = [
    ...(subset.addresses ?? []).map(({ ip }) => ({ ip, ready: true })),
    ...(subset.notReadyAddresses ?? []).map(({ ip }) => ({ ip, ready: false })),
  ]
  return ['IPv4', 'IPv6'].flatMap((addressType) => {
    const here = all.filter(({ ip }) => ip.includes(':') === (addressType === 'IPv6'))
    if (here.length === 0) return []
    const suffix = `${index === 0 ? '' : `-${index}`}${addressType === 'IPv6' ? '-ipv6' : ''}`
    return [{
      metadata: {
        name: `kubernetes${suffix}`, namespace: 'default', labels: { 'kubernetes.io/service-name': 'kubernetes' },
      },
      addressType,
      endpoints: here.map(({ ip, ready }) => ({ addresses: [ip], conditions: conditions(ready) })),
      ports: subset.ports ?? [],
    }]
  })
}

/** The list, and the one slice that is named like the service. */
function slices(items: unknown, revision: number): Omit<DiscoveryAnswers, 'endpoints'> {
  const apiVersion = 'discovery.k8s.io/v1'
  const metadata = { resourceVersion: String(revision) }
  const first: unknown = Array.isArray(items) ? items[0] : undefined
  return {
    endpointslices: json({ kind: 'EndpointSliceList', apiVersion, metadata, items }),
    endpointslice: typeof first === 'object' && first !== null
      ? json({ kind: 'EndpointSlice', apiVersion, ...first })
      : failure(404),
  }
}

function parsed(address: string): Address {
  const colon = address.lastIndexOf(':')
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) }
}

function isSubset(value: unknown): value is Subset {
  return typeof value === 'object' && value !== null
}
