/**
 * `npm run build`: the package as it is published, into dist/. Types are those of each file of lib/, by tsc. Programs
 * are bundled and minified, by the esbuild that tsx brings: each file that is imported takes half a millisecond, and
 * each kilobyte its share. What is published beside them is lib/ itself, to be read, debugged and vendored.
 */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const ENTRIES = ['index=lib/index.ts', 'undici=lib/adapters/undici.ts', 'client-node=lib/adapters/client-node.ts']

/** Into this folder, which is emptied first. */
export function build(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  run('tsc', ['-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--outDir', folder])
  run('esbuild', [
    ...ENTRIES, `--outdir=${folder}`, '--bundle', '--splitting', '--format=esm', '--platform=node',
    '--target=node20.19',
    // Stack traces and inspected objects go on saying what is what.
    '--minify', '--keep-names', '--log-level=warning',
  ])
}

/** The same as files of their own, unbundled, for those benches that have the core alone. */
export function compile(folder: string): void {
  run('tsc', [
    '-p', 'tsconfig.build.json', '--declaration', 'false', '--isolatedDeclarations', 'false', '--outDir', folder,
  ])
}

function run(command: string, args: readonly string[]): void {
  execFileSync(join(ROOT, 'node_modules', '.bin', command), args, { cwd: ROOT, stdio: 'inherit' })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build(join(ROOT, 'dist'))
