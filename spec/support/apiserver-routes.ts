/**
 * What the stand-in apiserver answers to which path: enough of the Kubernetes API for clients to list, watch and write,
 * and a few paths of its own (/slow, /echo, /tick) for specs. Connections are apiserver-front.ts's.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import type { Behaviour } from './apiserver-behaviour.ts'
import { sendRaw } from './apiserver-raw.ts'
import type { Exchange } from './apiserver-exchange.ts'
import type { ClusterState, DiscoveryAnswer, KubeObject, StoreReply, StoreRequest } from './apiserver-protocol.ts'
import { patched } from './apiserver-patch.ts'
import { status } from './apiserver-status.ts'
import type { Watches } from './apiserver-watch.ts'

const RESOURCES: Record<string, { kind: string; namespaced: boolean }> = {
  namespaces: { kind: 'Namespace', namespaced: false },
  nodes: { kind: 'Node', namespaced: false },
  configmaps: { kind: 'ConfigMap', namespaced: true },
  pods: { kind: 'Pod', namespaced: true },
  secrets: { kind: 'Secret', namespaced: true },
}
const OBJECTS =
  new RegExp(`^/api/v1/(?:namespaces/([^/]+)/)?(${Object.keys(RESOURCES).join('|')})(?:/([^/]+))?(/log)?$`)
const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes'
const SLICES = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
const METRICS = /^\/apis\/metrics\.k8s\.io\/v1beta1\/(?:namespaces\/([^/]+)\/)?(nodes|pods)$/
const HEALTH = ['/readyz', '/livez', '/healthz']
/** Where a redirect of the discovery leads. */
const LOGIN = 'https://login.invalid/'
/** kube-apiserver's --request-timeout. ms */
const REQUEST_TIMEOUT = 60_000

/** What the routes may ask of the process that they are in. */
export interface Surroundings {
  readonly name: string
  readonly watches: Watches
  readonly cluster: () => ClusterState
  readonly behaviour: () => Behaviour
  /** Whether it has been told to end, by which what is streamed ends, too. */
  readonly ending: () => boolean
  /** Resolves when the server is neither deaf nor mute. */
  readonly hearing: () => Promise<void>
  readonly reset: (exchange: Exchange) => void
  readonly ask: (request: StoreRequest) => Promise<StoreReply>
}

export class Routes {
  readonly #around: Surroundings

  constructor(around: Surroundings) {
    this.#around = around
  }

  async answer(exchange: Exchange): Promise<void> {
    const { latency, slow } = this.#around.behaviour()
    if (latency + slow > 0) await pause(latency + slow, exchange)
    await this.#around.hearing()
    const { everything, redirect, heartbeat, answer, failing } = this.#around.behaviour()
    const path = exchange.url.pathname
    if (everything !== undefined) return this.#refuse(exchange, everything)
    if (redirect !== undefined) return this.#send(exchange, 302, '', { location: redirect })
    if (path === failing?.path) return this.#refuse(exchange, failing.status)
    if (isDiscovery(path)) {
      if (heartbeat === 'silent') return
      if (heartbeat !== undefined) return this.#refuse(exchange, heartbeat)
      if (answer !== undefined) return sendRaw(exchange.socket, answer, () => this.#around.reset(exchange))
    }
    if (HEALTH.includes(path)) return this.#health(exchange)
    if (!this.#authorized(exchange)) return this.#refuse(exchange, this.#refusalOfStrangers(exchange))
    if (!await this.#readable(exchange)) return
    return this.#route(exchange, path)
  }

  /** Whether it can be answered: without etcd only what is cached; the rest is refused, after a long time. */
  async #readable(exchange: Exchange): Promise<boolean> {
    const { etcd } = this.#around.behaviour()
    if (etcd === undefined || isCached(exchange)) return true
    await pause(etcd === 'hangs' ? REQUEST_TIMEOUT : etcd, exchange)
    this.#refuse(exchange, etcd === 'hangs' ? 504 : 500)
    return false
  }

  /** What became of an answer that threw: nothing where the client is gone, which it may be at any moment. */
  fail(exchange: Exchange, error: unknown): void {
    this.#json(exchange, 500, status(500, 'InternalError', String(error)))
  }

  /** The status with which an upgrade is to be refused, if it is. */
  refusalOf(authorization: string | undefined, certified: boolean): number | undefined {
    const { everything } = this.#around.behaviour()
    return everything ?? (certified || this.#knows(authorization) ? undefined : 401)
  }

  #route(exchange: Exchange, path: string): Promise<void> | void {
    const { cluster } = this.#around
    if (path === ENDPOINTS) return this.#discovery(exchange, 'endpoints', cluster().discovery.endpoints)
    if (path === `${SLICES}/kubernetes`) {
      return this.#discovery(exchange, 'endpointslices', cluster().discovery.endpointslice)
    }
    if (path === SLICES) return this.#slices(exchange)
    switch (path) {
      case '/version': return this.#json(exchange, 200, VERSION)
      case '/api': return this.#json(exchange, 200, { kind: 'APIVersions', versions: ['v1'] })
      case '/api/v1': return this.#json(exchange, 200, CORE)
      case '/apis': return this.#json(exchange, 200, GROUPS)
      case '/slow': return this.#slow(exchange)
      case '/echo': return this.#echo(exchange)
      case '/tick': return this.#tick(exchange)
    }
    const metrics = METRICS.exec(path)
    if (metrics !== null) return this.#json(exchange, 200, metricsOf(metrics[2] === 'nodes'))
    const match = OBJECTS.exec(path)
    if (match === null) return this.#refuse(exchange, 404)
    const [, namespace, resource = '', name, log] = match
    if (log !== undefined) return this.#log(exchange, name ?? '')
    return this.#objects(exchange, resource, namespace, name)
  }

  async #objects(
    exchange: Exchange, resource: string, namespace: string | undefined, name: string | undefined,
  ): Promise<void> {
    const { ask, watches } = this.#around
    const kind = RESOURCES[resource]?.kind ?? ''
    const url = exchange.url
    switch (exchange.method) {
      case 'GET': {
        if (name !== undefined) {
          return this.#reply(exchange, await ask({ op: 'get', resource, namespace: namespace ?? '', name }))
        }
        if (['1', 'true'].includes(url.searchParams.get('watch') ?? '')) {
          return watches.open(exchange, resource, namespace, kind)
        }
        return this.#list(exchange, kind, await ask({ op: 'list', resource, namespace }))
      }
      case 'POST': {
        const object = objectOf(await exchange.body(), kind, namespace)
        if (object === undefined) return this.#refuse(exchange, 400)
        return this.#reply(exchange, await ask({ op: 'create', resource, object }), 201)
      }
      case 'PUT': {
        const object = objectOf(await exchange.body(), kind, namespace)
        if (object === undefined || object.metadata.name !== name) return this.#refuse(exchange, 400)
        return this.#reply(exchange, await ask({ op: 'replace', resource, object }))
      }
      case 'PATCH': return this.#patch(exchange, resource, namespace ?? '', name ?? '')
      case 'DELETE': {
        return this.#reply(exchange, await ask({
          op: 'delete', resource, namespace: namespace ?? '', name: name ?? '',
        }))
      }
    }
    return this.#refuse(exchange, 405)
  }

  async #patch(exchange: Exchange, resource: string, namespace: string, name: string): Promise<void> {
    const body = await exchange.body()
    // Read and written in two steps: when another client came between, the patch is applied anew.
    for (;;) {
      const known = await this.#around.ask({ op: 'get', resource, namespace, name })
      if (known.type !== 'object') return this.#reply(exchange, known)
      const object = patched(known.object, body)
      if (object === undefined) return this.#refuse(exchange, 400)
      const reply = await this.#around.ask({ op: 'replace', resource, object })
      if (reply.type !== 'failed' || reply.reason !== 'Conflict') return this.#reply(exchange, reply)
    }
  }

  #list(exchange: Exchange, kind: string, reply: StoreReply): void {
    if (reply.type !== 'items') return this.#reply(exchange, reply)
    const metadata = { resourceVersion: String(reply.revision) }
    this.#json(exchange, 200, { kind: `${kind}List`, apiVersion: 'v1', metadata, items: reply.items })
  }

  #reply(exchange: Exchange, reply: StoreReply, code = 200): void {
    if (reply.type === 'object') this.#json(exchange, code, reply.object)
    else if (reply.type === 'failed') this.#json(exchange, reply.code, status(reply.code, reply.reason, reply.message))
  }

  #discovery(exchange: Exchange, what: 'endpoints' | 'endpointslices', answer: DiscoveryAnswer): void {
    if (this.#around.cluster().forbidden.includes(what)) return this.#refuse(exchange, 403)
    this.#send(exchange, answer.status, answer.body, { 'content-type': answer.contentType })
  }

  #slices(exchange: Exchange): void {
    const selector = exchange.url.searchParams.get('labelSelector')
    const { discovery } = this.#around.cluster()
    if (selector === null || selector === 'kubernetes.io/service-name=kubernetes') {
      return this.#discovery(exchange, 'endpointslices', discovery.endpointslices)
    }
    const metadata = { resourceVersion: '1' }
    this.#json(exchange, 200, { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', metadata, items: [] })
  }

  #health(exchange: Exchange): void {
    const draining = this.#draining && exchange.url.pathname === '/readyz'
    const [code, text] = draining ? [503, 'shutting down'] as const
      : this.#around.behaviour().etcd === undefined ? [200, 'ok'] as const : [500, 'etcd failed'] as const
    this.#send(exchange, code, text, { 'content-type': 'text/plain' })
  }

  async #slow(exchange: Exchange): Promise<void> {
    await pause(Number(exchange.url.searchParams.get('ms')), exchange)
    this.#json(exchange, 200, { server: this.#around.name })
  }

  async #echo(exchange: Exchange): Promise<void> {
    const { method, url, headers } = exchange
    const body = await exchange.body()
    this.#json(exchange, 200, { server: this.#around.name, method, url: url.pathname + url.search, headers, body })
  }

  /** A feed that never ends by itself: a JSON line every `ms`, or `count` of them. */
  #tick(exchange: Exchange): void {
    const ms = Number(exchange.url.searchParams.get('ms') ?? 100)
    const count = Number(exchange.url.searchParams.get('count') ?? Infinity)
    let sequence = 0
    exchange.head(200, { ...this.#headers(exchange), 'content-type': 'application/json' })
    const timer = setInterval(() => {
      sequence += 1
      exchange.write(JSON.stringify({ server: this.#around.name, sequence }) + '\n')
      if (sequence >= count || this.#around.ending()) exchange.end()
    }, ms)
    exchange.onClose(() => clearInterval(timer))
  }

  #log(exchange: Exchange, pod: string): void {
    const first = `${pod}: line 1 from ${this.#around.name}\n`
    if (exchange.url.searchParams.get('follow') !== 'true') {
      return this.#send(exchange, 200, first, { 'content-type': 'text/plain' })
    }
    let lines = 1
    exchange.head(200, { ...this.#headers(exchange), 'content-type': 'text/plain' })
    exchange.write(first)
    const timer = setInterval(() => {
      lines += 1
      exchange.write(`${pod}: line ${lines} from ${this.#around.name}\n`)
      if (this.#around.ending()) exchange.end()
    }, 100)
    exchange.onClose(() => clearInterval(timer))
  }

  #authorized(exchange: Exchange): boolean {
    return exchange.headers.authorization === undefined
      ? exchange.certified
      : this.#knows(exchange.headers.authorization)
  }

  /** What is said to a request without a credential that is known: 403 where there is none at all, if so told. */
  #refusalOfStrangers(exchange: Exchange): 401 | 403 {
    const { anonymousForbidden } = this.#around.behaviour()
    return anonymousForbidden && exchange.headers.authorization === undefined ? 403 : 401
  }

  #knows(authorization: string | undefined): boolean {
    const [scheme, token] = (authorization ?? '').split(' ')
    return scheme?.toLowerCase() === 'bearer' && token !== undefined && this.#around.cluster().tokens.includes(token)
  }

  #refuse(exchange: Exchange, code: number): void {
    const headers = code === 429 || code === 503 ? { 'retry-after': '1' }
      : code === 302 ? { location: LOGIN } : {}
    this.#json(exchange, code, status(code), headers)
  }

  #json(exchange: Exchange, code: number, body: unknown, headers: OutgoingHttpHeaders = {}): void {
    this.#send(exchange, code, JSON.stringify(body), { 'content-type': 'application/json', ...headers })
  }

  #send(exchange: Exchange, code: number, body: string, headers: OutgoingHttpHeaders): void {
    exchange.answer(code, { ...this.#headers(exchange), ...headers }, body)
  }

  get #draining(): boolean {
    return this.#around.ending() || this.#around.behaviour().draining
  }

  /** On every answer; one from a server that is going away closes its connection, as Go's does. */
  #headers(exchange: Exchange): OutgoingHttpHeaders {
    const going = (this.#draining || this.#around.behaviour().close) && !exchange.http2
    return { 'x-served-by': this.#around.name, ...(going ? { connection: 'close' } : {}) }
  }
}

const isDiscovery = (path: string): boolean => path === ENDPOINTS || path === SLICES || path === `${SLICES}/kubernetes`

/** Whether it is answered without etcd: what is no object, a watch from some point on, a read of the cache. */
function isCached({ method, url }: Exchange): boolean {
  if (!isDiscovery(url.pathname) && !OBJECTS.test(url.pathname)) return true
  const version = url.searchParams.get('resourceVersion') ?? ''
  return method === 'GET' && (version === '0' || (version !== '' && url.searchParams.has('watch')))
}

/** Resolves after `ms`, or never if nobody waits for the answer any more. */
function pause(ms: number, exchange: Exchange): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    exchange.onClose(() => clearTimeout(timer))
  })
}

function objectOf(body: string, kind: string, namespace: string | undefined): KubeObject | undefined {
  try {
    const object: unknown = JSON.parse(body)
    if (!isRecord(object) || !isRecord(object['metadata'])) return undefined
    const { name, generateName } = object['metadata']
    const given = typeof name === 'string' && name !== '' ? name
      : typeof generateName === 'string' ? generateName + Math.random().toString(36).slice(2, 7) : undefined
    if (given === undefined) return undefined
    const metadata = { ...object['metadata'], name: given, ...(namespace === undefined ? {} : { namespace }) }
    return { kind, apiVersion: 'v1', ...object, metadata }
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function metricsOf(nodes: boolean): unknown {
  const apiVersion = 'metrics.k8s.io/v1beta1'
  const seen = { timestamp: '2026-01-01T00:00:00Z', window: '10s' }
  const usage = { cpu: '250m', memory: '128Mi' }
  const item = nodes
    ? { metadata: { name: 'node-1' }, ...seen, usage }
    : { metadata: { name: 'echo', namespace: 'default' }, ...seen, containers: [{ name: 'echo', usage }] }
  return { kind: nodes ? 'NodeMetricsList' : 'PodMetricsList', apiVersion, metadata: {}, items: [item] }
}

const VERSION = { major: '1', minor: '34', gitVersion: 'v1.34.0', platform: 'linux/amd64' }
const VERBS = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch']
const CORE = {
  kind: 'APIResourceList', groupVersion: 'v1',
  resources: Object.entries(RESOURCES).map(([name, { kind, namespaced }]) =>
    ({ name, singularName: kind.toLowerCase(), kind, namespaced, verbs: VERBS })),
}
const GROUPS = {
  kind: 'APIGroupList', apiVersion: 'v1',
  groups: [['discovery.k8s.io', 'v1'], ['metrics.k8s.io', 'v1beta1']].map(([name, version]) => {
    const preferredVersion = { groupVersion: `${name}/${version}`, version }
    return { name, versions: [preferredVersion], preferredVersion }
  }),
}
