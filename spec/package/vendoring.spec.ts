/**
 * The folder lib/ alone, copied into another project: it runs as it is on a Node that strips types, and satisfies the
 * compiler of a project that is as strict as it gets, imported and required.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ControlPlane } from '../support/control-plane.ts'
import { nodeOf } from '../support/nodes.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)

const BODY = `
const { SERVER, CA_FILE, TOKEN } = process.env
const options = { server: SERVER ?? '', caFile: CA_FILE, token: TOKEN }
const agent: MultidialerAgent = new MultidialerAgent({ ...options, keepAlive: true })
const headers = { authorization: 'Bearer ' + TOKEN }
https.get(SERVER + '/version', { agent, headers }, (response: IncomingMessage) => {
  response.resume().on('end', () => console.log(response.statusCode, agent.dialer.snapshot().counters.dials))
})
`
const IMPORTED = `
import https from 'node:https'
import type { IncomingMessage } from 'node:http'
import { MultidialerAgent } from './lib/index.ts'
import { undiciConnector } from './lib/adapters/undici.ts'
import { withMultidialer } from './lib/adapters/client-node.ts'
${BODY}
export const adapters: readonly unknown[] = [undiciConnector, withMultidialer]
`
const REQUIRED = `
import https = require('node:https')
import type { IncomingMessage } from 'node:http'
import kube = require('./lib/index.ts')
import MultidialerAgent = kube.MultidialerAgent
${BODY}
`
/** The same, as Node can run it: \`import x = require()\` is not mere types. */
const RUN_REQUIRED = REQUIRED.replace("import https = require('node:https')", "const https = require('node:https')")
  .replace("import kube = require('./lib/index.ts')", "const kube = require('./lib/index.ts')")
  .replace('import MultidialerAgent = kube.MultidialerAgent', 'const { MultidialerAgent } = kube')
  .replace('agent: MultidialerAgent', 'agent')

let plane: ControlPlane
let folder: string
before(async () => {
  plane = await ControlPlane.start({ servers: 1 })
  folder = mkdtempSync(join(tmpdir(), 'vendored-'))
  cpSync(join(ROOT, 'lib'), join(folder, 'lib'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  writeFileSync(join(folder, 'main.ts'), IMPORTED)
  writeFileSync(join(folder, 'run.cts'), RUN_REQUIRED)
})
after(async () => {
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
})

describe('lib/ copied into another project', () => {
  for (const major of ['22', '24']) {
    for (const file of ['main.ts', 'run.cts']) {
      it(`serves a request on Node ${major} from ${file === 'main.ts' ? 'import' : 'require()'}`, {
        timeout: 180_000,
      }, async (t) => {
        const node = nodeOf(major)
        if (node === undefined && process.env['CI'] === undefined) return t.skip(`Node ${major} cannot be had`)
        assert.ok(node !== undefined, `Node ${major} cannot be had`)
        const [server] = plane.servers
        const { NODE_OPTIONS, NODE_TEST_CONTEXT, NODE_V8_COVERAGE, ...rest } = process.env
        const env = { ...rest, SERVER: server?.url, CA_FILE: plane.caFile, TOKEN: plane.token }
        const { stdout } = await run(node, ['--disable-warning=ExperimentalWarning', join(folder, file)], {
          env, cwd: folder,
        })
        assert.equal(stdout, '200 1\n')
      })
    }
  }

  it('satisfies a compiler with every strictness, in a module and in a script that requires it', {
    timeout: 180_000,
  }, async () => {
    writeFileSync(join(folder, 'required.cts'), REQUIRED)
    mkdirSync(join(folder, 'node_modules', '@types'), { recursive: true })
    // What that project has of its own: the types of Node, and what they need.
    for (const name of ['@types/node', 'undici-types']) {
      symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name))
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
      compilerOptions: {
        target: 'es2023', lib: ['es2023', 'esnext.disposable'], module: 'nodenext', types: ['node'], strict: true,
        noEmit: true, allowImportingTsExtensions: true, skipLibCheck: false, noUncheckedIndexedAccess: true,
        exactOptionalPropertyTypes: true, noImplicitOverride: true, noImplicitReturns: true,
        noFallthroughCasesInSwitch: true, noUnusedLocals: true, noUnusedParameters: true,
        noPropertyAccessFromIndexSignature: true, isolatedModules: true, allowUnreachableCode: false,
      },
      files: ['main.ts', 'required.cts'],
    }))
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [tsc, '-p', folder]).catch((error: { stdout: string }) => error)
    assert.equal(stdout, '')
  })
})
