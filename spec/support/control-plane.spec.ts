/**
 * The embedded control plane proves itself here: that its faults are real ones and that it answers as an apiserver
 * does. Nothing of lib/ is involved.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { dirname } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { blackhole, canBlackhole } from './blackhole.ts'
import { certificateFile, ControlPlane, type ApiServer, type ControlPlaneOptions } from './control-plane.ts'

const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes'
const SLICES = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'

interface Answer { status: number; server: string | undefined; body: string }

/** One request on a connection of its own. */
function ask(
  plane: ControlPlane, server: ApiServer, path: string, options: https.RequestOptions & { body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { body: sent, ...rest } = options
    const headers = { authorization: `Bearer ${plane.token}` }
    const request = https.request(server.url + path, { agent: false, ca: plane.ca, headers, ...rest }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { body += chunk })
      response.once('end', () => resolve({
        status: response.statusCode ?? 0, server: String(response.headers['x-served-by']), body,
      }))
      response.once('error', reject)
    })
    request.once('error', reject)
    request.end(sent)
  })
}

async function json(plane: ControlPlane, server: ApiServer, path: string): Promise<Record<string, unknown>> {
  const body: unknown = JSON.parse((await ask(plane, server, path)).body)
  assert.ok(isRecord(body))
  return body
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** The lines of a streamed answer, as they come. */
async function* lines(plane: ControlPlane, server: ApiServer, path: string): AsyncGenerator<Record<string, unknown>> {
  const headers = { authorization: `Bearer ${plane.token}` }
  const request = https.get(server.url + path, { agent: false, ca: plane.ca, headers })
  request.on('error', () => undefined)
  try {
    const [response] = await once(request, 'response')
    let rest = ''
    for await (const chunk of response) {
      rest += String(chunk)
      const whole = rest.split('\n')
      rest = whole.pop() ?? ''
      for (const line of whole) {
        const value: unknown = JSON.parse(line)
        if (isRecord(value)) yield value
      }
    }
  } finally {
    request.destroy()
  }
}

async function write(plane: ControlPlane, server: ApiServer, name: string): Promise<void> {
  const { status } = await ask(plane, server, CONFIGMAPS, {
    method: 'POST', body: JSON.stringify({ metadata: { name } }),
  })
  assert.equal(status, 201)
}

const nameOf = (event: Record<string, unknown>): unknown => {
  const object = event['object']
  return isRecord(object) && isRecord(object['metadata']) ? object['metadata']['name'] : undefined
}

const versionOf = (event: Record<string, unknown>): unknown => {
  const object = event['object']
  return isRecord(object) && isRecord(object['metadata']) ? object['metadata']['resourceVersion'] : undefined
}

async function take<T>(source: AsyncGenerator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) {
    const { value, done } = await source.next()
    if (done === true) break
    taken.push(value)
  }
  return taken
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

/** A control plane that ends with its test. */
async function started(t: TestContext, options: ControlPlaneOptions): Promise<ControlPlane> {
  const plane = await ControlPlane.start(options)
  t.after(() => plane.stop())
  return plane
}

function first(plane: ControlPlane): ApiServer {
  const server = plane.servers[0]
  assert.ok(server)
  return server
}

describe('the embedded control plane', () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 3 }) })
  after(() => plane.stop())

  it('gives each server a process and, where there are more loopback addresses, an address of its own', async () => {
    assert.equal(new Set(plane.servers.map(({ pid }) => pid)).size, 3)
    assert.equal(new Set(plane.servers.map(({ address }) => address)).size, 3)
    for (const server of plane.servers) {
      assert.deepEqual(await ask(plane, server, '/readyz'), { status: 200, server: server.name, body: 'ok' })
    }
  })

  it('lists all of its servers in the Endpoints and the EndpointSlices of each', async () => {
    const hosts = plane.servers.map(({ host }) => host)
    for (const server of plane.servers) {
      const endpoints = JSON.stringify(await json(plane, server, `${ENDPOINTS}?resourceVersion=0`))
      const slices = JSON.stringify(
        await json(plane, server, `${SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes`),
      )
      const slice = await json(plane, server, `${SLICES}/kubernetes`)
      for (const host of hosts) {
        assert.match(endpoints, new RegExp(`"ip":"${host}"`))
        assert.match(slices, new RegExp(`"addresses":\\["${host}"\\]`))
      }
      assert.equal(slice['kind'], 'EndpointSlice')
    }
    const others = await json(plane, first(plane), `${SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dother`)
    assert.deepEqual(others['items'], [])
  })

  it('wants the token, or a client certificate of its own authority', async () => {
    const server = first(plane)
    const path = '/api/v1/namespaces'
    const client = (name: string): https.RequestOptions => ({
      headers: {},
      cert: readFileSync(certificateFile(`${name}.crt`)), key: readFileSync(certificateFile(`${name}.key`)),
    })
    assert.equal((await ask(plane, server, path)).status, 200)
    assert.equal((await ask(plane, server, path, { headers: {} })).status, 401)
    assert.equal((await ask(plane, server, path, { headers: { authorization: 'Bearer wrong' } })).status, 401)
    assert.equal((await ask(plane, server, path, client('client-a'))).status, 200)
    assert.equal((await ask(plane, server, path, client('client-other'))).status, 401)
    const { tokens, clients } = await server.stats()
    assert.ok(tokens.includes(`Bearer ${plane.token}`) && tokens.includes('Bearer wrong'))
    assert.ok(clients.includes('client-a'))
  })

  it('takes the encrypted key with its passphrase', async () => {
    const key = readFileSync(certificateFile('client-b-encrypted.key'))
    const cert = readFileSync(certificateFile('client-b.crt'))
    const options = { headers: {}, cert, key, passphrase: 'correct-horse' }
    assert.equal((await ask(plane, first(plane), '/version', options)).status, 200)
    assert.throws(() => tls.createSecureContext({ cert, key, passphrase: 'wrong' }))
  })

  it('takes a rotated token and refuses the one before it', async () => {
    const old = plane.token
    const token = await plane.rotateToken()
    assert.notEqual(token, old)
    assert.equal(readFileSync(plane.tokenFile, 'utf8'), token)
    for (const server of plane.servers) {
      assert.equal((await ask(plane, server, '/version')).status, 200)
      assert.equal((await ask(plane, server, '/version', { headers: { authorization: `Bearer ${old}` } })).status, 401)
    }
  })

  it('forbids discovery as RBAC does', async () => {
    const server = first(plane)
    await plane.forbid('endpoints')
    assert.equal((await ask(plane, server, ENDPOINTS)).status, 403)
    assert.equal((await ask(plane, server, SLICES)).status, 200)
    await plane.forbid('endpoints', 'endpointslices')
    assert.equal((await ask(plane, server, SLICES)).status, 403)
    await plane.forbid()
    assert.equal((await ask(plane, server, ENDPOINTS)).status, 200)
  })

  it('answers discovery with whatever a spec wants answered', async () => {
    const server = first(plane)
    await plane.setEndpoints({ addresses: ['10.0.0.1:6443', '[fd00::1]:6443'] })
    assert.match((await ask(plane, server, ENDPOINTS)).body, /"ip":"fd00::1"/)
    assert.match((await ask(plane, server, SLICES)).body,
      /"addressType":"IPv6","endpoints":\[\{"addresses":\["fd00::1"\]/)
    await plane.setEndpoints({ subsets: [{ notReadyAddresses: [{ ip: '10.0.0.9' }], ports: [{ port: 1 }] }] })
    assert.match((await ask(plane, server, SLICES)).body, /"10.0.0.9".*"ready":false/)
    await plane.setEndpoints({ status: 410 })
    assert.equal((await ask(plane, server, ENDPOINTS)).status, 410)
    await plane.setEndpoints({ slices: [{ metadata: { name: 'a' } }] })
    assert.equal((await ask(plane, server, ENDPOINTS)).status, 404)
    assert.match((await ask(plane, server, SLICES)).body, /"name":"a"/)
    await plane.setEndpoints({ body: '<html>', contentType: 'text/html' })
    assert.deepEqual((await ask(plane, server, ENDPOINTS)).body, '<html>')
    await plane.setEndpoints(undefined)
    assert.match((await ask(plane, server, ENDPOINTS)).body, new RegExp(server.host))
  })

  it('keeps one store behind all servers: written on one, read, patched and deleted on the others', async () => {
    const [one, two, three] = plane.servers
    assert.ok(one && two && three)
    await write(plane, one, 'shared')
    const path = `${CONFIGMAPS}/shared`
    assert.equal((await ask(plane, two, path)).status, 200)
    assert.equal((await ask(plane, two, CONFIGMAPS, {
      method: 'POST', body: '{"metadata":{"name":"shared"}}',
    })).status, 409)
    assert.equal((await ask(plane, two, path, { method: 'PATCH', body: '{"data":{"a":"1","b":"2"}}' })).status, 200)
    const operations = '[{"op":"remove","path":"/data/a"},{"op":"add","path":"/data/c","value":"3"}]'
    assert.equal((await ask(plane, three, path, { method: 'PATCH', body: operations })).status, 200)
    assert.deepEqual((await json(plane, one, path))['data'], { b: '2', c: '3' })
    const stale = JSON.stringify({ metadata: { name: 'shared', resourceVersion: '1' } })
    assert.equal((await ask(plane, one, path, { method: 'PUT', body: stale })).status, 409)
    assert.equal((await ask(plane, one, path, { method: 'PUT', body: 'no json' })).status, 400)
    assert.equal((await ask(plane, three, path, { method: 'DELETE' })).status, 200)
    assert.equal((await ask(plane, one, path)).status, 404)
  })

  it('resumes a watch on another server, with no event lost or doubled', async () => {
    const [one, two, three] = plane.servers
    assert.ok(one && two && three)
    const list = await json(plane, one, CONFIGMAPS)
    const start = isRecord(list['metadata']) ? list['metadata']['resourceVersion'] : undefined
    const writes = (async () => { for (let i = 0; i < 40; i += 1) await write(plane, three, `counted-${i}`) })()
    let seen: Record<string, unknown>[] = []
    let version = start
    for (const [server, count] of [[one, 5], [two, 15], [one, 20]] as const) {
      const watch = lines(plane, server, `${CONFIGMAPS}?watch=1&resourceVersion=${String(version)}`)
      seen = seen.concat(await take(watch, count))
      version = versionOf(seen.at(-1) ?? {})
      await watch.return(undefined)
    }
    await writes
    assert.deepEqual(seen.map(nameOf), Array.from({ length: 40 }, (_, i) => `counted-${i}`))
    assert.ok(seen.every(({ type }) => type === 'ADDED'))
  })

  it('tells a watch from before the compaction that it is gone', async () => {
    await write(plane, first(plane), 'compacted')
    plane.compact()
    const events = await take(lines(plane, first(plane), `${CONFIGMAPS}?watch=1&resourceVersion=1`), 2)
    assert.equal(events.length, 1)
    assert.equal(events[0]?.['type'], 'ERROR')
    assert.equal(isRecord(events[0]['object']) && events[0]['object']['code'], 410)
  })

  it('ends a watch after timeoutSeconds, with a bookmark where they are allowed', async () => {
    const query = 'watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0'
    const events = await take(lines(plane, first(plane), `/api/v1/pods?${query}`), 10)
    assert.deepEqual(events.map(({ type }) => type), ['ADDED', 'BOOKMARK'])
  })

  it('feeds a line every few milliseconds, naming the server', async () => {
    const fed = await take(lines(plane, first(plane), '/tick?ms=2'), 3)
    const server = first(plane).name
    assert.deepEqual(fed, [{ server, sequence: 1 }, { server, sequence: 2 }, { server, sequence: 3 }])
  })

  it('gives a request back', async () => {
    const answer = await ask(plane, first(plane), '/echo?a=1', {
      method: 'POST', body: 'text', headers: { authorization: `Bearer ${plane.token}`, 'x-mine': 'yes' },
    })
    const echoed: unknown = JSON.parse(answer.body)
    assert.ok(isRecord(echoed) && isRecord(echoed['headers']))
    assert.equal(echoed['url'], '/echo?a=1')
    assert.equal(echoed['body'], 'text')
    assert.equal(echoed['headers']['x-mine'], 'yes')
  })

  it('survives a client that goes away in the middle of its request', async () => {
    const server = first(plane)
    const pid = server.pid
    const socket = tls.connect({ host: server.host, port: server.port, ca: plane.ca })
    await once(socket, 'secureConnect')
    socket.end(`POST ${CONFIGMAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${plane.token}\r\n` +
      'content-length: 99\r\n\r\n{')
    socket.resume()
    await once(socket, 'close')
    assert.equal((await ask(plane, server, '/version')).status, 200)
    assert.equal(server.pid, pid)
  })

  it('answers the metrics, the logs and the lists that clients begin with', async () => {
    const paths = [
      '/version', '/livez', '/api', '/api/v1', '/apis', '/api/v1/pods', '/api/v1/nodes',
      '/api/v1/namespaces/default', '/apis/metrics.k8s.io/v1beta1/nodes',
      '/apis/metrics.k8s.io/v1beta1/namespaces/default/pods', '/api/v1/namespaces/default/pods/echo/log',
    ]
    for (const path of paths) assert.equal((await ask(plane, first(plane), path)).status, 200, path)
    assert.equal((await ask(plane, first(plane), '/nowhere')).status, 404)
  })
})

describe('a server that fails', () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 2 }) })
  after(() => plane.stop())

  it('SIGKILL: refuses, stays listed, and comes back at its address in another process', async () => {
    const [one, two] = plane.servers
    assert.ok(one && two)
    const { pid, address } = one
    await one.kill()
    assert.equal(one.state, 'gone')
    await assert.rejects(ask(plane, one, '/version'), { code: 'ECONNREFUSED' })
    await assert.rejects(one.stats(), /is gone/)
    assert.match((await ask(plane, two, ENDPOINTS)).body, new RegExp(`"${one.host}"`))
    await plane.unlist(one)
    assert.doesNotMatch((await ask(plane, two, ENDPOINTS)).body, new RegExp(`"${one.host}"`))
    await one.restart()
    assert.equal(one.address, address)
    assert.notEqual(one.pid, pid)
    assert.equal((await ask(plane, one, '/version')).status, 200)
    assert.match((await ask(plane, two, ENDPOINTS)).body, new RegExp(`"${one.host}"`))
  })

  it('SIGSTOP: TCP accepts, TLS stays silent; SIGCONT: the same connection is answered', async () => {
    const server = first(plane)
    await server.stop()
    await assert.rejects(server.stats(), /is stopped/)
    const tcp = net.connect({ host: server.host, port: server.port })
    await once(tcp, 'connect')
    const socket = tls.connect({ socket: tcp, ca: plane.ca, host: server.host })
    let secure = false
    const secured = once(socket, 'secureConnect').then(() => { secure = true })
    // It has had the ClientHello, and every chance to answer, once it acknowledged it and another server has answered.
    await ask(plane, plane.servers[1] ?? server, '/slow?ms=200')
    assert.equal(secure, false)
    await server.cont()
    await secured
    socket.destroy()
  })

  it('SIGTERM: leaves the list, ends watches, finishes the request under way, closes what is idle', async () => {
    const [one, two] = plane.servers
    assert.ok(one && two)
    const agent = new https.Agent({ keepAlive: true })
    await ask(plane, one, '/version', { agent })
    const watch = lines(plane, one, `${CONFIGMAPS}?watch=1`)
    const ended = take(watch, 1)
    const slow = ask(plane, one, '/slow?ms=300')
    while ((await one.stats()).byPath['/slow'] === undefined || (await one.stats()).watches === 0) {
      await new Promise(setImmediate)
    }
    await one.terminate()
    assert.equal((await slow).status, 200)
    assert.deepEqual(await ended, [])
    await assert.rejects(ask(plane, one, '/version'), { code: 'ECONNREFUSED' })
    assert.doesNotMatch((await ask(plane, two, ENDPOINTS)).body, new RegExp(`"${one.host}"`))
    agent.destroy()
    await one.restart()
  })

  for (const [fault, code] of [
    ['reset-handshake', 'ECONNRESET'],
    ['fin-handshake', 'ECONNRESET'],
    ['alert', /HANDSHAKE_FAILURE|EPROTO/],
    ['old-tls', /PROTOCOL_VERSION|EPROTO/],
    ['plain-http', /WRONG_VERSION_NUMBER|PACKET_LENGTH|EPROTO/],
  ] as const) {
    it(`${fault}: a connection fails during the handshake, and no request arrives`, async () => {
      const server = first(plane)
      await server.misbehave(fault)
      await server.resetStats()
      await assert.rejects(ask(plane, server, '/version'), (error) => {
        if (typeof code === 'string') assert.equal(codeOf(error), code)
        else assert.match(String(codeOf(error)), code)
        return true
      })
      const { requests, connections, rawConnections } = await server.stats()
      assert.deepEqual({ requests, connections, rawConnections }, { requests: 0, connections: 0, rawConnections: 1 })
      await server.misbehave()
      assert.equal((await ask(plane, server, '/version')).status, 200)
    })
  }

  it('hang-handshake: TCP is accepted, the ClientHello read, and nothing comes back', async () => {
    const server = first(plane)
    await server.misbehave('hang-handshake')
    const socket = tls.connect({ host: server.host, port: server.port, ca: plane.ca })
    let secure = false
    socket.on('secureConnect', () => { secure = true })
    await once(socket, 'connect')
    await ask(plane, plane.servers[1] ?? server, '/slow?ms=200')
    assert.equal(secure, false)
    assert.equal(socket.bytesRead, 0)
    socket.destroy()
    await server.misbehave()
  })

  for (const fault of ['reset-half', 'reset-half-requests'] as const) {
    it(`${fault}: exactly every second connection is reset`, async () => {
      const server = first(plane)
      await server.misbehave(fault)
      const outcomes: unknown[] = []
      for (let i = 0; i < 6; i += 1) outcomes.push(await ask(plane, server, '/version').then(() => 'ok', codeOf))
      assert.equal(outcomes.filter((outcome) => outcome === 'ok').length, 3, String(outcomes))
      assert.equal(outcomes.filter((outcome) => outcome === 'ECONNRESET').length, 3, String(outcomes))
      await server.misbehave()
    })
  }

  it('deaf: keeps its connections, answers none, accepts more; afterwards it answers all of them', async () => {
    const server = first(plane)
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
    assert.equal((await ask(plane, server, '/version', { agent })).status, 200)
    await server.misbehave('deaf')
    let answered = 0
    const kept = ask(plane, server, '/version', { agent }).finally(() => { answered += 1 })
    const fresh = ask(plane, server, '/version').finally(() => { answered += 1 })
    const { requests } = await server.stats()
    await ask(plane, plane.servers[1] ?? server, '/slow?ms=200')
    assert.equal(answered, 0)
    assert.equal((await server.stats()).requests, requests)
    await server.misbehave()
    assert.equal((await kept).status, 200)
    assert.equal((await fresh).status, 200)
    agent.destroy()
  })

  it('latency: handshake and answer each come that much later', async () => {
    const server = first(plane)
    await server.misbehave({ latency: 150 })
    const from = performance.now()
    assert.equal((await ask(plane, server, '/version')).status, 200)
    assert.ok(performance.now() - from >= 290)
    await server.misbehave()
  })

  it('heartbeat: a status for the discovery paths alone', async () => {
    const server = first(plane)
    for (const status of [401, 404, 429, 500, 503]) {
      await server.misbehave({ heartbeat: status })
      const answer = await ask(plane, server, ENDPOINTS)
      assert.equal(answer.status, status)
      assert.match(answer.body, /"kind":"Status"/)
      assert.equal((await ask(plane, server, '/version')).status, 200)
    }
    await server.misbehave({ heartbeat: 'silent' })
    const request = https.get(server.url + ENDPOINTS, {
      agent: false, ca: plane.ca, headers: { authorization: `Bearer ${plane.token}` },
    })
    request.on('error', () => undefined)
    request.on('response', () => assert.fail('it answered'))
    while (((await server.stats()).byPath[ENDPOINTS] ?? 0) < 6) await new Promise(setImmediate)
    assert.equal((await ask(plane, server, '/slow?ms=100')).status, 200)
    request.destroy()
    await server.misbehave()
  })

  it('everything, redirect: whatever is asked', async () => {
    const server = first(plane)
    await server.misbehave({ everything: 503 })
    assert.equal((await ask(plane, server, '/readyz')).status, 503)
    await server.misbehave({ redirect: 'https://elsewhere.invalid/' })
    assert.equal((await ask(plane, server, '/version')).status, 302)
    await server.misbehave()
  })

  for (const then of ['close', 'keep', 'reset'] as const) {
    it(`answer: the very bytes, piece by piece, then ${then}`, async () => {
      const server = first(plane)
      const bytes = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA'
      await server.misbehave({ answer: Buffer.from(bytes).toString('base64'), then, split: 7 })
      const socket = tls.connect({ host: server.host, port: server.port, ca: plane.ca })
      let got = ''
      let end = 'open'
      socket.on('data', (chunk: Buffer) => { got += chunk.toString() })
      socket.on('end', () => { end = 'closed' })
      socket.on('error', (error) => { end = String(codeOf(error)) })
      socket.write(`GET ${ENDPOINTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${plane.token}\r\n\r\n`)
      while (got.length < bytes.length && end === 'open') await new Promise(setImmediate)
      if (then !== 'keep' && !socket.closed) await new Promise((resolve) => socket.once('close', resolve))
      assert.equal(got, bytes)
      // One RST in thirty that comes right after data is seen as an end: by node:net alone, too.
      const ends = { close: ['closed'], keep: ['open'], reset: ['ECONNRESET', 'closed'] }[then]
      assert.ok(ends.includes(end), end)
      socket.destroy()
      await server.misbehave()
    })
  }

  it('one that is starting again learns what the others are told meanwhile', async () => {
    const one = first(plane)
    const other = plane.servers[1] ?? assert.fail('there is a second server')
    const restarted = one.restart()
    for (let i = 0; i < 20; i += 1) await (i % 2 === 0 ? plane.unlist(other) : plane.list(other))
    await restarted
    assert.equal((await ask(plane, one, '/version')).status, 200)
  })

  it('several misbehaviours at once', async () => {
    const server = first(plane)
    await server.misbehave([{ everything: 500 }, { certificate: 'wrong-name' }])
    const answer = await ask(plane, server, '/version', { checkServerIdentity: () => undefined })
    assert.equal(answer.status, 500)
    await server.misbehave()
  })

  it('refuses a certificate that does not exist, and goes on as before', async () => {
    const server = first(plane)
    await assert.rejects(server.misbehave({ certificate: 'nonsense' }), /ENOENT/)
    assert.equal((await ask(plane, server, '/version')).status, 200)
  })
})

describe('certificates', () => {
  let plane: ControlPlane
  before(async () => { plane = await ControlPlane.start({ servers: 1 }) })
  after(() => plane.stop())

  const ALTNAME = 'ERR_TLS_CERT_ALTNAME_INVALID'
  const rows: readonly [certificate: string, servername: string | undefined, verdict: string][] = [
    ['kubeadm', undefined, 'ok'],
    ['kubeadm', 'kubernetes.default.svc', 'ok'],
    ['kubeadm-2', undefined, ALTNAME],
    ['own-ip', undefined, 'ok'],
    ['own-ip', 'kubernetes', ALTNAME],
    ['every-ip', undefined, 'ok'],
    ['name-kubernetes', undefined, ALTNAME],
    ['name-kubernetes', 'kubernetes', 'ok'],
    ['name-kubernetes.default', 'kubernetes.default', 'ok'],
    ['name-kubernetes.default.svc', 'kubernetes.default.svc', 'ok'],
    ['name-kubernetes.default.svc.cluster.local', 'kubernetes.default.svc.cluster.local', 'ok'],
    ['name-localhost', 'localhost', 'ok'],
    ['name-api.test.example', 'api.test.example', 'ok'],
    ['wildcard-test.example', 'api.test.example', 'ok'],
    ['wildcard-default.svc', 'kubernetes.default.svc', 'ok'],
    ['cn-only', 'kubernetes.default.svc', 'ok'],
    ['cn-ip-only', undefined, ALTNAME],
    ['wrong-name', undefined, ALTNAME],
    ['expired', undefined, 'CERT_HAS_EXPIRED'],
    ['not-yet-valid', undefined, 'CERT_NOT_YET_VALID'],
    ['from-other-ca', undefined, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['self-signed', undefined, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
    ['client-only', undefined, 'INVALID_PURPOSE'],
  ]
  for (const [certificate, servername, verdict] of rows) {
    it(`${certificate} for ${servername ?? 'its IP'}: ${verdict}`, async () => {
      const server = first(plane)
      await server.misbehave({ certificate })
      const options = servername === undefined ? {} : { servername }
      assert.equal(await ask(plane, server, '/version', options).then(() => 'ok', codeOf), verdict)
      // A client that refuses may be gone before the server has seen the end of the handshake.
      if (servername !== undefined && verdict === 'ok') {
        assert.ok((await server.stats()).servernames.includes(servername))
      }
    })
  }
})

describe('variants of the control plane', () => {
  it('has a port for each server, and several subsets, where there is one loopback address', async (t) => {
    const plane = await started(t, { servers: 2, onePerPort: true })
    assert.deepEqual(plane.servers.map(({ host }) => host), ['127.0.0.1', '127.0.0.1'])
    assert.equal(new Set(plane.servers.map(({ port }) => port)).size, 2)
    const endpoints = await json(plane, first(plane), ENDPOINTS)
    assert.equal(Array.isArray(endpoints['subsets']) && endpoints['subsets'].length, 2)
  })

  it('grows, shrinks and is renumbered until no address of the start is left', async (t) => {
    const plane = await started(t, { servers: 1 })
    const original = first(plane)
    const added = await plane.addServer()
    assert.match((await ask(plane, original, ENDPOINTS)).body, new RegExp(`"${added.host}"`))
    await plane.removeServer(original)
    assert.equal(original.state, 'gone')
    assert.deepEqual(plane.servers, [added])
    const body = (await ask(plane, added, ENDPOINTS)).body
    assert.match(body, new RegExp(`"${added.host}"`))
    assert.doesNotMatch(body, new RegExp(`"${original.host}"`))
    assert.notEqual((await plane.addServer()).host, original.host)
  })

  it('speaks HTTP/2 to those who offer it, HTTP/1.1 to others', async (t) => {
    const plane = await started(t, { servers: 1, http2: true })
    const server = first(plane)
    assert.equal((await ask(plane, server, '/version')).status, 200)
    const session = http2.connect(server.url, { ca: plane.ca })
    const request = (path: string): http2.ClientHttp2Stream =>
      session.request({ ':path': path, authorization: `Bearer ${plane.token}` })
    const stream = request('/echo')
    const [headers] = await once(stream, 'response')
    stream.resume()
    assert.equal(headers[':status'], 200)
    assert.equal(headers['x-served-by'], server.name)
    const watch = request(`${CONFIGMAPS}?watch=1`)
    const [watching] = await once(watch, 'response')
    assert.equal(watching[':status'], 200)
    watch.resume()
    const closed = Promise.all([once(watch, 'close'), once(session, 'close')])
    await server.terminate()
    await closed
  })

  it('resumes TLS sessions, across servers only where they share ticket keys', async (t) => {
    for (const [sharedTickets, expected] of [[false, 0], [true, 1]] as const) {
      const plane = await started(t, { servers: 2, sharedTickets, onePerPort: true })
      const [one, two] = plane.servers
      assert.ok(one && two)
      // TLS 1.2, where the ticket is part of the handshake: there is nothing to wait for.
      const connect = async (server: ApiServer, session?: Buffer): Promise<Buffer | undefined> => {
        const socket = tls.connect({
          host: server.host, port: server.port, ca: plane.ca, checkServerIdentity: () => undefined,
          maxVersion: 'TLSv1.2',
          ...(session === undefined ? {} : { session }),
        })
        let ticket: Buffer | undefined
        socket.on('session', (next: Buffer) => { ticket = next })
        socket.write('GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n')
        await once(socket, 'data')
        socket.destroy()
        return ticket
      }
      const session = await connect(one)
      assert.ok(session)
      await connect(one, session)
      assert.equal((await one.stats()).sessionsReused, 1)
      await connect(two, session)
      assert.equal((await two.stats()).sessionsReused, expected)
    }
  })

  for (const protocol of ['v4.channel.k8s.io', 'v5.channel.k8s.io']) {
    it(`echoes an exec over WebSocket, ${protocol}`, async (t) => {
      const plane = await started(t, { servers: 1 })
      const server = first(plane)
      const key = randomBytes(16).toString('base64')
      const path = '/api/v1/namespaces/default/pods/echo/exec?command=cat&stdin=true&stdout=true'
      const request = https.request(server.url + path, {
        agent: false, ca: plane.ca, headers: {
          authorization: `Bearer ${plane.token}`, connection: 'Upgrade', upgrade: 'websocket',
          'sec-websocket-key': key, 'sec-websocket-version': '13', 'sec-websocket-protocol': protocol,
        },
      }).end()
      const [response, socket, head] = await once(request, 'upgrade')
      assert.equal(response.headers['sec-websocket-protocol'], protocol)
      const big = 'x'.repeat(70_000)
      const send = (text: string): void => {
        socket.write(masked(Buffer.concat([Buffer.from([0]), Buffer.from(text)])))
      }
      let got = Buffer.from(head)
      socket.on('data', (chunk: Buffer) => { got = Buffer.concat([got, chunk]) })
      send('hello')
      send(big)
      send('exit\n')
      await once(socket, 'end')
      const messages = unframed(got)
      assert.deepEqual(messages.map(({ opcode }) => opcode), [2, 2, 2, 8])
      assert.equal(messages[0]?.payload.toString(), '\u0001hello')
      assert.equal(messages[1]?.payload.toString(), '\u0001' + big)
      assert.equal(messages[2]?.payload[0], 3)
      assert.match(messages[2].payload.toString(), /"status":"Success"/)
      socket.destroy()
    })
  }

  it('refuses an exec without the token', async (t) => {
    const plane = await started(t, { servers: 1 })
    const headers = {
      connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'x',
      'sec-websocket-protocol': 'v4.channel.k8s.io',
    }
    const answer = await ask(plane, first(plane), '/api/v1/namespaces/default/pods/echo/exec', { headers })
    assert.equal(answer.status, 401)
  })
})

describe('a blackhole', { skip: !canBlackhole && 'only Linux drops a SYN for a full queue' }, () => {
  it('drops every SYN: a connect stays pending and is sent again; closed, it refuses', async () => {
    const hole = await blackhole('127.0.0.8')
    const socket = net.connect({ host: hole.host, port: hole.port })
    socket.on('connect', () => assert.fail('it connected'))
    const failed = once(socket, 'error')
    while (retransmissions(hole.port) === 0) await new Promise((resolve) => setTimeout(resolve, 20))
    await hole.close()
    await hole.close()
    await failed.catch((error: unknown) => assert.equal(codeOf(error), 'ECONNREFUSED'))
    await assert.rejects(once(net.connect({ host: hole.host, port: hole.port }), 'connect'), { code: 'ECONNREFUSED' })
  })

  it('stands where a killed server stood', async (t) => {
    const plane = await started(t, { servers: 1 })
    const server = first(plane)
    await server.kill()
    const hole = await blackhole(server.host, server.port)
    assert.equal(hole.port, server.port)
    await hole.close()
    await server.restart()
    assert.equal((await ask(plane, server, '/version')).status, 200)
  })
})

describe('what is left behind', () => {
  it('nothing after stop(): no process, no file, no handle; and it may be called again', async () => {
    const plane = await ControlPlane.start({ servers: 2 })
    const pids = plane.servers.map(({ pid }) => pid ?? 0)
    await first(plane).stop()
    assert.ok(existsSync(plane.tokenFile))
    const before = process.getActiveResourcesInfo()
    assert.ok(!before.includes('ProcessWrap'), 'a control plane does not keep the process alive')
    await plane.stop()
    await plane.stop()
    assert.deepEqual(pids.filter(isRunning), [])
    assert.ok(!existsSync(plane.tokenFile))
  })

  it('no process when the parent is killed, not even a stopped one', async (t) => {
    const program = `
      import { ControlPlane } from ${JSON.stringify(new URL('control-plane.ts', import.meta.url).href)}
      const plane = await ControlPlane.start({ servers: 2 })
      await plane.servers[0].stop()
      console.log(JSON.stringify(plane.servers.map(({ pid }) => pid)))
      console.log(plane.tokenFile)
      setInterval(() => {}, 1000)`
    const parent = spawn(process.execPath, [
      '--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program,
    ], {
      stdio: ['ignore', 'pipe', 'inherit'], cwd: fileURLToPath(new URL('../../', import.meta.url)),
    })
    let output = ''
    parent.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
    while (output.split('\n').length < 3) await once(parent.stdout, 'data')
    const [line = '', tokenFile = ''] = output.split('\n')
    const pids: unknown = JSON.parse(line)
    assert.ok(Array.isArray(pids) && pids.length === 2)
    assert.deepEqual(pids.map(isRunning), [true, true])
    assert.ok(existsSync(tokenFile))
    // What is killed cannot clear up after itself.
    t.after(() => rmSync(dirname(tokenFile), { recursive: true }))
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    while (pids.some(isRunning)) await new Promise((resolve) => setTimeout(resolve, 5))
  })
})

/** A client's frame, which has to be masked. */
function masked(payload: Buffer): Buffer {
  const mask = randomBytes(4)
  const head = Buffer.alloc(10)
  head[0] = 0x82
  head[1] = 0x80 | 127
  head.writeBigUInt64BE(BigInt(payload.length), 2)
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0))])
}

function unframed(bytes: Buffer): { opcode: number; payload: Buffer }[] {
  const messages: { opcode: number; payload: Buffer }[] = []
  for (let at = 0; at < bytes.length;) {
    const opcode = (bytes[at] ?? 0) & 0x0f
    const short = bytes[at + 1] ?? 0
    const start = at + (short === 127 ? 10 : short === 126 ? 4 : 2)
    const length = short === 127
      ? Number(bytes.readBigUInt64BE(at + 2))
      : short === 126 ? bytes.readUInt16BE(at + 2) : short
    messages.push({ opcode, payload: bytes.subarray(start, start + length) })
    at = start + length
  }
  return messages
}

/** How often the kernel has sent a SYN to that port again. */
function retransmissions(port: number): number {
  const SYN_SENT = '02'
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const line = readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
    .find((columns) => columns[3] === SYN_SENT && columns[2]?.endsWith(remote))
  return Number.parseInt(line?.[6] ?? '0', 16)
}
