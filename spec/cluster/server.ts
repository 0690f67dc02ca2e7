/**
 * One real kube-apiserver, on a host of its own, with all that can go wrong with it: killed, stopped, drained, cut off,
 * restarted with a certificate that it should not have. What the servers share is the cluster's, not theirs.
 */
import { readFile } from 'node:fs/promises'
import https from 'node:https'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { CertificateKind, Certificates } from './certificates.ts'
import type { Direction, Host, Network } from './namespaces.ts'
import { Daemon } from './processes.ts'

const securePort = 6443
/** A loaded 2-core machine starts five of them in less than half of this. */
const startTimeout = 120_000
const pollInterval = 100

/** What a server needs to know of the cluster it belongs to. */
export interface Surroundings {
  readonly folder: string
  readonly binary: string
  readonly network: Network
  readonly certificates: Certificates
  /** A token of the harness itself; what is done with it is not audited. */
  readonly token: string
  /** The flags that are the same for all of them. */
  readonly flags: readonly string[]
}

/** One request that a server has answered, as its audit log has it. */
export interface AuditedRequest {
  /** `admin`, `discoverer`, `nobody`, `kubernetes-admin` (the client certificate), `system:anonymous`. */
  readonly user: string
  /** `get`, `list`, `watch`, ... */
  readonly verb: string
  /** Path and query. */
  readonly uri: string
  /** Of HTTP. */
  readonly status: number
  /** When the server received it, in ms since the epoch. */
  readonly at: number
  readonly userAgent: string
}

export class ApiServer {
  readonly port: number = securePort
  readonly #around: Surroundings
  #host: Host
  #process: Daemon | undefined

  /** For `Cluster` alone. */
  constructor(around: Surroundings, host: Host) {
    this.#around = around
    this.#host = host
  }

  /** Its IP address. It changes when the cluster renumbers it. */
  get host(): string {
    return this.#host.address
  }

  /** `host:port` */
  get address(): string {
    return `${this.host}:${this.port}`
  }

  /** `https://host:port` */
  get url(): string {
    return `https://${this.address}`
  }

  /** The network namespace it runs in. */
  get namespace(): string {
    return this.#host.namespace
  }

  /** `undefined` while it does not run. */
  get pid(): number | undefined {
    return this.running ? this.#process?.pid : undefined
  }

  get running(): boolean {
    return this.#process?.running === true
  }

  /** Ends it with a signal, at once; resolves when the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#process?.signal(signal)
    await this.#process?.ended()
  }

  /**
   * Ends it gracefully, as a kubelet would: it leaves the Endpoints at once, serves on for the cluster's
   * `shutdownDelay` while /readyz says no, then stops listening and finishes what is under way. With a delay of 0 it
   * closes before it can leave, and another server drops it from the Endpoints within 10 s. Resolves when the process
   * is gone.
   */
  terminate(): Promise<void> {
    return this.kill('SIGTERM')
  }

  /** Hangs it: its kernel still accepts connections, nothing ever answers them. */
  stop(): void {
    this.#process?.signal('SIGSTOP')
  }

  /** Lets it go on after `stop()`. */
  cont(): void {
    this.#process?.signal('SIGCONT')
  }

  /**
   * Starts it, with a certificate of the given kind. Resolves when /readyz says ok; rejects with the end of its log
   * when it exits instead, or is not ready within 120 s. Nothing happens when it runs already. `flags` are for this
   * start alone, and win over the cluster's.
   */
  async start(certificate: CertificateKind = 'own', flags: readonly string[] = []): Promise<void> {
    if (!this.running) {
      const pair = await this.#around.certificates.server(this.host, certificate)
      this.#process = await Daemon.spawn(this.namespace, this.#logFile, [
        this.#around.binary,
        ...this.#around.flags,
        `--advertise-address=${this.host}`,
        `--secure-port=${this.port}`,
        `--tls-cert-file=${pair.certFile}`,
        `--tls-private-key-file=${pair.keyFile}`,
        `--audit-log-path=${this.#auditFile}`,
        ...flags,
      ])
    }
    await this.#ready(this.#process)
  }

  /**
   * Drops packets silently, from now until `mend()`, those of open connections too. `both` (the default): its host
   * loses its link, so that it loses etcd too and leaves the Endpoints after some 15 to 25 s. Between the client and it
   * alone, so that it stays listed: `path` both ways; `requests` what the client sends; `replies` what it sends.
   */
  cut(direction: Direction = 'both'): Promise<void> {
    return this.#around.network.cut(this.#host, direction)
  }

  /** Takes its etcd from it: it lives on, answers from its cache, and hangs for everything else, until `mend()`. */
  loseEtcd(): Promise<void> {
    return this.#around.network.cutFromBridge(this.#host)
  }

  /** Loses every full-size packet between the client and it, as a tunnel's broken MTU does, until `mend()`. */
  loseFullSizePackets(): Promise<void> {
    return this.#around.network.narrow(this.#host)
  }

  /** Undoes `cut()`, `loseEtcd()` and `loseFullSizePackets()`. */
  mend(): Promise<void> {
    return this.#around.network.mend(this.#host)
  }

  /** Delays what is sent to it by `ms` milliseconds, until `delay(0)`. Rejects where the kernel has no netem. */
  delay(ms: number): Promise<void> {
    return this.#around.network.delay(this.#host, ms)
  }

  /** All it has written, over all of its starts. */
  logs(): Promise<string> {
    return readFile(this.#logFile, 'utf8')
  }

  /**
   * The requests it has answered so far, oldest first, over all of its starts; those of the harness and of apiservers
   * are not among them. An entry is written when the answer is complete: it may be there a little later than that.
   */
  async audited(): Promise<AuditedRequest[]> {
    const text = await readFile(this.#auditFile, 'utf8').catch(() => '')
    const whole = text.slice(0, text.lastIndexOf('\n') + 1) // The last line may still be under way.
    return whole.split('\n').filter(line => line !== '').map(auditedRequest)
  }

  /** How many discovery requests, which are the heartbeats too, it has answered so far: all, or those of one user. */
  async discoveryRequests(user?: string): Promise<number> {
    const discovery = /^\/(api\/v1|apis\/discovery\.k8s\.io\/\w+)\/namespaces\/default\/(endpoints|endpointslices)\b/
    const counts = (request: AuditedRequest): boolean =>
      discovery.test(request.uri) && (user === undefined || request.user === user)
    return (await this.audited()).filter(counts).length
  }

  /** For `Cluster.renumber()` alone. */
  async renumber(address: string): Promise<void> {
    this.#host = await this.#around.network.renumber(this.#host, address)
  }

  /** For `Cluster` alone: kills it and removes its host. */
  async remove(): Promise<void> {
    await this.kill()
    await this.#around.network.removeHost(this.#host)
  }

  /**
   * A request of the harness, on a connection of its own. Whatever certificate the server shows is accepted: to tell
   * good ones from bad is not what the harness is for. Rejects when there is no answer within `timeout` ms.
   */
  request(path: string, { method = 'GET', body, timeout = 10_000 }: HarnessRequest = {}): Promise<HarnessAnswer> {
    const headers = { authorization: `Bearer ${this.#around.token}`, 'content-type': 'application/json' }
    const options = { method, headers, signal: AbortSignal.timeout(timeout), agent: false, rejectUnauthorized: false }
    return new Promise((resolve, reject) => {
      const request = https.request(this.url + path, options)
      request.on('error', reject)
      request.on('response', response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => { text += chunk })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.on('error', reject)
      })
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  async #ready(started: Daemon | undefined): Promise<void> {
    const deadline = Date.now() + startTimeout
    while (started?.running === true && Date.now() < deadline) {
      const answer = await this.request('/readyz', { timeout: 2_000 }).catch(() => undefined)
      if (answer?.status === 200) return
      await delay(pollInterval)
    }
    const why = started?.running === true ? `is not ready after ${startTimeout / 1_000} s` : 'ended before it was ready'
    throw new Error(`kube-apiserver ${this.address} ${why}:\n${(await this.logs()).slice(-4_000)}`)
  }

  get #logFile(): string {
    return join(this.#around.folder, `${this.namespace}.log`)
  }

  get #auditFile(): string {
    return join(this.#around.folder, `${this.namespace}.audit.log`)
  }
}

export interface HarnessRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Sent as JSON. */
  readonly body?: unknown
  /** In ms; 10,000 by default. */
  readonly timeout?: number
}

export interface HarnessAnswer {
  readonly status: number
  readonly text: string
}

function auditedRequest(line: string): AuditedRequest {
  const entry: {
    user?: { username?: string }
    verb?: string
    requestURI?: string
    responseStatus?: { code?: number }
    requestReceivedTimestamp?: string
    userAgent?: string
  } = JSON.parse(line)
  return {
    user: entry.user?.username ?? '',
    verb: entry.verb ?? '',
    uri: entry.requestURI ?? '',
    status: entry.responseStatus?.code ?? 0,
    at: Date.parse(entry.requestReceivedTimestamp ?? ''),
    userAgent: entry.userAgent ?? '',
  }
}
