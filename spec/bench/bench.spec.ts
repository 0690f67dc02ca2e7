/**
 * The benches run, and judge what they measure: no time is asserted here, only that a figure comes out, that a verdict
 * follows from it, and that virtual time is the same for the same seed.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Entry, EventQueue } from '../../bench/fleet/event-queue.ts'
import { mean, peak } from '../../bench/fleet/counts.ts'
import { Fleet } from '../../bench/fleet/simulation.ts'
import { interleaved, median, quantile, ratio } from '../../bench/measure.ts'
import { figuresTable, tableText, verdictOf } from '../../bench/report.ts'
import { DEFAULTS } from '../../lib/options.ts'
import * as pure from '../../lib/core/step.ts'

describe('what a bench judges', () => {
  it('met and NOT MET follow from the figure and its bound', () => {
    const figure = { name: 'a', unit: 'ms' }
    assert.equal(verdictOf({ ...figure, value: 2, most: 2 }), 'met')
    assert.equal(verdictOf({ ...figure, value: 2.1, most: 2 }), 'NOT MET')
    assert.equal(verdictOf({ ...figure, value: 2, least: 2 }), 'met')
    assert.equal(verdictOf({ ...figure, value: 1.9, least: 2 }), 'NOT MET')
    assert.equal(verdictOf({ ...figure, value: 1 }), '')
  })

  it('what was not measured, or never came, is NOT MET', () => {
    assert.equal(verdictOf({ name: 'a', unit: 'ms', value: NaN, most: 2 }), 'NOT MET')
    assert.equal(verdictOf({ name: 'a', unit: 'ms', value: NaN, least: 2 }), 'NOT MET')
    assert.equal(verdictOf({ name: 'a', unit: 'ms', value: Infinity, most: 2 }), 'NOT MET')
  })

  it('a bound that is missed by less than two of the same differ is not judged, by more it is NOT MET', () => {
    const figure = { name: 'a', unit: '×' }
    assert.equal(verdictOf({ ...figure, value: 1.2, most: 1.1, noise: 1.27 }), 'noise')
    assert.equal(verdictOf({ ...figure, value: 1.2, most: 1.1, noise: 1 / 1.27 }), 'noise')
    assert.equal(verdictOf({ ...figure, value: 1.5, most: 1.1, noise: 1.27 }), 'NOT MET')
    assert.equal(verdictOf({ ...figure, value: 1.05, most: 1.1, noise: 1.27 }), 'met')
    assert.equal(verdictOf({ ...figure, value: 0.99, least: 1, noise: 0.98 }), 'noise')
    assert.equal(verdictOf({ ...figure, value: 0.9, least: 1, noise: 0.98 }), 'NOT MET')
    assert.equal(verdictOf({ ...figure, value: 1.2, most: 1.1, noise: NaN }), 'NOT MET')
    assert.equal(verdictOf({ ...figure, value: NaN, most: 1.1, noise: 1.27 }), 'NOT MET')
    const { rows } = figuresTable('b', [{ ...figure, value: 1.2, most: 1.1, noise: 1 / 1.27 }])
    assert.deepEqual(rows, [['a', '1.20 ×', '≤ 1.10', 'noise: two of the same differ by 1.27 ×']])
  })

  it('a table keeps its columns apart, words to the left and numbers to the right', () => {
    const text = tableText({ title: 't', columns: ['name', 'n'], rows: [['a', 1], ['bcdefg', Infinity], ['h', NaN]] })
    assert.deepEqual(text.split('\n'), [
      't',
      '  name        n',
      '  ------  -----',
      '  a           1',
      '  bcdefg  never',
      '  h           -',
    ])
  })
})

describe('how a bench measures', () => {
  it('medians and quantiles lie between the two nearest, and never among what was not finite', () => {
    assert.equal(median([3, 1, 2]), 2)
    assert.equal(median([4, 1, 2, 3]), 2.5)
    assert.equal(median([1, Infinity, Infinity]), Infinity)
    assert.equal(quantile([1, 2, 3, 4, 5], 0.25), 2)
    assert.ok(Number.isNaN(median([])))
    assert.equal(ratio([2, 4, 6], [2, 2, 2]), 2)
  })

  it('contenders take turns, and none is always the first', async () => {
    const order: string[] = []
    const results = await interleaved(['a', 'b'], 2, (contender) => {
      order.push(contender)
      return order.length
    })
    assert.deepEqual(order, ['a', 'b', 'b', 'a'])
    assert.deepEqual(results, [[1, 4], [2, 3]])
  })
})

describe('virtual time', () => {
  it('events come by time, and those of one time in the order they were put in', () => {
    const queue = new EventQueue()
    const count = 5_000
    // A permutation, with each time twice.
    for (let index = 0; index < count; index += 1) queue.push(((index * 7_919) % count) >> 1, 1, index)
    const entry: Entry = { at: 0, kind: 0, client: 0, a: 0, b: 0 }
    const seen: (readonly [number, number])[] = []
    while (queue.pop(entry, Infinity)) seen.push([entry.at, entry.client])
    assert.equal(seen.length, count)
    assert.deepEqual(seen, seen.toSorted(([at, client], [otherAt, other]) => at - otherAt || client - other))
  })

  it('nothing is taken out before its time', () => {
    const queue = new EventQueue()
    queue.push(5, 2, 7, 8, 9)
    const entry: Entry = { at: 0, kind: 0, client: 0, a: 0, b: 0 }
    assert.equal(queue.pop(entry, 4), false)
    assert.equal(queue.pop(entry, 5), true)
    assert.deepEqual(entry, { at: 5, kind: 2, client: 7, a: 8, b: 9 })
    assert.equal(queue.pop(entry, Infinity), false)
  })

  const core = { ...pure, defaults: DEFAULTS }
  const fleetOf = (seed: number): Fleet => {
    const settings = { ...DEFAULTS, balance: 'spread', heartbeatInterval: 0 } as const
    const fleet = new Fleet(core, { clients: 300, servers: 3, settings, seed, startWithin: 10_000, workload: 'busy watch' })
    fleet.runUntil(120_000)
    fleet.down(1)
    fleet.runUntil(180_000)
    return fleet
  }

  it('a fleet is the same for the same seed, and another for another', () => {
    assert.equal(fleetOf(1).checksum, fleetOf(1).checksum)
    assert.notEqual(fleetOf(1).checksum, fleetOf(2).checksum)
  })

  it('every client of a fleet has its watch, on a server that is up', () => {
    const fleet = fleetOf(1)
    assert.equal(fleet.watching, 300)
    assert.equal(fleet.servers[1]?.watches, 0)
    assert.equal(fleet.dials.failed, 0)
  })

  it('a spread fleet that had one seed leaves it as its first watches end', () => {
    const settings = { ...DEFAULTS, balance: 'spread', heartbeatInterval: 0 } as const
    const fleet = new Fleet(core, { clients: 3_000, servers: 3, settings, seed: 1, startWithin: 10_000, workload: 'busy watch' })
    fleet.runUntil(60_000)
    assert.equal(fleet.imbalance(), 3)
    fleet.runUntil(900_000)
    assert.ok(fleet.imbalance() < 1.1, `max/mean is ${fleet.imbalance()}`)
  })

  it('a calm fleet shakes hands for its dials alone: refreshes are asked on connections that are kept', () => {
    const options = { clients: 300, servers: 3, settings: { ...DEFAULTS, heartbeatInterval: 0 }, seed: 1, startWithin: 10_000, workload: 'busy watch' } as const
    const fleet = new Fleet(core, options)
    const handshakes = (): number => {
      return fleet.servers.flatMap((server) => server.handshakes).reduce((total, each) => total + each, 0)
    }
    fleet.runUntil(600_000)
    const before = { dials: fleet.dials.asked, handshakes: handshakes() }
    fleet.runUntil(1_200_000)
    const refreshes = 600 * mean(fleet.refreshes, 600_000, 1_200_000)
    assert.ok(refreshes > 2_900 && refreshes < 3_100, `${refreshes} refreshes of 300 clients in ten minutes`)
    assert.equal(handshakes() - before.handshakes, fleet.dials.asked - before.dials)
  })

  it('counts are read by the second', () => {
    assert.equal(peak([1, 5, 2], 0, 3_000), 5)
    assert.equal(peak([1, 5, 2], 2_000, 9_000), 2)
    assert.equal(mean([1, 5, 3], 0, 3_000), 3)
  })
})

describe('npm run bench', () => {
  const program = fileURLToPath(new URL('../../bench/run.ts', import.meta.url))

  function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...env } = process.env
    return spawnSync(process.execPath, [
      ...process.execArgv.filter((arg) => !arg.startsWith('--test')), program, ...args,
    ], { encoding: 'utf8', env })
  }

  it('shows a bench by its name, with the machine, and writes its figures', () => {
    const folder = mkdtempSync(join(tmpdir(), 'bench-spec-'))
    try {
      const file = join(folder, 'figures.json')
      const { status, stdout, stderr } = bench('step', '--quick', '--json', file)
      assert.equal(status, 0, stderr)
      assert.match(stdout, /kube-multidialer \S+, Node v/)
      assert.match(stdout, /one dial's decisions with 3 endpoints, over one key exchange of its handshake +\S+ × +≤ 0\.50 +(met|NOT MET)/)
      const written: {
        machine: { node: string }
        benches: { bench: string; figures: { value: number; verdict: string }[] }[]
      } = JSON.parse(readFileSync(file, 'utf8'))
      assert.equal(written.machine.node, process.version)
      assert.deepEqual(written.benches.map(({ bench: name }) => name), ['step'])
      for (const { value, verdict } of written.benches[0]?.figures ?? []) {
        assert.ok(value > 0)
        assert.ok(['met', 'NOT MET'].includes(verdict))
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('a name that is no bench ends with 2 and says which there are', () => {
    const { status, stderr } = bench('speed')
    assert.equal(status, 2)
    assert.match(stderr, /There is no bench 'speed'[^]*footprint, step, agent, burst, scale, calls, fleet, failover/)
  })

  it('a number that is none ends with 2 and says whose it is', () => {
    for (const option of ['--seed', '--clients']) {
      const { status, stderr } = bench('fleet', option, 'many')
      assert.equal(status, 2)
      assert.match(stderr, new RegExp(`${option} takes a whole number, not 'many'`))
    }
  })
})
