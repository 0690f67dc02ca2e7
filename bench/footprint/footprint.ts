/**
 * What the package weighs: bytes published, packages installed, time of its import, heap of an idle dialer, and whether
 * it holds anything before its first dial. Beside what others weigh that are put into the same place.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { moduleOf } from '../support/dist.ts'
import { interleaved, median } from '../measure.ts'
import type { Cell, Options, Report } from '../report.ts'

const CLIENTS = fileURLToPath(new URL('../../spec/clients/package.json', import.meta.url))
const CA = fileURLToPath(new URL('../../spec/support/certificates/ca.crt', import.meta.url))
const INSTANCES = 1_000

/**
 * The program of each fresh process: JavaScript as text, so that no loader has a share in what it measures. It imports
 * `what`, an ES module by its URL or a package by its name as `from` finds it, and prints what that took; of the module
 * and of `https.Agent` it also makes instances. A file with nothing in it is imported first, as every program has been
 * whose own file imports something: Node's loader then has all that it needs for files.
 */
const PROBE = `
  import https from 'node:https'
  import 'node:tls'
  import { readFileSync } from 'node:fs'
  import { createRequire } from 'node:module'
  const [what, from, ca, empty] = process.argv.slice(1)
  const target = from === '' ? what : createRequire(from).resolve(what)
  await import(empty)
  const startedAt = performance.now()
  const loaded = await import(target)
  const imported = performance.now() - startedAt
  const options = { server: 'https://127.0.0.1:6443', ca: readFileSync(ca) }
  const make = what === 'node:https' ? () => new https.Agent(options)
    : loaded.Multidialer !== undefined ? () => new loaded.Multidialer(options) : undefined
  const result = { imported }
  if (make !== undefined) {
    const kept = [make()]   // What the first one loads, or caches for all, is not what one costs.
    gc()
    const handles = process.getActiveResourcesInfo()
    const before = process.memoryUsage().heapUsed
    for (let made = 0; made < ${INSTANCES}; made += 1) kept.push(make())
    gc()
    result.heap = (process.memoryUsage().heapUsed - before) / ${INSTANCES}
    result.handles = process.getActiveResourcesInfo()
    for (const handle of handles) result.handles.splice(result.handles.indexOf(handle), 1)
    result.kept = kept.length
  }
  process.stdout.write(JSON.stringify(result))
  process.exit()`

interface Probed {
  /** ms */
  readonly imported: number
  /** Bytes, for each instance; undefined where none are made. */
  readonly heap?: number
  /** What would keep the process alive after instances were made, before any of them was used. */
  readonly handles?: readonly string[]
}

interface Weight {
  readonly packages: number
  readonly bytes: number
}

interface Contender {
  readonly name: string
  readonly args: readonly string[]
  readonly weight: Weight | undefined
}

export async function run({ quick, dist }: Options): Promise<Report> {
  const files = filesOf(dist).filter((file) => file.endsWith('.js'))
  const contents = files.map((file) => readFileSync(file))
  const bytes = contents.reduce((total, { length }) => total + length, 0)
  const zipped = gzipSync(Buffer.concat(contents), { level: 9 }).length
  const folder = mkdtempSync(join(tmpdir(), 'footprint-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const probe = (args: readonly string[]): Probed | undefined => probed(args, fileOf(folder, 'first', ''))
  const contenders: Contender[] = [
    { name: 'kube-multidialer', args: [moduleOf(dist, 'index')], weight: { packages: 1, bytes: bytesOf(dist) } },
    { name: 'kube-multidialer/undici', args: [moduleOf(dist, 'undici')], weight: undefined },
    { name: 'kube-multidialer/client-node', args: [moduleOf(dist, 'client-node')], weight: undefined },
    {
      name: 'the built-in modules that it imports', args: [fileOf(folder, 'builtins', builtinsOf(contents))],
      weight: undefined,
    },
    { name: 'a file with nothing in it', args: [fileOf(folder, 'empty', '')], weight: undefined },
    { name: 'https.Agent alone', args: ['node:https'], weight: { packages: 0, bytes: 0 } },
    ...['agent-base', 'https-proxy-agent', 'client-node-1', 'client-node-2'].flatMap(installed),
  ]
  const runnable = contenders.filter((contender) => probe(contender.args) !== undefined)
  const all = await interleaved(runnable, quick ? 2 : 11, ({ args }) => probe(args))
  const rows = runnable.map(({ name, weight }, index) => {
    const probes = (all[index] ?? []).flatMap((each) => each ?? [])
    return {
      name, weight,
      imported: median(probes.map(({ imported }) => imported)),
      heap: median(probes.flatMap(({ heap }) => heap ?? [])),
      handles: probes.flatMap(({ handles }) => handles ?? []),
    }
  })
  const [mine] = rows
  if (mine === undefined) throw new Error('no rows')
  return {
    bench: 'footprint',
    tables: [{
      title: 'footprint: of a fresh process each, node:https and node:tls loaded before',
      columns: ['', 'packages', 'kB on disk', 'import ms', 'heap kB an instance'],
      rows: rows.map(({ name, weight, imported, heap }): Cell[] =>
        [name, weight?.packages ?? '', weight === undefined ? '' : weight.bytes / 1_000, imported, heap / 1_000]),
    }],
    figures: [
      { name: 'dist: JavaScript as it is published', value: bytes / 1_000, unit: 'kB', most: 60 },
      { name: 'dist: the same, gzipped', value: zipped / 1_000, unit: 'kB' },
      { name: 'packages that an installation adds', value: 1 + dependencies(), unit: '', most: 1 },
      { name: 'import beyond node:https and node:tls', value: mine.imported, unit: 'ms', most: 5 },
      { name: 'heap of an idle dialer, one of 1,000', value: mine.heap / 1_000, unit: 'kB', most: 20 },
      { name: 'handles held before the first dial', value: mine.handles.length, unit: '', most: 0 },
    ],
    notes: [
      ...(existsSync(join(dirname(CLIENTS), 'node_modules'))
        ? []
        : ['the others are left out: npm ci --prefix spec/clients installs them']),
      ...contenders.filter((each) => !runnable.includes(each))
        .map(({ name }) => `${name} is left out: this Node cannot import it`),
    ],
  }
}

function fileOf(folder: string, name: string, content: string): string {
  const file = join(folder, `${name}.mjs`)
  writeFileSync(file, content)
  return pathToFileURL(file).href
}

/** A module that imports what these do of Node's own, and nothing else. */
function builtinsOf(contents: readonly Buffer[]): string {
  const names = new Set(contents.flatMap((content) =>
    [...content.toString().matchAll(/"(node:[\w/]+)"/g)].map(([, name]) => name)))
  return [...names].map((name) => `import '${name}'`).join('\n')
}

/** Undefined where it cannot be imported: some need a newer Node than this one. */
function probed([what = '', from = '']: readonly string[], empty: string): Probed | undefined {
  const args = ['--expose-gc', '--input-type=module', '-e', PROBE, what, from, CA, empty]
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) return undefined
  const seen: Probed = JSON.parse(stdout)
  return seen
}

function dependencies(): number {
  const manifest = manifestOf(fileURLToPath(new URL('../../', import.meta.url)))
  return Object.keys(manifest.dependencies ?? {}).length
}

interface Manifest {
  readonly dependencies?: Record<string, string>
}

function manifestOf(folder: string): Manifest {
  const manifest: Manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return manifest
}

function installed(name: string): Contender[] {
  const folder = folderOf(name, dirname(CLIENTS))
  return folder === undefined ? [] : [{ name, args: [name, CLIENTS], weight: weightOf(folder) }]
}

/** A package and all that it depends on, each once. */
function weightOf(folder: string, seen: Set<string> = new Set()): Weight {
  seen.add(folder)
  let packages = 1
  let bytes = bytesOf(folder)
  for (const name of Object.keys(manifestOf(folder).dependencies ?? {})) {
    const dependency = folderOf(name, folder)
    if (dependency === undefined || seen.has(dependency)) continue
    const weight = weightOf(dependency, seen)
    packages += weight.packages
    bytes += weight.bytes
  }
  return { packages, bytes }
}

/** Where a package is that another one asks for by its name. */
function folderOf(name: string, from: string): string | undefined {
  const paths = createRequire(join(from, 'package.json')).resolve.paths(name) ?? []
  return paths.map((path) => join(path, name)).find((folder) => existsSync(join(folder, 'package.json')))
}

/** Without the packages that are installed inside of it. */
function bytesOf(folder: string): number {
  return filesOf(folder).reduce((total, file) => total + statSync(file).size, 0)
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'node_modules') return []
    const path = join(folder, entry.name)
    return entry.isDirectory() ? filesOf(path) : entry.isFile() ? [path] : []
  })
}
