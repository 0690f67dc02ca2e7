/** Whose host a request goes to: this cluster's, or another one's. A token sent to another's would be lost. */
import type { Endpoint } from './core/endpoint.ts'
import type { State } from './core/state.ts'
import { toHost } from './options.ts'
import type { DialRequest } from './pool.ts'

/** The names of the service that every cluster has, with whatever domain it is given. */
const SERVICE = /^kubernetes(\.default(\.svc(\.[a-z0-9-]+)*)?)?$/

/** The hosts and ports of one cluster, as its endpoints come and go. */
export class Hosts {
  #peers: State['peers'] | undefined
  #hosts: ReadonlySet<string> = new Set()
  #ports: ReadonlySet<number> = new Set()

  /** Tells whether the host and port of a request are this cluster's. One that names no host has not chosen another. */
  serves({ host, port }: DialRequest, peers: State['peers']): boolean {
    if (host === undefined || host === null || host === '') return true
    if (this.#peers !== peers) this.#learn(peers)
    if (port !== undefined && port !== null && port !== '' && !this.#ports.has(Number(port))) return false
    if (this.#hosts.has(host)) return true
    const plain = toHost(host.replace(/^\[(.*)\]$/, '$1')) ?? ''
    return this.#hosts.has(plain) || SERVICE.test(plain)
  }

  #learn(peers: State['peers']): void {
    const endpoints: Endpoint[] = [...peers.values()].map(({ endpoint }) => endpoint)
    this.#peers = peers
    this.#hosts = new Set(endpoints.map(({ host }) => host))
    // 443 is what a URL without a port means.
    this.#ports = new Set([443, ...endpoints.map(({ port }) => port)])
  }
}

/** Writes the host and port of a request as its caller would, for a message. */
export function hostText({ host, port }: DialRequest): string {
  return `${host?.replace(/^[^[].*:.*$/, '[$&]') ?? ''}${port ? `:${port}` : ''}`
}
