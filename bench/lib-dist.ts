/**
 * The package as it is published: compiled into a folder of its own, so that what is measured is what users run, and
 * not TypeScript that a loader has rewritten.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Compiles lib/; the folder is removed when this process ends. */
export function buildDist(): string {
  const folder = mkdtempSync(join(tmpdir(), 'kube-multidialer-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
  execFileSync(tsc, ['-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(folder, 'dist')], { stdio: 'inherit' })
  return join(folder, 'dist')
}

/** What to import for a module of it: 'index', 'core/step', ... */
export function moduleOf(dist: string, name: string): string {
  return pathToFileURL(join(dist, `${name}.js`)).href
}
