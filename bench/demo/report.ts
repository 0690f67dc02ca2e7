/** What the demo on the embedded control plane prints: in 100 columns at the most. What is promised is in promises.ts. */
import type { Snapshot } from '../../lib/index.ts'
import type { ApiServer } from '../../spec/support/control-plane.ts'
import { type DemoClient, REQUEST_EVERY } from './client.ts'
import { broken, type Observed } from './promises.ts'
import { bold, type Column, count, dim, green, headings, red, row, time } from './table.ts'

const ROWS: readonly Column[] = [
  { heading: '', width: 6 },
  { heading: '', width: 27 },
  { heading: 'answers', width: 7, side: 'right' },
  { heading: 'slowest', width: 7, side: 'right' },
  { heading: 'watch', width: 7, side: 'right' },
  { heading: 'requests', width: 8, side: 'right' },
  { heading: 'a stock https.Agent', width: 0 },
]
const HEADINGS = ['', 'the apiserver in use', 'paused', 'request', 'paused', 'failed', 'beside it felt']

const EXPLAINED = [
  '"ok" means, however busy this machine is: another apiserver serves; no request failed but on the',
  'one at fault; no request hung for more than 6 s; the watch was back within 10 s, and missed no',
  'event. How fast that was is for you to look at, and is not judged.',
  '',
  'The stock agent is the https.Agent of Node with keepAlive. It knows the same balancer, makes the',
  'same requests, has the same watch, and was on the same apiserver when the fault began. "2 hang" is',
  'of requests that still waited when the line was printed, as the watch did that is called silent;',
  'Node would leave them so for 15 minutes, or for ever.',
]

export class Report {
  readonly #print: (line: string) => void
  readonly #startedAt = performance.now()
  #kept = true

  constructor(print: (line: string) => void) {
    this.#print = print
  }

  begin(servers: readonly ApiServer[], balancer: string): void {
    this.#print(bold('kube-multidialer') +
      `: what a client of ${servers.length} apiservers behind a balancer feels when they fail`)
    this.#print('')
    this.#print(`  The client is told of the balancer alone, ${balancer}. It makes a request every ` +
      `${REQUEST_EVERY} ms, and`)
    this.#print('  retries none. Its watch brings an event every 200 ms, and is opened again whenever it ends.')
    this.#print('')
  }

  /** Says what was learned in `ms`, and how much still goes through the balancer. */
  learned(ms: number, { endpoints }: Snapshot, balancer: string): void {
    const through = endpoints.find(({ address }) => address === balancer)?.sockets ?? 0
    this.#print(`  After ${time(ms)} it knows the apiservers; ` + (through === 0
      ? 'none of its connections goes through the balancer any more.'
      : `connections that still go through the balancer: ${through}.`))
    this.#print('')
    this.#print(headings(ROWS))
    this.#print(dim(row(ROWS, HEADINGS)))
  }

  /** One fault, or several that are shown as one. */
  row(what: string, observed: Observed, stock: string): void {
    const complaints = broken(observed)
    if (complaints.length > 0) this.#kept = false
    const { gap, wait, watchGap, failed } = observed
    const verdict = complaints.length === 0 ? green('ok'.padEnd(6)) : red('BROKEN')
    this.#print(row(ROWS, [verdict, what, time(gap), time(wait), time(watchGap), String(failed), stock]))
    for (const complaint of complaints) this.#print(row(ROWS, ['', red(complaint)]))
  }

  /** The last lines. Returns whether every promise was kept. */
  sumUp({ answered, failed, refused, events }: DemoClient['totals'], counters: Snapshot['counters']): boolean {
    this.#print('')
    for (const line of EXPLAINED) this.#print(dim(line === '' ? '' : `  ${line}`))
    this.#print('')
    this.#print(`  ${count(answered - refused, 'request')} answered, ${refused} refused, ${failed} failed; ` +
      `${count(events, 'event')} watched; ${count(counters.failovers, 'failover')}; ` +
      `${((performance.now() - this.#startedAt) / 1_000).toFixed(1)} s`)
    this.#print(`  ${this.#kept ? green('Every promise was kept.') : red('BROKEN: not every promise was kept.')}`)
    return this.#kept
  }
}
