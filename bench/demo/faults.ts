/**
 * The demo on the embedded control plane: real processes with real TLS, real faults one after another, and what one
 * agent makes of them. Which faults there are, and in which order, is said here; what is promised under each, in
 * demo-promises.ts; the client that feels them is demo-client.ts's.
 */
import { once } from 'node:events'
import tls from 'node:tls'
import { MultidialerAgent } from '../../lib/index.ts'
import { type ApiServer, ControlPlane } from '../../spec/support/control-plane.ts'
import { DemoClient, REQUEST_EVERY } from './client.ts'
import {
  broken, type Calm, type Observed, type Promised, promisedAtOnce, promisedInSilence, worst,
} from './promises.ts'
import { bold, type Column, count, dim, green, headings, red, row, time } from './table.ts'

const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'
/** ms of peace, in which the machine itself is measured. */
const CALM = 1_000
/** ms after which a fault that is not over is called broken. */
const GIVEN_UP = 12_000
/** ms between two dials that measure the machine. */
const DIAL_EVERY = 50
/** ms after which what is new has been learned if a failure made the agent ask. */
const LEARNED = 2_000
/** ms between two looks at how it goes. */
const LOOK_EVERY = 5
/** A fault is over when so many answers have come from another server. */
const ANSWERS = 10

const LIVE: readonly Column[] = [
  { heading: 'at', width: 6, side: 'right' },
  { heading: 'fault', width: 10 },
  { heading: 'what happened', width: 52 },
  { heading: 'gap', width: 7, side: 'right' },
  { heading: 'watch gap', width: 9, side: 'right' },
  { heading: 'failed', width: 6, side: 'right' },
  { heading: 'serves now', width: 11 },
  { heading: '', width: 6 },
]

const SUMMARY: readonly Column[] = [
  { heading: 'fault', width: 10 },
  { heading: 'gap', width: 7, side: 'right' },
  { heading: 'promised', width: 9, side: 'right' },
  { heading: 'slowest request', width: 15, side: 'right' },
  { heading: 'promised', width: 9, side: 'right' },
  { heading: 'watch gap', width: 9, side: 'right' },
  { heading: 'promised', width: 9, side: 'right' },
  { heading: 'failed', width: 6, side: 'right' },
  { heading: 'lost', width: 4, side: 'right' },
  { heading: '', width: 6 },
]

const EXPLAINED = [
  'Promised: where a server refuses, the next one within 50 ms and a dial; where it is silent, 250 ms and a dial, once',
  `each idle connection that it had has swallowed its request, one every ${REQUEST_EVERY} ms; both beyond the calm ` +
    'and what',
  'timers of this process were late. A dial is one of a healthy server by node:tls alone, the slowest until then. A',
  'request on a silent connection is freed within 6 s, a watch is back within 10 s. Only requests on a connection to',
  'the server at fault may fail, and no event of the watch is lost.',
]

interface Result {
  readonly fault: string
  readonly promised: Promised
  readonly observed: Observed
  readonly complaints: readonly string[]
}

/** Shows it all. Resolves with whether every promise was kept; `slack` is added, in ms, to every time promised. */
export async function showFaults(slack: number, print: (line: string) => void): Promise<boolean> {
  const plane = await ControlPlane.start({ servers: 3 })
  // A process that is interrupted ends its servers too, one that is stopped as well.
  const interrupted = (): void => { void plane.stop().finally(() => process.exit(130)) }
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    return await showOn(plane, slack, print)
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted)
    await plane.stop()
  }
}

async function showOn(plane: ControlPlane, slack: number, print: (line: string) => void): Promise<boolean> {
  const { caFile, tokenFile, servers: [seed] } = plane
  if (seed === undefined) throw new Error('a control plane without servers')
  const agent = new MultidialerAgent({ server: seed.url, caFile, tokenFile })
  const server = new URL(seed.url)
  const client = new DemoClient({ agent, server, token: () => plane.token, watch: CONFIGMAPS, write: CONFIGMAPS })
  try {
    return await new Demo(plane, agent, client, slack, print).run()
  } finally {
    client.stop()
    agent.destroy()
  }
}

class Demo {
  readonly #plane: ControlPlane
  readonly #agent: MultidialerAgent
  readonly #client: DemoClient
  readonly #slack: number
  readonly #print: (line: string) => void
  readonly #startedAt = performance.now()
  readonly #results: Result[] = []
  #late = 0
  #calm: Calm = { dial: 0, gap: 0, watchGap: 0 }

  constructor(
    plane: ControlPlane, agent: MultidialerAgent, client: DemoClient, slack: number, print: (line: string) => void,
  ) {
    this.#plane = plane
    this.#agent = agent
    this.#client = client
    this.#slack = slack
    this.#print = print
  }

  async run(): Promise<boolean> {
    await this.#begin()
    this.#print(headings(LIVE))
    await this.#killed()
    await this.#killedAgain()
    await this.#backAgain()
    await this.#renumbered()
    await this.#hung()
    await this.#cutOff()
    return this.#summarize()
  }

  // ---- before

  async #begin(): Promise<void> {
    const { servers } = this.#plane
    const [seed] = servers
    this.#print(bold('kube-multidialer') + ` on ${servers.length} apiservers of its own, each a process with real TLS`)
    this.#print('')
    this.#print(
      `  One MultidialerAgent, default options, told of ${seed?.address ?? ''} alone. Through it a request every`,
    )
    this.#print(`  ${REQUEST_EVERY} ms, never retried, and a watch that is fed every 200 ms and resumes where it was.`)
    this.#print('')
    await this.#measureDials(servers)
    const startedAt = performance.now()
    this.#client.start()
    await this.#until(() => this.#knows(servers) && this.#client.totals.events > 0, GIVEN_UP)
    const learned = performance.now() - startedAt
    this.#client.mark()
    await this.#until(() => false, CALM)
    const { gap, watchGap } = this.#client.seen()
    this.#calm = { ...this.#calm, gap, watchGap }
    this.#print(`  learned  all ${servers.length} of them within ${time(learned)} of the first request`)
    this.#print(
      `  calm     with nothing wrong, answers are up to ${time(gap)} apart, events of the watch ${time(watchGap)}`,
    )
    this.#print(`  dial     TCP and TLS take up to ${time(this.#calm.dial)} here, by node:tls alone`)
    this.#print('')
  }

  /** The measure of this machine: connections made without any of lib/, one after another, three to each server. */
  async #measureDials(servers: readonly ApiServer[]): Promise<void> {
    let { dial } = this.#calm
    for (const server of [...servers, ...servers, ...servers]) dial = Math.max(dial, await this.#dial(server))
    this.#calm = { ...this.#calm, dial }
  }

  async #dial({ host, port }: ApiServer): Promise<number> {
    const startedAt = performance.now()
    const socket = tls.connect({ host, port, ca: this.#plane.ca })
    await once(socket, 'secureConnect')
    socket.on('error', () => undefined).destroy()
    return performance.now() - startedAt
  }

  /** The same while a fault lasts, as a machine may be busy by then; ends what it began when told to. */
  #measureMeanwhile(victim: ApiServer): () => Promise<number> {
    let over = false
    const measure = async (): Promise<number> => {
      let slowest = 0
      while (!over) {
        const healthy = this.#plane.servers.find((server) => server !== victim && server.state === 'running')
        if (healthy !== undefined) slowest = Math.max(slowest, await this.#dial(healthy))
        await new Promise((resolve) => setTimeout(resolve, DIAL_EVERY))
      }
      return slowest
    }
    const measured = measure()
    return () => {
      over = true
      return measured
    }
  }

  // ---- the faults

  async #killed(): Promise<void> {
    const victim = this.#serving()
    const observed = await this.#observe(victim, () => victim.kill())
    this.#report('killed', `${this.#name(victim)} by SIGKILL`, this.#atOnce(observed), observed)
  }

  async #killedAgain(): Promise<void> {
    const victim = this.#serving()
    const down = this.#plane.servers.filter(({ state }) => state === 'gone').map((server) => this.#name(server))
    const observed = await this.#observe(victim, () => victim.kill())
    this.#report('killed', `${this.#name(victim)} too, while ${list(down)} is down`, this.#atOnce(observed), observed)
  }

  async #backAgain(): Promise<void> {
    const { servers } = this.#plane
    const back = servers.filter(({ state }) => state === 'gone')
    for (const server of back) await server.restart()
    await this.#measureDials(back)
    const victim = this.#serving()
    const observed = await this.#observe(victim, () => victim.kill())
    const what = `${list(back.map((server) => this.#name(server)))} started, ${this.#name(victim)} killed`
    this.#report('back again', what, this.#atOnce(observed), observed)
    await victim.restart()
  }

  /** Never more than one failed request a step, and the others are learned in time. */
  async #renumbered(): Promise<void> {
    const old = [...this.#plane.servers]
    const added = await Promise.all(old.map(() => this.#plane.addServer({ listed: false })))
    await this.#measureDials(added)
    for (const server of added) await this.#plane.list(server)
    const steps: Observed[] = []
    const complaints: string[] = []
    for (const left = new Set(old); left.size > 0;) {
      const serving = this.#serving()
      const victim = left.has(serving) ? serving : [...left][0] ?? serving
      left.delete(victim)
      const step = await this.#observe(victim, () => this.#plane.removeServer(victim))
      steps.push(step)
      // Where no dial has failed there is no reason to ask before the minute is over: it is skipped.
      if (!(await this.#until(() => this.#knows(added), LEARNED))) await this.#agent.dialer.refresh()
    }
    const observed = worst(steps)
    const promised = this.#atOnce(observed)
    // Slack is that many more requests under way.
    const mayFail = 1 + Math.floor(this.#slack / REQUEST_EVERY)
    for (const step of steps) complaints.push(...broken(promised, step, mayFail))
    if (!this.#knows(added)) complaints.push('the new ones were not learned')
    if (!added.some(({ address }) => address === observed.servedBy)) complaints.push('an address of old still serves')
    const what = `${old.length} added at new addresses, the old ${old.length} ended one by one`
    this.#report('renumbered', what, promised, observed, complaints)
  }

  async #hung(): Promise<void> {
    const victim = this.#serving()
    const observed = await this.#observe(victim, () => victim.stop())
    this.#report(
      'hung', `${this.#name(victim)} by SIGSTOP: accepts, never answers`, this.#inSilence(observed), observed,
    )
    await victim.cont()
  }

  async #cutOff(): Promise<void> {
    const victim = this.#serving()
    const observed = await this.#observe(victim, () => victim.misbehave('deaf'))
    this.#report(
      'cut off', `${this.#name(victim)}: connections stay, no byte gets through`, this.#inSilence(observed), observed,
    )
    await victim.misbehave()
  }

  #atOnce({ late, dial }: Observed): Promised {
    return promisedAtOnce(this.#during(dial), this.#slack + late)
  }

  #inSilence({ late, dial, swallowed }: Observed): Promised {
    return promisedInSilence(this.#during(dial), this.#slack + late, swallowed)
  }

  #during(dial: number): Calm {
    return { ...this.#calm, dial: Math.max(dial, this.#calm.dial) }
  }

  // ---- what comes of them

  #serving(): ApiServer {
    const server = this.#plane.servers.find(({ address }) => address === this.#client.servedBy)
    if (server === undefined) throw new Error('nobody serves: there is nothing to break')
    return server
  }

  /** Does it, and looks on until everything goes on without the victim. */
  async #observe(victim: ApiServer, fault: () => Promise<void>): Promise<Observed> {
    const client = this.#client
    const victims = new Set([victim.address])
    client.mark()
    this.#late = 0
    const measured = this.#measureMeanwhile(victim)
    await fault()
    const finished = await this.#until(() => this.#amiss(victims) === undefined, GIVEN_UP)
    const { gap, wait, watchGap, failures } = client.seen()
    const dial = await measured()
    const atFault = failures.filter(({ address }) => address !== undefined && victims.has(address))
    const stray = failures.filter((failure) => !atFault.includes(failure)).map(({ error }) => error.message)
    return {
      gap, wait, watchGap, stray, dial,
      failed: failures.length,
      swallowed: atFault.filter(({ reused }) => reused).length,
      late: this.#late,
      lost: client.unseen,
      servedBy: client.servedBy,
      unfinished: finished ? undefined : this.#amiss(victims),
    }
  }

  /** What does not go on yet. */
  #amiss(victims: ReadonlySet<string>): string | undefined {
    const client = this.#client
    const others = (counts: ReadonlyMap<string, number>): number => {
      let sum = 0
      for (const [address, number] of counts) if (!victims.has(address)) sum += number
      return sum
    }
    if (others(client.answersOf) < ANSWERS) return 'no other server answers'
    if (client.oldest(victims) > 0) return 'a request is stuck'
    if (client.oldest() > CALM) return 'a request has no connection'
    if (others(client.eventsOf) === 0) return 'the watch is not back'
    return client.unseen === 0 ? undefined : 'the watch has not caught up'
  }

  #knows(servers: readonly ApiServer[]): boolean {
    const { endpoints } = this.#agent.dialer.snapshot()
    const listed = new Set(endpoints.filter(({ listed }) => listed).map(({ address }) => address))
    return servers.every(({ address }) => listed.has(address))
  }

  /** Looks every few ms. Resolves with whether it came to be within `limit` ms. */
  async #until(condition: () => boolean, limit: number): Promise<boolean> {
    const end = performance.now() + limit
    while (!condition()) {
      if (performance.now() > end) return false
      const due = performance.now() + LOOK_EVERY
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY))
      this.#late = Math.max(this.#late, performance.now() - due)
    }
    return true
  }

  // ---- on paper

  #report(fault: string, what: string, promised: Promised, observed: Observed, found?: readonly string[]): void {
    const complaints = found ?? broken(promised, observed)
    this.#results.push({ fault, promised, observed, complaints })
    const { gap, watchGap, failed, servedBy } = observed
    const at = `${((performance.now() - this.#startedAt) / 1_000).toFixed(1)} s`
    this.#print(row(LIVE, [
      at, fault, what, time(gap), time(watchGap), String(failed), this.#shortly(servedBy), verdict(complaints),
    ]))
    for (const complaint of complaints) this.#print(row(LIVE, ['', '', red(complaint)]))
  }

  /** Its host where that tells it from the others, else its port. */
  #name({ host, port }: ApiServer): string {
    return new Set(this.#plane.servers.map((server) => server.host)).size > 1 ? host : `:${port}`
  }

  #shortly(address: string | undefined): string {
    const server = this.#plane.servers.find((server) => server.address === address)
    return server === undefined ? address ?? 'nobody' : this.#name(server)
  }

  #summarize(): boolean {
    this.#print('')
    this.#print(headings(SUMMARY))
    for (const { fault, promised, observed, complaints } of this.#results) {
      const { gap, wait, watchGap, failed, lost } = observed
      this.#print(row(SUMMARY, [
        fault, time(gap), `≤ ${time(promised.gap)}`, time(wait), `≤ ${time(promised.wait)}`,
        time(watchGap), `≤ ${time(promised.watchGap)}`, String(failed), String(lost), verdict(complaints),
      ]))
    }
    const { answered, failed, events } = this.#client.totals
    const { failovers, severed } = this.#agent.dialer.snapshot().counters
    const kept = this.#results.every(({ complaints }) => complaints.length === 0)
    this.#print('')
    for (const line of EXPLAINED) this.#print(dim(`  ${line}`))
    if (this.#slack !== 0) this.#print(dim(`  To every time promised, ${time(this.#slack)} of slack is added.`))
    this.#print('')
    this.#print(`  ${count(answered, 'request')} answered, ${failed} failed; ${count(events, 'event')} watched; ` +
      `${count(failovers, 'failover')}, ${count(severed, 'connection')} severed; ` +
      `${((performance.now() - this.#startedAt) / 1_000).toFixed(1)} s in all`)
    this.#print(kept ? `  ${green('Every promise held.')}` : `  ${red('BROKEN: not every promise held.')}`)
    return kept
  }
}

function verdict(complaints: readonly string[]): string {
  return complaints.length === 0 ? green('ok') : red('BROKEN')
}

function list(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`
}
