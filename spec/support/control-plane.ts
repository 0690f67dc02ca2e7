/**
 * The embedded control plane: stand-in apiservers for specs, benches and the demo, each a process of its own with real
 * TLS, over one store. This file knows which servers there are and what they are told; a server's process is
 * apiserver-process.ts's, what it answers apiserver-*.ts's.
 *
 *     const plane = await ControlPlane.start({ servers: 3 })
 *     await plane.servers[0]?.kill()
 *     await plane.stop()
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, renameSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ApiServer, PortTaken, type ServerOptions } from './apiserver-process.ts'
import type { ClusterState, DiscoveryPath } from './apiserver-protocol.ts'
import { inTurn } from './child-program.ts'
import { discoveryOf, type DiscoveryOverride } from './control-plane-discovery.ts'
import { Store } from './control-plane-store.ts'

export type { ApiServer, ServerOptions } from './apiserver-process.ts'
export type { Misbehaviour, ServerStats } from './apiserver-protocol.ts'
export type { DiscoveryOverride } from './control-plane-discovery.ts'

export interface ControlPlaneOptions extends Omit<ServerOptions, 'name' | 'host' | 'listed'> {
  /** How many; 3 by default. An array says something of each. */
  readonly servers?: number | readonly ServerOptions[]
  /** All at 127.0.0.1 with ports of their own, also where the system has more loopback addresses. */
  readonly onePerPort?: boolean
  /** Servers that share ticket keys resume each other's TLS sessions; false by default. */
  readonly sharedTickets?: boolean
}

/** Below the range that the system takes ports from for outgoing connections, so that a restart finds its port free. */
const PORTS = { from: 20_000, to: 32_000 }
const HOSTS = 9     // 127.0.0.1 to 127.0.0.9 have certificates
const ATTEMPTS = 8

export class ControlPlane {
  readonly servers: ApiServer[] = []
  /** The authority that all good certificates come from: PEM, and the file it is in. */
  readonly ca: string
  readonly caFile: string
  readonly #options: ControlPlaneOptions
  readonly #folder: string
  readonly #store: Store
  readonly #listed = new Set<ApiServer>()
  readonly #hadHosts = new Set<string>()
  readonly #sharedTicket = randomBytes(48).toString('base64')
  readonly #port: number
  readonly #ownHosts: boolean
  #token: string
  #forbidden: readonly DiscoveryPath[] = []
  #override: DiscoveryOverride | undefined
  #listRevision = 1
  #lastName = 0
  #stopped: Promise<void> | undefined

  /** Starts the servers, at once and all together; rejects if one of them does not start, having ended the others. */
  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    for (let attempt = 1; ; attempt += 1) {
      const ownHosts = options.onePerPort !== true && await canListen('127.0.0.2', 0)
      const plane = new ControlPlane(options, ownHosts, options.port ?? await freePort(ownHosts))
      try {
        await plane.#startAll()
        return plane
      } catch (error) {
        await plane.stop()
        if (!(error instanceof PortTaken) || attempt === ATTEMPTS) throw error
      }
    }
  }

  private constructor(options: ControlPlaneOptions, ownHosts: boolean, port: number) {
    this.#options = options
    this.#ownHosts = ownHosts
    this.#port = port
    this.#folder = mkdtempSync(join(tmpdir(), 'control-plane-'))
    this.#token = newToken()
    this.caFile = certificateFile('ca.crt')
    this.ca = readFileSync(this.caFile, 'utf8')
    this.#store = new Store((event) => { for (const server of this.servers) server.tellEvent(event) })
    this.#furnish()
    this.#writeToken()
  }

  /** The bearer token that every server takes. */
  get token(): string { return this.#token }
  /** A file that holds it; rewritten by `rotateToken`. */
  get tokenFile(): string { return join(this.#folder, 'token') }

  /** A server more; listed unless told otherwise. */
  async addServer(options: ServerOptions = {}): Promise<ApiServer> {
    const server = this.#make(options, await this.#portOf(options))
    await server.start()
    await (options.listed === false ? this.unlist(server) : this.list(server))
    return server
  }

  /** Takes it off the list, then ends it: gracefully, or by SIGKILL. */
  async removeServer(server: ApiServer, { graceful = true }: { graceful?: boolean } = {}): Promise<void> {
    await this.unlist(server)
    await (graceful && server.state === 'running' ? server.terminate() : server.kill())
    const index = this.servers.indexOf(server)
    if (index >= 0) this.servers.splice(index, 1)
  }

  /** Takes a server off the list of endpoints, whatever state it is in. */
  async unlist(server: ApiServer): Promise<void> {
    if (this.#listed.delete(server)) await this.#push()
  }

  async list(server: ApiServer): Promise<void> {
    if (this.#listed.has(server)) return
    this.#listed.add(server)
    await this.#push()
  }

  /** What every server answers to discovery instead of the truth; undefined: the truth again. */
  async setEndpoints(override: DiscoveryOverride | undefined): Promise<void> {
    this.#override = override
    await this.#push()
  }

  /** RBAC: 403 for these from now on; without arguments nothing is forbidden. */
  async forbid(...paths: DiscoveryPath[]): Promise<void> {
    this.#forbidden = paths
    await this.#push()
  }

  /** Another token, in the file too; the old one gets 401 from now on. */
  async rotateToken(): Promise<string> {
    this.#token = newToken()
    await this.#push()
    this.#writeToken()
    return this.#token
  }

  /** Changes up to now are forgotten: a watch that resumes from before gets 410 Gone. */
  compact(): void {
    this.#store.compact()
  }

  /** Ends every server, stopped ones too, and leaves nothing behind. May be called any number of times. */
  stop(): Promise<void> {
    this.#stopped ??= Promise.all(this.servers.map((server) => server.kill()))
      .then(() => rmSync(this.#folder, { recursive: true, force: true }))
    return this.#stopped
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #startAll(): Promise<void> {
    const { servers = 3 } = this.#options
    const wanted = typeof servers === 'number' ? Array.from({ length: servers }, (): ServerOptions => ({})) : servers
    const ports = await Promise.all(wanted.map((options) => this.#portOf(options)))
    const made = wanted.map((options, index) => {
      const server = this.#make(options, ports[index] ?? 0)
      if (options.listed !== false) this.#listed.add(server)
      return server
    })
    const results = await Promise.allSettled(made.map((server) => inTurn(() => server.start())))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  #portOf(options: ServerOptions): Promise<number> {
    if (options.port !== undefined) return Promise.resolve(options.port)
    return this.#ownHosts ? Promise.resolve(this.#port) : freePort(false)
  }

  #make(options: ServerOptions, port: number): ApiServer {
    const {
      certificate = 'kubeadm', chain = [], http2 = false, minVersion = 'TLSv1.2', maxVersion = 'TLSv1.3',
    } = this.#options
    const own = this.#options.sharedTickets === true ? this.#sharedTicket : randomBytes(48).toString('base64')
    this.#lastName += 1
    const host = options.host ?? this.#nextHost()
    this.#hadHosts.add(host)
    const { listed: _listed, name = `apiserver-${this.#lastName}`, ...rest } = options
    const config = {
      certificate, chain, http2, minVersion, maxVersion, ticketKeys: this.#options.ticketKeys ?? own, ...rest,
      name, host, port,
    }
    const server = new ApiServer(config, {
      answer: (request) => this.#store.answer(request),
      clusterState: () => this.#clusterState(),
      unlist: (server) => this.unlist(server),
      list: (server) => this.list(server),
    })
    this.servers.push(server)
    return server
  }

  /** One that no server has had, so that renumbering gives addresses that are new; else one that none has now. */
  #nextHost(): string {
    if (!this.#ownHosts) return '127.0.0.1'
    const hosts = Array.from({ length: HOSTS }, (_, index) => `127.0.0.${index + 1}`)
    const taken = new Set(this.servers.map(({ host }) => host))
    const host = hosts.find((host) => !this.#hadHosts.has(host)) ?? hosts.find((host) => !taken.has(host))
    if (host === undefined) throw new Error(`no more than ${HOSTS} servers`)
    return host
  }

  #clusterState(): ClusterState {
    const override = this.#override ?? { addresses: [...this.#listed].map(({ host, port }) => ({ host, port })) }
    return { tokens: [this.#token], forbidden: this.#forbidden, discovery: discoveryOf(override, this.#listRevision) }
  }

  async #push(): Promise<void> {
    this.#listRevision += 1
    const state = this.#clusterState()
    await Promise.all(this.servers.map((server) => server.tellCluster(state)))
  }

  #writeToken(): void {
    // Replaced as a whole, as the kubelet does: nobody reads half of it.
    writeFileSync(`${this.tokenFile}.new`, this.#token, { mode: 0o600 })
    renameSync(`${this.tokenFile}.new`, this.tokenFile)
  }

  /** What every cluster has from the start. */
  #furnish(): void {
    for (const name of ['default', 'kube-public', 'kube-system']) {
      const object = { kind: 'Namespace', apiVersion: 'v1', metadata: { name }, status: { phase: 'Active' } }
      this.#store.answer({ op: 'create', resource: 'namespaces', object })
    }
    const node = {
      kind: 'Node', apiVersion: 'v1', metadata: { name: 'node-1' },
      status: { capacity: { cpu: '2', memory: '4Gi' }, allocatable: { cpu: '2', memory: '4Gi' } },
    }
    this.#store.answer({ op: 'create', resource: 'nodes', object: node })
    const pod = {
      kind: 'Pod', apiVersion: 'v1', metadata: { name: 'echo', namespace: 'default', labels: { app: 'echo' } },
      spec: { nodeName: 'node-1', containers: [{ name: 'echo', image: 'echo' }] }, status: { phase: 'Running' },
    }
    this.#store.answer({ op: 'create', resource: 'pods', object: pod })
  }
}

/** A file of spec/support/certificates, which lists them in make-certificates.sh. */
export function certificateFile(name: string): string {
  return fileURLToPath(new URL(`certificates/${name}`, import.meta.url))
}

function newToken(): string {
  return `canary-${randomBytes(12).toString('hex')}`
}

async function freePort(ownHosts: boolean): Promise<number> {
  const hosts = ownHosts ? ['127.0.0.1', '127.0.0.2', '127.0.0.3'] : ['127.0.0.1']
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from))
    const free = await Promise.all(hosts.map((host) => canListen(host, port)))
    if (free.every(Boolean)) return port
  }
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
