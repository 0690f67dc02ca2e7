/**
 * `npm run test:nodes`: the specs on each other Node that is supported, and the clients on all of them, obtained as the
 * package `node` of the registry. What a package does not support is named by the suites themselves. Arguments: the
 * versions, 20 22 24 26 by default. Also tells a spec where another Node is.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const VERSIONS = ['20', '22', '24', '26']
/** Oldest and newest get every client; those between get the ones that depend on what Node brings. */
const CHOSEN = 'https,http2,fetch,undici 7,undici 8,ws,@kubernetes/client-node 1.4.0,@kubernetes/client-node 2.0.1'
const COMPLETE = ['20', '26']

/** Two files at a time: most of them wait most of the time. */
const SPECS = ['--import', 'tsx', '--test', '--test-reporter=dot', '--test-concurrency=2', '--test-timeout=300000']

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

function run(node: string, args: readonly string[], env: Record<string, string>): boolean {
  const { NODE_TEST_CONTEXT, ...rest } = process.env
  return spawnSync(node, args, { cwd: ROOT, stdio: 'inherit', env: { ...rest, ...env } }).status === 0
}

function runAll(versions: readonly string[]): void {
  const failed: string[] = []
  const done = (major: string, what: string, passed: boolean): void => {
    console.log(`Node ${major}: ${what} ${passed ? 'passed' : 'FAILED'}`)
    if (!passed) failed.push(`Node ${major}: ${what}`)
  }
  for (const major of versions) {
    const node = nodeOf(major)
    if (node === undefined) {
      done(major, 'this Node cannot be had;', false)
      continue
    }
    // `npm test` has run them on this one.
    if (node !== process.execPath) {
      done(major, 'specs', run(node, [...SPECS, ...specs()], { MULTIDIALER_SEQUENCES: '40' }))
    }
    const complete = COMPLETE.includes(major)
    if (!complete) console.log(`Node ${major}: of the clients these alone: ${CHOSEN}`)
    const args = ['--import', 'tsx', 'spec/clients/run.ts', '--test-reporter=dot']
    done(major, 'clients', run(node, args, complete ? {} : { CLIENTS: CHOSEN }))
  }
  for (const what of failed) console.error(`failed: ${what}`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const versions = process.argv.slice(2)
  runAll(versions.length > 0 ? versions : VERSIONS)
}
