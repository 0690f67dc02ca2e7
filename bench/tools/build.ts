/**
 * `npm run build`: the package as it is published, into dist/. tsc writes the declarations; esbuild joins the files, as
 * each file costs an importer half a millisecond. Nothing is minified: names stay, and the source maps lead to lib/,
 * which is published beside dist/, with its comments.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build as bundle } from 'esbuild'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** What can be imported, and the file of lib/ that it is made of. */
const ENTRIES = { index: 'index', undici: 'adapters/undici', 'client-node': 'adapters/client-node' } as const
/** What is run, and the file of lib/ that it is made of. */
const PROGRAMS = { cli: 'cli/bin' } as const

/** Builds into this folder, which is emptied first. */
export async function build(folder: string): Promise<void> {
  compile(folder, '--emitDeclarationOnly', '--declarationMap')
  await bundle({
    entryPoints: Object.fromEntries(
      Object.entries({ ...ENTRIES, ...PROGRAMS }).map(([entry, module]) => [entry, join(ROOT, `lib/${module}.ts`)]),
    ),
    outdir: folder,
    // What the entries share is in files of its own.
    chunkNames: 'internals-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    sourcemap: true,
    sourcesContent: false,
    logLevel: 'warning',
  })
  pointMaps(folder)
  for (const [entry, module] of Object.entries(ENTRIES)) {
    // Types stand beside the program that they describe.
    if (entry !== module) writeFileSync(join(folder, `${entry}.d.ts`), `export * from './${module}.js'\n`)
  }
  // A copy of this folder works in a package of CommonJS modules, too.
  const manifest = { type: 'module', sideEffects: false, main: './index.js', types: './index.d.ts' }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
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
