/** What nobody uses costs nothing (H10): connections, timers and questions end by themselves. Minutes long: CI's. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { SLACK } from '../support/busy.ts'
import { until } from '../support/client.ts'
import { lane, ONLY_LONG, type Row } from '../support/lanes.ts'
import { startProgram } from '../support/program.ts'

const IDLE = 50_000
const UNUSED = 120_000

const rows: readonly Row[] = [
  {
    name: 'H10 a pooled connection that nobody uses is closed by us, after 50 s and before any server or balancer does',
    skip: ONLY_LONG,
    body: async ({ client, server }) => {
      await client.get('/version')
      await until('it is pooled', () => client.pooled.length === 1)
      const from = performance.now()
      const { requests } = await server(0).stats()
      await until('it is closed', () => client.pooled.length === 0, IDLE + SLACK)
      const ms = performance.now() - from
      assert.ok(ms > IDLE / 2 && ms < IDLE + SLACK, `${Math.round(ms)} ms`)
      assert.ok((await server(0).stats()).requests - requests < 15, 'an idle pool is asked little')
      assert.equal((await client.get('/version')).status, 200)
    },
  },
  {
    name: 'H10 two minutes after its last use a dialer that nobody closed has no socket and asks nothing; ' +
      'the next dial refreshes the list',
    skip: ONLY_LONG,
    body: async ({ client, plane, server }) => {
      await client.get('/version')
      await client.dialer.refresh()
      await delay(UNUSED + SLACK)
      for (const each of plane.servers) assert.equal((await each.stats()).rawOpen, 0)
      const { heartbeats, refreshes } = client.dialer.snapshot().counters
      await delay(75_000)
      const { counters } = client.dialer.snapshot()
      assert.deepEqual([counters.heartbeats, counters.refreshes], [heartbeats, refreshes])
      assert.equal((await client.get('/version')).server, server(0).name)
      await until('the list is refreshed', () => client.dialer.snapshot().counters.refreshes > refreshes)
    },
  },
  {
    name: 'H10 dialers that nobody holds and nobody closed are collected',
    skip: ONLY_LONG,
    body: async ({ plane, server }) => {
      const program = startProgram(`
        import v8 from 'node:v8'
        import vm from 'node:vm'
        v8.setFlagsFromString('--expose-gc')
        const collect = vm.runInNewContext('gc')
        let collected = 0
        const registry = new FinalizationRegistry(() => { collected += 1 })
        const use = async () => {
          const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
          registry.register(dialer)
          return get('/version', agentOf(dialer))
        }
        for (let i = 0; i < 20; i += 1) await use()
        await new Promise((resolve) => setTimeout(resolve, ${UNUSED + SLACK}))
        for (let i = 0; i < 10; i += 1) {
          collect()
          await new Promise((resolve) => setTimeout(resolve, 200))
        }
        console.log(collected >= 18 ? 'collected' : collected + ' of 20')
        process.exit()`, { url: server(0).url, ca: plane.ca, token: plane.token }, { within: 2 * UNUSED })
      await program.ended
      assert.deepEqual(program.lines, ['collected'])
    },
  },
]

export function unused(): void {
  // Each waits for minutes: beside each other they take as long as the longest.
  for (const row of rows) lane(row.name.split(',')[0] ?? row.name, { servers: 1 }, [row])
}
