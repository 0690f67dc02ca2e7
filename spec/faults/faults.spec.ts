/**
 * What each fault of a server does to its clients, and by when: processes that are killed, stopped and restarted, wires
 * that are cut, handshakes that go wrong. Default options wherever a default is what bounds the outcome.
 */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { blackhole, canBlackhole } from '../support/blackhole.ts'
import { at, type Client, dialError, happens, rejection, timed, until } from '../support/client.ts'
import type { ApiServer, ControlPlane } from '../support/control-plane.ts'
import { D, lane, learned, LOAD, type Row, type Scene, servedByNext, told } from '../support/lanes.ts'
import { apart } from '../support/leaks.ts'
import { Wires } from '../support/wires.ts'

/** What a machine of two cores that has much else to do may add to the end of a silence. ms */
const LATE = 1_500
/** attemptDelay. ms */
const A = 250

// ---- before the dial

// The next one is started because the attempt failed: silence would take ten times as long.
const atOnce = (plane: ControlPlane): Partial<MultidialerOptions> =>
  ({ ...told(plane), attemptDelay: 10 * LOAD, attemptTimeout: 10 * LOAD })

const handshakes = [
  ['reset-handshake', 'RST during the handshake', /ECONNRESET/],
  ['fin-handshake', 'FIN during the handshake', /ECONNRESET/],
  ['alert', 'TLS alert', /HANDSHAKE_FAILURE|EPROTO/],
  ['old-tls', 'TLS version mismatch', /PROTOCOL_VERSION|EPROTO/],
  ['plain-http', 'plain HTTP on the port', /WRONG_VERSION|PACKET_LENGTH|EPROTO/],
] as const

const certificates = [
  ['wrong name', 'wrong-name', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ['wrong CA', 'from-other-ca', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ['expired certificate', 'expired', 'CERT_HAS_EXPIRED'],
] as const

const beforeTheDial: readonly Row[] = [
  ...handshakes.map(([fault, name, code]): Row => ({
    name: `${name}: next, at once, cause kept`,
    options: atOnce,
    body: async (scene) => {
      await scene.server(0).misbehave(fault)
      await servedByNext(scene, D + 50)
      const { address, error } = scene.client.failed[0] ?? assert.fail('none failed')
      assert.equal(address, scene.server(0).address)
      assert.match('code' in error ? String(error.code) : '', code)
      const known = scene.client.dialer.snapshot().endpoints[0]
      assert.equal(known?.status, 'failed')
      assert.equal(known.lastError, error.message.trim())
    },
  })),
  ...certificates.map(([name, certificate, code]): Row => ({
    name: `${name}: next, at once; a warning; no byte of any token sent`,
    options: atOnce,
    body: async (scene) => {
      await scene.server(0).misbehave({ certificate })
      await servedByNext(scene, D + 50)
      assert.deepEqual(scene.client.warnings.map(({ kind }) => kind), [`identity ${scene.server(0).address}`])
      const { error } = scene.client.failed[0] ?? assert.fail('none failed')
      assert.equal('code' in error && error.code, code)
      await scene.client.dialer.refresh()
      const { tokens, requests } = await scene.server(0).stats()
      assert.deepEqual({ tokens, requests }, { tokens: [], requests: 0 })
    },
  })),
  {
    name: 'every endpoint\'s certificate wrong: one error naming each, at once',
    options: atOnce,
    body: async ({ plane, client }) => {
      await Promise.all(plane.servers.map((server) => server.misbehave({ certificate: 'wrong-name' })))
      const from = performance.now()
      const error = await dialError(client.get('/version'))
      assert.ok(performance.now() - from < 3 * D + LOAD)
      assert.equal(error.code, 'ERR_TLS_CERT_ALTNAME_INVALID')
      assert.deepEqual(error.errors.map(({ address }) => address).sort(),
        plane.servers.map(({ address }) => address).sort())
      for (const { message } of error.errors) assert.ok(error.message.includes(message))
      for (const server of plane.servers) assert.deepEqual((await server.stats()).tokens, [])
    },
  },
  {
    name: 'unreachable: next, at once',
    options: (plane) => ({
      ...atOnce(plane),
      connectSocket: (endpoint, options) => {
        if (endpoint.host !== at(plane, 0).host || endpoint.port !== at(plane, 0).port) {
          return new Wires().connectSocket(endpoint, options)
        }
        throw Object.assign(new Error('connect EHOSTUNREACH'), { code: 'EHOSTUNREACH' })
      },
    }),
    body: (scene) => servedByNext(scene, D + 50).then(() => undefined),
  },
  {
    name: 'SIGSTOP before the dial: next, raced; the loser destroyed',
    options: told,
    body: async (scene) => {
      await scene.server(0).stop()
      const ms = await servedByNext(scene, A + D)
      assert.ok(ms >= A - 5, `${ms} ms`)
      await scene.server(0).cont()
      await until('none is left but the monitor\'s', async () => (await scene.server(0).stats()).rawOpen <= 1, 10_000)
    },
  },
  ...[1, 2].map((k): Row => ({
    name: `packets dropped before the dial, ${k} of ${k + 1}: next, raced`,
    skip: !canBlackhole && 'only Linux drops a SYN for a full queue',
    body: async (scene) => {
      const holes = await apart(() => Promise.all(Array.from({ length: k }, () => blackhole())))
      try {
        const [first, ...others] = holes.map(({ host, port }) => `${host}:${port}`)
        // Seed first, in the order of their lots those that were told: the good one is reached at the latest after k of
        // them.
        const client = scene.another({ server: `https://${first}`, alternates: [...others, scene.server(1).address] })
        const socket = client.dialer.connect()
        const { value, ms } = await timed(socket)
        assert.equal(value.remotePort, scene.server(1).port)
        assert.ok(ms >= A - 5 && ms < k * A + D + LOAD, `${ms} ms`)
        value.destroy()
      } finally {
        await Promise.all(holes.map((hole) => hole.close()))
      }
    },
  })),
  {
    name: 'connection refused (process killed): next, at once',
    options: atOnce,
    body: async (scene) => {
      await learned(scene.client)
      await scene.server(0).kill()
      await servedByNext(scene, D + 50)
      assert.deepEqual(scene.client.failovers.map(({ from }) => from), [scene.server(0).address])
      const watch = await scene.client.watch()
      assert.notEqual(watch.server, scene.server(0).name)
      watch.destroy()
    },
  },
]

// ---- a connection that was good goes bad

interface Hang {
  readonly name: string
  readonly begin: (scene: Scene, wires: Wires) => Promise<void>
  readonly end: (scene: Scene, wires: Wires) => Promise<void>
}

const hangs: readonly Hang[] = [
  {
    name: 'SIGSTOP',
    begin: ({ server }) => server(0).stop(),
    end: ({ server }) => server(0).cont(),
  },
  {
    name: 'packets dropped',
    begin: async ({ server }, wires) => wires.cut(server(0).address),
    end: async ({ server }, wires) => wires.mend(server(0).address),
  },
  {
    name: 'packets dropped one way only (replies lost)',
    begin: async ({ server }, wires) => wires.cut(server(0).address, 'replies'),
    end: async ({ server }, wires) => wires.mend(server(0).address),
  },
  {
    name: 'deaf (the process lives, reads nothing and accepts)',
    begin: ({ server }) => server(0).misbehave('deaf'),
    end: ({ server }) => server(0).misbehave(),
  },
]

function hangRow({ name, begin, end }: Hang): Row {
  const wires = new Wires()
  return {
    name: `${name}: an idle watch is severed within 10 s, a written request within 6 s; next`,
    options: name.startsWith('packets') ? { connectSocket: wires.connectSocket } : {},
    body: async (scene) => {
      const { client: watching, server } = scene
      const asking = scene.another()
      await Promise.all([learned(asking), learned(watching)])
      const watch = await watching.watch()
      // What was written with its answer may still be owed one, as far as bytes tell: it is idle once that has been
      // asked.
      const { heartbeats } = watching.dialer.snapshot().counters
      await until('it is asked', () => watching.dialer.snapshot().counters.heartbeats > heartbeats)
      await until('it has answered', () => (watching.dialer.snapshot().discovery.ageMs ?? Infinity) < 500)
      await asking.get('/version')
      await until('its socket is pooled', () => asking.pooled.length === 1)
      assert.equal(watch.server, server(0).name)
      await begin(scene, wires)
      const from = performance.now()
      const severed = async (
        what: string, within: number, error: Promise<Error & { code?: string } | undefined>,
      ): Promise<void> => {
        const reason = await happens(what, error)
        const ms = performance.now() - from
        assert.equal(reason?.code, 'ECONNRESET')
        assert.match(reason.message, new RegExp(`apiserver ${server(0).address} stopped answering`))
        assert.ok(ms < within + LATE, `${what} after ${Math.round(ms)} ms, promised ${within}`)
      }
      await Promise.all([
        severed('the request is severed', 6_000, rejection(asking.get('/version'))),
        severed('the watch is severed', 10_000, watch.ended),
      ])
      for (const client of [asking, watching]) {
        await servedByNext({ ...scene, client }, D)
        assert.equal(client.dialer.snapshot().counters.severed, 1)
        assert.deepEqual(client.failovers.map((failover) => failover.from), [server(0).address])
      }
      await end(scene, wires)
    },
  }
}

// ---- slow, half broken, or leaving

const halfBroken: readonly Row[] = [
  {
    name: '+200 ms latency on one of three: never failed for it',
    options: told,
    body: async ({ client, server }) => {
      await server(0).misbehave({ latency: 200 })
      const watch = await client.watch()
      await Promise.all(Array.from({ length: 12 }, () => client.fresh('/version')))
      await client.dialer.refresh()
      assert.deepEqual(client.failed, [])
      assert.equal(client.dialer.snapshot().endpoints[0]?.failures, 0)
      assert.equal(client.dialer.snapshot().counters.severed, 0)
      watch.destroy()
    },
  },
  ...(['reset-half', 'reset-half-requests'] as const).map((fault): Row => ({
    name: `half of its connections reset (${fault}): no more than one failover a minute`,
    body: async ({ client, server }) => {
      await learned(client)
      await server(0).misbehave(fault)
      let failures = 0
      for (let i = 0; i < 100; i += 1) await client.fresh('/version').catch(() => { failures += 1 })
      assert.ok(client.failovers.length <= 1, `${client.failovers.length} failovers`)
      // A connection that is reset after it was handed over is its client's to retry; no dial fails.
      assert.ok(fault === 'reset-half' ? failures === 0 : failures <= 51, `${failures} failed`)
    },
  })),
  {
    name: 'answers 401, 403, 404, 429, 500, 503 to the heartbeat: alive; 429 and 5xx: leaving',
    body: async ({ server, another }) => {
      for (const [heartbeat, status] of [
        [401, 'ready'], [403, 'ready'], [404, 'ready'], [429, 'leaving'], [500, 'leaving'], [503, 'leaving'],
      ] as const) {
        await server(0).misbehave()
        const client = another()
        await learned(client)
        const watch = await client.watch()
        assert.equal(watch.server, server(0).name)
        await server(0).misbehave({ heartbeat })
        // 403 is the cluster's word, not the server's: nobody else is asked.
        if (heartbeat === 403) await rejection(client.dialer.refresh())
        else await client.dialer.refresh()
        const known = client.dialer.snapshot().endpoints[0]
        assert.deepEqual([known?.status, known?.failures], [status, 0], String(heartbeat))
        assert.equal((await client.fresh('/version')).server === server(0).name, status === 'ready', String(heartbeat))
        assert.equal(client.dialer.snapshot().counters.severed, 0)
        watch.destroy()
        assert.deepEqual(client.failed, [])
      }
    },
  },
  ...([
    ['503', (server): Promise<void> => server.misbehave({ heartbeat: 503 })],
    ['no longer listed', (server, plane): Promise<void> => plane.unlist(server)],
  ] satisfies [string, (server: ApiServer, plane: ControlPlane) => Promise<void>][]).map(([name, leave]): Row => ({
    name: `H5 leaving (${name}): no new dials while another is ready, idle sockets closed at once, busy ones finish`,
    body: async ({ plane, client, server }) => {
      await learned(client)
      // Idle ones in the pool, one request and one watch under way.
      await Promise.all([1, 2, 3].map(() => client.get('/version')))
      await until('they are pooled', () => client.pooled.length === 3)
      const watch = await client.watch('/tick?ms=20')
      const slow = client.get('/slow?ms=1500')
      await until('the request has arrived', async () => (await server(0).stats()).byPath['/slow'] === 1)
      const idle = client.pooled
      assert.equal(idle.length, 1)
      await leave(server(0), plane)
      await client.dialer.refresh()
      // Listed is not ready yet: the first dial proves another one.
      assert.notEqual((await client.fresh('/version')).server, server(0).name)
      assert.ok(idle.every((socket) => socket.destroyed), 'the idle ones are closed at once')
      for (let i = 0; i < 5; i += 1) assert.notEqual((await client.fresh('/version')).server, server(0).name)
      assert.equal((await slow).server, server(0).name)
      const lines = watch.lines.length
      await until('the watch goes on', () => watch.lines.length > lines + 20)
      assert.equal(client.dialer.snapshot().counters.severed, 0)
      await until('the socket of the request is not kept', () => client.dialer.snapshot().endpoints[0]?.sockets === 1)
      watch.destroy()
    },
  })),
  {
    name: 'heartbeats fail, but it is the only server that answers: nothing severed, for ever',
    options: { heartbeatInterval: 100, heartbeatTimeout: 100 },
    body: async ({ plane, client, server }) => {
      await learned(client)
      await Promise.all(plane.servers.slice(1).map((other) => other.kill()))
      await server(0).misbehave({ heartbeat: 'silent' })
      const watch = await client.watch()
      let ended = false
      void watch.ended.then(() => { ended = true })
      const { heartbeats } = client.dialer.snapshot().counters
      await until('thirty heartbeats have failed', () =>
        client.dialer.snapshot().counters.heartbeats >= heartbeats + 30)
      assert.equal((await client.get('/version')).server, server(0).name)
      assert.equal((await client.fresh('/version')).server, server(0).name)
      assert.equal(ended, false)
      assert.equal(client.dialer.snapshot().counters.severed, 0)
      watch.destroy()
    },
  },
]

// ---- the whole control plane moves

/** The refresh is what bounds these, and nothing is to be severed. */
const refreshing = { refreshInterval: 1_000 }

/** Requests one after another, 50 ms apart, until told to stop: how many, and how those that failed did. */
class Stream {
  readonly failures: (Error & { code?: string })[] = []
  readonly served = new Set<string>()
  count = 0
  #running = true
  readonly #done: Promise<void>

  constructor(client: Client, pause = 50) {
    this.#done = this.#run(client, pause)
  }

  async #run(client: Client, pause: number): Promise<void> {
    while (this.#running) {
      this.count += 1
      await client.get('/version').then(({ server }) => this.served.add(server), (error) => this.failures.push(error))
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }

  /** No dial failed: what did was written to a socket that was closed just then, and not more than `most` times. */
  assertRetriable(most: number): void {
    for (const { code, message } of this.failures) assert.ok(code === 'ECONNRESET' || code === 'EPIPE', message)
    assert.ok(this.failures.length <= most, `${this.failures.length} failed`)
  }

  /** Resolves when so many more requests have ended. */
  more(count: number): Promise<void> {
    const wanted = this.count + count
    return until(`${count} more requests`, () => this.count >= wanted)
  }

  async stop(): Promise<void> {
    this.#running = false
    await this.#done
  }
}

const moving: readonly Row[] = [
  {
    name: 'all down, then back: each dial fails at once with every cause; the first dial after return works',
    options: refreshing,
    body: async ({ plane, client }) => {
      await learned(client)
      await Promise.all(plane.servers.map((server) => server.kill()))
      for (let i = 0; i < 40; i += 1) {
        const from = performance.now()
        const error = await dialError(client.get('/version'))
        assert.ok(performance.now() - from < 50 + LOAD)
        assert.equal(error.code, 'ECONNREFUSED')
        assert.equal(error.errors.length, plane.servers.length)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      await at(plane, 2).restart()
      const { server, ms } = await client.get('/version')
      assert.equal(server, at(plane, 2).name)
      assert.ok(ms < D + 50 + LOAD, `${ms} ms`)
    },
  },
  {
    name: 'flapping: dials keep working; no storm of attempts',
    options: refreshing,
    body: async ({ plane, client }) => {
      await learned(client)
      const stream = new Stream(client)
      for (let i = 0; i < 5; i += 1) {
        const server = plane.servers.find(({ address }) => address === client.dialer.snapshot().current) ?? at(plane, 0)
        await server.kill()
        await stream.more(4)
        await server.restart()
        await stream.more(2)
      }
      await stream.stop()
      stream.assertRetriable(5)
      const { dials, attempts } = client.dialer.snapshot().counters
      assert.ok(attempts <= 3 * dials, `${attempts} attempts for ${dials} dials`)
    },
  },
  {
    name: 'graceful restart of each server in turn, 50 ms requests running: no failed dial',
    options: refreshing,
    body: async ({ plane, client }) => {
      await learned(client)
      const stream = new Stream(client)
      await stream.more(3)
      for (const server of plane.servers) {
        await server.terminate()
        await stream.more(3)
        await server.restart()
        await stream.more(3)
      }
      await stream.stop()
      // A request that was written to a socket just as its server closed it has failed; its client may retry.
      stream.assertRetriable(plane.servers.length)
      assert.equal(client.dialer.snapshot().counters.severed, 0)
    },
  },
  {
    name: 'scaled 3 to 5 to 2, then renumbered until no address of the start is left: ' +
      'at most one failed request a step',
    options: refreshing,
    body: async ({ plane, client }) => {
      await learned(client)
      const start = plane.servers.map(({ address }) => address)
      const stream = new Stream(client)
      let steps = 0
      /** A step is over when the client has the list that came of it. */
      const step = async (change: () => Promise<unknown>): Promise<void> => {
        steps += 1
        await change()
        const listed = plane.servers.map(({ address }) => address).sort()
        await until('the client knows', () => {
          const known = client.dialer.snapshot().endpoints
            .filter((endpoint) => endpoint.listed).map(({ address }) => address)
          return known.sort().join() === listed.join()
        })
        await stream.more(2)
        stream.assertRetriable(steps)
      }
      await step(() => plane.addServer())
      await step(() => plane.addServer())
      for (let i = 0; i < 3; i += 1) await step(() => plane.removeServer(at(plane, plane.servers.length - 1)))
      while (plane.servers.some(({ address }) => start.includes(address))) {
        await step(() => plane.addServer())
        await step(() => plane.removeServer(at(plane, 0), { graceful: false }))
      }
      await stream.stop()
    },
  },
]

describe('A server', { concurrency: true }, () => {
  for (const hang of hangs) lane(hang.name, { servers: 2 }, [hangRow(hang)])
  lane('before the dial', { servers: 3 }, beforeTheDial)
  lane('slow, half broken or leaving', { servers: 3 }, halfBroken)
  lane('a control plane that moves', { servers: 3 }, moving)
})
