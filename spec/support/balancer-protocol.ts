/** What a spec's process and the balancer's say to each other over IPC. Nothing here runs. */

/** The id of the balancer's first word, which answers nothing: what it is told before, it does not hear. */
export const LOADED = 0

/** What becomes of a connection that comes from now on. */
export type Treatment =
  | 'forward'       // to the next back end, round robin
  | 'refuse'        // nothing listens; what is open goes on: the balancer is drained
  | 'swallow'       // accepted, and never a byte
  | 'close'         // accepted, and closed at the first byte
  | 'bad-gateway'   // HTTP 502 in the clear
  | 'login-page'    // TLS with a certificate of another authority, and a page of HTML with status 200

export interface BalancerConfig {
  readonly host: string
  readonly port: number
  readonly backends: readonly string[]
  readonly keepsClient: boolean
}

export interface BalancerStats {
  /** Connections accepted, whatever became of them. */
  readonly accepted: number
  /** Connections of clients that are open now. */
  readonly open: number
  /** By back end: connections made to it, and those of them that are open now. */
  readonly backends: Readonly<Record<string, { readonly made: number; readonly open: number }>>
}

export type BalancerCommand =
  | { readonly command: 'start'; readonly config: BalancerConfig }
  | { readonly command: 'backends'; readonly backends: readonly string[] }
  | { readonly command: 'keepsClient'; readonly keepsClient: boolean }
  | { readonly command: 'treat'; readonly treatment: Treatment }
  | { readonly command: 'deafen' }
  | { readonly command: 'reset'; readonly backend: string | undefined }
  | { readonly command: 'stats' }
  | { readonly command: 'resetStats' }

/** To the balancer. */
export type ToBalancer = BalancerCommand & { readonly id: number }

/** From the balancer: the answer to every command. */
export interface FromBalancer {
  readonly id: number
  readonly error?: string
  readonly port?: number
  readonly stats?: BalancerStats
}
