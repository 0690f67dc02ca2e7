/**
 * Discovery in the field: tokens that fail or are late, proxies that know tokens which the apiservers do not, answers
 * that are no list, certificates that are chosen by SNI or replaced. Callers are served, and a person is told once.
 */
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import https from 'node:https'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Busy, SLACK } from '../support/busy.ts'
import { type Client, timed, until } from '../support/client.ts'
import { certificateFile, type Misbehaviour } from '../support/control-plane.ts'
import { lane, LONG, ONLY_LONG, type Row, type Scene } from '../support/lanes.ts'

const REFRESH = 60_000

async function everywhere({ plane }: Scene, how: Misbehaviour): Promise<void> {
  await Promise.all(plane.servers.map((server) => server.misbehave(how)))
}

/** The list has come, and nobody was sent to an administrator for it. */
async function discovered(client: Client, from: number, within: number): Promise<void> {
  await until('it is discovered', () => client.dialer.snapshot().discovery.status === 'ok', within + SLACK)
  assert.ok(performance.now() - from < within + SLACK)
  const words = client.warnings.map(({ kind, message }) => `${kind}: ${message}`)
  assert.deepEqual(words.filter((word) => /rbac|forbid|not (allowed|permitted|granted)|role/i.test(word)), [])
}

// ---- tokens

const tokens: readonly Row[] = [
  ...([
    ['fails once', async (time: number, token: string): Promise<string> => {
      if (time === 1) throw new Error('the token service is away')
      return token
    }],
    ['takes 1.7 s', async (_time: number, token: string): Promise<string> => {
      await delay(1_700)
      return token
    }],
  ] as const).map(([what, give]): Row => ({
    name: `R6 a token function ${what}, anonymous is forbidden: discovered all the same, no word of RBAC`,
    body: async (scene) => {
      await everywhere(scene, 'anonymous-forbidden')
      let times = 0
      const client = scene.another({ token: () => give(times += 1, scene.plane.token) })
      const from = performance.now()
      await Busy.start(client, { watches: 1 })
      await discovered(client, from, 15_000)
    },
  })),
]

// ---- a seed that is an authenticating proxy: it is not listed, and what is listed is not for its users

const proxies: readonly Row[] = ([
  ['have another CA', { certificate: 'from-other-ca' }],
  ['refuse its tokens with 401', { everything: 401 }],
] satisfies [string, Misbehaviour][]).map(([what, how]): Row => ({
  name: `F1 R5 the seed is an authenticating proxy, the listed apiservers ${what}: served by the seed, one warning`,
  body: async (scene) => {
    const { client, plane, server } = scene
    await plane.unlist(server(0))
    for (const listed of plane.servers.slice(1)) await listed.misbehave(how)
    const busy = await Busy.start(client, { watches: 2 })
    await until('it is warned of', () => client.warnings.some(({ message }) => message.includes('refreshInterval: 0')))
    await busy.more(40)
    assert.ok(busy.outcomes.every(({ answer }) => answer?.status === 200 && answer.server === server(0).name))
    assert.deepEqual(busy.watches.map((watch) => watch.endedAt), [undefined, undefined])
    assert.equal(client.warnings.filter(({ message }) => message.includes('refreshInterval: 0')).length, 1)
    if ('certificate' in how) {
      for (const listed of plane.servers.slice(1)) assert.deepEqual((await listed.stats()).tokens, [])
    }
  },
}))

// ---- answers that are no list

const PAGE = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 30\r\n\r\n' +
  '<html>Please sign in.</html>\r\n').toString('base64')

const answers: readonly Row[] = ([
  ['401', { heartbeat: 401 }, /401.*(token|audience)|(token|audience).*401/i, /401/],
  ['404', { heartbeat: 404 }, /404/, /404/],
  ['302', { heartbeat: 302 }, /302.*(login|proxy)|(login|proxy).*302/i, /302/],
  ['a login page with status 200', { answer: PAGE, then: 'close' }, /list|JSON|Endpoints/i, /list|JSON|Endpoints/i],
] satisfies [string, Misbehaviour, RegExp, RegExp][]).map(([what, how, says, inSnapshot]): Row => ({
  name: `R5 discovery is answered ${what}: one warning that says what to do, callers are served`,
  body: async (scene) => {
    await everywhere(scene, how)
    const { client } = scene
    const from = performance.now()
    assert.equal((await client.get('/version')).status, 200)
    await until('it is warned of', () => client.warnings.length > 0, REFRESH / 6)
    assert.ok(performance.now() - from < REFRESH)
    await client.dialer.refresh().catch(() => undefined)
    await client.dialer.refresh().catch(() => undefined)
    assert.equal((await client.get('/version')).status, 200)
    assert.equal(client.warnings.length, 1, client.warnings.map(({ message }) => message).join('\n'))
    assert.match(client.warnings[0]?.message ?? '', says)
    assert.match(client.dialer.snapshot().discovery.lastError ?? '', inSnapshot)
  },
}))

const failing: readonly Row[] = [
  {
    name: 'R5 discovery is answered 500 from the start: one warning at once, as nothing has ever been learned',
    body: async (scene) => {
      await everywhere(scene, { heartbeat: 500 })
      const { client } = scene
      const busy = await Busy.start(client, { watches: 1 })
      await until('it is warned of', () => client.warnings.length > 0)
      await client.dialer.refresh().catch(() => undefined)
      assert.equal(client.warnings.length, 1)
      assert.match(client.warnings[0]?.message ?? '', /500/)
      assert.ok(busy.answeredSince(0).every(({ answer }) => answer.status === 200))
    },
  },
  {
    name: 'R5 discovery is answered 500 when a list is known: no warning before it has lasted a minute',
    body: async (scene) => {
      const { client } = scene
      const busy = await Busy.start(client, { watches: 1 })
      await client.dialer.refresh()
      await everywhere(scene, { heartbeat: 500 })
      await busy.more(25)
      await client.dialer.refresh().catch(() => undefined)
      assert.deepEqual(client.warnings, [])
      assert.ok(busy.answeredSince(0).every(({ answer }) => answer.status === 200))
    },
  },
  {
    name: 'R5 discovery is answered 500 for a minute: one warning that says what to do',
    skip: ONLY_LONG,
    body: async (scene) => {
      await everywhere(scene, { heartbeat: 500 })
      const { client } = scene
      await Busy.start(client, { watches: 1 })
      await until('it is warned of', () => client.warnings.length > 0, 2.5 * REFRESH)
      assert.equal(client.warnings.length, 1)
      assert.match(client.warnings[0]?.message ?? '', /500/)
    },
  },
]

/** A heartbeatTimeout, twice. ms */
const TWICE = 4_000

const unanswered: readonly Row[] = [true, false].map((busy): Row => ({
  name: 'H2 refresh() settles within two heartbeatTimeouts where discovery is never answered, ' +
    `${busy ? 'with requests on new connections all the while' : 'without traffic'}`,
  body: async (scene) => {
    const { client, server } = scene
    await server(0).misbehave({ heartbeat: 'silent' })
    assert.equal((await client.get('/version')).status, 200)
    let over = false
    const { ms } = await timed(Promise.all([
      client.dialer.refresh().then(() => assert.fail('there is no list'), () => undefined)
        .finally(() => { over = true }),
      until('it is settled', async () => {
        if (busy) assert.equal((await client.fresh('/version')).status, 200)
        return over
      }, TWICE + SLACK + 10_000),
    ]))
    assert.ok(ms < TWICE + SLACK, `${Math.round(ms)} ms`)
  },
}))

// ---- certificates

const NAMES = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local']

const certificates: readonly Row[] = [
  {
    name: 'I2 certificates are chosen by SNI, each of a CA of its own, the seed an IP: works, as with https.Agent',
    body: async (scene) => {
      const { client, plane, server } = scene
      const sni = Object.fromEntries([...NAMES, 'localhost'].map((name) => [name, 'from-other-ca']))
      await everywhere(scene, { sni })
      const agent = new https.Agent({ ca: plane.ca })
      const headers = { authorization: `Bearer ${plane.token}` }
      const [stock] = await once(https.get(`${server(0).url}/version`, { agent, headers }), 'response')
      assert.equal(stock.resume().statusCode, 200)
      agent.destroy()
      assert.equal((await client.get('/version')).server, server(0).name)
      assert.equal((await client.dialer.refresh()).length, plane.servers.length)
      await server(0).kill()
      const { server: next } = await client.fresh('/version')
      assert.notEqual(next, server(0).name)
      assert.deepEqual(client.warnings, [])
      for (const other of plane.servers.slice(1)) assert.deepEqual((await other.stats()).servernames, [])
    },
  },
  {
    name: 'I5 the client certificate changes on disk: no request on a connection of the one before',
    body: async (scene) => {
      const { server } = scene
      const folder = mkdtempSync(join(tmpdir(), 'field-'))
      const place = (fixture: string): void => {
        for (const end of ['key', 'crt']) {
          copyFileSync(certificateFile(`${fixture}.${end}`), join(folder, `${end}.new`))
          renameSync(join(folder, `${end}.new`), join(folder, end))
        }
      }
      try {
        place('client-a')
        const client = scene.another({ certFile: join(folder, 'crt'), keyFile: join(folder, 'key') })
        await client.dialer.refresh()
        // Of three that the pool has, one is in use when the files change.
        await Promise.all([1, 2, 3].map(() => client.get('/slow?ms=300')))
        await until('they are pooled', () => client.pooled.length === 3)
        const before = client.pooled
        const slow = client.get('/slow?ms=2000')
        await until('it has arrived', async () => (await server(0).stats()).byPath['/slow'] === 4)
        assert.deepEqual((await server(0).stats()).clients, ['client-a'])
        await server(0).resetStats()
        place('client-b')
        assert.equal((await client.get('/version')).status, 200)
        assert.deepEqual((await server(0).stats()).clients, ['client-b'])
        assert.equal(before.filter((socket) => !socket.destroyed).length, 1, 'those that were idle are closed')
        assert.equal((await slow).status, 200)
        await until('and the other one when it is done', () => before.every((socket) => socket.destroyed))
        assert.equal(client.dialer.snapshot().counters.severed, 0)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
  },
]

export function discovery(): void {
  lane('tokens', { servers: 2 }, tokens)
  lane('an authenticating proxy', { servers: 3 }, proxies)
  lane('answers that are no list', { servers: 1 }, [...answers, ...(LONG ? [] : failing)])
  if (LONG) lane('answers that are no list, for long', { servers: 1 }, failing)
  lane('discovery is never answered', { servers: 1 }, unanswered)
  lane('certificates', { servers: 2 }, certificates)
}
