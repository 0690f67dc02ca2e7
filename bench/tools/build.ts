/**
 * `npm run build`: the package as it is published, into dist/. tsc writes the declarations; esbuild joins the files, as
 * each costs an importer half a millisecond and more: what `index` needs is one file, and what else is imported, run,
 * or loaded when it is called for takes that from there. Nothing is minified: names stay, and the source maps lead to
 * lib/, which is published beside dist/, with its comments.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build as bundle, type BuildOptions, type Plugin } from 'esbuild'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** All that `index` needs. */
const INTERNALS = './internals.js'
/** What takes from there, by the file of lib/ that it is made of. */
const PARTS: ReadonlyMap<string, string> = new Map([
  [sourceOf('index'), './index.js'],
  [sourceOf('adapters/undici'), './undici.js'],
  [sourceOf('adapters/client-node'), './client-node.js'],
  [sourceOf('check'), './check.js'],
  [sourceOf('cli/bin'), './cli.js'],
])
/** Of them those whose types are in a folder. */
const IN_FOLDERS = { undici: 'adapters/undici', 'client-node': 'adapters/client-node' } as const

const BUNDLED: BuildOptions = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
}

/** Builds into this folder, which is emptied first. */
export async function build(folder: string): Promise<void> {
  compile(folder, '--emitDeclarationOnly', '--declarationMap')
  const { metafile } = await bundle({
    ...BUNDLED, entryPoints: [sourceOf('index')], write: false, metafile: true, plugins: [takenFrom(PARTS)],
  })
  const internal = new Map(Object.keys(metafile.inputs).map((path) => [resolve(path), INTERNALS]))
  const taken = new Set<string>()
  for (const [source, file] of PARTS) {
    const plugins = [takenFrom(new Map([...internal, ...PARTS]), taken)]
    await bundle({ ...BUNDLED, entryPoints: [source], outfile: join(folder, file), plugins })
  }
  const exported = [...taken].filter((source) => !PARTS.has(source))
  const contents = exported.map((source) => `export * from ${JSON.stringify(source)}\n`).join('')
  await bundle({
    ...BUNDLED, stdin: { contents, resolveDir: ROOT }, outfile: join(folder, INTERNALS), plugins: [takenFrom(PARTS)],
  })
  pointMaps(folder)
  for (const [name, module] of Object.entries(IN_FOLDERS)) {
    // Types stand beside the program that they describe.
    writeFileSync(join(folder, `${name}.d.ts`), `export * from './${module}.js'\n`)
  }
  // A copy of this folder works in a package of CommonJS modules, too.
  const manifest = { type: 'module', sideEffects: false, main: './index.js', types: './index.d.ts' }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
}

function sourceOf(module: string): string {
  return join(ROOT, `lib/${module}.ts`)
}

/** Leaves these files of lib/ out of a bundle, which imports from where they are instead. Notes which it took. */
function takenFrom(places: ReadonlyMap<string, string>, taken: Set<string> = new Set()): Plugin {
  return {
    name: 'taken from',
    setup: ({ onResolve }) => onResolve({ filter: /^\./ }, ({ importer, path }) => {
      const source = resolve(dirname(importer), path)
      const place = places.get(source)
      if (place === undefined) return undefined
      taken.add(source)
      return { path: place, external: true }
    }),
  }
}

/** Has the source maps lead to lib/ as seen from where they are published, wherever they were built. */
function pointMaps(folder: string): void {
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.js.map'))) {
    const map: { sources: string[] } = JSON.parse(readFileSync(join(folder, name), 'utf8'))
    map.sources = map.sources.map((source) => relative(join(ROOT, 'dist'), resolve(folder, source)))
    writeFileSync(join(folder, name), JSON.stringify(map))
  }
}

/** Compiles each file of lib/ to one of its own. The benches of the core alone import these. */
export function compile(folder: string, ...options: readonly string[]): void {
  rmSync(folder, { recursive: true, force: true })
  const declaration = options.length > 0 ? options : ['--declaration', 'false', '--isolatedDeclarations', 'false']
  execFileSync(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', folder, ...declaration,
  ], { cwd: ROOT, stdio: 'inherit' })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build(join(ROOT, 'dist'))
