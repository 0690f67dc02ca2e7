/**
 * What a check has found out, and what it says of it. Types alone: the facts come from probe.ts, what is made of them
 * is in judge.ts. Nothing in either holds a credential.
 */
import type { Discovery, FailureKind, Origin } from '../core/state.ts'

/** How far a connection came: the way was open, TLS was done, the identity was proven, the question was answered. */
export type Reached = 'nothing' | 'route' | 'tls' | 'identity' | 'answer'

// ---- what users get

/** What `dialer.check()` resolves with: plain JSON, without any secret. */
export interface Check {
  /** Every endpoint known, in the order in which they became so. */
  readonly endpoints: readonly EndpointCheck[]
  readonly discovery: {
    readonly status: 'pending' | 'ok' | 'forbidden' | 'failing' | 'off'
    /** Which resource the list came from. */
    readonly via?: 'endpoints' | 'endpointslices'
    readonly lastError?: string
  }
  /**
   * Whether a seed is a front: an address that the list does not hold, behind which apiservers stand (a balancer, a
   * virtual IP, a name). Left out while there is no list to tell.
   */
  readonly front?: boolean
  /** For the loss of each endpoint: would a dial succeed, and by whom? */
  readonly survives: readonly Survival[]
  /** What to do, a sentence or two for each matter. Empty where nothing is to be done. */
  readonly advice: readonly string[]
}

export interface Survival {
  /** 'host:port' of the one that is lost. */
  readonly lost: string
  readonly survived: boolean
  /** 'host:port' of each that would serve then. */
  readonly by: readonly string[]
}

export interface EndpointCheck {
  /** 'host:port', IPv6 bracketed. */
  readonly address: string
  /** Who named it first. */
  readonly origin: 'seed' | 'alternate' | 'stored' | 'learned'
  /** Whether the list holds it. */
  readonly listed: boolean
  /** Whether it stands for listed apiservers, and is none itself. */
  readonly front: boolean
  readonly reached: Reached
  /** Milliseconds of each step that was done. The identity is checked as a part of `tls`. */
  readonly ms: { readonly route?: number; readonly tls?: number; readonly answer?: number }
  readonly certificate?: CertificateCheck
  /** The status of the answer to the question for the list. */
  readonly status?: number
  /** What keeps it from serving, or from telling the list. */
  readonly error?: { readonly code?: string; readonly message: string; readonly advice: string }
}

export interface CertificateCheck {
  /** The names that count, any of which would do. */
  readonly needs: readonly string[]
  /** Those of them that the certificate has. */
  readonly names: readonly string[]
  /** When it ends, as ISO 8601 has it. */
  readonly validTo: string
  /** Whole days until then; negative when it is over. */
  readonly daysLeft: number
}

// ---- what is found out

export interface Facts {
  readonly endpoints: readonly EndpointFacts[]
  readonly discovery: {
    readonly status: Discovery['status']
    readonly via?: Discovery['via']
    readonly lastError?: string
    /** A list is known, however old. */
    readonly listed: boolean
  }
  /** Certificates are verified. */
  readonly verified: boolean
  /** The clock of this machine, in ms since 1970. */
  readonly now: number
}

export interface EndpointFacts extends Probe {
  readonly address: string
  readonly host: string
  readonly origin: Origin
  readonly listed: boolean
  readonly front: boolean
}

/** What one fresh connection met. */
export interface Probe {
  readonly reached: Reached
  readonly ms: EndpointCheck['ms']
  /** The names that would do, the most usual first. */
  readonly needs: readonly string[]
  readonly certificate?: { readonly names: readonly string[]; readonly validTo: number }
  readonly status?: number
  /** The question went with the token that it should have, if any. */
  readonly authorized?: boolean
  /** By how many ms its clock is ahead of ours, by the Date of its answer. */
  readonly ahead?: number
  /** What ended it before all was done. */
  readonly failure?: { readonly kind: FailureKind; readonly code?: string; readonly message: string }
}
