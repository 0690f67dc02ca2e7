/**
 * A TCP balancer seen from the spec's process: what most kubeconfigs name as the server. Round robin over its back
 * ends, without health checks; what it does to connections is balancer-process.ts's.
 *
 *     await using balancer = await Balancer.start(plane.servers.map(({ address }) => address))
 *     await balancer.deafen()
 *
 * It listens at 127.0.0.9 where the system has that address: the certificates 'every-ip' and 'kubeadm-9' name it.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  LOADED, type BalancerCommand, type BalancerStats, type FromBalancer, type ToBalancer, type Treatment,
} from './balancer-protocol.ts'
import { blackhole, type Blackhole } from './blackhole.ts'
import { startChild } from './child-program.ts'

export type { BalancerStats, Treatment } from './balancer-protocol.ts'

const PROGRAM = new URL('balancer-process.ts', import.meta.url)

export interface BalancerOptions {
  readonly host?: string
  /** By default one that is free. */
  readonly port?: number
  /** Whether the client's side stays open when the back end's is gone, as some balancers leave it; false by default. */
  readonly keepsClient?: boolean
}

export class Balancer {
  readonly host: string
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #waiting = new Map<number, { resolve: (reply: FromBalancer) => void; reject: (error: Error) => void }>()
  #port: number
  #lastId = LOADED
  #hole: Blackhole | undefined

  /** Starts one over these back ends, 'host:port' each. */
  static async start(backends: readonly string[], options: BalancerOptions = {}): Promise<Balancer> {
    const { host = process.platform === 'linux' ? '127.0.0.9' : '127.0.0.1', port = 0, keepsClient = false } = options
    const balancer = new Balancer(host, port)
    try {
      await balancer.#answer(LOADED)
      const reply = await balancer.#tell({ command: 'start', config: { host, port, backends, keepsClient } })
      balancer.#port = reply.port ?? port
      return balancer
    } catch (error) {
      await balancer.stop()
      throw error
    }
  }

  private constructor(host: string, port: number) {
    this.host = host
    this.#port = port
    this.#child = startChild(PROGRAM)
    this.#child.on('error', () => undefined)
    this.#child.on('message', (reply: FromBalancer) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (reply.error === undefined) waiting?.resolve(reply)
      else waiting?.reject(new Error(reply.error))
    })
    this.#exited = once(this.#child, 'exit').then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the balancer is gone'))
      this.#waiting.clear()
    })
  }

  get port(): number { return this.#port }
  get address(): string { return `${this.host}:${this.#port}` }
  get url(): string { return `https://${this.address}` }
  get pid(): number | undefined { return this.#child.pid }

  /** New connections go to these from now on; those that are open stay where they are, as when a target is drained. */
  async setBackends(backends: readonly string[]): Promise<void> {
    await this.#tell({ command: 'backends', backends })
  }

  async keepClient(keepsClient: boolean): Promise<void> {
    await this.#tell({ command: 'keepsClient', keepsClient })
  }

  /** What becomes of new connections; those that are open go on as they were. */
  async treat(treatment: Treatment): Promise<void> {
    await this.#fillHole()
    await this.#tell({ command: 'treat', treatment })
  }

  /** New connections are not even accepted: their packets are dropped, where the system can do that. */
  async dropNew(): Promise<void> {
    await this.treat('refuse')
    this.#hole = await blackhole(this.host, this.#port)
  }

  /** What is sent on connections that are open now is swallowed, both ways, and nobody is told; new ones work. */
  async deafen(): Promise<void> {
    await this.#tell({ command: 'deafen' })
  }

  /** RST to both sides of what is open, of one back end or of all. */
  async reset(backend?: string): Promise<void> {
    await this.#tell({ command: 'reset', backend })
  }

  async stats(): Promise<BalancerStats> {
    const { stats } = await this.#tell({ command: 'stats' })
    if (stats === undefined) throw new Error('the balancer gave no statistics')
    return stats
  }

  async resetStats(): Promise<void> {
    await this.#tell({ command: 'resetStats' })
  }

  /** Ends it; its connections end with it. May be called any number of times. */
  async stop(): Promise<void> {
    await this.#fillHole()
    this.#child.ref()
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #fillHole(): Promise<void> {
    const hole = this.#hole
    this.#hole = undefined
    await hole?.close()
  }

  #tell(command: BalancerCommand): Promise<FromBalancer> {
    this.#lastId += 1
    const message: ToBalancer = { ...command, id: this.#lastId }
    const answer = this.#answer(message.id)
    this.#child.send(message, () => undefined)
    return answer
  }

  /** Its answer to a message. While one is awaited, the balancer keeps this process alive. */
  async #answer(id: number): Promise<FromBalancer> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error('the balancer is gone')
    this.#child.ref()
    this.#child.channel?.ref()
    try {
      return await new Promise<FromBalancer>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    } finally {
      if (this.#waiting.size === 0) {
        this.#child.unref()
        this.#child.channel?.unref()
      }
    }
  }
}
