/**
 * `npm run build`: the package as it is published, into dist/. tsc removes the types of lib/ and writes the
 * declarations; rollup joins the files, as each file costs an importer half a millisecond. Nothing is minified: names
 * and comments stay, and the source maps lead to lib/, which is published beside dist/.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Plugin, rollup } from 'rollup'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** What can be imported, and the file of lib/ that it is made of. */
const ENTRIES = { index: 'index', undici: 'adapters/undici', 'client-node': 'adapters/client-node' } as const
/** What is run, and the file of lib/ that it is made of. */
const PROGRAMS = { cli: 'cli/bin' } as const

/** Builds into this folder, which is emptied first. */
export async function build(folder: string): Promise<void> {
  compile(folder, '--sourceMap', '--declaration', '--declarationMap')
  await bundle(folder)
  for (const [entry, module] of Object.entries(ENTRIES)) {
    // Types stand beside the program that they describe.
    if (entry !== module) writeFileSync(join(folder, `${entry}.d.ts`), `export * from './${module}.js'\n`)
  }
  // A copy of this folder works in a package of CommonJS modules, too.
  const manifest = { type: 'module', sideEffects: false, main: './index.js', types: './index.d.ts' }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
}

/** Compiles each file of lib/ to one of its own. The benches of the core alone import these. */
export function compile(folder: string, ...options: readonly string[]): void {
  rmSync(folder, { recursive: true, force: true })
  const declaration = options.length > 0 ? options : ['--declaration', 'false', '--isolatedDeclarations', 'false']
  execFileSync(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', folder, ...declaration,
  ], { cwd: ROOT, stdio: 'inherit' })
}

/** Replaces the programs in the folder by one for each entry, and one for what they share. */
async function bundle(folder: string): Promise<void> {
  const bundled = await rollup({
    input: Object.fromEntries(Object.entries({ ...ENTRIES, ...PROGRAMS }).map(([entry, module]) => [entry, join(folder, `${module}.js`)])),
    external: /^node:/,
    plugins: [sourceMaps],
  })
  const { output } = await bundled.write({
    dir: folder,
    format: 'es',
    chunkFileNames: '[name].js',
    // All that index.js needs goes into one file.
    manualChunks: { internals: [join(folder, 'index.js')] },
    hoistTransitiveImports: false,
    minifyInternalExports: false,
    sourcemap: true,
    sourcemapExcludeSources: true,
    // As seen from where it is published, wherever it is built.
    sourcemapPathTransform: (source, map) => relative(join(ROOT, 'dist'), resolve(dirname(map), source)),
  })
  await bundled.close()
  const written = new Set(output.map(({ fileName }) => fileName))
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (/\.js(\.map)?$/.test(name) && !written.has(name)) rmSync(join(folder, name))
  }
}

/** Gives rollup the maps of tsc, so that its own lead to lib/. */
const sourceMaps: Plugin = {
  name: 'source-maps',
  load: (id) => ({ code: readFileSync(id, 'utf8'), map: readFileSync(`${id}.map`, 'utf8') }),
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build(join(ROOT, 'dist'))
