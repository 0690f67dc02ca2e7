/**
 * Servers as child processes in network namespaces, killed by the kernel when this process ends, however it does.
 * What they are and when they are ready is not known here.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'

export class Daemon {
  readonly pid: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child
    this.pid = pid
  }

  /** Runs a command in a namespace, its output appended to `logFile`. */
  static async spawn(namespace: string, logFile: string, command: readonly string[]): Promise<Daemon> {
    const log = await open(logFile, 'a')
    try {
      // Neither setpriv nor nsenter forks, so the pid is that of the command. A session of its own keeps the Ctrl-C of
      // a terminal from it.
      const inNamespace = ['--pdeathsig', 'SIGKILL', 'nsenter', `--net=/run/netns/${namespace}`, ...command]
      const child = spawn('setpriv', inNamespace, { stdio: ['ignore', log.fd, log.fd], detached: true })
      await once(child, 'spawn')
      if (child.pid === undefined) throw new Error(`${command[0]} has no pid`)
      child.unref()
      return new Daemon(child, child.pid)
    } finally {
      await log.close()
    }
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Sends a signal; resolves when the signal is sent. Nothing happens when it already ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal)
  }

  /** Resolves when it has ended. */
  async ended(): Promise<void> {
    if (!this.running) return
    this.#child.ref() // Whoever waits wants the process kept alive for it.
    await once(this.#child, 'exit')
  }
}
