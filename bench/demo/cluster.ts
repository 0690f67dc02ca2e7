/**
 * The demo on a cluster that is there already: the same client, until Ctrl-C. It breaks nothing; it says what the agent
 * learned, and then what happens as it happens, with what that cost.
 */
import { readFileSync } from 'node:fs'
import { usable } from '../../lib/cli/connection.ts'
import { MultidialerAgent } from '../../lib/index.ts'
import type { MultidialerOptions, Snapshot } from '../../lib/index.ts'
import { type Answer, DemoClient, type Failure, REQUEST_EVERY } from './client.ts'
import { bold, type Column, count, dim, green, headings, red, row, time } from './table.ts'

/** Renewed by the control plane itself every few seconds, so that the watch has something to show. */
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'
/** ms without an answer that are worth a line. */
const NOTABLE = 250
/** ms after a failover or a failure until what it cost is told: the others that belong to it have come by then. */
const COLLECT = 1_000
/** ms until what is known is shown, however little. */
const LEARN = 5_000
/** ms that a token read from its file is used for. */
const TOKEN_AGE = 1_000

const ENDPOINTS: readonly Column[] = [
  { heading: 'address', width: 24 },
  { heading: 'origin', width: 9 },
  { heading: 'status', width: 10 },
  { heading: 'listed', width: 6 },
  { heading: '', width: 0 },
]

/**
 * Watches until SIGINT or SIGTERM, then sums up.
 *
 * @throws UsageError where an option is wrong
 */
export async function showCluster(options: MultidialerOptions, print: (line: string) => void): Promise<void> {
  const agent = usable(() => new MultidialerAgent(options))
  const session = new Session(agent, options, print)
  const interrupted = new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve()).once('SIGTERM', () => resolve())
  })
  try {
    session.start()
    await interrupted
    session.summarize()
  } finally {
    session.stop()
    agent.destroy()
  }
}

class Session {
  readonly #agent: MultidialerAgent
  readonly #client: DemoClient
  readonly #print: (line: string) => void
  readonly #startedAt = performance.now()
  #collecting: NodeJS.Timeout | undefined
  #learning: NodeJS.Timeout | undefined
  #longest = 0
  #status = 0
  #watchStatus = 0
  #known = ''

  constructor(agent: MultidialerAgent, options: MultidialerOptions, print: (line: string) => void) {
    const server = firstServer(options)
    this.#agent = agent
    this.#print = print
    this.#client = new DemoClient({
      agent,
      server,
      token: tokenOf(options),
      watch: LEASES,
      onAnswer: (answer) => this.#answered(answer),
      onFailure: (failure) => this.#failed(failure),
      onWatch: (status) => this.#watched(status),
    })
    this.#print(bold('kube-multidialer') + ` on ${server.origin}`)
    this.#print('')
    this.#print(`  A request every ${REQUEST_EVERY} ms and a watch, until Ctrl-C. ` +
      'It only reads: /version, and the leases of kube-system.')
    this.#print('')
  }

  start(): void {
    const { dialer } = this.#agent
    dialer.on('endpoints', () => this.#learned())
    dialer.on('failover', ({ from, to, reason }) => {
      this.#say('failover', `${from} → ${to}: ${reason}`)
      this.#collect()
    })
    dialer.on('failed', ({ address, error }) => this.#say('failed', `${address}: ${error.message}`))
    dialer.on('warning', (warning) => this.#say('warning', warning.message))
    this.#learning = setTimeout(() => this.#learned(), LEARN)
    this.#client.start()
  }

  stop(): void {
    clearTimeout(this.#collecting)
    clearTimeout(this.#learning)
    this.#client.stop()
  }

  summarize(): void {
    const { answered, failed, events } = this.#client.totals
    const snapshot = this.#agent.dialer.snapshot()
    const { failovers, severed, heartbeats } = snapshot.counters
    this.#print('')
    this.#table(snapshot)
    this.#print(`  ${count(answered, 'request')} answered, ${failed} failed; ${count(events, 'event')} watched; ` +
      `${count(failovers, 'failover')}, ${count(severed, 'connection')} severed, ${count(heartbeats, 'heartbeat')}; ` +
      `longest gap ${time(Math.max(this.#longest, this.#client.seen().gap))}`)
  }

  #learned(): void {
    clearTimeout(this.#learning)
    const snapshot = this.#agent.dialer.snapshot()
    const known = snapshot.endpoints.map(({ address, listed }) => `${address} ${String(listed)}`).sort().join()
    if (known === this.#known) return
    this.#say('list', this.#known === '' ? 'what is known' : 'it has changed')
    this.#known = known
    this.#table(snapshot)
  }

  #table({ endpoints, current, discovery }: Snapshot): void {
    this.#print('')
    this.#print(headings(ENDPOINTS))
    for (const { address, origin, status, listed } of endpoints) {
      const mark = address === current ? green('serves') : ''
      this.#print(row(ENDPOINTS, [address, origin, status, listed ? 'yes' : 'no', mark]))
    }
    const { status, lastError } = discovery
    this.#print(dim(`  discovery: ${status}${status === 'ok' || lastError === undefined ? '' : ` (${lastError})`}`))
    this.#print('')
  }

  #answered({ status, address, gap }: Answer): void {
    if (gap > NOTABLE && this.#client.totals.answered > 1) this.#collect()
    if (status === this.#status) return
    if (status !== 200 || this.#status !== 0) this.#say('status', `${address} answers requests with ${status}`)
    this.#status = status
  }

  #failed({ error, address }: Failure): void {
    const where = address === undefined ? '' : ` on ${address}`
    if (this.#collecting === undefined) this.#say('request', `failed${where}: ${error.message}`)
    this.#collect()
  }

  #watched(status: number): void {
    if (status === this.#watchStatus) return
    if (status !== 200) this.#say('watch', `answered with ${status}`)
    else if (this.#watchStatus !== 0) this.#say('watch', 'back')
    this.#watchStatus = status
  }

  /** Tells what it has cost as soon as nothing more is to be expected. */
  #collect(): void {
    this.#collecting ??= setTimeout(() => {
      this.#collecting = undefined
      const { gap, wait, failures } = this.#client.seen()
      this.#longest = Math.max(this.#longest, gap)
      this.#say('cost', `longest gap ${time(gap)}, slowest request ${time(wait)}, ` +
        `${count(failures.length, 'request')} failed; ${this.#client.servedBy ?? 'nobody'} serves now`)
      this.#client.mark()
    }, COLLECT)
  }

  #say(what: string, text: string): void {
    const at = `${((performance.now() - this.#startedAt) / 1_000).toFixed(1)} s`
    const loud = what === 'failed' || what === 'warning' || what === 'request'
    this.#print(`  ${at.padStart(8)}  ${(loud ? red : bold)(what.padEnd(8))}  ${text}`)
  }
}

/** The one that requests name; the others are seeds of the dialer, which is where they may go. */
function firstServer({ server }: MultidialerOptions): URL {
  const [first = ''] = typeof server === 'string' || server instanceof URL ? [server] : server
  return new URL(first)
}

/** That of a file is read again when a second old: tokens are rotated. */
function tokenOf({ token: given, tokenFile: file }: MultidialerOptions): () => string | undefined {
  let token = typeof given === 'string' ? given : undefined
  let readAt = -Infinity
  return () => {
    if (file !== undefined && performance.now() - readAt > TOKEN_AGE) {
      readAt = performance.now()
      try {
        token = readFileSync(file, 'utf8').trim()
      } catch {
        // The last one is as good as any; the dialer warns of the file.
      }
    }
    return token
  }
}
