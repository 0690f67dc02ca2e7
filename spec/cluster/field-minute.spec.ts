/**
 * What takes a minute, at the same time on one real control plane; neither touches what the other uses.
 *
 * An apiserver whose queues are full is not dead (H9): watches go on there, and what is new goes elsewhere.
 *
 * Connections do not outlive the identity that made them (I5): the client certificate is replaced every 5 s, under
 * requests and watches, as files on disk and as the user of a KubeConfig of @kubernetes/client-node. Who each request
 * came as is what the audit logs of the apiservers say; when it was made is in its own query.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, readFileSync, renameSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { withMultidialer, type KubeConfigLike } from '../../lib/adapters/client-node.ts'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { installClients } from '../clients/install.ts'
import { released, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type KeyPair } from './cluster.ts'
import { BusyClient, Saturation, StockClient } from './field.ts'
import { currentRun } from './namespaces.ts'

// Outside of the namespace, where there is a network.
if (unavailable() === undefined && currentRun() === undefined) assert.ok(installClients(), 'client-node is not there')
await enterClientNamespace()

const rotations = 12
const rotationInterval = 5_000
const requestInterval = 50
const watchSeconds = 7
const saturated = 60_000
/** What is promised where handshakes are done and answers do not come, in ms, with half as much again. */
const elsewhere = 1.5 * 10_000
const timeout = 150_000

/** A client whose identity can be replaced: a request and a watch that say by which identity's time they were made. */
interface Subject {
  /** Before the first of the name, and at each rotation. */
  rotate(pair: KeyPair): void
  /** One list; rejects when it is not answered with success. */
  list(selector: string): Promise<void>
  /** One watch, until its server ends it; rejects when it ends otherwise. */
  watch(selector: string): Promise<void>
  close(): void
}

describe('a minute of a real control plane', { skip: unavailable(), timeout: 300_000, concurrency: 2 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start() })
  after(async () => {
    await released().finally(() => cluster?.stop())
  })

  it('H9 its queues are full for a minute: new dials go elsewhere, and no watch is cut', { timeout }, async () => {
    const server = cluster.server(0)
    await server.kill()
    await server.start('own', ['--max-requests-inflight=3', '--max-mutating-requests-inflight=1'])
    await cluster.waitForEndpoints()
    using busy = await BusyClient.open(cluster, { user: 'worker', caller: 'worker' })
    using stock = new StockClient(cluster, server, 'worker')
    const [stockEnded] = await Promise.all([stock.watch(1), busy.client.learned(cluster.servers)])
    assert.deepEqual(busy.watches.filter(({ host }) => host !== server.host), [])
    using _saturation = await Saturation.start(cluster, server, 'worker')
    const begun = performance.now()
    assert.equal(await stock.unanswered(2_000), 1, 'the stock agent did not notice')
    await until(async () => (await busy.client.dial()).host !== server.host, elsewhere)
    busy.load.hosts.clear()
    await busy.load.answers(20)
    assert.ok([...busy.load.hosts].every(host => host !== server.host), 'requests went to the full queues')
    await delay(Math.max(0, saturated - (performance.now() - begun)))
    assert.equal(await stock.unanswered(2_000), 1, 'it was no longer overloaded')
    assert.equal(stockEnded(), 0, 'the server itself cuts watches')
    assert.deepEqual(busy.watches.flatMap(({ endedWith }) => endedWith ?? []), [], 'watches were cut')
    assert.notEqual((await busy.client.dial()).host, server.host)
  })

  it('I5 replaced every 5 s for a minute: none outlives its successor, no request fails', { timeout }, async () => {
    const names = ['files', 'config'] as const
    const issued = (index: number): Promise<KeyPair[]> =>
      Promise.all(names.map(name => cluster.clientCertificate(`${name}-${index}`)))
    const indices = Array.from({ length: rotations + 1 }, (_, index) => index)
    const [[ofFiles, ofConfig] = [], ...successors] = await Promise.all(indices.map(issued))
    assert.ok(ofFiles !== undefined && ofConfig !== undefined)
    const subjects: Subject[] = [files(cluster, ofFiles), await config(cluster, ofConfig)]
    const failures: string[] = []
    let current = 0
    let counted = 0
    let on = true
    const loop = async (subject: Subject, verb: 'list' | 'watch', pause: number): Promise<void> => {
      while (on) {
        const selector = `metadata.name=made-${current}-${++counted}`
        await subject[verb](selector).catch((error: unknown) => failures.push(`${verb} ${selector}: ${String(error)}`))
        await delay(pause)
      }
    }
    const loops = subjects.flatMap(subject =>
      [loop(subject, 'list', requestInterval), loop(subject, 'list', requestInterval), loop(subject, 'watch', 0)])
    try {
      for (const next of successors) {
        await delay(rotationInterval)
        for (const [index, subject] of subjects.entries()) subject.rotate(next[index] ?? assert.fail())
        current++
      }
      await delay(rotationInterval)
    } finally {
      on = false
      await Promise.all(loops)
      for (const subject of subjects) subject.close()
    }
    assert.deepEqual(failures, [])
    await until(async () => (await made(cluster)).length >= counted)
    const used = await made(cluster)
    // Files are looked at now and then, so that one request may yet come as the one before.
    const outdated = used.filter(({ identity, at }) => identity < at - 1)
    assert.deepEqual(outdated.slice(0, 3), [], `${outdated.length} of ${used.length} came as one of long ago`)
    for (const name of names) {
      const identities = new Set(used.filter(({ user }) => user.startsWith(name)).map(({ identity }) => identity))
      assert.equal(identities.size, rotations + 1, `${name}: ${[...identities].join(' ')}`)
    }
  })
})

interface Made {
  readonly user: string
  /** The number of the certificate that it came with. */
  readonly identity: number
  /** The number of the one that was current when it was made. */
  readonly at: number
}

async function made(cluster: Cluster): Promise<Made[]> {
  const logs = await Promise.all(cluster.servers.map(server => server.audited()))
  return logs.flat().flatMap(({ user, uri }) => {
    const at = /made-(\d+)-\d+/.exec(decodeURIComponent(uri))?.[1]
    return at === undefined ? [] : [{ user, identity: Number(user.split('-')[1]), at: Number(at) }]
  })
}

const folder = '/api/v1/namespaces/default/configmaps'

/** The agent, with a certificate and a key on disk that are replaced as a kubelet does it: by renaming. */
function files(cluster: Cluster, first: KeyPair): Subject {
  const [certFile, keyFile] = [join(cluster.folder, 'rotated.crt'), join(cluster.folder, 'rotated.key')]
  const rotate = (pair: KeyPair): void => {
    for (const [from, to] of [[pair.keyFile, keyFile], [pair.certFile, certFile]] as const) {
      copyFileSync(from, `${to}.new`)
      renameSync(`${to}.new`, to)
    }
  }
  rotate(first)
  const { url } = cluster.server(1)
  const agent = new MultidialerAgent({ server: url, caFile: cluster.caFile, certFile, keyFile, keepAlive: true })
  const get = async (query: string): Promise<void> => {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      https.get(`${url}${folder}?${query}`, { agent }).on('response', resolve).on('error', reject)
    })
    response.resume()
    await once(response, 'end')
    assert.equal(response.statusCode, 200)
  }
  return {
    rotate,
    list: selector => get(`fieldSelector=${selector}`),
    watch: selector => get(`watch=1&timeoutSeconds=${watchSeconds}&fieldSelector=${selector}`),
    close: () => agent.destroy(),
  }
}

/** As much of client-node 1.x as is used here. */
interface ClientNode {
  readonly KubeConfig: new () => KubeConfig
  readonly CoreV1Api: unknown
  readonly Watch: new (config: KubeConfig) => {
    watch(path: string, query: object, each: () => void, done: (error: unknown) => void): Promise<unknown>
  }
}

interface KubeConfig extends KubeConfigLike {
  users: object[]
  loadFromOptions(options: object): void
  makeApiClient(api: unknown): {
    listNamespacedConfigMap(query: { namespace: string; fieldSelector: string }): Promise<unknown>
  }
}

/** A KubeConfig whose user is another from time to time, under the adapter. */
async function config(cluster: Cluster, first: KeyPair): Promise<Subject> {
  const root = fileURLToPath(new URL('../clients/node_modules/client-node-1/', import.meta.url))
  const k8s: ClientNode = await import(pathToFileURL(join(root, 'dist/index.js')).href)
  const kubeConfig = new k8s.KubeConfig()
  const user = ({ certFile, keyFile }: KeyPair): object => ({
    name: 'user', certData: base64(certFile), keyData: base64(keyFile),
  })
  kubeConfig.loadFromOptions({
    clusters: [{ name: 'cluster', server: cluster.server(1).url, caFile: cluster.caFile, skipTLSVerify: false }],
    users: [user(first)],
    contexts: [{ name: 'context', cluster: 'cluster', user: 'user' }],
    currentContext: 'context',
  })
  const dialer = withMultidialer(kubeConfig)
  const api = kubeConfig.makeApiClient(k8s.CoreV1Api)
  const watching = new k8s.Watch(kubeConfig)
  return {
    rotate: pair => { kubeConfig.users = [user(pair)] },
    list: async fieldSelector => { await api.listNamespacedConfigMap({ namespace: 'default', fieldSelector }) },
    watch: fieldSelector => new Promise((resolve, reject) => {
      const query = { timeoutSeconds: watchSeconds, fieldSelector }
      watching.watch(folder, query, () => {}, error => (error === null ? resolve() : reject(error))).catch(reject)
    }),
    close: () => dialer.close(),
  }
}

function base64(file: string): string {
  return readFileSync(file).toString('base64')
}
