/**
 * `npm run test:nodes`: the specs on each other Node that is supported, and the clients on all of them, obtained as the
 * package `node` of the registry. What a package does not support is named by the suites themselves. Arguments: the
 * versions, 20 22 24 26 by default. Also tells a spec where another Node is.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const VERSIONS = ['20', '22', '24', '26']
/** Oldest and newest get every client; those between get the ones that depend on what Node brings. */
const CHOSEN = 'https,http2,fetch,undici 7,undici 8,ws,@kubernetes/client-node 1.4.0,@kubernetes/client-node 2.0.1'
const COMPLETE = ['20', '26']

/** Two files at a time: most of them wait most of the time. */
const SPECS = ['--test', '--test-concurrency=2', '--test-timeout=300000']

/** The path of the newest Node of a major version; undefined where it cannot be had. */
export function nodeOf(major: string): string | undefined {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const asked = spawnSync('npx', ['-y', '-p', `node@${major}`, '-c', 'node -p process.execPath'], {
    encoding: 'utf8', timeout: 120_000,
  })
  const path = asked.stdout?.trim().split('\n').at(-1)
  return asked.status === 0 && path !== undefined && path !== '' ? path : undefined
}

function specs(): string[] {
  return ['spec', 'spec/core'].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.spec.ts')).map((name) => join(folder, name)))
}

/**
 * Undefined where all passed, else what failed: a dot is printed for each test meanwhile, and failures are told whole
 * at the end, where a long log is read first.
 */
function run(
  node: string, args: readonly string[], files: readonly string[], env: Record<string, string>,
): string | undefined {
  const { NODE_TEST_CONTEXT, ...rest } = process.env
  const folder = mkdtempSync(join(tmpdir(), 'nodes-'))
  const report = join(folder, 'report')
  const { status } = spawnSync(node, [
    '--import', 'tsx', ...args, '--test-reporter=dot', '--test-reporter-destination=stdout',
    '--test-reporter=spec', `--test-reporter-destination=${report}`, ...files,
  ], { cwd: ROOT, stdio: 'inherit', env: { ...rest, ...env } })
  const text = existsSync(report) ? readFileSync(report, 'utf8') : ''
  rmSync(folder, { recursive: true })
  return status === 0 ? undefined : text.slice(Math.max(0, text.indexOf('failing tests:')))
}

function runAll(versions: readonly string[]): void {
  const failed: string[] = []
  const done = (major: string, what: string, failures: string | undefined): void => {
    console.log(`Node ${major}: ${what} ${failures === undefined ? 'passed' : 'FAILED'}`)
    if (failures !== undefined) failed.push(`Node ${major}: ${what}\n${failures}`)
  }
  for (const major of versions) {
    const node = nodeOf(major)
    if (node === undefined) {
      done(major, 'this Node', 'it cannot be had from the registry')
      continue
    }
    // `npm test` has run them on this one.
    if (node !== process.execPath) {
      done(major, 'specs', run(node, SPECS, specs(), { MULTIDIALER_SEQUENCES: '40' }))
    }
    const complete = COMPLETE.includes(major)
    if (!complete) console.log(`Node ${major}: of the clients these alone: ${CHOSEN}`)
    done(major, 'clients', run(node, ['spec/clients/run.ts'], [], complete ? {} : { CLIENTS: CHOSEN }))
  }
  for (const what of failed) console.error(`failed: ${what}`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const versions = process.argv.slice(2)
  runAll(versions.length > 0 ? versions : VERSIONS)
}
