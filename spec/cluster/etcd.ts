/**
 * The etcd of the cluster, on the bridge's own address: one member, which can be stopped, killed and started again on
 * what it had stored. That one apiserver alone loses it is server.ts's.
 */
import { readFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { assets } from './enter.ts'
import { bridgeAddress, type Network } from './namespaces.ts'
import { Daemon } from './processes.ts'

const clientPort = 2379
export const etcdUrl: string = `http://${bridgeAddress}:${clientPort}`

export class Etcd {
  readonly #namespace: string
  readonly #folder: string
  #process: Daemon

  private constructor(namespace: string, folder: string, process: Daemon) {
    this.#namespace = namespace
    this.#folder = folder
    this.#process = process
  }

  /** Resolves when it accepts connections. */
  static async start(network: Network, folder: string): Promise<Etcd> {
    return new Etcd(network.bridge, folder, await spawned(network.bridge, folder))
  }

  /** Hangs it: to the apiservers it is a member without a leader, which answers no read and no write. */
  stop(): void {
    this.#process.signal('SIGSTOP')
  }

  /** Lets it go on after `stop()`. */
  cont(): void {
    this.#process.signal('SIGCONT')
  }

  /** Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#process.signal('SIGKILL')
    await this.#process.ended()
  }

  /** Starts it again after `kill()`. Nothing happens when it runs. */
  async start(): Promise<void> {
    if (!this.#process.running) this.#process = await spawned(this.#namespace, this.#folder)
  }
}

async function spawned(namespace: string, folder: string): Promise<Daemon> {
  const log = join(folder, 'etcd.log')
  const etcd = await Daemon.spawn(namespace, log, [
    join(assets(), 'etcd'),
    '--data-dir', join(folder, 'etcd'),
    '--listen-client-urls', etcdUrl,
    '--advertise-client-urls', etcdUrl,
    '--listen-peer-urls', 'http://127.0.0.1:0',
    '--unsafe-no-fsync',
  ])
  while (!(await accepts(bridgeAddress, clientPort))) {
    if (!etcd.running) throw new Error(`etcd ended before it was ready:\n${await readFile(log, 'utf8')}`)
    await delay(20)
  }
  return etcd
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ host, port })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false)).once('close', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
