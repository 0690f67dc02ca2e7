/**
 * Network namespaces, named after the process that answers for them, and one flat network of them: a bridge in a
 * namespace of its own, a veth pair to each host, the client being the namespace that this process runs in.
 *
 * Nothing about Kubernetes belongs here. Packets are dropped with means that every kernel with veth has, because netem
 * and nftables are often not built in: a link taken down for a host that is cut off altogether, and a permanent
 * neighbour entry with a MAC address that nobody owns for one direction of one path. Neighbours are permanent on
 * purpose: with ARP, a lost host would be reported as EHOSTUNREACH after 3 s instead of staying silent.
 */
import { execFile } from 'node:child_process'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Where iproute2 keeps the namespaces that have a name. */
const namespaceFolder = '/run/netns'
/** Names the run whose client namespace a process lives in; only trusted together with that namespace itself. */
export const runVariable = 'KUBE_MULTIDIALER_RUN'
/** `kmd-<pid>-<start time of that pid>`: a pid alone may since have been given to another process. */
const runPattern = /^kmd-(\d+)-(\d+)(?=-)/
/** The MTU of the network, that of a path through a tunnel that takes its share, and the kernel's default. */
const mtu = 1500
const tunnelMtu = 1400
const segments = 65_535
/** No host answers to it, so frames sent to it are lost on the bridge. */
const nobody = '02:00:00:00:ff:ff'

export const clientAddress = '10.77.0.254'
export const bridgeAddress = '10.77.0.250'
/** Where the client's address goes when it changes. */
export const otherClientAddress = '10.77.0.253'
/** A balancer in the client's own namespace listens there: an address that no server of the network knows of. */
export const balancerAddress = '10.77.0.240'
const clientMac = '02:00:00:00:00:fe'
const bridgeMac = '02:00:00:00:00:fa'

export type Direction = 'both' | 'path' | 'requests' | 'replies'

/** A machine on the network: a namespace, its port on the bridge, and the one address it has at present. */
export interface Host {
  readonly namespace: string
  readonly port: string
  readonly mac: string
  readonly address: string
}

export async function ip(...args: string[]): Promise<string> {
  return (await run('ip', args)).stdout
}

/** The name of a run that the process `pid` (this one) answers for. */
export function runNameOf(pid: number = process.pid): string {
  const started = startTime(pid)
  if (started === undefined) throw new Error(`there is no process ${pid}`)
  return `kmd-${pid}-${started}`
}

export function clientNamespaceOf(runName: string): string {
  return `${runName}-client`
}

/** The run whose client namespace this process is really in, or `undefined` outside of any. */
export function currentRun(): string | undefined {
  const name = process.env[runVariable]
  if (name === undefined) return undefined
  const named = statSync(join(namespaceFolder, clientNamespaceOf(name)), { throwIfNoEntry: false })
  const own = statSync('/proc/self/ns/net')
  return named !== undefined && named.ino === own.ino && named.dev === own.dev ? name : undefined
}

export function namespacesOf(runName: string): string[] {
  return namespaces().filter(name => name.startsWith(`${runName}-`))
}

export function foldersOf(runName: string): string[] {
  return readdirSync(tmpdir()).filter(name => name.startsWith(`${runName}-`)).map(name => join(tmpdir(), name))
}

/** The processes that live in a namespace. */
export async function processesIn(namespace: string): Promise<number[]> {
  return (await ip('netns', 'pids', namespace)).split('\n').filter(line => line !== '').map(Number)
}

/**
 * Kills what lives in a namespace, waits for its end, then removes the name. It is no error when either is gone.
 */
export async function removeNamespace(namespace: string): Promise<void> {
  if (!namespaces().includes(namespace)) return
  let alive = await processesIn(namespace).catch(() => [])
  while (alive.length > 0) {
    for (const pid of alive) kill(pid)
    await delay(10)
    alive = await processesIn(namespace).catch(() => [])
  }
  await ip('netns', 'del', namespace).catch((error: unknown) => {
    if (namespaces().includes(namespace)) throw error
  })
}

/** Removes everything a run made: its processes, namespaces and folders. Not to be called from inside of the run. */
export async function removeRun(runName: string): Promise<void> {
  for (const namespace of namespacesOf(runName)) await removeNamespace(namespace)
  for (const folder of foldersOf(runName)) await rm(folder, { recursive: true, force: true })
}

/** Removes what earlier runs left behind, being killed before they could clean up. Runs still alive are untouched. */
export async function sweep(): Promise<void> {
  const left = new Set<string>()
  for (const name of [...namespaces(), ...readdirSync(tmpdir())]) {
    const [runName, pid, started] = runPattern.exec(name) ?? []
    if (runName !== undefined && startTime(Number(pid)) !== started) left.add(runName)
  }
  for (const runName of left) await removeRun(runName)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself in between.
  }
}

function namespaces(): string[] {
  try {
    return readdirSync(namespaceFolder)
  } catch {
    return [] // The folder is only there once a namespace was named.
  }
}

/** In clock ticks since boot, as /proc tells it; `undefined` when there is no such process. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command before it may hold spaces and parentheses.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

/** The network of one cluster. This process, in the client namespace of its run, is the host `clientAddress` of it. */
export class Network {
  readonly bridge: string
  readonly #run: string
  /** By namespace. */
  readonly #hosts = new Map<string, Host>()
  #lastHost = 0

  private constructor(runName: string) {
    this.#run = runName
    this.bridge = `${runName}-bridge`
  }

  static async create(runName: string): Promise<Network> {
    const network = new Network(runName)
    await ip('netns', 'add', network.bridge)
    await batch(network.bridge, [
      'link set lo up',
      `link add br0 address ${bridgeMac} type bridge`,
      'link set br0 up',
      `addr add ${bridgeAddress}/24 dev br0`,
      `link add client master br0 type veth peer name eth0 address ${clientMac} netns ${clientNamespaceOf(runName)}`,
      'link set client up',
      neighbour(clientAddress, clientMac, 'br0'),
      neighbour(otherClientAddress, clientMac, 'br0'),
    ])
    await batch(undefined, [
      'link set eth0 up',
      `addr add ${clientAddress}/24 dev eth0`,
      `addr add ${balancerAddress}/32 dev lo`,
      neighbour(bridgeAddress, bridgeMac, 'eth0'),
    ])
    return network
  }

  async addHost(address: string): Promise<Host> {
    const id = ++this.#lastHost
    const mac = `02:00:00:00:00:${id.toString(16).padStart(2, '0')}`
    const host: Host = { namespace: `${this.#run}-s${id}`, port: `s${id}`, mac, address }
    await ip('netns', 'add', host.namespace)
    await batch(this.bridge, [
      `link add ${host.port} master br0 type veth peer name eth0 address ${mac} netns ${host.namespace}`,
      `link set ${host.port} up`,
    ])
    await batch(host.namespace, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${address}/24 dev eth0`,
      neighbour(clientAddress, clientMac, 'eth0'),
      neighbour(otherClientAddress, clientMac, 'eth0'),
      neighbour(bridgeAddress, bridgeMac, 'eth0'),
    ])
    this.#hosts.set(host.namespace, host)
    await this.#introduce(host)
    return host
  }

  /** Gives a host another address; the old one is answered by nobody from then on. */
  async renumber(host: Host, address: string): Promise<Host> {
    const renumbered = { ...host, address }
    await batch(host.namespace, ['addr flush dev eth0 scope global', `addr add ${address}/24 dev eth0`])
    await this.#forget(host)
    this.#hosts.set(host.namespace, renumbered)
    await this.#introduce(renumbered)
    return renumbered
  }

  async removeHost(host: Host): Promise<void> {
    await ip('-n', this.bridge, 'link', 'del', host.port)
    this.#hosts.delete(host.namespace)
    await this.#forget(host)
    await removeNamespace(host.namespace)
  }

  /**
   * Drops packets silently, those of open connections too. `both`: the host loses its link, so it reaches nobody at
   * all. The others touch only what passes between the client and the host: `path` both ways, `requests` what the
   * client sends, `replies` what the host sends.
   */
  async cut(host: Host, direction: Direction): Promise<void> {
    if (direction === 'both') await ip('-n', this.bridge, 'link', 'set', host.port, 'down')
    if (direction === 'requests' || direction === 'path') {
      await batch(undefined, [neighbour(host.address, nobody, 'eth0')])
    }
    if (direction === 'replies' || direction === 'path') {
      await batch(host.namespace, [neighbour(clientAddress, nobody, 'eth0')])
    }
  }

  /** Takes from a host its way to what is on the bridge, and nothing else. */
  async cutFromBridge(host: Host): Promise<void> {
    await batch(host.namespace, [`route add blackhole ${bridgeAddress}/32`])
  }

  /**
   * Loses what fills a packet between the client and a host, both ways and without a word; what is smaller passes. The
   * two ends must cut into segments themselves: what they leave to the device is not measured on its way.
   */
  async narrow(host: Host): Promise<void> {
    await batch(undefined, ['link set eth0 gso_max_segs 1'])
    await batch(host.namespace, ['link set eth0 gso_max_segs 1'])
    await batch(this.bridge, [`link set ${host.port} mtu ${tunnelMtu}`])
  }

  /** Undoes every cut of a host. */
  async mend(host: Host): Promise<void> {
    await batch(this.bridge, [`link set ${host.port} mtu ${mtu} up`])
    await batch(undefined, [`link set eth0 gso_max_segs ${segments}`, neighbour(host.address, host.mac, 'eth0')])
    await batch(host.namespace, [
      `link set eth0 gso_max_segs ${segments}`,
      'route flush type blackhole',
      neighbour(clientAddress, clientMac, 'eth0'),
    ])
  }

  /** Takes one address from this process's host and gives it another, as when a laptop roams. */
  async moveClient(from: string, to: string): Promise<void> {
    // The first one goes before the other comes: with it, all that came after it on its network would go.
    await batch(undefined, [`addr del ${from}/24 dev eth0`, `addr add ${to}/24 dev eth0`])
    await this.#restoreClient() // The kernel drops the neighbours of a network with the address on it.
  }

  /** Takes this process's own link down. Its routes go with it, so that connecting fails at once. */
  async downClient(): Promise<void> {
    await batch(undefined, ['link set eth0 down'])
  }

  async upClient(): Promise<void> {
    await batch(undefined, ['link set eth0 up'])
    await this.#restoreClient()
  }

  /** Pulls the plug of this process's host out of the bridge, and puts it in again: its routes stay. */
  async plugClient(into: 'nothing' | 'bridge'): Promise<void> {
    await ip('-n', this.bridge, 'link', 'set', 'client', into === 'bridge' ? 'up' : 'down')
  }

  /** Delays what a host is sent by `ms` milliseconds; 0 ends it. Rejects where the kernel has no netem. */
  async delay(host: Host, ms: number): Promise<void> {
    const device = ['-n', this.bridge, 'qdisc', ms === 0 ? 'del' : 'replace', 'dev', host.port, 'root']
    await run('tc', ms === 0 ? device : [...device, 'netem', 'delay', `${ms}ms`])
  }

  async remove(): Promise<void> {
    // The kernel ends a namespace some time after its name is gone; the next network of this process needs eth0 now.
    await ip('link', 'del', 'eth0').catch(() => {})
    await ip('addr', 'del', `${balancerAddress}/32`, 'dev', 'lo').catch(() => {})
    const own = new RegExp(`^${this.#run}-(bridge|s\\d+)$`)
    for (const name of namespaces()) if (own.test(name)) await removeNamespace(name)
  }

  async #restoreClient(): Promise<void> {
    const hosts = [...this.#hosts.values()].map(({ address, mac }) => neighbour(address, mac, 'eth0'))
    await batch(undefined, [neighbour(bridgeAddress, bridgeMac, 'eth0'), ...hosts])
  }

  async #introduce(host: Host): Promise<void> {
    await batch(undefined, [neighbour(host.address, host.mac, 'eth0')])
    await batch(this.bridge, [neighbour(host.address, host.mac, 'br0')])
  }

  async #forget(host: Host): Promise<void> {
    await ip('neigh', 'del', host.address, 'dev', 'eth0')
    await ip('-n', this.bridge, 'neigh', 'del', host.address, 'dev', 'br0')
  }
}

function neighbour(address: string, mac: string, device: string): string {
  return `neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`
}

/** Runs several commands of iproute2 at once, in a namespace or (`undefined`) in the one of this process. */
async function batch(namespace: string | undefined, lines: string[]): Promise<void> {
  const running = run('ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'])
  running.child.stdin?.end(lines.join('\n') + '\n')
  await running
}
