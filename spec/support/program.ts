/**
 * A program of its own for what only a process can show: whether it ends by itself, what it does when it is stopped or
 * runs out of descriptors. It is given as text that sees the whole of lib/ and what it is handed as `given`.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

const LIB = new URL('../../lib/', import.meta.url).href

export interface Program {
  readonly child: ChildProcess
  /** Its lines so far. */
  readonly lines: string[]
  /** Resolves when it has printed that line. */
  printed(line: string): Promise<void>
  /** Resolves when it has ended: its exit code, or its signal; a program that does not end by itself is killed. */
  readonly ended: Promise<number | NodeJS.Signals>
}

export interface ProgramOptions {
  readonly env?: NodeJS.ProcessEnv
  /** At most this many file descriptors. */
  readonly descriptors?: number
  /** It is killed after this many ms; 60,000 by default. */
  readonly within?: number
}

export function startProgram(body: string, given: unknown, options: ProgramOptions = {}): Program {
  const { env = {}, descriptors, within = 60_000 } = options
  const text = `
    import https from 'node:https'
    import { Multidialer } from '${LIB}multidialer.ts'
    import { fileStore } from '${LIB}adapters/file-store.ts'
    const given = ${JSON.stringify(given)}
    const get = (path, agent) => new Promise((resolve, reject) => {
      https.get(given.url + path, { agent, headers: { authorization: 'Bearer ' + given.token } }, (response) => {
        response.resume().once('end', () => resolve(response.headers['x-served-by'])).once('error', reject)
      }).once('error', reject)
    })
    const agentOf = (dialer) => {
      const agent = new https.Agent({ keepAlive: true })
      agent.createConnection = dialer.createConnection
      return agent
    }
    ${body}`
  const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...inherited } = process.env
  const loader = process.features.typescript ? [] : ['--import', import.meta.resolve('tsx')]
  const args = [...loader, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', text]
  const [file, argv] = descriptors === undefined
    ? [process.execPath, args]
    : ['/bin/sh', ['-c', `ulimit -n ${descriptors}; exec "$0" "$@"`, process.execPath, ...args]]
  const child = spawn(file, argv, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...inherited, ...env } })
  const lines: string[] = []
  const listeners = new Set<() => void>()
  let rest = ''
  const read = (chunk: Buffer): void => {
    const whole = (rest + chunk.toString()).split('\n')
    rest = whole.pop() ?? ''
    lines.push(...whole)
    for (const listener of listeners) listener()
  }
  child.stdout.on('data', read)
  child.stderr.on('data', read)
  const timer = setTimeout(() => child.kill('SIGKILL'), within)
  const ended = once(child, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
    clearTimeout(timer)
    for (const listener of listeners) listener()
    return code ?? signal ?? 0
  })
  return {
    child,
    lines,
    ended,
    printed: (line) => new Promise((resolve, reject) => {
      const look = (): void => {
        if (lines.includes(line)) resolve()
        else if (child.exitCode === null && child.signalCode === null) return
        else reject(new Error(`it ended without '${line}': ${lines.join('\n')}`))
        listeners.delete(look)
      }
      listeners.add(look)
      look()
    }),
  }
}
