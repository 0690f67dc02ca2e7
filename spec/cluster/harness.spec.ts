/**
 * The real control plane is what the other specs here take it for: each fault is the fault it claims to be, seen with
 * nothing but node:net, node:tls, node:https and openssl, and nothing of it outlives its process.
 */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import {
  clientNamespaceOf, currentRun, foldersOf, namespacesOf, processesIn, runNameOf, runVariable, sweep,
} from './namespaces.ts'

await enterClientNamespace()

const run = promisify(execFile)
/** Long enough for anything on this network to be answered, in ms; short enough to wait for when it must not be. */
const silence = 1_000
/** Longer than the 3 s after which an address that ARP does not find is reported as EHOSTUNREACH. */
const longSilence = 4_000
const timeout = 60_000

describe('the real control plane', { skip: unavailable(), timeout: 240_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start({ shutdownDelay: 1 }) })
  after(() => cluster?.stop())

  it('lists three servers, each with an address of its own', async () => {
    assert.deepEqual(await cluster.endpoints(), ['10.77.0.1', '10.77.0.2', '10.77.0.3'])
    assert.match(await cluster.kubectl('get', 'namespaces'), /kube-system/)
  })

  it('has servers that prove their own IP and the names of the service, and no other', async () => {
    const ca = readFileSync(cluster.caFile)
    for (const servername of ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc']) {
      await handshake(cluster.server(1), { ca, servername })
    }
    await handshake(cluster.server(1), { ca })
    const asAnother = handshake(cluster.server(1), {
      ca, checkServerIdentity: (_, certificate) => tls.checkServerIdentity(cluster.server(0).host, certificate),
    })
    await assert.rejects(asAnother, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  })

  it('has a second CA that proves nothing', async () => {
    const ca = readFileSync(cluster.wrongCaFile)
    await assert.rejects(handshake(cluster.server(0), { ca }), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  })

  it('lets the admin do all, the discoverer read Endpoints, nobody nothing, and counts what they asked', async () => {
    const server = cluster.server(1)
    const endpoints = '/api/v1/namespaces/default/endpoints/kubernetes?resourceVersion=0'
    const slices = '/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices'
    const before = await server.discoveryRequests()
    const statusOf = async (user: 'admin' | 'discoverer' | 'nobody', path: string): Promise<number> =>
      (await get(cluster, server, path, { token: cluster.token(user) })).status
    assert.deepEqual(await Promise.all([
      statusOf('admin', endpoints), statusOf('admin', '/api/v1/namespaces'),
    ]), [200, 200])
    assert.deepEqual(await Promise.all([
      statusOf('discoverer', endpoints), statusOf('discoverer', slices), statusOf('discoverer', '/api/v1/namespaces'),
    ]), [200, 200, 403])
    assert.equal(await statusOf('nobody', endpoints), 403)
    assert.equal(readFileSync(cluster.tokenFile('nobody'), 'utf8'), cluster.token('nobody'))
    await until(async () => await server.discoveryRequests() === before + 4)
    const { status } = (await server.audited()).filter(({ user }) => user === 'nobody').at(-1) ?? assert.fail()
    assert.equal(status, 403)
  })

  it('knows an admin by the client certificate', async () => {
    const { certFile, keyFile } = cluster.adminCertificate
    const credentials = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
    assert.equal((await get(cluster, cluster.server(0), '/api/v1/namespaces', credentials)).status, 200)
  })

  it('hung, accepts connections and never answers a handshake, until it goes on', { timeout }, async () => {
    const server = cluster.server(1)
    server.stop()
    await connected(server)
    const pending = handshake(server, { ca: readFileSync(cluster.caFile) })
    assert.equal(await Promise.race([pending, delay(silence, 'silent')]), 'silent')
    server.cont()
    await pending
  })

  for (const direction of ['both', 'path', 'requests', 'replies'] as const) {
    it(`cut off (${direction}), leaves a new connection pending, until it is mended`, { timeout }, async () => {
      const server = cluster.server(2)
      await server.cut(direction)
      const pending = connected(server)
      const wait = direction === 'both' ? longSilence : silence
      assert.equal(await Promise.race([pending, delay(wait, 'silent')]), 'silent')
      await get(cluster, cluster.server(1), '/version')
      await server.mend()
      await pending
    })
  }

  it('with requests lost, gets what was sent on an open connection only once mended', { timeout }, async () => {
    const { sent, arrived, mended } = await requestWhileCut(cluster, cluster.server(2), 'requests')
    assert.ok(sent <= mended && arrived >= mended, `sent ${sent}, mended ${mended}, arrived ${arrived}`)
  })

  it('with replies lost, gets what was sent on an open connection while it is cut', { timeout }, async () => {
    const { arrived, mended } = await requestWhileCut(cluster, cluster.server(2), 'replies')
    assert.ok(arrived <= mended, `arrived ${arrived}, mended ${mended}`)
  })

  it('terminated, leaves the Endpoints at once; started again, comes back', { timeout }, async () => {
    const server = cluster.server(0)
    await server.terminate()
    assert.deepEqual(await cluster.endpoints(), ['10.77.0.2', '10.77.0.3'])
    await server.start()
    await cluster.waitForEndpoints(['10.77.0.1', '10.77.0.2', '10.77.0.3'])
  })

  it('killed, refuses connections; started with a bad certificate, shows that one', { timeout }, async () => {
    const server = cluster.server(1)
    await server.kill()
    await assert.rejects(connected(server), { code: 'ECONNREFUSED' })
    await server.start('expired')
    const ca = readFileSync(cluster.caFile)
    await assert.rejects(handshake(server, { ca }), { code: 'CERT_HAS_EXPIRED' })
  })

  it('grows, shrinks and moves as told, and lists what is there', { timeout: 120_000 }, async () => {
    const [moving, fourth] = [cluster.server(0), await cluster.addServer()]
    assert.equal(fourth.host, '10.77.0.4')
    await cluster.waitForEndpoints(['10.77.0.1', '10.77.0.2', '10.77.0.3', '10.77.0.4'])
    await handshake(fourth, { ca: readFileSync(cluster.caFile) })
    await cluster.removeServer(fourth)
    await cluster.renumber(moving)
    assert.equal(moving.address, '10.77.0.5:6443')
    await cluster.waitForEndpoints(['10.77.0.2', '10.77.0.3', '10.77.0.5'])
    await handshake(moving, { ca: readFileSync(cluster.caFile) })
  })

  it('drops a killed server from the Endpoints when its lease has ended', { timeout: 90_000 }, async () => {
    await cluster.server(2).kill()
    await cluster.waitForEndpoints(['10.77.0.2', '10.77.0.5'])
  })

  it('is gone after stop: processes, namespaces, interfaces, folder', async () => {
    const runName = currentRun() ?? assert.fail()
    const pids = (await Promise.all(namespacesOf(runName).filter(isOfServers).map(processesIn))).flat()
    assert.equal(pids.length, 3) // etcd and the two servers that were not killed
    await cluster.stop()
    assert.deepEqual(pids.filter(isAlive), [])
    assert.deepEqual(namespacesOf(runName).filter(isOfServers), [])
    assert.deepEqual(foldersOf(runName), [])
    assert.doesNotMatch((await run('ip', ['link'])).stdout, /eth0/)
  })
})

describe('a process with a control plane', { skip: unavailable(), timeout: 240_000 }, () => {
  it('does what it is told, and told to end, leaves nothing behind', { timeout }, async () => {
    const { runName, pids, process } = await upElsewhere()
    let said = ''
    process.stdout.setEncoding('utf8').on('data', (text: string) => { said += text })
    process.stdin.write('kill 1\n')
    await until(() => said.includes('kill 10.77.0.1:6443: done'))
    assert.equal(pids.filter(isAlive).length, pids.length - 1)
    process.kill('SIGTERM')
    await once(process, 'exit')
    assert.deepEqual([...pids.filter(isAlive), ...namespacesOf(runName), ...foldersOf(runName)], [])
  })

  it('whose client dies without a word, leaves nothing behind, and ends the same way', { timeout }, async () => {
    const { runName, pids, process: supervisor } = await upElsewhere()
    const ended = once(supervisor, 'exit')
    for (const pid of await processesIn(clientNamespaceOf(runName))) process.kill(pid, 'SIGKILL')
    assert.deepEqual(await ended, [null, 'SIGKILL'])
    assert.deepEqual([...pids.filter(isAlive), ...namespacesOf(runName), ...foldersOf(runName)], [])
  })

  it('killed itself, leaves no process behind, and names that the next sweep removes', { timeout }, async () => {
    const { runName, pids, process } = await upElsewhere()
    process.kill('SIGKILL')
    await once(process, 'exit')
    await until(() => !pids.some(isAlive))
    assert.notDeepEqual(namespacesOf(runName), [])
    await sweep()
    assert.deepEqual([...namespacesOf(runName), ...foldersOf(runName)], [])
    assert.notEqual(currentRun(), undefined) // Its own run, being alive, was not swept.
  })
})

interface Answer {
  readonly status: number
}

/** One GET on a connection of its own, verified; with a bearer token or a client certificate, or anonymously. */
async function get(
  cluster: Cluster, server: ApiServer, path: string,
  { token, ...tlsOptions }: { token?: string; cert?: Buffer; key?: Buffer } = {},
): Promise<Answer> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const ca = readFileSync(cluster.caFile)
  const request = https.get(server.url + path, { ca, headers, agent: false, ...tlsOptions })
  const [response]: { statusCode?: number; resume(): unknown }[] = await once(request, 'response')
  response?.resume()
  return { status: response?.statusCode ?? 0 }
}

/** A TCP connection, made and closed. */
async function connected(server: ApiServer): Promise<void> {
  const socket = net.connect(server.port, server.host)
  try {
    await once(socket, 'connect')
  } finally {
    socket.destroy()
  }
}

/** A TLS connection, verified and closed. */
async function handshake(server: ApiServer, options: tls.ConnectionOptions): Promise<void> {
  const socket = tls.connect({ host: server.host, port: server.port, ...options })
  try {
    await once(socket, 'secureConnect')
  } finally {
    socket.destroy()
  }
}

/** When a request on a connection opened before was written, when the server got it, and when the cut was mended. */
async function requestWhileCut(
  cluster: Cluster, server: ApiServer, direction: 'requests' | 'replies',
): Promise<{ sent: number; arrived: number; mended: number }> {
  const path = `/version?cut=${direction}`
  const arrival = async (): Promise<number | undefined> =>
    (await server.audited()).find(request => request.uri === path)?.at
  const socket = tls.connect({ host: server.host, port: server.port, ca: readFileSync(cluster.caFile) })
  try {
    await once(socket, 'secureConnect')
    await server.cut(direction)
    const answered = once(socket, 'data')
    await new Promise<unknown>(resolve => socket.write(`GET ${path} HTTP/1.1\r\nHost: kubernetes\r\n\r\n`, resolve))
    const sent = Date.now()
    if (direction === 'replies') await until(async () => await arrival() !== undefined)
    assert.equal(await Promise.race([answered, delay(silence, 'silent')]), 'silent')
    const mended = Date.now()
    await server.mend()
    await answered
    await until(async () => await arrival() !== undefined)
    return { sent, mended, arrived: await arrival() ?? assert.fail() }
  } finally {
    socket.destroy()
  }
}

type Up = ChildProcessByStdio<Writable, Readable, null>

/** A control plane of one server that another process has, as a person would start it. */
async function upElsewhere(): Promise<{ runName: string; pids: number[]; process: Up }> {
  const script = fileURLToPath(new URL('up.ts', import.meta.url))
  const { [runVariable]: _, ...env } = process.env
  const child = spawn(process.execPath, [...process.execArgv, script, '--servers', '1'], {
    env, stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit').then(([status]) => assert.fail(`up.ts ended with ${String(status)}`))
  ended.catch(() => {})
  await Promise.race([once(child.stdout, 'data'), ended])
  const runName = runNameOf(child.pid)
  const pids = (await Promise.all(namespacesOf(runName).map(processesIn))).flat()
  assert.ok(pids.length >= 3, 'etcd, an apiserver and the client')
  assert.notDeepEqual(foldersOf(runName), [])
  return { runName, pids, process: child }
}

/** Resolves when the condition holds; the time it may take is bounded by the spec's own timeout. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(50)
}

function isOfServers(namespace: string): boolean {
  return !namespace.endsWith('-client')
}

/** A process killed a moment ago may still be there as a zombie: it is dead all the same. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}
