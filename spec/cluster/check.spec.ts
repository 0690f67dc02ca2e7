/**
 * `kube-multidialer check` on the real control plane: three servers that are well, one that hangs beside one with a
 * wrong certificate, and a token that may not read the list.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Cluster, enterClientNamespace, unavailable } from './cluster.ts'
import type { User } from './cluster.ts'

await enterClientNamespace()

const PROGRAM = fileURLToPath(new URL('../../lib/cli/bin.ts', import.meta.url))
const timeout = 120_000

describe('check', { skip: unavailable(), timeout: 600_000 }, () => {
  let cluster: Cluster
  before(async () => { cluster = await Cluster.start() })
  after(() => cluster?.stop())

  async function check(user: User): Promise<{ status: unknown; output: string }> {
    const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...env } = process.env
    const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
    const child = spawn(process.execPath, [
      ...loader, '--disable-warning=ExperimentalWarning', PROGRAM, 'check', '--server', cluster.server(0).url,
      '--ca', cluster.caFile, '--token-file', cluster.tokenFile(user),
    ], { stdio: ['ignore', 'pipe', 'inherit'], env })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text })
    const [status]: unknown[] = await once(child, 'close')
    return { status, output }
  }

  it('all well: each loss is survived, and there is nothing to do', { timeout }, async () => {
    const { status, output } = await check('discoverer')
    assert.equal(status, 0, output)
    for (const { address } of cluster.servers) {
      assert.match(output, new RegExp(`^${address} .* yes +answer 200 .* 364 days$`, 'm'))
      assert.match(output, new RegExp(`^without ${address} +served by +\\S+, \\S+$`, 'm'))
    }
    assert.doesNotMatch(output, /^- /m)
  })

  it('one hangs, one has a wrong certificate: the third must not be lost, and what to do about the two', { timeout }, async () => {
    const [seed, hanging, wrong] = [cluster.server(0), cluster.server(1), cluster.server(2)]
    await wrong.kill()
    await wrong.start('otherName')
    await cluster.waitForEndpoints()
    hanging.stop()
    try {
      const { status, output } = await check('discoverer')
      assert.equal(status, 1, output)
      assert.match(output, new RegExp(`^without ${seed.address} +NOBODY$`, 'm'))
      for (const { address } of [hanging, wrong]) {
        assert.match(output, new RegExp(`^without ${address} +served by +${seed.address}$`, 'm'))
      }
      assert.match(output, new RegExp(`^${hanging.address} .* route .* the TLS handshake timed out after \\d+ ms$`, 'm'))
      assert.match(output, new RegExp(`^- ${hanging.address}: its TLS handshake hangs\\. .* restart it\\.$`, 'm'))
      assert.match(output, new RegExp(`^- ${wrong.address}: its certificate has no name that counts\\. Add the DNS name 'kubernetes'`, 'm'))
    } finally {
      hanging.cont()
    }
  })

  it('R2 the list is forbidden: one address is known, and the Role to grant makes it three', { timeout }, async () => {
    const { status, output } = await check('nobody')
    assert.equal(status, 1, output)
    assert.match(output, /^discovery: forbidden$/m)
    assert.match(output, /^- Only one address is known/m)
    const [, role = '', binding = ''] = /Grant it: kubectl (.*) && kubectl (.*)$/m.exec(output) ?? []
    await cluster.kubectl(...role.split(' '))
    // What it says, but for a user where it names a service account.
    await cluster.kubectl(...binding.replace(/--serviceaccount=\S+/, '--user=nobody').split(' '))
    const granted = await check('nobody')
    assert.match(granted.output, /^discovery: ok, via endpoints$/m)
    assert.match(granted.output, new RegExp(`^${cluster.server(1).address} +learned +yes`, 'm'))
  })
})
