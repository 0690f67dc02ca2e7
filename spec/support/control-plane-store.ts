/**
 * The objects of the embedded control plane: one store for all of its servers, as etcd is for real ones, so that a
 * watch resumed on another server goes on from its resourceVersion. It lives in the spec's process, and servers ask for
 * everything over IPC; no I/O here.
 */
import type { KubeObject, StoreEvent, StoreReply, StoreRequest } from './apiserver-protocol.ts'

/** Changes kept for watches; older ones are compacted away, as etcd does after five minutes. */
const HISTORY = 100_000

const keyOf = (resource: string, namespace: string, name: string): string => `${resource}/${namespace}/${name}`

const failed = (code: number, reason: string, message: string): StoreReply =>
  ({ type: 'failed', code, reason, message })

export class Store {
  readonly #objects = new Map<string, { resource: string; object: KubeObject }>()
  readonly #onEvent: (event: StoreEvent) => void
  #events: StoreEvent[] = []
  #revision = 1
  #compacted = 0
  #uid = 0

  constructor(onEvent: (event: StoreEvent) => void) {
    this.#onEvent = onEvent
  }

  get revision(): number {
    return this.#revision
  }

  /** Forgets every change up to now: a watch from before it gets 410. */
  compact(): void {
    this.#compacted = this.#revision
    this.#events = []
  }

  answer(request: StoreRequest): StoreReply {
    switch (request.op) {
      case 'list': return this.#list(request.resource, request.namespace)
      case 'get': return this.#get(request.resource, request.namespace, request.name)
      case 'create': return this.#create(request.resource, request.object)
      case 'replace': return this.#replace(request.resource, request.object)
      case 'delete': return this.#delete(request.resource, request.namespace, request.name)
      case 'since': return this.#since(request.resource, request.namespace, request.revision)
    }
  }

  #list(resource: string, namespace: string | undefined): StoreReply {
    const items = [...this.#objects.values()]
      .filter((entry) => entry.resource === resource && within(entry.object, namespace))
      .map((entry) => entry.object)
    return { type: 'items', items, revision: this.#revision }
  }

  #get(resource: string, namespace: string, name: string): StoreReply {
    const entry = this.#objects.get(keyOf(resource, namespace, name))
    return entry === undefined ? notFound(resource, name) : { type: 'object', object: entry.object }
  }

  #create(resource: string, object: KubeObject): StoreReply {
    const { name, namespace = '' } = object.metadata
    if (this.#objects.has(keyOf(resource, namespace, name))) {
      return failed(409, 'AlreadyExists', `${resource} "${name}" already exists`)
    }
    this.#uid += 1
    const uid = `00000000-0000-4000-8000-${String(this.#uid).padStart(12, '0')}`
    const creationTimestamp = new Date().toISOString().replace(/\.\d+/, '')
    return this.#write('ADDED', resource, { ...object, metadata: { ...object.metadata, uid, creationTimestamp } })
  }

  #replace(resource: string, object: KubeObject): StoreReply {
    const { name, namespace = '', resourceVersion } = object.metadata
    const known = this.#objects.get(keyOf(resource, namespace, name))?.object
    if (known === undefined) return notFound(resource, name)
    if (resourceVersion !== undefined && resourceVersion !== known.metadata.resourceVersion) {
      return failed(409, 'Conflict', `${resource} "${name}" has been modified`)
    }
    const { uid, creationTimestamp } = known.metadata
    return this.#write('MODIFIED', resource, { ...object, metadata: { ...object.metadata, uid, creationTimestamp } })
  }

  #delete(resource: string, namespace: string, name: string): StoreReply {
    const known = this.#objects.get(keyOf(resource, namespace, name))?.object
    return known === undefined ? notFound(resource, name) : this.#write('DELETED', resource, known)
  }

  #write(type: StoreEvent['type'], resource: string, given: KubeObject): StoreReply {
    this.#revision += 1
    const object = { ...given, metadata: { ...given.metadata, resourceVersion: String(this.#revision) } }
    const key = keyOf(resource, object.metadata.namespace ?? '', object.metadata.name)
    if (type === 'DELETED') this.#objects.delete(key)
    else this.#objects.set(key, { resource, object })
    const event: StoreEvent = { revision: this.#revision, type, resource, object }
    this.#events.push(event)
    if (this.#events.length > HISTORY) this.#compacted = this.#events.shift()?.revision ?? this.#compacted
    this.#onEvent(event)
    return { type: 'object', object }
  }

  #since(resource: string, namespace: string | undefined, revision: number): StoreReply {
    if (revision < this.#compacted) {
      return failed(410, 'Expired', `too old resource version: ${revision} (${this.#compacted})`)
    }
    const events = this.#events.filter((event) => event.revision > revision
      && event.resource === resource && within(event.object, namespace))
    return { type: 'events', events, revision: this.#revision }
  }
}

function within(object: KubeObject, namespace: string | undefined): boolean {
  return namespace === undefined || object.metadata.namespace === namespace
}

function notFound(resource: string, name: string): StoreReply {
  return failed(404, 'NotFound', `${resource} "${name}" not found`)
}
