/**
 * HAProxy as kubeadm's guide to high availability sets it up ("HAProxy configuration", kubernetes/kubeadm
 * docs/ha-considerations.md): the peer that most clusters have in front of their apiservers. Starts the one that is
 * installed; Debian's package is `haproxy`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface HAProxy {
  readonly port: number
  stop(): Promise<void>
}

/** Its version; undefined where there is none in PATH. */
export function haproxyVersion(): string | undefined {
  const { status, stdout } = spawnSync('haproxy', ['-v'], { encoding: 'utf8' })
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] ?? 'unknown' : undefined
}

/** Resolves when it listens and has found every server alive. */
export async function startHAProxy(
  servers: readonly { readonly host: string; readonly port: number }[],
): Promise<HAProxy> {
  const folder = mkdtempSync(join(tmpdir(), 'haproxy-'))
  const port = await freePort()
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, configuration(port, servers))
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' })
  const kill = (): void => { child.kill('SIGKILL') }
  process.once('exit', kill)
  const ended = once(child, 'exit')
  while (!(await accepts(port))) {
    if (child.exitCode !== null) throw new Error(`haproxy ended with ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    port,
    stop: async () => {
      process.off('exit', kill)
      kill()
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The guide's configuration, with other addresses and without a log. */
function configuration(port: number, servers: readonly { readonly host: string; readonly port: number }[]): string {
  const lines = servers.map((server, index) =>
    `    server server${index} ${server.host}:${server.port} check verify none`)
  return `
defaults
    mode                    http
    option                  dontlognull
    option http-server-close
    option forwardfor       except 127.0.0.0/8
    option                  redispatch
    retries                 1
    timeout http-request    10s
    timeout queue           20s
    timeout connect         5s
    timeout client          35s
    timeout server          35s
    timeout http-keep-alive 10s
    timeout check           10s

frontend apiserver
    bind 127.0.0.1:${port}
    mode tcp
    default_backend apiserverbackend

backend apiserverbackend
    option httpchk

    http-check connect ssl
    http-check send meth GET uri /healthz
    http-check expect status 200

    mode tcp
    balance     roundrobin
${lines.join('\n')}
`
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port })
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    socket.once('error', () => resolve(false))
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}
