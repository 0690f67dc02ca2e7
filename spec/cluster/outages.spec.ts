/**
 * What a real control plane goes through as a whole, with default options: restarts in turn, an outage of all, a server
 * that flaps, growth, and moving house. Requests run all the time.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, MultidialError } from '../../lib/errors.ts'
import { Client, Load, released, timed, type FailedRequest } from './client.ts'
import { Cluster, enterClientNamespace, unavailable } from './cluster.ts'

await enterClientNamespace()

/** D, a handshake with a healthy server while others of this machine start, in ms. */
const dialTime = 250
/** A, the default of `attemptDelay`, in ms. */
const attemptDelay = 250
const margin = 1.5
const atOnce = margin * (dialTime + 50)
const raced = margin * (attemptDelay + dialTime)
const timeout = 150_000

describe('a real control plane in trouble', { skip: unavailable(), timeout: 400_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start({ shutdownDelay: 1 }) })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())
  afterEach(released)

  it('restarted gracefully one by one: no failed dial, no more than the requests in flight', { timeout }, async () => {
    using client = await user(cluster)
    const load = new Load(client, 50, false)
    for (const server of cluster.servers) {
      await server.terminate()
      await server.start()
      await load.answers(5)
    }
    const { failed, peak } = await load.stop()
    onlyLostInFlight(failed)
    assert.ok(failed.length <= 3 * peak, `${failed.length} failed, of ${peak} at a time at most`)
  })

  it('a server that flaps every 3 s for a minute: dials work, without a storm of attempts', { timeout }, async () => {
    using client = await user(cluster, { keepAlive: false })
    const before = client.dialer.snapshot().counters
    const server = cluster.server(0)
    const flapping = { on: true }
    const dialling = (async () => {
      const slow = []
      let dials = 0
      for (; flapping.on; dials++) {
        const { ms } = await client.dial()
        if (ms > raced) slow.push(ms)
        await delay(200)
      }
      return { dials, slow }
    })()
    dialling.catch(() => {}) // It is awaited below, a flap later perhaps.
    try {
      for (let flaps = 0; flaps < 10; flaps++) {
        await server.cut('path')
        await Promise.race([delay(3_000), dialling])
        await server.mend()
        await Promise.race([delay(3_000), dialling])
      }
    } finally {
      flapping.on = false
      await server.mend()
    }
    const { dials, slow } = await dialling
    assert.deepEqual(slow, [])
    const { attempts, heartbeats, failovers } = client.dialer.snapshot().counters
    // One more for each flap, were each noticed by a dial; a heartbeat for each of those and every second for the list.
    assert.ok(attempts - before.attempts <= dials + 20, `${attempts - before.attempts} attempts for ${dials} dials`)
    assert.ok(heartbeats - before.heartbeats <= 90, `${heartbeats - before.heartbeats} heartbeats in a minute`)
    assert.ok(failovers - before.failovers <= 10, `${failovers - before.failovers} failovers`)
  })

  it('all down: each dial fails at once with every cause; the first after the return works', { timeout }, async () => {
    using client = await user(cluster, { keepAlive: false })
    const addresses = cluster.servers.map(({ address }) => address).sort()
    await Promise.all(cluster.servers.map(server => server.kill()))
    const down = performance.now()
    for (let dials = 0; dials < 20; dials++) {
      const { error, ms } = await timed(() => client.dial())
      if (!(error instanceof MultidialError)) throw error
      assert.ok(ms < atOnce, `a dial failed after ${ms} ms`)
      assert.equal(error.code, 'ECONNREFUSED')
      assert.deepEqual(error.errors.map(({ address }) => address).sort(), addresses)
      await delay(1_000)
    }
    assert.ok(performance.now() - down > 20_000)
    const back = cluster.server(2)
    await back.start()
    const { host, ms } = await client.dial()
    assert.equal(host, back.host)
    assert.ok(ms < atOnce, `the first dial took ${ms} ms`)
    await Promise.all(cluster.servers.map(server => server.start()))
  })

  it('grown to five, shrunk to two, moved until no address is left: a failed request a step', { timeout }, async () => {
    using client = await user(cluster)
    const [first, second, third] = [cluster.server(0), cluster.server(1), cluster.server(2)]
    const start = cluster.servers.map(({ host }) => host)
    const load = new Load(client, 20, true)
    const step = async (what: string, change: () => Promise<unknown>): Promise<void> => {
      const failed = load.failed.length
      await change()
      await cluster.waitForEndpoints()
      await load.answers(5)
      await client.dialer.refresh() // As it would within a minute.
      await client.learned(cluster.servers)
      const since = load.failed.slice(failed)
      onlyLostInFlight(since)
      assert.ok(since.length <= 1, `${what}: ${since.length} requests failed`)
    }
    await step('grown to five', () => Promise.all([cluster.addServer(), cluster.addServer()]))
    for (const server of [cluster.server(3), second, cluster.server(4)]) {
      await step(`${server.host} removed`, () => cluster.removeServer(server))
    }
    assert.deepEqual(cluster.servers, [first, third])
    for (const server of [third, first]) {
      await step(`${server.host} renumbered`, () => cluster.renumber(server))
    }
    assert.deepEqual(cluster.servers.filter(({ host }) => start.includes(host)), [])
    await load.stop()
    assert.ok(cluster.servers.some(({ host }) => host === load.host))
    // The seed is gone, and still only the name under which the cluster is asked for.
    assert.equal((await client.get()).status, 200)
  })
})

/** A client that uses the first server and knows all of them. */
async function user(cluster: Cluster, options: { keepAlive?: boolean } = {}): Promise<Client> {
  const client = new Client(cluster, options)
  await client.get()
  await client.learned(cluster.servers)
  return client
}

/** A request on a connection that its server closed is lost; a dial that fails, or an answer of 5xx, is not excused. */
function onlyLostInFlight(failed: readonly FailedRequest[]): void {
  for (const { error } of failed) {
    if (error instanceof MultidialError || !['ECONNRESET', 'EPIPE'].includes(codeOf(error) ?? '')) throw error
  }
}
