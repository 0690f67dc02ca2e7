/**
 * What the package weighs: what is installed, how long its import takes, the heap of an idle dialer, and what it holds
 * before its first dial. Beside it stands what others weigh that are put into the same place.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { gzipSync } from 'node:zlib'
import { moduleOf } from '../support/dist.ts'
import { apart, interleaved, median, pairedRatio, sum } from '../measure.ts'
import type { Cell, Options, Report } from '../report.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const CLIENTS = fileURLToPath(new URL('../../spec/clients/package.json', import.meta.url))
const CA = fileURLToPath(new URL('../../spec/support/certificates/ca.crt', import.meta.url))
const INSTANCES = 1_000

/**
 * The program of each fresh process. It is JavaScript as text, so that no loader has a share in what it measures. It
 * imports node:https and `what`, as a user's file does, and prints how long that took. `what` is the URL of an ES
 * module, or the name of a package as `from` finds it. A file with nothing in it is imported before: Node's loader then
 * has all that it needs for files. If it is told so, it also makes instances of this module, or of `https.Agent`.
 */
const PROBE = `
  import { readFileSync } from 'node:fs'
  import { createRequire } from 'node:module'
  const [what, from, ca, empty, makes] = process.argv.slice(1)
  const target = from === '' ? what : createRequire(from).resolve(what)
  await import(empty)
  const startedAt = performance.now()
  const [{ default: https }, loaded] = await Promise.all([import('node:https'), import(target)])
  const imported = performance.now() - startedAt
  const options = { server: 'https://127.0.0.1:6443', ca: readFileSync(ca) }
  const make = makes === undefined ? undefined : what === 'node:https' ? () => new https.Agent(options)
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

/** Of a package and of all that it depends on. Sizes in bytes. */
interface Weight {
  readonly packages: number
  readonly bytes: number
  /** Of them the programs, as they are and gzipped. */
  readonly programs: number
  readonly zipped: number
}

interface Contender {
  readonly name: string
  readonly args: readonly string[]
  readonly weight: Weight | undefined
  /** A figure depends on it, so that it is imported more often. */
  readonly isJudged?: boolean
}

/** What an import is compared with: a small package that is widely used for the same purpose. */
const PEER = 'agent-base'
const OTHERS = ['https-proxy-agent', 'undici-7', 'client-node-1', 'client-node-2']

export async function run({ quick, dist }: Options): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), 'footprint-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const empty = fileOf(folder, 'first', '')
  const own = ownWeight(dist)
  const peer = installed(PEER).map((contender) => ({ ...contender, isJudged: true }))
  const contenders: Contender[] = [
    { name: 'kube-multidialer', args: [moduleOf(dist, 'index')], weight: own, isJudged: true },
    { name: 'kube-multidialer/undici', args: [moduleOf(dist, 'undici')], weight: undefined },
    { name: 'kube-multidialer/client-node', args: [moduleOf(dist, 'client-node')], weight: undefined },
    {
      name: 'the built-in modules that it imports', args: [fileOf(folder, 'builtins', builtinsOf(programsOf(dist)))],
      weight: undefined,
    },
    { name: 'https.Agent', args: ['node:https'], weight: undefined },
    ...peer, ...peer.map(({ name, ...rest }) => ({ ...rest, name: `${name}²`, weight: undefined })),
    ...OTHERS.flatMap(installed),
  ]
  const made = new Map(contenders.flatMap((contender) => {
    const its = probed(contender.args, empty, 'makes')
    return its === undefined ? [] : [[contender, its] as const]
  }))
  const runnable = [...made.keys()]
  const imported = new Map<Contender, readonly number[]>()
  for (const judged of [true, false]) {
    const group = runnable.filter(({ isJudged = false }) => isJudged === judged)
    const times = judged && !quick ? 25 : 2
    const all = await interleaved(group, times, ({ args }) => probed(args, empty)?.imported ?? NaN)
    for (const [index, contender] of group.entries()) imported.set(contender, all[index] ?? [])
  }
  const rows = [...made].map(([contender, { heap = NaN, handles = [] }]) => (
    { name: contender.name, weight: contender.weight, imports: imported.get(contender) ?? [], heap, handles }
  ))
  const [mine] = rows
  if (mine === undefined) throw new Error('no rows')
  const imports = (name: string): readonly number[] => rows.find((row) => row.name === name)?.imports ?? []
  return {
    bench: 'footprint',
    tables: [{
      title: 'footprint: what is installed; each import in a fresh process, with node:https',
      columns: [
        '', 'packages', 'kB installed', 'kB of JavaScript', 'gzipped', 'import ms', 'heap kB an instance',
      ],
      rows: rows.map(({ name, weight, imports, heap }): Cell[] => [
        name, ...(weight === undefined
          ? ['', '', '', '']
          : [weight.packages, weight.bytes / 1_000, weight.programs / 1_000, weight.zipped / 1_000]),
        median(imports), heap / 1_000,
      ]),
    }],
    figures: [
      { name: 'installed: all of it', value: own.bytes / 1_000, unit: 'kB' },
      { name: 'installed: the programs, unminified', value: own.programs / 1_000, unit: 'kB' },
      { name: 'installed: the programs, gzipped', value: own.zipped / 1_000, unit: 'kB' },
      { name: 'packages that an installation adds', value: own.packages, unit: '', most: 1 },
      ...peer.map(({ name }) => ({
        name: `import with node:https over that of ${name}`, value: pairedRatio(mine.imports, imports(name)),
        noise: apart(imports(`${name}²`), imports(name)), unit: '×', most: 1,
      })),
      { name: 'heap of an idle dialer, one of 1,000', value: mine.heap / 1_000, unit: 'kB', most: 20 },
      { name: 'handles held before the first dial', value: mine.handles.length, unit: '', most: 0 },
    ],
    notes: [
      `${PEER}² is the same once more: two of the same differ by that`,
      ...(existsSync(join(dirname(CLIENTS), 'node_modules'))
        ? []
        : ['the others are left out: npm ci --prefix spec/clients installs them']),
      ...contenders.filter((each) => !runnable.includes(each))
        .map(({ name }) => `${name} is left out: this Node cannot import it`),
    ],
  }
}

/** What `npm install` of this package writes. */
function ownWeight(dist: string): Weight {
  const published = ['lib', 'package.json', 'README.md', 'CHANGELOG.md', 'LICENSE'].map((name) => join(ROOT, name))
  const files = published.flatMap((path) => statSync(path).isDirectory() ? filesOf(path) : [path])
  const { bytes, ...programs } = weigh(filesOf(dist))
  return { packages: 1 + dependencies(), bytes: bytes + sizeOf(files), ...programs }
}

function weigh(files: readonly string[]): Omit<Weight, 'packages'> {
  const programs = files.filter((file) => /\.[cm]?js$/.test(file)).map((file) => readFileSync(file))
  return {
    bytes: sizeOf(files),
    programs: sum(programs.map(({ length }) => length)),
    zipped: sum(programs.map((program) => gzipSync(program).length)),
  }
}

function sizeOf(files: readonly string[]): number {
  return sum(files.map((file) => statSync(file).size))
}

function programsOf(folder: string): Buffer[] {
  return filesOf(folder).filter((file) => file.endsWith('.js')).map((file) => readFileSync(file))
}

function fileOf(folder: string, name: string, content: string): string {
  const file = join(folder, `${name}.mjs`)
  writeFileSync(file, content)
  return pathToFileURL(file).href
}

/** A module that imports what these do of Node's own, and nothing else. */
function builtinsOf(contents: readonly Buffer[]): string {
  const names = new Set(contents.flatMap((content) =>
    [...content.toString().matchAll(/^import .*["'](node:[\w/]+)["'];?$/gm)].map(([, name]) => name)))
  return [...names].map((name) => `import '${name}'`).join('\n')
}

/** Undefined where it cannot be imported: some need a newer Node than this one. */
function probed([what = '', from = '']: readonly string[], empty: string, ...more: 'makes'[]): Probed | undefined {
  const args = ['--expose-gc', '--input-type=module', '-e', PROBE, what, from, CA, empty, ...more]
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) return undefined
  const seen: Probed = JSON.parse(stdout)
  return seen
}

function dependencies(): number {
  const manifest = manifestOf(ROOT)
  return Object.keys(manifest.dependencies ?? {}).length
}

interface Manifest {
  readonly version?: string
  readonly dependencies?: Record<string, string>
}

function manifestOf(folder: string): Manifest {
  const manifest: Manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return manifest
}

/** The package as it is installed for the clients that the specs use; none where it is not. */
function installed(name: string): Contender[] {
  const folder = folderOf(name, dirname(CLIENTS))
  if (folder === undefined) return []
  const title = `${name.replace(/-\d$/, '')} ${manifestOf(folder).version ?? ''}`
  return [{ name: title, args: [name, CLIENTS], weight: weightOf(folder) }]
}

/** A package and all that it depends on, each once. */
function weightOf(folder: string, seen: Set<string> = new Set()): Weight {
  seen.add(folder)
  const weights = [{ packages: 1, ...weigh(filesOf(folder)) }]
  for (const name of Object.keys(manifestOf(folder).dependencies ?? {})) {
    const dependency = folderOf(name, folder)
    if (dependency !== undefined && !seen.has(dependency)) weights.push(weightOf(dependency, seen))
  }
  const total = (value: (weight: Weight) => number): number => sum(weights.map(value))
  return {
    packages: total(({ packages }) => packages), bytes: total(({ bytes }) => bytes),
    programs: total(({ programs }) => programs), zipped: total(({ zipped }) => zipped),
  }
}

/** Where a package is that another one asks for by its name. */
function folderOf(name: string, from: string): string | undefined {
  const paths = createRequire(join(from, 'package.json')).resolve.paths(name) ?? []
  return paths.map((path) => join(path, name)).find((folder) => existsSync(join(folder, 'package.json')))
}

/** Without the packages that are installed inside of it. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'node_modules') return []
    const path = join(folder, entry.name)
    return entry.isDirectory() ? filesOf(path) : entry.isFile() ? [path] : []
  })
}
