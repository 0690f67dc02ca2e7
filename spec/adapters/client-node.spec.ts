/**
 * The rules of withMultidialer, with a KubeConfig that does as those of @kubernetes/client-node do, in few lines. What
 * becomes of its credentials is in client-node-credentials.spec.ts; the packages themselves are in spec/clients.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { withMultidialer } from '../../lib/adapters/client-node.ts'
import { certificateFile, ControlPlane } from '../support/control-plane.ts'
import { HTTPProxy } from '../support/http-proxy.ts'
import type { Applied } from '../support/kube-config.ts'
import {
  AgentContext, base64, call, DispatcherContext, FakeKubeConfig, kubeConfigOf, request,
} from '../support/kube-config.ts'
import { nodesDispatcher } from '../support/nodes-fetch.ts'
import { startProgram } from '../support/program.ts'

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start() })
after(() => plane.stop())
beforeEach(() => Promise.all(plane.servers.map((server) => server.resetStats())))

function allStats(plane: ControlPlane): Promise<{ clients: string[]; tokens: string[]; connections: number }[]> {
  return Promise.all(plane.servers.map((server) => server.stats()))
}

describe('withMultidialer', () => {
  it('has one connection serve calls one after another, and fails over', async () => {
    const own = await ControlPlane.start()
    try {
      const config = kubeConfigOf(own, { token: own.token })
      using dialer = withMultidialer(config)
      const learned = once(dialer, 'endpoints')
      for (let i = 0; i < 5; i += 1) assert.equal((await call(config)).servedBy, 'apiserver-1')
      assert.equal(dialer.snapshot().counters.dials, 1)
      await learned
      await own.servers[0]?.kill()
      assert.notEqual((await call(config)).servedBy, 'apiserver-1')
    } finally {
      await own.stop()
    }
  })

  it('gives a call of 1.x an agent, and a call of 2.x a dispatcher of the class that it makes itself', async () => {
    const config = kubeConfigOf(plane, { token: plane.token })
    using dialer = withMultidialer(config)
    const old = new AgentContext()
    await config.applySecurityAuthentication(old)
    assert.equal((await request(`${config.cluster?.server}/version`, {
      headers: old.headers, agent: old.agent,
    })).status, 200)
    const recent = new DispatcherContext()
    await config.applySecurityAuthentication(recent)
    assert.ok(recent.dispatcher !== undefined)
    assert.equal(recent.dispatcher.constructor, nodesDispatcher().constructor)
    const init: object = { headers: recent.headers, dispatcher: recent.dispatcher }
    assert.equal((await fetch(`${config.cluster?.server}/version`, init)).status, 200)
    assert.equal(dialer.snapshot().counters.dials, 2, 'both were dialled')
    const again = new DispatcherContext()
    await config.applySecurityAuthentication(again)
    assert.equal(again.dispatcher, recent.dispatcher)
  })

  it('gives discovery the token of the user as it is now', async () => {
    const own = await ControlPlane.start({ servers: 1 })
    try {
      const config = kubeConfigOf(own, { token: own.token })
      using dialer = withMultidialer(config)
      await dialer.refresh()
      const token = await own.rotateToken()
      if (config.user !== null) config.user.token = token
      await dialer.refresh()
      assert.equal((await own.servers[0]?.stats())?.tokens.at(-1), `Bearer ${token}`)
      assert.equal(dialer.snapshot().discovery.status, 'ok')
    } finally {
      await own.stop()
    }
  })

  it('shows the certificate of the user, from files or data', async () => {
    const [certFile, keyFile] = [certificateFile('client-a.crt'), certificateFile('client-a.key')]
    const data = { certData: base64(readFileSync(certFile, 'utf8')), keyData: base64(readFileSync(keyFile, 'utf8')) }
    for (const user of [{ certFile, keyFile }, data]) {
      const config = kubeConfigOf(plane, user)
      using dialer = withMultidialer(config)
      await plane.servers[0]?.resetStats()
      assert.equal((await call(config)).status, 200)
      await dialer.refresh()
      assert.equal(dialer.snapshot().discovery.status, 'ok')
      assert.equal((await plane.servers[0]?.stats())?.clients.length, 1)
    }
  })

  it('shows the certificate that a plugin gives, and the next one when it gives another, to discovery too',
    async () => {
    const read = (name: string): { cert: string; key: string } => ({
      cert: readFileSync(certificateFile(`${name}.crt`), 'utf8'),
      key: readFileSync(certificateFile(`${name}.key`), 'utf8'),
    })
    let given = read('client-a')
    const config = kubeConfigOf(plane, { exec: () => given })
    using dialer = withMultidialer(config)
    const warnings: Error[] = []
    dialer.on('warning', (warning) => warnings.push(warning))
    assert.equal((await call(config)).status, 200)
    await dialer.refresh()
    assert.equal(dialer.snapshot().discovery.status, 'ok')
    const first = new Set((await allStats(plane)).flatMap(({ clients }) => clients))
    assert.equal(first.size, 1)
    given = read('client-b')
    const context = new AgentContext()
    await config.applySecurityAuthentication(context)
    const socket = await dialer.connect()
    await dialer.refresh()
    const both = new Set((await allStats(plane)).flatMap(({ clients }) => clients))
    assert.equal(both.size, 2)
    socket.destroy()
    assert.ok(warnings.every((warning) => !warning.message.includes('BEGIN')))
  })

  it('lets another context go its own way, warns once, and gives the token of another user to nobody', async () => {
    const config = kubeConfigOf(plane, { token: plane.token })
    using dialer = withMultidialer(config)
    await dialer.refresh()
    const warnings: string[] = []
    dialer.on('warning', (warning) => warnings.push('kind' in warning ? warning.kind : ''))
    config.user = { name: 'other', token: 'canary-other' }
    const options: Applied = {}
    await config.applyToHTTPSOptions(options)
    await config.applyToHTTPSOptions({})
    assert.ok(options.ca !== undefined, 'as without a dialer')
    const context = new AgentContext()
    await config.applySecurityAuthentication(context)
    await dialer.refresh().catch(() => undefined)
    assert.equal(warnings.filter((kind) => kind === 'context').length, 1)
    assert.ok((await allStats(plane)).every(({ tokens }) => !tokens.join().includes('canary-other')))
    config.user = { name: 'u', token: plane.token }
    assert.equal((await call(config)).status, 200)
  })

  it('is undone by close(), which closes idle connections and lets requests finish', async () => {
    const config = kubeConfigOf(plane, { token: plane.token })
    const dialer = withMultidialer(config)
    assert.deepEqual(Object.keys(config).sort(), [
      'applySecurityAuthentication', 'applyToHTTPSOptions', 'asked', 'cluster', 'user',
    ])
    const slow = call(config, '/slow?ms=200')
    while (dialer.snapshot().endpoints.every(({ sockets }) => sockets === 0)) await new Promise(setImmediate)
    dialer.close()
    assert.equal((await slow).status, 200)
    assert.deepEqual(Object.keys(config).sort(), ['asked', 'cluster', 'user'])
    const options: Applied = {}
    await config.applyToHTTPSOptions(options)
    assert.ok(options.ca !== undefined)
    withMultidialer(config).close()
  })

  it('puts back a method that the instance had of its own, and asks it meanwhile', async () => {
    const config = kubeConfigOf(plane)
    const own = async (options: Applied): Promise<void> => {
      options.headers = { Authorization: `Bearer ${plane.token}` }
    }
    config.applyToHTTPSOptions = own
    const dialer = withMultidialer(config)
    assert.equal((await call(config)).status, 200)
    dialer.close()
    assert.equal(config.applyToHTTPSOptions, own)
  })

  it('is closed by its signal, and closed from the start by one that was aborted', async () => {
    const config = kubeConfigOf(plane, { token: plane.token })
    const abort = new AbortController()
    withMultidialer(config, { signal: abort.signal })
    abort.abort()
    assert.ok(!Object.hasOwn(config, 'applyToHTTPSOptions'))
    withMultidialer(config, { signal: abort.signal })
    assert.ok(!Object.hasOwn(config, 'applyToHTTPSOptions'))
  })

  it('leaves a cluster behind a SOCKS proxy alone and warns, but dials it by a connectSocket', async () => {
    const config = kubeConfigOf(plane, { token: plane.token }, { proxyUrl: 'socks5://user:canary@127.0.0.1:9' })
    const idle = withMultidialer(config)
    const [warning] = await once(idle, 'warning')
    assert.match(warning.message, /SOCKS proxy \(proxyUrl\).*connectSocket/)
    assert.doesNotMatch(warning.message, /canary/)
    assert.equal(warning.kind, 'proxy')
    assert.ok(!Object.hasOwn(config, 'applyToHTTPSOptions'))
    idle.close()
    using dialer = withMultidialer(config, { connectSocket: ({ host, port }) => net.connect(port, host) })
    assert.equal((await call(config)).status, 200)
    assert.equal(dialer.snapshot().counters.dials, 1)
  })

  it('dials a cluster behind an HTTP proxy through it, but by the connectSocket where one is given', async () => {
    const proxy = await HTTPProxy.start()
    const unused = await HTTPProxy.start()
    try {
      const proxyUrl = `http://user:canary@127.0.0.1:${proxy.port}`
      const config = kubeConfigOf(plane, { token: plane.token }, { proxyUrl })
      using dialer = withMultidialer(config)
      assert.equal((await call(config)).status, 200)
      assert.ok(proxy.heads.length > 0)
      assert.ok(proxy.heads.every((head) => /^CONNECT 127\.0\.0\.\d+:\d+ /.test(head)))
      proxy.answer = (socket) => socket.end('HTTP/1.1 407 x\r\n\r\n')
      await assert.rejects(dialer.connect(), (error: Error) =>
        /The proxy 127\.0\.0\.1:\d+ .* answered 407/.test(error.message) && !error.message.includes('canary'))
      const another = kubeConfigOf(plane, { token: plane.token }, { proxyUrl: `http://127.0.0.1:${unused.port}` })
      using other = withMultidialer(another, { connectSocket: ({ host, port }) => net.connect(port, host) })
      assert.equal((await call(another)).status, 200)
      assert.equal(other.snapshot().counters.dials, 1)
      assert.deepEqual(unused.heads, [])
    } finally {
      await proxy.stop()
      await unused.stop()
    }
  })

  it('names the cluster whose proxyUrl cannot be used, and shows nothing of it', () => {
    for (const proxyUrl of ['http://user:canary@proxy:3128/path', 'ftp://user:canary@proxy', 'canary']) {
      assert.throws(() => withMultidialer(kubeConfigOf(plane, {}, { proxyUrl })), (error: Error) =>
        error instanceof TypeError && /'c'.*proxyUrl that cannot be used/.test(error.message) &&
        !error.message.includes('canary'))
    }
    assert.throws(() => withMultidialer(kubeConfigOf(plane, {}, { proxyUrl: 'proxy:3128' })),
      /a whole URL, 'http:\/\/host:port'. A user and a password go before the host: 'user:password@host:port'/)
  })

  it('NODE_DEBUG=multidialer prints its warnings, too', async () => {
    const program = startProgram(`
      const { withMultidialer } = await import(given.adapter)
      const apply = async () => {}
      withMultidialer({
        getCurrentCluster: () => ({ name: 'c', server: 'https://127.0.0.1:1', proxyUrl: 'socks5://127.0.0.1:9' }),
        getCurrentUser: () => null, applyToHTTPSOptions: apply, applySecurityAuthentication: apply,
      }).on('warning', () => {})`,
    { adapter: new URL('../../lib/adapters/client-node.ts', import.meta.url).href }, { env: { NODE_DEBUG: 'multidialer' } })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.match(program.lines.join('\n'), /MULTIDIALER \d+: warning: .*proxyUrl/)
  })

  it('takes the name and the policy of the cluster', async () => {
    const named = kubeConfigOf(plane, { token: plane.token }, { tlsServerName: 'elsewhere.example' })
    using strict = withMultidialer(named)
    await assert.rejects(call(named), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
    strict.close()
    const lax = kubeConfigOf(plane, { token: plane.token }, { tlsServerName: 'elsewhere.example', skipTLSVerify: true })
    using dialer = withMultidialer(lax)
    assert.equal((await call(lax)).status, 200)
    assert.equal(dialer.snapshot().counters.dials, 1)
  })

  const good = { name: 'c', server: 'https://127.0.0.1:6443' }
  const rows: readonly (readonly [string, unknown, RegExp])[] = [
    ['no KubeConfig', {}, /must be given a KubeConfig/],
    ['undefined', undefined, /must be given a KubeConfig/],
    ['one without a current cluster', new FakeKubeConfig(null, null), /loadFromDefault\(\).*setCurrentContext\(\)/],
    ['one with http', new FakeKubeConfig({ ...good, server: 'http://127.0.0.1:8080' }, null), /not https/],
    ['one whose server is a gateway',
      new FakeKubeConfig({ ...good, server: 'https://rancher.example/k8s/clusters/c-1' }, null),
      /path, which is a gateway's/],
    ['one whose CA file is missing',
      new FakeKubeConfig({ ...good, caFile: '/nonexistent/ca.crt' }, null), /'caFile'.*ENOENT/],
  ]
  for (const [name, config, pattern] of rows) {
    it(`is a TypeError that says what to do for ${name}`, () => {
      assert.throws(() => Reflect.apply(withMultidialer, undefined, [config]),
        { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: pattern })
    })
  }

  it('is a TypeError for a KubeConfig that has a dialer', () => {
    const config = kubeConfigOf(plane)
    using dialer = withMultidialer(config)
    assert.throws(() => withMultidialer(config), { name: 'TypeError', message: /close\(\) that one first/ })
    assert.equal(dialer.snapshot().counters.dials, 0)
  })
})
