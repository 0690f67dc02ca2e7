/** What bench/failover and its clients say to each other. Nothing here runs. */
import type { Target } from '../support/client-node.ts'

export const WATCHED = '/api/v1/namespaces/default/configmaps'
/** What an apiserver answers by itself, and what it must ask its etcd for. */
export const VERSION = '/version'
export const OBJECT: string = `${WATCHED}/feed`

export type Kind = 'mine' | 'stock' | 'client-node 2' | 'client-node 2 with' | 'haproxy'

export interface Begin {
  readonly what: 'begin'
  readonly kind: Kind
  readonly lane: number
  readonly target: Target
  readonly dist: string
  /** ms between two requests. */
  readonly pace: number
  /** Each request on a connection of its own. */
  readonly unkept: boolean
  /** What is asked for. */
  readonly requestPath: string
  /**
   * Behind a balancer: the name, in `x-served-by`, of the server that is to fail. Connections are made until one is to
   * that server.
   */
  readonly wanted: string | undefined
}

export type FailoverQuestion = Begin | { readonly what: 'mark' | 'seen' | 'end'; readonly lane: number }

/** Times in ms. Infinity: it was not over when this was asked. */
export interface Seen {
  /** The longest time between two answers. */
  readonly gap: number
  /** The longest that a request took to be answered or to fail. */
  readonly slowest: number
  /** The longest time between two events of the watch. */
  readonly watchGap: number
  readonly failed: number
  readonly answered: number
}
