/**
 * The faults of the embedded control plane are real ones: here they are seen as a client sees them. Nothing of lib/ is
 * involved.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import { dirname } from 'node:path'
import { after, before, describe, it } from 'node:test'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { blackhole, canBlackhole } from './blackhole.ts'
import { ask, codeOf, CONFIGMAPS, ENDPOINTS, first, isRunning, lines, started, take } from './control-plane-client.ts'
import { ControlPlane } from './control-plane.ts'

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

/** How often the kernel has sent a SYN to that port again. */
function retransmissions(port: number): number {
  const SYN_SENT = '02'
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const line = readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
    .find((columns) => columns[3] === SYN_SENT && columns[2]?.endsWith(remote))
  return Number.parseInt(line?.[6] ?? '0', 16)
}
