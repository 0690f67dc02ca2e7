/**
 * What the promises of the field come to on a real control plane: the second half of measure.ts, which has the options.
 * Each row is a fault that is made and mended `runs` times; its figures are printed as median and worst, 60,000 being
 * never; a request is given up after 30,000. None is judged.
 */
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { undiciConnector } from '../../lib/adapters/undici.ts'
import { withMultidialer, type KubeConfigLike } from '../../lib/adapters/client-node.ts'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { Multidialer, type MultidialerOptions } from '../../lib/multidialer.ts'
import { cheapPath, Client, released, timed, under, until, within } from './client.ts'
import type { ApiServer, Cluster } from './cluster.ts'
import { BusyClient, Saturation } from './field.ts'
import { RefusingFronts } from './refusing-fronts.ts'

/** Beyond every promise, in ms: a figure of this is 'never'. */
const never = 60_000
const deepPath = '/api/v1/namespaces/default'
const largeList = '/api/v1/namespaces/kube-public/configmaps'

type Figures = Readonly<Record<string, number>>

export async function measureField(cluster: Cluster, runs: number, baseline: string | undefined): Promise<void> {
  await repeat('construction to the first response', runs, () => firstResponses(cluster, baseline))
  await repeat('the seed is a balancer; the one in use is stopped', runs, () => behindBalancer(cluster))
  await repeat("the client's own address changes", runs, () => moved(cluster))
  await repeat('the one in use loses its etcd', runs, () => etcdLost(cluster))
  await repeat('all lose their etcd for 20 s', runs, () => etcdGone(cluster))
  await makeLargeList(cluster)
  await repeat('full-size packets are lost', runs, () => narrowed(cluster))
  await repeat('priority and fairness of the one in use saturated for 60 s', runs, () => overloaded(cluster))
  await refusals(cluster, runs)
}

/** Prints the figures of so many runs, each on a cluster that is whole. */
async function repeat(title: string, runs: number, work: () => Promise<Figures>): Promise<void> {
  const all = new Map<string, number[]>()
  console.log(`\n${title}`)
  for (let run = 0; run < runs; run++) {
    await released()
    for (const [name, figure] of Object.entries(await work())) all.set(name, [...(all.get(name) ?? []), figure])
  }
  for (const [name, found] of all) {
    const sorted = found.toSorted((one, other) => one - other)
    const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN
    console.log(`  ${name.padEnd(56)} ${median.toFixed(0)}, ${(sorted.at(-1) ?? NaN).toFixed(0)}`)
  }
}

/** Another checkout's agent, as far as it is measured. */
interface Measured {
  readonly MultidialerAgent: new (options: MultidialerOptions & https.AgentOptions) => https.Agent
}

async function firstResponses(cluster: Cluster, baseline: string | undefined): Promise<Figures> {
  const figures: Record<string, number> = {}
  const subjects: [name: string, measured: Measured][] = [['', { MultidialerAgent }]]
  if (baseline !== undefined) {
    const other: Measured = await import(pathToFileURL(join(baseline, 'lib/index.ts')).href)
    subjects.push([', baseline', other])
  }
  await using balancer = await cluster.balancer()
  for (const [seed, url] of [['a listed seed', cluster.server(0).url], ['a balancer', balancer.url]] as const) {
    // Whoever comes second finds the servers warm: the order changes from run to run.
    for (const [name, measured] of Math.random() < 0.5 ? subjects : subjects.toReversed()) {
      const begun = performance.now()
      const agent = new measured.MultidialerAgent({
        server: url, caFile: cluster.caFile, tokenFile: cluster.tokenFile('admin'), keepAlive: true,
      })
      await get(agent, url, cluster)
      figures[`${seed}${name}`] = performance.now() - begun
      agent.destroy()
    }
  }
  return figures
}

async function behindBalancer(cluster: Cluster): Promise<Figures> {
  await using balancer = await cluster.balancer()
  using busy = await BusyClient.open(cluster, { seed: balancer })
  await busy.client.learned(cluster.servers)
  await busy.load.answers(10)
  const server = cluster.servers.find(({ host }) => host === busy.watches[0]?.host) ?? cluster.server(0)
  busy.load.hosts.clear()
  return await under(() => server.stop(), () => server.cont(), async () => {
    const watches = Math.max(...await Promise.all(busy.watches.map(({ ended, host }) =>
      host === server.host || host === balancer.host ? lasting(() => ended) : 0)))
    await busy.load.answers(10)
    const throughBalancer = busy.load.hosts.has(balancer.host) ? 1 : 0
    const { slowest } = await busy.load.stop()
    return {
      'a watch ended after': watches, 'the longest wait of a request': slowest,
      'runs with requests through the balancer': throughBalancer,
      'watches left on it': busy.watches.filter(({ host }) => host === balancer.host).length,
    }
  })
}

async function moved(cluster: Cluster): Promise<Figures> {
  using client = await user(cluster)
  const watch = await client.watch()
  await client.get()
  // The README's exception: connections of the first tenth of a second may be older than the one that tells of them.
  await delay(1_000)
  return await under(() => cluster.moveClient(), () => cluster.restoreClient(), async () => {
    const [request, ended] = await Promise.all([lasting(() => client.get()), lasting(() => watch.ended)])
    return { 'a request in flight': request, 'a watch': ended }
  })
}

async function etcdLost(cluster: Cluster): Promise<Figures> {
  const server = cluster.server(0)
  using client = await user(cluster)
  using silent = await user(cluster)
  const watch = await silent.watch()
  return await under(() => server.loseEtcd(), async () => {
    await server.mend()
    await cluster.waitForEndpoints()
  }, async () => {
    const [request, ended] = await Promise.all([lasting(() => client.get(deepPath)), lasting(() => watch.ended)])
    return { 'a request in flight': request, 'a silent watch': ended }
  })
}

async function etcdGone(cluster: Cluster): Promise<Figures> {
  using busy = await BusyClient.open(cluster)
  await busy.client.learned(cluster.servers)
  return await under(() => cluster.etcd.kill(), () => cluster.etcd.start(), async () => {
    await delay(20_000)
    return { 'severed': busy.client.dialer.snapshot().counters.severed, 'failed': busy.client.failures.length }
  })
}

async function makeLargeList(cluster: Cluster): Promise<void> {
  for (const name of ['large-1', 'large-2', 'large-3', 'large-4']) {
    const body = { metadata: { name }, data: { filler: 'x'.repeat(250_000) } }
    await cluster.server(1).request(largeList, { method: 'POST', body })
  }
}

async function narrowed(cluster: Cluster): Promise<Figures> {
  const server = cluster.server(0)
  using client = await user(cluster)
  return await under(() => server.loseFullSizePackets(), () => server.mend(), async () =>
    ({ 'a list in flight': await lasting(() => client.get(largeList)) }))
}

async function overloaded(cluster: Cluster): Promise<Figures> {
  const server = cluster.server(0)
  await server.kill()
  await server.start('own', ['--max-requests-inflight=3', '--max-mutating-requests-inflight=1'])
  await cluster.waitForEndpoints()
  using busy = await BusyClient.open(cluster, { user: 'worker', caller: 'worker' })
  await busy.client.learned(cluster.servers)
  const figures: Record<string, number> = {}
  {
    using _saturation = await Saturation.start(cluster, server, 'worker')
    const begun = performance.now()
    const elsewhere = lasting(() => until(async () => (await busy.client.dial()).host !== server.host, never))
    figures['new dials elsewhere after'] = await elsewhere
    await delay(Math.max(0, 60_000 - (performance.now() - begun)))
    figures['watches cut'] = busy.ended
  }
  server.stop()
  figures['stopped for real: a watch ended after'] =
    Math.max(...await Promise.all(busy.watches.map(({ ended }) => lasting(() => ended))))
  await server.kill()
  await server.start()
  await cluster.waitForEndpoints()
  return figures
}

/** With a front on the host of each server that answers 503 when it is told to. */
async function refusals(cluster: Cluster, runs: number): Promise<void> {
  const fronts = await RefusingFronts.start(cluster)
  const refuse = (server: ApiServer): void => fronts.refuse(server)
  const serve = (server: ApiServer): void => fronts.serve(server)
  const first = cluster.server(0)
  for (const [name, open] of callers(cluster)) {
    await repeat(`the one in use answers 503 to everything: ${name}`, runs, async () => {
      await using caller = await open()
      const measured = async (): Promise<Figures> => ({ 'served after': await serving(caller) })
      return await under(() => refuse(first), () => serve(first), measured)
    })
  }
  await repeat('all answer 503 for 10 s; then all recover but the one in use: the agent', runs, async () => {
    await using caller = await ofAgent(cluster)
    return await under(() => cluster.servers.forEach(refuse), () => cluster.servers.forEach(serve), async () => {
      await busyFor(caller, 10_000)
      cluster.servers.slice(1).forEach(serve)
      return { 'served after': await serving(caller) }
    })
  })
}

/** It goes on making requests, whatever becomes of them. */
async function busyFor(caller: Caller, ms: number): Promise<void> {
  for (const until = performance.now() + ms; performance.now() < until;) {
    await caller.get().catch(() => undefined)
    await delay(100)
  }
}

interface Caller extends AsyncDisposable {
  /** The status of one request. */
  get(): Promise<number>
}

/** As much of the real clients as is used. */
interface Undici {
  readonly Agent: new (options: object) => { destroy(): Promise<void> }
  readonly request: (url: string, options: object) => Promise<{ statusCode: number; body: { dump(): Promise<void> } }>
}
interface ClientNode {
  readonly KubeConfig: new () => KubeConfigLike & {
    loadFromOptions(options: object): void
    makeApiClient(api: unknown): { listNamespacedConfigMap(query: object): Promise<unknown> }
  }
  readonly CoreV1Api: unknown
}

function callers(cluster: Cluster): [name: string, open: () => Promise<Caller>][] {
  const { url } = cluster.server(0)
  const options = { server: url, caFile: cluster.caFile, tokenFile: cluster.tokenFile('admin') }
  const headers = { authorization: `Bearer ${cluster.token('admin')}` }
  return [
    ['the agent', () => ofAgent(cluster)],
    ['client-node 1', async () => {
      const k8s: ClientNode = await import(nested('client-node-1/dist/index.js'))
      const config = new k8s.KubeConfig()
      config.loadFromOptions({
        clusters: [{ name: 'c', server: url, caFile: cluster.caFile }],
        users: [{ name: 'u', token: cluster.token('admin') }],
        contexts: [{ name: 'x', cluster: 'c', user: 'u' }], currentContext: 'x',
      })
      const dialer = withMultidialer(config)
      const api = config.makeApiClient(k8s.CoreV1Api)
      const namespace = 'default'
      const list = (): Promise<number> => api.listNamespacedConfigMap({ namespace }).then(() => 200, () => 503)
      return ready(dialer, list, () => dialer.close())
    }],
    ['undici', async () => {
      const undici: Undici = await import(nested('undici-6/index.js'))
      const dialer = new Multidialer(options)
      const dispatcher = new undici.Agent({ connect: undiciConnector(dialer) })
      return ready(dialer, async () => {
        const { statusCode, body } = await undici.request(url + cheapPath, { dispatcher, headers })
        await body.dump()
        return statusCode
      }, async () => {
        await dispatcher.destroy()
        dialer.close()
      })
    }],
    ['raw', () => {
      const dialer = new Multidialer(options)
      const lines = [`GET ${cheapPath} HTTP/1.1`, 'Host: kubernetes', `Authorization: ${headers.authorization}`, '', '']
      const request = lines.join('\r\n')
      return ready(dialer, async () => {
        const socket = await dialer.connect()
        return await new Promise<number>((resolve, reject) => {
          socket.on('error', reject).once('data', (chunk: Buffer) => {
            resolve(Number(chunk.toString('latin1', 9, 12)))
            socket.destroy()
          }).write(request)
        })
      }, () => dialer.close())
    }],
  ]
}

function ofAgent(cluster: Cluster): Promise<Caller> {
  const { url } = cluster.server(0)
  const files = { caFile: cluster.caFile, tokenFile: cluster.tokenFile('admin') }
  const agent = new MultidialerAgent({ server: url, ...files, keepAlive: true })
  return ready(agent.dialer, () => get(agent, url, cluster), () => agent.destroy())
}

/** A caller that has made a request, and whose dialer knows all servers. */
async function ready(dialer: Multidialer, get: () => Promise<number>, close: () => unknown): Promise<Caller> {
  await get()
  await until(() => dialer.snapshot().endpoints.filter(({ listed }) => listed).length === 3)
  return { get, [Symbol.asyncDispose]: async () => { await close() } }
}

function nested(file: string): string {
  return new URL(`../clients/node_modules/${file}`, import.meta.url).href
}

/** From now until an answer with 200, a request every 50 ms. */
async function serving(caller: Caller): Promise<number> {
  const begun = performance.now()
  while (performance.now() - begun < never) {
    if (await within(never, () => caller.get()).catch(() => 0) === 200) break
    await delay(50)
  }
  return performance.now() - begun
}

/** How long it takes until something is settled, one way or the other. */
async function lasting(work: () => Promise<unknown>): Promise<number> {
  return (await timed(() => within(never, work))).ms
}

/** A client that uses the first server, knows all of them, and has a connection in its pool. */
async function user(cluster: Cluster): Promise<Client> {
  const client = new Client(cluster)
  await client.get()
  await client.learned(cluster.servers)
  return client
}

function get(agent: https.Agent, url: string, cluster: Cluster): Promise<number> {
  const headers = { authorization: `Bearer ${cluster.token('admin')}` }
  return new Promise((resolve, reject) => {
    https.get(url + cheapPath, { agent, headers }, (response: IncomingMessage) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0)).on('error', reject)
    }).on('error', reject)
  })
}
