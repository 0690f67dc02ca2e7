/** What a dialer knows, as plain JSON that is safe to log: no credential ever enters the state. */
import { failuresOf, isListed, lastErrorOf, statusOf } from './peers.ts'
import type { Counters, Discovery, Origin, Peer, State, Status } from './state.ts'

/** One endpoint as the dialer sees it. */
export interface EndpointSnapshot {
  /** 'host:port', IPv6 bracketed. */
  readonly address: string
  /** Who named it first. */
  readonly origin: Origin
  readonly status: Status
  /** Whether the last list holds it. */
  readonly listed: boolean
  /** Sockets handed out and still open. */
  readonly sockets: number
  /** Failures in a row. */
  readonly failures: number
  readonly lastError?: string
  /** For a failed one: ms until its retry time, which orders and never excludes. */
  readonly retryInMs?: number
}

export interface Snapshot {
  /** 'host:port' of the last endpoint that worked. */
  readonly current?: string
  readonly endpoints: readonly EndpointSnapshot[]
  readonly discovery: {
    readonly status: Discovery['status']
    /** Which resource the list came from. */
    readonly via?: Discovery['via']
    /** ms since the list was last confirmed. */
    readonly ageMs?: number
    readonly lastError?: string
  }
  /** Since construction, never reset. */
  readonly counters: Counters
}

export function snapshotOf(state: State, now: number): Snapshot {
  const { discovery } = state
  const { via, listedAt } = discovery
  const listed = listedAt === undefined ? {} : { via, ageMs: Math.round(now - listedAt) }
  const endpoints = [...state.peers.values()].map((peer) => endpointOf(peer, now))

  return {
    ...(state.current === undefined ? {} : { current: state.current }),
    endpoints,
    discovery: {
      status: discovery.status,
      ...listed,
      ...(discovery.lastError === undefined ? {} : { lastError: discovery.lastError }),
    },
    counters: countersOf(state),
  }
}

function countersOf({ counters }: State): Counters {
  const { count, sumMs } = counters.dialTimes
  return { ...counters, dialTimes: { count, sumMs: Math.round(sumMs) } }
}

function endpointOf(peer: Peer, now: number): EndpointSnapshot {
  const { standing } = peer
  const lastError = lastErrorOf(peer)
  return {
    address: peer.address,
    origin: peer.origin,
    status: statusOf(peer),
    listed: isListed(peer),
    sockets: peer.sockets,
    failures: failuresOf(peer),
    ...(lastError === undefined ? {} : { lastError }),
    ...(standing.is === 'failed' ? { retryInMs: Math.max(0, Math.round(standing.retryAt - now)) } : {}),
  }
}
