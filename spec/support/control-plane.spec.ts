/**
 * The embedded control plane proves itself here: it answers as an apiserver does, in each of its variants. Its faults
 * are in control-plane-faults.spec.ts. Nothing of lib/ is involved.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import https from 'node:https'
import { after, before, describe, it } from 'node:test'
import tls from 'node:tls'
import {
  ask, CONFIGMAPS, ENDPOINTS, first, isRecord, json, lines, nameOf, SLICES, started, take, versionOf, write,
} from './control-plane-client.ts'
import { certificateFile, ControlPlane, type ApiServer } from './control-plane.ts'

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
