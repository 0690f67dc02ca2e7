/**
 * What a caller gives up, or the peer ends unanswered, teaches the dialer (H11): a server whose connections are of no
 * use is not dialled for ever, although each of its handshakes succeeds.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { SLACK } from '../support/busy.ts'
import type { Misbehaviour } from '../support/control-plane.ts'
import { lane, learned, type Row, type Scene } from '../support/lanes.ts'

const WITHIN = 10_000

/** A client that asks one request after another, and gives up each after so many ms, until another server answers. */
async function servedByAnother({ client, server }: Scene, giveUp: number): Promise<void> {
  const from = performance.now()
  for (;;) {
    // Not AbortSignal.timeout, whose timer outlives the request: a row leaves none behind.
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(), giveUp)
    const answer = await client.get('/version', { signal: controller.signal }).catch(() => undefined)
    clearTimeout(timer)
    const ms = performance.now() - from
    if (answer !== undefined && answer.server !== server(0).name) {
      assert.ok(ms < WITHIN + SLACK, `after ${Math.round(ms)} ms, promised ${WITHIN}`)
      return
    }
    assert.ok(ms < WITHIN + SLACK, `within ${WITHIN} ms served by another`)
    await delay(50)
  }
}

function givenUpRow(
  name: string, how: Misbehaviour, giveUp: number, options: Partial<MultidialerOptions> = {},
): Row {
  return {
    name,
    options: (plane) => ({ ...options, alternates: plane.servers.slice(1).map(({ address }) => address) }),
    body: async (scene) => {
      const { client, server } = scene
      if (options.refreshInterval !== 0) await learned(client)
      assert.equal((await client.get('/version')).server, server(0).name)
      await server(0).misbehave(how)
      await servedByAnother(scene, giveUp)
      // And not by chance: the next ones, too.
      for (let i = 0; i < 3; i += 1) {
        const { server: next } = await client.get('/version')
        assert.notEqual(next, server(0).name)
      }
    },
  }
}

const closing: readonly Row[] = [
  givenUpRow('H11 TLS, then closed, for every connection: served by another', 'close-after-handshake', 5_000),
  givenUpRow('H11 TLS, then reset, for every connection: served by another', 'reset-after-handshake', 5_000),
  givenUpRow('H11 our client certificate is refused after a handshake of TLS 1.3: served by another', 'refuse-clients',
    5_000),
  givenUpRow('H11 TLS, then closed, and no list is ever asked for: served by another', 'close-after-handshake', 5_000,
    { refreshInterval: 0 }),
]

const silent: readonly Row[] = [
  givenUpRow('H11 accepts TLS and says nothing, callers give up after 200 ms: served by another', 'mute', 200),
  givenUpRow('H11 accepts TCP and says nothing, callers give up after 200 ms: served by another', 'deaf', 200),
  givenUpRow('H11 says nothing, and no list is ever asked for: served by another', 'mute', 200, { refreshInterval: 0 }),
  givenUpRow('H11 says nothing, callers give up after 1 s: served by another', 'mute', 1_000),
]

export function givenUp(): void {
  lane('closed after each handshake', { servers: 2 }, closing)
  lane('given up by callers', { servers: 2 }, silent)
}
