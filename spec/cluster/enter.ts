/**
 * How a spec comes to be the client of the real control plane: its process starts itself again inside a network
 * namespace made for it, and the outer one stays behind as the supervisor that cleans up, whatever happens inside.
 *
 * What runs inside needs no signal handlers and no exit hooks: when it ends, in whatever way, its servers are killed by
 * the kernel (see processes.ts) and the supervisor removes namespaces and folders. When the supervisor itself is killed
 * with SIGKILL, the kernel ends everything below it, and the next run sweeps up the names.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { clientNamespaceOf, currentRun, ip, removeRun, runNameOf, runVariable, sweep } from './namespaces.ts'

const binaries = ['etcd', 'kube-apiserver', 'kubectl']
const tools = ['ip', 'nsenter', 'setpriv', 'openssl']
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The folder with etcd, kube-apiserver and kubectl, by envtest's convention. Throws when there is none. */
export function assets(): string {
  const folder = process.env['KUBEBUILDER_ASSETS']
  if (folder === undefined || folder === '') throw new Error('KUBEBUILDER_ASSETS is not set')
  return folder
}

/**
 * Why the real control plane cannot be started here, or `undefined` when it can: a skip reason for node:test.
 * Throws it instead where CI is set, so that the suite is never skipped there.
 */
export function unavailable(): string | undefined {
  const reason = missing()
  if (reason !== undefined && (process.env['CI'] ?? 'false') !== 'false') {
    throw new Error(`the real control plane must not be skipped in CI: ${reason}`)
  }
  return reason
}

function missing(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces need Linux'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const folder = process.env['KUBEBUILDER_ASSETS']
  if (folder === undefined || folder === '') {
    return 'KUBEBUILDER_ASSETS does not name a folder with etcd, kube-apiserver and kubectl'
  }
  const binary = binaries.find(name => !isExecutable(join(folder, name)))
  if (binary !== undefined) return `KUBEBUILDER_ASSETS has no ${binary}`
  const path = (process.env['PATH'] ?? '').split(delimiter)
  const tool = tools.find(name => !path.some(entry => isExecutable(join(entry, name))))
  if (tool !== undefined) return `there is no ${tool} in PATH`
  if (currentRun() === undefined && spawnSync('unshare', ['--net', 'true']).status !== 0) {
    return 'network namespaces are not permitted here'
  }
  return undefined
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Returns once this process is in a client namespace of its own. Call it before anything else is done, at the top
 * level: outside of one it runs the same command line again inside, and exits with its status without ever returning.
 * Returns at once where `unavailable()` gives a reason.
 */
export async function enterClientNamespace(): Promise<void> {
  if (unavailable() !== undefined || currentRun() !== undefined) return
  const inner: { process?: ChildProcess; stopped?: NodeJS.Signals } = {}
  const forward = (signal: NodeJS.Signals): void => {
    inner.stopped ??= signal
    inner.process?.kill(signal)
  }
  for (const signal of signals) process.on(signal, forward)
  await sweep()
  const runName = runNameOf()
  const namespace = clientNamespaceOf(runName)
  try {
    await ip('netns', 'add', namespace)
    await ip('-n', namespace, 'link', 'set', 'lo', 'up')
    if (inner.stopped === undefined) {
      inner.process = runAgainIn(namespace, runName)
      await once(inner.process, 'exit')
    }
  } finally {
    await removeRun(runName)
  }
  for (const signal of signals) process.off(signal, forward)
  // Ends the way the inner one did, so that a shell or a test runner sees no difference.
  const { exitCode, signalCode } = inner.process ?? { exitCode: null, signalCode: inner.stopped ?? null }
  if (signalCode !== null) process.kill(process.pid, signalCode)
  process.exit(exitCode ?? 1)
}

function runAgainIn(namespace: string, runName: string): ChildProcess {
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  return spawn('setpriv', ['--pdeathsig', 'SIGKILL', 'nsenter', `--net=/run/netns/${namespace}`, ...command], {
    stdio: 'inherit',
    env: { ...process.env, [runVariable]: runName },
  })
}
