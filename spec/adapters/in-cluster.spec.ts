// The options of a pod, from an environment and a folder as the kubelet makes them.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { checkOptions } from '../../lib/options.ts'
import { inClusterOptions } from '../../lib/adapters/in-cluster.ts'

const root = mkdtempSync(join(tmpdir(), 'multidialer-in-cluster-'))
after(() => rmSync(root, { recursive: true }))
writeFileSync(join(root, 'token'), 'canary-7f3a')
writeFileSync(join(root, 'ca.crt'), 'a certificate')

const env = (host?: string, port?: string): Record<string, string | undefined> =>
  ({ KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port })
const refusal = (message: RegExp): object => ({ code: 'ERR_MULTIDIALER_NOT_IN_CLUSTER', message })

describe('inClusterOptions', () => {
  const servers: readonly (readonly [string, string, string])[] = [
    ['10.96.0.1', '443', 'https://10.96.0.1:443'],
    ['fd00:10:96::1', '443', 'https://[fd00:10:96::1]:443'],
    ['kubernetes.default.svc', '6443', 'https://kubernetes.default.svc:6443'],
  ]
  for (const [host, port, server] of servers) {
    it(`gives ${server} and the files of the service account`, () => {
      const options = inClusterOptions({ root, env: env(host, port) })
      assert.deepEqual(options, { server, tokenFile: join(root, 'token'), caFile: join(root, 'ca.crt') })
      assert.equal(checkOptions(options).seeds.length, 1)
    })
  }
  for (const variables of [env(), env('10.96.0.1'), env(undefined, '443'), env('', '443'), env('10.96.0.1', '')]) {
    it(`without ${JSON.stringify(variables)} complete it says that this is no pod`, () => {
      assert.throws(() => inClusterOptions({ root, env: variables }),
        refusal(/KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be set.*Elsewhere, give 'server'/))
    })
  }
  const wrong: readonly (readonly [string, string])[] = [
    ['10.96.0.1', '0'], ['10.96.0.1', '65536'], ['10.96.0.1', 'tcp'], ['10.96.0.256', '443'], ['[::1]', '1'],
  ]
  for (const [host, port] of wrong) {
    it(`refuses host ${host} and port ${port}`, () => {
      assert.throws(() => inClusterOptions({ root, env: env(host, port) }), refusal(/are no host and port$/))
    })
  }
  it('names the file that is missing', () => {
    const folder = mkdtempSync(join(root, 'half-'))
    const sources = { root: folder, env: env('10.96.0.1', '443') }
    assert.throws(() => inClusterOptions(sources),
      refusal(/token' cannot be read \(ENOENT\).*automountServiceAccountToken/))
    writeFileSync(join(folder, 'token'), 'x')
    assert.throws(() => inClusterOptions(sources), refusal(/ca\.crt' cannot be read \(ENOENT\)/))
  })
  it("without arguments it goes by the process's environment and the kubelet's folder", () => {
    const before = { ...process.env }
    try {
      Object.assign(process.env, env('10.96.0.1', '443'))
      // Whether this runs in a pod decides which: both name the kubelet's folder.
      const folder = '/var/run/secrets/kubernetes.io/serviceaccount'
      let said: string
      try {
        said = JSON.stringify(inClusterOptions())
      } catch (error) {
        said = String(error)
      }
      assert.ok(said.includes(folder), said)
      delete process.env['KUBERNETES_SERVICE_HOST']
      assert.throws(() => inClusterOptions(), refusal(/must be set/))
    } finally {
      for (const name of ['KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT']) {
        if (before[name] === undefined) delete process.env[name]
        else process.env[name] = before[name]
      }
    }
  })
})
