/**
 * Pods that seem to run: a Node whose kubelet is the stand-in of kubelet.ts, on the bridge's address, where every
 * apiserver reaches it although the client may not reach them; and pods on it, which no scheduler and no container has
 * ever seen. The cluster must be started with `podFlags`.
 */
import { connect } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Cluster } from './cluster.ts'
import { bridgeAddress, currentRun } from './namespaces.ts'
import { Daemon } from './processes.ts'

const PROGRAM = fileURLToPath(new URL('kubelet.ts', import.meta.url))
const port = 10_250
const node = 'node-1'

/** Without a controller manager there is no service account that a pod could have. */
export const podFlags: readonly string[] = ['--disable-admission-plugins=ServiceAccount']

/** Resolves when pods of these names are there and the kubelet answers. They have the label `app: echo`. */
export async function startPods(cluster: Cluster, names: readonly string[]): Promise<Daemon> {
  const run = currentRun()
  if (run === undefined) throw new Error('no cluster is running')
  const { certFile, keyFile } = await cluster.servingCertificate(bridgeAddress)
  const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
  const kubelet = await Daemon.spawn(`${run}-bridge`, join(cluster.folder, 'kubelet.log'), [
    process.execPath, ...loader, '--disable-warning=ExperimentalWarning', PROGRAM, bridgeAddress, String(port), certFile, keyFile,
  ])
  await send(cluster, 'POST', '/api/v1/nodes', {
    metadata: { name: node },
    status: {
      addresses: [{ type: 'InternalIP', address: bridgeAddress }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    },
  })
  for (const name of names) {
    const pod = {
      metadata: { name, labels: { app: 'echo' } },
      spec: { nodeName: node, automountServiceAccountToken: false, containers: [{ name: 'echo', image: 'none' }] },
    }
    await send(cluster, 'POST', '/api/v1/namespaces/default/pods', pod)
    await send(cluster, 'PUT', `/api/v1/namespaces/default/pods/${name}/status`, { ...pod, status: { phase: 'Running' } })
  }
  while (!await accepts()) {
    if (!kubelet.running) throw new Error('the kubelet has ended')
    await delay(50)
  }
  return kubelet
}

/** By one server: `cluster.request` asks all of them. */
async function send(cluster: Cluster, method: 'POST' | 'PUT', path: string, body: unknown): Promise<void> {
  const { status, text } = await cluster.server(0).request(path, { method, body })
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`)
}

async function accepts(): Promise<boolean> {
  const socket = connect(port, bridgeAddress)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
