/**
 * @kubernetes/client-node, 1.x and 2.x, from the package of clients that the specs use: as much of its surface as the
 * benches need. It is no dependency of this package, and may not be installed.
 */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { KubeConfigLike } from '../lib/client-node.ts'

const CLIENTS = fileURLToPath(new URL('../spec/clients/package.json', import.meta.url))

export type Version = '1' | '2'

export interface KubeConfig extends KubeConfigLike {
  loadFromOptions(options: object): void
  makeApiClient(api: unknown): VersionApi
}

interface VersionApi {
  getCode(): Promise<unknown>
}

export interface ClientNode {
  readonly KubeConfig: new () => KubeConfig
  readonly VersionApi: unknown
  readonly Watch: new (config: KubeConfig) => {
    watch(path: string, query: object, onEvent: () => void, onDone: (error: unknown) => void): Promise<AbortController>
  }
}

/** Why it cannot be used here; undefined where it can. */
export function missingClientNode(version: Version): string | undefined {
  const folder = join(dirname(CLIENTS), 'node_modules', `client-node-${version}`)
  if (!existsSync(folder)) return 'not installed: npm ci --prefix spec/clients'
  // The undici of 2.x needs what Node has from there on.
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return version === '2' && (major < 22 || (major === 22 && minor < 19)) ? 'needs Node 22.19 or newer' : undefined
}

export function versionOf(version: Version): string {
  const file = join(dirname(CLIENTS), 'node_modules', `client-node-${version}`, 'package.json')
  const manifest: { version: string } = JSON.parse(readFileSync(file, 'utf8'))
  return manifest.version
}

export async function loadClientNode(version: Version): Promise<ClientNode> {
  const loaded: ClientNode = await import(pathToFileURL(createRequire(CLIENTS).resolve(`client-node-${version}`)).href)
  return loaded
}

/** Who is asked, and as whom. */
export interface Target {
  readonly url: string
  readonly caFile: string
  readonly token: string
}

export function kubeConfigOf({ KubeConfig }: ClientNode, { url, caFile, token }: Target): KubeConfig {
  const config = new KubeConfig()
  config.loadFromOptions({
    clusters: [{ name: 'bench', server: url, caFile }], users: [{ name: 'bench', token }],
    contexts: [{ name: 'bench', cluster: 'bench', user: 'bench' }], currentContext: 'bench',
  })
  return config
}
