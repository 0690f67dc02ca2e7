/**
 * A real control plane to play with: `sudo -E node --import tsx spec/cluster/up.ts [--servers N] [--shutdown-delay S]`.
 * It says how to reach it, takes faults from stdin a line at a time, and is gone without a trace at `quit` or Ctrl-C.
 *
 * Only the words are here; what they do is in cluster.ts.
 */
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { Cluster, enterClientNamespace, unavailable, type ApiServer, type Direction } from './cluster.ts'

const help = `\
  list                 the servers, and the Endpoints they publish
  kill N               kill -9            start N [CERT]   again; CERT: own, ipOnly, namesOnly, otherName, otherCa,
                                                           expired
  stop N | cont N      SIGSTOP | SIGCONT  term N           SIGTERM: a graceful end
  cut N [HOW] | mend N drop packets       HOW: both (link down), path, requests, replies
  etcd N | narrow N    its etcd is lost to it | full-size packets are lost; until mend N
  add | remove N       a server more | gone for good
  renumber N           on an address never used before
  quit`
const directions = ['both', 'path', 'requests', 'replies'] as const
const certificates = ['own', 'ipOnly', 'namesOnly', 'otherName', 'otherCa', 'expired'] as const

type Action = (server: ApiServer, how: string | undefined) => Promise<void> | void

const actions: ReadonlyMap<string, Action> = new Map<string, Action>([
  ['kill', server => server.kill()],
  ['term', server => server.terminate()],
  ['start', (server, how) => server.start(oneOf(certificates, how ?? 'own'))],
  ['stop', server => server.stop()],
  ['cont', server => server.cont()],
  ['cut', (server, how) => server.cut(oneOf<Direction>(directions, how ?? 'both'))],
  ['mend', server => server.mend()],
  ['etcd', server => server.loseEtcd()],
  ['narrow', server => server.loseFullSizePackets()],
  ['remove', server => cluster.removeServer(server)],
  ['renumber', server => cluster.renumber(server)],
])

const reason = unavailable()
if (reason !== undefined) {
  console.error(`cannot start the real control plane: ${reason}`)
  process.exit(1)
}
await enterClientNamespace()

const { values } = parseArgs({
  options: { servers: { type: 'string', default: '3' }, 'shutdown-delay': { type: 'string', default: '0' } },
})
const begun = Date.now()
const cluster = await Cluster.start({
  servers: Number(values.servers),
  shutdownDelay: Number(values['shutdown-delay']),
})
console.log(`\
The control plane is up after ${((Date.now() - begun) / 1_000).toFixed(1)} s.

  servers      ${cluster.servers.map(server => server.url).join(' ')}
  caFile       ${cluster.caFile}
  tokenFile    ${cluster.tokenFile('admin')}  (may do everything)
               ${cluster.tokenFile('discoverer')}  (may read Endpoints)
               ${cluster.tokenFile('nobody')}  (may do nothing)
  client cert  ${cluster.adminCertificate.certFile} and .key
  kubeconfig   ${cluster.kubeconfigFile}
  namespace    ${cluster.clientNamespace}

To run a command as a client of it, from another terminal:

  sudo ip netns exec ${cluster.clientNamespace} COMMAND

Here, N being the last number of an address:

${help}
`)

const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: '> ' })
// Also when readline does not see the Ctrl-C, stdin being no terminal.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => lines.close())
lines.once('SIGINT', () => lines.close())
lines.prompt()
for await (const line of lines) {
  const words = line.trim().split(/\s+/)
  if (words[0] === 'quit') break
  await obey(words).catch((error: unknown) => console.log(error instanceof Error ? error.message : error))
  lines.prompt()
}
lines.close()
await cluster.stop()
console.log('All of it is gone.')
process.exit()

async function obey([verb = '', which, how]: string[]): Promise<void> {
  if (verb === '') return
  if (verb === 'list') return list()
  if (verb === 'add') return console.log(`${(await cluster.addServer()).address} is ready`)
  const act = actions.get(verb)
  if (act === undefined) return console.log(help)
  const server = cluster.servers.find(({ host }) => host.split('.').at(-1) === which)
  if (server === undefined) throw new Error(`there is no server ${which ?? 'without a number'}`)
  await act(server, how)
  console.log(`${verb} ${server.address}: done`)
}

async function list(): Promise<void> {
  for (const { address, pid, namespace } of cluster.servers) {
    console.log(`${address}  ${pid === undefined ? 'not running' : `pid ${pid}`}  namespace ${namespace}`)
  }
  console.log(`Endpoints: ${await cluster.endpoints().then(found => found.join(' '), () => 'nobody answers')}`)
}

function oneOf<T extends string>(words: readonly T[], word: string): T {
  const found = words.find(each => each === word)
  if (found === undefined) throw new Error(`${word} is none of ${words.join(', ')}`)
  return found
}
