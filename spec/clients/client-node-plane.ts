/** What the specs of client-node's versions have in common: a control plane, KubeConfig files to it, and dialers. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before } from 'node:test'
import type { Multidialer } from '../../lib/index.ts'
import type { ApiServer } from '../support/control-plane.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { KubeConfigs } from './kube-configs.ts'

export const LIMIT = 60_000
export const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
export const CALLS = 20

export let plane: ControlPlane
export let folder: string
export let configs: KubeConfigs
/** Closed after each test. */
export const dialers: Multidialer[] = []
const awake = setInterval(() => {}, 60_000)

before(async () => {
  plane = await ControlPlane.start()
  folder = mkdtempSync(join(tmpdir(), 'client-node-'))
  configs = new KubeConfigs(plane, folder)
})
after(async () => {
  clearInterval(awake)
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
})
afterEach(() => { for (const dialer of dialers.splice(0)) dialer.close() })

/** The server that a watch is at. */
export async function watched(): Promise<ApiServer> {
  for (;;) {
    for (const server of plane.servers) {
      if (server.state === 'running' && (await server.stats()).watches > 0) return server
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
