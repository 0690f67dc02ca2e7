/**
 * What becomes of a KubeConfig's credentials under withMultidialer: what programs take out of the options that were
 * filled in, how often a plugin is run, and that no connection outlives the user that it was made for (I5).
 */
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import type { ClientNodeOptions } from '../../lib/adapters/client-node.ts'
import { withMultidialer } from '../../lib/adapters/client-node.ts'
import type { Multidialer } from '../../lib/index.ts'
import { MultidialerAgent } from '../../lib/index.ts'
import { certificateFile, ControlPlane } from '../support/control-plane.ts'
import type { Applied, User } from '../support/kube-config.ts'
import { AgentContext, base64, call, DispatcherContext, FakeKubeConfig, request } from '../support/kube-config.ts'
import { startProgram } from '../support/program.ts'
import { LocalServer, pem, response } from '../support/tls-servers.ts'

/** Nothing but what callers ask for is connected. */
const CALLS_ALONE: ClientNodeOptions = { refreshInterval: 0, heartbeatInterval: 0 }

const A = { certData: base64(pem('client-a.crt')), keyData: base64(pem('client-a.key')) }
const B = { certData: base64(pem('client-b.crt')), keyData: base64(pem('client-b.key')) }
const A_FILES = { certFile: certificateFile('client-a.crt'), keyFile: certificateFile('client-a.key') }
const B_FILES = { certFile: certificateFile('client-b.crt'), keyFile: certificateFile('client-b.key') }

let server: LocalServer
let folder: string
let names: { a: string; b: string }
const dialers: Multidialer[] = []

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kube-config-'))
  // Says whom each connection is of.
  server = await LocalServer.start('name-localhost', {}, (_head, socket) =>
    response(200, '{}', { 'x-served-by': String(socket.getPeerCertificate().subject?.CN ?? 'nobody') }))
  const seen = async (user: Partial<User>): Promise<string> => (await call(configOf(user).config)).servedBy
  names = { a: await seen(A), b: await seen(B) }
  assert.notEqual(names.a, names.b)
})
after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(() => { server.clients.length = 0 })
afterEach(() => { for (const dialer of dialers.splice(0)) dialer.close() })

function configOf(user: Partial<User> = {}, options = CALLS_ALONE): { config: FakeKubeConfig; dialer: Multidialer } {
  const cluster = { name: 'c', server: `https://localhost:${server.port}`, caData: base64(pem('ca.crt')) }
  const config = new FakeKubeConfig(cluster, { name: 'u', ...user })
  const dialer = withMultidialer(config, options)
  dialers.push(dialer)
  return { config, dialer }
}

async function applied(config: FakeKubeConfig): Promise<Applied & { agent: https.Agent }> {
  const options: Applied = {}
  await config.applyToHTTPSOptions(options)
  const { agent } = options
  assert.ok(agent !== undefined)
  return { ...options, agent }
}

describe('withMultidialer and what programs take out of the options', () => {
  it('leaves in them what client-node fills in, and shows it on the agent', async () => {
    const { config } = configOf({ ...A, token: 'of-nobody' })
    const { agent, ...options } = await applied(config)
    dialers[0]?.close()
    const alone: Applied = {}
    await config.applyToHTTPSOptions(alone)
    const { agent: stock, ...expected } = alone
    assert.deepEqual(options, expected)
    for (const name of ['ca', 'cert', 'key'] as const) assert.deepEqual(agent.options[name], stock?.options[name])
  })

  it('shows them on the agent of an API call, too', async () => {
    const { config } = configOf(A)
    const context = new AgentContext()
    await config.applySecurityAuthentication(context)
    assert.equal(String(context.agent?.options.ca), pem('ca.crt'))
    assert.equal(String(context.agent?.options.cert), pem('client-a.crt'))
  })

  it('has requests and agents of their own made with them be served', async () => {
    const { config, dialer } = configOf(A)
    const { agent, ca, cert, key } = await applied(config)
    assert.ok(ca !== undefined && cert !== undefined && key !== undefined)
    const url = `${config.cluster?.server}/`
    const ways: https.RequestOptions[] = [
      { ca, cert, key }, { agent: new https.Agent({ ca, cert, key }) },
      { agent: new https.Agent({ ...agent.options }) },
      { ca: agent.options.ca, cert: agent.options.cert, key: agent.options.key },
    ]
    for (const options of ways) {
      assert.deepEqual(await request(url, options), { status: 200, servedBy: names.a })
      if (options.agent instanceof https.Agent) options.agent.destroy()
    }
    assert.equal(dialer.snapshot().counters.dials, 0, 'they are connections of the program')
  })

  it('shares the pool among requests whose options are equal to the dialer\'s own, read anew or as text', async () => {
    const { config, dialer } = configOf(A)
    const url = `${config.cluster?.server}/`
    const { agent, ...options } = await applied(config)
    const texts = { ca: String(options.ca), cert: String(options.cert), key: String(options.key) }
    const ways = [
      { agent }, { agent, ...options }, { agent, ...texts }, { agent, ca: pem('ca.crt'), rejectUnauthorized: true },
      await applied(config),
    ]
    for (const way of ways) assert.deepEqual(await request(url, way), { status: 200, servedBy: names.a })
    assert.equal(dialer.snapshot().counters.dials, 1)
    assert.equal(new Set(ways.map((way) => agent.getName({ host: 'localhost', port: server.port, ...way }))).size, 1)
  })

  it('does not share it with a request that brings its own, which win over what the agent shows', async () => {
    const { config, dialer } = configOf(A)
    const url = `${config.cluster?.server}/`
    const { agent } = await applied(config)
    const own = { agent, cert: pem('client-b.crt'), key: pem('client-b.key') }
    assert.equal((await request(url, own)).servedBy, names.b)
    assert.equal((await request(url, { agent })).servedBy, names.a)
    assert.equal((await request(url, own)).servedBy, names.b)
    assert.equal(dialer.snapshot().counters.dials, 2)
    await assert.rejects(request(url, { agent, ca: pem('other-ca.crt') }))
    assert.equal((await request(url, { agent })).servedBy, names.a)
    assert.equal(dialer.snapshot().counters.dials, 3)
  })

  it('lets no program change for others what the agent connects with', async () => {
    const { config, dialer } = configOf(A)
    const url = `${config.cluster?.server}/`
    const { agent } = await applied(config)
    Object.assign(agent.options, { ca: pem('other-ca.crt'), cert: undefined, rejectUnauthorized: false })
    assert.equal((await request(url, { agent })).servedBy, names.a)
    const again = await applied(config)
    assert.equal(String(again.agent.options.ca), pem('ca.crt'))
    assert.equal(again.agent.options.rejectUnauthorized, undefined)
    assert.equal(dialer.snapshot().counters.dials, 1)
  })

  it('keeps a certificate and a key together where a request brings but one of them in other words', async () => {
    const { config, dialer } = configOf(A)
    const options = await applied(config)
    const url = `${config.cluster?.server}/`
    assert.equal((await request(url, { ...options, key: `\n${String(options.key)}` })).servedBy, names.a)
    assert.equal((await request(url, { ...options, cert: `\n${String(options.cert)}` })).servedBy, names.a)
    const agent = new MultidialerAgent({
      server: config.cluster?.server ?? '', ca: pem('ca.crt'), cert: pem('client-a.crt'), key: pem('client-a.key'),
      ...CALLS_ALONE,
    })
    const own = { agent, cert: pem('client-a.crt'), key: `\n${pem('client-a.key')}` }
    assert.equal((await request(url, own)).servedBy, names.a)
    agent.destroy()
    assert.equal(dialer.snapshot().counters.dials, 2, 'each is a connection of its own')
  })

  it('lets no program end the agent of all others: what is idle is closed, and the rest goes on', async () => {
    const { config, dialer } = configOf(A)
    const url = `${config.cluster?.server}/`
    const { agent } = await applied(config)
    assert.equal((await request(url, { agent })).servedBy, names.a)
    const underWay = request(url, { agent })
    agent.destroy()
    assert.equal((await underWay).servedBy, names.a)
    agent.destroy()
    assert.ok(Object.values(agent.freeSockets).flat().every((socket) => socket?.destroyed))
    assert.equal((await call(config)).servedBy, names.a)
    assert.equal(dialer.snapshot().counters.dials, 2)
  })

  it('gives the next call another dispatcher where a program has closed the one it was given', async () => {
    const { config } = configOf(A)
    const given = new Set<object | undefined>()
    for (let i = 0; i < 3; i += 1) {
      const context = new DispatcherContext()
      await config.applySecurityAuthentication(context)
      const { dispatcher } = context
      given.add(dispatcher)
      const init: object = { headers: context.headers, dispatcher }
      const answer = await fetch(`${config.cluster?.server}/`, init)
      await answer.arrayBuffer()
      assert.equal(answer.headers.get('x-served-by'), names.a)
      assert.ok(dispatcher !== undefined)
      if (i === 1) await Reflect.apply(Reflect.get(dispatcher, 'close'), dispatcher, [])
    }
    assert.equal(given.size, 2)
  })

  it('takes options that a program has changed for that program\'s own', async () => {
    const { config, dialer } = configOf(A)
    const options = await applied(config)
    options.cert = pem('client-b.crt')
    options.key = pem('client-b.key')
    assert.equal((await request(`${config.cluster?.server}/`, options)).servedBy, names.b)
    assert.equal((await call(config)).servedBy, names.a)
    assert.equal(dialer.snapshot().counters.dials, 2)
  })
})

describe('withMultidialer and plugins', () => {
  it('runs a plugin whose credential is over at once one time a call, of any kind', async () => {
    let runs = 0
    const exec = (): { token: string; cert: string; key: string } => {
      runs += 1
      return { token: `token-${runs}`, cert: pem('client-a.crt'), key: pem('client-a.key') }
    }
    const { config, dialer } = configOf({ exec })
    for (let i = 1; i <= 3; i += 1) {
      const context = i === 2 ? new DispatcherContext() : new AgentContext()
      await config.applySecurityAuthentication(context)
      assert.equal(runs, i)
      assert.equal(context.headers['Authorization'], `Bearer token-${i}`)
    }
    assert.equal((await call(config)).servedBy, names.a)
    assert.equal(runs, 4)
    assert.equal(dialer.snapshot().counters.dials, 1)
  })

  it('runs it once more for discovery, however many calls there are', async () => {
    const plane = await ControlPlane.start({ servers: 1 })
    let runs = 0
    try {
      const cluster = { name: 'c', server: plane.servers[0]?.url ?? '', caData: base64(plane.ca) }
      const config = new FakeKubeConfig(cluster, { name: 'u', exec: () => {
        runs += 1
        return { token: plane.token }
      } })
      using dialer = withMultidialer(config)
      for (let i = 0; i < 6; i += 1) assert.equal((await call(config)).status, 200)
      await dialer.refresh()
      assert.equal(dialer.snapshot().discovery.status, 'ok')
      assert.equal(runs, 7)
    } finally {
      await plane.stop()
    }
  })

  it('fails the call, and no other, with the plugin\'s own error', async () => {
    let fails = true
    const { config } = configOf({ exec: () => {
      if (fails) throw new Error('login first')
      return { cert: pem('client-a.crt'), key: pem('client-a.key') }
    } })
    await assert.rejects(config.applySecurityAuthentication(new AgentContext()), { message: 'login first' })
    await assert.rejects(call(config), { message: 'login first' })
    fails = false
    assert.equal((await call(config)).servedBy, names.a)
  })
})

describe('withMultidialer and a KubeConfig whose user becomes another (I5)', () => {
  const changes: readonly (readonly [string, Partial<User>, Partial<User>, 'a' | 'b' | undefined])[] = [
    ['another certificate', A, B, 'b'],
    ['a token in place of a certificate', A, { token: 'of-nobody' }, undefined],
    ['a token in place of files', A_FILES, { token: 'of-nobody' }, undefined],
    ['a certificate in place of a token', { token: 'of-nobody' }, B, 'b'],
    ['other files', A_FILES, B_FILES, 'b'],
    ['data in place of files', A_FILES, B, 'b'],
    ['files in place of data', A, B_FILES, 'b'],
    ['nothing', A, {}, undefined],
    ['a plugin in place of a certificate', A,
      { exec: () => ({ cert: pem('client-b.crt'), key: pem('client-b.key') }) }, 'b'],
    ['a plugin that gives a token in place of files', A_FILES, { exec: () => ({ token: 'of-nobody' }) }, undefined],
    ['a certificate in place of a plugin',
      { exec: () => ({ cert: pem('client-a.crt'), key: pem('client-a.key') }) }, B, 'b'],
  ]
  for (const [name, from, to, expected] of changes) {
    it(`makes no request on a connection of the one before: ${name}`, async () => {
      const { config } = configOf(from)
      const before = (await call(config)).servedBy
      config.user = { name: 'u', ...to }
      const after = expected === undefined ? 'nobody' : names[expected]
      for (let i = 0; i < 3; i += 1) assert.equal((await call(config)).servedBy, after)
      config.user = { name: 'u', ...from }
      assert.equal((await call(config)).servedBy, before)
    })
  }

  it('the same for API calls of 1.x and 2.x', async () => {
    const { config } = configOf(A)
    const url = `${config.cluster?.server}/`
    for (const [user, expected] of [[A, names.a], [B, names.b], [{ token: 'x' }, undefined], [A, names.a]] as const) {
      config.user = { name: 'u', ...user }
      const old = new AgentContext()
      await config.applySecurityAuthentication(old)
      const { servedBy } = await request(url, { headers: old.headers, agent: old.agent })
      const recent = new DispatcherContext()
      await config.applySecurityAuthentication(recent)
      const init: object = { headers: recent.headers, dispatcher: recent.dispatcher }
      const answer = await fetch(url, init)
      await answer.arrayBuffer()
      assert.equal(answer.headers.get('x-served-by'), servedBy)
      assert.equal(servedBy, expected ?? 'nobody')
    }
  })

  it('another context: nothing of the dialer\'s is used, and what was idle is closed', async () => {
    const { config } = configOf(A)
    const { agent } = await applied(config)
    assert.equal((await call(config)).servedBy, names.a)
    assert.equal(Object.values(agent.freeSockets).flat().length, 1)
    config.user = { name: 'guest', ...B }
    const guest = await applied(config)
    assert.notEqual(guest.agent, agent)
    assert.ok(Object.values(agent.freeSockets).flat().every((socket) => socket?.destroyed))
    assert.equal((await request(`${config.cluster?.server}/`, guest)).servedBy, names.b)
    guest.agent.destroy()
  })

  it('certificates that cannot be used fail the call, and are not replaced by those before', async () => {
    const { config } = configOf(A)
    assert.equal((await call(config)).servedBy, names.a)
    config.user = { name: 'u', certData: base64('canary'), keyData: base64('canary') }
    for (let i = 0; i < 2; i += 1) {
      await assert.rejects(call(config), (error: Error) => !error.message.includes('canary'))
    }
    await assert.rejects(config.applySecurityAuthentication(new DispatcherContext()))
    config.user = { name: 'u', ...B }
    assert.equal((await call(config)).servedBy, names.b)
  })

  it('files that are other ones on disk', async () => {
    const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
    const put = (name: string): void => {
      copyFileSync(certificateFile(`${name}.crt`), certFile)
      copyFileSync(certificateFile(`${name}.key`), keyFile)
    }
    put('client-a')
    const { config } = configOf({ certFile, keyFile })
    assert.equal((await call(config)).servedBy, names.a)
    put('client-b')
    assert.equal((await call(config)).servedBy, names.b)
  })

  it('a copy of the KubeConfig that is made another user acts as that one', async () => {
    const { config } = configOf(A)
    const copy = Object.assign(new FakeKubeConfig(null, null), config)
    copy.user = { name: 'guest', ...B }
    assert.equal((await call(copy)).servedBy, names.b)
    const derived: FakeKubeConfig = Object.create(config, {
      user: { value: { name: 'u', ...B } }, getCurrentUser: { value: () => ({ name: 'u', ...B }) },
    })
    assert.equal((await call(derived)).servedBy, names.b)
    assert.equal((await call(config)).servedBy, names.a)
  })

  it('a method that a program has put over the replaced one stays, and asks no closed dialer', async () => {
    const { config, dialer } = configOf(A)
    const ours = config.applyToHTTPSOptions.bind(config)
    let asked = 0
    const own = async (options: Applied): Promise<void> => {
      asked += 1
      await ours(options)
    }
    config.applyToHTTPSOptions = own
    assert.equal((await call(config)).servedBy, names.a)
    dialer.close()
    assert.equal(config.applyToHTTPSOptions, own)
    const options = await applied(config)
    assert.equal((await request(`${config.cluster?.server}/`, options)).servedBy, names.a)
    options.agent.destroy()
    assert.equal(asked, 2)
  })
})

describe('withMultidialer and a KubeConfig for each request', () => {
  it('H10 nothing of the adapter holds one that nobody closed, once its connections are gone', async () => {
    const once = await LocalServer.start('name-localhost', {}, (_head, socket) => {
      socket.end(response(200, '{}', { connection: 'close' }))
      return undefined
    })
    const program = startProgram(`
      const { withMultidialer } = await import(given.adapter)
      const v8 = await import('node:v8')
      v8.setFlagsFromString('--expose-gc')
      const gc = (await import('node:vm')).runInNewContext('gc')
      const { AgentContext, DispatcherContext, FakeKubeConfig, call } = await import(given.fakes)
      let collected = 0
      const registry = new FinalizationRegistry(() => { collected += 1 })
      const once = async (i) => {
        const config = new FakeKubeConfig(given.cluster, { name: 'u', token: 'of-nobody' })
        registry.register(config)
        withMultidialer(config, { refreshInterval: 0, heartbeatInterval: 0 })
        const answer = await call(config)
        const [old, recent] = [new AgentContext(), new DispatcherContext()]
        await config.applySecurityAuthentication(old)
        await config.applySecurityAuthentication(recent)
        await (await fetch(given.cluster.server, { dispatcher: recent.dispatcher })).arrayBuffer()
      }
      for (let i = 0; i < 20; i += 1) await once(i)
      for (let i = 0; i < 200 && collected < 18; i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 50))
        gc()
      }
      console.log('collected', collected)
      process.exit()`,
    {
      adapter: new URL('../../lib/adapters/client-node.ts', import.meta.url).href,
      fakes: new URL('../support/kube-config.ts', import.meta.url).href,
      cluster: { name: 'c', server: `https://localhost:${once.port}`, caData: base64(pem('ca.crt')) },
    })
    const ended = await program.ended
    await once.stop()
    assert.equal(ended, 0, program.lines.join('\n'))
    const [, count] = /collected (\d+)/.exec(program.lines.join('\n')) ?? []
    assert.ok(Number(count) >= 18, `${count} of 20 are collected`)
  })
})
