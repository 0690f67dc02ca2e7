/**
 * The demo on the embedded control plane: apiservers behind a TCP balancer, each a process with real TLS, and real
 * faults one after another. Which faults there are, and in which order, is said here; what is promised under all of
 * them, in promises.ts; how they are looked at, in observer.ts; how they are shown, in report.ts.
 */
import { MultidialerAgent, type MultidialerOptions } from '../../lib/index.ts'
import { Balancer } from '../../spec/support/balancer.ts'
import { type ApiServer, ControlPlane } from '../../spec/support/control-plane.ts'
import { type ClientOptions, DemoClient } from './client.ts'
import { type Fault, Observer } from './observer.ts'
import { worst } from './promises.ts'
import { Report } from './report.ts'
import { Stock } from './stock.ts'

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
/** ms in which nothing is wrong, to show what the client sees then. */
const PEACE = 500

/** ms in which the clients are brought to one server; under load, some of their requests may stay at another. */
const BROUGHT = 2_000
/** ms that a new watch takes at the most, before another is tried. */
const WATCH_OPENS = 300

/**
 * In the order in which they are shown. A server that refuses comes first, while the client has no reason to think ill
 * of another: what failed seconds ago is asked again only after a while.
 */
export const FAULTS = ['refuses', 'killed', 'back', 'hangs', 'cut-off', 'replaced'] as const
export type FaultName = (typeof FAULTS)[number]

export interface ShowOptions {
  /** All of them by default. */
  readonly faults?: readonly FaultName[]
  /** Options of the dialer that are not to be the default ones. */
  readonly dialer?: Partial<MultidialerOptions>
}

/** Shows the faults. Resolves with whether every promise was kept. */
export async function showFaults(print: (line: string) => void, options: ShowOptions = {}): Promise<boolean> {
  // The balancer's address is in the certificates, as kubeadm puts it there.
  const starting = [ControlPlane.start({ servers: 3, certificate: 'every-ip' }), Balancer.start([])] as const
  // Each that was started is stopped, also where the other could not be.
  const stop = async (): Promise<void> => {
    await Promise.all(starting.map(async (each) => (await each.catch(() => undefined))?.stop()))
  }
  // A process that is interrupted ends its servers too, one that is stopped as well.
  const interrupted = (): void => { void stop().finally(() => process.exit(130)) }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    const [plane, balancer] = await Promise.all(starting)
    await balancer.setBackends(plane.servers.map(({ address }) => address))
    return await showOn(plane, balancer, print, options)
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted)
    await stop()
  }
}

async function showOn(
  plane: ControlPlane, balancer: Balancer, print: (line: string) => void, options: ShowOptions,
): Promise<boolean> {
  const { caFile, tokenFile } = plane
  const agent = new MultidialerAgent({ server: balancer.url, caFile, tokenFile, ...options.dialer })
  const common: Omit<ClientOptions, 'agent'> = {
    server: new URL(balancer.url),
    token: () => plane.token,
    watch: CONFIGMAPS,
    locate: (headers) => plane.servers.find(({ name }) => name === headers['x-served-by'])?.address,
  }
  const client = new DemoClient({ ...common, agent, write: CONFIGMAPS })
  const stock = new Stock(plane, balancer, common)
  try {
    return await new Demo({ plane, balancer, agent, client, stock, report: new Report(print) }).run(options.faults)
  } finally {
    client.stop()
    stock.stop()
    agent.destroy()
  }
}

interface Parts {
  readonly plane: ControlPlane
  readonly balancer: Balancer
  readonly agent: MultidialerAgent
  readonly client: DemoClient
  readonly stock: Stock
  readonly report: Report
}

class Demo {
  readonly #parts: Parts
  readonly #observer: Observer
  readonly #faults: Readonly<Record<FaultName, () => Promise<void>>> = {
    refuses: () => this.#refuses(),
    killed: async () => {
      await this.#killed()
      await this.#killed()
    },
    back: () => this.#back(),
    hangs: () => this.#hangs(),
    'cut-off': () => this.#cutOff(),
    replaced: () => this.#replaced(),
  }
  /** Servers that replace the others, which start while the demo waits for something else. */
  #successors: Promise<ApiServer[]> | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.#observer = new Observer(parts.client)
  }

  async run(faults: readonly FaultName[] = FAULTS): Promise<boolean> {
    await this.#begin()
    for (const fault of faults) await this.#faults[fault]()
    const { report, client, agent } = this.#parts
    return report.sumUp(client.totals, agent.dialer.snapshot().counters)
  }

  // ---- before

  async #begin(): Promise<void> {
    const { report, plane: { servers }, balancer, client, stock, agent } = this.#parts
    report.begin(servers, balancer.address)
    const startedAt = performance.now()
    client.start()
    const isReady = (): boolean => this.#knows(servers) && client.totals.events > 0 && this.#serving() !== undefined
    if (!await this.#observer.until(isReady)) throw new Error('the client has not learned the apiservers')
    const learned = performance.now() - startedAt
    await this.#prepare()
    const observed = await this.#observer.observe({ begin: () => this.#observer.pause(PEACE) })
    report.learned(learned, agent.dialer.snapshot(), balancer.address)
    report.row('(nothing is wrong)', observed, stock.felt())
  }

  // ---- the faults

  async #refuses(): Promise<void> {
    const victim = await this.#show((victim) => `${victim} answers 503`,
      (victim) => ({ begin: () => victim.misbehave({ everything: 503 }), keepsWatches: true }))
    await victim.misbehave()
  }

  async #killed(): Promise<void> {
    const gone = this.#gone()
    await this.#show((victim) => `${victim} is killed${gone.length > 0 ? ', too' : ''}`,
      (victim) => ({ begin: () => victim.kill() }))
  }

  async #back(): Promise<void> {
    const back = this.#gone()
    await Promise.all(back.map((server) => server.restart()))
    await this.#show((victim) => `${back.length > 0 ? 'both back, ' : ''}${victim} killed`,
      (victim) => ({ begin: () => victim.kill() }))
  }

  /** The server that was killed last comes back meanwhile: there is time for it. */
  async #hangs(): Promise<void> {
    let back: Promise<unknown> = Promise.resolve()
    const victim = await this.#show((victim) => `${victim} hangs (SIGSTOP)`, (victim) => ({
      begin: async () => {
        await victim.stop()
        back = startedLater(Promise.all(this.#gone().map((server) => server.restart())))
      },
    }))
    await Promise.all([victim.cont(), back])
  }

  /** Those that are to replace the others start meanwhile. */
  async #cutOff(): Promise<void> {
    const victim = await this.#show((victim) => `${victim} is cut off`, (victim) => ({
      begin: async () => {
        await victim.misbehave('deaf')
        this.#successors = this.#startSuccessors()
      },
    }))
    await victim.misbehave()
  }

  /** Each of the old servers ends in good order, after it was taken from the list and from the balancer. */
  async #replaced(): Promise<void> {
    const { plane, balancer, agent, stock, report } = this.#parts
    const old = new Set(plane.servers)
    const added = await (this.#successors ?? this.#startSuccessors())
    for (const server of added) {
      old.delete(server)
      await plane.list(server)
    }
    // The list is asked for every minute, and nobody wants to wait for that.
    await agent.dialer.refresh()
    await this.#prepare()
    const steps = []
    for (const left = new Set(old); left.size > 0;) {
      const serving = this.#serving()
      const victim = serving !== undefined && left.has(serving) ? serving : [...left][0]
      if (victim === undefined) break
      left.delete(victim)
      await balancer.setBackends(plane.servers.filter((server) => server !== victim).map(({ address }) => address))
      steps.push(await this.#observer.observe({ victim, begin: () => plane.removeServer(victim) }))
    }
    report.row(`all ${old.size} replaced, one by one`, worst(steps), stock.felt())
  }

  #startSuccessors(): Promise<ApiServer[]> {
    const { plane } = this.#parts
    return startedLater(Promise.all(plane.servers.map(() => plane.addServer({ listed: false }))))
  }

  /** Shows what happens when a fault comes over the server in use, and resolves with that server. */
  async #show(describe: (victim: string) => string, fault: (victim: ApiServer) => Fault): Promise<ApiServer> {
    const victim = await this.#prepare()
    const observed = await this.#observer.observe({ victim, ...fault(victim) })
    this.#parts.report.row(describe(this.#name(victim)), observed, this.#parts.stock.felt())
    return victim
  }

  /** Sees to it that one server serves all, the client's watch and the stock agent too, and resolves with that one. */
  async #prepare(): Promise<ApiServer> {
    const { client, stock, plane } = this.#parts
    const isTogether = (): boolean => client.watch.through !== undefined && client.watch.through === client.servedBy
    const startedAt = performance.now()
    while (!await this.#observer.until(isTogether, WATCH_OPENS) && performance.now() - startedAt < BROUGHT) {
      client.renewWatch()
    }
    await this.#observer.until(() => this.#serving() !== undefined)
    const server = this.#serving()
    if (server === undefined) throw new Error('no apiserver serves, so there is none to break')
    await stock.restart(server)
    await this.#observer.until(() => stock.isAt(server), BROUGHT)
    await stock.release(plane.servers)
    return server
  }

  // ---- what there is

  #serving(): ApiServer | undefined {
    const { plane, client } = this.#parts
    return plane.servers.find(({ address, state }) => address === client.servedBy && state === 'running')
  }

  #gone(): ApiServer[] {
    return this.#parts.plane.servers.filter(({ state }) => state === 'gone')
  }

  #knows(servers: readonly ApiServer[]): boolean {
    const { endpoints } = this.#parts.agent.dialer.snapshot()
    const listed = new Set(endpoints.filter(({ listed }) => listed).map(({ address }) => address))
    return servers.every(({ address }) => listed.has(address))
  }

  /** Its host where that tells it from the others, else its port. */
  #name({ host, port }: ApiServer): string {
    return new Set(this.#parts.plane.servers.map((server) => server.host)).size > 1 ? host : `:${port}`
  }
}

/** Whoever awaits it learns of a failure, which must not end the process before. */
function startedLater<T>(started: Promise<T>): Promise<T> {
  started.catch(() => undefined)
  return started
}
