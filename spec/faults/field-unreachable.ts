/**
 * A list of addresses that cannot be reached from here: a laptop outside of a managed cluster, kind, minikube. The seed
 * serves as if there were no list, and its own error is what callers get.
 */
import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { Busy, SLACK } from '../support/busy.ts'
import { at, type Client, dialError, timed, until } from '../support/client.ts'
import type { ControlPlane } from '../support/control-plane.ts'
import { D, lane, type Row } from '../support/lanes.ts'
import { Wires } from '../support/wires.ts'

type Dialled = NonNullable<MultidialerOptions['connectSocket']>

const LISTED = ['172.18.0.2:6443', '172.18.0.3:6443']

/** The seed leads to the first server, under the address it is known by; from all else no packet ever comes back. */
function onlySeed(plane: ControlPlane, seed: string): Dialled {
  const { host, port } = at(plane, 0)
  return (endpoint, options): Promise<Duplex> => endpoint.host === seed
    ? new Wires().connectSocket({ host, port }, options)
    : new Promise((_, reject) => {
      options.signal.addEventListener('abort', () => reject(options.signal.reason), { once: true })
    })
}

const atHome = (plane: ControlPlane): Partial<MultidialerOptions> =>
  ({ connectSocket: onlySeed(plane, at(plane, 0).host) })

async function knows(client: Client): Promise<void> {
  await until('the list is known', () =>
    client.dialer.snapshot().endpoints.filter(({ listed }) => listed).length === LISTED.length)
}

const rows: readonly Row[] = [
  {
    name: 'D7 listed addresses were never reached, and the seed refuses: fails with the seed\'s own error within 1 s; ' +
      'the first call after its return is served',
    options: atHome,
    body: async ({ client, plane, server }) => {
      await plane.setEndpoints({ addresses: LISTED })
      await client.get('/version')
      await knows(client)
      await server(0).kill()
      for (let i = 0; i < 3; i += 1) {
        // On connections of their own: what becomes of a pooled one whose server is gone is another row.
        const { value, ms } = await timed(dialError(client.fresh('/version')))
        assert.equal(value.code, 'ECONNREFUSED')
        assert.ok(ms < 1_000 + SLACK, `${Math.round(ms)} ms`)
        // Alone it takes some ms: the wait of a whole attempt must not be hidden in what a busy machine may add.
        assert.ok(ms < 4_500, `${Math.round(ms)} ms`)
      }
      await server(0).restart()
      const { value, ms } = await timed(client.get('/version'))
      assert.equal(value.status, 200)
      assert.ok(ms < 1_000 + SLACK, `${Math.round(ms)} ms`)
    },
  },
  {
    name: 'F1 F3 the same from the first dial on, the seed well: served by the seed, at most attemptDelay late',
    options: atHome,
    body: async ({ client, plane, server }) => {
      await plane.setEndpoints({ addresses: LISTED })
      const { value, ms } = await timed(client.get('/version'))
      assert.equal(value.server, server(0).name)
      assert.ok(ms < 250 + 2 * D + SLACK, `${Math.round(ms)} ms`)
      const busy = await Busy.start(client)
      const from = performance.now()
      await busy.more(30)
      assert.ok(busy.longestSince(from) < 250 + 2 * D + SLACK)
      assert.ok(busy.answeredSince(0).every(({ answer }) => answer.server === server(0).name))
      assert.deepEqual(client.dialer.snapshot().counters.severed, 0)
    },
  },
  {
    name: 'F3 where the list is private and the seed public, the first dial does not wait for the list\'s addresses',
    options: (plane) => ({
      server: 'https://203.0.113.7', servername: 'kubernetes', connectSocket: onlySeed(plane, '203.0.113.7'),
      // Whoever waited for them would wait for this.
      attemptDelay: 5_000,
    }),
    body: async ({ client, plane, server }) => {
      await plane.setEndpoints({ addresses: LISTED })
      const { value, ms } = await timed(client.get('/version'))
      assert.equal(value.server, server(0).name)
      assert.ok(ms < 2 * D + SLACK, `${Math.round(ms)} ms`)
    },
  },
]

export function unreachable(): void {
  lane('what cannot be reached', { servers: 1 }, rows)
}
