/**
 * The README's controller, tried as a new user would: `sudo -E node --import tsx spec/cluster/controller.ts
 * [--minutes 5]`. In a fresh folder the packed tarball and @kubernetes/client-node 2 are installed and the controller
 * is pasted; on Node 24 it follows ConfigMaps that are written five times a second, while the apiserver that it uses is
 * killed, hung and restarted in turn. Exits with 1 when a change was lost, doubled, out of order or made up.
 *
 * The truth is what etcd says, asked without any apiserver. Of the changes to an object, the controller must act upon
 * each, once, in order. A list is the one excuse: what happened between the last event and it may be told as one.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { request as httpRequest, type ClientRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { nodeOf } from '../support/nodes.ts'
import { until } from './client.ts'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type AuditedRequest } from './cluster.ts'
import { bridgeAddress, currentRun, runNameOf } from './namespaces.ts'
import type { HarnessRequest } from './server.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
/** How the process outside, which has a network, tells the one inside where the user's folder and Node are. */
const folderVariable = 'KUBE_MULTIDIALER_USER_FOLDER'
const nodeVariable = 'KUBE_MULTIDIALER_USER_NODE'

const collection = '/api/v1/namespaces/default/configmaps'
const keyPrefix = '/registry/configmaps/default/'
/** 11 shares no factor with what else is counted below, so that every object sees every kind of write. */
const objects = 11
const writeInterval = 200
/** Of one write through one server, before another is asked. */
const writeTimeout = 2_000
const hungFor = 15_000 // Longer than the 10 s after which a watch is severed.
const deadFor = 5_000
/** What a kubelet gives a terminated server; watches that go on keep it for 60 s otherwise. */
const grace = 30_000
const quietFor = 3_000
const settleTimeout = 60_000
/** How long after its arrival a list may have been taken from etcd. */
const listTime = 1_000

/** What became of an object, as etcd tells it. */
interface Change {
  readonly kind: 'created' | 'modified' | 'deleted'
  readonly name: string
  readonly revision: number
  readonly at: number
}

/** Of etcd's JSON, where numbers are strings and the key is base64. */
interface KeyValue {
  readonly key: string
  readonly create_revision?: string
  readonly mod_revision: string
}

/** What the controller says it has acted upon. */
interface Act {
  readonly type: string
  readonly name: string
  readonly revision: number
  readonly at: number
}

/** Every change to a ConfigMap, in order, from the beginning. */
class History {
  readonly changes: Change[] = []
  /** The version of each object that exists. */
  readonly current = new Map<string, number>()
  failure: Error | undefined
  #request: ClientRequest | undefined

  static async follow(): Promise<History> {
    const history = new History()
    const base64 = (text: string): string => Buffer.from(text).toString('base64')
    // The range ends at the first key that does not begin with the prefix: `0` comes after `/`.
    const range = { key: base64(keyPrefix), range_end: base64(keyPrefix.replace(/\/$/, '0')), start_revision: '1' }
    const request = httpRequest(`http://${bridgeAddress}:2379/v3/watch`, { method: 'POST' })
    request.end(JSON.stringify({ create_request: range }))
    const [response]: Readable[] = await once(request, 'response')
    if (response === undefined) throw new Error('etcd gave no response')
    const fail = (): void => { history.failure ??= new Error('the watch of etcd has ended') }
    request.on('error', fail)
    response.on('error', fail).on('close', fail)
    // The interface gives the errors of its input once more.
    createInterface({ input: response }).on('line', line => history.#add(line)).on('error', fail)
    history.#request = request
    return history
  }

  stop(): void {
    this.#request?.destroy()
  }

  #add(line: string): void {
    const message: {
      result?: { canceled?: boolean; events?: { type?: string; kv: KeyValue }[] }
    } = JSON.parse(line)
    if (message.result === undefined || message.result.canceled === true) this.failure ??= new Error(`etcd: ${line}`)
    for (const { type, kv } of message.result?.events ?? []) {
      const name = Buffer.from(kv.key, 'base64').toString().slice(keyPrefix.length)
      const revision = Number(kv.mod_revision)
      const created = kv.create_revision === kv.mod_revision
      const kind = type === 'DELETE' ? 'deleted' : created ? 'created' : 'modified'
      this.changes.push({ kind, name, revision, at: Date.now() })
      if (kind === 'deleted') this.current.delete(name)
      else this.current.set(name, revision)
    }
  }
}

/** The program of the user, and what it prints. */
class Controller {
  readonly acts: Act[] = []
  readonly errors = new Map<string, number>()
  /** What it must believe to exist, after what it has acted upon. */
  readonly known = new Map<string, number>()
  readonly #child: ChildProcess

  constructor(node: string, folder: string, kubeconfigFile: string) {
    const env = { ...process.env, KUBECONFIG: kubeconfigFile }
    const child = spawn(node, ['controller.mjs'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
    createInterface({ input: child.stdout }).on('line', line => this.#read(line))
    createInterface({ input: child.stderr }).on('line', line => this.errors.set(line, (this.errors.get(line) ?? 0) + 1))
    this.#child = child
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The server to which most of its connections lead, the watch being one: the first of `servers` where none do. */
  async server(servers: readonly ApiServer[]): Promise<ApiServer | undefined> {
    const { stdout } = await run('ss', ['-Htnp', 'state', 'established'])
    const own = stdout.split('\n').filter(line => line.includes(`pid=${this.#child.pid},`))
    const connections = (server: ApiServer): number => own.filter(line => line.includes(` ${server.address} `)).length
    return servers.toSorted((one, other) => connections(other) - connections(one))[0]
  }

  async end(): Promise<void> {
    if (!this.running) return
    this.#child.kill()
    await once(this.#child, 'close')
  }

  #read(line: string): void {
    const [type = '', name = '', version = ''] = line.split(' ')
    this.acts.push({ type, name, revision: Number(version), at: Date.now() })
    if (type === 'DELETED') this.known.delete(name)
    else this.known.set(name, Number(version))
  }
}

/** Creates, modifies and deletes, each write conditional on the version it was decided upon, until `stop()`. */
class Writer {
  written = 0
  refused = 0
  failed = 0
  readonly #servers: () => readonly ApiServer[]
  readonly #history: History
  readonly #done: Promise<void>
  #stopped = false

  constructor(servers: () => readonly ApiServer[], history: History) {
    this.#servers = servers
    this.#history = history
    this.#done = this.#run()
  }

  stop(): Promise<void> {
    this.#stopped = true
    return this.#done
  }

  async #run(): Promise<void> {
    for (let count = 0; !this.#stopped; count++) {
      const pause = delay(writeInterval)
      await this.#write(count)
      await pause
    }
  }

  /** Whatever became of an attempt, another one can do no harm: the version it names is there but once. */
  async #write(count: number): Promise<void> {
    const name = `object-${(count * 7) % objects}`
    const resourceVersion = this.#history.current.get(name)?.toString()
    const path = resourceVersion === undefined ? collection : `${collection}/${name}`
    const write = writeOf(name, resourceVersion, count)
    for (const server of this.#servers()) {
      try {
        const { status } = await server.request(path, { ...write, timeout: writeTimeout })
        if (status < 300) this.written++
        else this.refused++
        if (status < 500) return
      } catch {
        this.failed++
      }
    }
  }
}

function writeOf(name: string, resourceVersion: string | undefined, count: number): HarnessRequest {
  const data = { count: String(count) }
  if (resourceVersion === undefined) return { method: 'POST', body: { metadata: { name }, data } }
  if (count % 5 === 0) return { method: 'DELETE', body: { preconditions: { resourceVersion } } }
  return { method: 'PUT', body: { metadata: { name, resourceVersion }, data } }
}

const reason = unavailable()
if (reason !== undefined) {
  console.error(`cannot start the real control plane: ${reason}`)
  process.exit(1)
}
const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' } } })
const minutes = Number(values.minutes)
if (!(minutes > 0)) throw new RangeError(`--minutes ${values.minutes} is not a number of minutes`)
if (currentRun() === undefined) await prepare()
await enterClientNamespace()

const cluster = await Cluster.start({ shutdownDelay: 1 })
try {
  process.exitCode = await tryOut() ? 0 : 1
} finally {
  await cluster.stop()
}
process.exit()

/** What a user does before the first start. The folder is named after this run, and goes with it. */
async function prepare(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), `${runNameOf()}-user-`))
  try {
    const node = nodeOf('24')
    if (node === undefined) throw new Error('Node 24 cannot be had')
    await run('npm', ['pack', '--pack-destination', folder], { cwd: root })
    const tarball = (await readdir(folder)).find(name => name.endsWith('.tgz'))
    if (tarball === undefined) throw new Error('npm pack left no tarball')
    await run('npm', ['init', '-y'], { cwd: folder })
    const packages = [`./${tarball}`, '@kubernetes/client-node@2']
    await run('npm', ['install', '--no-audit', '--no-fund', ...packages], { cwd: folder })
    await copyFile(join(root, 'spec/clients/examples/controller.mjs'), join(folder, 'controller.mjs'))
    const versions = ['kube-multidialer', '@kubernetes/client-node'].map(async name => {
      const { version }: { version: string } =
        JSON.parse(await readFile(join(folder, 'node_modules', name, 'package.json'), 'utf8'))
      return `${name} ${version}`
    })
    const { stdout } = await run(node, ['--version'])
    console.log(`a fresh folder with ${(await Promise.all(versions)).join(', ')}; Node ${stdout.trim()}`)
    process.env[folderVariable] = folder
    process.env[nodeVariable] = node
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

async function tryOut(): Promise<boolean> {
  const { [folderVariable]: folder = '', [nodeVariable]: node = '' } = process.env
  const history = await History.follow()
  const controller = new Controller(node, folder, cluster.kubeconfigFile)
  const victim: { server?: ApiServer } = {}
  const writer = new Writer(() => cluster.servers.filter(server => server !== victim.server), history)
  try {
    await until(() => controller.acts.length > 0)
    const faults = await inflict(controller, victim)
    await writer.stop()
    const settled = await until(() => differences(controller.known, history.current).length === 0, settleTimeout)
      .then(() => true, () => false)
    const running = controller.running
    console.log(`\nthe controller ${running ? 'still runs' : 'HAS EXITED'}`)
    if (!settled) console.log(`IT DID NOT GET TO THE FINAL STATE within ${settleTimeout / 1_000} s`)
    if (history.failure !== undefined) throw history.failure
    const requests = await audited()
    console.log(`${minutes} minutes, ${faults} faults of the server in use`)
    console.log(`writes: ${writer.written} done, ${writer.refused} refused, ${writer.failed} tried again elsewhere`)
    const right = report(history, controller, requests)
    return await sameAsListed(controller) && right && running && settled
  } finally {
    await writer.stop()
    await controller.end()
    history.stop()
  }
}

/** Kills, hangs and restarts whichever server the controller uses, one at a time, until the time is over. */
async function inflict(controller: Controller, victim: { server?: ApiServer }): Promise<number> {
  const begun = Date.now()
  const faults: readonly (readonly [name: string, inflicted: (server: ApiServer) => Promise<void>])[] = [
    ['killed', async server => {
      await server.kill()
      await delay(deadFor)
      await server.start()
    }],
    ['hung', async server => {
      server.stop()
      await delay(hungFor)
      server.cont()
    }],
    ['restarted', async server => {
      await Promise.race([server.terminate(), delay(grace)])
      await server.kill()
      await server.start()
    }],
  ]
  const counts = new Map<string, number>()
  let count = 0
  while (Date.now() - begun < minutes * 60_000) {
    await delay(quietFor)
    const server = await controller.server(cluster.servers)
    const [name, inflicted] = faults[count % faults.length] ?? []
    if (server === undefined || name === undefined || inflicted === undefined) throw new Error('there is nothing to do')
    const at = Date.now()
    victim.server = server
    await inflicted(server)
    delete victim.server
    const seconds = (time: number): string => `${(time / 1_000).toFixed(1)} s`
    const what = `${server.address} ${name}`
    console.log(`${seconds(at - begun).padStart(8)}  ${what}, good again after ${seconds(Date.now() - at)}`)
    counts.set(what, (counts.get(what) ?? 0) + 1)
    count++
  }
  console.log([...counts].sort().map(([what, times]) => `${what} ${times}x`).join(', '))
  return count
}

/** What the controller has asked for ConfigMaps, oldest first; not the watches that ended with their server. */
async function audited(): Promise<AuditedRequest[]> {
  const all = await Promise.all(cluster.servers.map(server => server.audited()))
  return all.flat().filter(({ uri }) => uri.startsWith(collection)).sort((one, other) => one.at - other.at)
}

interface Verdict {
  readonly right: number
  /** Told as one with a later change, by a list. */
  readonly compressed: readonly Change[]
  readonly lost: readonly Change[]
  readonly doubled: readonly Act[]
  readonly disordered: readonly Act[]
  readonly madeUp: readonly Act[]
}

function report(history: History, controller: Controller, requests: readonly AuditedRequest[]): boolean {
  const { changes } = history
  const { acts } = controller
  const lists = requests.filter(({ verb, status }) => verb === 'list' && status === 200)
  const watches = requests.filter(({ verb }) => verb === 'watch')
  const excused = (change: Change): boolean => lists.some(({ at }) =>
    change.at <= at + listTime && !acts.some(act => act.at < at && act.revision > change.revision))
  const names = [...new Set([...changes, ...acts].map(({ name }) => name))].sort()
  const verdicts = names.map(name => judge(
    changes.filter(change => change.name === name), acts.filter(act => act.name === name), excused))
  const all = <T>(of: (verdict: Verdict) => readonly T[]): readonly T[] => verdicts.flatMap(of)
  const kinds = (kind: string): number => changes.filter(change => change.kind === kind).length
  console.log(`history of etcd: ${changes.length} changes of ${names.length} objects ` +
    `(${kinds('created')} created, ${kinds('modified')} modified, ${kinds('deleted')} deleted)`)
  console.log(`the controller: ${acts.length} acts, ${lists.length} lists, at least ${watches.length} watches`)
  const delays = delaysOf(changes, acts)
  const quantile = (part: number): string => `${delays[Math.floor((delays.length - 1) * part)] ?? NaN} ms`
  console.log(`from a change in etcd to the act: median ${quantile(0.5)}, 95 % ${quantile(0.95)}, worst ${quantile(1)}`)
  for (const [message, times] of controller.errors) console.log(`  it printed ${times}x ${message.slice(0, 300)}`)
  console.log(`acted upon, once and in order: ${verdicts.reduce((sum, { right }) => sum + right, 0)}`)
  console.log(`compressed into one by a list: ${all(({ compressed }) => compressed).length}`)
  const faults = { LOST: all(({ lost }) => lost), DOUBLED: all(({ doubled }) => doubled),
    'OUT OF ORDER': all(({ disordered }) => disordered), 'MADE UP': all(({ madeUp }) => madeUp) }
  for (const [fault, found] of Object.entries(faults)) {
    console.log(`${fault.toLowerCase()}: ${found.length}`)
    for (const each of found.slice(0, 20)) console.log(`  ${fault} ${JSON.stringify(each)}`)
  }
  const left = differences(controller.known, history.current)
  console.log(`final state: ${history.current.size} objects in etcd, ${left.length} differ`)
  for (const name of left) {
    console.log(`  ${name}: ${controller.known.get(name)} instead of ${history.current.get(name)}`)
  }
  return changes.length > 0 && left.length === 0 && Object.values(faults).every(found => found.length === 0)
}

/** Compares what happened to one object with what was acted upon, both in order. */
function judge(changes: readonly Change[], acts: readonly Act[], excused: (change: Change) => boolean): Verdict {
  const skipped: Change[] = []
  const doubled: Act[] = []
  const disordered: Act[] = []
  const madeUp: Act[] = []
  let last = -1
  let right = 0
  let exists = false
  for (const act of acts) {
    const deletes = act.type === 'DELETED'
    const found = changeOf(act, changes)
    if (found === -1 || !['ADDED', 'MODIFIED', 'DELETED'].includes(act.type)) madeUp.push(act)
    else if (found === last || (deletes && !exists)) doubled.push(act)
    else if (found < last) disordered.push(act)
    else {
      // Of an object that is there for the controller, it can only be told that it changed.
      if (!deletes && (act.type === 'ADDED') === exists) disordered.push(act)
      else right++
      skipped.push(...changes.slice(last + 1, found))
      last = found
      exists = !deletes
    }
  }
  skipped.push(...changes.slice(last + 1))
  const compressed = skipped.filter(excused)
  return { right, compressed, lost: skipped.filter(change => !excused(change)), doubled, disordered, madeUp }
}

/** Which change an act is about: its index, or -1. A deletion that a list brought up has the last version known. */
function changeOf(act: Act, changes: readonly Change[]): number {
  const exact = changes.findIndex(({ kind, revision }) =>
    (kind === 'deleted') === (act.type === 'DELETED') && revision === act.revision)
  if (exact !== -1 || act.type !== 'DELETED') return exact
  if (!changes.some(({ revision }) => revision === act.revision)) return -1
  return changes.findIndex(({ kind, revision }) => kind === 'deleted' && revision > act.revision)
}

/** From etcd's word to the controller's, in ms, sorted. */
function delaysOf(changes: readonly Change[], acts: readonly Act[]): number[] {
  const told = new Map(changes.map(({ revision, at }) => [revision, at]))
  const delays = acts.flatMap(({ revision, at }) => {
    const since = told.get(revision)
    return since === undefined ? [] : [Math.max(0, at - since)]
  })
  return delays.sort((one, other) => one - other)
}

/** The names of those that are not the same in both. */
function differences(some: ReadonlyMap<string, number>, others: ReadonlyMap<string, number>): string[] {
  return [...new Set([...some.keys(), ...others.keys()])].filter(name => some.get(name) !== others.get(name))
}

/** The final state once more, as the apiservers list it. */
async function sameAsListed(controller: Controller): Promise<boolean> {
  const list: { items: { metadata: { name: string; resourceVersion: string } }[] } =
    JSON.parse(await cluster.request(collection))
  const listed = new Map(list.items.map(({ metadata }) => [metadata.name, Number(metadata.resourceVersion)]))
  const differing = differences(controller.known, listed)
  console.log(`final state as the apiservers list it: ${listed.size} objects, ${differing.length} differ`)
  return differing.length === 0
}
