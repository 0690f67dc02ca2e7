/**
 * What goes into the machine and what comes out of it. Events are past tense: what happened. Effects are imperative:
 * what is to be done about it. Whatever answers something carries its id.
 */
import type { Address, Endpoint } from './endpoint.ts'
import type { Cause, Depth, Failure, Id, Question, Via } from './state.ts'

/** `refused`: a short sentence for each item that was refused, at most 8 of them, and then 'and N more'. */
export type EndpointsBody =
  | {
      readonly kind: 'list'
      readonly ready: readonly Endpoint[]
      readonly unready: readonly Endpoint[]
      readonly refused: readonly string[]
      /** All of the addresses are private ones, which are out of reach for who is outside (F3). */
      readonly isPrivate?: boolean
    }
  | { readonly kind: 'rejected'; readonly reason: string }

/** What a socket has carried since it was handed over, in application bytes. */
export interface Reading {
  readonly socket: Id
  readonly read: number
  readonly written: number
  /** In a pool, waiting for a request. */
  readonly idle: boolean
  /** When the last byte came from it; where it is absent, just now if there is any that was not told of. */
  readonly heardAt?: number
  /** Whether its last request was written and not answered, as far as is to be expected; absent where no pool tells. */
  readonly unanswered?: boolean
  /** When that one was written at the earliest, where no byte came since; where it is absent, just now. */
  readonly begunAt?: number
}

export type Event =
  | { readonly type: 'hintsLoaded'; readonly endpoints: readonly Endpoint[] }
  | {
      readonly type: 'dialRequested'
      readonly dial: Id
      readonly own: boolean
      readonly plain: boolean
      readonly bare?: true
    }
  | { readonly type: 'dialCancelled'; readonly dial: Id; readonly reason: unknown }
  | { readonly type: 'attemptConnected'; readonly dial: Id; readonly attempt: Id; readonly isPrivate?: boolean }
  | { readonly type: 'attemptFailed'; readonly dial: Id; readonly attempt: Id; readonly failure: Failure }
  /** What it has carried in all, and whether the other end closed it. */
  | {
      readonly type: 'socketClosed'
      readonly socket: Id
      readonly read: number
      /** When the last byte came from it; where it is absent, just now if there is any that was not told of. */
      readonly heardAt?: number
      readonly written: number
      readonly byPeer: boolean
    }
  | { readonly type: 'socketsSampled'; readonly readings: readonly Reading[] }
  | { readonly type: 'trafficResumed' }
  /** A caller read an answer of 429 or 5xx from it. */
  | { readonly type: 'refusalSeen'; readonly socket: Id }
  /** The connection is there that a question waited for. */
  | { readonly type: 'questionConnected'; readonly address: Address; readonly question: Id }
  | {
      readonly type: 'questionAnswered'
      readonly address: Address
      readonly question: Id
      readonly status: number
      /** It went with the token that it should have, if any (R6). */
      readonly authorized: boolean
      /** What a 200 held. */
      readonly body?: EndpointsBody
    }
  | { readonly type: 'questionFailed'; readonly address: Address; readonly question: Id; readonly failure: Failure }
  | { readonly type: 'refreshRequested'; readonly refresh?: Id }
  /** Other certificates, another CA or another key from now on (I5). */
  | { readonly type: 'identityChanged' }
  | { readonly type: 'warningRaised'; readonly kind: string; readonly message: string; readonly error?: unknown }
  | { readonly type: 'warningPassed'; readonly kind: string }
  /** The clock is looked at, as was to be done at `due`. */
  | { readonly type: 'deadlineReached'; readonly due: number }
  | { readonly type: 'closed' }

export type Rejection =
  | { readonly kind: 'failed' | 'timedOut'; readonly causes: readonly Cause[] }
  | { readonly kind: 'cancelled'; readonly reason: unknown }
  | { readonly kind: 'closed' }

export type RefreshOutcome =
  | { readonly kind: 'refreshed'; readonly endpoints: readonly Endpoint[] }
  | { readonly kind: 'failed'; readonly causes: readonly Cause[] }
  | { readonly kind: 'closed' }

export type Report =
  | { readonly event: 'endpoints'; readonly endpoints: readonly Endpoint[] }
  | { readonly event: 'failover'; readonly from: Address; readonly to: Address; readonly reason: string }
  | { readonly event: 'failed'; readonly address: Address; readonly failure: Failure }
  | { readonly event: 'warning'; readonly kind: string; readonly message: string; readonly error?: unknown }

export type Effect =
  | { readonly type: 'connect'; readonly dial: Id; readonly attempt: Id; readonly endpoint: Endpoint }
  | { readonly type: 'destroy'; readonly dial: Id; readonly attempt: Id }
  | { readonly type: 'deliver'; readonly dial: Id; readonly attempt: Id; readonly address: Address }
  | { readonly type: 'reject'; readonly dial: Id; readonly rejection: Rejection }
  | {
      readonly type: 'ask'
      readonly question: Id
      readonly endpoint: Endpoint
      readonly depth: Depth
      readonly on: Question['on']
      readonly via: Via
      readonly reauthorize: boolean
      /** On the connection of this attempt, before it is delivered (F3). */
      readonly attempt?: Id
    }
  /** The attempt's connection, and the question on it, are the monitor's from now on. */
  | { readonly type: 'adopt'; readonly dial: Id; readonly attempt: Id }
  | { readonly type: 'abandon'; readonly address: Address; readonly question: Id }
  | { readonly type: 'closeMonitor'; readonly address: Address }
  | { readonly type: 'retire'; readonly socket: Id }
  | { readonly type: 'sever'; readonly socket: Id; readonly address: Address; readonly reason: string }
  | { readonly type: 'settleRefresh'; readonly refresh: Id; readonly outcome: RefreshOutcome }
  | { readonly type: 'save'; readonly endpoints: readonly Endpoint[] }
  | { readonly type: 'report'; readonly report: Report }

export interface Deadline {
  readonly at: number
  readonly why:
    | 'dial' | 'question' | 'deaf' | 'silence' | 'slow' | 'monitor' | 'forget' | 'hesitation' | 'sample' | 'witness'
    | 'probe' | 'recovery' | 'refresh' | 'age' | 'unused'
}
