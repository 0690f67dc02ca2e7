// Deadlines: what the clock waits for, what is done then, and what is not held against an endpoint where that is late
// (H4).

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Deadline, State } from '../../lib/core/state.ts'
import { nextDeadline } from '../../lib/core/step.ts'
import { checkedStep, runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, askDeep, asking, attempt, B, cause, closeMonitor, connect, connected, deliver, destroy, dialled, failing, given,
  keptSince, known, noConnection, noDial, reading, ready, reject, rejectFailed, removed, reportFailed, reportFailover,
  sampled, severSlow, slowSince, suspectSince, tick, tickFor, used,
} from '../support/core-given.ts'

const late: readonly Row[] = [
  {
    name: 'H4 an attempt whose deadline is handled more than 1 s late is given its time again',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }] }),
    phases: [
      [6_001, tick, [], { peers: { [A]: { standing: { is: 'ready' } } }, deadline: { at: 11_001, why: 'dial' } }],
      [
        11_001,
        tick,
        [
          destroy(1, 10),
          reportFailed(A, noConnection),
          rejectFailed(1, cause(A, noConnection)),
        ],
      ],
    ],
  },
  {
    name: 'H4 of two attempts only the one that is late is given its time again',
    given: given({
      peers: { [A]: ready, [B]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(10, A), attempt(11, B, 4_000)] }],
    }),
    phases: [[6_001, tick, [], { deadline: { at: 9_000, why: 'dial' } }]],
  },
  {
    name: 'H4 an attempt whose deadline is handled 1 s late has failed',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }] }),
    phases: [
      [
        6_000,
        tick,
        [
          destroy(1, 10),
          reportFailed(A, noConnection),
          rejectFailed(1, cause(A, noConnection)),
        ],
      ],
    ],
  },
  {
    name: 'H4 a dial found late is given one more attemptTimeout, and its next candidate is started at once',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [100_000, tick, [connect(1, 101, B)], { deadline: { at: 100_250, why: 'dial' } }],
      [
        100_300,
        connected(1, 101),
        [
          deliver(1, 101, B),
          destroy(1, 100),
          reportFailover(A, B, 'no connection within 250 ms'),
          askDeep(102, A, { on: 'fresh' }),
        ],
      ],
    ],
  },
  {
    name: 'H4 a dial is put off once and no more: its bound holds even where this machine stalls for ever',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A, 14_000)] }] }),
    phases: [
      [17_000, tick, [], { deadline: { at: 19_000, why: 'dial' } }],
      [30_000, tick, [destroy(1, 10), reject(1, { kind: 'timedOut', causes: [cause(A, noDial)] })]],
    ],
  },
]

/** One in use, silent: it may be cut 2 s after this machine was back. */
const awaited = {
  peers: { [A]: { ...used, ...slowSince(4_000), askedAt: 39_000, askedDeepAt: 39_000 }, [B]: ready },
  sockets: { 1: { address: A } }, usedAt: 39_000,
}

const away: readonly Row[] = [
  {
    name: 'H4 who wakes more than 1 s late was away',
    given: given(awaited),
    phases: [[31_001, tickFor(30_000), [], { state: { backAt: 31_001 } }]],
  },
  {
    name: 'H4 who wakes 1 s late was not',
    given: given(awaited),
    phases: [[31_000, tickFor(30_000), [severSlow(1, A, 31)], { state: { backAt: -Infinity } }]],
  },
  {
    // Its requests are over before bytes are looked at, until one is not: then its deep question has long been due.
    name: 'H4 nor is who wakes in time, and learns then what should have been done long ago',
    given: given({
      peers: { [A]: { ...used, ...keptSince(0), heardAt: 21_000, askedAt: 21_000 } },
      sockets: { 1: { address: A, idle: true } }, usedAt: 21_000,
    }),
    phases: [
      [22_000, sampled(reading(1, 10, 10)), [], { deadline: { at: 20_000, why: 'silence' } }],
      [22_000, tickFor(22_000), [askDeep(100, A)], { state: { backAt: -Infinity } }],
    ],
  },
]

const monitors: readonly Row[] = [
  {
    name: 'H10 the monitor connection is closed when it was unused for 75 s',
    given: given({ peers: { [A]: { ...ready, ...keptSince(1_000) } } }),
    phases: [
      [75_999, tick, [], { deadline: { at: 76_000, why: 'monitor' } }],
      [
        76_000,
        tick,
        [closeMonitor(A)],
        { deadline: { at: 120_000, why: 'unused' }, peers: { [A]: { kept: undefined } } },
      ],
    ],
  },
  {
    name: 'H10 the monitor connection is not closed while it is asked on',
    given: given({ peers: { [A]: { ...ready, ...keptSince(1_000), question: asking(7, 75_500) } } }),
    phases: [[76_500, tick, [], { deadline: { at: 77_500, why: 'question' } }]],
  },
]

runRows('late deadlines of dials', late)
runRows('away', away)
runRows('connections that are kept', monitors)

describe('nextDeadline', () => {
  const inUse = { peers: { [A]: used, [B]: ready }, sockets: { 1: { address: A } } }
  const rows: readonly (readonly [why: Deadline['why'], at: number, state: State])[] = [
    [
      'dial',
      250,
      given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(1, A)], nextAt: 250 }] }),
    ],
    ['question', 2_000, given({ peers: { [A]: { ...ready, question: asking(7) } } })],
    [
      'deaf',
      3_000,
      given({
        peers: { [A]: { ...used, deaf: { question: 7, since: 5, until: 3_000 } } },
        sockets: { 1: { address: A } },
      }),
    ],
    ['silence', 5_000, given(inUse)],
    [
      'slow',
      30_000,
      given({
        peers: {
          [A]: { ...used, ...slowSince(9), askedAt: 29_000, askedDeepAt: 29_000 },
          [B]: { ...ready, answeredAt: 10 },
        },
        sockets: { 1: { address: A } },
        recovery: { nextAt: 40_000, pause: 5_000 },
      }),
    ],
    ['monitor', 75_009, given({ peers: { [A]: { ...ready, ...keptSince(9) } } })],
    ['forget', 300_000, given({ peers: { [A]: removed, [B]: ready }, usedAt: 299_000 })],
    ['sample', 77, given({ ...inUse, sampleAt: 77 })],
    [
      'witness',
      88,
      given({
        peers: { [A]: { ...used, ...suspectSince(1) } },
        sockets: { 1: { address: A } },
        witness: { depth: 'shallow', asked: [], nextAt: 88, vain: 0 },
      }),
    ],
    ['probe', 66, given({ peers: { [A]: {}, [B]: {} }, probe: { nextAt: 66 } })],
    ['recovery', 55, given({ peers: { [A]: { ...failing(0), askedAt: 0 } }, recovery: { nextAt: 55, pause: 5_000 } })],
    ['refresh', 60_000, given({ peers: { [A]: ready }, discovery: { ...known, nextAt: 60_000 } })],
    ['age', 99, given({ peers: { [A]: used }, sockets: { 1: { address: A, wakeAt: 99 } } })],
    ['unused', 120_007, given({ peers: { [A]: ready }, usedAt: 7 })],
  ]
  for (const [why, when, state] of rows) {
    it(`names ${why}, and the time has passed when it was handled`, () => {
      assert.deepEqual(nextDeadline(state), { at: when, why })
      const [early, none] = checkedStep(state, tick, when - 1)
      assert.deepEqual(none, [])
      assert.deepEqual(nextDeadline(early), { at: when, why })
      const [next] = checkedStep(state, tick, when)
      assert.ok((nextDeadline(next)?.at ?? Infinity) > when)
    })
  }

  it('is undefined where nothing is waited for', () => {
    assert.equal(nextDeadline(given({ peers: { [A]: ready }, usedAt: -Infinity })), undefined)
    assert.equal(nextDeadline(given({ peers: { [A]: ready }, dormant: true })), undefined)
  })

  it('names the earliest of all', () => {
    const witness = { depth: 'shallow', asked: [B], nextAt: 100, vain: 0 } as const
    const state = given({ ...inUse, sampleAt: 250, witness, discovery: known })
    assert.deepEqual(nextDeadline(state), { at: 100, why: 'witness' })
  })
})
