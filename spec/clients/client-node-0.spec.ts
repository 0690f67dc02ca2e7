/**
 * @kubernetes/client-node 0.2x on a dialer: it is on the package `request`, which takes an agent with each request. The
 * same promises as for 1.x and 2.x, on which client-node.spec.ts is.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { before, describe, it } from 'node:test'
import { withMultidialer } from '../../lib/adapters/client-node.ts'
import type { ClientNodeOptions } from '../../lib/adapters/client-node.ts'
import type { Multidialer } from '../../lib/index.ts'
import { CALLS, CONFIGMAPS, configs, dialers, folder, LIMIT, plane, watched } from './client-node-plane.ts'
import { QUICK } from './clients.ts'
import { statusOf, waysOf } from './kube-configs.ts'
import { record } from './matrix.ts'

type ClientNode0 = typeof import('client-node-0')
type KubeConfig0 = InstanceType<ClientNode0['KubeConfig']>

let k8s: ClientNode0
before(async () => { k8s = await import('client-node-0') })

function configOf(user: object = { token: plane.token }): KubeConfig0 {
  const config = new k8s.KubeConfig()
  config.loadFromFile(configs.write({ user }))
  return config
}

function dialled(config: KubeConfig0, options: ClientNodeOptions = QUICK): Multidialer {
  const dialer = withMultidialer(config, options)
  dialers.push(dialer)
  return dialer
}

describe('@kubernetes/client-node 0.22.3', { timeout: 3 * LIMIT }, () => {
  const verify = (what: string, rule: string, body: () => Promise<string | void>): void => {
    it(rule, { timeout: LIMIT }, async () => {
      record('@kubernetes/client-node 0.22.3 ', what, await body() ?? 'ok')
    })
  }

  verify('calls', `makes ${CALLS} calls one after another on one connection`, async () => {
    const took: string[] = []
    for (const mode of ['without', 'with'] as const) {
      await Promise.all(plane.servers.map((server) => server.resetStats()))
      const config = configOf()
      if (mode === 'with') dialled(config, { refreshInterval: 0, heartbeatInterval: 0 })
      const api = config.makeApiClient(k8s.CoreV1Api)
      const start = performance.now()
      for (let i = 0; i < CALLS; i += 1) await api.listNamespacedPod('default')
      const ms = (performance.now() - start) / CALLS
      const { connections } = await plane.servers[0]?.stats() ?? { connections: NaN }
      if (mode === 'with') assert.equal(connections, 1)
      took.push(`${connections} (${ms.toFixed(1)} ms) ${mode}`)
    }
    return took.join(', ')
  })

  verify('watch', 'watches over the dialer, and the watch ends when the server in use is stopped', async () => {
    const config = configOf()
    const dialer = dialled(config)
    await dialer.refresh()
    const ended = new Promise<unknown>((resolve) => {
      void new k8s.Watch(config).watch(CONFIGMAPS, {}, () => {}, resolve)
    })
    const server = await watched()
    assert.equal(dialer.snapshot().counters.dials, 1)
    await server.stop()
    try {
      assert.equal(Reflect.get(Object(await ended), 'code'), 'ECONNRESET')
      await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod('default')
    } finally {
      await server.cont()
    }
  })

  verify('informer', 'has an informer go on when it is started again, and the server in use is killed and stopped',
    async () => {
    const config = configOf()
    dialled(config)
    const api = config.makeApiClient(k8s.CoreV1Api)
    const seen = new Set<string>()
    let news = (): void => {}
    const informer = k8s.makeInformer(config, CONFIGMAPS, () => api.listNamespacedConfigMap('default'))
    informer.on('add', ({ metadata }) => {
      seen.add(metadata?.name ?? '')
      news()
    })
    let over = false
    informer.on('error', () => { if (!over) setTimeout(() => void informer.start(), 20) })
    await informer.start()
    const next = async (name: string): Promise<void> => {
      for (;;) {
        const done = await api.createNamespacedConfigMap('default', { metadata: { name } }).then(() => true,
          // A 409 says that one was written, whose answer was lost with its server.
          (error: unknown) => Reflect.get(Object(error), 'statusCode') === 409)
        if (done) break
      }
      while (!seen.has(name)) await new Promise<void>((resolve) => { news = resolve })
    }
    await next('old-1')
    const killed = await watched()
    await killed.kill()
    await next('old-2')
    await killed.restart()
    const stopped = await watched()
    await stopped.stop()
    await next('old-3')
    await stopped.cont()
    over = true
    await informer.stop()
  })

  verify('exec', 'executes over a WebSocket, attaches and forwards a port', async () => {
    const config = configOf()
    const dialer = dialled(config)
    const out = new PassThrough()
    const status = await new Promise<{ status?: string }>((resolve, reject) => {
      new k8s.Exec(config).exec('default', 'echo', 'echo', ['echo', 'hello'], out, null, null, false, resolve)
        .catch(reject)
    })
    assert.equal(status.status, 'Success')
    assert.equal(String(out.read()), 'echo hello\n')
    const [stdin, stdout] = [new PassThrough(), new PassThrough()]
    const attached = await new k8s.Attach(config).attach('default', 'echo', 'echo', stdout, null, stdin, false)
    stdin.write('ping')
    assert.equal(String((await once(stdout, 'data'))[0]), 'ping')
    attached.close()
    const [input, output] = [new PassThrough(), new PassThrough()]
    const forwarded = await new k8s.PortForward(config).portForward('default', 'echo', [80], output, null, input)
    input.write('pong')
    assert.equal(String((await once(output, 'data'))[0]), 'pong')
    if (typeof forwarded !== 'function') forwarded.close()
    assert.ok(dialer.snapshot().counters.dials >= 3)
  })

  verify('log, metrics, objects', 'reads logs and metrics, and any object', async () => {
    const config = configOf()
    const dialer = dialled(config)
    const log = new PassThrough()
    await new k8s.Log(config).log('default', 'echo', 'echo', log)
    assert.match(String((await once(log, 'data'))[0]), /^echo: line 1/)
    assert.equal((await new k8s.Metrics(config).getNodeMetrics()).items.length, 1)
    const objects = k8s.KubernetesObjectApi.makeApiClient(config)
    const pod = await objects.read({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'echo', namespace: 'default' } })
    assert.equal(pod.body.metadata?.name, 'echo')
    assert.ok(dialer.snapshot().counters.dials <= 3, 'on the connections of the dialer')
  })

  verify('credentials', 'connects with all that a KubeConfig may hold', async () => {
    const { kinds } = configs
    for (const [kind, parts] of Object.entries(kinds)) {
      const config = new k8s.KubeConfig()
      config.loadFromFile(configs.write(parts))
      const dialer = dialled(config)
      const { body } = await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod('default')
      assert.equal(body.items.length, 1, kind)
      assert.ok((await dialer.refresh()).length > 0, kind)
      assert.equal(dialer.snapshot().counters.dials, 1, kind)
    }
    return `${Object.keys(kinds).length} kinds`
  })

  verify('rotation', 'goes on with the token that the KubeConfig has by then', async () => {
    const config = configOf({ token: 'of-nobody' })
    dialled(config)
    const api = config.makeApiClient(k8s.CoreV1Api)
    await assert.rejects(api.listNamespacedPod('default'))
    const user = config.getCurrentUser()
    if (user !== null) Object.assign(user, { token: plane.token })
    await api.listNamespacedPod('default')
  })

  verify('options', 'lets programs take certificates out of the options for connections of their own', async () => {
    const config = configOf()
    const dialer = dialled(config)
    const filled: https.RequestOptions[] = [{}, {}]
    const [forHTTPS = {}, forRequest = {}] = filled
    await config.applyToHTTPSOptions(forHTTPS)
    await config.applyToRequest(Object.assign(forRequest, { url: `${plane.servers[0]?.url}/version` }))
    for (const options of filled) {
      for (const way of waysOf(options)) assert.equal(await statusOf(`${plane.servers[0]?.url}/version`, way), 200)
    }
    await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod('default')
    assert.ok(dialer.snapshot().counters.dials <= 2, 'what is the dialer\'s own shares its pool')
  })

  verify('plugin', 'runs a plugin once a call and once for discovery, though what it gives is over at once',
    async () => {
    const log = join(folder, 'runs')
    const exec = configs.plugin({ token: plane.token, expirationTimestamp: '2020-01-01T00:00:00Z' }, log)
    const config = configOf({ exec })
    const dialer = dialled(config)
    const api = config.makeApiClient(k8s.CoreV1Api)
    for (let i = 0; i < 4; i += 1) await api.listNamespacedPod('default')
    assert.ok((await dialer.refresh()).length > 0)
    const runs = readFileSync(log, 'utf8').split('\n').length - 1
    assert.equal(runs, 5)
    return `${runs} for 4 calls`
  })

  verify('undone', 'is as it was after close()', async () => {
    const config = configOf()
    const dialer = dialled(config)
    dialer.close()
    assert.ok(!Object.hasOwn(config, 'applyToRequest') && !Object.hasOwn(config, 'applyToHTTPSOptions'))
    await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod('default')
    assert.equal(dialer.snapshot().counters.dials, 0)
  })
})
