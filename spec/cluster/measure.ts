/**
 * What the promises come to on a real control plane: `sudo -E node --import tsx spec/cluster/measure.ts [--runs 10]
 * [--only faults|field] [--baseline DIR]`. It prints figures, with client default options, and judges none; the specs
 * do. `--baseline` is another checkout, whose first response is measured in turn with this one's.
 *
 * A run under a fault has three clients, each with an agent of its own, so that none learns from another: requests
 * every 20 ms whatever became of those before; a loop that waits for each answer; a watch fed every 200 ms.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { installClients } from '../clients/install.ts'
import { Client, held, Load, released, timed, until, type ClientOptions, type Outcome } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer } from './cluster.ts'
import { measureField } from './measure-field.ts'
import { currentRun } from './namespaces.ts'

const minute = 60_000
const fedFolder = '/api/v1/namespaces/default/configmaps'

/** A watch that is opened again whenever it ends. */
class FedWatch {
  /** Whom the last event came from. */
  host = ''
  readonly #client: Client
  #count = 0
  #lastAt = performance.now()
  #longestGap = 0
  #stopped = false

  constructor(client: Client) {
    this.#client = client
    this.#run().catch(() => {})
  }

  async events(count: number): Promise<void> {
    const enough = this.#count + count
    await until(() => this.#count >= enough)
  }

  /** The longest time between two events. */
  stop(): number {
    this.#stopped = true
    return this.#longestGap
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const opened: { host?: string } = {}
      const watch = await this.#client.watch(() => this.#event(opened.host)).catch(() => delay(20))
      if (watch === undefined) continue
      opened.host = watch.host
      await watch.ended.catch(() => {})
    }
  }

  #event(host: string | undefined): void {
    if (this.#stopped) return
    const now = performance.now()
    this.#longestGap = Math.max(this.#longestGap, now - this.#lastAt)
    this.#lastAt = now
    this.#count++
    this.host = host ?? this.host
  }
}

const reason = unavailable()
if (reason !== undefined) {
  console.error(`cannot start the real control plane: ${reason}`)
  process.exit(1)
}
// Outside of the namespace, where there is a network.
if (currentRun() === undefined && !installClients()) process.exit(1)
await enterClientNamespace()
const { values } = parseArgs({
  options: { runs: { type: 'string', default: '10' }, only: { type: 'string' }, baseline: { type: 'string' } },
})
const runs = Number(values.runs)
const cluster = await Cluster.start({ shutdownDelay: 1, balanced: true })
try {
  console.log(`node ${process.version}, 3 kube-apiservers, ${runs} runs, default options; times in ms: median, worst`)
  if (values.only !== 'field') await measureFaults()
  if (values.only !== 'faults') await measureField(cluster, runs, values.baseline)
} finally {
  await cluster.stop()
}
process.exit()

async function measureFaults(): Promise<void> {
  await measureStart()
  await measureFault('killed (-9)', server => server.kill(), server => server.start())
  await measureFault('SIGSTOP', server => server.stop(), server => server.cont())
  await measureFault('link cut', server => server.cut('both'), server => server.mend())
  await measureRestarts(Math.min(runs, 3))
  await measureOutage()
  await measureTraffic()
}

async function measureStart(): Promise<void> {
  const first: number[] = []
  const all: number[] = []
  const left: string[] = []
  for (let run = 0; run < runs; run++) {
    await released()
    const begun = performance.now()
    const client = new Client(cluster, { user: 'discoverer' })
    const known = new Promise<number>(resolve => {
      client.dialer.on('endpoints', list => { if (list.length === 3) resolve(performance.now() - begun) })
    })
    await client.get()
    first.push(performance.now() - begun)
    await client.learned(cluster.servers)
    all.push(await known)
    client.agent.destroy()
    await new Promise(setImmediate)
    left.push(...held())
  }
  print('construction to the first response', figures(first))
  print('construction to three endpoints known', figures(all))
  print('handles left a tick after agent.destroy()', left.length === 0 ? 'none' : left.join(', '))
}

type Act = (server: ApiServer) => unknown

/** Of the server that all of them use. */
async function measureFault(name: string, begin: Act, end: Act): Promise<void> {
  const streams: Outcome[] = []
  const loops: Outcome[] = []
  const watches: number[] = []
  for (let run = 0; run < runs; run++) {
    await cluster.waitForEndpoints()
    await released()
    const server = cluster.server(0)
    const feeding = feed(cluster.server(1))
    using streaming = await user()
    using looping = await user()
    using watching = await user()
    const stream = new Load(streaming, 20, false)
    const loop = new Load(looping, 20, true)
    const watch = new FedWatch(watching)
    await Promise.all([stream.answers(20), loop.answers(20), watch.events(5)])
    await begin(server)
    const elsewhere = (): boolean =>
      [stream.host, loop.host, watch.host].every(host => host !== '' && host !== server.host)
    await until(elsewhere)
    await Promise.all([stream.answers(20), loop.answers(20), watch.events(5)])
    // A request that hangs would be the slowest one: it is waited for, while the fault lasts.
    streams.push(await stream.stop())
    loops.push(await loop.stop())
    watches.push(watch.stop())
    await feeding.stop()
    await end(server)
  }
  console.log(`\nthe server in use: ${name}`)
  print('20 ms requests: longest gap', figures(streams.map(({ longestGap }) => longestGap)))
  print('20 ms requests: longest wait of one', figures(streams.map(({ slowest }) => slowest)))
  print('20 ms requests: failed', figures(streams.map(({ failed }) => failed.length)))
  print('a loop of requests: longest gap', figures(loops.map(({ longestGap }) => longestGap)))
  print('a loop of requests: failed', figures(loops.map(({ failed }) => failed.length)))
  print('a watch fed every 200 ms: longest gap', figures(watches))
  print('errors', causes([...streams, ...loops]))
}

async function measureRestarts(times: number): Promise<void> {
  const outcomes: Outcome[] = []
  for (let run = 0; run < times; run++) {
    await cluster.waitForEndpoints()
    using client = await user()
    const load = new Load(client, 20, false)
    for (const server of cluster.servers) {
      await server.terminate()
      await server.start()
      await load.answers(10)
    }
    outcomes.push(await load.stop())
  }
  console.log(`\nall three restarted gracefully in turn, ${times} times, 20 ms requests running`)
  print('requests answered', figures(outcomes.map(({ succeeded }) => succeeded)))
  print('requests failed', figures(outcomes.map(({ failed }) => failed.length)))
  print('longest gap', figures(outcomes.map(({ longestGap }) => longestGap)))
  print('errors', causes(outcomes))
}

async function measureOutage(): Promise<void> {
  await cluster.waitForEndpoints()
  using client = await user({ keepAlive: false })
  await Promise.all(cluster.servers.map(server => server.kill()))
  const down = performance.now()
  const failures: number[] = []
  const starting: number[] = []
  const again = { begun: false }
  let succeededAt: number | undefined
  const asking = (async () => {
    while (succeededAt === undefined) {
      const { error, ms } = await timed(() => client.dial())
      if (error === undefined) succeededAt = performance.now()
      else (again.begun ? starting : failures).push(ms)
      await delay(20)
    }
  })()
  await delay(minute)
  const lasted = performance.now() - down
  again.begun = true
  const starts = cluster.servers.map(server => server.start().then(() => performance.now()))
  const readyAt = await Promise.any(starts)
  await asking
  await Promise.all(starts)
  console.log(`\nall three killed, started again after ${(lasted / 1_000).toFixed(1)} s; a dial every 20 ms`)
  print('dials that failed while all were down', String(failures.length))
  print('one of those, with every cause, took', figures(failures))
  // A starting apiserver listens for seconds before it answers a handshake: these dials wait for that.
  print('dials that failed while they started', `${starting.length}, of ${figures(starting)}`)
  print('from the first /readyz that said ok to the first dial', `${((succeededAt ?? NaN) - readyAt).toFixed(0)}`)
}

/** Agents with different users, told apart by the audit logs. */
async function measureTraffic(): Promise<void> {
  await cluster.waitForEndpoints()
  const { certFile, keyFile } = cluster.adminCertificate
  using busy = await user({ user: 'admin' })
  using silent = await user({ user: 'discoverer' })
  using pooled = await user({ tokenFile: undefined, certFile, keyFile })
  const load = new Load(busy, 20, true)
  await silent.watch()
  await delay(5_000) // What follows the first requests is over by then.
  const [ofBusy, ofSilent, ofPooled] = await perMinute(['admin', 'discoverer', 'kubernetes-admin'])
  await load.stop()
  for (const client of [busy, silent, pooled]) client.agent.destroy()
  using unpooled = await user({ user: 'admin', keepAlive: false })
  using unused = new Client(cluster, { user: 'discoverer' })
  const [ofUnpooled, ofUnused] = await perMinute(['admin', 'discoverer'])
  console.log('\ndiscovery requests, which are the heartbeats, in a minute, counted by the servers')
  print('busy: a request every 20 ms', ofBusy)
  print('silent: an idle watch (and an idle pooled connection)', ofSilent)
  print('idle: used once, an idle connection in the pool', ofPooled)
  print(`idle: used once, nothing open (${unpooled.dialer.snapshot().counters.dials} dial)`, ofUnpooled)
  print(`never used (${unused.dialer.snapshot().discovery.status})`, ofUnused)
}

async function perMinute(users: readonly string[]): Promise<string[]> {
  const counts = (name: string): Promise<number[]> =>
    Promise.all(cluster.servers.map(server => server.discoveryRequests(name)))
  const before = await Promise.all(users.map(counts))
  await delay(minute)
  const after = await Promise.all(users.map(counts))
  return after.map((each, of) => {
    const grown = each.map((count, server) => count - (before[of]?.[server] ?? 0))
    return `${grown.reduce((sum, count) => sum + count, 0)} (by server: ${grown.join(', ')})`
  })
}

/** A client that uses the first server and knows all of them. */
async function user(options: ClientOptions = {}): Promise<Client> {
  const client = new Client(cluster, options)
  await client.get()
  await client.learned(cluster.servers)
  return client
}

/** Something for the watches, every 200 ms, through a server that is not in use. */
function feed(server: ApiServer): { stop(): Promise<void> } {
  const feeding = { on: true }
  const put = (count: number): Promise<unknown> => {
    const body = { metadata: { name: 'fed' }, data: { count: String(count) } }
    return server.request(`${fedFolder}/fed`, { method: 'PUT', body })
  }
  const done = (async () => {
    await server.request(fedFolder, { method: 'POST', body: { metadata: { name: 'fed' } } }) // 409 where it exists.
    for (let count = 0; feeding.on; count++) {
      await put(count).catch(() => {}) // The gap is seen by the watches.
      await delay(200)
    }
  })()
  return {
    stop: () => {
      feeding.on = false
      return done
    },
  }
}

function figures(all: readonly number[]): string {
  const sorted = [...all].sort((one, other) => one - other)
  const median = sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN
  return `${median.toFixed(0)}, ${(sorted.at(-1) ?? NaN).toFixed(0)}`
}

function causes(outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>()
  for (const { error } of outcomes.flatMap(({ failed }) => failed)) {
    const cause = `${String(error.code ?? error.name)} ${error.message.slice(0, 90)}`
    counts.set(cause, (counts.get(cause) ?? 0) + 1)
  }
  return [...counts].map(([cause, count]) => `${count} x ${cause}`).join('; ') || 'none'
}

function print(what: string, value: string | undefined): void {
  console.log(`  ${what.padEnd(56)} ${value ?? ''}`)
}
