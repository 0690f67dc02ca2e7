/**
 * Real programs that take no agent, through `kube-multidialer forward`: kubectl gets and watches while the apiserver in
 * use is killed, stopped, cut off and gracefully ended. A watch whose apiserver falls silent is reset within 10 s; the
 * next kubectl is served by another. Each bound has half as much again, for a machine that is busy with three
 * apiservers.
 */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import { assets } from './enter.ts'

await enterClientNamespace()

const run = promisify(execFile)
const PROGRAM = fileURLToPath(new URL('../../lib/cli/bin.ts', import.meta.url))
const timeout = 120_000
const margin = 1.5
const watchFreed = margin * 10_000
/** What kubectl itself takes on such a machine, its own start included, and a race. */
const served = margin * 5_000

interface Printing {
  readonly child: ChildProcess
  readonly output: () => string
  readonly prints: (text: RegExp) => Promise<void>
  /** Resolves when it has ended. */
  readonly ended: Promise<void>
}

function start(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Printing {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env })
  let output = ''
  const listeners = new Set<() => void>()
  const read = (chunk: Buffer): void => {
    output += String(chunk)
    for (const listener of listeners) listener()
  }
  child.stdout.on('data', read)
  child.stderr.on('data', read)
  const ended = once(child, 'close').then(() => {})
  const prints = (text: RegExp): Promise<void> => new Promise((resolve, reject) => {
    const look = (): void => {
      if (!text.test(output)) return
      listeners.delete(look)
      resolve()
    }
    listeners.add(look)
    look()
    void ended.then(() => reject(new Error(`it ended without ${String(text)}: ${output}`)))
  })
  return { child, output: () => output, prints, ended }
}

describe('kubectl through forward', { skip: unavailable(), timeout: 600_000 }, () => {
  let cluster: Cluster
  let forward: Printing
  let flags: string[]
  let made = 0

  before(async () => {
    cluster = await Cluster.start()
    flags = [
      '--kubeconfig', '/dev/null', '--server', 'https://127.0.0.1:6443', '--tls-server-name', 'kubernetes',
      '--certificate-authority', cluster.caFile, '--token', cluster.token('admin'),
      '--cache-dir', join(cluster.folder, 'kubectl-through-forward'), '-n', 'default',
    ]
  })
  after(async () => {
    forward?.child.kill('SIGKILL')
    await cluster?.stop()
  })
  // Each row begins on the first server.
  beforeEach(async () => {
    forward?.child.kill('SIGKILL')
    await forward?.ended
    await cluster.waitForEndpoints()
    const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...env } = process.env
    const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
    forward = start(process.execPath, [
      ...loader, '--disable-warning=ExperimentalWarning', PROGRAM, 'forward', '--listen', '127.0.0.1:6443',
      '--server', cluster.server(0).url, '--ca', cluster.caFile, '--token-file', cluster.tokenFile('discoverer'),
    ], env)
    await forward.prints(/forwarding from 127\.0\.0\.1:6443/)
    await forward.prints(/list: .*10\.77\.0\.3/)
  })

  async function get(): Promise<number> {
    const begun = performance.now()
    const { stdout } = await run(join(assets(), 'kubectl'), [...flags, 'get', 'namespaces', '-o', 'name'])
    assert.match(stdout, /namespace\/default/)
    return performance.now() - begun
  }

  /** By one that no row does anything to. */
  async function create(name: string, data: string): Promise<void> {
    const body = { metadata: { name }, data: { data } }
    const { status } = await cluster.server(2).request('/api/v1/namespaces/default/configmaps', { method: 'POST', body })
    assert.equal(status, 201)
  }

  /** A watch of the configmaps that has seen one made after it began. */
  async function watch(): Promise<Printing> {
    const watching = start(join(assets(), 'kubectl'), [...flags, 'get', 'configmaps', '-w', '-o', 'name'])
    const name = `made-${++made}`
    await create(name, '')
    await watching.prints(new RegExp(`configmap/${name}\\b`))
    return watching
  }

  const faults: readonly (readonly [title: string, begin: (server: ApiServer) => unknown, end: (server: ApiServer) => unknown, within: number])[] = [
    ['killed', (server) => server.kill(), (server) => server.start(), served],
    ['stopped', (server) => server.stop(), (server) => server.cont(), watchFreed],
    ['cut off', (server) => server.cut('path'), (server) => server.mend(), watchFreed],
  ]
  for (const [title, begin, end, within] of faults) {
    it(`${title}: the watch ends within its bound, the next one and the next get are served by another`, { timeout }, async () => {
      const [server] = cluster.servers
      assert.ok(server !== undefined)
      const watching = await watch()
      await begin(server)
      try {
        const begun = performance.now()
        await watching.ended
        const ms = performance.now() - begun
        assert.ok(ms < within, `the watch ended after ${ms} ms`)
        const took = await get()
        assert.ok(took < served, `kubectl get took ${took} ms`)
        await forward.prints(new RegExp(`failover from ${server.address} to `))
        const next = await watch()
        next.child.kill()
      } finally {
        await end(server)
      }
    })
  }

  // A watch may hold a kube-apiserver that is ending for a minute.
  it('gracefully ended: what is under way ends, every kubectl in the meantime and after it is served', { timeout: 2 * timeout }, async () => {
    const [server] = cluster.servers
    assert.ok(server !== undefined)
    const watching = await watch()
    const gone = server.terminate()
    try {
      await get()
      await Promise.all([gone, watching.ended])
      const took = await get()
      assert.ok(took < served, `kubectl get took ${took} ms`)
      const next = await watch()
      next.child.kill()
    } finally {
      await gone
      await server.start()
    }
  })

  it('a list of what is large comes whole', { timeout }, async () => {
    const data = 'x'.repeat(500_000)
    await create('large', data)
    const { stdout } = await run(join(assets(), 'kubectl'), [...flags, 'get', 'configmap', 'large', '-o', 'json'], { maxBuffer: 4_000_000 })
    assert.ok(stdout.includes(data))
  })
})
