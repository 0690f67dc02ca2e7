/**
 * Who an endpoint must prove to be (I1, I2).
 *
 * Here is decided which names count and which one is asked for; the check of a certificate against a name is
 * node:tls's own, in ../socket.ts, and so is the chain to the CA, which these rules only narrow and never replace.
 *
 * An apiserver's certificate is made for the names that its clients use: kubeadm's holds the server's own IP, the
 * control-plane endpoint, and the names of the `kubernetes` service, but no other apiserver's IP. A client that
 * demanded the seed's host of every peer could therefore fail over to none of them.
 */
import { isIP } from '../address.ts'
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
  /** The name to ask for in the handshake; '' where none can be, as SNI carries no IP address. */
  readonly sni: string
  /** The certificate must prove one of these. Never empty; each once, the most usual first. */
  readonly names: readonly string[]
}

/** Asked for where an endpoint is known by nothing but an IP, which SNI cannot carry. */
const SERVICE_NAME = 'kubernetes.default.svc'

/**
 * The service names that every apiserver of a cluster has in its certificate, and that nothing else has: whoever may
 * issue certificates for them from the cluster's CA is the control plane. The one with the cluster's domain
 * (kubernetes.default.svc.cluster.local) is left out, as that domain is not known here.
 */
const SERVICE_NAMES: readonly string[] = [SERVICE_NAME, 'kubernetes.default', 'kubernetes']

/** What the endpoint must prove, and which name to ask for. Hosts must be canonical, as toEndpoint makes them. */
export function identityOf(endpoint: Endpoint, policy: IdentityPolicy): Identity {
  const { servername, seeds, alternates, publicAuthorities } = policy
  // I1: the caller knows best; nothing else counts, not even the seed's own host.
  if (servername !== undefined) return { sni: sniOf(servername), names: [servername] }

  // I2: the seed is what the caller wrote down, so it is held to that, as every HTTPS client would.
  const { host, port } = endpoint
  if (seeds.some((seed) => seed.host === host && seed.port === port)) {
    return { sni: sniOf(host) || SERVICE_NAME, names: [host] }
  }
  // A name that was learned or stored proves nothing: whoever writes it down may own it, and a certificate for it.
  // Nor does an IP where the web's CAs are trusted: they issue certificates for IPs to whoever holds them.
  const isProof = isIP(host) !== 0 && publicAuthorities !== true
  const counts = isProof || alternates.some((alternate) => alternate.host === host)
  const names = new Set([...seeds.map((seed) => seed.host), ...(counts ? [host] : []), ...SERVICE_NAMES])
  return { sni: (counts && sniOf(host)) || firstName(seeds) || SERVICE_NAME, names: [...names] }
}

function firstName(seeds: readonly Endpoint[]): string {
  return seeds.find((seed) => isIP(seed.host) === 0)?.host ?? ''
}

function sniOf(host: string): string {
  return isIP(host) === 0 ? host : ''
}
