/**
 * Real programs that take no agent, through `kube-multidialer forward`: kubectl gets, watches, runs a command in a pod,
 * forwards a port of one and follows the logs of several, while the apiserver in use is killed, stopped, cut off and
 * gracefully ended. What hangs on an apiserver that falls silent is reset within 10 s; the next kubectl is served by
 * another. Each bound has half as much again, for a machine that is busy with three apiservers. The pods are a
 * stand-in's (kubelet.ts).
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { CLI, startPrinting, type Printing } from '../support/printing.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import { assets } from './enter.ts'
import { podFlags, startPods } from './pods.ts'

await enterClientNamespace()

const run = promisify(execFile)
const timeout = 120_000
const margin = 1.5
const freed = margin * 10_000
/** What kubectl itself takes on such a machine, its own start included, and a race. */
const served = margin * 5_000

/** What comes back from a port that echoes. */
async function echoed(port: number, text: string): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port }).setEncoding('utf8')
  socket.write(text)
  let back = ''
  while (back.length < text.length) back += String((await once(socket, 'data'))[0])
  socket.destroy()
  return back
}

describe('kubectl through forward', { skip: unavailable(), timeout: 600_000 }, () => {
  let cluster: Cluster
  let forward: Printing
  let flags: string[]
  let made = 0
  const pods = ['echo-1', 'echo-2']

  before(async () => {
    cluster = await Cluster.start({ flags: podFlags })
    await startPods(cluster, pods)
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
    forward = startPrinting(process.execPath, [
      ...CLI, 'forward', '--listen', '127.0.0.1:6443',
      '--server', cluster.server(0).url, '--ca', cluster.caFile, '--token-file', cluster.tokenFile('discoverer'),
    ])
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

  const kubectl = (...args: string[]): Printing => startPrinting(join(assets(), 'kubectl'), [...flags, ...args])

  /** What kubectl does for long, each given as one that has begun: something has come through it. */
  const uses: Readonly<Record<string, () => Promise<Printing>>> = {
    'get -w': async () => {
      const watching = kubectl('get', 'configmaps', '-w', '-o', 'name')
      const name = `made-${++made}`
      await create(name, '')
      await watching.prints(new RegExp(`configmap/${name}\\b`))
      return watching
    },
    exec: async () => {
      const running = kubectl('exec', '-i', 'echo-1', '--', 'cat')
      running.child.stdin?.write('through stdin\n')
      await running.prints(/^through stdin$/m)
      return running
    },
    'port-forward': async () => {
      const forwarding = kubectl('port-forward', 'pod/echo-1', ':80')
      const [, port] = await forwarding.prints(/Forwarding from 127\.0\.0\.1:(\d+) -> 80/)
      assert.equal(await echoed(Number(port), 'through a port'), 'through a port')
      return forwarding
    },
    'logs -f': async () => {
      const following = kubectl('logs', '-f', '-l', 'app=echo')
      for (const pod of pods) await following.prints(new RegExp(`^log of ${pod}$`, 'm'))
      return following
    },
  }
  const useAll = (): Promise<(readonly [name: string, Printing])[]> => (
    Promise.all(Object.entries(uses).map(async ([name, use]) => [name, await use()] as const))
  )

  /** What kubectl does and is done with, by whoever serves now: each succeeds, and in time. */
  async function serves(): Promise<void> {
    const took = await get()
    assert.ok(took < served, `kubectl get took ${took} ms`)
    const { stdout } = await run(join(assets(), 'kubectl'), [...flags, 'logs', '-l', 'app=echo'])
    // It asks for all of them at once.
    assert.deepEqual(stdout.trimEnd().split('\n').sort(), pods.map((pod) => `log of ${pod}`))
    for (const [, { child }] of await useAll()) child.kill()
    const running = await uses['exec']?.()
    running?.child.stdin?.end()
    await running?.ended
    assert.equal(running?.child.exitCode, 0)
  }

  const faults: readonly (readonly [title: string, begin: (server: ApiServer) => unknown, end: (server: ApiServer) => unknown, within: number])[] = [
    ['killed', (server) => server.kill(), (server) => server.start(), served],
    ['stopped', (server) => server.stop(), (server) => server.cont(), freed],
    ['cut off', (server) => server.cut('path'), (server) => server.mend(), freed],
  ]
  for (const [title, begin, end, within] of faults) {
    it(`${title}: a watch, a command, a port and logs end within their bound, the next are served by another`, { timeout }, async () => {
      const [server] = cluster.servers
      assert.ok(server !== undefined)
      const used = await useAll()
      await begin(server)
      try {
        const begun = performance.now()
        await Promise.all(used.map(async ([name, { ended }]) => {
          await ended
          const ms = performance.now() - begun
          assert.ok(ms < within, `${name} ended after ${ms} ms`)
        }))
        await serves()
        await forward.prints(new RegExp(`failover from ${server.address} to `))
      } finally {
        for (const [, { child }] of used) child.kill()
        await end(server)
      }
    })
  }

  // A watch may hold a kube-apiserver that is ending for a minute.
  it('gracefully ended: what is under way ends, every kubectl in the meantime and after it is served', { timeout: 2 * timeout }, async () => {
    const [server] = cluster.servers
    assert.ok(server !== undefined)
    const used = await useAll()
    const gone = server.terminate()
    try {
      await get()
      await Promise.all([gone, ...used.map(([, { ended }]) => ended)])
      await serves()
    } finally {
      for (const [, { child }] of used) child.kill()
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
