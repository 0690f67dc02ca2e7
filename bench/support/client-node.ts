/**
 * @kubernetes/client-node, 1.x and 2.x, as it is installed for the specs of clients: as much of its surface as the
 * benches need. It is not a dependency of this package, and may be missing.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { KubeConfigLike } from '../../lib/adapters/client-node.ts'
import { nodeOf } from '../../spec/support/nodes.ts'
import type { Options } from '../report.ts'

const CLIENTS = fileURLToPath(new URL('../../spec/clients/package.json', import.meta.url))

const VERSIONS = ['1', '2'] as const
export type Version = typeof VERSIONS[number]

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

/** The undici of 2.x needs Node 22.19. */
const LEAST_NODE: Readonly<Record<Version, readonly [major: number, minor: number]>> = { 1: [0, 0], 2: [22, 19] }

/**
 * The Node that a version can run on: this one, or a newer one of the npm registry; undefined where none can be had.
 */
export function nodeFor(version: Version): string | undefined {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const [leastMajor, leastMinor] = LEAST_NODE[version]
  return major > leastMajor || (major === leastMajor && minor >= leastMinor) ? process.execPath : nodeOf('24')
}

/** A client that can be measured, and the Node it runs on. */
export interface Available {
  readonly version: Version
  readonly name: string
  readonly node: string
}

/** Those that are installed and that one of `nodes` can run. Adds a note for what is left out or runs elsewhere. */
export function availableClients(nodes: Options['nodes'], notes: string[]): Available[] {
  return VERSIONS.flatMap((version): Available[] => {
    const node = nodes[version]
    const missing = isInstalled(version) ? 'needs Node 22.19, and none can be had here' : 'cannot be installed here'
    if (node === undefined || !isInstalled(version)) {
      notes.push(`client-node ${version}.x is left out: it ${missing}`)
      return []
    }
    const name = `client-node ${versionOf(version)}`
    if (node !== process.execPath) {
      notes.push(`${name} needs a newer Node: it runs on ${nodeVersionOf(node)}, with and alone`)
    }
    return [{ version, name, node }]
  })
}

function isInstalled(version: Version): boolean {
  return existsSync(join(dirname(CLIENTS), 'node_modules', `client-node-${version}`))
}

function nodeVersionOf(node: string): string {
  return spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()
}

function versionOf(version: Version): string {
  const file = join(dirname(CLIENTS), 'node_modules', `client-node-${version}`, 'package.json')
  const manifest: { version: string } = JSON.parse(readFileSync(file, 'utf8'))
  return manifest.version
}

export async function loadClientNode(version: Version): Promise<ClientNode> {
  const loaded: ClientNode = await import(pathToFileURL(createRequire(CLIENTS).resolve(`client-node-${version}`)).href)
  return loaded
}

/** The server that is asked, and the credentials to ask with. */
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
