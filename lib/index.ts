/** What this package exports, and nothing else. */
export { MultidialerAgent } from './agent/agent.ts'
export type { CheckOptions } from './check.ts'
export type { CertificateCheck, Check, EndpointCheck, Reached, Survival } from './check/facts.ts'
export type { Endpoint } from './core/endpoint.ts'
export type { EndpointSnapshot, Snapshot } from './core/snapshot.ts'
export type { Counters, Origin, Status } from './core/state.ts'
export { AttemptError, MultidialError } from './errors.ts'
export { fileStore } from './adapters/file-store.ts'
export type { FileStore } from './adapters/file-store.ts'
export { inClusterOptions } from './adapters/in-cluster.ts'
export type { InClusterOptions, InClusterSources } from './adapters/in-cluster.ts'
export { Multidialer } from './multidialer.ts'
export type {
  CreateConnection, FailedEvent, FailoverEvent, MultidialerEvents, MultidialerOptions,
} from './multidialer.ts'
export type { DialCallback, DialRequest } from './pool.ts'
export type { EndpointStore } from './discovery/lists.ts'
export type { ConnectSocket } from './connect/attempt.ts'
