/**
 * Every fault of one real apiserver, with default options: whoever dials it, waits for its answer, or watches through
 * it, is served by another within the bound that is promised. Each bound has half as much again, for a machine that is
 * busy with three apiservers.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { IncomingMessage } from 'node:http'
import https from 'node:https'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { codeOf } from '../../lib/errors.ts'
import { Client, released, timed, until, type ClientOptions } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type CertificateKind } from './cluster.ts'

await enterClientNamespace()

const timeout = 90_000
/** D, a handshake with a healthy server on a busy machine, in ms. */
const dialTime = 250
/** A, the default of `attemptDelay`, in ms. */
const attemptDelay = 250
const margin = 1.5
const atOnce = margin * (dialTime + 50)
const raced = margin * (attemptDelay + dialTime)
const freed = margin * 6_000
const watchFreed = margin * 10_000

describe('a fault of one apiserver', { skip: unavailable(), timeout: 300_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start() })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())
  afterEach(released)

  const silences: [name: string, begin: (server: ApiServer) => unknown, end: (server: ApiServer) => unknown][] = [
    ['stopped', server => server.stop(), server => server.cont()],
    ['without its link', server => server.cut('both'), server => server.mend()],
    ['behind a path that drops packets', server => server.cut('path'), server => server.mend()],
    ['whose replies are lost', server => server.cut('replies'), server => server.mend()],
  ]
  for (const [name, begin, end] of silences) {
    it(`${name}: a dial is raced, a request is severed within 6 s, a watch within 10 s`, { timeout }, async () => {
      const server = cluster.server(0)
      using dialling = await user(cluster, { keepAlive: false }) // No socket of its own tells it anything.
      using requesting = await user(cluster)
      using watching = await user(cluster)
      const { heartbeats } = watching.dialer.snapshot().counters
      const watch = await watching.watch()
      assert.equal(watch.host, server.host)
      // Its request, too, is a byte written; once that is known to be answered, the watch is silent for good.
      await until(() => watching.dialer.snapshot().counters.heartbeats > heartbeats)
      await begin(server)
      try {
        const ended = timed(() => watch.ended)
        const [dial, request] = await Promise.all([dialling.dial(), timed(() => requesting.get())])
        assert.notEqual(dial.host, server.host)
        assert.ok(dial.ms < raced, `the dial took ${dial.ms} ms`)
        severed(request.error, server)
        assert.ok(request.ms < freed, `the request was severed after ${request.ms} ms`)
        const again = await requesting.get()
        assert.notEqual(again.host, server.host)
        assert.ok(again.ms < atOnce, `the next request took ${again.ms} ms`)

        const { error, ms } = await ended
        severed(error, server)
        assert.ok(ms < watchFreed, `the watch was severed after ${ms} ms`)
        const next = await timed(() => watching.watch())
        assert.notEqual(next.value?.host, server.host)
        assert.ok(next.ms < atOnce, `the next watch took ${next.ms} ms`)
      } finally {
        await end(server)
      }
    })
  }

  it('packets to two of three dropped: the dial is won by the third', { timeout }, async () => {
    const [lost, left] = [cluster.servers.slice(0, 2), cluster.server(2)]
    using client = await user(cluster)
    await Promise.all(lost.map(server => server.cut('path')))
    try {
      const { host, ms } = await client.dial()
      assert.equal(host, left.host)
      assert.ok(ms < margin * (2 * attemptDelay + dialTime), `the dial took ${ms} ms`)
    } finally {
      await Promise.all(lost.map(server => server.mend()))
    }
  })

  it('killed: the next serves at once', { timeout }, async () => {
    const server = cluster.server(0)
    using client = await user(cluster)
    await server.kill()
    const { host, ms } = await client.dial()
    await server.start()
    assert.notEqual(host, server.host)
    assert.ok(ms < atOnce, `the dial took ${ms} ms`)
    assert.match(client.failovers[0]?.reason ?? '', /ECONNREFUSED/) // So that nothing was waited for.
  })

  const certificates: [kind: CertificateKind, code: string][] = [
    ['otherName', 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['otherCa', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['expired', 'CERT_HAS_EXPIRED'],
  ]
  for (const [kind, code] of certificates) {
    it(`a certificate that will not do (${kind}): the next at once, a warning, and no token`, { timeout }, async () => {
      const [bad, good] = [cluster.server(0), cluster.server(1)]
      await bad.kill()
      const asked = (await bad.audited()).length
      await bad.start(kind)
      using client = new Client(cluster, { seed: bad, alternates: [good.address] })
      const { host, ms } = await client.dial()
      assert.equal(host, good.host)
      assert.ok(ms < atOnce, `the dial took ${ms} ms`)
      assert.deepEqual(client.warnings.map(warning => warning.kind), [`identity ${bad.address}`])
      assert.equal(client.failures[0]?.address, bad.address)
      assert.equal(codeOf(client.failures[0]?.error), code)
      assert.equal((await client.get()).host, good.host)
      await client.dialer.refresh()
      await loggedUpToHere(bad)
      const requests = (await bad.audited()).slice(asked)
      assert.deepEqual(requests.filter(({ user }) => user !== 'system:anonymous'), [])
    })
  }
})

/** A client that uses the first server and knows all of them, by default with an idle connection in its pool. */
async function user(cluster: Cluster, options?: ClientOptions): Promise<Client> {
  const client = new Client(cluster, options)
  assert.equal((await client.get()).host, cluster.server(0).host)
  await client.learned(cluster.servers)
  return client
}

/** Resolves when the log of a server has a request that came now, and so all that came before. */
async function loggedUpToHere(server: ApiServer): Promise<void> {
  const path = `/version?${performance.now()}`
  const response = once(https.get(server.url + path, { agent: false, rejectUnauthorized: false }), 'response')
  for (const each of await response) if (each instanceof IncomingMessage) each.resume()
  await until(async () => (await server.audited()).some(({ uri }) => uri === path))
}

function severed(error: unknown, server: ApiServer): void {
  if (!(error instanceof Error) || !('code' in error)) throw error ?? new Error('it was not severed')
  assert.equal(error.code, 'ECONNRESET')
  assert.match(error.message, new RegExp(`${server.address} stopped answering`))
}
