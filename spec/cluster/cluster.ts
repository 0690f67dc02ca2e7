/**
 * The real control plane: etcd and several kube-apiservers, each a host of its own on a network of namespaces, this
 * process being the client on it. The faults of one server are in server.ts, the wires in namespaces.ts.
 *
 * A spec file calls `await enterClientNamespace()` first, and starts one cluster at a time.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Balancer, type BalancerOptions } from '../support/balancer.ts'
import { Certificates, type KeyPair } from './certificates.ts'
import { assets, unavailable } from './enter.ts'
import { Etcd, etcdUrl } from './etcd.ts'
import {
  balancerAddress, clientAddress, clientNamespaceOf, currentRun, Network, otherClientAddress,
} from './namespaces.ts'
import { ApiServer, type HarnessRequest, type Surroundings } from './server.ts'

export { enterClientNamespace, unavailable } from './enter.ts'
export type { CertificateKind, KeyPair } from './certificates.ts'
export type { Balancer } from '../support/balancer.ts'
export type { Direction } from './namespaces.ts'
export type { ApiServer, AuditedRequest } from './server.ts'

const run = promisify(execFile)

/**
 * `admin` may do everything, `discoverer` only read Endpoints and EndpointSlices in `default`, `nobody` nothing.
 * `worker` may do everything too, but must queue with everybody else, as system:masters need not.
 */
export type User = 'admin' | 'worker' | 'discoverer' | 'nobody'

export interface ClusterOptions {
  /** How many apiservers, 3 by default: 10.77.0.1, 10.77.0.2, ... */
  readonly servers?: number
  /** For how many seconds a terminated server serves on (--shutdown-delay-duration). 0 by default, as in kubeadm. */
  readonly shutdownDelay?: number
  /** Whether there is a control-plane endpoint, `balancerAddress`, which every certificate proves. */
  readonly balanced?: boolean
  /** More flags for every apiserver. */
  readonly flags?: readonly string[]
}

export class Cluster implements AsyncDisposable {
  /** Those that belong to it at present, in the order they were added. */
  readonly servers: ApiServer[] = []
  /** Holds its keys, tokens and logs; removed by `stop()`. */
  readonly folder: string
  /** The one that this process is in; `ip netns exec` runs other commands there. */
  readonly clientNamespace: string
  readonly caFile: string
  /** A CA that has nothing to do with this cluster. */
  readonly wrongCaFile: string
  /** A client certificate of group system:masters. */
  readonly adminCertificate: KeyPair
  /** Points to the first server, as `admin`. */
  readonly kubeconfigFile: string
  readonly etcd: Etcd
  readonly #network: Network
  readonly #around: Surroundings
  #stopping: Promise<void> | undefined
  #lastHost = 0

  private constructor(runName: string, around: Surroundings, etcd: Etcd) {
    this.folder = around.folder
    this.clientNamespace = clientNamespaceOf(runName)
    this.caFile = around.certificates.caFile
    this.wrongCaFile = around.certificates.wrongCaFile
    this.adminCertificate = around.certificates.admin
    this.kubeconfigFile = join(around.folder, 'kubeconfig')
    this.#network = around.network
    this.#around = around
    this.etcd = etcd
  }

  /** Resolves when every server is ready and listed in the Endpoints. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const runName = currentRun()
    if (runName === undefined) throw new Error(unavailable() ?? 'call enterClientNamespace() before Cluster.start()')
    const folder = await mkdtemp(join(tmpdir(), `${runName}-`))
    const network = await Network.create(runName)
    try {
      const [etcd, certificates] = await Promise.all([
        Etcd.start(network, folder),
        Certificates.create(folder, options.balanced === true ? balancerAddress : undefined),
      ])
      const binary = join(assets(), 'kube-apiserver')
      const flags = serverFlags(folder, certificates, options)
      const around = { folder, binary, network, certificates, token: harnessToken, flags }
      const cluster = new Cluster(runName, around, etcd)
      await cluster.#populate(options.servers ?? 3)
      return cluster
    } catch (error) {
      await network.remove() // Kills what runs on it.
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** Throws a RangeError when there is no such server, so that specs need not check. */
  server(index: number): ApiServer {
    const server = this.servers[index]
    if (server === undefined) throw new RangeError(`there is no server ${index}`)
    return server
  }

  token(user: User): string {
    return `token-of-${user}`
  }

  /** A file with the token of a user, as a service account has one. */
  tokenFile(user: User): string {
    return join(this.folder, `${user}.token`)
  }

  /** Adds a server on the next free address; resolves when it is ready. `waitForEndpoints()` says when it is listed. */
  async addServer(): Promise<ApiServer> {
    const server = await this.#newServer()
    await server.start()
    return server
  }

  /** Takes a server away for good: terminates it, then removes its host. */
  async removeServer(server: ApiServer): Promise<void> {
    await server.terminate()
    await server.remove()
    this.servers.splice(this.servers.indexOf(server), 1)
  }

  /** Terminates a server and starts it on another address (the next free one) with a certificate for that. */
  async renumber(server: ApiServer, address: string = this.#nextAddress()): Promise<void> {
    await server.terminate()
    await server.renumber(address)
    await server.start()
  }

  /** The addresses in the `kubernetes` Endpoints, sorted, as any running server has them from etcd. */
  async endpoints(): Promise<string[]> {
    const text = await this.request('/api/v1/namespaces/default/endpoints/kubernetes')
    const { subsets = [] }: { subsets?: { addresses?: { ip: string }[] }[] } = JSON.parse(text)
    return subsets.flatMap(({ addresses = [] }) => addresses.map(({ ip }) => ip)).sort()
  }

  /**
   * Resolves when the Endpoints hold exactly the given addresses, by default those of the servers that run. The lease
   * of a killed server ends after 15 s, and the others look every 10 s: that takes 15 to 25 s. Rejects after 60 s.
   */
  async waitForEndpoints(addresses?: readonly string[]): Promise<void> {
    const deadline = Date.now() + 60_000
    let listed = ''
    let expected = ''
    do {
      expected = [...(addresses ?? this.#running().map(server => server.host))].sort().join(', ')
      listed = await this.endpoints().then(found => found.join(', '), String)
      if (listed === expected) return
      await delay(100)
    } while (Date.now() < deadline)
    throw new Error(`the Endpoints hold ${listed} instead of ${expected}`)
  }

  /** Runs kubectl as `admin` against a server that runs; resolves with what it prints, rejects when it fails. */
  async kubectl(...args: string[]): Promise<string> {
    const [server] = this.#running()
    if (server === undefined) throw new Error('no server is running')
    const { stdout } = await run(join(assets(), 'kubectl'), [
      '--kubeconfig', this.kubeconfigFile, '--server', server.url, '--cache-dir', join(this.folder, 'kubectl'), ...args,
    ])
    return stdout
  }

  /** A request of the harness to whichever server answers first with a success; resolves with the body. */
  async request(path: string, options?: HarnessRequest): Promise<string> {
    const answers = this.#running().map(async server => {
      const { status, text } = await server.request(path, options)
      if (status >= 300) throw new Error(`${server.address} answered ${path} with ${status}: ${text}`)
      return text
    })
    return await Promise.any(answers)
  }

  /**
   * A TCP balancer over the servers of now, in this process's namespace: the control-plane endpoint, as nearly every
   * kubeconfig names one. It must be stopped before the cluster is. Only where the cluster is `balanced`.
   */
  balancer(options: BalancerOptions = {}): Promise<Balancer> {
    return Balancer.start(this.servers.map(({ address }) => address), { host: balancerAddress, ...options })
  }

  /** A certificate that a server at this address proves it by; by default at that of this process's host. */
  servingCertificate(address: string = clientAddress): Promise<KeyPair> {
    return this.#around.certificates.server(address, 'own')
  }

  /** A new client certificate of the group system:masters, the user's name being `name`. */
  clientCertificate(name: string): Promise<KeyPair> {
    return this.#around.certificates.client(name)
  }

  /** Gives this process's host another address, and takes away the one it had, until `restoreClient()`. */
  moveClient(): Promise<void> {
    return this.#network.moveClient(clientAddress, otherClientAddress)
  }

  restoreClient(): Promise<void> {
    return this.#network.moveClient(otherClientAddress, clientAddress)
  }

  /**
   * Takes the network from this process's host. `down`: its own link, so that it knows at once that it can reach
   * nobody. `unplugged`: the other end of it, so that what is sent is lost.
   */
  async disconnectClient(how: 'down' | 'unplugged'): Promise<void> {
    await (how === 'down' ? this.#network.downClient() : this.#network.plugClient('nothing'))
  }

  async reconnectClient(how: 'down' | 'unplugged'): Promise<void> {
    await (how === 'down' ? this.#network.upClient() : this.#network.plugClient('bridge'))
  }

  /** Ends and removes all of it. It may be called again, and then waits for the same end. */
  stop(): Promise<void> {
    this.#stopping ??= this.#remove()
    return this.#stopping
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #populate(count: number): Promise<void> {
    await writeFile(join(this.folder, 'tokens.csv'), tokenTable(), { mode: 0o600 })
    await writeFile(join(this.folder, 'audit-policy.json'), JSON.stringify(auditPolicy))
    for (let made = 0; made < count; made++) await this.#newServer()
    const config = kubeconfig(this.server(0).url, this.caFile, this.token('admin'))
    await writeFile(this.kubeconfigFile, JSON.stringify(config), { mode: 0o600 })
    for (const user of users) await writeFile(this.tokenFile(user), this.token(user), { mode: 0o600 })
    await Promise.all(this.servers.map(server => server.start()))
    for (const [path, body] of grants) await this.server(0).request(path, { method: 'POST', body })
    await this.waitForEndpoints()
  }

  async #newServer(): Promise<ApiServer> {
    const server = new ApiServer(this.#around, await this.#network.addHost(this.#nextAddress()))
    this.servers.push(server)
    return server
  }

  #nextAddress(): string {
    return `10.77.0.${++this.#lastHost}`
  }

  #running(): ApiServer[] {
    return this.servers.filter(server => server.running)
  }

  async #remove(): Promise<void> {
    await Promise.all(this.servers.map(server => server.kill()))
    await this.etcd.kill()
    await this.#network.remove()
    await rm(this.folder, { recursive: true, force: true })
  }
}

const users: readonly User[] = ['admin', 'worker', 'discoverer', 'nobody']
const harnessUser = 'harness'
const harnessToken = 'token-of-the-harness'

function tokenTable(): string {
  const groups: Record<User, string> = { admin: 'system:masters', worker: '', discoverer: '', nobody: '' }
  const rows = users.map(user => `token-of-${user},${user},${user},"${groups[user]}"`)
  return [...rows, `${harnessToken},${harnessUser},${harnessUser},"system:masters"`].join('\n') + '\n'
}

const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived', 'ResponseStarted'],
  rules: [{ level: 'None', users: ['system:apiserver', harnessUser] }, { level: 'Metadata' }],
}

/** The Role that the README tells to grant, for `discoverer`; everything, for `worker`. */
const grants: readonly (readonly [path: string, body: unknown])[] = [
  ['/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles', {
    metadata: { name: 'discoverer' },
    rules: [
      { apiGroups: [''], resources: ['endpoints'], resourceNames: ['kubernetes'], verbs: ['get'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['get', 'list'] },
    ],
  }],
  ['/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'discoverer' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'discoverer' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'discoverer' }],
  }],
  ['/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name: 'worker' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'worker' }],
  }],
]

function serverFlags(folder: string, certificates: Certificates, options: ClusterOptions): string[] {
  return [
    `--etcd-servers=${etcdUrl}`,
    '--endpoint-reconciler-type=lease',
    '--authorization-mode=Node,RBAC',
    `--client-ca-file=${certificates.caFile}`,
    `--token-auth-file=${join(folder, 'tokens.csv')}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${certificates.serviceAccountKeyFile}`,
    `--service-account-signing-key-file=${certificates.serviceAccountKeyFile}`,
    `--audit-policy-file=${join(folder, 'audit-policy.json')}`,
    `--shutdown-delay-duration=${options.shutdownDelay ?? 0}s`,
    ...(options.flags ?? []),
  ]
}

/** kubectl and the clients read JSON as well, it being YAML. */
function kubeconfig(server: string, caFile: string, token: string): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'cluster', cluster: { server, 'certificate-authority': caFile } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'admin', context: { cluster: 'cluster', user: 'admin' } }],
    'current-context': 'admin',
  }
}
