/**
 * `foreign: 'direct'`: hosts that are not the cluster's are connected as if there were no dialer. Whatever the dialer
 * holds (a client certificate, a CA, a name, a policy) is a canary here: no foreign server may see or profit from it.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { after, afterEach, test } from 'node:test'

import { undiciConnector, type UndiciConnectOptions } from '../../lib/adapters/undici.ts'
import { MultidialerAgent, type MultidialerAgentOptions } from '../../lib/agent/agent.ts'
import type { Multidialer } from '../../lib/multidialer.ts'
import { count, type Exchange, send, until } from '../support/agent-harness.ts'
import { ends, PATIENCE } from '../support/agent-rules.ts'
import { certificateFile } from '../support/control-plane.ts'
import { startProgram } from '../support/program.ts'
import { LocalServer, pem, response } from '../support/tls-servers.ts'

const answer = (): string => response(200, '{}')
const cluster = await LocalServer.start('kubeadm-1', {}, answer)
/** Of another CA, as everything is that is not the cluster. */
const foreign = await LocalServer.start('from-other-ca', {}, answer)
/** Of the cluster's CA, with the name that the dialer demands: neither must make it trusted elsewhere. */
const impostor = await LocalServer.start('name-kubernetes.default.svc', {}, answer)
const servers = [cluster, foreign, impostor]
const agents: MultidialerAgent[] = []
afterEach(() => {
  for (const agent of agents.splice(0)) agent.destroy()
  for (const server of servers) server.clients.length = server.names.length = server.heads.length = 0
})
after(() => Promise.all(servers.map((server) => server.stop())))

/** Everything that a dialer can hold. */
const HELD: MultidialerAgentOptions = {
  server: `https://127.0.0.1:${cluster.port}`, ca: pem('ca.crt'), cert: pem('client-a.crt'), key: pem('client-a.key'),
  servername: 'kubernetes.default.svc', token: 'canary-token', refreshInterval: 0,
}

function make(options: Partial<MultidialerAgentOptions> = {}): MultidialerAgent {
  const agent = new MultidialerAgent({ ...HELD, foreign: 'direct', ...options })
  agents.push(agent)
  return agent
}

/** Events of a request to a port of this machine: none but the cluster's is the cluster's. */
async function ask(agent: https.Agent, server: LocalServer, options: https.RequestOptions = {}): Promise<Exchange> {
  const exchange = send(agent, '/', { port: server.port, ...options })
  await exchange.closed
  return exchange
}

const ANSWERED = ['response', 'end', 'close']

test("by default, and with 'refuse', a foreign host is refused", async () => {
  for (const agent of [make({ foreign: undefined }), make({ foreign: 'refuse' })]) {
    const { events } = await ask(agent, foreign, { ca: pem('other-ca.crt') })
    assert.match(events[0] ?? '', /^error ERR_MULTIDIALER_FOREIGN_HOST /)
    assert.deepEqual((await ask(agent, cluster)).events, ANSWERED)
  }
  assert.deepEqual(foreign.clients, [])
})

test("an unknown value of 'foreign' is a TypeError that names it", () => {
  const expected = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /'foreign'.*'refuse' or 'direct'/ }
  const { dialer } = make()
  for (const wrong of ['allow', true, null, {}]) {
    assert.throws(() => Reflect.construct(MultidialerAgent, [{ ...HELD, foreign: wrong }]), expected)
    assert.throws(() => Reflect.apply(undiciConnector, undefined, [dialer, { foreign: wrong }]), expected)
  }
})

test("foreign: 'direct' with the request's own CA works, and the server sees no client certificate", async () => {
  const agent = make()
  assert.deepEqual((await ask(agent, cluster)).events, ANSWERED)
  assert.deepEqual((await ask(agent, foreign, { ca: pem('other-ca.crt') })).events, ANSWERED)
  assert.deepEqual((await ask(agent, foreign, { ca: pem('other-ca.crt'), host: 'localhost' })).events, ANSWERED)
  assert.deepEqual(cluster.clients, ['client-a'])
  assert.deepEqual(foreign.clients, ['', ''])
  assert.deepEqual(foreign.names, ['', 'localhost'])
  assert.doesNotMatch(foreign.received, /canary/)
})

test("foreign: 'direct' is verified as Node verifies, whatever the dialer trusts", async () => {
  for (const agent of [make(), make({ rejectUnauthorized: false })]) {
    for (const server of [foreign, impostor]) {
      for (const options of [{}, { host: 'localhost' }]) {
        const { events } = await ask(agent, server, options)
        assert.match(events[0] ?? '', /^error (UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN) /)
      }
    }
    const { events } = await ask(agent, impostor, { ca: pem('ca.crt') })
    assert.match(events[0] ?? '', /^error ERR_TLS_CERT_ALTNAME_INVALID /)
  }
  assert.deepEqual([foreign.heads, impostor.heads], [[], []])
})

test("foreign: 'direct' presents a certificate of the request's own, and never the dialer's", async () => {
  const agent = make()
  const own = { ca: pem('other-ca.crt'), cert: pem('client-b.crt'), key: pem('client-b.key') }
  assert.deepEqual((await ask(agent, foreign, own)).events, ANSWERED)
  assert.deepEqual((await ask(agent, foreign, { rejectUnauthorized: false })).events, ANSWERED)
  assert.deepEqual(foreign.clients, ['client-b', ''])
})

test('foreign connections are pooled apart from the cluster\'s, each host and its options by itself', async () => {
  const agent = make()
  const requests: readonly (readonly [LocalServer, https.RequestOptions])[] = [
    [cluster, {}], [foreign, { rejectUnauthorized: false }], [impostor, { rejectUnauthorized: false }],
    [foreign, { ca: pem('other-ca.crt') }],
  ]
  for (const round of [1, 2]) {
    for (const [server, options] of requests) {
      const { request, events } = await ask(agent, server, options)
      assert.deepEqual(events, ANSWERED)
      assert.equal(request.reusedSocket, round === 2)
      await until(agent, ({ sockets }) => sockets === 0, AbortSignal.timeout(PATIENCE))
    }
  }
  assert.equal(Object.keys(agent.freeSockets).length, 4)
  assert.doesNotMatch(Object.keys(agent.freeSockets).join(), /BEGIN/)
  assert.equal(agent.dialer.snapshot().counters.dials, 1)
  assert.deepEqual(foreign.clients, ['', ''])
})

test('the limits of the pool count foreign connections, and both kinds wait for each other', async () => {
  const agent = make({ maxTotalSockets: 1, keepAlive: false })
  const exchanges = [cluster, foreign, cluster, foreign].map((server) =>
    send(agent, '/', { port: server.port, ...(server === foreign ? { ca: pem('other-ca.crt') } : {}) }))
  assert.equal(count(agent).total, 1)
  await Promise.all(exchanges.map(ends))
  for (const { events } of exchanges) assert.deepEqual(events, ANSWERED)
})

test('destroy() is the end for foreign requests too', async () => {
  const agent = make({ maxSockets: 1 })
  const options = { port: foreign.port, ca: pem('other-ca.crt') }
  const exchanges = [send(agent, '/', options), send(agent, '/', options)]
  agent.destroy()
  const late = send(agent, '/', options)
  await Promise.all([...exchanges, late].map(ends))
  assert.equal(exchanges[0]?.events.at(-1), 'close')
  for (const exchange of [exchanges[1], late]) assert.match(exchange?.events[0] ?? '', /ERR_MULTIDIALER_CLOSED/)
  await until(agent, ({ total }) => total === 0, AbortSignal.timeout(PATIENCE))
  assert.deepEqual(count(agent), { sockets: 0, free: 0, queued: 0, total: 0 })
})

test('as https.globalAgent it reaches the cluster and everything else, for programs that take no agent', async () => {
  const { globalAgent } = https
  https.globalAgent = make()
  try {
    for (const [server, options] of [[cluster, {}], [foreign, { ca: pem('other-ca.crt') }]] as const) {
      const request = https.get({ host: '127.0.0.1', port: server.port, ...options })
      const [message]: http.IncomingMessage[] = await once(request, 'response')
      assert.equal(message?.statusCode, 200)
      message.resume()
      await once(request, 'close')
    }
  } finally {
    https.globalAgent = globalAgent
  }
  assert.deepEqual([cluster.clients, foreign.clients], [['client-a'], ['']])
})

test('createConnection called by others gives a foreign connection as the stock agent does', async () => {
  const agent = make()
  const socket = agent.createConnection({ host: '127.0.0.1', port: foreign.port, ca: pem('other-ca.crt') })
  assert.ok(socket instanceof net.Socket)
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await once(socket, 'data')
  socket.destroy()
  assert.deepEqual(foreign.clients, [''])
  assert.equal(count(agent).total, 0)
})

test('the way that an agent is given holds for foreign hosts', async () => {
  const asked: string[] = []
  const agent = make({
    lookup: (name, _options, callback) => {
      asked.push(name)
      callback(null, [{ address: '127.0.0.1', family: 4 }])
    },
  })
  const { events } = await ask(agent, foreign, {
    host: 'elsewhere.example', ca: pem('other-ca.crt'), servername: 'localhost',
  })
  assert.deepEqual(events, ANSWERED)
  assert.deepEqual(asked, ['elsewhere.example'])
})

// ---- undici

function connect(
  dialer: Multidialer, options: Partial<UndiciConnectOptions>, foreign: 'direct' | 'refuse' = 'direct',
): Promise<net.Socket> {
  const wanted = { hostname: '127.0.0.1', protocol: 'https:', port: '', servername: null, localAddress: null }
  return new Promise((resolve, reject) => {
    undiciConnector(dialer, { foreign })({ ...wanted, ...options }, (error, socket) => {
      if (socket === null) reject(error)
      else resolve(socket)
    })
  })
}

test("undiciConnector(dialer, { foreign: 'direct' }) neither trusts nor shows what the dialer holds", async () => {
  for (const options of [{}, { rejectUnauthorized: false }]) {
    const { dialer } = make(options)
    for (const server of [foreign, impostor]) {
      const wanted = { port: String(server.port), host: `127.0.0.1:${server.port}` }
      await assert.rejects(connect(dialer, wanted), { code: /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT/ })
      await assert.rejects(connect(dialer, wanted, 'refuse'), { code: 'ERR_MULTIDIALER_FOREIGN_HOST' })
    }
    const socket = await connect(dialer, { port: String(cluster.port) })
    socket.destroy()
  }
  assert.deepEqual([foreign.heads, impostor.heads], [[], []])
})

test("undiciConnector(dialer, { foreign: 'direct' }) connects plain http, and never to the cluster", async () => {
  const plain = http.createServer((_request, answer) => answer.end())
  plain.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  const address = plain.address()
  assert.ok(address !== null && typeof address !== 'string')
  const { port } = address
  const { dialer } = make()
  const socket = await connect(dialer, { protocol: 'http:', port: String(port) })
  assert.equal('encrypted' in socket, false)
  assert.equal(socket.remotePort, port)
  socket.destroy()
  await assert.rejects(connect(dialer, { protocol: 'http:', port: String(cluster.port) }), /must begin with 'https:'/)
  await assert.rejects(connect(dialer, { protocol: 'http:', port: String(port) }, 'refuse'), /must begin with 'https:'/)
  await new Promise((resolve) => plain.close(resolve))
})

test('under a global dispatcher fetch reaches the cluster and everything else', async () => {
  const program = startProgram(`
    const { undiciConnector } = await import(given.lib + 'adapters/undici.ts')
    const { nodesDispatcher } = await import(given.support)
    const symbol = Symbol.for('undici.globalDispatcher.1')
    const Agent = nodesDispatcher().constructor
    const dialer = new Multidialer(given.options)
    const dispatcher = new Agent({ connect: undiciConnector(dialer, { foreign: 'direct' }) })
    globalThis[symbol] = dispatcher
    const newer = Symbol.for('undici.globalDispatcher.2')
    if (newer in globalThis) Object.defineProperty(globalThis, newer, { value: dispatcher })
    for (const url of given.urls) console.log((await fetch(url)).status)
    await dispatcher.close()
    dialer.close()
  `, {
    lib: new URL('../../lib/', import.meta.url).href,
    support: new URL('../support/nodes-fetch.ts', import.meta.url).href,
    options: HELD,
    urls: [cluster, foreign].map(({ port }) => `https://127.0.0.1:${port}/`),
  }, { env: { NODE_EXTRA_CA_CERTS: certificateFile('other-ca.crt') } })
  assert.equal(await program.ended, 0, program.lines.join('\n'))
  assert.deepEqual(program.lines, ['200', '200'])
  assert.deepEqual([cluster.clients, foreign.clients], [['client-a'], ['']])
})
