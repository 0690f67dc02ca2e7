/**
 * What a client knows of a real control plane, whom it believes, and that it goes on when servers are killed, come and
 * go: with default options, on servers that prove what kubeadm's do, their own IP and the names of the service.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { MultidialError } from '../../lib/errors.ts'
import { Client, held, Load, released, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type AuditedRequest } from './cluster.ts'

await enterClientNamespace()

const timeout = 60_000
/** D, the time for a handshake with a healthy server, on a machine that is busy with three of them, in ms. */
const dialTime = 250
/** What a dial past a server that refuses may take: D + 50 ms, half as much again for the machine. */
const refused = 1.5 * (dialTime + 50)

describe('a client of a real control plane', { skip: unavailable(), timeout: 240_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start() })
  after(() => cluster?.stop())
  afterEach(released)

  it('holds nothing before its first dial', async () => {
    await released() // The harness has asked the servers for their readiness.
    using client = new Client(cluster)
    assert.deepEqual(held(), [])
    assert.equal(client.dialer.snapshot().discovery.status, 'pending')
  })

  it('learns three servers from one', { timeout }, async () => {
    using client = new Client(cluster, { user: 'discoverer' })
    assert.equal((await client.get()).status, 200)
    await client.learned(cluster.servers)
    assert.deepEqual(client.warnings, [])
    assert.equal(client.dialer.snapshot().discovery.via, 'endpoints')
  })

  it('reaches every server by the IP of one, which the certificates of the others lack', { timeout }, async () => {
    const seed = cluster.server(0)
    for (const other of cluster.servers.slice(1)) {
      using client = new Client(cluster, { seed, alternates: [other.address] })
      const { host } = await without(cluster.servers.filter(server => server !== other), () => client.dial())
      assert.equal(host, other.host)
      assert.deepEqual(client.warnings, [])
    }
  })

  it('finds the right servername on all of them, and with a wrong one fails, naming each', { timeout }, async () => {
    for (const seed of cluster.servers) {
      using client = new Client(cluster, { seed, servername: 'kubernetes.default' })
      assert.equal((await client.get()).host, seed.host)
    }
    const alternates = cluster.servers.map(({ address }) => address)
    using client = new Client(cluster, { alternates, servername: 'other.example' })
    const error = await rejection(client.get())
    assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID')
    assert.deepEqual(error.errors.map(({ address }) => address).sort(), alternates.sort())
    for (const address of alternates) assert.match(error.message, new RegExp(`${address} .*other\\.example`))
  })

  it('never sends its token to servers of another CA', { timeout }, async () => {
    const since = Date.now()
    const alternates = cluster.servers.map(({ address }) => address)
    using client = new Client(cluster, { alternates, caFile: cluster.wrongCaFile })
    const error = await rejection(client.get())
    assert.equal(error.code, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
    assert.deepEqual(error.errors.map(({ address }) => address).sort(), alternates.sort())
    assert.equal(client.warnings.length, 3)
    await assert.rejects(client.dialer.refresh(), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
    assert.deepEqual(await requestsSince(cluster, since), [])
  })

  it('forbidden to read Endpoints, says so once, and is served by its seed', { timeout }, async () => {
    using client = new Client(cluster, { user: 'nobody' })
    assert.equal((await client.get()).status, 200)
    await until(() => client.dialer.snapshot().discovery.status === 'forbidden')
    for (let again = 0; again < 2; again++) await assert.rejects(client.dialer.refresh())
    assert.deepEqual(client.warnings.map(({ kind }) => kind), ['discovery'])
    assert.match(client.warnings[0]?.message ?? '', /forbidden.*endpoints/)
    assert.equal(client.dialer.snapshot().discovery.status, 'forbidden')
    const { host, status } = await client.get()
    assert.deepEqual({ host, status }, { host: cluster.server(0).host, status: 200 })
  })

  it('survives kill -9 of its seed, which it uses, and then of the next in use', { timeout: 90_000 }, async () => {
    using client = new Client(cluster)
    await client.get()
    await client.learned(cluster.servers)
    const load = new Load(client, 20, true)
    await load.answers(5)
    const killed = []
    for (let kills = 0; kills < 2; kills++) {
      const inUse = cluster.servers.find(({ host }) => host === load.host) ?? assert.fail()
      killed.push(inUse)
      await inUse.kill()
      await load.answers(10)
      assert.notEqual(load.host, inUse.host)
    }
    assert.equal(killed[0], cluster.server(0))
    const { failed, longestGap } = await load.stop()
    // One request was in flight each time: it may have been lost with its server.
    assert.ok(failed.length <= 2, `${failed.length} failed`)
    assert.ok(longestGap < refused, `the longest gap was ${longestGap} ms`)
    assert.deepEqual(client.failovers.map(({ from }) => from), killed.map(({ address }) => address))
    // Nothing was waited for.
    for (const { reason } of client.failovers) assert.doesNotMatch(reason, /no connection within/)
    const { host, ms } = await client.dial()
    assert.ok(ms < refused, `a dial took ${ms} ms`)
    assert.equal(host, load.host)
    await Promise.all(killed.map(server => server.start()))
    await cluster.waitForEndpoints()
  })

  it('learns and uses a fourth server, and no longer uses one that is removed', { timeout: 90_000 }, async () => {
    using client = new Client(cluster)
    await client.get()
    await client.learned(cluster.servers)
    const first = [...cluster.servers]
    const fourth = await cluster.addServer()
    await cluster.waitForEndpoints()
    await client.dialer.refresh()
    assert.deepEqual(client.listed, cluster.servers.map(({ host }) => host))
    const { host, ms } = await without(first, () => client.dial())
    assert.equal(host, fourth.host)
    assert.ok(ms < 1.5 * (3 * 250 + dialTime), `a dial past three that are silent took ${ms} ms`)

    await cluster.removeServer(fourth)
    await cluster.waitForEndpoints()
    await client.dialer.refresh()
    assert.deepEqual(client.listed, first.map(({ host }) => host))
    const { attempts } = client.dialer.snapshot().counters
    assert.notEqual((await client.dial()).host, fourth.host)
    assert.equal(client.dialer.snapshot().counters.attempts, attempts + 1)
  })
})

/** Does something while the packets to some servers are dropped. */
async function without<T>(servers: readonly ApiServer[], work: () => Promise<T>): Promise<T> {
  await Promise.all(servers.map(server => server.cut('path')))
  try {
    return await work()
  } finally {
    await Promise.all(servers.map(server => server.mend()))
  }
}

async function rejection(promise: Promise<unknown>): Promise<MultidialError> {
  const error = await promise.then(() => assert.fail('it did not fail'), (reason: unknown) => reason)
  if (!(error instanceof MultidialError)) throw error
  return error
}

/** What all servers were asked since then. Their logs are complete up to now, as soon as each has a request of now. */
async function requestsSince(cluster: Cluster, since: number): Promise<AuditedRequest[]> {
  const asked = cluster.servers.map(async server => {
    using client = new Client(cluster, { seed: server, refreshInterval: 0 })
    const marker = `/version?${server.host}-${performance.now()}`
    await client.get(marker)
    await until(async () => (await server.audited()).some(({ uri }) => uri === marker))
    return (await server.audited()).filter(({ at, uri }) => at >= since && uri !== marker)
  })
  return (await Promise.all(asked)).flat()
}
