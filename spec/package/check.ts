/**
 * `npm run check:package`: what others say of the tarball that would be published. publint and are-the-types-wrong
 * read the tarball, typedoc the types that a user sees. They belong to the nested package of the clients, which is
 * installed if it is not there. Exits 1 on any finding.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installClients } from '../clients/install.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BIN = join(ROOT, 'spec/clients/node_modules/.bin')
const ENTRIES = ['lib/index.ts', 'lib/adapters/undici.ts', 'lib/adapters/client-node.ts']

if (!installClients()) throw new Error('npm ci failed in spec/clients')
const folder = mkdtempSync(join(tmpdir(), 'package-'))
try {
  const passed = pack() && [checkExports(), checkTypes(), checkDocumentation()].every(Boolean)
  process.exitCode = passed ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** Packs the package, which builds it. */
function pack(): boolean {
  return passes('npm', ['pack', '--pack-destination', folder])
}

function tarball(): string {
  const [name] = readdirSync(folder)
  if (name === undefined) throw new Error('npm pack has written no file')
  return join(folder, name)
}

function checkExports(): boolean {
  return passes(join(BIN, 'publint'), ['run', tarball(), '--strict'])
}

function checkTypes(): boolean {
  // Every package of ES modules alone has this one: an older Node cannot require() it.
  return passes(join(BIN, 'attw'), [tarball(), '--ignore-rules', 'cjs-resolves-to-esm'])
}

/** typedoc warns of a type that a public one refers to and that no entry exports. */
function checkDocumentation(): boolean {
  return passes(join(BIN, 'typedoc'), [
    ...ENTRIES.flatMap((entry) => ['--entryPoints', entry]),
    '--tsconfig', 'tsconfig.build.json', '--emit', 'none', '--disableSources', '--treatWarningsAsErrors',
  ])
}

function passes(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' }).status === 0
}
