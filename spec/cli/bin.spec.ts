/** The program itself, in processes: its exit status, its signals, and what its environment makes of it. */
import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { after, before, describe, it, type TestContext } from 'node:test'
import { at } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { CLI, plainEnvironment } from '../support/printing.ts'

interface Run {
  readonly child: ChildProcess
  readonly output: () => string
  /** Resolves with the match when the output has it; rejects when it ends without. */
  readonly prints: (text: RegExp) => Promise<RegExpExecArray>
  readonly ended: Promise<{ status: number | NodeJS.Signals | null; output: string; errors: string }>
}

function start(
  t: TestContext,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  wrap: (command: readonly string[]) => readonly string[] = (command) => command,
): Run {
  const [file = '', ...rest] = wrap([process.execPath, ...CLI, ...args])
  const child = spawn(file, rest, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...plainEnvironment(), ...env } })
  t.after(() => child.kill('SIGKILL'))
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const ended = once(child, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]) => (
    { status: code ?? signal ?? null, output, errors }
  ))
  const prints = async (text: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const found = text.exec(output)
      if (found !== null) return found
      await Promise.race([once(child.stdout, 'data'), ended.then(() => {
        if (!text.test(output)) throw new Error(`it ended without ${String(text)}: ${output}${errors}`)
      })])
    }
  }
  return { child, output: () => output, prints, ended }
}

describe('the program kube-multidialer', () => {
  let plane: ControlPlane
  let connection: string[]
  before(async () => {
    plane = await ControlPlane.start({ servers: 2 })
    connection = ['--server', at(plane, 0).url, '--ca', plane.caFile, '--token-file', plane.tokenFile]
  })
  after(() => plane.stop())

  const forward = (t: TestContext, ...more: string[]): Run => start(t, ['forward', '--listen', '127.0.0.1:0', ...more, ...connection])

  /** A watch through it, which has begun. */
  async function watch(port: number): Promise<{ ended: Promise<string>; stop: () => void }> {
    const request = https.get({
      host: '127.0.0.1', port, path: '/api/v1/namespaces?watch=1', servername: 'kubernetes', ca: plane.ca, agent: false,
      headers: { authorization: `Bearer ${plane.token}` },
    })
    const [response]: IncomingMessage[] = await once(request, 'response')
    assert.ok(response !== undefined)
    request.on('error', () => {})
    const ended = new Promise<string>((resolve) => {
      response.resume().once('end', () => resolve('end'))
        .once('error', (error) => resolve('code' in error ? String(error.code) : error.message))
    })
    return { ended, stop: () => request.destroy() }
  }

  it('check ends with its status, and by itself', async (t) => {
    const { status, output, errors } = await start(t, ['check', ...connection]).ended
    assert.deepEqual([status, errors], [0, ''])
    assert.match(output, /served by/)
    assert.equal((await start(t, ['check', '--wrong']).ended).status, 2)
  })

  it('reads a kubeconfig from standard input', async (t) => {
    const run = start(t, ['check', '--json', '--kubeconfig', '-'])
    run.child.stdin?.end('apiVersion: v1\nkind: Config\n')
    const { status, errors } = await run.ended
    assert.equal(status, 2)
    assert.match(errors, /kubectl config view --raw --minify -o json \| kube-multidialer/)
  })

  const unshared = process.platform === 'linux' && spawnSync('unshare', ['--map-root-user', '--mount', 'true']).status === 0
  it('needs nothing at all in a pod', { skip: unshared ? false : 'it needs unshare, for a pod\'s files' }, async (t) => {
    const files = '/run/secrets/kubernetes.io/serviceaccount'
    const script = `mount -t tmpfs none /run && mkdir -p ${files} && cp "$0" ${files}/ca.crt && printf %s "$1" > ${files}/token && shift && exec "$@"`
    const { host, port } = at(plane, 0)
    const env = { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: String(port) }
    const { status, output, errors } = await start(t, ['check'], env, (command) => (
      ['unshare', '--map-root-user', '--mount', 'sh', '-c', script, plane.caFile, plane.token, ...command]
    )).ended
    assert.deepEqual([status, errors], [0, ''])
    assert.match(output, /discovery: ok/)
  })

  it('forward says where it listens; SIGINT ends it at once, pipes and all', async (t) => {
    const run = forward(t)
    const [, port] = await run.prints(/forwarding from 127\.0\.0\.1:(\d+)/)
    const watching = await watch(Number(port))
    run.child.kill('SIGINT')
    assert.equal((await run.ended).status, 0)
    assert.equal(await watching.ended, 'ECONNRESET')
  })

  it('SIGTERM lets pipes end, then it ends; a second one ends it at once', async (t) => {
    const run = forward(t)
    const [, port] = await run.prints(/forwarding from 127\.0\.0\.1:(\d+)/)
    const watching = await watch(Number(port))
    run.child.kill('SIGTERM')
    await run.prints(/SIGTERM: listening no longer; 1 connection has 10 s to end/)
    watching.stop()
    assert.equal((await run.ended).status, 0)

    const other = forward(t)
    const [, otherPort] = await other.prints(/forwarding from 127\.0\.0\.1:(\d+)/)
    const staying = await watch(Number(otherPort))
    other.child.kill('SIGTERM')
    await other.prints(/SIGTERM/)
    other.child.kill('SIGTERM')
    assert.equal((await other.ended).status, 0)
    assert.equal(await staying.ended, 'ECONNRESET')
  })

  it('a port in use: status 1, and what to do', async (t) => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    assert.ok(typeof address === 'object' && address !== null)
    const { status, errors } = await start(t, ['forward', '--listen', `127.0.0.1:${address.port}`, ...connection]).ended
    server.close()
    assert.equal(status, 1)
    assert.match(errors, /cannot be listened at: another program listens there\. Give another --listen/)
  })

  it('an address that is not of this machine: status 1, and what to do', async (t) => {
    const { status, errors } = await start(t, ['forward', '--listen', '192.0.2.1:6443', ...connection]).ended
    assert.equal(status, 1)
    assert.match(errors, /it is no address of this machine/)
  })

  it('warns where it can be reached from elsewhere', async (t) => {
    const run = start(t, ['forward', '--listen', '0.0.0.0:0', ...connection])
    await run.prints(/warning: 0\.0\.0\.0:\d+ can be reached from other machines/)
    run.child.kill('SIGINT')
    assert.equal((await run.ended).status, 0)
    const local = forward(t)
    await local.prints(/forwarding from/)
    local.child.kill('SIGINT')
    assert.ok(!(await local.ended).output.includes('other machines'))
  })

  it('shows no token, whatever it says', async (t) => {
    const run = forward(t)
    await run.prints(/list: /)
    run.child.kill('SIGINT')
    const { output, errors } = await run.ended
    assert.ok(!(output + errors).includes(plane.token))
  })
})
