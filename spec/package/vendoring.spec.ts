/**
 * The package without a registry. lib/ copied into a project runs as it is on a Node that strips types. dist/ copied
 * into a package works when that package is itself published, as Node strips no types below node_modules. Both are
 * imported and required, from packages of either type.
 */
import '../support/patient.ts'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from '../../bench/tools/build.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { nodeOf } from '../support/nodes.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const LIMIT = 180_000
const run = promisify(execFile)

/** Makes one request with the agent; resolves with its status and the number of dials. */
const REQUEST = `
const { SERVER, CA_FILE, TOKEN } = process.env
const options = { server: SERVER ?? '', caFile: CA_FILE, token: TOKEN }
const agent: MultidialerAgent = new MultidialerAgent({ ...options, keepAlive: true })
const headers = { authorization: 'Bearer ' + TOKEN }
const answered = new Promise<string>((resolve, reject) => {
  https.get(SERVER + '/version', { agent, headers }, (response: IncomingMessage) => {
    response.resume().on('end', () => resolve(response.statusCode + ' ' + agent.dialer.snapshot().counters.dials))
  }).on('error', reject)
})
`
const SERVED = '200 1'
const IMPORTING = `
import https from 'node:https'
import type { IncomingMessage } from 'node:http'
import { MultidialerAgent } from './lib/index.ts'
import { undiciConnector } from './lib/adapters/undici.ts'
import { withMultidialer } from './lib/adapters/client-node.ts'
${REQUEST}
export default answered
export const adapters: readonly unknown[] = [undiciConnector, withMultidialer]
`
/** For the compiler. Node runs the next one: \`import x = require()\` is more than types. */
const REQUIRING = `
import https = require('node:https')
import type { IncomingMessage } from 'node:http'
import kube = require('./lib/index.ts')
import MultidialerAgent = kube.MultidialerAgent
${REQUEST}
export { answered }
`
const RUN_REQUIRING = `
const https = require('node:https')
const { MultidialerAgent } = require('./lib/index.ts')
require('./lib/adapters/undici.ts')
require('./lib/adapters/client-node.ts')
type MultidialerAgent = import('./lib/index.ts').MultidialerAgent
type IncomingMessage = import('node:http').IncomingMessage
${REQUEST}
module.exports = answered
`
/** The same in JavaScript. */
const UNTYPED = REQUEST.replace(': MultidialerAgent', '').replace('<string>', '').replace(': IncomingMessage', '')

/** Runs the programs that are its arguments in this one process, and prints what each resolves with. */
const RUNNER = `
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
const results = {}
for (const file of process.argv.slice(2)) {
  const isScript = /\\.c[jt]s$/.test(file)
  const program = isScript ? createRequire(import.meta.url)(file) : (await import(pathToFileURL(file))).default
  results[file] = await program
}
process.stdout.write(JSON.stringify(results), () => process.exit())
`

/** A package of each type, and how its program reaches the copy in it. */
const PACKAGES = [
  { type: 'module', by: 'import' }, { type: 'module', by: 'require' },
  { type: 'commonjs', by: 'import' }, { type: 'commonjs', by: 'require' },
] as const

/** The Nodes that were found: to look for one takes a second. */
const nodes = new Map<string, string | undefined>()
let plane: ControlPlane
let folder: string
before(async () => {
  plane = await ControlPlane.start({ servers: 1 })
  folder = mkdtempSync(join(tmpdir(), 'vendored-'))
  await build(join(folder, 'dist'))
  write('runner.mjs', RUNNER)
  // Each has a copy of its own: a module that was imported would not be loaded again by require().
  for (const { type, by } of PACKAGES) {
    makeProject(`${type}-${by}`, type)
    makePublished(`published-${type}-${by}`, type)
  }
})
after(async () => {
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
})

function write(file: string, content: string): void {
  const path = join(folder, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
}

/** A project that holds a copy of lib/. */
function makeProject(name: string, type: string): void {
  cpSync(join(ROOT, 'lib'), join(folder, name, 'lib'), { recursive: true })
  write(`${name}/package.json`, JSON.stringify({ type }))
  write(`${name}/import.mts`, IMPORTING)
  write(`${name}/require.cts`, RUN_REQUIRING)
  write(`${name}/compiled.cts`, REQUIRING)
}

/** An installed package that holds a copy of dist/, and a program that uses that package in each way. */
function makePublished(name: string, type: string): void {
  const home = `app/node_modules/${name}`
  cpSync(join(folder, 'dist'), join(folder, home, 'vendor'), { recursive: true })
  const exports = { import: './main.mjs', require: './main.cjs' }
  write(`${home}/package.json`, JSON.stringify({ name, version: '1.0.0', type, exports }))
  const adapters = ['undici', 'client-node']
  write(`${home}/main.mjs`, "export { MultidialerAgent } from './vendor/index.js'\n" +
    adapters.map((adapter) => `import './vendor/${adapter}.js'\n`).join(''))
  write(`${home}/main.cjs`, "module.exports = require('./vendor')\n" +
    adapters.map((adapter) => `require('./vendor/${adapter}.js')\n`).join(''))
  write(`app/${name}/import.mjs`, `import https from 'node:https'
    import { MultidialerAgent } from '${name}'
    ${UNTYPED}
    export default answered`)
  write(`app/${name}/require.cjs`, `const https = require('node:https')
    const { MultidialerAgent } = require('${name}')
    ${UNTYPED}
    module.exports = answered`)
}

/** Runs these programs in one process of that Node, and expects each to be served. */
async function serves(t: TestContext, major: string, programs: readonly string[]): Promise<void> {
  const node = nodes.get(major) ?? nodeOf(major)
  nodes.set(major, node)
  if (node === undefined && process.env['CI'] === undefined) return t.skip(`Node ${major} cannot be had`)
  assert.ok(node !== undefined, `Node ${major} cannot be had`)
  const { NODE_OPTIONS, NODE_TEST_CONTEXT, NODE_V8_COVERAGE, ...rest } = process.env
  const env = { ...rest, SERVER: plane.servers[0]?.url, CA_FILE: plane.caFile, TOKEN: plane.token }
  const paths = programs.map((program) => join(folder, program))
  const { stdout } = await run(node, [join(folder, 'runner.mjs'), ...paths], { env, cwd: folder })
  assert.deepEqual(JSON.parse(stdout), Object.fromEntries(paths.map((path) => [path, SERVED])))
}

describe('lib/ copied into another project', () => {
  for (const major of ['22', '24', '26']) {
    it(`serves requests on Node ${major}, imported and required, in a package of either type`, {
      timeout: LIMIT,
    }, (t) => serves(t, major, PACKAGES.map(({ type, by }) =>
      `${type}-${by}/${by}.${by === 'import' ? 'mts' : 'cts'}`)))
  }

  it('satisfies a compiler with every strictness, imported and required, in a package of either type', {
    timeout: LIMIT,
  }, async () => {
    // What that project has of its own: the types of Node, and what they need.
    mkdirSync(join(folder, 'node_modules', '@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types']) {
      symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name))
    }
    write('tsconfig.json', JSON.stringify({
      compilerOptions: {
        target: 'es2023', lib: ['es2023', 'esnext.disposable'], module: 'nodenext', types: ['node'], strict: true,
        noEmit: true, allowImportingTsExtensions: true, skipLibCheck: false, noUncheckedIndexedAccess: true,
        exactOptionalPropertyTypes: true, noImplicitOverride: true, noImplicitReturns: true,
        noFallthroughCasesInSwitch: true, noUnusedLocals: true, noUnusedParameters: true,
        noPropertyAccessFromIndexSignature: true, isolatedModules: true, allowUnreachableCode: false,
      },
      files: PACKAGES.map(({ type, by }) => `${type}-${by}/${by === 'import' ? 'import.mts' : 'compiled.cts'}`),
    }))
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [tsc, '-p', folder]).catch((error: { stdout: string }) => error)
    assert.equal(stdout, '')
  })
})

describe('dist/ copied into a package that is published', () => {
  for (const major of ['20', '22', '24', '26']) {
    it(`serves requests on Node ${major}, imported and required, in a package of either type`, {
      timeout: LIMIT,
    }, (t) => serves(t, major, PACKAGES.map(({ type, by }) =>
      `app/published-${type}-${by}/${by}.${by === 'import' ? 'mjs' : 'cjs'}`)))
  }
})

describe('what is published', () => {
  it('leads from a stack trace to the line of lib/', { timeout: LIMIT }, async () => {
    const home = join(folder, 'traced/node_modules/kube-multidialer')
    for (const name of ['dist', 'lib', 'package.json']) {
      cpSync(name === 'dist' ? join(folder, name) : join(ROOT, name), join(home, name), { recursive: true })
    }
    // A getter is called where the option is read.
    write('traced/main.mjs', `
      import { MultidialerAgent } from 'kube-multidialer'
      const agent = new MultidialerAgent({ server: 'https://127.0.0.1:1' })
      const options = { get host() { console.log(new Error('here').stack); return '127.0.0.1' }, port: 1 }
      agent.createConnection(options, () => process.exit())
    `)
    const { stdout } = await run(process.execPath, ['--enable-source-maps', join(folder, 'traced/main.mjs')])
    const [, path = '', line = ''] =
      /at MultidialerAgent\.createConnection \((\S+\/lib\/agent\/\S+\.ts):(\d+):\d+\)/.exec(stdout) ?? []
    assert.ok(path.startsWith(join(home, 'lib/agent')), stdout)
    assert.ok(readFileSync(path, 'utf8').split('\n').length > Number(line))
  })

  it('is not minified: it has names, lines that can be read, and a map for each program', () => {
    const names = readdirSync(join(folder, 'dist')).filter((name) => name.endsWith('.js'))
    const programs = names.map((name) => readFileSync(join(folder, 'dist', name), 'utf8'))
    assert.ok(programs.some((program) => /Multidialer = class .*extends EventEmitter \{|class Multidialer extends EventEmitter \{/.test(program)))
    assert.deepEqual(programs.flatMap((program) => program.split('\n')).filter((line) => line.length > 400), [])
    assert.ok(names.every((name) => existsSync(join(folder, 'dist', `${name}.map`))))
  })
})
