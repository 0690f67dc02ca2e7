// Discovery (R1), as rows: when the list is asked for, and of whom.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Event } from '../../lib/core/state.ts'
import { nextDeadline, step } from '../../lib/core/step.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attemptFailed, B, C, cause, closed, connect, connected, D, deliver,
  dialled, failing, front, given, keptSince, known, listOf, local, missed, noAnswer, noConnection, otherAnswer,
  pending, reaching, ready, refreshed, refreshRequested, refused, refusing, rejectFailed, removed, reportEndpoints,
  reportFailed, roundOf, save, settleRefresh, silentSince, suspectSince, tick, unlisted, used,
} from '../support/core-given.ts'

const fresh = { on: 'fresh' } as const
/** A round is asking A for the list, with a caller of refresh() who waits. */
const inRound = {
  status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: roundOf([A]), waiting: [1],
} as const
const asked = { ...ready, question: asking(7) }

const when: readonly Row[] = [
  {
    name: 'F3 the first verified connection asks for the list at once, on itself, before it is handed over',
    given: given({ peers: { [A]: front, [B]: front }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)], { deadline: { at: 250, why: 'dial' } }],
      [
        5,
        connected(1, 100),
        [ask(101, A, { on: 'fresh', attempt: 100 })],
        { counters: { refreshes: 1, heartbeats: 1 } },
      ],
      [
        6,
        answered(A, 101, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B), deliver(1, 100, A)],
        {
          discovery: { status: 'ok', via: 'endpoints', listedAt: 6, round: undefined },
          peers: { [B]: { listing: { is: 'listed', ready: true } } },
        },
      ],
    ],
  },
  {
    name: 'R1 a second connection to an endpoint that was verified before asks for nothing',
    given: given({
      peers: { [A]: { ...front, ...used } },
      sockets: { 1: { address: A } },
      discovery: { ...pending, status: 'failing', nextAt: 60_000 },
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [5, connected(1, 100), [deliver(1, 100, A)], { discovery: { nextAt: 60_000 } }],
    ],
  },
  {
    name: 'R1 a first connection asks for nothing where a list is known',
    given: given({ peers: { [A]: { askedAt: 0 } }, discovery: known }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [5, connected(1, 100), [deliver(1, 100, A)], { discovery: { nextAt: 600_000 } }],
    ],
  },
  {
    name: 'R1 a first connection asks for nothing where discovery is off, nor does a failure',
    given: given({ peers: { [A]: front }, discovery: { ...pending, status: 'off' } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [5, attemptFailed(1, 100), [reportFailed(A), rejectFailed(1, cause(A, refused))]],
      [6, dialled(2), [connect(2, 101, A)]],
      [7, connected(2, 101), [deliver(2, 101, A)], { discovery: { nextAt: Infinity } }],
    ],
  },
  {
    name: 'R1 the list is asked for again when its time has come, on the last working endpoint',
    given: given({ peers: { [A]: ready, [B]: ready }, current: B, discovery: { ...known, nextAt: 60_000 } }),
    phases: [
      [59_999, tick, [], { deadline: { at: 60_000, why: 'refresh' } }],
      [
        60_000,
        tick,
        [askDeep(100, B)],
        { discovery: { nextAt: Infinity, startedAt: 60_000 }, counters: { refreshes: 1 } },
      ],
    ],
  },
  {
    name: 'R1 as late as a refresh may be, it is asked on the connection that was kept since the one before',
    given: given({ peers: { [A]: { ...ready, ...keptSince(0) } }, discovery: { ...known, nextAt: 72_000 } }),
    phases: [
      [71_999, tick, [], { deadline: { at: 72_000, why: 'refresh' } }],
      [72_000, tick, [askDeep(100, A)], { peers: { [A]: { kept: { since: 0, usedAt: 72_000 } } } }],
    ],
  },
  {
    name: 'R1 after an endpoint fails the list is asked for as soon as its dial has had time to fail over',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A, discovery: known }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [
        5_001,
        attemptFailed(1, 100),
        [reportFailed(A), connect(1, 101, B)],
        { deadline: { at: 5_101, why: 'refresh' } },
      ],
      [5_101, tick, [askDeep(102, B)]],
    ],
  },
  {
    name: 'R1 failures ask for the list at most once a second',
    given: given({
      peers: { [A]: ready, [B]: { ...ready, ...keptSince(0) } }, current: A,
      discovery: { ...known, startedAt: 4_500 },
    }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [5_001, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)], { discovery: { nextAt: 5_500 } }],
      [
        5_002,
        connected(1, 101),
        [deliver(1, 101, B), { type: 'report', report: { event: 'failover', from: A, to: B, reason: 'refused' } }],
      ],
      [5_500, tick, [askDeep(102, B)]],
    ],
  },
  {
    name: 'R1 an error of this machine asks for nothing',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A, discovery: known }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [5_001, attemptFailed(1, 100, local), [connect(1, 101, B)]],
    ],
  },
  ...([
    ['fell silent', noConnection], ['became slow', noAnswer], ['refused a connection', refused],
  ] as const).map(([what, failure]): Row => ({
    name: `R1 after one in use ${what} the list is asked for`,
    given: given({
      peers: {
        [A]: { ...used, ...suspectSince(5), question: asking(7, 5, { misses: 1, on: 'fresh' }) },
        [B]: { ...ready, question: asking(8) },
      },
      sockets: { 1: { address: A } },
      discovery: { ...known, startedAt: -9_000 },
      witness: { depth: 'shallow', asked: [B], nextAt: 600, vain: 0 },
    }),
    phases: [
      [500, missed(A, 7, failure), [reportFailed(A, failure)], { discovery: { startedAt: 500, round: roundOf([B]) } }],
    ],
  })),
  {
    name: 'R1 one that goes on failing does not have the list asked for again and again',
    given: given({
      peers: {
        [A]: { ...used, ...failing(0), ...silentSince(5), question: reaching(7, 5, { misses: 1, on: 'fresh' }) },
      },
      sockets: { 1: { address: A } },
      discovery: known,
      witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [
        1_500,
        missed(A, 7, refused),
        [],
        { peers: { [A]: { standing: { is: 'failed', failures: 2 } } }, discovery: { nextAt: 600_000 } },
      ],
    ],
  },
  {
    name: 'R1 a failure while a round is asking asks for nothing more, and is no busy loop',
    given: given({
      peers: { [A]: ready, [B]: { ...ready, question: asking(7, 4_900) } },
      current: A,
      discovery: { ...known, nextAt: Infinity, round: roundOf([B]) },
    }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [
        5_001,
        attemptFailed(1, 100),
        [reportFailed(A), connect(1, 101, B)],
        { deadline: { at: 5_251, why: 'dial' }, discovery: { nextAt: Infinity } },
      ],
    ],
  },
  {
    name: 'R1 a refresh that fails on one endpoint is asked of another, while the first gets its second try',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [
        20,
        missed(A, 7),
        [ask(100, A, fresh), askDeep(101, B)],
        { discovery: { round: roundOf([A, B], { causes: [cause(A, noAnswer)] }) } },
      ],
      [
        21,
        answered(B, 101, { body: listOf([A, B]) }),
        [refreshed(1, A, B)],
        { discovery: { round: undefined, waiting: [], status: 'ok' } },
      ],
      [22, answered(A, 100, { body: listOf([A, B]) }), []],
    ],
  },
  {
    name: 'R1 a refresh of an endpoint that is being asked already waits for that answer',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [10, refreshRequested(1), []],
      [11, answered(A, 7, { body: listOf([A]) }), [refreshed(1, A)]],
    ],
  },
  {
    name: 'R1 the only endpoint gets its second try, on a fresh connection, before the refresh has failed',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [20, missed(A, 7), [ask(100, A, fresh)], { discovery: { waiting: [1] } }],
      [21, answered(A, 100, { body: listOf([A]) }), [refreshed(1, A)]],
    ],
  },
  {
    name: 'R1 a refresh that failed everywhere tells each cause once, and is asked again after refreshInterval',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [20, missed(A, 7), [ask(100, A, fresh), askDeep(101, B)]],
      [21, missed(A, 100), [reportFailed(A, noAnswer)]],
      [22, missed(B, 101), [askDeep(102, B, fresh)]],
      [
        23,
        missed(B, 102, refused),
        [reportFailed(B), settleRefresh(1, { kind: 'failed', causes: [cause(A, noAnswer), cause(B, refused)] })],
        { discovery: { status: 'failing', lastError: 'refused', round: undefined, waiting: [] } },
      ],
    ],
  },
  {
    name: 'R1 a heartbeat that failed for an error of this machine moves the round on',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [20, missed(A, 7, local), [askDeep(100, B)]],
      [
        21,
        missed(B, 100, local),
        [settleRefresh(1, { kind: 'failed', causes: [cause(A, local), cause(B, local)] })],
        { peers: { [A]: { standing: { is: 'ready' } } } },
      ],
    ],
  },
  {
    name: 'R1 a miss of one that the round did not ask leaves the round alone',
    given: given({ peers: { [A]: asked, [B]: { question: asking(8) } }, discovery: inRound }),
    phases: [[20, missed(B, 8), [ask(100, B, fresh)], { discovery: { round: roundOf([A]) } }]],
  },
  {
    name: 'R1 with each round those that were draining are asked too, as nobody else may ask them',
    given: given({
      peers: {
        [A]: ready,
        [B]: { ...ready, ...refusing() },
        [C]: { ...front, ...refusing() },
        [D]: { ...removed, ...refusing() },
      },
      current: A,
      discovery: known,
    }),
    phases: [
      [10, refreshRequested(), [askDeep(100, A), ask(101, B), ask(102, C)]],
      [11, answered(B, 101, { body: listOf([A, B]) }), [], { peers: { [B]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'R1 refresh() asks at once, and a second one joins the round that is under way',
    given: given({ peers: { [A]: { ...ready, ...keptSince(0) } }, discovery: known }),
    phases: [
      [10, refreshRequested(1), [askDeep(100, A)], { deadline: { at: 2_010, why: 'question' } }],
      [
        11,
        refreshRequested(2),
        [],
        { deadline: { at: 2_010, why: 'question' }, discovery: { waiting: [1, 2], nextAt: Infinity } },
      ],
      [12, refreshRequested(2), [], { discovery: { waiting: [1, 2] } }],
      [13, refreshRequested(), [], { discovery: { waiting: [1, 2], nextAt: Infinity } }],
      [14, answered(A, 100, { body: listOf([A]) }), [refreshed(1, A), refreshed(2, A)], { counters: { refreshes: 1 } }],
    ],
  },
  {
    name: 'R1 refresh() works before the first dial, and asks the seeds first',
    given: given({ peers: { [A]: { ...unlisted, origin: 'stored' }, [B]: front }, discovery: pending }),
    phases: [[10, refreshRequested(1), [askDeep(100, B)]]],
  },
  {
    name: 'R1 refresh() fails with close(), and after it',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [
        10,
        closed,
        [abandon(A, 7), settleRefresh(1, { kind: 'closed' })],
        { deadline: null, discovery: { round: undefined, waiting: [] } },
      ],
      [11, refreshRequested(2), [settleRefresh(2, { kind: 'closed' })], { same: true }],
      [12, refreshRequested(), [], { same: true }],
    ],
  },
  {
    name: 'R1 refreshInterval 0: refresh() works, and nothing follows by itself',
    given: given({
      peers: { [A]: front },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [askDeep(100, A)]],
      [
        11,
        answered(A, 100, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B), refreshed(1, A, B)],
        { discovery: { status: 'off', nextAt: Infinity, listedAt: 11 }, deadline: { at: 75_011, why: 'monitor' } },
      ],
    ],
  },
  {
    name: 'R1 refreshInterval 0: a refresh() that fails is not asked again',
    given: given({
      peers: { [A]: front },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [askDeep(100, A)]],
      [11, answered(A, 100, { status: 500 }), [ask(101, A)]],
      [
        12,
        answered(A, 101, { status: 500 }),
        [settleRefresh(1, { kind: 'failed', causes: [cause(A, otherAnswer(500))] })],
        { discovery: { status: 'off', nextAt: Infinity, lastError: 'it answered 500' } },
      ],
    ],
  },
  {
    name: 'R1 refreshInterval 0: what a heartbeat lists is not taken, and a 401 not asked again',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: { ...used, question: asking(8) } },
      sockets: { 1: { address: A }, 2: { address: B } },
    }),
    phases: [
      [10, answered(A, 7, { body: listOf([C]) }), [], { unknown: [C], peers: { [A]: { answeredAt: 10 } } }],
      [10, answered(B, 8, { status: 401 }), []],
    ],
  },
]

runRows('discovery: when', when)

describe('jitter of discovery', () => {
  /** When the next round begins after an answer, where so many rounds before have failed. */
  function spreadOf(event: Event, failures: number): readonly [least: number, most: number] {
    let least = Infinity
    let most = 0
    const question = asking(7, 0, { via: 'endpointslices', otherStatus: 403 })
    const from = given({ peers: { [A]: { ...ready, question } }, discovery: { ...inRound, failures } })
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const [state] = step({ ...from, seed: randomSeed }, event, 0)
      const { nextAt } = state.discovery
      assert.ok((nextDeadline(state)?.at ?? Infinity) <= nextAt)
      least = Math.min(least, nextAt)
      most = Math.max(most, nextAt)
    }
    return [least, most]
  }

  function assertJitter(interval: number, [least, most]: readonly [least: number, most: number]): void {
    assert.ok(least >= 0.8 * interval && least < 0.81 * interval, `from ${least} ms`)
    assert.ok(most <= 1.2 * interval && most > 1.19 * interval, `to ${most} ms`)
  }

  it('R1 the next round is refreshInterval, 20 % less to 20 % more, after a list', () => {
    assertJitter(60_000, spreadOf(answered(A, 7, { body: listOf([A]) }), 3))
  })

  it('R1 after a round that failed it is 10 s, then twice as long, and in the end refreshInterval', () => {
    for (const [failures, interval] of [10_000, 20_000, 40_000, 60_000, 60_000].entries()) {
      assertJitter(interval, spreadOf(answered(A, 7, { status: 500 }), failures))
    }
  })

  it('R2 after a round that was forbidden it is 10 s, then twice as long, and in the end 5 minutes', () => {
    for (const [failures, interval] of [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000].entries()) {
      assertJitter(interval, spreadOf(answered(A, 7, { status: 403 }), failures))
    }
  })
})
