/**
 * The faults of a server that answers, or seems to: each misbehaviour does what its name says, and ends when it is told
 * to. Those that show on connections before there is TLS are control-plane.spec.ts's. Nothing of lib/ is involved.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { after, afterEach, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import { certificateFile, ControlPlane, type ApiServer } from './control-plane.ts'

const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes'
const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'

let plane: ControlPlane
let server: ApiServer
const agents: https.Agent[] = []
before(async () => {
  plane = await ControlPlane.start({ servers: 1 })
  server = plane.servers[0] ?? assert.fail('there is a server')
})
afterEach(async () => {
  for (const agent of agents.splice(0)) agent.destroy()
  await server.misbehave()
})
after(() => plane.stop())

function newAgent(): https.Agent {
  const agent = new https.Agent({ ca: plane.ca, keepAlive: true })
  agents.push(agent)
  return agent
}

interface Options { readonly agent?: https.Agent; readonly headers?: Record<string, string>; readonly within?: number }

/** A request's answer, its body not read yet; undefined where none comes `within` ms. */
async function ask(path: string, options: Options = {}): Promise<IncomingMessage | undefined> {
  const { agent = newAgent(), headers = { authorization: `Bearer ${plane.token}` }, within = 10_000 } = options
  const request = https.get(server.url + path, { agent, headers })
  request.on('error', () => undefined)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), within)
  try {
    const [response] = await once(request, 'response', { signal: late.signal })
    return response
  } catch (error) {
    request.destroy()
    if (late.signal.aborted) return undefined
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function statusOf(path: string, options: Options = {}): Promise<number | undefined> {
  const response = await ask(path, options)
  if (response !== undefined) await once(response.resume(), 'end')
  return response?.statusCode
}

const BRIEFLY = { within: 300 }

describe('a server that answers badly', { concurrency: 1, timeout: 60_000 }, () => {
  it('everything: keeps its connections, or closes each with the answer', async () => {
    for (const close of [false, true]) {
      await server.misbehave({ everything: 503, close })
      const agent = newAgent()
      await server.resetStats()
      for (let i = 0; i < 3; i += 1) assert.equal(await statusOf(ENDPOINTS, { agent }), 503)
      assert.equal((await server.stats()).connections, close ? 3 : 1)
    }
  })

  it('etcd lost: answers from its cache, hangs or fails otherwise, tells watches nothing and later all', async () => {
    const watch = await ask(`${CONFIGMAPS}?watch=1&resourceVersion=0`) ?? assert.fail('a watch')
    let events = ''
    watch.on('error', () => undefined).on('data', (chunk) => { events += String(chunk) })
    for (const etcd of ['hangs', 100] as const) {
      await server.misbehave({ etcd })
      for (const cached of [`${ENDPOINTS}?resourceVersion=0`, `${CONFIGMAPS}?resourceVersion=0`, '/version']) {
        assert.equal(await statusOf(cached), 200, cached)
      }
      assert.equal(await statusOf('/readyz'), 500)
      for (const deep of [ENDPOINTS, CONFIGMAPS]) {
        assert.equal(await statusOf(deep, etcd === 'hangs' ? BRIEFLY : {}), etcd === 'hangs' ? undefined : 500, deep)
      }
    }
    const other = await plane.addServer({ listed: false })
    const body = JSON.stringify({ metadata: { name: 'while-it-was-away' } })
    const request = https.request(other.url + CONFIGMAPS, {
      method: 'POST', agent: newAgent(), headers: { authorization: `Bearer ${plane.token}` },
    }).end(body)
    const [created] = await once(request, 'response')
    assert.equal(created.resume().statusCode, 201)
    await plane.removeServer(other, { graceful: false })
    assert.equal(await statusOf('/version'), 200)
    assert.equal(events, '')
    await server.misbehave()
    while (!events.includes('while-it-was-away')) await once(watch, 'data')
    watch.destroy()
  })

  it('slow: handshakes are quick, answers late', async () => {
    await server.misbehave({ slow: 400 })
    const from = performance.now()
    const { socket } = await secured()
    const handshake = performance.now() - from
    socket.destroy()
    const asked = performance.now()
    assert.equal(await statusOf('/version'), 200)
    assert.ok(performance.now() - asked >= 400 && handshake < 400, `${handshake} ms`)
  })

  it('failing: a status for that path alone', async () => {
    await server.misbehave({ failing: CONFIGMAPS, status: 500 })
    assert.deepEqual([await statusOf(CONFIGMAPS), await statusOf(ENDPOINTS)], [500, 200])
  })

  it('heartbeat: a redirect of the discovery leads somewhere', async () => {
    await server.misbehave({ heartbeat: 302 })
    const response = await ask(ENDPOINTS) ?? assert.fail('an answer')
    response.resume()
    assert.deepEqual([response.statusCode, response.headers.location], [302, 'https://login.invalid/'])
    assert.equal(await statusOf('/version'), 200)
  })

  it('anonymous-forbidden: 403 to who shows no credential, 401 to who shows a wrong one', async () => {
    const wrong = { authorization: 'Bearer nobody' }
    assert.deepEqual([await statusOf(ENDPOINTS, { headers: {} }), await statusOf(ENDPOINTS, { headers: wrong })],
      [401, 401])
    await server.misbehave('anonymous-forbidden')
    assert.deepEqual([await statusOf(ENDPOINTS, { headers: {} }), await statusOf(ENDPOINTS, { headers: wrong })],
      [403, 401])
    assert.equal(await statusOf(ENDPOINTS), 200)
  })
})

describe('a server whose connections are of no use', { concurrency: 1, timeout: 60_000 }, () => {
  it('mute: handshakes are done and nothing is answered, on no connection; afterwards all of it is', async () => {
    const agent = newAgent()
    assert.equal(await statusOf('/version', { agent }), 200)
    await server.misbehave('mute')
    const old = ask('/version', { agent })
    const { socket } = await secured()
    socket.write(`GET /version HTTP/1.1\r\nhost: any\r\nauthorization: Bearer ${plane.token}\r\n\r\n`)
    const answered = once(socket, 'data')
    assert.equal(await Promise.race([answered.then(() => 'new'), old.then(() => 'old'), delay(300, 'none')]), 'none')
    await server.misbehave()
    assert.equal((await old)?.resume().statusCode, 200)
    assert.match(String((await answered)[0]), /^HTTP\/1\.1 200 /)
    socket.destroy()
  })

  for (const [how, code] of [['close-after-handshake', undefined], ['reset-after-handshake', 'ECONNRESET']] as const) {
    it(`${how}: every connection, also those that are open`, async () => {
      const old = await secured()
      await server.misbehave(how)
      // Where a reset comes soon after the handshake, Node closes the socket and at times tells no error.
      for (const { ended } of [old, await secured()]) {
        const error = await ended
        assert.ok(error === code || error === undefined, `${error}`)
      }
    })
  }

  it('refuse-clients: TLS 1.3 is done for the client, and then refused', async () => {
    await server.misbehave('refuse-clients')
    const { ended } = await secured({ minVersion: 'TLSv1.3' })
    assert.equal(await ended, 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED')
    const own = await secured({ cert: pem('client-a.crt'), key: pem('client-a.key'), minVersion: 'TLSv1.3' })
    assert.notEqual(await own.ended, 'late')
    await server.misbehave()
    assert.equal(await statusOf('/version'), 200)
  })

  it('draining: refuses, closes what is idle, goes on with a request and a watch; then listens again', async () => {
    const idle = await secured()
    const watch = await ask('/tick?ms=20') ?? assert.fail('a watch')
    const slow = statusOf('/slow?ms=500')
    while ((await server.stats()).byPath['/slow'] !== 1) await delay(10)
    await server.misbehave('draining')
    assert.equal(await idle.ended, undefined)
    await assert.rejects(secured(), { code: 'ECONNREFUSED' })
    assert.equal(await slow, 200)
    for (let i = 0; i < 5; i += 1) await once(watch, 'data')
    await server.misbehave()
    assert.equal(await statusOf('/version'), 200)
    await once(watch, 'data')
    watch.on('error', () => undefined).destroy()
  })

  it('sni: a certificate of another authority for that name, the default for others and for none', async () => {
    await server.misbehave({ sni: { kubernetes: 'from-other-ca' } })
    const issuers = []
    for (const servername of ['kubernetes', 'localhost', '']) {
      const { socket } = await secured({ servername, rejectUnauthorized: false })
      issuers.push(socket.getPeerCertificate().issuer.CN)
      socket.destroy()
    }
    assert.deepEqual(issuers, ['another-cluster', 'kubernetes', 'kubernetes'])
    await assert.rejects(server.misbehave({ sni: { any: 'no-such' } }), /no-such/)
  })

  it('limps: answers between one stop and the next, and runs when it is over', async () => {
    const over = await server.limp({ stopped: 400, every: 600 })
    const from = performance.now()
    assert.equal(await statusOf('/version'), 200)
    assert.ok(performance.now() - from > 100)
    await over()
    assert.equal(server.state, 'running')
    assert.equal(await statusOf('/version'), 200)
  })
})

const pem = (name: string): string => readFileSync(certificateFile(name), 'utf8')

interface Secured {
  readonly socket: tls.TLSSocket
  /** The code with which it is over; undefined for a good end, 'late' where there is none. */
  readonly ended: Promise<string | undefined>
}

/** A connection with TLS done. */
async function secured(options: tls.ConnectionOptions = {}): Promise<Secured> {
  const socket = tls.connect({ host: server.host, port: server.port, ca: plane.ca, ...options })
  const late = setTimeout(() => socket.destroy(Object.assign(new Error('it goes on'), { code: 'late' })), 10_000)
  const ended = new Promise<string | undefined>((resolve) => {
    let code: string | undefined
    socket.on('error', (error: NodeJS.ErrnoException) => { code = error.code }).resume()
    socket.once('close', () => {
      clearTimeout(late)
      resolve(code)
    })
  })
  await once(socket, 'secureConnect')
  return { socket, ended }
}
