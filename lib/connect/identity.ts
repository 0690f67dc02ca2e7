/**
 * Who an endpoint must prove to be (I1, I2), and which name is sent with the handshake (SNI).
 *
 * Here is decided which names count and which one is asked for; the check of a certificate against a name is
 * node:tls's own, in attempt.ts, and so is the chain to the CA, which these rules only narrow and never replace.
 *
 * An apiserver's certificate is made for the names that its clients use: kubeadm's holds the server's own IP, the
 * control-plane endpoint, and the names of the `kubernetes` service, but no other apiserver's IP. A client that
 * demanded the seed's host of every peer could therefore fail over to none of them.
 *
 * Servers choose their certificate by the name that is sent, and routers the server. So a name is sent only if the
 * caller wrote it down: one that is made up brings a certificate, or a server, that the caller knows nothing of.
 */
import { isIP, scopeOf } from '../address.ts'
import type { Endpoint } from '../core/endpoint.ts'

export interface IdentityPolicy {
  /** kubeconfig's tls-server-name, where given. */
  readonly servername: string | undefined
  readonly seeds: readonly Endpoint[]
  /** Configured like the seeds, so that a name of theirs counts. */
  readonly alternates: readonly Endpoint[]
  /** No CA was given, so that any of the web's may have issued the certificate. */
  readonly publicAuthorities?: boolean | undefined
}

export interface Identity {
  /** The name to send; '' where there is none: SNI carries no IP address. */
  readonly sni: string
  /** The certificate must prove one of these. Never empty; each once, the most usual first. */
  readonly names: readonly string[]
}

/**
 * The service names that every apiserver of a cluster has in its certificate, and that nothing else has: whoever may
 * issue certificates for them from the cluster's CA is the control plane. The one with the cluster's domain
 * (kubernetes.default.svc.cluster.local) is left out, as that domain is not known here.
 */
const SERVICE_NAMES: readonly string[] = ['kubernetes.default.svc', 'kubernetes.default', 'kubernetes']

/**
 * I1, I2: what the endpoint must prove, and which name to send. Hosts must be canonical, as toEndpoint makes them.
 */
export function identityOf(endpoint: Endpoint, policy: IdentityPolicy): Identity {
  const { servername, seeds, alternates, publicAuthorities } = policy
  // I1: the caller knows best; nothing else counts, not even the seed's own host.
  if (servername !== undefined) return { sni: isName(servername) ? servername : '', names: [servername] }

  // I2: the seed is what the caller wrote down, so it is held to that, as every HTTPS client would.
  const { host, port } = endpoint
  if (seeds.some((seed) => seed.host === host && seed.port === port)) {
    return { sni: isName(host) ? host : '', names: [host] }
  }
  // A name that was learned or stored proves nothing: whoever writes it down may own it, and a certificate for it.
  // Nor does an IP where the web's CAs are trusted: they issue certificates for IPs to whoever holds them.
  const isWrittenDown = [...seeds, ...alternates].some((known) => known.host === host)
  const counts = isWrittenDown || !isName(host) && publicAuthorities !== true
  const names = new Set([...seeds.map((seed) => seed.host), ...(counts ? [host] : []), ...SERVICE_NAMES])
  return { sni: isWrittenDown && isName(host) ? host : nameForOthers(seeds, host), names: [...names] }
}

/** The first seed's host that is a name; not one that means this machine, if the endpoint is another. */
function nameForOthers(seeds: readonly Endpoint[], host: string): string {
  const isHere = scopeOf(host) === 'loopback' || isLocalhost(host)
  return seeds.find((seed) => isName(seed.host) && (isHere || !isLocalhost(seed.host)))?.host ?? ''
}

function isName(host: string): boolean {
  return isIP(host) === 0
}

/** RFC 6761, 6.3: always the machine itself. */
function isLocalhost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost')
}
