/**
 * A stand-in apiserver seen from the spec's process: its child process, the conversation with it, and the signals that
 * make its faults real. Which servers there are, and what they are told of each other, is control-plane.ts's.
 */
import type { ChildProcess } from 'node:child_process'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type {
  ClusterState, Command, FromServer, Misbehaviour, ServerConfig, ServerStats, StoreEvent, StoreReply, StoreRequest,
  ToServer,
} from './apiserver-protocol.ts'
import { startChild } from './child-program.ts'
import { stopProcess } from './stopped-process.ts'

const PROGRAM = new URL('apiserver.ts', import.meta.url)
const STARTED_WITHIN = 30_000

/** What may be said of one server when it is started; all of it is kept by a restart that does not say otherwise. */
export interface ServerOptions {
  readonly name?: string
  /** An address of this machine; by default the next loopback address that no server has had. */
  readonly host?: string
  /** By default the port of all. */
  readonly port?: number
  /** A fixture's name, or 'kubeadm' (the default) or 'own-ip' for the one that fits the host. */
  readonly certificate?: string
  /** Fixtures that are sent behind it, none by default: they make a handshake as long as those of most clusters. */
  readonly chain?: readonly string[]
  /** Whether it offers HTTP/2; false by default. */
  readonly http2?: boolean
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3'
  /** base64 of 48 bytes: servers with the same key resume each other's sessions. Random by default. */
  readonly ticketKeys?: string
  /** Whether the Endpoints list it from the start; true by default. */
  readonly listed?: boolean
}

/** How long of how long a limping server is stopped. ms */
export interface Limp { readonly stopped: number; readonly every: number }

/** What a server needs of its control plane. */
export interface Plane {
  readonly answer: (request: StoreRequest) => StoreReply
  readonly clusterState: () => ClusterState
  readonly unlist: (server: ApiServer) => Promise<void>
  readonly list: (server: ApiServer) => Promise<void>
}

/** The port was taken in between; another one is to be tried. */
export class PortTaken extends Error {}

export class ApiServer {
  #config: Omit<ServerConfig, 'cluster'>
  readonly #plane: Plane
  readonly #pending = new Map<number, {
    resolve: (stats: ServerStats | undefined) => void
    reject: (error: Error) => void
  }>()
  #child: ChildProcess | undefined
  #state: 'running' | 'stopped' | 'gone' = 'gone'
  #unwatch: (() => void) | undefined
  #lastId = 0
  #holds = 0
  #exited: Promise<void> = Promise.resolve()
  /** Resolves when it can be told things: what it is told before, it does not hear. */
  #started: Promise<void> = Promise.resolve()

  constructor(config: Omit<ServerConfig, 'cluster'>, plane: Plane) {
    this.#config = config
    this.#plane = plane
  }

  get name(): string { return this.#config.name }
  get host(): string { return this.#config.host }
  get port(): number { return this.#config.port }
  /** 'host:port', an IPv6 host in brackets. */
  get address(): string { return `${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}` }
  get url(): string { return `https://${this.address}` }
  get pid(): number | undefined { return this.#child?.pid }
  /** running; stopped by SIGSTOP; gone. */
  get state(): 'running' | 'stopped' | 'gone' { return this.#state }

  /** Starts its process; ControlPlane and restart() call this. Rejects with PortTaken where another process listens. */
  async start(): Promise<void> {
    const child = startChild(PROGRAM)
    this.#child = child
    this.#state = 'running'
    this.#exited = new Promise<void>((resolve) => {
      child.once('error', () => resolve())
      child.once('exit', () => resolve())
    }).then(() => this.#onExit(child))
    child.on('error', () => undefined)
    const listening = this.#listening(child)
    this.#started = listening.catch(() => undefined)
    await this.#held(listening)
  }

  /** Kills it. Resolves when the process is gone and its port refuses. It stays listed: `unlist` is another step. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' | 'SIGINT' = 'SIGKILL'): Promise<void> {
    if (this.#state === 'gone') return
    this.#child?.kill(signal)
    await this.#held(this.#exited)
    await this.#held(refused(this.host, this.port))
  }

  /**
   * Ends it gracefully, as kube-apiserver does on SIGTERM: readyz 503, no longer in the Endpoints, not listening,
   * watches ended, requests under way finished. Resolves when the process is gone.
   */
  async terminate(): Promise<void> {
    if (this.#state === 'gone') return
    await this.#plane.unlist(this)
    this.#child?.kill('SIGTERM')
    await this.#held(this.#exited)
  }

  /** SIGSTOP: the kernel still accepts, nothing answers. Resolves when it has really stopped. */
  async stop(): Promise<void> {
    const pid = this.pid
    if (this.#state !== 'running' || pid === undefined) {
      throw new Error(`${this.name} is ${this.#state}: it cannot be stopped`)
    }
    this.#state = 'stopped'
    this.#unwatch = await stopProcess(pid)
  }

  /** SIGCONT. Resolves when it answers again. */
  async cont(): Promise<void> {
    if (this.#state !== 'stopped') throw new Error(`${this.name} is ${this.#state}: it cannot be continued`)
    this.#child?.kill('SIGCONT')
    this.#unwatch?.()
    this.#unwatch = undefined
    this.#state = 'running'
    await this.stats()
  }

  /**
   * Stopped for `stopped` ms of every `every`, from now on. Resolves with what ends it, which resolves when the server
   * runs for good; whatever it is told meanwhile waits for the time between.
   */
  async limp({ stopped, every }: Limp = { stopped: 1_500, every: 2_000 }): Promise<() => Promise<void>> {
    const over = new AbortController()
    const pause = (ms: number): Promise<unknown> => delay(ms, undefined, { signal: over.signal }).catch(() => undefined)
    await this.stop()
    const limping = (async (): Promise<void> => {
      for (;;) {
        await pause(stopped)
        await this.cont()
        await pause(every - stopped)
        if (over.signal.aborted) return
        await this.stop()
      }
    })()
    return async () => {
      over.abort()
      await limping
    }
  }

  /** A new process at the same address (ended first if there is one), well behaved, listed. Statistics start anew. */
  async restart(options: Omit<ServerOptions, 'name' | 'host' | 'port'> = {}): Promise<void> {
    await this.kill()
    const { listed = true, ...rest } = options
    this.#config = { ...this.#config, ...rest }
    await this.start()
    await (listed ? this.#plane.list(this) : this.#plane.unlist(this))
  }

  /** From when it resolves on, it errs as told, in all of these ways; without an argument it is good again. */
  async misbehave(how?: Misbehaviour | readonly Misbehaviour[]): Promise<void> {
    const misbehaviours = how === undefined ? [] : typeof how === 'string' || 'forEach' in how === false ? [how] : how
    await this.#command({ command: 'misbehave', misbehaviours })
  }

  async stats(): Promise<ServerStats> {
    const stats = await this.#command({ command: 'stats' })
    if (stats === undefined) throw new Error(`${this.name} gave no statistics`)
    return stats
  }

  async resetStats(): Promise<void> {
    await this.#command({ command: 'resetStats' })
  }

  /** Resolves once it knows; at once for one that is stopped, which learns it when it continues, or gone. */
  async tellCluster(cluster: ClusterState): Promise<void> {
    await this.#started
    if (this.#state === 'gone') return
    const told = this.#command({ command: 'cluster', cluster }).catch(() => undefined)
    if (this.#state === 'running') await told
  }

  tellEvent(event: StoreEvent): void {
    if (this.#state !== 'gone') this.#send({ type: 'event', event })
  }

  #listening(child: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (why: string): void => reject(new Error(`${this.name} did not start: ${why}`))
      const timer = setTimeout(() => {
        child.kill('SIGKILL')
        failed(`not within ${STARTED_WITHIN} ms`)
      }, STARTED_WITHIN)
      child.once('exit', (code, signal) => failed(`ended with ${code ?? signal}`))
      child.on('message', (message: FromServer) => {
        if (message.type === 'loaded') {
          this.#send({ type: 'start', config: { ...this.#config, cluster: this.#plane.clusterState() } })
        } else if (message.type === 'listening') {
          clearTimeout(timer)
          this.#config = { ...this.#config, port: message.port }
          child.removeAllListeners('message')
          child.on('message', (message: FromServer) => this.#onMessage(message))
          resolve()
        } else if (message.type === 'notListening') {
          clearTimeout(timer)
          child.kill('SIGKILL')
          reject(message.code === 'EADDRINUSE' ? new PortTaken(message.message) : new Error(message.message))
        }
      })
    })
  }

  #onMessage(message: FromServer): void {
    if (message.type === 'done') this.#pending.get(message.id)?.resolve(message.stats)
    else if (message.type === 'refused') this.#pending.get(message.id)?.reject(new Error(message.message))
    else if (message.type === 'store') {
      this.#send({ type: 'stored', id: message.id, reply: this.#plane.answer(message.request) })
    }
    // The server numbers its own questions: an id of those is none of ours.
    if (message.type === 'done' || message.type === 'refused') this.#pending.delete(message.id)
  }

  async #command(command: Command): Promise<ServerStats | undefined> {
    await this.#started
    if (this.#state === 'gone') throw new Error(`${this.name} is gone`)
    if (this.#state === 'stopped' && command.command !== 'cluster') {
      throw new Error(`${this.name} is stopped: it cannot be told to ${command.command}`)
    }
    this.#lastId += 1
    const id = this.#lastId
    const done = new Promise<ServerStats | undefined>((resolve, reject) => this.#pending.set(id, { resolve, reject }))
    this.#send({ type: 'command', id, command })
    return this.#held(done)
  }

  #send(message: ToServer): void {
    // One that is being killed cannot be told anything; its exit says so.
    this.#child?.send(message, () => undefined)
  }

  #onExit(child: ChildProcess): void {
    if (this.#child !== child) return
    this.#unwatch?.()
    this.#unwatch = undefined
    this.#state = 'gone'
    for (const { reject } of this.#pending.values()) reject(new Error(`${this.name} is gone`))
    this.#pending.clear()
  }

  /**
   * A control plane that nobody waits for does not keep the process alive; while something is awaited of it, it does.
   */
  async #held<T>(promise: Promise<T>): Promise<T> {
    this.#holds += 1
    this.#child?.ref()
    this.#child?.channel?.ref()
    try {
      return await promise
    } finally {
      this.#holds -= 1
      if (this.#holds === 0) {
        this.#child?.unref()
        this.#child?.channel?.unref()
      }
    }
  }
}

/** Resolves when a connection to there is refused. */
async function refused(host: string, port: number): Promise<void> {
  const code = await new Promise<string>((resolve) => {
    const socket = net.connect({ host, port })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    socket.once('connect', () => resolve(''))
  })
  if (code !== 'ECONNREFUSED') throw new Error(`${host}:${port} does not refuse (${code || 'it accepts'})`)
}
