/**
 * What a spec's process and the stand-in apiservers say to each other over IPC: types alone, so that both ends are
 * checked against one text. Nothing here runs.
 */

/** A Kubernetes object as far as the stand-in looks into one. */
export interface KubeObject {
  apiVersion?: string
  kind?: string
  metadata: { name: string; namespace?: string; resourceVersion?: string; [key: string]: unknown }
  [key: string]: unknown
}

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED'

/** One change of the store; revisions rise by one and are the resourceVersions that clients see. */
export interface StoreEvent {
  readonly revision: number
  readonly type: EventType
  readonly resource: string
  readonly object: KubeObject
}

/**
 * How a server errs. The connection kinds apply to connections accepted from now on, the others to requests that arrive
 * from now on, `deaf` to everything at once.
 */
export type Misbehaviour =
  | 'hang-handshake'      // accepts TCP, never says a word of TLS
  | 'reset-handshake'     // RST as soon as the ClientHello is there
  | 'fin-handshake'       // FIN as soon as the ClientHello is there
  | 'alert'               // a fatal TLS alert (handshake_failure)
  | 'old-tls'             // speaks nothing newer than TLS 1.1
  | 'plain-http'          // answers the ClientHello with HTTP/1.1 400, in the clear
  | 'reset-half'          // every second connection: RST at the ClientHello
  | 'reset-half-requests' // every second connection: RST at its first request
  | 'close-after-handshake'  // every connection, also those that are open: FIN as soon as TLS is done
  | 'reset-after-handshake'  // the same with RST
  | 'refuse-clients'      // closes what is open and wants another client certificate, or any: TLS 1.3 says so
                          // when the handshake is over
  | 'deaf'                // keeps its connections, reads and writes nothing, still accepts TCP
  | 'mute'                // a deadlock: as deaf, but handshakes are done
  | 'draining'            // a graceful end that takes its time: refuses, closes what is idle, goes on with what is not
  | 'anonymous-forbidden' // 403 instead of 401 to who shows no credential
  | { readonly latency: number }                  // ms before each handshake and each answer
  | { readonly slow: number }                     // ms before each answer; handshakes are quick
  | { readonly etcd: 'hangs' | number }           // lost: what is not cached hangs, or is 500 after so many ms;
                                                  // watches are told nothing until it is back
  | { readonly heartbeat: number | 'silent' }     // a status, or no answer, to the discovery paths alone
  | {
      readonly answer: string
      readonly then?: 'close' | 'keep' | 'reset'
      readonly split?: number
      readonly pace?: number
    }                                             // base64 bytes for the discovery paths,
                                                  // in pieces of `split` bytes every `pace` ms
  | { readonly certificate: string }              // a fixture's name, or 'kubeadm' or 'own-ip' for the one of its host
  | { readonly redirect: string }                 // 302 to there, whatever is asked
  | { readonly everything: number; readonly close?: boolean }   // this status, whatever is asked;
                                                  // and the connection is closed with it
  | { readonly failing: string; readonly status: number }       // this status for that path alone
  | { readonly sni: Readonly<Record<string, string>> }          // by the SNI name, the fixture that is shown to it

export type DiscoveryPath = 'endpoints' | 'endpointslices'

/** One answer to a discovery path. */
export interface DiscoveryAnswer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

export interface DiscoveryAnswers {
  readonly endpoints: DiscoveryAnswer
  readonly endpointslice: DiscoveryAnswer      // GET of the one slice
  readonly endpointslices: DiscoveryAnswer     // the list of them
}

/** What every server is to know about the cluster; pushed whole whenever it changes. */
export interface ClusterState {
  readonly tokens: readonly string[]
  readonly forbidden: readonly DiscoveryPath[]
  readonly discovery: DiscoveryAnswers
}

export interface ServerConfig {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly certificate: string
  /** Fixtures that are sent behind it: they make a handshake as long as those of most clusters. */
  readonly chain: readonly string[]
  readonly http2: boolean
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3'
  readonly maxVersion: 'TLSv1.2' | 'TLSv1.3'
  readonly ticketKeys: string     // base64 of 48 bytes
  readonly cluster: ClusterState
}

/** Counted since the process started, or since `resetStats()`. */
export interface ServerStats {
  /** TLS handshakes completed. */
  connections: number
  /** Connections with TLS done that are open now. */
  open: number
  /** TCP connections accepted. */
  rawConnections: number
  /** TCP connections open now. */
  rawOpen: number
  handshakesFailed: number
  sessionsReused: number
  requests: number
  /** By path, without the query. */
  byPath: Record<string, number>
  /** Every authorization header seen, in order of first sight. */
  tokens: string[]
  /** Every SNI name seen, in order of first sight. */
  servernames: string[]
  /** The common name of every client certificate seen, in order of first sight. */
  clients: string[]
  /** Watches open now. */
  watches: number
}

export type StoreRequest =
  | { readonly op: 'list'; readonly resource: string; readonly namespace: string | undefined }
  | { readonly op: 'get'; readonly resource: string; readonly namespace: string; readonly name: string }
  | { readonly op: 'create'; readonly resource: string; readonly object: KubeObject }
  | { readonly op: 'replace'; readonly resource: string; readonly object: KubeObject }
  | { readonly op: 'delete'; readonly resource: string; readonly namespace: string; readonly name: string }
  | {
      readonly op: 'since'
      readonly resource: string
      readonly namespace: string | undefined
      readonly revision: number
    }

export type StoreReply =
  | { readonly type: 'items'; readonly items: readonly KubeObject[]; readonly revision: number }
  | { readonly type: 'object'; readonly object: KubeObject }
  | { readonly type: 'events'; readonly events: readonly StoreEvent[]; readonly revision: number }
  | { readonly type: 'failed'; readonly code: number; readonly reason: string; readonly message: string }

export type Command =
  | { readonly command: 'misbehave'; readonly misbehaviours: readonly Misbehaviour[] }
  | { readonly command: 'cluster'; readonly cluster: ClusterState }
  | { readonly command: 'stats' }
  | { readonly command: 'resetStats' }

/** To a server. */
export type ToServer =
  | { readonly type: 'start'; readonly config: ServerConfig }
  | { readonly type: 'command'; readonly id: number; readonly command: Command }
  | { readonly type: 'stored'; readonly id: number; readonly reply: StoreReply }
  | { readonly type: 'event'; readonly event: StoreEvent }

/** From a server. */
export type FromServer =
  | { readonly type: 'loaded' }
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'notListening'; readonly code: string; readonly message: string }
  | { readonly type: 'done'; readonly id: number; readonly stats?: ServerStats }
  | { readonly type: 'refused'; readonly id: number; readonly message: string }
  | { readonly type: 'store'; readonly id: number; readonly request: StoreRequest }
