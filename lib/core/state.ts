/**
 * The law of lib/core: what is decided is decided here, in pure functions of a state, an event and the
 * time. Nothing in this folder does I/O, reads a clock, draws a random number that is not in the state, or
 * imports anything but its neighbours. State is replaced, never changed; a function that changed nothing
 * returns the very state that it was given. All times are milliseconds of one monotonic clock.
 *
 * This file has the nouns: the state, the events that go in (past tense) and the effects that come out
 * (imperative). `step.ts` has the one verb.
 */
import type { Address, Endpoint } from './endpoint.ts'
import type { Seed } from './random.ts'
import type { Row, Table } from './table.ts'

/** The numbers and the choice that the state machine goes by. Times are milliseconds. */
export interface Settings {
  readonly attemptDelay: number
  readonly attemptTimeout: number
  readonly dialTimeout: number
  readonly refreshInterval: number
  readonly heartbeatInterval: number
  readonly heartbeatTimeout: number
  readonly balance: 'sticky' | 'spread'
  readonly maxConnectionAge: number | undefined
}

/** The resource that was asked for. */
export type Via = 'endpoints' | 'endpointslices'

/** `refused`: a short sentence for each item that was refused, at most 8 of them, and then 'and N more'. */
export type EndpointsBody =
  | {
      readonly kind: 'list'
      readonly ready: readonly Endpoint[]
      readonly unready: readonly Endpoint[]
      readonly refused: readonly string[]
    }
  | { readonly kind: 'rejected'; readonly reason: string }

/** Attempts and heartbeats get their ids from the core; dials and refreshes bring their caller's. */
export type Id = number

export type Origin = 'seed' | 'alternate' | 'stored' | 'learned'
export type Status = 'unverified' | 'ready' | 'leaving' | 'failed'

/** Why an attempt or a heartbeat came to nothing. */
export interface Failure {
  /** 'identity' also warns; 'none' blames no endpoint: this machine, or the caller's own TLS options, failed. */
  readonly blame: 'endpoint' | 'identity' | 'none'
  readonly message: string
  /** The error itself, for the caller. The core never looks inside. */
  readonly error?: unknown
}

export interface Cause {
  readonly address: Address
  readonly failure: Failure
}

/** One connection being made for a dial: TCP, TLS and identity together. */
export interface Attempt {
  readonly id: Id
  readonly address: Address
  readonly startedAt: number
  readonly deadline: number
}

/** One caller who wants one socket. */
export interface Dial extends Row {
  /** The caller brought TLS options of its own: what they prove or break says nothing about the endpoint. */
  readonly own: boolean
  readonly deadline: number
  /** The deadline was met late once, and put off (H4). */
  readonly graced: boolean
  readonly tried: readonly Address[]
  readonly attempts: readonly Attempt[]
  readonly causes: readonly Cause[]
  /** When the next candidate is started although an attempt is under way (D3). */
  readonly nextAt: number
}

/** A socket in its caller's hands. Its id is that of the attempt that made it. */
export interface HandedSocket extends Row {
  readonly address: Address
  readonly read: number
  readonly written: number
  /** Since when something written has had no answer; Infinity where nothing is owed. */
  readonly owedSince: number
  /** In a pool, waiting for a request, when it was last looked at. */
  readonly idle: boolean
  /** Told to close as soon as it is idle. */
  readonly retired: boolean
}

/** One heartbeat on its way; the second of two after a miss is on a fresh connection (H2). */
export interface Heartbeat {
  readonly id: Id
  readonly misses: 0 | 1
  readonly via: Via
  /** The token has been read again for this one (R2). */
  readonly reauthorized: boolean
  /** What the other of the two resources answered just before; undefined where it has not been asked (R2). */
  readonly otherStatus: number | undefined
  readonly deadline: number
}

/** Everything known of one apiserver. */
export interface Peer {
  readonly address: Address
  readonly endpoint: Endpoint
  readonly origin: Origin
  /** Its place within a rank, drawn once (D2). */
  readonly lot: number
  readonly listed: boolean
  /** Listed among the addresses that are not ready. */
  readonly unready: boolean
  /** Its last answer to a heartbeat was 429 or 5xx. */
  readonly draining: boolean
  /** When it dropped out of the list; undefined where it is listed or never was. */
  readonly removedAt: number | undefined
  readonly verified: boolean
  readonly failures: number
  readonly failedAt: number
  readonly retryAt: number
  readonly lastError: string | undefined
  /** How many sockets callers hold. */
  readonly sockets: number
  /** They have all been told to close when idle (H5). */
  readonly retired: boolean
  /** When the last byte came from it, as far as has been seen. */
  readonly heardAt: number
  /** When it was last asked. */
  readonly askedAt: number
  /** The jittered silence after which it is asked. */
  readonly patience: number
  /** The oldest unanswered request on any of its sockets; Infinity for none. */
  readonly owedSince: number
  readonly heartbeat: Heartbeat | undefined
  /** When its last heartbeat was answered. */
  readonly provenAt: number
  /** Since its first missed heartbeat, until a byte comes. */
  readonly suspectSince: number | undefined
  /** Missed two heartbeats in a row: to be severed as soon as another has answered (H3). */
  readonly silent: boolean
  /** When its monitor connection was last used; undefined where it has none. */
  readonly monitoredAt: number | undefined
}

/** The endpoints that are asked, one after another, until one answers, because some other fell silent (H3). */
export interface WitnessSearch {
  readonly asked: readonly Address[]
  readonly nextAt: number
}

/** One refresh under way. */
export interface Round {
  readonly tried: readonly Address[]
  /** Who is being asked now; undefined between two. */
  readonly at: Address | undefined
  readonly causes: readonly Cause[]
}

export interface Discovery {
  readonly status: 'pending' | 'ok' | 'forbidden' | 'failing' | 'off'
  readonly via: Via
  /** When the last list was accepted. */
  readonly listedAt: number | undefined
  readonly lastError: string | undefined
  readonly nextAt: number
  readonly startedAt: number
  readonly round: Round | undefined
  /** Callers of refresh() who wait for the round. */
  readonly waiting: readonly Id[]
}

export interface Counters {
  readonly dials: number
  readonly attempts: number
  readonly failovers: number
  readonly severed: number
  readonly heartbeats: number
  readonly refreshes: number
}

export interface State {
  readonly settings: Settings
  readonly closed: boolean
  readonly seed: Seed
  readonly nextId: Id
  readonly peers: ReadonlyMap<Address, Peer>
  /** The last one that worked. */
  readonly current: Address | undefined
  readonly dials: Table<Dial>
  readonly sockets: Table<HandedSocket>
  /** When the bytes of sockets are to be looked at next; Infinity while every socket is idle. */
  readonly sampleAt: number
  readonly witness: WitnessSearch | undefined
  readonly discovery: Discovery
  /** What was last warned of, by kind: each once until it changes. */
  readonly warned: ReadonlyMap<string, string>
  readonly counters: Counters
}

/** What a socket has carried since it was handed over, in application bytes. */
export interface Reading {
  readonly socket: Id
  readonly read: number
  readonly written: number
  /** In a pool, waiting for a request. */
  readonly idle: boolean
}

export type Event =
  | { readonly type: 'hintsLoaded'; readonly endpoints: readonly Endpoint[] }
  | { readonly type: 'dialRequested'; readonly dial: Id; readonly own: boolean }
  | { readonly type: 'dialCancelled'; readonly dial: Id; readonly reason: unknown }
  | { readonly type: 'attemptConnected'; readonly dial: Id; readonly attempt: Id }
  | { readonly type: 'attemptFailed'; readonly dial: Id; readonly attempt: Id; readonly failure: Failure }
  | { readonly type: 'socketClosed'; readonly socket: Id }
  | { readonly type: 'socketsSampled'; readonly readings: readonly Reading[] }
  | { readonly type: 'trafficResumed' }
  | {
      readonly type: 'heartbeatAnswered'
      readonly address: Address
      readonly heartbeat: Id
      readonly status: number
      /** On a connection that was made, and verified, for it. */
      readonly fresh: boolean
      /** What a 200 held. */
      readonly body?: EndpointsBody
    }
  | { readonly type: 'heartbeatFailed'; readonly address: Address; readonly heartbeat: Id; readonly failure: Failure }
  | { readonly type: 'refreshRequested'; readonly refresh?: Id }
  | { readonly type: 'warningRaised'; readonly kind: string; readonly message: string; readonly error?: unknown }
  | { readonly type: 'deadlineReached' }
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
      readonly type: 'heartbeat'
      readonly heartbeat: Id
      readonly endpoint: Endpoint
      readonly via: Via
      /** Not on the kept connection, which may be what is broken. */
      readonly fresh: boolean
      readonly reauthorize: boolean
    }
  | { readonly type: 'abandon'; readonly address: Address; readonly heartbeat: Id }
  | { readonly type: 'closeMonitor'; readonly address: Address }
  | { readonly type: 'retire'; readonly socket: Id }
  | { readonly type: 'sever'; readonly socket: Id; readonly address: Address; readonly reason: string }
  | { readonly type: 'settleRefresh'; readonly refresh: Id; readonly outcome: RefreshOutcome }
  | { readonly type: 'save'; readonly endpoints: readonly Endpoint[] }
  | { readonly type: 'report'; readonly report: Report }

export interface Deadline {
  readonly at: number
  readonly why: 'dial' | 'heartbeat' | 'silence' | 'monitor' | 'forget' | 'sample' | 'witness' | 'refresh' | 'age'
}
