/**
 * The seed is a balancer, as in nearly every kubeconfig, and what is behind it fails: a busy client, whose watches were
 * opened at once, is served on within the bounds of a seed that is an apiserver itself. Each bound has half as much
 * again, for a machine that is busy with three apiservers. A stock agent beside it shows that the fault is felt.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { codeOf } from '../../lib/errors.ts'
import { released, timed, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type Balancer } from './cluster.ts'
import { BusyClient, ending, StockClient } from './field.ts'

await enterClientNamespace()

const timeout = 90_000
const margin = 1.5
/** D + 50 ms, D being a handshake with a healthy server on a busy machine. */
const atOnce = margin * (250 + 50)
const requestFreed = margin * 6_000
const watchFreed = margin * 10_000

describe('a real control plane behind a balancer', { skip: unavailable(), timeout: 300_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start({ balanced: true }) })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())
  afterEach(released)

  it('F1 F3 a back end is stopped: requests are freed within 6 s, watches within 10 s', { timeout }, async () => {
    await using balancer = await cluster.balancer()
    using busy = await BusyClient.open(cluster, { seed: balancer })
    using stock = new StockClient(cluster, balancer)
    await Promise.all([busy.client.learned(cluster.servers), stock.connect(6)])
    const server = await onApiservers(cluster, busy, balancer)
    server.stop()
    try {
      busy.load.hosts.clear()
      const [felt] = await Promise.all([stock.unanswered(watchFreed, 6), served(busy, server.address)])
      assert.ok(felt > 0, 'the stock agent did not notice')
      assert.ok(!busy.load.hosts.has(balancer.host), 'requests went through the balancer')
      assert.notEqual((await busy.client.watch()).host, balancer.host)
    } finally {
      server.cont()
    }
    const { slowest } = await busy.load.stop()
    assert.ok(slowest < requestFreed, `a request took ${slowest} ms`)
  })

  it('F1 a back end is killed, the client\'s side is kept open: the next serves at once', { timeout }, async () => {
    await using balancer = await cluster.balancer({ keepsClient: true })
    using busy = await BusyClient.open(cluster, { seed: balancer })
    using stock = new StockClient(cluster, balancer)
    const [stockEnded] = await Promise.all([stock.watch(6), busy.client.learned(cluster.servers)])
    const server = await onApiservers(cluster, busy, balancer)
    assert.ok(((await balancer.stats()).backends[server.address]?.open ?? 0) > 0, 'it had nothing to keep')
    await server.kill()
    try {
      const [{ host, ms }] = await Promise.all([busy.client.dial(), served(busy)])
      assert.notEqual(host, balancer.host)
      assert.ok(ms < atOnce, `the dial took ${ms} ms`)
      assert.equal(stockEnded(), 0, 'the balancer told its clients')
    } finally {
      await server.start()
    }
    const { slowest } = await busy.load.stop()
    assert.ok(slowest < requestFreed, `a request took ${slowest} ms`)
  })

  it('F4 discovery is forbidden, old connections go deaf, new ones work: the same bounds', { timeout }, async () => {
    await using balancer = await cluster.balancer()
    using busy = await BusyClient.open(cluster, { seed: balancer, user: 'nobody' })
    using stock = new StockClient(cluster, balancer)
    await stock.connect(1)
    await until(() => busy.client.dialer.snapshot().discovery.status === 'forbidden')
    await busy.load.answers(5)
    assert.deepEqual(busy.watches.filter(({ host }) => host !== balancer.host), [])
    await balancer.deafen()
    const [felt] = await Promise.all([stock.unanswered(watchFreed), served(busy, balancer.address)])
    assert.equal(felt, 1, 'the stock agent did not notice')
    const { slowest } = await busy.load.stop()
    assert.ok(slowest < requestFreed, `a request took ${slowest} ms`)
  })
})

/** Asserts that no watch was left on the balancer; the server that the first is on, which is the one to fail. */
async function onApiservers(cluster: Cluster, busy: BusyClient, balancer: Balancer): Promise<ApiServer> {
  await busy.load.answers(5)
  const hosts = busy.watches.map(({ host }) => host)
  assert.ok(!hosts.includes(balancer.host), `watches were left on the balancer: ${hosts.join(' ')}`)
  return cluster.servers.find(({ host }) => host === hosts[0]) ?? assert.fail()
}

/**
 * Every watch that was with who fails is ended within its bound, for the reason that `severer` stopped answering if one
 * is named, and the next watch is served at once.
 */
async function served(busy: BusyClient, severer?: string): Promise<void> {
  const failing = busy.watches[0]?.host
  const lost = busy.watches.filter(({ host }) => host === failing)
  await Promise.all(lost.map(async watch => {
    const { error } = await ending(watch, watchFreed)
    if (severer === undefined) return
    assert.equal(codeOf(error), 'ECONNRESET', error.message)
    assert.match(error.message, new RegExp(`${severer} stopped answering`))
  }))
  const next = await timed(() => busy.client.watch())
  assert.ok(next.value !== undefined, String(next.error))
  assert.ok(next.ms < atOnce, `the next watch took ${next.ms} ms`)
}
