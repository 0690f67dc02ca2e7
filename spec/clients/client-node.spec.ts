/**
 * @kubernetes/client-node, 1.x and 2.x, on a dialer: all that is made of a KubeConfig, from whatever it holds, and what
 * it costs with and without. 0.2x is client-node-0.spec.ts's.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { before, describe, it } from 'node:test'
import { withMultidialer } from '../../lib/adapters/client-node.ts'
import { ControlPlane } from '../support/control-plane.ts'
import type { ClientNode } from './clients.ts'
import { CALLS, CONFIGMAPS, configs, dialers, folder, LIMIT, plane, watched } from './client-node-plane.ts'
import { clientNode, kubeConfigOf, QUICK, runsHere } from './clients.ts'
import { statusOf, waysOf } from './kube-configs.ts'
import { record } from './matrix.ts'

type KubeConfig = InstanceType<ClientNode['KubeConfig']>

function dialled(config: KubeConfig): KubeConfig {
  dialers.push(withMultidialer(config, QUICK))
  return config
}

function target(): { server: string; ca: string; token: string } {
  return { server: plane.servers[0]?.url ?? '', ca: plane.ca, token: plane.token }
}

let created = 0
async function create(k8s: ClientNode, config: KubeConfig): Promise<string> {
  created += 1
  const name = `object-${created}`
  const api = config.makeApiClient(k8s.CoreV1Api)
  for (;;) {
    try {
      await api.createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name } } })
      return name
    } catch (error) {
      // One that was written to a server that is being stopped: the client cannot know whether it was done.
      if (typeof error === 'object' && error !== null && Reflect.get(error, 'code') === 409) return name
    }
  }
}

/** Names that have been seen, and a way to wait for one. */
class Seen {
  readonly names: string[] = []
  #waiting: (() => void)[] = []

  add(name: string | undefined): void {
    this.names.push(name ?? '')
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  async until(name: string): Promise<void> {
    while (!this.names.includes(name)) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
}

/** Through a kill and a stop of the server that the watch is at: each object is seen, and once. */
async function throughFaults(k8s: ClientNode, config: KubeConfig, seen: Seen): Promise<void> {
  const names: string[] = []
  const next = async (): Promise<void> => {
    const name = await create(k8s, config)
    names.push(name)
    await seen.until(name)
  }
  await next()
  const killed = await watched()
  await killed.kill()
  await next()
  await killed.restart()
  const stopped = await watched()
  await stopped.stop()
  await next()
  await stopped.cont()
  for (const name of names) assert.equal(seen.names.filter((one) => one === name).length, 1, `${name} seen once`)
}

for (const [major, version, needs] of [['1', '1.4.0', undefined], ['2', '2.0.1', '22.19.0']] as const) {
  const client = `@kubernetes/client-node ${version}`
  const skip = needs === undefined || runsHere({ needs }) ? false : `needs Node ${needs}`

  if (skip) {
    for (const what of [
      'calls', 'watch', 'informer', 'exec', 'log, metrics, objects', 'credentials', 'rotation', 'options',
      'plugin', 'undone',
    ]) record(`${client} `, what, skip)
  }

  describe(client, { skip }, () => {
    let k8s: ClientNode
    before(async () => { k8s = await clientNode(major) })
    const verify = (what: string, rule: string, body: () => Promise<string | void>): void => {
      it(rule, { timeout: LIMIT }, async () => record(`${client} `, what, await body() ?? 'ok'))
    }

    verify('calls', `makes ${CALLS} calls one after another on one connection`, async () => {
      const took: string[] = []
      for (const mode of ['without', 'with'] as const) {
        await Promise.all(plane.servers.map((server) => server.resetStats()))
        const config = kubeConfigOf(k8s, target())
        // Its own connections alone are counted.
        const dialer = mode === 'with'
          ? withMultidialer(config, { refreshInterval: 0, heartbeatInterval: 0 })
          : undefined
        const api = config.makeApiClient(k8s.CoreV1Api)
        const start = performance.now()
        for (let i = 0; i < CALLS; i += 1) await api.listNamespacedPod({ namespace: 'default' })
        const ms = (performance.now() - start) / CALLS
        const { connections } = await plane.servers[0]?.stats() ?? { connections: NaN }
        assert.equal(connections, mode === 'with' ? 1 : CALLS)
        took.push(`${connections} (${ms.toFixed(1)} ms) ${mode}`)
        dialer?.close()
      }
      return took.join(', ')
    })

    verify('watch', 'resumes a watch when the server in use is killed and stopped', async () => {
      const config = dialled(kubeConfigOf(k8s, target()))
      const seen = new Seen()
      const { metadata } = await config.makeApiClient(k8s.CoreV1Api).listNamespacedConfigMap({ namespace: 'default' })
      let version = metadata?.resourceVersion
      let over = false
      let abort: AbortController | undefined
      const follow = async (): Promise<void> => {
        let ended = false
        const end = (): void => {
          if (ended || over) return
          ended = true
          setTimeout(() => void follow(), 20)
        }
        abort = await new k8s.Watch(config).watch(CONFIGMAPS, { resourceVersion: version }, (type, object) => {
          if (ended) return
          version = object.metadata.resourceVersion
          if (type === 'ADDED') seen.add(object.metadata.name)
        }, end)
      }
      await follow()
      await throughFaults(k8s, config, seen)
      over = true
      abort?.abort()
    })

    verify('informer', 'has an informer go on when it is started again, and the server in use is killed and stopped',
      async () => {
      const config = dialled(kubeConfigOf(k8s, target()))
      const seen = new Seen()
      const api = config.makeApiClient(k8s.CoreV1Api)
      const informer = k8s.makeInformer(config, CONFIGMAPS, () => api.listNamespacedConfigMap({ namespace: 'default' }))
      informer.on('add', ({ metadata }) => seen.add(metadata?.name))
      // That it was stopped comes as an error, too.
      let over = false
      const restart = (): void => { if (!over) setTimeout(() => void informer.start(), 20) }
      informer.on('error', restart)
      await informer.start()
      await throughFaults(k8s, config, seen)
      over = true
      await informer.stop()
    })

    verify('exec', 'executes over a WebSocket, attaches and forwards a port', async () => {
      const config = dialled(kubeConfigOf(k8s, target()))
      await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod({ namespace: 'default' })
      const dials = dialers[0]?.snapshot().counters.dials ?? 0
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
      assert.ok((dialers[0]?.snapshot().counters.dials ?? 0) >= dials + 2,
        'dialled, but for one that took an idle connection')
    })

    verify('log, metrics, objects', 'reads logs and metrics, and any object', async () => {
      const config = dialled(kubeConfigOf(k8s, target()))
      const log = new PassThrough()
      await new k8s.Log(config).log('default', 'echo', 'echo', log)
      assert.match(String((await once(log, 'data'))[0]), /^echo: line 1/)
      assert.equal((await new k8s.Metrics(config).getNodeMetrics()).items.length, 1)
      const objects = k8s.KubernetesObjectApi.makeApiClient(config)
      const pod = await objects.read({
        apiVersion: 'v1', kind: 'Pod', metadata: { name: 'echo', namespace: 'default' },
      })
      assert.equal(pod.metadata?.name, 'echo')
      assert.ok((dialers[0]?.snapshot().counters.dials ?? 0) <= 3, 'on the connections of the dialer')
    })

    verify('credentials', 'connects with all that a KubeConfig may hold', async () => {
      const { kinds } = configs
      for (const [kind, parts] of Object.entries(kinds)) {
        const config = new k8s.KubeConfig()
        config.loadFromFile(configs.write(parts))
        const dialer = withMultidialer(config, QUICK)
        try {
          const { items } = await config.makeApiClient(k8s.CoreV1Api).listNamespacedPod({ namespace: 'default' })
          assert.equal(items.length, 1, kind)
          assert.ok((await dialer.refresh()).length > 0, kind)
          assert.equal(dialer.snapshot().counters.dials, 1, kind)
        } finally {
          dialer.close()
        }
      }
      return `${Object.keys(kinds).length} kinds`
    })

    verify('rotation', 'goes on with the token that the KubeConfig has by then', async () => {
      const own = await ControlPlane.start({ servers: 1 })
      try {
        const config = dialled(kubeConfigOf(k8s, { server: own.servers[0]?.url ?? '', ca: own.ca, token: own.token }))
        const api = config.makeApiClient(k8s.CoreV1Api)
        await api.listNamespacedPod({ namespace: 'default' })
        const token = await own.rotateToken()
        await assert.rejects(api.listNamespacedPod({ namespace: 'default' }))
        const user = config.getCurrentUser()
        if (user !== null) Object.assign(user, { token })
        await api.listNamespacedPod({ namespace: 'default' })
      } finally {
        await own.stop()
      }
    })

    verify('options', 'lets programs take certificates out of the options for connections of their own', async () => {
      const config = dialled(kubeConfigOf(k8s, target()))
      const options: https.RequestOptions = {}
      await config.applyToHTTPSOptions(options)
      assert.deepEqual(options.agent instanceof https.Agent && options.agent.options.ca, options.ca)
      for (const way of waysOf(options)) assert.equal(await statusOf(`${target().server}/version`, way), 200)
      await config.makeApiClient(k8s.VersionApi).getCode()
      assert.ok((dialers[0]?.snapshot().counters.dials ?? 0) <= 2, 'what is the dialer\'s own shares its pool')
    })

    verify('plugin', 'runs a plugin once a call and once for discovery, though what it gives is over at once', async () => {
      const log = join(folder, `runs-${major}`)
      const exec = configs.plugin({ token: plane.token, expirationTimestamp: '2020-01-01T00:00:00Z' }, log)
      const config = new k8s.KubeConfig()
      const caData = Buffer.from(plane.ca).toString('base64')
      config.loadFromClusterAndUser(
        { name: 'c', server: target().server, caData, skipTLSVerify: false }, { name: 'u', exec },
      )
      const api = dialled(config).makeApiClient(k8s.CoreV1Api)
      for (let i = 0; i < 4; i += 1) await api.listNamespacedPod({ namespace: 'default' })
      assert.ok((await dialers[0]?.refresh() ?? []).length > 0)
      const runs = readFileSync(log, 'utf8').split('\n').length - 1
      assert.equal(runs, 5)
      return `${runs} for 4 calls`
    })

    verify('undone', 'is as it was after close()', async () => {
      const config = kubeConfigOf(k8s, target())
      const api = config.makeApiClient(k8s.CoreV1Api)
      const dialer = withMultidialer(config, QUICK)
      await api.listNamespacedPod({ namespace: 'default' })
      dialer.close()
      assert.ok(!Object.hasOwn(config, 'applySecurityAuthentication') && !Object.hasOwn(config, 'applyToHTTPSOptions'))
      await api.listNamespacedPod({ namespace: 'default' })
      assert.equal(dialer.snapshot().counters.dials, 1)
    })
  })
}
