/**
 * The watches that one stand-in apiserver has open. What they are told comes from the store that all servers share, in
 * its order; here each watch gets every change after its resourceVersion once, and none twice.
 */
import type { Exchange } from './apiserver-exchange.ts'
import type { KubeObject, StoreEvent, StoreReply, StoreRequest } from './apiserver-protocol.ts'
import { status } from './apiserver-status.ts'

type Ask = (request: StoreRequest) => Promise<StoreReply>

interface Watch {
  readonly exchange: Exchange
  readonly resource: string
  readonly namespace: string | undefined
  /** Events that come while the past is still being fetched wait here; undefined from then on. */
  waiting: StoreEvent[] | undefined
  last: number
}

const line = (type: string, object: unknown): string => JSON.stringify({ type, object }) + '\n'

export class Watches {
  readonly #name: string
  readonly #ask: Ask
  readonly #open = new Set<Watch>()
  /** What happened since the store was lost, for when it is back; undefined while it is there. */
  #withheld: StoreEvent[] | undefined

  constructor(name: string, ask: Ask) {
    this.#name = name
    this.#ask = ask
  }

  get size(): number {
    return this.#open.size
  }

  /** Answers a watch request; `kind` is put into the objects' place where there is none (errors, bookmarks). */
  async open(exchange: Exchange, resource: string, namespace: string | undefined, kind: string): Promise<void> {
    const query = exchange.url.searchParams
    const watch: Watch = { exchange, resource, namespace, waiting: [], last: 0 }
    this.#open.add(watch)
    exchange.onClose(() => this.#open.delete(watch))
    exchange.head(200, { 'content-type': 'application/json', 'x-served-by': this.#name })
    const since = query.get('resourceVersion') ?? ''
    const past = await this.#past(watch, since === '0' ? '' : since)
    if (!this.#open.has(watch)) return
    if (typeof past === 'string') {
      exchange.end(past)
      return
    }
    for (const { type, object } of past) exchange.write(line(type, object))
    const waiting = watch.waiting ?? []
    watch.waiting = undefined
    for (const event of waiting) this.#tell(watch, event)
    this.#endAfter(watch, Number(query.get('timeoutSeconds')), query.get('allowWatchBookmarks') === 'true', kind)
  }

  /** Whether the store is lost: watches stay open and are told nothing; then all that they have missed. */
  lose(lost: boolean): void {
    const withheld = this.#withheld ?? []
    this.#withheld = lost ? withheld : undefined
    if (!lost) for (const event of withheld) this.publish(event)
  }

  publish(event: StoreEvent): void {
    if (this.#withheld !== undefined) {
      this.#withheld.push(event)
      return
    }
    for (const watch of this.#open) {
      if (watch.resource !== event.resource) continue
      if (watch.namespace !== undefined && watch.namespace !== event.object.metadata.namespace) continue
      if (watch.waiting === undefined) this.#tell(watch, event)
      else watch.waiting.push(event)
    }
  }

  /** Ends them all in good order, as a server does that shuts down. */
  end(): void {
    for (const watch of this.#open) watch.exchange.end()
    this.#open.clear()
  }

  #tell(watch: Watch, event: StoreEvent): void {
    if (event.revision <= watch.last) return
    watch.last = event.revision
    watch.exchange.write(line(event.type, event.object))
  }

  /** What the watch is told first: the changes since, or all that is there; or the line of an error that ends it. */
  async #past(watch: Watch, since: string): Promise<readonly { type: string; object: KubeObject }[] | string> {
    const { resource, namespace } = watch
    const reply = await this.#ask(since === ''
      ? { op: 'list', resource, namespace }
      : { op: 'since', resource, namespace, revision: Number(since) })
    switch (reply.type) {
      case 'failed': return line('ERROR', status(reply.code, reply.reason, reply.message))
      case 'object': return []
      case 'items':
        watch.last = reply.revision
        return reply.items.map((object) => ({ type: 'ADDED', object }))
      case 'events':
        watch.last = Math.max(reply.revision, Number(since))
        return reply.events
    }
  }

  #endAfter(watch: Watch, seconds: number, bookmark: boolean, kind: string): void {
    if (!(seconds > 0)) return
    const timer = setTimeout(() => {
      const metadata = { resourceVersion: String(watch.last), creationTimestamp: null }
      watch.exchange.end(bookmark ? line('BOOKMARK', { kind, apiVersion: 'v1', metadata }) : '')
    }, seconds * 1000)
    watch.exchange.onClose(() => clearTimeout(timer))
  }
}
