/**
 * The soak: an agent over an embedded control plane of three to five stand-in apiservers behind a balancer, which is all
 * that it is told of, under requests and watches, while a fault is played every second or so and credentials rotate on
 * disk. It fails (exit code 1) on a hang, which is a request or a watch without any outcome for 10 s while a server
 * works; on a leak, which is a handle, a timer, a connection or a heap that does not return to where it began; and on a
 * crash. Failed requests are counted, and are no failure: retrying stays with the client.
 *
 *     npm run soak -- --seconds 60 --seed 1
 *
 * 30 minutes by default. The seed gives the order of faults; what they hit depends on the clock.
 */
import { randomInt } from 'node:crypto'
import { copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import type { ClientRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import v8 from 'node:v8'
import vm from 'node:vm'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { Balancer, type Treatment } from '../../spec/support/balancer.ts'
import { certificateFile, ControlPlane, type ApiServer, type Misbehaviour } from '../../spec/support/control-plane.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '1800' }, seed: { type: 'string' } } })
const SECONDS = Number(values.seconds)
const SEED = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
if (!(SECONDS > 0) || !Number.isInteger(SEED)) {
  console.error('usage: soak [--seconds N] [--seed N]')
  process.exit(2)
}

const HUNG = 10_000
const REPORT_EVERY = 10_000
const REFRESH_INTERVAL = 5_000
/** ms after which an added server counts as one that works: by then the list that names it has been asked for. */
const KNOWN_AFTER = 2 * REFRESH_INTERVAL
/** For what is under way when the time is over: faults, draining servers, and the weighing. */
const ENDS_WITHIN = 60_000
const REQUESTS_PER_SECOND = 20
const WATCHES = 5
/**
 * What heap may grow by between start and end: below the noise of a collector, above a leak of a byte for each request.
 */
const HEAP_GROWTH = 12 * 1_048_576

let seed = SEED >>> 0
/** mulberry32: small, seeded, good enough. */
function random(): number {
  seed = seed + 0x6d2b79f5 >>> 0
  let mixed = seed
  mixed = Math.imul(mixed ^ mixed >>> 15, mixed | 1)
  mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61)
  return ((mixed ^ mixed >>> 14) >>> 0) / 0x1_0000_0000
}
const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)]

v8.setFlagsFromString('--expose-gc')
const collect: unknown = vm.runInNewContext('gc')

interface Weight { readonly handles: number; readonly timers: number; readonly heap: number }

function weigh(): Weight {
  if (typeof collect === 'function') collect()
  const resources = process.getActiveResourcesInfo()
  const timers = resources.filter((type) => type === 'Timeout' || type === 'Immediate').length
  return { handles: resources.length - timers, timers, heap: process.memoryUsage().heapUsed }
}

const problems: string[] = []
process.on('unhandledRejection', (reason) => problems.push(`unhandled rejection: ${describe(reason)}`))
process.on('uncaughtException', (error) => problems.push(`uncaught exception: ${describe(error)}`))

function describe(error: unknown): string {
  return error instanceof Error ? String(error.stack ?? error.message) : String(error)
}

// ---- a cluster, and somebody to spoil it

const folder = mkdtempSync(join(tmpdir(), 'soak-'))

/** Another file in its place, whole, as the kubelet replaces mounted secrets. */
function place(fixture: string, name: string): void {
  copyFileSync(certificateFile(fixture), join(folder, `${name}.new`))
  renameSync(join(folder, `${name}.new`), join(folder, name))
}

/** Since when a server has worked without a break: 0 while none does. */
class Health {
  #since = performance.now()
  readonly #hurt = new Set<ApiServer>()
  /** Those that were added, and when. */
  readonly #added = new Map<ApiServer, number>()
  /** Those that say nothing, by name, and since when. */
  readonly #silent = new Map<string, number>()
  readonly #plane: ControlPlane

  constructor(plane: ControlPlane) {
    this.#plane = plane
  }

  /** One of those that work; undefined where only one does, as that one is left alone. */
  victim(): ApiServer | undefined {
    const well = this.#plane.servers.filter((server) => this.isWell(server))
    return well.length > 1 ? pick(well) : undefined
  }

  isWell(server: ApiServer): boolean {
    const isKnown = performance.now() - (this.#added.get(server) ?? -Infinity) > KNOWN_AFTER
    return server.state === 'running' && !this.#hurt.has(server) && isKnown
  }

  added(server: ApiServer): void {
    this.#added.set(server, performance.now())
  }

  hurt(server: ApiServer): void {
    this.#hurt.add(server)
  }

  silenced(server: ApiServer): void {
    this.#silent.set(server.name, performance.now())
  }

  healed(server: ApiServer): void {
    this.#hurt.delete(server)
    this.#silent.delete(server.name)
  }

  /** ms for which this one has said nothing. */
  silentFor(name: string): number {
    return performance.now() - (this.#silent.get(name) ?? Infinity)
  }

  /** ms for which some server has worked. */
  get workedFor(): number {
    if (!this.#plane.servers.some((server) => this.isWell(server))) this.#since = performance.now()
    return performance.now() - this.#since
  }
}

const MISBEHAVIOURS: readonly Misbehaviour[] = [
  'hang-handshake', 'reset-handshake', 'fin-handshake', 'alert', 'old-tls', 'plain-http',
  'reset-half', 'reset-half-requests',
  'mute', 'draining', 'close-after-handshake', 'reset-after-handshake', 'refuse-clients', { slow: 1_500 },
  { etcd: 'hangs' }, { etcd: 1_000 }, { everything: 429, close: true },
  'deaf', { latency: 200 }, { heartbeat: 'silent' }, { heartbeat: 500 }, { heartbeat: 429 }, { heartbeat: 403 },
  { everything: 503 }, { everything: 401 }, { redirect: 'https://127.0.0.1:1/' },
  { certificate: 'wrong-name' }, { certificate: 'expired' }, { certificate: 'from-other-ca' },
  { certificate: 'self-signed' },
  { answer: Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nx').toString('base64') },
  { answer: Buffer.from('HTP/1.1 200 OK\r\n\r\n').toString('base64'), then: 'keep', split: 1, pace: 20 },
]
const LISTS = [
  { addresses: [] }, { status: 500 }, { status: 404 }, { status: 403 }, { body: '<html>', contentType: 'text/html' },
  { subsets: [{ addresses: [{ ip: '169.254.169.254' }, { ip: '0.0.0.0' }], ports: [{ port: 1 }] }] },
  { addresses: ['127.0.0.1:1', '127.0.0.1:2'] }, { body: '{"kind":"Endpoints","apiVersion":"v1","subsets":[{}]}' },
] as const

const TREATMENTS: readonly Treatment[] = ['refuse', 'swallow', 'close', 'bad-gateway', 'login-page']

let lock: Promise<unknown> = Promise.resolve()

/** One after another: servers are told of the cluster all together, and one that is just starting cannot be told. */
function alone<T>(what: () => Promise<T>): Promise<T> {
  const done = lock.then(what)
  lock = done.catch(() => {})
  return done
}

/** SIGTERM, and SIGKILL for one that drains for too long. */
async function endGracefully(plane: ControlPlane, server: ApiServer, within: number): Promise<void> {
  await alone(() => plane.unlist(server))
  const late = new AbortController()
  const killed = pause(within, undefined, { signal: late.signal }).then(() => server.kill(), () => {})
  await server.terminate()
  late.abort()
  await killed
}

/** A server that is stopped for this long must have lost its watches (within 10 s, says H3). */
const LONG_STOP = 25_000
const SEVERED_WITHIN = 15_000

/** The cluster, and the balancer in front of it that the agent knows first. */
interface Stage {
  readonly plane: ControlPlane
  readonly balancer: Balancer
}

/** The faults that are being played. */
const playing = new Map<object, string>()
/** What was done last, and when: a soak that fails says so. */
const history: string[] = []

function note(what: string): void {
  history.push(`${(performance.now() / 1_000).toFixed(1)} s: ${what}`)
  if (history.length > 40) history.shift()
}

/** One fault, from its beginning until it is over, `within` ms at most. */
async function fault(stage: Stage, health: Health, within: number): Promise<string> {
  const played = {}
  playing.set(played, 'begun')
  try {
    return await play(stage, health, within, (what) => {
      playing.set(played, what)
      note(what)
    })
  } finally {
    playing.delete(played)
  }
}

async function play(stage: Stage, health: Health, within: number, at: (what: string) => void): Promise<string> {
  const { plane, balancer } = stage
  const kind = pick([
    'kill', 'stop', 'terminate', 'misbehave', 'misbehave', 'misbehave', 'list', 'token', 'certificate', 'ca', 'scale',
    'compact', 'long stop', 'balancer', 'deaf balancer',
  ] as const)
  at(String(kind))
  const long = Math.min(kind === 'long stop' ? LONG_STOP : 500 + random() * 6_000, Math.max(500, within))
  switch (kind) {
    case 'list': {
      const override = pick(LISTS)
      await alone(() => plane.setEndpoints(override))
      await pause(long)
      await alone(() => plane.setEndpoints(undefined))
      return kind
    }
    case 'token':
      await alone(() => plane.rotateToken())
      return kind
    case 'certificate': {
      const client = pick(['client-a', 'client-b']) ?? 'client-a'
      place(`${client}.key`, 'tls.key')
      await pause(random() * 300)
      place(`${client}.crt`, 'tls.crt')
      return kind
    }
    case 'ca':
      // Half a file for a moment, then the same CA in another file.
      writeFileSync(join(folder, 'ca.crt'), '-----BEGIN CERTIFICATE-----\n')
      await pause(random() * 300)
      place('ca.crt', 'ca.crt')
      return kind
    case 'compact':
      plane.compact()
      return kind
    case 'deaf balancer':
      await balancer.deafen()
      return kind
    case 'balancer':
      await alone(() => balancer.treat(pick(TREATMENTS) ?? 'refuse'))
      await pause(long)
      await alone(() => balancer.treat('forward'))
      return kind
    case 'scale':
      if (plane.servers.length < 5) health.added(await alone(() => plane.addServer()))
      else {
        const server = plane.servers.at(-1)
        if (server !== undefined && health.isWell(server) && health.victim() !== undefined) {
          health.hurt(server)
          if (random() < 0.5) await endGracefully(plane, server, long)
          await alone(() => plane.removeServer(server, { graceful: false }))
        }
      }
      await balancer.setBackends(plane.servers.map(({ address }) => address))
      return kind
    case 'kill':
    case 'stop':
    case 'long stop':
    case 'terminate':
    case 'misbehave':
    case undefined: {
      const server = health.victim()
      if (server === undefined) return 'none'
      health.hurt(server)
      at(`${kind} of ${server.name}`)
      if (kind === 'kill') await server.kill()
      else if (kind === 'terminate') await endGracefully(plane, server, long)
      else if (kind === 'stop' || kind === 'long stop') {
        await server.stop()
        health.silenced(server)
      } else {
        const how = pick(MISBEHAVIOURS) ?? 'deaf'
        at(`${server.name} misbehaves: ${JSON.stringify(how)}`)
        await server.misbehave(how)
      }
      await pause(long)
      at(`${kind} of ${server.name} is to be over: it is ${server.state}`)
      if (server.state === 'stopped') await server.cont()
      else if (server.state === 'gone') await alone(() => server.restart())
      else await server.misbehave()
      health.healed(server)
      return kind ?? 'none'
    }
  }
}

// ---- callers

class Load {
  readonly outcomes = new Map<string, number>()
  requests = 0
  readonly #agent: MultidialerAgent
  readonly #stage: Stage
  readonly #health: Health
  /** What waits for an outcome, and since when. */
  readonly #waiting = new Map<ClientRequest, { since: number; what: string; server?: string }>()

  constructor(agent: MultidialerAgent, stage: Stage, health: Health) {
    this.#agent = agent
    this.#stage = stage
    this.#health = health
  }

  /** One request; resolves when it has ended, however it has. */
  ask(path: string, what: string): Promise<void> {
    this.requests += 1
    const { plane, balancer } = this.#stage
    return new Promise((resolve) => {
      const end = (outcome: string): void => {
        if (this.#waiting.delete(request)) this.#count(`${what}: ${outcome}`)
        resolve()
      }
      const request = https.get(balancer.url + path, {
        agent: this.#agent, headers: { authorization: `Bearer ${plane.token}` },
      }, (response) => {
        // A watch may be silent for as long as its server is not; README promises nothing of one through the balancer.
        const isDirect = response.socket.remotePort !== balancer.port
        const served = isDirect ? { server: String(response.headers['x-served-by']) } : {}
        if (what === 'watch') this.#waiting.set(request, { since: Infinity, what, ...served })
        response.on('error', (error) => end(codeOf(error))).resume().once('end', () => end(String(response.statusCode)))
      })
      request.on('error', (error) => end(codeOf(error))).once('close', () => end('closed'))
      this.#waiting.set(request, { since: performance.now(), what })
    })
  }

  /** Watches one after another, as an informer does. */
  async watch(over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      await this.ask('/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0', 'watch')
      await pause(100 + random() * 400)
    }
  }

  /** Those without an outcome for too long, although a server has worked all the while. */
  hung(): string[] {
    const now = performance.now()
    const worked = this.#health.workedFor
    return [...this.#waiting.values()].flatMap(({ since, what, server = '' }) => {
      if (now - since > HUNG && worked > HUNG) return [`a ${what} has had no outcome for ${Math.round(now - since)} ms`]
      const silent = this.#health.silentFor(server)
      if (silent < SEVERED_WITHIN || worked < SEVERED_WITHIN) return []
      return [`a ${what} goes on at ${server}, which has been silent for ${Math.round(silent)} ms`]
    })
  }

  destroy(): void {
    for (const request of this.#waiting.keys()) request.destroy()
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1)
  }
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message.slice(0, 40)
}

function line(
  name: string, began: number, weight: Weight, agent: MultidialerAgent, load: Load, faults: Map<string, number>,
): string {
  const text = (counts: Map<string, number>): string =>
    [...counts].sort(([one], [other]) => one.localeCompare(other)).map(([what, times]) => `${what} ${times}`).join(', ')
  const { counters } = agent.dialer.snapshot()
  return `${name} ${Math.round((performance.now() - began) / 1000)} s | ` +
    `handles ${weight.handles}, timers ${weight.timers}, heap ${(weight.heap / 1_048_576).toFixed(1)} MiB, ` +
    `sockets ${agent.totalSocketCount} | requests ${load.requests}, dials ${counters.dials}, ` +
    `failovers ${counters.failovers}, severed ${counters.severed} | ${text(load.outcomes)} | faults: ${text(faults)}`
}

// ---- the run

function newAgent({ plane, balancer }: Stage): MultidialerAgent {
  return new MultidialerAgent({
    server: balancer.url, caFile: join(folder, 'ca.crt'), tokenFile: plane.tokenFile,
    certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key'), maxSockets: 50,
    refreshInterval: REFRESH_INTERVAL,
  })
}

async function run(stage: Stage): Promise<void> {
  const { plane, balancer } = stage
  // Whatever is made once and kept (modules, contexts, a first connection to each) is there before it is weighed.
  const warm = newAgent(stage)
  await new Load(warm, stage, new Health(plane)).ask('/version', 'request')
  await warm.dialer.refresh()
  warm.destroy()
  await quiet()

  progress = 'under load'
  const start = weigh()
  const began = performance.now()
  const agent = newAgent(stage)
  const health = new Health(plane)
  const load = new Load(agent, stage, health)
  const faults = new Map<string, number>()
  const over = new AbortController()
  console.log(line('first line:', began, start, agent, load, faults))

  const watches = Array.from({ length: WATCHES }, () => load.watch(over.signal))
  const requests = setInterval(() => {
    void load.ask(random() < 0.1 ? '/slow?ms=1500' : '/version', 'request')
  }, 1000 / REQUESTS_PER_SECOND)
  const played: Promise<void>[] = []
  const faulting = setInterval(() => {
    if (playing.size >= 3) return
    played.push(fault(stage, health, began + SECONDS * 1000 - performance.now()).then(
      (kind) => { faults.set(kind, (faults.get(kind) ?? 0) + 1) },
      (error: unknown) => { problems.push(`the soak's own fault failed: ${describe(error)}`) },
    ))
  }, 800)
  const reports = setInterval(() => console.log(line('...', began, weigh(), agent, load, faults)), REPORT_EVERY)

  while (performance.now() - began < SECONDS * 1000 && problems.length === 0) {
    await pause(500)
    problems.push(...load.hung())
  }
  if (problems.length > 0) {
    note(problems.join('; '))
    console.log(`${history.join('\n')}\n${JSON.stringify(agent.dialer.snapshot(), undefined, 1)}`)
  }
  for (const timer of [requests, faulting, reports]) clearInterval(timer)
  progress = 'waiting for the last faults to be over'
  await Promise.all(played)
  progress = 'making all good again'

  // The faults are over: what was under way must come to its end by itself, and a request must be served.
  for (const server of plane.servers) if (server.state === 'running') await server.misbehave()
  await plane.setEndpoints(undefined)
  await balancer.treat('forward')
  progress = 'asking once more'
  await load.ask('/version', 'last request')
  progress = 'ending what is under way'
  if (!load.outcomes.has('last request: 200')) problems.push('the last request was not served')
  over.abort()
  const last = line('last line:', began, weigh(), agent, load, faults)
  load.destroy()
  agent.destroy()
  await Promise.all(watches)
  progress = 'weighing what is left'
  const end = await settled(start)
  if (agent.totalSocketCount !== 0) problems.push(`${agent.totalSocketCount} sockets are left in the agent`)
  console.log(last)
  console.log(`at the end: handles ${start.handles} -> ${end.handles}, timers ${start.timers} -> ${end.timers}, ` +
    `heap ${(start.heap / 1_048_576).toFixed(1)} -> ${(end.heap / 1_048_576).toFixed(1)} MiB`)
}

/** What the run is at, for when it does not get any further. */
let progress = 'starting'

/** A soak that hangs itself has found something, too. */
function watchdog(): void {
  const timer = setTimeout(() => {
    console.log(`FAILED: the soak does not end: it is ${progress}; faults: ${[...playing.values()].join(', ') || 'none'}`)
    console.log('soak: failed')
    process.exit(1)
  }, SECONDS * 1000 + ENDS_WITHIN)
  timer.unref()
}

async function quiet(): Promise<void> {
  for (let times = 0; times < 20; times += 1) await pause(50)
}

/** Waits until all is as it was; after 20 s it is not going to be. */
async function settled(start: Weight): Promise<Weight> {
  let now = weigh()
  for (let times = 0; times < 40; times += 1) {
    if (now.handles <= start.handles && now.timers <= start.timers && now.heap <= start.heap + HEAP_GROWTH) return now
    await pause(500)
    now = weigh()
  }
  const left = process.getActiveResourcesInfo().join(', ')
  if (now.handles > start.handles) problems.push(`${now.handles - start.handles} handles are left: ${left}`)
  if (now.timers > start.timers) problems.push(`${now.timers - start.timers} timers are left: ${left}`)
  if (now.heap > start.heap + HEAP_GROWTH) {
    problems.push(`the heap has grown by ${Math.round((now.heap - start.heap) / 1024)} KiB`)
  }
  return now
}

console.log(`soak: ${SECONDS} s, seed ${SEED}, Node ${process.version}`)
for (const [fixture, name] of [
  ['ca.crt', 'ca.crt'], ['client-a.crt', 'tls.crt'], ['client-a.key', 'tls.key'],
] as const) place(fixture, name)
watchdog()
const plane = await ControlPlane.start({ servers: 3, certificate: 'every-ip' })
const balancer = await Balancer.start(plane.servers.map(({ address }) => address))
try {
  await run({ plane, balancer })
} finally {
  progress = 'stopping the servers'
  await balancer.stop()
  await plane.stop()
  rmSync(folder, { recursive: true, force: true })
}
for (const problem of problems) console.log(`FAILED: ${problem}`)
console.log(problems.length === 0 ? 'soak: passed' : 'soak: failed')
process.exitCode = problems.length === 0 ? 0 : 1
