/** The heartbeat's connection: one for each endpoint in use, kept between questions, and never a question too many. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { at, Client, dialError, rejection, until } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { withoutLeaks } from '../support/leaks.ts'

const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes'

/** A minute is 6 s here, and the heartbeat's 5 s are 500 ms: the promises are counts of these. */
const SCALED = { heartbeatInterval: 500, heartbeatTimeout: 2_000, refreshInterval: 6_000 }

describe('the traffic of an agent, counted on the server', { concurrency: true }, () => {
  /** How often each server was asked for the list while it lasted, by a client that did this all the time. */
  async function asked(
    name: string, ms: number, options: Partial<MultidialerOptions>,
    use: (client: Client, plane: ControlPlane) => Promise<() => void>,
    check: (questions: number[], connections: number[]) => void,
  ): Promise<void> {
    await it(name, async () => {
      const plane = await ControlPlane.start({ servers: 2 })
      try {
        await withoutLeaks(async () => {
          await using client = new Client(plane, { ...SCALED, ...options })
          const end = await use(client, plane)
          const from = await Promise.all(plane.servers.map((server) => server.stats()))
          await new Promise((resolve) => setTimeout(resolve, ms))
          const to = await Promise.all(plane.servers.map((server) => server.stats()))
          end()
          const grown = (count: (stats: (typeof to)[number]) => number): number[] =>
            to.map((stats, index) => count(stats) - count(from[index] ?? stats))
          check(grown(({ byPath }) => byPath[ENDPOINTS] ?? 0), grown(({ connections }) => connections))
        })
      } finally {
        await plane.stop()
      }
    })
  }

  void asked('H7 busy: four requests a minute, whatever its traffic', 6_000, {}, async (client) => {
    await client.get('/version')
    const watch = await client.watch('/tick?ms=50')
    // Until what followed from the start is over.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    return () => watch.destroy()
  }, ([used = 0, unused = 0], connections) => {
    // One every 3 x heartbeatInterval: a minute has four or five ends of an interval in it.
    assert.ok(used <= 5 && unused === 0, `${used} and ${unused}`)
    assert.deepEqual(connections, [0, 0], 'on the connection that is kept')
  })

  void asked('silent: one every heartbeatInterval for the server in use, none for the other',
    6_000, {}, async (client) => {
    const watch = await client.watch()
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    return () => watch.destroy()
  }, ([used = 0, unused = 0], connections) => {
    // Every 400 to 500 ms, and the time it takes; a loaded machine asks less often.
    assert.ok(used >= 6 && used <= 17 && unused === 0, `${used} and ${unused}`)
    assert.deepEqual(connections, [0, 0], 'on the connection that is kept')
  })

  void asked('dialled once, without a socket since: one request a minute', 6_000, {}, async (client) => {
    const socket = await client.connect()
    socket.destroy()
    await until('it has the list', () => client.dialer.snapshot().discovery.status === 'ok')
    return () => undefined
  }, ([used = 0, unused = 0]) => {
    assert.ok(used + unused <= 2, `${used} and ${unused}`)
  })

  void asked('never dialled: none, and no connection', 1_500, {}, async () => () => undefined,
    (questions, connections) => {
      assert.deepEqual([questions, connections], [[0, 0], [0, 0]])
    })

  void asked('heartbeats turned off: none but refreshes', 2_000, { heartbeatInterval: 0 }, async (client) => {
    const watch = await client.watch()
    await until('it has the list', () => client.dialer.snapshot().discovery.status === 'ok')
    return () => watch.destroy()
  }, (questions) => assert.deepEqual(questions, [0, 0]))
})

describe('what a question meets', { concurrency: 1 }, () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 2 }) })
  after(() => plane.stop())

  const row = (
    name: string, body: (client: Client) => Promise<void>, options: Partial<MultidialerOptions> = {},
  ): void => {
    it(name, async () => {
      await Promise.all(plane.servers.map(async (server) => { await server.misbehave(); await server.resetStats() }))
      await withoutLeaks(async () => {
        await using client = new Client(plane, options)
        await body(client)
      })
    })
  }

  row('refreshes of one endpoint share one connection', async (client) => {
    for (let i = 0; i < 5; i += 1) await client.dialer.refresh()
    const { connections, byPath } = await at(plane, 0).stats()
    assert.deepEqual([connections, byPath[ENDPOINTS]], [1, 5])
  })

  row('several refreshes at once are one question', async (client) => {
    const lists = await Promise.all([1, 2, 3, 4].map(() => client.dialer.refresh()))
    assert.ok(lists.every((list) => list.length === 2))
    assert.equal((await at(plane, 0).stats()).byPath[ENDPOINTS], 1)
  })

  row('a connection that the server closed in between is made anew, and no failure', async (client) => {
    await client.dialer.refresh()
    await at(plane, 0).restart()
    assert.equal((await client.dialer.refresh()).length, 2)
    assert.deepEqual(client.failed, [])
  })

  row('R2 a redirect is an answer, and is not followed', async (client) => {
    await at(plane, 0).misbehave({ redirect: at(plane, 1).url })
    const error = await dialError(client.dialer.refresh())
    assert.match(error.message, /it answered 302/)
    assert.equal((await at(plane, 1).stats()).requests, 0)
    assert.deepEqual(client.failed, [])
  })

  row('R1 a refresh that fails on one endpoint is asked of another', async (client) => {
    await client.dialer.refresh()
    await at(plane, 0).misbehave({ heartbeat: 500 })
    assert.equal((await client.dialer.refresh()).length, 2)
    assert.equal((await at(plane, 1).stats()).byPath[ENDPOINTS], 1)
  })

  const bytes = (text: string): string => Buffer.from(text).toString('base64')
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'
  for (const [name, answer, message] of [
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n', /malformed answer/],
    ['an answer that ends in its middle', `${head}content-length: 100\r\n\r\n{`, /closed before the whole answer/],
    ['more bytes than were announced', `${head}content-length: 2\r\n\r\n{}{}`, /list|answered|malformed|not/],
    ['a body of no known length', `${head}\r\n{}`, /closed before the whole answer|length/],
    ['a list that is no JSON', `${head}content-length: 2\r\n\r\n<>`, /JSON/],
  ] as const) {
    row(`${name}: a named cause, and the next question on another connection`, async (client) => {
      await at(plane, 0).misbehave({ answer: bytes(answer) })
      const error = await dialError(client.dialer.refresh())
      assert.match(error.message, message)
      await at(plane, 0).misbehave()
      assert.equal((await client.dialer.refresh()).length, 2)
    })
  }

  row('one byte a second: given up within the heartbeat\'s time, twice', async (client) => {
    await at(plane, 0).misbehave({ answer: bytes(head), split: 1, pace: 1_000 })
    const from = performance.now()
    await rejection(client.dialer.refresh())
    assert.ok(performance.now() - from < 3_000)
    await until('none is left of it', async () => (await at(plane, 0).stats()).open === 0)
  }, { heartbeatTimeout: 200 })

  row('one piece at a time, however small, is as good as whole', async (client) => {
    const list = JSON.stringify({
      kind: 'Endpoints', apiVersion: 'v1', metadata: { name: 'kubernetes' },
      subsets: [{
        addresses: plane.servers.map(({ host }) => ({ ip: host })),
        ports: [{ name: 'https', port: at(plane, 0).port }],
      }],
    })
    await at(plane, 0).misbehave({
      answer: bytes(`${head}content-length: ${list.length}\r\n\r\n${list}`), then: 'keep', split: 7,
    })
    assert.equal((await client.dialer.refresh()).length, 2)
  })
})
