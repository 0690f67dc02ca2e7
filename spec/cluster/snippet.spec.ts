/**
 * The README's first snippet through a balancer whose health checks come too late: each apiserver behind it is stopped,
 * killed and made to refuse in turn, and the balancer sends new connections there all the same. The snippet is run as it
 * is, as a process of its own, so often that one run meets the fault; then its request again and again in one process,
 * the apiserver in use being the first to fail. Each bound has half as much again, for a busy machine.
 */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { plainEnvironment, startPrinting, type Printing } from '../support/printing.ts'
import { under, until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type Balancer } from './cluster.ts'
import type { Polled } from './polling.ts'
import { RefusingFronts } from './refusing-fronts.ts'

await enterClientNamespace()

const timeout = 120_000
const margin = 1.5
/** A process's start, and a new request; less than `attemptTimeout`, so that a wait for that is found. */
const newProcess = margin * 3_000
const requestFreed = margin * 6_000
const refusalsEnd = margin * 1_000
/** So many answers, and a fault has been lived through; it is ended anyhow after more than any of them may last. */
const enough = 5
const lastsAtMost = 15_000
const clients = new URL('../clients/', import.meta.url)
/** Its package's name is resolved as for the other examples. */
const snippet = ['--import', new URL('self.mjs', clients).href, fileURLToPath(new URL('examples/request.mjs', clients))]
const polling = [fileURLToPath(new URL('polling.ts', import.meta.url))]

interface Fault {
  readonly name: string
  /** How often it is each server's turn, 1 by default, for one that lives on. */
  readonly rounds?: number
  readonly begin: (server: ApiServer) => unknown
  readonly end: (server: ApiServer) => unknown
}

describe('the README\'s first snippet through a balancer', { skip: unavailable(), timeout: 500_000 }, () => {
  let cluster: Cluster
  let fronts: RefusingFronts | undefined
  before(async () => { cluster = await Cluster.start({ balanced: true }) })
  after(() => cluster?.stop())
  beforeEach(() => cluster.waitForEndpoints())

  const faults: readonly Fault[] = [
    { name: 'stopped', begin: server => server.stop(), end: server => server.cont() },
    { name: 'killed', begin: server => server.kill(), end: server => server.start() },
    // A second time, when each was found refusing a short while ago.
    {
      name: 'refusing', rounds: 2,
      begin: server => fronts?.refuse(server), end: server => fronts?.serve(server),
    },
  ]
  for (const fault of faults) {
    describe(`each apiserver ${fault.name} in turn`, () => {
      before(async () => { if (fault.name === 'refusing') fronts = await RefusingFronts.start(cluster) })

      it('F3 H7 a new process prints the version', { timeout }, async (t) => {
        await using balancer = await cluster.balancer()
        const runs: Run[] = []
        for (const server of cluster.servers) {
          runs.push(...await under(
            () => fault.begin(server), () => fault.end(server), () => runsOf(cluster, balancer, server),
          ))
        }
        const met = runs.filter(run => run.met)
        const wrong = runs.filter(({ code, output }) => code !== 0 || !/^200 v1\.\S+\n$/.test(output))
        t.diagnostic(`${fault.name}: ${runs.length} runs, ${slowestOf(runs)} ms; ${met.length} met it, ` +
          `${slowestOf(met)} ms; ${wrong.length} printed no version`)
        const servers = new Set(met.map(({ server }) => server))
        assert.equal(servers.size, cluster.servers.length, 'one of them was never tried')
        assert.deepEqual(wrong, [])
        assert.deepEqual(runs.filter(({ ms }) => ms > newProcess), [])
      })

      it('F1 H3 H7 one that lives on is served on', { timeout }, async (t) => {
        await using balancer = await cluster.balancer()
        await using poller = new Poller(cluster, balancer)
        await until(() => poller.all.length >= enough)
        for (let round = 0; round < (fault.rounds ?? 1); round++) {
          const left = new Set(cluster.servers)
          for (const _ of cluster.servers) {
            const used = await inUse(poller, balancer, left)
            assert.ok(used !== undefined || left.size < cluster.servers.length, 'the first to fail is in use')
            const server = used ?? [...left][0] ?? assert.fail()
            left.delete(server)
            const [at, from] = [Date.now(), poller.all.length]
            const lived = (): Polled[] => poller.all.slice(from)
            await under(() => fault.begin(server), () => fault.end(server), async () => {
              // Who is not served by then is judged all the same.
              await until(() => servedIn(lived()) >= enough, lastsAtMost).catch(() => {})
            })
            judge(t, `${fault.name}: ${server.host}${used === undefined ? '' : ', in use'}`, at, lived())
          }
        }
      })
    })
  }
})

/** Which of the servers answers the poller, itself or behind the balancer; undefined where none of them may. */
async function inUse(
  poller: Poller, balancer: Balancer, servers: ReadonlySet<ApiServer>,
): Promise<ApiServer | undefined> {
  const { backends } = await balancer.stats()
  return [...servers].find(({ host, address }) =>
    poller.host === balancer.host ? (backends[address]?.open ?? 0) > 0 : poller.host === host)
}

/** One run of the snippet. */
interface Run {
  /** The address of the server that had the fault. */
  readonly server: string
  /** Whether the balancer sent a connection of it to that server. */
  readonly met: boolean
  readonly code: number | null
  readonly output: string
  readonly ms: number
}

/** So many runs, one after another, that the balancer's turn comes to each server. */
async function runsOf(cluster: Cluster, balancer: Balancer, { address }: ApiServer): Promise<Run[]> {
  const runs: Run[] = []
  for (const _ of cluster.servers) {
    await balancer.resetStats()
    const begun = performance.now()
    const { child, ended, output } = start(snippet, cluster, balancer)
    await ended
    const ms = performance.now() - begun
    const met = ((await balancer.stats()).backends[address]?.made ?? 0) > 0
    runs.push({ server: address, met, code: child.exitCode, output: output(), ms })
  }
  return runs
}

/** Asserts what one fault may do to a client that lives on, and says what it did. */
function judge(t: TestContext, what: string, begun: number, polled: readonly Polled[]): void {
  const failed = polled.flatMap(({ outcome }) => typeof outcome === 'string' ? [outcome] : [])
  const refused = polled.filter(({ outcome }) => outcome === 503)
  const slowest = slowestOf(polled)
  const last = Math.max(0, ...refused.map(({ at }) => at - begun))
  t.diagnostic(`${what}: the slowest of ${polled.length} took ${slowest} ms; ` +
    `failed: ${failed.join() || 'none'}; answers of 503: ${refused.length}, the last after ${last} ms`)
  assert.ok(failed.length <= 1 && failed.every(code => code === 'ECONNRESET'), `${what}: ${failed.join()}`)
  assert.ok(slowest < requestFreed, `${what}: a request took ${slowest} ms`)
  assert.ok(last < refusalsEnd, `${what}: refused for ${last} ms`)
  assert.ok(servedIn(polled) >= enough, `${what}: not served any more`)
  const others = polled.filter(({ outcome }) => typeof outcome === 'number' && outcome !== 200 && outcome !== 503)
  assert.deepEqual(others, [])
}

/** polling.ts, which runs until it is disposed of. */
class Poller implements AsyncDisposable {
  readonly #program: Printing

  constructor(cluster: Cluster, balancer: Balancer) {
    this.#program = start(polling, cluster, balancer)
  }

  /** What became of each of its requests so far. */
  get all(): Polled[] {
    return this.#program.output().split('\n').slice(0, -1).map((line): Polled => JSON.parse(line))
  }

  /** Who answered last. */
  get host(): string | undefined {
    return this.all.findLast(({ outcome }) => outcome === 200)?.host
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#program.child.stdin?.end()
    await this.#program.ended
  }
}

/** Starts a program with the environment that the README's snippet needs, in this process's namespace. */
function start(program: readonly string[], cluster: Cluster, balancer: Balancer): Printing {
  return startPrinting(process.execPath, ['--import', import.meta.resolve('tsx'), ...program], {
    ...plainEnvironment(),
    APISERVER: balancer.url, CA_FILE: cluster.caFile, TOKEN_FILE: cluster.tokenFile('admin'),
  })
}

function servedIn(polled: readonly Polled[]): number {
  return polled.filter(({ outcome }) => outcome === 200).length
}

function slowestOf(timed: readonly { readonly ms: number }[]): number {
  return Math.round(Math.max(0, ...timed.map(({ ms }) => ms)))
}
