/** What an apiserver's address is, and how it is written. How one is read and vetted is in ../address.ts. */

/** An apiserver's address. `host` is a name or an IP literal and never bracketed. */
export interface Endpoint { readonly host: string; readonly port: number }

/** An endpoint as one string, 'host:port'; an IPv6 host is bracketed: '[::1]:6443'. */
export type Address = string

/** Writes an endpoint as 'host:port', an IPv6 host in brackets. */
export function addressOf(endpoint: Endpoint): Address {
  return endpoint.host.includes(':') ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`
}
