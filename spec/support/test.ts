/**
 * `npm test`: compiles the repository once, then runs the spec files side by side. Most of them wait most of the time,
 * so that there are more at a time than cores. Arguments: parts of the paths of the spec files to run, all by default;
 * what begins with a dash is for `node --test`.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const COMPILED = join(ROOT, 'node_modules/.cache/compiled')
const LOADER = new URL('compiled/loader.mjs', import.meta.url).href
/** These have commands of their own. */
const OTHERS = ['spec/cluster/', 'spec/clients/']
/** These take longest, mostly by waiting. They begin first, so that nothing is left to wait for them alone. */
const LONGEST = ['spec/properties/', 'spec/faults/', 'spec/package/']
/** More would make each other late, and some of them assert how long things take. CI has the time to be careful. */
const AT_ONCE = availableParallelism() + (process.env['CI'] === 'true' ? 0 : 1)

function compile(): boolean {
  rmSync(COMPILED, { recursive: true, force: true })
  // Types are checked by `npm run typecheck`.
  const { status } = spawnSync(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'), '--noCheck', '--noEmit', 'false', '--declaration', 'false',
    '--isolatedDeclarations', 'false', '--inlineSourceMap', '--sourceRoot', pathToFileURL(ROOT).href,
    '--rootDir', ROOT, '--outDir', COMPILED,
  ], { cwd: ROOT, stdio: 'inherit' })
  return status === 0
}

function specFiles(wanted: readonly string[]): string[] {
  return readdirSync(join(ROOT, 'spec'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.spec.ts') && !name.includes('node_modules'))
    .map((name) => join('spec', name))
    .filter((path) => !OTHERS.some((other) => path.startsWith(other)))
    .filter((path) => wanted.length === 0 || wanted.some((part) => path.includes(part)))
    .sort((one, other) => placeOf(one) - placeOf(other) || one.localeCompare(other))
}

function placeOf(path: string): number {
  const place = LONGEST.findIndex((folder) => path.startsWith(folder))
  return place < 0 ? LONGEST.length : place
}

function test(files: readonly string[], options: readonly string[]): number {
  const { status } = spawnSync(process.execPath, [
    '--import', LOADER, '--test', `--test-concurrency=${AT_ONCE}`, '--test-timeout=900000', ...options, ...files,
  ], { cwd: ROOT, stdio: 'inherit' })
  return status ?? 1
}

const given = process.argv.slice(2)
const files = specFiles(given.filter((argument) => !argument.startsWith('-')))
if (files.length === 0) throw new Error(`no spec file has any of these in its path: ${given.join(' ')}`)
process.exitCode = compile() ? test(files, given.filter((argument) => argument.startsWith('-'))) : 1
