/**
 * What is interpreted for the options that are code, files or choices of the caller's: each good, bad, late and
 * changed.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { fileStore } from '../lib/adapters/file-store.ts'
import { Multidialer } from '../lib/multidialer.ts'
import type { MultidialerOptions } from '../lib/multidialer.ts'
import type { EndpointStore } from '../lib/discovery/lists.ts'
import { at, Client, dialError, happens, rejection, servedBy, until } from './support/client.ts'
import { certificateFile, ControlPlane } from './support/control-plane.ts'
import { withoutLeaks } from './support/leaks.ts'
import { startProgram } from './support/program.ts'

let plane: ControlPlane
let folder: string
before(async () => { plane = await ControlPlane.start({ servers: 3 }) })
after(() => plane.stop())
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'runtime-')) })
afterEach(async () => {
  rmSync(folder, { recursive: true })
  await plane.setEndpoints(undefined)
  await Promise.all(plane.servers.map((server) => server.misbehave()))
})

interface Warning { readonly kind: string; readonly message: string }

async function withDialer(
  options: object, body: (dialer: Multidialer, warnings: readonly Warning[]) => Promise<void>,
): Promise<void> {
  await withoutLeaks(async () => {
    const whole: MultidialerOptions = { server: at(plane, 0).url, ca: plane.ca, token: plane.token, ...options }
    using dialer = new Multidialer(whole)
    const warnings: Warning[] = []
    dialer.on('warning', ({ kind, message }) => warnings.push({ kind, message }))
    await body(dialer, warnings)
  })
}

const addresses = (): string[] => plane.servers.map(({ address }) => address)
const endpoints = (): { host: string; port: number }[] => plane.servers.map(({ host, port }) => ({ host, port }))

/** Who serves one request, by a connection of its own. */
function served(dialer: Multidialer, url: string = at(plane, 0).url): Promise<string> {
  return servedBy(dialer, url)
}

/** Replaces a file as a whole, as the kubelet does. */
function replace(file: string, content: string | Buffer): void {
  writeFileSync(`${file}.new`, content, { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

describe('mapEndpoint', () => {
  it('NAT: what it returns is dialled, and no endpoint that it was given', () => withDialer({
    mapEndpoint: ({ port }: { port: number }) =>
      (port === 6443 ? { host: at(plane, 2).host, port: at(plane, 2).port } : undefined),
  }, async (dialer) => {
    await plane.setEndpoints({ addresses: ['10.0.0.1:6443', '10.0.0.2:1'] })
    assert.deepEqual(await dialer.refresh(), [{ host: at(plane, 2).host, port: at(plane, 2).port }])
    await at(plane, 0).misbehave('reset-handshake')
    assert.equal(await served(dialer), 'apiserver-3')
  }))

  it('drops an endpoint by undefined; a list of which nothing is left changes nothing', async () => {
    let dropped = 'all'
    const mapEndpoint = (endpoint: { host: string }): object | undefined =>
      dropped === 'all' || dropped === endpoint.host ? undefined : endpoint
    await withDialer({ mapEndpoint }, async (dialer, warnings) => {
      const error = await dialError(dialer.refresh())
      assert.match(error.message, /mapEndpoint dropped every endpoint/)
      assert.deepEqual(warnings.map(({ kind }) => kind), ['list'])
      dropped = at(plane, 1).host
      const rest = await dialer.refresh()
      assert.deepEqual(rest, endpoints().filter(({ host }) => host !== dropped))
    })
  })

  for (const [name, mapEndpoint] of [
    ['throws', () => { throw new Error('no map') }],
    ['gives a string', () => '10.0.0.1:6443'],
    ['gives an endpoint without a host', () => ({ host: '', port: 1 })],
    ['gives an endpoint with a port that is none', () => ({ host: '127.0.0.1', port: 65_536 })],
    ['gives null', () => null],
    ['gives a promise', () => Promise.resolve({ host: '127.0.0.1', port: 1 })],
  ] as const) {
    it(`that ${name} is a warning, once; the seed still serves`, () => withDialer({
      mapEndpoint,
    }, async (dialer, warnings) => {
      await rejection(dialer.refresh())
      await rejection(dialer.refresh())
      assert.deepEqual(warnings.map(({ kind }) => kind).filter((kind) => kind === 'mapEndpoint'), ['mapEndpoint'])
      assert.match(warnings[0]?.message ?? '', /mapEndpoint failed: /)
      assert.equal(await served(dialer), 'apiserver-1')
    }))
  }
})

describe('alternates', () => {
  it('D1 serve while the seed is down and no list has come', () => withDialer({
    get server() { return 'https://127.0.0.1:1' }, get alternates() { return [at(plane, 1).address] },
  }, async (dialer) => {
    assert.equal(await served(dialer), 'apiserver-2')
    assert.deepEqual(dialer.snapshot().endpoints.slice(0, 2).map(({ address, origin }) => [address, origin]), [
      ['127.0.0.1:1', 'seed'], [at(plane, 1).address, 'alternate'],
    ])
  }))
})

describe('store', () => {
  const hints = [{ host: '127.0.0.1', port: 1 }]
  const stored = (): object[] => [{ host: at(plane, 2).host, port: at(plane, 2).port }]
  const dead = 'https://127.0.0.1:1'

  for (const [name, load] of [
    ['at once', () => stored()],
    ['by a promise', () => Promise.resolve(stored())],
  ] as const) {
    it(`gives hints ${name}: they serve while the seed is down`, () => withDialer({
      server: dead, store: { load, save() {} },
    }, async (dialer) => {
      assert.equal(await served(dialer, dead), 'apiserver-3')
      assert.equal(dialer.snapshot().endpoints.find(({ address }) => address === at(plane, 2).address)?.origin,
        'stored')
    }))
  }

  it('is asked once, and not before the first dial; what was learned is saved when it has changed', async () => {
    const calls: unknown[] = []
    const store: EndpointStore = { load: () => { calls.push('load'); return [] }, save: (list) => { calls.push(list) } }
    await withDialer({ store }, async (dialer) => {
      assert.deepEqual(calls, [])
      await dialer.refresh()
      await dialer.refresh()
      await served(dialer)
      assert.deepEqual(calls, ['load', endpoints()])
    })
  })

  const bad: readonly [string, object][] = [
    ['whose load throws', { load: () => { throw new Error('no disk') }, save() {} }],
    ['whose load rejects', { load: () => Promise.reject(new Error('no disk')), save() {} }],
    ['whose load gives nothing', { load: () => undefined, save() {} }],
    ['whose load gives garbage', { load: () => [{ host: 7, port: 'x' }], save() {} }],
    ['whose load gives a promise of garbage', { load: () => Promise.resolve('hosts'), save() {} }],
    ['whose save throws', { load: () => hints, save: () => { throw new Error('no disk') } }],
    ['whose save rejects', { load: () => hints, save: () => Promise.reject(new Error('no disk')) }],
  ]
  for (const [name, store] of bad) {
    it(`${name} is a warning, and the dial goes on`, () => withDialer({ store }, async (dialer, warnings) => {
      assert.equal(await served(dialer), 'apiserver-1')
      await dialer.refresh()
      await until('it is warned of', () => warnings.length > 0)
      assert.deepEqual(warnings.map(({ kind }) => kind), ['store'])
    }))
  }

  it('whose load never answers delays nothing', () => withDialer({
    store: { load: () => new Promise(() => {}), save() {} },
  }, async (dialer) => {
    assert.equal(await served(dialer), 'apiserver-1')
  }))

  it('fileStore: a process that starts while its seed is down connects through the hints of the one before',
    async () => {
    const file = join(folder, 'hints')
    await withDialer({ store: fileStore(file) }, async (dialer) => {
      await dialer.refresh()
      await until('they are stored', () => fileStore(file).load().length === 3)
    })
    await at(plane, 0).kill()
    const program = startProgram(`
      const { url, ca, token } = given
      const dialer = new Multidialer({ server: url, ca, token, store: fileStore(given.file) })
      const agent = agentOf(dialer)
      const from = performance.now()
      const served = await get('/readyz', agent)
      console.log(served === 'apiserver-1' ? served : 'another')
      console.log(performance.now() - from < 1000 ? 'in time' : performance.now() - from)`,
    { url: at(plane, 0).url, ca: plane.ca, token: plane.token, file })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    await at(plane, 0).restart()
    assert.deepEqual(program.lines, ['another', 'in time'])
  })

  it('fileStore: a foreign file is a warning, and stays what it is', async () => {
    const file = join(folder, 'hints')
    writeFileSync(file, 'somebody\'s notes')
    await withDialer({ store: fileStore(file) }, async (dialer, warnings) => {
      assert.equal(await served(dialer), 'apiserver-1')
      await dialer.refresh()
      await until('load and save are warned of', () => warnings.length === 2)
      assert.deepEqual(warnings.map(({ kind }) => kind), ['store', 'store'])
    })
    assert.equal(readFileSync(file, 'utf8'), 'somebody\'s notes')
  })
})

describe('token', () => {
  it('is asked of a function, once for many questions', async () => {
    let asked = 0
    const token = (): string => { asked += 1; return plane.token }
    await withDialer({ token }, async (dialer) => {
      await dialer.refresh()
      await dialer.refresh()
      assert.equal(asked, 1)
    })
  })

  it('is asked again after a 401, and sent', async () => {
    const given = ['outdated', plane.token]
    await withDialer({ token: () => Promise.resolve(given.shift() ?? plane.token) }, async (dialer) => {
      assert.equal((await dialer.refresh()).length, 3)
      assert.equal(given.length, 0)
    })
  })

  for (const [name, token] of [
    ['throws', () => { throw new Error('signed out') }],
    ['rejects', () => Promise.reject(new Error('signed out'))],
    ['gives nothing', () => undefined],
    ['gives two lines', () => 'one\r\nx-injected: two'],
  ] as const) {
    it(`a function that ${name} is a warning; dials go on`, () => withDialer({ token }, async (dialer, warnings) => {
      const error = await dialError(dialer.refresh())
      assert.match(error.message, /it answered 401/)
      assert.deepEqual(warnings.map(({ kind }) => kind), ['token'])
      assert.doesNotMatch(JSON.stringify(warnings), /injected/)
      assert.equal(await served(dialer), 'apiserver-1')
      assert.equal(dialer.snapshot().endpoints[0]?.status, 'ready', '401 is an answer')
    }))
  }

  it('a function that does not answer costs the list, not the life of the endpoint', async () => {
    let end: (error: Error) => void = () => assert.fail()
    const token = (): Promise<string> => new Promise((_, reject) => { end = reject })
    await withDialer({ token, heartbeatTimeout: 400 }, async (dialer) => {
      assert.match((await dialError(dialer.refresh())).message, /it answered 401/)
      assert.equal(dialer.snapshot().endpoints[0]?.failures, 0)
      assert.equal(await served(dialer), 'apiserver-1')
      end(new Error('signed out'))
    })
  })

  it('a function that answers late brings the list as soon as it has', async () => {
    let give: (token: string) => void = () => assert.fail()
    await withDialer({
      token: () => new Promise<string>((resolve) => { give = resolve }), heartbeatTimeout: 400,
    }, async (dialer) => {
      await rejection(dialer.refresh())
      const learned = once(dialer, 'endpoints')
      give(plane.token)
      const [list] = await happens('the list comes', learned)
      assert.equal(list.length, 3)
    })
  })
})

describe('files that change while the process runs', () => {
  it('tokenFile: the next question carries the new one', async () => {
    await withDialer({ token: undefined, tokenFile: plane.tokenFile }, async (dialer) => {
      await dialer.refresh()
      const token = await plane.rotateToken()
      await Promise.all(plane.servers.map((server) => server.resetStats()))
      assert.equal((await dialer.refresh()).length, 3)
      const seen = await Promise.all(plane.servers.map((server) => server.stats()))
      assert.deepEqual(seen.flatMap(({ tokens }) => tokens), [`Bearer ${token}`])
    })
  })

  it('caFile: the next dial verifies by the new one, and resumes no session of the old', async () => {
    const file = join(folder, 'ca.crt')
    const both = `${plane.ca}\n${readFileSync(certificateFile('other-ca.crt'), 'utf8')}`
    copyFileSync(plane.caFile, file)
    await withDialer({ ca: undefined, caFile: file, refreshInterval: 0 }, async (dialer) => {
      const server = at(plane, 0)
      await served(dialer)
      await server.resetStats()
      await served(dialer)
      assert.equal((await server.stats()).sessionsReused, 1)
      replace(file, both)
      await server.resetStats()
      await served(dialer)
      assert.equal((await server.stats()).sessionsReused, 0, 'the sessions of the old CA are dropped')
      await served(dialer)
      assert.equal((await server.stats()).sessionsReused, 1)
      replace(file, readFileSync(certificateFile('other-ca.crt')))
      assert.match(String((await dialError(dialer.connect())).code), /UNABLE_TO_|SELF_SIGNED/)
      replace(file, plane.ca)
      await served(dialer)
    })
  })

  it('caFile: half a file is a warning, and the last good one is kept', async () => {
    const file = join(folder, 'ca.crt')
    copyFileSync(plane.caFile, file)
    await withDialer({ ca: undefined, caFile: file, refreshInterval: 0 }, async (dialer, warnings) => {
      replace(file, plane.ca.slice(0, 100))
      await served(dialer)
      await served(dialer)
      assert.deepEqual(warnings.map(({ kind }) => kind), ['credentials'])
      rmSync(file)
      await served(dialer)
      replace(file, plane.ca)
      await served(dialer)
    })
  })

  it('certFile and keyFile: the next dial and the next question show the new ones', async () => {
    const certFile = join(folder, 'client.crt')
    const keyFile = join(folder, 'client.key')
    const use = (name: string): void => {
      replace(keyFile, readFileSync(certificateFile(`${name}.key`)))
      replace(certFile, readFileSync(certificateFile(`${name}.crt`)))
    }
    use('client-a')
    await withDialer({ token: undefined, certFile, keyFile }, async (dialer) => {
      const server = at(plane, 0)
      await server.resetStats()
      assert.equal((await dialer.refresh()).length, 3)
      await served(dialer)
      assert.deepEqual((await server.stats()).clients, ['client-a'])
      use('client-b')
      await Promise.all(plane.servers.map((each) => each.resetStats()))
      await served(dialer)
      assert.equal((await dialer.refresh()).length, 3)
      const seen = await Promise.all(plane.servers.map((each) => each.stats()))
      assert.deepEqual([...new Set(seen.flatMap(({ clients }) => clients))], ['client-b'])
      assert.equal(seen[0]?.connections, 2, 'the monitor connection of the old certificate is not used again')
    })
  })
})

describe('balance', () => {
  it('sticky: the last working one, for every dial', () => withDialer({}, async (dialer) => {
    await dialer.refresh()
    for (let i = 0; i < 10; i += 1) assert.equal(await served(dialer), 'apiserver-1')
  }))

  it('spread: a random ready one, for every dial, and never one that has just failed', () => withDialer({
    balance: 'spread',
  }, async (dialer) => {
    await dialer.refresh()
    await at(plane, 1).misbehave('reset-handshake')
    const counts = new Map<string, number>()
    for (let i = 0; i < 60; i += 1) {
      const name = await served(dialer)
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    // Even odds: fewer than 5 of 60 for either is as likely as one in 10^12.
    assert.deepEqual([...counts.keys()].sort(), ['apiserver-1', 'apiserver-3'])
    for (const [name, count] of counts) assert.ok(count >= 5, `${name} ${count}`)
    const failed = dialer.snapshot().endpoints.find(({ address }) => address === addresses()[1])
    assert.equal(failed?.failures, 1)
  }))
})

describe('maxConnectionAge', () => {
  it('an idle connection older than this is closed, and not reused; one in use is left to finish',
    () => withoutLeaks(async () => {
    await using client = new Client(plane, { maxConnectionAge: 300, refreshInterval: 0 })
    const watch = await client.watch('/tick?ms=50')
    await client.get('/version')
    const [pooled] = Object.values(client.agent.freeSockets).flatMap((list) => list ?? [])
    assert.ok(pooled)
    await happens('it is closed', once(pooled, 'close'))
    await client.get('/version')
    assert.equal(client.dials.length, 3)
    const lines = watch.lines.length
    await until('the watch goes on beyond any age', () => watch.lines.length > lines + 10)
    watch.destroy()
  }))
})
