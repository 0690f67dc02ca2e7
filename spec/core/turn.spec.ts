// A turn: what it warns of, as rows, and its draws: repeatable, in their bounds, and even.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { draw, Turn } from '../../lib/core/turn.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import { A, B, given, ready, reportWarning, warningPassed, warningRaised } from '../support/core-given.ts'

const warnings: readonly Row[] = [
  {
    name: 'R5 what another part warns of is told once for each kind, until its message changes, with its error',
    given: given({ peers: { [A]: ready } }),
    phases: [
      [
        0,
        { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' },
        [{ type: 'report', report: { event: 'warning', kind: 'token', message: 'no file', error: 'E' } }],
      ],
      [1, { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' }, [], { same: true }],
      [2, warningRaised('store', 'no file'), [reportWarning('store', 'no file')]],
      [3, warningRaised('token', 'empty'), [reportWarning('token', 'empty')]],
      [4, warningPassed('token'), []],
      [5, warningPassed('token'), [], { same: true }],
      [6, warningRaised('token', 'empty'), [reportWarning('token', 'empty')]],
    ],
  },
]

runRows('warnings', warnings)

describe('a turn', () => {
  it('leaves the state as it is where it is told something of an endpoint that nobody knows', () => {
    const state = given({ peers: { [A]: ready } })
    const turn = new Turn(state, 0)
    turn.changePeer(B, { retired: true })
    turn.changePeer(B, () => assert.fail('it was asked for a change'))
    assert.equal(turn.state, state)
  })
})

describe('draw', () => {
  it('gives the numbers of mulberry32, so that a seed means the same on every machine', () => {
    const [first, next] = draw(1)
    assert.equal(first, 0.6270739405881613)
    const [second] = draw(next)
    assert.equal(second, 0.002735721180215478)
  })

  it('gives the same number and the same next seed for the same seed', () => {
    assert.deepEqual(draw(123), draw(123))
  })

  it('keeps its seed in 32 bits, whatever it began with', () => {
    let seed = 0xffff_ffff
    for (let turn = 0; turn < 1_000; turn += 1) {
      const [value, next] = draw(seed)
      assert.ok(value >= 0 && value < 1)
      assert.ok(Number.isInteger(next) && next >= 0 && next <= 0xffff_ffff)
      seed = next
    }
  })

  it('fills ten buckets evenly, also over neighbouring seeds', () => {
    for (const along of [true, false]) {
      const buckets = Array.from({ length: 10 }, () => 0)
      let seed = 42
      for (let turn = 0; turn < 20_000; turn += 1) {
        const [value, next] = draw(seed)
        seed = along ? next : seed + 1
        const bucket = Math.floor(value * 10)
        buckets[bucket] = (buckets[bucket] ?? 0) + 1
      }
      for (const count of buckets) assert.ok(count > 1_800 && count < 2_200, buckets.join())
    }
  })
})
