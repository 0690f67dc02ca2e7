// Retiring (H5, ages), as rows: which sockets are told to close as soon as they are idle.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { step } from '../../lib/core/step.ts'
import { rowOf } from '../../lib/core/table.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attempt, B, C, cause, connect, connected, deliver, destroy, dialled,
  failing, front, given, known, listOf, local, noConnectionIn, pending, reaching, ready, refreshRequested, refusing,
  removed, removedAt, reportEndpoints, reportFailed, reportFailover, retire, roundOf, save, sever, suspectSince, tick,
  unready, used,
} from '../support/core-given.ts'

const asked = { ...ready, question: asking(7) }
/** A round is asking A for the list. */
const inRound = { status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: roundOf([A]) } as const

/** The second try, for which no connection is there until 2,005 ms. */
const second = reaching(7, 5, { misses: 1, on: 'fresh', deadline: 2_005 })

const leaving: readonly Row[] = [
  {
    name: 'H5 an endpoint that is listed no longer has its sockets retired as another is ready, and each once',
    given: given({
      peers: { [A]: used, [B]: { ...ready, question: asking(7) } },
      sockets: { 1: { address: A, idle: true }, 2: { address: A } },
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(B, 7, { body: listOf([B]) }),
        [reportEndpoints(B), save(B), retire(1), retire(2)],
        {
          peers: { [A]: { ...removedAt(10), retired: true, sockets: 2 } },
          sockets: { 1: { retired: true }, 2: { retired: true } },
        },
      ],
      [11, tick, []],
    ],
  },
  {
    name: 'H5 an endpoint that is listed as unready has its sockets retired',
    given: given({
      peers: { [A]: used, [B]: { ...ready, question: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(B, 7, { body: listOf([B], [A]) }),
        [reportEndpoints(B), save(B), retire(1)],
        { peers: { [A]: unready } },
      ],
    ],
  },
  {
    name: 'H5 an endpoint that answers 503 has its sockets retired',
    given: given({ peers: { [A]: { ...used, question: asking(7) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [[10, answered(A, 7, { status: 503 }), [retire(1)], { peers: { [A]: { ...refusing(), sockets: 1 } } }]],
  },
  {
    name: 'H5 a leaving one whose new connections fail has its sockets retired all the same',
    given: given({
      peers: { [A]: { ...used, ...failing(0) }, [B]: { ...ready, question: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [[10, answered(B, 7, { body: listOf([B]) }), [reportEndpoints(B), save(B), retire(1)]]],
  },
  {
    name: 'H5 a failed one that is not leaving keeps its sockets',
    given: given({ peers: { [A]: { ...used, ...failing(0) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [[10, tick, []]],
  },
  {
    name: 'H5 while no other is ready a leaving one keeps its sockets, and loses them when one is',
    given: given({
      peers: { [A]: { ...used, ...refusing() }, [B]: failing(0) },
      sockets: { 1: { address: A } },
      current: A,
    }),
    phases: [
      [10, tick, []],
      [20, dialled(1), [connect(1, 100, A)]],
      [21, connected(1, 100), [deliver(1, 100, A)]],
      [30, dialled(2), [connect(2, 101, A)]],
      [280, tick, [connect(2, 102, B)]],
      [
        281,
        connected(2, 102),
        [
          deliver(2, 102, B),
          destroy(2, 101),
          reportFailover(A, B, 'leaving'),
          askDeep(103, A, { on: 'fresh' }),
          retire(1),
          retire(100),
        ],
      ],
    ],
  },
  {
    name: 'H5 where none is known to be ready, one that is untried is asked, once, and takes over when it answers',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: {}, [C]: { askedAt: 0 } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [10, answered(A, 7, { status: 503 }), [ask(100, B)]],
      [20, tick, []],
      [30, answered(B, 100, { status: 200 }), [retire(1)]],
    ],
  },
  {
    name: 'H5 a leaving one is dialled after all others, and a socket that it still gives is retired at once',
    given: given({
      peers: { [A]: { ...used, ...removed }, [B]: ready },
      dials: [{ id: 1, tried: [B, A], attempts: [attempt(10, A)], causes: [cause(B, local)] }],
      sockets: { 1: { address: A, retired: true } },
    }),
    phases: [[10, connected(1, 10), [deliver(1, 10, A), retire(10)], { sockets: { 10: { retired: true } } }]],
  },
  {
    name: 'H5 busy sockets of a leaving one are left to finish: it is asked when silent, and severed only by H2',
    given: given({
      peers: {
        [A]: { ...used, ...removed, ...suspectSince(5), retired: true, question: second },
        [B]: { ...ready, answeredAt: 9 },
      },
      sockets: { 1: { address: A, retired: true } },
    }),
    phases: [
      [
        2_005,
        tick,
        [abandon(A, 7), reportFailed(A, noConnectionIn(2_000)), sever(1, A, 'no connection within 2000 ms')],
      ],
    ],
  },
  {
    name: 'H5 there is no fail-back: when the one that left is back, the last working one stays so',
    given: given({
      peers: { [A]: { ...ready, ...unready }, [B]: { ...ready, question: asking(7) } },
      current: B,
      discovery: known,
    }),
    phases: [
      [10, answered(B, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B)]],
      [11, dialled(1), [connect(1, 100, B)]],
    ],
  },
]

const ages: readonly Row[] = [
  {
    name: 'H5 maxConnectionAge retires a socket once, and does not touch younger ones',
    given: given({
      peers: { [A]: { ...used, heardAt: 1_000 } },
      sockets: { 1: { address: A, wakeAt: 1_000 }, 2: { address: A, wakeAt: 2_000 } },
    }),
    phases: [
      [999, tick, [], { deadline: { at: 1_000, why: 'age' } }],
      [
        1_000,
        tick,
        [retire(1)],
        { sockets: { 1: { retired: true, wakeAt: Infinity } }, deadline: { at: 2_000, why: 'age' } },
      ],
    ],
  },
  {
    name: 'H5 a socket that maxConnectionAge retired is not retired again when its endpoint leaves',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: ready },
      sockets: { 1: { address: A, retired: true }, 2: { address: A } },
    }),
    phases: [[10, answered(A, 7, { status: 429 }), [retire(2)]]],
  },
  {
    name: 'R1 spread: a socket made before the first list is retired by it where there is a choice, ' +
      'or a fleet stays on its seed',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: { ...front, ...used, question: asking(7) } },
      sockets: { 90: { address: A }, 91: { address: A, retired: true } },
      discovery: { ...pending, round: roundOf([A]) },
    }),
    phases: [
      [10, answered(A, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), retire(90)]],
      [11, refreshRequested(), [askDeep(100, A)]],
      [12, answered(A, 100, { body: listOf([A, B]) }), []],
    ],
  },
  {
    name: 'R1 spread: a socket made before the first list stays in use where its endpoint is the only one',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: { ...front, ...used, question: asking(7) } },
      sockets: { 90: { address: A } },
      discovery: { ...pending, round: roundOf([A]) },
    }),
    phases: [[10, answered(A, 7, { body: listOf([A]) }), [reportEndpoints(A), save(A)]]],
  },
  {
    name: 'H5 maxConnectionAge, spread: a list with nobody new in it, or one unready, leaves each socket its age',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: asked, [B]: ready },
      sockets: { 90: { address: A, wakeAt: 5_000 } },
      discovery: inRound,
    }),
    phases: [
      [
        1_000,
        answered(A, 7, { body: listOf([A], [B, C]) }),
        [reportEndpoints(A), save(A)],
        { sockets: { 90: { wakeAt: 5_000 } } },
      ],
    ],
  },
  {
    name: 'H5 maxConnectionAge, sticky: an endpoint that joins leaves each socket its age, as none would go there',
    given: given({
      peers: { [A]: asked },
      sockets: { 90: { address: A, wakeAt: 5_000 } },
      discovery: inRound,
    }),
    phases: [
      [
        1_000,
        answered(A, 7, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { sockets: { 90: { wakeAt: 5_000 } } },
      ],
    ],
  },
]

runRows('leaving', leaving)
runRows('ages', ages)

describe('maxConnectionAge', () => {
  for (const [what, newcomer] of [['joins', {}], ['is ready again', { [B]: { ...ready, ...unready } }]] as const) {
    it(`H5 spread: each socket is left a part of half its time when an endpoint ${what}`, () => {
      let least = Infinity
      let most = 0
      for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
        const from = {
          ...given({
            settings: { balance: 'spread' },
            peers: { [A]: asked, ...newcomer },
            sockets: { 90: { address: A, wakeAt: 5_000 }, 91: { address: A }, 92: { address: A, wakeAt: 4_000 } },
            discovery: inRound,
          }),
          seed: randomSeed,
        }
        const [state] = step(from, answered(A, 7, { body: listOf([A, B]) }), 1_000)
        const [one, ageless, other] = [90, 91, 92].map((id) => rowOf(state.sockets, id)?.wakeAt ?? NaN)
        assert.equal(ageless, Infinity)
        assert.ok(other !== undefined && other >= 1_000 && other <= 2_500 && other !== one, `${other} ms`)
        least = Math.min(least, one ?? NaN)
        most = Math.max(most, one ?? NaN)
      }
      assert.ok(least >= 1_000 && least < 1_050 && most <= 3_000 && most > 2_950, `from ${least} to ${most} ms`)
    })
  }

  it('H5 maxConnectionAge is from 10 % less to what was given', () => {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = { ...given({ peers: { [A]: ready }, settings: { maxConnectionAge: 1_000 } }), seed: randomSeed }
      const [dialling] = step(from, dialled(1), 0)
      const [state] = step(dialling, connected(1, 100), 0)
      const wakeAt = rowOf(state.sockets, 100)?.wakeAt ?? NaN
      least = Math.min(least, wakeAt)
      most = Math.max(most, wakeAt)
    }
    assert.ok(least >= 900 && least < 905 && most <= 1_000 && most > 995, `from ${least} to ${most} ms`)
  })
})
