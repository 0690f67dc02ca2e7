/**
 * The control plane that faults happen to in bench/failover: the embedded one, with or without a balancer in front of
 * it, or the real one, behind the same interface. A fault that one of them cannot have is missing there.
 */
import https from 'node:https'
import { readFileSync } from 'node:fs'
import { Cluster } from '../../spec/cluster/cluster.ts'
import { Balancer } from '../../spec/support/balancer.ts'
import { type ApiServer, ControlPlane, type Misbehaviour } from '../../spec/support/control-plane.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/**
 * What the clients are given: a server; a balancer over all of them; or one, where in addition nobody may read the
 * list, so that what serves must be reached through it.
 */
export type Setting = 'direct' | 'balancer' | 'balancer, no list'

export interface Stage {
  readonly url: string
  readonly caFile: string
  readonly token: string
  /** The name of the first server, where servers say who they are. All faults of one server happen to that one. */
  readonly name: string | undefined
  /** Puts what stands between the client and a balancer, and can go deaf, in front of another one, too. */
  readonly path: ((port: number) => Promise<string>) | undefined
  readonly addresses: readonly Address[]
  /** The faults by name. Each function begins its fault, and resolves with a function that ends it. */
  readonly faults: ReadonlyMap<FaultName, () => Promise<() => Promise<void>>>
  stop(): Promise<void>
}

export const FAULTS = [
  'killed', 'SIGSTOP', 'reads and writes nothing', 'packets dropped both ways', 'packets dropped to the client',
  'silence in the handshake', 'RST in the handshake', 'FIN in the handshake', 'TLS alert', 'TLS 1.1', 'plain HTTP',
  'wrong name', 'wrong CA', 'expired certificate',
  '200 ms latency', 'half of connections reset', 'graceful restart of each', 'all down for 4 s', 'flapping',
  '503 to everything', 'etcd lost', 'behind a balancer: SIGSTOP', 'behind a balancer: old connections deaf',
] as const
export type FaultName = (typeof FAULTS)[number]

type Fault = readonly [name: FaultName, begin: () => Promise<() => Promise<void>>]

export async function embedded(setting: Setting): Promise<Stage> {
  const isFronted = setting !== 'direct'
  const plane = await ControlPlane.start({ servers: 3, ...(isFronted ? { certificate: 'every-ip' } : {}) })
  const [first, second] = plane.servers
  if (first === undefined || second === undefined) throw new Error('a control plane without servers')
  const feed = new Feed(second.url, plane.caFile, () => plane.token)
  const balancers: Balancer[] = []
  if (isFronted) balancers.push(await Balancer.start(plane.servers.map(({ address }) => address)))
  if (setting === 'balancer, no list') await plane.forbid('endpoints', 'endpointslices')
  return {
    url: balancers[0]?.url ?? first.url, name: first.name, caFile: plane.caFile, token: plane.token,
    addresses: plane.servers.map(({ host, port }) => ({ host, port })),
    path: isFronted
      ? async (port) => {
          const path = await Balancer.start([`127.0.0.1:${port}`])
          balancers.push(path)
          return path.url
        }
      : undefined,
    faults: new Map(faultsOf(setting, plane.servers, first, balancers)),
    stop: async () => {
      feed.end()
      for (const balancer of balancers) await balancer.stop()
      await plane.stop()
    },
  }
}

function faultsOf(
  setting: Setting, servers: readonly ApiServer[], server: ApiServer, balancers: readonly Balancer[],
): Fault[] {
  switch (setting) {
    case 'direct':
      return embeddedFaults(servers, server)
    case 'balancer':
      return [['behind a balancer: SIGSTOP', async () => { await server.stop(); return () => server.cont() }]]
    case 'balancer, no list':
      return [['behind a balancer: old connections deaf', async () => {
        await Promise.all(balancers.map((balancer) => balancer.deafen()))
        return async () => undefined
      }]]
  }
}

function embeddedFaults(servers: readonly ApiServer[], server: ApiServer): Fault[] {
  const erring = (name: FaultName, how: Misbehaviour): Fault => [name, async () => {
    await server.misbehave(how)
    return () => server.misbehave()
  }]
  return [
    ['killed', async () => { await server.kill(); return () => server.restart() }],
    ['SIGSTOP', async () => { await server.stop(); return () => server.cont() }],
    erring('reads and writes nothing', 'deaf'),
    erring('silence in the handshake', 'hang-handshake'),
    erring('RST in the handshake', 'reset-handshake'),
    erring('FIN in the handshake', 'fin-handshake'),
    erring('TLS alert', 'alert'),
    erring('TLS 1.1', 'old-tls'),
    erring('plain HTTP', 'plain-http'),
    erring('wrong name', { certificate: 'wrong-name' }),
    erring('wrong CA', { certificate: 'from-other-ca' }),
    erring('expired certificate', { certificate: 'expired' }),
    erring('200 ms latency', { latency: 200 }),
    erring('half of connections reset', 'reset-half'),
    erring('503 to everything', { everything: 503 }),
    erring('etcd lost', { etcd: 'hangs' }),
    ['graceful restart of each', async () => {
      for (const each of servers) {
        await each.terminate()
        await each.restart()
      }
      return async () => undefined
    }],
    ['all down for 4 s', async () => {
      await Promise.all(servers.map((each) => each.kill()))
      await pause(4_000)
      await Promise.all(servers.map((each) => each.restart()))
      return async () => undefined
    }],
    ['flapping', async () => {
      for (let time = 0; time < 2; time += 1) {
        await server.kill()
        await pause(1_500)
        await server.restart()
        await pause(1_500)
      }
      return async () => undefined
    }],
  ]
}

export async function real(): Promise<Stage> {
  const cluster = await Cluster.start({ servers: 3 })
  const server = cluster.server(0)
  const feed = new Feed(cluster.server(1).url, cluster.caFile, () => cluster.token('admin'))
  const faults: Fault[] = [
    ['killed', async () => {
      await server.kill()
      return async () => { await server.start(); await cluster.waitForEndpoints() }
    }],
    ['SIGSTOP', async () => {
      server.stop()
      return async () => { server.cont(); await cluster.waitForEndpoints() }
    }],
    ['packets dropped both ways', async () => { await server.cut('path'); return () => server.mend() }],
    ['packets dropped to the client', async () => { await server.cut('replies'); return () => server.mend() }],
    ['graceful restart of each', async () => {
      for (const each of cluster.servers) {
        await each.terminate()
        await each.start()
      }
      return () => cluster.waitForEndpoints()
    }],
    ['all down for 4 s', async () => {
      await Promise.all(cluster.servers.map((each) => each.kill()))
      await pause(4_000)
      await Promise.all(cluster.servers.map((each) => each.start()))
      return () => cluster.waitForEndpoints()
    }],
  ]
  return {
    url: server.url, name: undefined, path: undefined, caFile: cluster.caFile, token: cluster.token('admin'),
    addresses: cluster.servers.map(({ host, port }) => ({ host, port })),
    faults: new Map(faults),
    stop: async () => {
      feed.end()
      await cluster.stop()
    },
  }
}

/** Changes one object again and again, so that a watch that works brings events. */
class Feed {
  readonly #agent: https.Agent
  readonly #url: string
  readonly #token: () => string
  readonly #timer: NodeJS.Timeout
  #count = 0

  constructor(url: string, caFile: string, token: () => string) {
    this.#agent = new https.Agent({ ca: readFileSync(caFile), keepAlive: true })
    this.#url = url
    this.#token = token
    this.#send('POST', '')
    this.#timer = setInterval(() => this.#send('PUT', '/feed'), 100)
  }

  end(): void {
    clearInterval(this.#timer)
    this.#agent.destroy()
  }

  #send(method: string, path: string): void {
    this.#count += 1
    const url = `${this.#url}/api/v1/namespaces/default/configmaps${path}`
    const headers = { authorization: `Bearer ${this.#token()}`, 'content-type': 'application/json' }
    const request = https.request(url, {
      method, agent: this.#agent, headers, timeout: 2_000,
    }, (response) => response.resume())
    // Its own server may be down.
    request.once('error', () => undefined).once('timeout', () => request.destroy())
    const object = {
      apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'feed', namespace: 'default' },
      data: { count: String(this.#count) },
    }
    request.end(JSON.stringify(object))
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
