/**
 * The client that the demo's own is compared with: the same requests and the same watch, told of the same balancer, on
 * the agent that comes with Node. It is judged by nobody; what it felt of a fault is put in words here.
 */
import https from 'node:https'
import type { Balancer } from '../../spec/support/balancer.ts'
import type { ApiServer, ControlPlane } from '../../spec/support/control-plane.ts'
import { DemoClient, type ClientOptions, type Seen } from './client.ts'

/** ms without an event after which the watch is called silent; with nothing wrong there is one every 200 ms. */
const SILENT = 1_500

export type StockOptions = Omit<ClientOptions, 'agent' | 'write'>

export class Stock {
  readonly #plane: ControlPlane
  readonly #balancer: Balancer
  readonly #options: StockOptions
  #agent: https.Agent | undefined
  #client: DemoClient | undefined

  constructor(plane: ControlPlane, balancer: Balancer, options: StockOptions) {
    this.#plane = plane
    this.#balancer = balancer
    this.#options = options
  }

  /** Starts it anew, as a program is restarted, in the hope that the balancer leads it to this server: see `isAt`. */
  async restart(server: ApiServer): Promise<void> {
    this.stop()
    await this.#balancer.setBackends([server.address])
    this.#agent = new https.Agent({ keepAlive: true, ca: this.#plane.ca })
    this.#client = new DemoClient({ ...this.#options, agent: this.#agent })
    this.#client.start()
  }

  /** Whether both its requests and its watch are at that server. */
  isAt({ address }: ApiServer): boolean {
    return this.#client?.servedBy === address && this.#client.watch.at === address
  }

  /** From now on, the balancer leads new connections to any of them; what is felt from now on is told. */
  async release(servers: readonly ApiServer[]): Promise<void> {
    await this.#balancer.setBackends(servers.map(({ address }) => address))
    this.#client?.mark()
  }

  /** What it felt since then. */
  felt(): string {
    return this.#client === undefined ? '' : feltIn(this.#client.seen())
  }

  stop(): void {
    this.#client?.stop()
    this.#agent?.destroy()
  }
}

/** Puts what a client felt into a few words: the two worst, for there is no room for more. */
export function feltIn({ hanging, silence, failures, refusals }: Pick<Seen,
  'hanging' | 'silence' | 'failures' | 'refusals'>): string {
  const parts = [
    hanging > 0 && `${hanging} ${hanging === 1 ? 'hangs' : 'hang'}`,
    silence > SILENT && 'watch silent',
    refusals.length > 0 && `${refusals.length} refused`,
    failures.length > 0 && `${failures.length} failed`,
  ]
  return parts.filter((part) => typeof part === 'string').slice(0, 2).join(', ') || 'nothing'
}
