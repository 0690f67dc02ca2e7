/** Kubeconfigs in JSON: what is made of them, and what is said of those that cannot be used. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { readKubeConfig } from '../../lib/cli/kubeconfig.ts'
import { UsageError } from '../../lib/cli/usage.ts'
import type { MultidialerOptions } from '../../lib/multidialer.ts'

const SECRET = 'canary-of-a-secret'

type Fields = Record<string, unknown>

function config(cluster: Fields | undefined, user: Fields = {}, change: Fields = {}): string {
  return JSON.stringify({
    kind: 'Config', apiVersion: 'v1',
    clusters: cluster === undefined ? null : [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x', ...change,
  })
}

const read = (text: string): MultidialerOptions => readKubeConfig('-', () => text)
const server = 'https://10.0.0.1:6443'

describe('a kubeconfig in JSON', () => {
  let folder: string
  before(() => { folder = mkdtempSync(join(tmpdir(), 'kube-multidialer-spec-')) })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('gives all that a dialer needs, data before files', () => {
    const options = read(config({
      server, 'certificate-authority-data': btoa('ca'), 'certificate-authority': '/ca', 'tls-server-name': 'kubernetes',
    }, { token: SECRET, 'client-certificate-data': btoa('cert'), 'client-key-data': btoa('key') }))
    assert.deepEqual(options, {
      server, ca: Buffer.from('ca'), servername: 'kubernetes', cert: Buffer.from('cert'), key: Buffer.from('key'), token: SECRET,
    })
  })

  it('names files as seen from its own folder, and a token file goes before a token', () => {
    const file = join(folder, 'config')
    writeFileSync(file, config({ server, 'certificate-authority': 'pki/ca.crt' },
      { tokenFile: '/run/token', token: SECRET, 'client-certificate': 'a.crt', 'client-key': '/b.key' }))
    assert.deepEqual(readKubeConfig(file, () => ''), {
      server, caFile: join(folder, 'pki/ca.crt'), tokenFile: '/run/token', certFile: join(folder, 'a.crt'), keyFile: '/b.key',
    })
  })

  it('turns verification off only where it says so, and goes through the proxy that it names', () => {
    assert.equal(read(config({ server, 'insecure-skip-tls-verify': true })).rejectUnauthorized, false)
    assert.ok(!('rejectUnauthorized' in read(config({ server, 'insecure-skip-tls-verify': 'true' }))))
    assert.equal(typeof read(config({ server, 'proxy-url': 'http://proxy:3128' })).connectSocket, 'function')
  })

  it('needs no current-context where there is one context alone, nor a user', () => {
    assert.equal(read(config({ server }, {}, { 'current-context': '' })).server, server)
    assert.deepEqual(read(config({ server }, {}, { users: null })), { server })
  })

  const yaml = `apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    token: ${SECRET}\n`
  const rows: readonly (readonly [title: string, text: string, says: RegExp])[] = [
    ['YAML', yaml, /is not JSON\. If it is YAML: kubectl config view --raw --minify -o json \| kube-multidialer/],
    ['a half of one', config({ server }, { token: SECRET }).slice(0, -20), /is not JSON/],
    ['a list', '[]', /is not JSON/],
    ['nothing', ' \n', /is empty\. Give it what 'kubectl config view/],
    ['no current context', config({ server }, {}, { 'current-context': 'other' }), /has no current context\. Choose one/],
    ['no cluster', config(undefined), /has no cluster for its current context/],
    ['a cluster without a server', config({}), /has a cluster without a server/],
    ['an exec user', config({ server }, { exec: { command: 'aws' } }), /\(exec\), which is not run here\. .*kubectl create token/],
    ['an auth-provider', config({ server }, { 'auth-provider': { name: 'gcp' } }), /auth-provider, which is not supported/],
    ['a password', config({ server }, { username: 'u', password: SECRET }), /a password, which apiservers no longer take/],
    ['secrets left out', config({ server, 'certificate-authority-data': 'DATA+OMITTED' }), /Print it with --raw/],
    ['a token left out', config({ server }, { token: 'REDACTED' }), /Print it with --raw/],
    ['a proxy that is none', config({ server, 'proxy-url': `socks5://u:${SECRET}@proxy` }), /no HTTP proxy's/],
  ]
  for (const [title, text, says] of rows) {
    it(`${title}: says what to do, and shows no secret`, () => {
      assert.throws(() => read(text), (error) => {
        assert.ok(error instanceof UsageError)
        assert.match(error.message, says)
        assert.match(error.message, /^--kubeconfig: standard input /)
        assert.ok(!error.message.includes(SECRET))
        return true
      })
    })
  }

  it('a file that is not there, a folder, and one that is too large', () => {
    const large = join(folder, 'large')
    writeFileSync(large, Buffer.alloc(4 * 1024 * 1024 + 1, ' '))
    assert.throws(() => readKubeConfig(join(folder, 'none'), () => ''), /none' cannot be read \(ENOENT\)/)
    assert.throws(() => readKubeConfig(folder, () => ''), /cannot be read \(EISDIR\)/)
    assert.throws(() => readKubeConfig(large, () => ''), /is larger than 4194304 bytes/)
  })
})
