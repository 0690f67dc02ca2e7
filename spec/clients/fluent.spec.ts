/**
 * kubernetes-fluent-client makes an undici Agent of its own for every request and takes none from its users. It goes
 * through `kube-multidialer forward` instead, by a name that the certificates hold and that the hosts file leads there,
 * while the server in use is killed and stopped.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ControlPlane, type ApiServer } from '../support/control-plane.ts'
import { CLI, plainEnvironment, startPrinting, type Printing } from '../support/printing.ts'
import { record } from './matrix.ts'

const PROGRAM = fileURLToPath(new URL('fluent.mjs', import.meta.url))
const NAME = 'kubernetes.default.svc'
const CLIENT = 'kubernetes-fluent-client, forward'
/** What was promised for a watch, and as much again for the client's own pause and for a busy machine. */
const WATCHES_AGAIN = 20_000
const LIMIT = 120_000

/** Another hosts file for one program: a mount that it alone sees. */
const skip = process.platform === 'linux' && spawnSync('unshare', ['--map-root-user', '--mount', 'true']).status === 0
  ? false : 'it needs Linux and unshare, for a hosts file of its own'

/** Starts `forward` to the plane, and the program at it. */
async function startBoth(t: TestContext, plane: ControlPlane): Promise<{ forward: Printing; program: Printing }> {
  const forward = startPrinting(process.execPath, [
    ...CLI, 'forward', '--listen', '127.0.0.1:0',
    '--server', plane.servers[0]?.url ?? '', '--ca', plane.caFile, '--token-file', plane.tokenFile,
  ])
  t.after(() => forward.child.kill('SIGKILL'))
  const [, port] = await forward.prints(/forwarding from 127\.0\.0\.1:(\d+)/)
  await forward.prints(/list: /)
  const folder = mkdtempSync(join(tmpdir(), 'fluent-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [hosts, config] = [join(folder, 'hosts'), join(folder, 'config')]
  writeFileSync(hosts, `127.0.0.1 localhost ${NAME}\n`)
  writeFileSync(config, JSON.stringify({
    clusters: [{ name: 'c', cluster: { server: `https://${NAME}:${port}`, 'certificate-authority': plane.caFile } }],
    users: [{ name: 'u', user: { token: plane.token } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }))
  const script = 'mount --bind "$0" /etc/hosts && exec "$@"'
  const program = startPrinting('unshare', [
    '--map-root-user', '--mount', 'sh', '-c', script, hosts, process.execPath, PROGRAM,
  ], { ...plainEnvironment(), KUBECONFIG: config })
  t.after(() => program.child.kill('SIGKILL'))
  await program.prints(/^watching$/m)
  return { forward, program }
}

/** Has it make one, which its watch must show; tells how many tries failed before. */
async function make({ child, output, prints }: Printing, name: string): Promise<number> {
  child.stdin?.write(`${name}\n`)
  await Promise.all([prints(new RegExp(`^made ${name}$`, 'm')), prints(new RegExp(`^event ADDED ${name}$`, 'm'))])
  return output().split('\n').filter((line) => line.startsWith(`failed ${name}:`)).length
}

describe(CLIENT, { skip }, () => {
  const faults: readonly (readonly [signal: string, begin: (server: ApiServer) => Promise<unknown>])[] = [
    ['SIGKILL', (server) => server.kill()],
    ['SIGSTOP', (server) => server.stop()],
  ]
  for (const [signal, begin] of faults) {
    it(`${signal} of the server in use: requests and the watch go on at another, and no event is lost`, { timeout: LIMIT }, async (t) => {
      const plane = await ControlPlane.start({ servers: 3 })
      t.after(() => plane.stop())
      const { forward, program } = await startBoth(t, plane)
      assert.equal(await make(program, 'before'), 0)
      const [server] = plane.servers
      assert.ok(server !== undefined)
      const from = program.output().length
      const begun = performance.now()
      await begin(server)
      const failures = await make(program, 'meanwhile')
      await program.prints(/^watching$/m, from)
      const ms = performance.now() - begun
      assert.ok(ms < WATCHES_AGAIN, `it watched again after ${ms} ms`)
      await forward.prints(new RegExp(`failover from ${server.address} to `))
      assert.equal(await make(program, 'after'), 0)
      assert.ok(!program.output().includes('watch given up'))
      // A connection of its own for each request: none was lost on one from before.
      assert.ok(failures <= 1, `${failures} requests failed`)
      record(CLIENT, `a watch across ${signal}`, failures === 0 ? 'no request failed' : 'one request failed')
    })
  }
})
