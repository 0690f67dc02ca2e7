/**
 * An apiserver that ends gracefully is not dead: what is in flight there arrives, what is open goes on, and what is new
 * goes elsewhere. A stock agent beside it shows that it is felt. On one server of a real control plane, started with a
 * flag of its own for it.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Client, released, timed, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import { StockClient } from './field.ts'
import { clientAddress } from './namespaces.ts'

await enterClientNamespace()

const timeout = 90_000
const answerTime = 12_000
const shutdownDelay = 2_000
const configMaps = '/api/v1/namespaces/default/configmaps'
const hooks = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'

describe('a real apiserver that ends gracefully', { skip: unavailable(), timeout: 200_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start() })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())
  afterEach(released)

  it('H3 what is in flight arrives, a silent watch goes on, new dials go elsewhere', { timeout }, async () => {
    const server = cluster.server(0)
    await server.kill()
    await server.start('own', [`--shutdown-delay-duration=${shutdownDelay / 1_000}s`])
    await cluster.waitForEndpoints()
    await using hook = await SlowHook.start(cluster)
    using client = await user(cluster)
    using other = await user(cluster)
    using stock = new StockClient(cluster, server)
    const silent = await other.watch()
    const ending = await client.watch(undefined, `&timeoutSeconds=${answerTime / 1_000}`)
    const post = timed(() => client.post(configMaps, { metadata: { name: 'slow', labels: { slow: 'yes' } } }))
    // The same without a dialer: what the server comes to answer while it ends is the server's business.
    const body = { metadata: { name: 'slow-too', labels: { slow: 'yes' } } }
    const control = server.request(configMaps, { method: 'POST', body, timeout: 60_000 })
    await hook.asked()
    assert.deepEqual([silent.host, ending.host], [server.host, server.host])
    const ended = server.terminate()
    try {
      await until(async () => await stock.unanswered(1_000) === 1, 10_000)
      const closed = performance.now()
      await until(() => client.dialer.snapshot().endpoints.every(({ address, status }) =>
        address !== server.address || status !== 'ready'))
      assert.notEqual((await client.dial()).host, server.host)
      const [{ value, error, ms }, { status }] = await Promise.all([
        post, control, assert.rejects(ending.ended, /ended by the server/),
      ])
      assert.equal(error, undefined)
      assert.equal(value, status, 'it was answered as without a dialer')
      assert.ok(ms > shutdownDelay && performance.now() - closed > answerTime / 2, 'it was not in flight for long')
      assert.equal(silent.endedWith, undefined)
      assert.deepEqual([client, other].map(each => each.dialer.snapshot().counters.severed), [0, 0])
    } finally {
      await server.kill() // The silent watch would hold it for a minute.
      await ended
      await server.start()
    }
  })
})

/** A client that uses the first server and knows all of them. */
async function user(cluster: Cluster): Promise<Client> {
  const client = new Client(cluster)
  assert.equal((await client.get()).host, cluster.server(0).host)
  await client.learned(cluster.servers)
  return client
}

/** An admission webhook of this process, which takes its time for whatever is labelled `slow`. */
class SlowHook implements AsyncDisposable {
  readonly #server: https.Server
  readonly #apiserver: ApiServer
  #requests = 0

  private constructor(server: https.Server, apiserver: ApiServer) {
    this.#server = server
    this.#apiserver = apiserver
    server.on('request', (request, response) => {
      this.#requests++
      let text = ''
      request.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).on('end', () => {
        const review: { apiVersion: string; kind: string; request: { uid: string } } = JSON.parse(text)
        const { apiVersion, kind, request: { uid } } = review
        const body = JSON.stringify({ apiVersion, kind, response: { uid, allowed: true } })
        setTimeout(() => response.setHeader('content-type', 'application/json').end(body), answerTime)
      })
    })
  }

  /** Resolves when the apiservers know of it. */
  static async start(cluster: Cluster): Promise<SlowHook> {
    const { certFile, keyFile } = await cluster.servingCertificate()
    const server = https.createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) })
    server.listen(0, clientAddress)
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const body = hookConfiguration(`https://${clientAddress}:${port}/`, readFileSync(cluster.caFile))
    await cluster.request(hooks, { method: 'POST', body })
    const hook = new SlowHook(server, cluster.server(1))
    await delay(1_000) // The apiservers have it by their own watch, which says nothing.
    return hook
  }

  async asked(): Promise<void> {
    await until(() => this.#requests > 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#apiserver.request(`${hooks}/slow`, { method: 'DELETE' })
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

function hookConfiguration(url: string, ca: Buffer): unknown {
  return {
    metadata: { name: 'slow' },
    webhooks: [{
      name: 'slow.example.org',
      clientConfig: { url, caBundle: ca.toString('base64') },
      objectSelector: { matchLabels: { slow: 'yes' } },
      rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }],
      timeoutSeconds: 30, sideEffects: 'None', admissionReviewVersions: ['v1'],
    }],
  }
}
