/**
 * The law of lib/core: what is decided is decided here, in pure functions of a state, an event and the time. Nothing in
 * this folder does I/O, reads a clock, draws a random number that is not in the state, or imports anything but its
 * neighbours. State is replaced, never changed; a turn that changed nothing returns the very state that it was given.
 * All times are milliseconds of one monotonic clock. The rules, with their reasons, are in RULES.md; the comment of
 * each function that decides begins with the ids of its rules.
 *
 * This file has the nouns of the state, `events.ts` those of what goes in and comes out, `step.ts` the one verb. A
 * peer has three sides, each a union of named phases (the transitions are in peers.ts):
 *
 *   listing    unlisted --in a list--> listed --no longer in it--> removed --in a list again--> listed
 *   standing   unverified --verified--> ready --failed--> failed --verified--> ready
 *   voice      well --given up on--> doubted --no answer--> suspect --no answer again--> silent, or slow where its
 *              handshake was done, or hollow where it answers from its cache alone --another does better--> sick;
 *              well --429, 5xx--> refusing. A good answer makes each of them well; a byte ends suspect and silent.
 */
import type { Address, Endpoint } from './endpoint.ts'
import type { Row, Table } from './table.ts'

export type {
  Deadline, Effect, EndpointsBody, Event, Reading, RefreshOutcome, Rejection, Report,
} from './events.ts'

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

/** A 32-bit unsigned seed of random draws. */
export type Seed = number

/** Attempts and questions get their ids from the core; dials and refreshes bring their caller's. */
export type Id = number

export type Origin = 'seed' | 'alternate' | 'stored' | 'learned'
export type Status = 'unverified' | 'ready' | 'leaving' | 'failed'

/** The resource that was asked for. */
export type Via = 'endpoints' | 'endpointslices'

/**
 * What happened to an attempt or a question, as a fact: this machine ran out of something ('local'), the caller's own
 * option was refused ('mistake'), the certificate will not do ('identity'), the host refused, is unreachable, its name
 * has no address, there was no connection in time ('silence') or one and no answer ('late'), the connection broke (a
 * reset, an alert, garbage), or the answer was another than was asked for ('answer').
 */
export type FailureKind =
  | 'local' | 'mistake' | 'identity' | 'refused' | 'unreachable' | 'name' | 'silence' | 'late' | 'broken' | 'answer'

export interface Failure {
  readonly kind: FailureKind
  readonly message: string
  /** The error itself, for the caller. The core never looks inside. */
  readonly error?: unknown
}

export interface Cause {
  readonly address: Address
  readonly failure: Failure
}

// ---- dials and sockets

/** One connection being made for a dial: TCP, TLS and identity together. */
export interface Attempt {
  readonly id: Id
  readonly address: Address
  readonly endpoint: Endpoint
  readonly startedAt: number
  readonly deadline: number
  /** Connecting; connected and asked for the list (F3); or connected and held back until it is known who is listed. */
  readonly phase: 'connecting' | 'asking' | 'held'
  /** A question went on its connection. */
  readonly asked: boolean
  /** Its other end is at a private address; undefined until connected, or where that is not known. */
  readonly isPrivate: boolean | undefined
}

/** Whether a dial holds its connection back (F3), and until when. */
export type Hold =
  /** It will: no list is known. */
  | { readonly is: 'wanted' }
  /** For the list. */
  | { readonly is: 'list'; readonly until: number }
  /** It is a front's: for a listed one that answers as the front did. */
  | { readonly is: 'listed'; readonly until: number }
  | { readonly is: 'over' }

/** One caller who wants one socket. */
export interface Dial extends Row {
  /** It differs from everyone's by an option of its caller's: what it meets says nothing about the endpoint (H1). */
  readonly own: boolean
  /** Its connection can carry the question for the list first: HTTP/1.1, and as everyone's (F3). */
  readonly plain: boolean
  /** It makes a bare TCP connection, for somebody else's TLS: only to an endpoint that is verified (D4). */
  readonly bare?: true
  readonly startedAt: number
  readonly deadline: number
  /** The deadline was met late once, and put off (H4). */
  readonly graced: boolean
  readonly tried: readonly Address[]
  readonly attempts: readonly Attempt[]
  readonly causes: readonly Cause[]
  /** When the next candidate is started although an attempt is under way (D3). */
  readonly nextAt: number
  readonly hold: Hold
  /** When the last attempt failed that was worth waiting for (D7). */
  readonly failedAt: number
}

/** A socket in its caller's hands. Its id is that of the attempt that made it. */
export interface HandedSocket extends Row {
  readonly address: Address
  readonly madeAt: number
  /** When the last byte came from it, as far as has been seen. */
  readonly heardAt: number
  readonly read: number
  readonly written: number
  /** Since when something written has had no answer; Infinity where nothing is owed. */
  readonly owedSince: number
  /** Nothing at all came since that write. False where a byte came in the same sample: it may be the answer (H2). */
  readonly surelyOwed: boolean
  /** In a pool, waiting for a request, when it was last looked at. */
  readonly idle: boolean
  /** Told to close as soon as it is idle. */
  readonly retired: boolean
}

// ---- peers

export type Listing =
  /** Never listed: a seed, an alternate, a stored hint. */
  | { readonly is: 'unlisted' }
  /** Listed, among the ready addresses or the others. */
  | { readonly is: 'listed'; readonly ready: boolean }
  /** No longer listed, since then. */
  | { readonly is: 'removed'; readonly at: number }

export type Standing =
  | { readonly is: 'unverified' }
  | { readonly is: 'ready' }
  | {
      readonly is: 'failed'
      /** In a row. */
      readonly failures: number
      readonly at: number
      /** Orders, and never excludes. */
      readonly retryAt: number
      readonly error: string
      /** It was verified before, at some time. */
      readonly reached: boolean
      /** The last failure was silence (D7). */
      readonly silent: boolean
      /** The last failure was its certificate's. */
      readonly untrusted: boolean
    }

/**
 * `shownAt` is when another first answered after all had been missing (H3): Infinity where none has yet, and -Infinity
 * where it is shown that the fault is this one's own.
 */
export type Voice =
  | { readonly is: 'well' }
  /** A caller gave up on it, or it closed without a word (H11). */
  | { readonly is: 'doubted' }
  /** It left a question unanswered since then; doubted, too: a caller gave up on it before. */
  | { readonly is: 'suspect'; readonly since: number; readonly doubted?: true }
  /** It left two unanswered, and nothing of it was reached (H3). */
  | { readonly is: 'silent'; readonly since: number; readonly shownAt: number }
  /** It left two unanswered although a handshake was done (H9). */
  | { readonly is: 'slow'; readonly since: number; readonly shownAt: number; readonly error: string }
  /** It answered 429 or 5xx (H7). */
  | { readonly is: 'refusing'; readonly status: number }
  /** It answers what its cache holds, and nothing that goes through to etcd (H12). */
  | { readonly is: 'hollow'; readonly since: number; readonly strikes: number; readonly full: boolean }
  /** The same, while another answers both: it has a fault of its own. */
  | { readonly is: 'sick'; readonly since: number; readonly strikes: number; readonly full: boolean }

/** How far a question goes: to the apiserver's cache, or through to etcd (H12). */
export type Depth = 'shallow' | 'deep'

/** One question on its way (H2). */
export interface Question {
  readonly id: Id
  /** How many before it went unanswered: 0, 1 (this one is on a fresh connection), or 2 (H12's shallow one). */
  readonly misses: 0 | 1 | 2
  /** When the first of those before it went unanswered; undefined where none did. */
  readonly missedAt: number | undefined
  readonly depth: Depth
  /**
   * Kept: on the connection that is kept, if there is one; fresh: on a new one; full: beside it, with a full handshake.
   */
  readonly on: 'kept' | 'fresh' | 'full'
  readonly via: Via
  /** The token has been read again for this one (R2). */
  readonly reauthorized: boolean
  /** What the other of the two resources answered just before; undefined where it has not been asked (R2). */
  readonly otherStatus: number | undefined
  /** What went wrong just before with a deep one, where this one tells whether the cache answers (H12). */
  readonly after: 'answer' | 'silence' | 'full' | undefined
  /** Those before it met nothing but silence. */
  readonly silent: boolean
  readonly sentAt: number
  /** When its connection was there; undefined while it is being made. */
  readonly connectedAt: number | undefined
  readonly deadline: number
  /** The attempt on whose connection it went (F3). */
  readonly attempt: Id | undefined
  /** It has waited for so long that its endpoint hesitates: its answer ends no doubt (H11). */
  readonly hesitated: boolean
}

/** A question on the kept connection that went unanswered, and is still listened to (F4). */
export interface Deaf {
  /** Undefined where none could be asked: its connection could not even be made. */
  readonly question: Id | undefined
  readonly since: number
  /** When it has been long enough; Infinity while no fresh connection has been answered. */
  readonly until: number
  /** When it has been for sockets that owe nothing, where the whole endpoint had been silent. */
  readonly restUntil?: number
  /** Another connection has taken the place of the one that it was asked on, whatever has become of that other. */
  readonly replaced?: boolean
}

/** Everything known of one apiserver. */
export interface Peer {
  readonly address: Address
  readonly endpoint: Endpoint
  readonly origin: Origin
  /** Its place within a rank, drawn once (D2). */
  readonly lot: number
  readonly listing: Listing
  readonly standing: Standing
  readonly voice: Voice
  /** Never reached, and its last attempt was given up after `attemptDelay` of silence (D7). */
  readonly mute: boolean
  /** How many sockets callers hold. */
  readonly sockets: number
  /** Since when they hold any, short pauses apart (H7), and when they last held one: of no meaning while they do. */
  readonly usedSince: number
  readonly usedUntil: number
  /** One of them at least is no idle one of a pool. */
  readonly active: boolean
  /** They have all been told to close when idle (H5). */
  readonly retired: boolean
  /** When the last byte came from it, as far as has been seen. */
  readonly heardAt: number
  /** When it was last asked at all, last asked deep without a full handshake, and last with one. */
  readonly askedAt: number
  readonly askedDeepAt: number
  readonly askedFullAt: number
  /** When it was last asked deep for what is owed. */
  readonly askedOwedAt: number
  /** When a caller's 429 or 5xx last had it asked (H7). */
  readonly hintedAt: number
  /** The jittered silence after which it is asked. */
  readonly patience: number
  /** The oldest unanswered request on any of its sockets; Infinity for none. */
  readonly owedSince: number
  /** The same, of those that surely have no answer yet. */
  readonly surelyOwedSince: number
  readonly question: Question | undefined
  readonly deaf: Deaf | undefined
  /** When it last answered a question, and a deep one well. */
  readonly answeredAt: number
  readonly answeredDeepAt: number
  /** The status of its last answer; undefined before the first (F1). */
  readonly answer: number | undefined
  /** Its monitor connection: since when there is one, and when it was last used. */
  readonly kept: { readonly since: number; readonly usedAt: number } | undefined
  /** How long it took to make the last connection to it; undefined before the first. */
  readonly connectMs: number | undefined
  /**
   * The least that a connection, or an answer on one, ever took; Infinity before the first. Those of a burst, or of a
   * slow hour, take far longer.
   */
  readonly quickestMs: number
}

// ---- the rest of the state

/** A search: endpoints that are asked, one after another, until one answers as is wanted (H3). */
export interface Search {
  readonly depth: Depth
  readonly asked: readonly Address[]
  readonly nextAt: number
  /** How often in a row all were asked while nobody answered anything: each time it rests for longer. */
  readonly vain: number
}

/** One refresh under way. */
export interface Round {
  readonly tried: readonly Address[]
  /** Who is being asked now; undefined between two. */
  readonly at: Address | undefined
  readonly causes: readonly Cause[]
  /** What it asks of each. */
  readonly depth: Depth
  /** The last answer that was no list, and whose it was (R5). */
  readonly answer: { readonly address: Address; readonly status: number } | undefined
}

export interface Discovery {
  readonly status: 'pending' | 'ok' | 'forbidden' | 'failing' | 'off'
  readonly via: Via
  /** When the last list was accepted. */
  readonly listedAt: number | undefined
  readonly isPrivate: boolean
  readonly lastError: string | undefined
  readonly nextAt: number
  readonly startedAt: number
  readonly round: Round | undefined
  /** Callers of refresh() who wait for the round. */
  readonly waiting: readonly Id[]
  /** Rounds in a row that ended without a list, and when the first of them did. */
  readonly failures: number
  readonly failingSince: number
  /** Of the last one: what it failed for. */
  readonly failedBy: FailureKind | undefined
}

/** What has been done so far, for a metrics exporter. Nothing of it ever goes down. */
export interface Counters {
  readonly dials: number
  /** Those that ended without a connection, other than by their caller or by `close()`. */
  readonly dialsFailed: number
  /** How many gave a connection, and how many milliseconds these took in all. */
  readonly dialTimes: { readonly count: number; readonly sumMs: number }
  readonly attempts: number
  /** Those that made no connection, or lost it before it was handed over, by what happened to them. */
  readonly attemptsFailed: Readonly<Record<FailureKind, number>>
  readonly failovers: number
  readonly severed: number
  readonly heartbeats: number
  /** Tries that got no HTTP answer at all. */
  readonly heartbeatsFailed: number
  readonly refreshes: number
  /** Those that came to no list. */
  readonly refreshesFailed: number
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
  /** When a dial last went on to another endpoint before `attemptDelay` (D8). */
  readonly racedAt: number
  /** When an endpoint last hesitated (H11). */
  readonly hesitatedAt: number
  readonly sockets: Table<HandedSocket>
  /** When the bytes of sockets are to be looked at next; Infinity while every socket is idle. */
  readonly sampleAt: number
  /** When somebody last dialled, asked for the list, or used a socket. */
  readonly usedAt: number
  /** When it was last found that this machine had been away: nothing was heard before that could have been (H4). */
  readonly backAt: number
  /** Unused for so long that nothing is kept and nothing asked (H10). */
  readonly dormant: boolean
  /** For one that answers while another does not (H3). */
  readonly witness: Search | undefined
  /** The questions to the listed ones of which none is known to be within reach (F2). */
  readonly probe: { readonly nextAt: number } | undefined
  /** The questions to those that are out of service (H8). */
  readonly recovery: { readonly nextAt: number; readonly pause: number } | undefined
  readonly discovery: Discovery
  /** What was last warned of, by kind: each once until it changes. */
  readonly warned: ReadonlyMap<string, string>
  readonly counters: Counters
}
