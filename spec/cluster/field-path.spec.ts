/**
 * What happens to the client's own network, or to the path to the server in use, while all servers are well: a client
 * is served on within the promised bounds, each with half as much again for a machine that is busy with three
 * apiservers. A stock agent beside it shows that the fault is felt.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../../lib/errors.ts'
import { Client, released, timed, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import { BusyClient, ending, Feed, ResumingWatch, StockClient } from './field.ts'

await enterClientNamespace()

const timeout = 90_000
const margin = 1.5
const requestFreed = margin * 6_000
const roamingWatchFreed = margin * 12_000
const servedAgain = margin * 3_000
const outage = 20_000
const listFreed = margin * 15_000
const limpingAnswer = margin * 2_000
const limps = 8
const largeList = '/api/v1/namespaces/kube-public/configmaps'

describe('a real control plane and the path to it', { skip: unavailable(), timeout: 300_000 }, () => {
  let cluster: Cluster
  before(async () => {
    cluster = await Cluster.start()
    for (const name of ['large-1', 'large-2', 'large-3', 'large-4']) {
      const body = { metadata: { name }, data: { filler: 'x'.repeat(250_000) } }
      await cluster.server(1).request(largeList, { method: 'POST', body })
    }
  })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())
  afterEach(released)

  it('F4 the client\'s address changes: a request is freed within 6 s, a watch within 12 s', { timeout }, async () => {
    const server = cluster.server(0)
    using client = await user(cluster)
    using stock = new StockClient(cluster, server)
    const watch = await client.watch()
    await Promise.all([client.get(), stock.connect(1)])
    // A client that has been there for more than a tenth of a second: a connection of ours is there, too (F4).
    await client.dialer.refresh()
    await cluster.moveClient()
    try {
      // The watch may be ended by the kernel before: keepalive finds a path that is dead without anybody's witness.
      const [felt, request] = await Promise.all([
        stock.unanswered(roamingWatchFreed), timed(() => client.get()), ending(watch, roamingWatchFreed),
      ])
      severed(request.error, server)
      assert.ok(request.ms < requestFreed, `the request was severed after ${request.ms} ms`)
      assert.equal((await client.get()).status, 200)
      assert.equal(felt, 1, 'the stock agent did not notice')
    } finally {
      await cluster.restoreClient()
    }
  })

  for (const how of ['down', 'unplugged'] as const) {
    it(`F4 the client's link is ${how} for 20 s, then up: everything is served within 3 s`, { timeout }, async () => {
      await using feed = await Feed.start(cluster.server(1))
      using busy = await BusyClient.open(cluster)
      using stock = new StockClient(cluster, cluster.server(0))
      using watch = new ResumingWatch(busy.client, feed.version)
      try {
        await Promise.all([busy.client.learned(cluster.servers), until(() => watch.last > 5), stock.connect(1)])
        await cluster.disconnectClient(how)
        const [felt] = await Promise.all([stock.unanswered(outage), delay(outage)])
        assert.equal(felt, 1, 'the stock agent did not notice')
      } finally {
        await cluster.reconnectClient(how)
      }
      const up = performance.now()
      const before = watch.counts.length
      // The feed, a client of its own, was cut off as well: what it wrote before is not new.
      const request = await timed(() => busy.client.get())
      assert.equal(request.value?.status, 200, String(request.error))
      assert.ok(request.ms < servedAgain, `a request took ${request.ms} ms`)
      await until(() => watch.counts.length > before + 1)
      assert.ok(performance.now() - up < servedAgain, `the watch was served ${performance.now() - up} ms after`)
      await delay(servedAgain)
      await busy.load.answers(10)
      assert.deepEqual(busy.load.failed.filter(({ begun }) => begun > up + servedAgain), [])
    })
  }

  it('H12 the path loses full-size packets: a list is freed within 15 s, the next answered', { timeout }, async () => {
    const server = cluster.server(0)
    using client = await user(cluster)
    using stock = new StockClient(cluster, server)
    assert.equal((await client.get(largeList)).host, server.host)
    await stock.connect(1)
    await server.loseFullSizePackets()
    try {
      assert.equal(await stock.unanswered(2_000), 0, 'small packets are lost too')
      const [felt, list] = await Promise.all([
        stock.unanswered(listFreed, 1, largeList), timed(() => client.get(largeList)),
      ])
      assert.equal(felt, 1, 'the stock agent did not notice')
      assert.ok(list.error instanceof Error, 'the list was answered')
      assert.equal(codeOf(list.error), 'ECONNRESET', list.error.message)
      assert.ok(list.ms < listFreed, `the list was freed after ${list.ms} ms`)
      const again = await client.get(largeList)
      assert.equal(again.status, 200)
      assert.notEqual(again.host, server.host)
    } finally {
      await server.mend()
    }
  })

  it('H9 the server in use limps: every request is answered within 2 s, and no watch is cut', { timeout }, async () => {
    const server = cluster.server(0)
    using busy = await BusyClient.open(cluster)
    using stock = new StockClient(cluster, server)
    await Promise.all([busy.client.learned(cluster.servers), stock.connect(1)])
    assert.equal(busy.watches[0]?.host, server.host)
    const slowest = { ofStock: 0 }
    busy.load.hosts.clear()
    try {
      for (let limp = 0; limp < limps; limp++) {
        server.stop()
        const [{ ms }] = await Promise.all([timed(() => stock.get()), delay(1_500).then(() => server.cont())])
        slowest.ofStock = Math.max(slowest.ofStock, ms)
        await delay(500)
      }
    } finally {
      server.cont()
    }
    const outcome = await busy.load.stop()
    assert.ok(slowest.ofStock > 1_000, 'the stock agent did not notice')
    assert.deepEqual(busy.watches.flatMap(({ endedWith }) => endedWith ?? []), [], 'watches were cut')
    assert.deepEqual(outcome.failed, [])
    assert.ok(outcome.slowest < limpingAnswer, `a request took ${outcome.slowest} ms`)
    assert.ok([...busy.load.hosts].some(host => host !== server.host), 'no other server was used')
    assert.notEqual((await busy.client.dial()).host, server.host)
  })
})

/** A client that uses the first server and knows all of them. */
async function user(cluster: Cluster): Promise<Client> {
  const client = new Client(cluster)
  assert.equal((await client.get()).host, cluster.server(0).host)
  await client.learned(cluster.servers)
  return client
}

function severed(error: unknown, server: ApiServer): void {
  assert.ok(error instanceof Error, 'it was not severed')
  assert.equal(codeOf(error), 'ECONNRESET', error.message)
  assert.match(error.message, new RegExp(`${server.address} stopped answering`))
}
