/**
 * The core alone: what the decisions of one dial cost, how that grows with the number of endpoints, how many events a
 * second it takes, and how much garbage each leaves. There are no sockets and no timers: the compiled core runs in this
 * process.
 */
import { diffieHellman, generateKeyPairSync } from 'node:crypto'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import type { Event, State } from '../../lib/core/state.ts'
import { type Core, loadCore } from '../support/dist.ts'
import { interleaved, median, pairedRatio } from '../measure.ts'
import type { Options, Report } from '../report.ts'

const SIZES = [3, 10, 100, 1_000] as const
/** Growth is judged against the smallest. */
const [FEWEST] = SIZES
/** How often a dial and a key exchange take turns. */
const TURNS = 15

/** A state and its clock. It does what a runtime does: an event goes in, then it asks when to wake. */
class Machine {
  readonly #core: Core
  state: State
  now = 0
  events = 0
  #dial = 0

  constructor(core: Core, endpoints: number) {
    this.#core = core
    const list = Array.from({ length: endpoints }, (_, index): Endpoint => ({ host: hostOf(index), port: 6443 }))
    this.state = core.initialState(core.defaults, list.slice(0, 1), [], 1)
    this.#dial += 1
    this.step({ type: 'dialRequested', dial: this.#dial, own: false, plain: true })
    const attempt = this.connected()
    const asked = [...this.state.peers.values()].find((peer) => peer.question !== undefined)
    if (asked?.question === undefined) throw new Error('the first connection is not asked for the list')
    const { address, question } = asked
    const body = { kind: 'list', ready: list, unready: [], refused: [] } as const
    this.step({ type: 'questionAnswered', address, question: question.id, status: 200, authorized: true, body })
    this.closed(attempt)
    if (this.state.peers.size !== endpoints) {
      throw new Error(`${this.state.peers.size} endpoints instead of ${endpoints}`)
    }
  }

  step(event: Event): void {
    const [state] = this.#core.step(this.state, event, this.now)
    this.state = state
    this.#core.nextDeadline(state)
    this.events += 1
  }

  /** Lets the last attempt of the dial under way succeed. Returns its id, which is also its socket's. */
  connected(): number {
    const attempt = this.state.nextId - 1
    this.step({ type: 'attemptConnected', dial: this.#dial, attempt })
    return attempt
  }

  /** Ends a socket that carried a request and its answer. */
  closed(socket: number): void {
    this.step({ type: 'socketClosed', socket, read: 1, written: 1, byPeer: false })
  }

  /** Takes all decisions of one dial that works at once, and of the end of its socket. */
  dial(): void {
    this.#dial += 1
    this.step({ type: 'dialRequested', dial: this.#dial, own: false, plain: true })
    this.now += 1
    this.closed(this.connected())
  }

  /** Does the same where the first endpoint refuses and the second serves. */
  failover(): void {
    this.#dial += 1
    this.step({ type: 'dialRequested', dial: this.#dial, own: false, plain: true })
    this.step({
      type: 'attemptFailed', dial: this.#dial, attempt: this.state.nextId - 1,
      failure: { kind: 'refused', message: 'ECONNREFUSED' },
    })
    this.now += 1
    this.closed(this.connected())
  }

  /** Samples one socket in use. */
  traffic(socket: number, carried: number): void {
    this.now += 250
    this.step({ type: 'socketsSampled', readings: [{ socket, read: carried, written: carried, idle: false }] })
    this.step({ type: 'deadlineReached', due: this.now })
  }
}

export async function run({ quick, dist }: Options): Promise<Report> {
  const core = await load(dist)
  const time = quick ? 60 : 400
  const rows = SIZES.map((endpoints) => {
    const dial = costOf(new Machine(core, endpoints), time, (machine) => machine.dial())
    const failover = costOf(new Machine(core, endpoints), time, (machine) => machine.failover())
    const traffic = trafficCost(core, endpoints, time)
    return { endpoints, dial, failover, traffic, garbage: garbageOf(core, endpoints) }
  })
  const [least] = rows
  const most = rows.at(-1)
  if (least === undefined || most === undefined) throw new Error('no rows')
  const growth = (most.dial.operation / least.dial.operation) / (nlogn(most.endpoints) / nlogn(FEWEST))
  return {
    bench: 'step',
    tables: [{
      title: 'step: the core alone, one endpoint in use',
      columns: [
        'endpoints', 'µs a dial', 'µs a failover', 'events/s (dials)', 'events/s (traffic)', 'bytes an event',
        'growth / n log n',
      ],
      rows: rows.map(({ endpoints, dial, failover, traffic, garbage }) => [
        endpoints, dial.operation * 1_000, failover.operation * 1_000, 1_000 / dial.event, 1_000 / traffic.event,
        garbage,
        (dial.operation / least.dial.operation) / (nlogn(endpoints) / nlogn(FEWEST)),
      ]),
    }],
    figures: [
      {
        name: `one dial's decisions with ${FEWEST} endpoints, over one key exchange of its handshake`,
        value: await overKeyExchange(core, time), unit: '×', most: 0.5,
      },
      {
        name: `growth from ${FEWEST} to ${most.endpoints} endpoints, over that of n log n`, value: growth,
        unit: '×', most: 1,
      },
    ],
    notes: [],
  }
}

async function load(dist: string): Promise<Core> {
  const core = await loadCore(dist)
  // Nobody here would answer the heartbeats.
  return { ...core, defaults: { ...core.defaults, refreshInterval: 2_000_000_000, heartbeatInterval: 0 } }
}

interface Cost {
  /** ms */
  readonly operation: number
  readonly event: number
}

/** The median of seven slices that take `time` together, after one that is thrown away. */
function costOf(machine: Machine, time: number, operate: (machine: Machine, count: number) => void): Cost {
  const slices: Cost[] = []
  let count = 0
  for (let slice = 0; slice <= 7; slice += 1) {
    const from = performance.now()
    const eventsBefore = machine.events
    const countBefore = count
    let took = 0
    while (took < time / 7) {
      for (let batch = 0; batch < 16; batch += 1) operate(machine, count++)
      took = performance.now() - from
    }
    slices.push({ operation: took / (count - countBefore), event: took / (machine.events - eventsBefore) })
  }
  const [, ...counted] = slices
  return {
    operation: median(counted.map(({ operation }) => operation)),
    event: median(counted.map(({ event }) => event)),
  }
}

/**
 * What one dial's decisions take over what each end of a handshake computes for its key (X25519): the median of slices
 * that take turns and take `time` together for each, so that a machine which is slower for a while is so for both.
 */
async function overKeyExchange(core: Core, time: number): Promise<number> {
  const machine = new Machine(core, FEWEST)
  const other = generateKeyPairSync('x25519')
  const dial = (): void => machine.dial()
  const exchange = (): void => {
    const { privateKey } = generateKeyPairSync('x25519')
    diffieHellman({ privateKey, publicKey: other.publicKey })
  }
  const slice = (operate: () => void): number => meanOf(operate, time / TURNS)
  // The first ones are for the compiler.
  for (const each of [dial, exchange]) slice(each)
  const [dials = [], exchanges = []] = await interleaved([dial, exchange], TURNS, slice)
  return pairedRatio(dials, exchanges)
}

/** ms that it takes, done again and again for so long. */
function meanOf(operate: () => void, time: number): number {
  const from = performance.now()
  let count = 0
  let took = 0
  while (took < time) {
    operate()
    count += 1
    took = performance.now() - from
  }
  return took / count
}

function trafficCost(core: Core, endpoints: number, time: number): Cost {
  const machine = new Machine(core, endpoints)
  const socket = open(machine)
  return costOf(machine, time, (each, count) => each.traffic(socket, count + 1))
}

function open(machine: Machine): number {
  machine.step({ type: 'dialRequested', dial: 1_000_000_000, own: false, plain: true })
  const socket = machine.state.nextId - 1
  machine.step({ type: 'attemptConnected', dial: 1_000_000_000, attempt: socket })
  return socket
}

/** Bytes allocated for one event of a dial. Few dials are made at a time, so that nothing is collected meanwhile. */
function garbageOf(core: Core, endpoints: number): number {
  const { gc } = globalThis
  if (gc === undefined) return NaN
  const machine = new Machine(core, endpoints)
  const dials = Math.max(2, Math.floor(300 / endpoints))
  for (let warm = 0; warm < 500; warm += 1) machine.dial()
  const seen: number[] = []
  for (let slice = 0; slice < 15; slice += 1) {
    gc()
    const events = machine.events
    const before = process.memoryUsage().heapUsed
    for (let dial = 0; dial < dials; dial += 1) machine.dial()
    const grown = process.memoryUsage().heapUsed - before
    if (grown > 0) seen.push(grown / (machine.events - events))
  }
  return Math.round(median(seen))
}

function nlogn(count: number): number {
  return count * Math.log2(count)
}

function hostOf(index: number): string {
  return `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`
}
