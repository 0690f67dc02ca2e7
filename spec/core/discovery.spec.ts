// Discovery (R1, R2), as rows: when the list is asked for, of whom, and which resource.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, asking, attemptFailed, B, C, cause, closed, closeMonitor, connect, connected, D, deliver,
  dialled, failing, front, given, keptSince, known, listOf, local, missed, noAnswer, otherAnswer, pending, ready,
  refreshed, refreshRequested, refused, refusing, rejectFailed, removed, reportEndpoints, reportFailed, reportWarning,
  roundOf, save, settleRefresh, suspectSince, tick, unlisted, used,
} from '../support/core-given.ts'

const fresh = { on: 'fresh' } as const
const forbiddenMessage =
  'discovery is forbidden: grant get on endpoints "kubernetes" in namespace "default"; ' +
  'only the configured servers are used'
const slices = { via: 'endpointslices' } as const
/** A round is asking A for the list, with a caller of refresh() who waits. */
const inRound = { status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: roundOf([A]), waiting: [1] } as const
const asked = { ...ready, question: asking(7) }

const when: readonly Row[] = [
  {
    name: 'R1 the first verified connection asks for the list at once, on the endpoint that was reached',
    given: given({ peers: { [A]: front, [B]: front }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)], { deadline: { at: 250, why: 'dial' } }],
      [5, connected(1, 100), [deliver(1, 100, A), ask(101, A)], { counters: { refreshes: 1, heartbeats: 1 } }],
      [
        6,
        answered(A, 101, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        {
          discovery: { status: 'ok', via: 'endpoints', listedAt: 6, round: undefined },
          peers: { [B]: { listed: true } },
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
    given: given({ peers: { [A]: {} }, discovery: known }),
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
        [ask(100, B)],
        { discovery: { nextAt: Infinity, startedAt: 60_000 }, counters: { refreshes: 1 } },
      ],
    ],
  },
  {
    name: 'R1 as late as a refresh may be, it is asked on the connection that was kept since the one before',
    given: given({ peers: { [A]: { ...ready, ...keptSince(0) } }, discovery: { ...known, nextAt: 72_000 } }),
    phases: [
      [71_999, tick, [], { deadline: { at: 72_000, why: 'refresh' } }],
      [72_000, tick, [ask(100, A)], { peers: { [A]: { ...keptSince(72_000) } } }],
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
      [5_101, tick, [ask(102, B)]],
    ],
  },
  {
    name: 'R1 failures ask for the list at most once a second',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A, discovery: { ...known, startedAt: 4_500 } }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [5_001, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)], { discovery: { nextAt: 5_500 } }],
      [
        5_002,
        connected(1, 101),
        [deliver(1, 101, B), { type: 'report', report: { event: 'failover', from: A, to: B, reason: 'refused' } }],
      ],
      [5_500, tick, [ask(102, B)]],
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
  {
    name: 'R1 after one in use fell silent the list is asked for',
    given: given({
      peers: {
        [A]: { ...used, ...suspectSince(5), question: asking(7, 5, { misses: 1 }) },
        [B]: { ...ready, question: asking(8) },
      },
      sockets: { 1: { address: A } },
      discovery: { ...known, startedAt: -9_000 },
      witness: { asked: [B], nextAt: 600 },
    }),
    phases: [[500, missed(A, 7), [reportFailed(A, noAnswer)], { discovery: { startedAt: 500, round: roundOf([B]) } }]],
  },
  {
    name: 'R1 one that goes on failing does not have the list asked for again and again',
    given: given({
      peers: { [A]: { ...used, ...failing(0), ...suspectSince(5), silent: true, question: asking(7, 5, { misses: 1 }) } },
      sockets: { 1: { address: A } },
      discovery: known,
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [[1_500, missed(A, 7, refused), [], { peers: { [A]: { failures: 2 } }, discovery: { nextAt: 600_000 } }]],
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
        [ask(100, A, fresh), ask(101, B)],
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
      [20, missed(A, 7), [ask(100, A, fresh), ask(101, B)]],
      [21, missed(A, 100), [reportFailed(A, noAnswer)]],
      [22, missed(B, 101), [ask(102, B, fresh)]],
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
      [20, missed(A, 7, local), [ask(100, B)]],
      [
        21,
        missed(B, 100, local),
        [settleRefresh(1, { kind: 'failed', causes: [cause(A, local), cause(B, local)] })],
        { peers: { [A]: { failures: 0 } } },
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
      [10, refreshRequested(), [ask(100, A), ask(101, B), ask(102, C)]],
      [11, answered(B, 101, { body: listOf([A, B]) }), [], { peers: { [B]: { draining: false } } }],
    ],
  },
  {
    name: 'refresh() asks at once, and a second one joins the round that is under way',
    given: given({ peers: { [A]: ready }, discovery: known }),
    phases: [
      [10, refreshRequested(1), [ask(100, A)], { deadline: { at: 2_010, why: 'question' } }],
      [
        11,
        refreshRequested(2),
        [],
        { deadline: { at: 2_010, why: 'question' }, discovery: { waiting: [1, 2], nextAt: Infinity } },
      ],
      [12, refreshRequested(2), [], { same: true }],
      [13, refreshRequested(), [], { discovery: { waiting: [1, 2], nextAt: Infinity } }],
      [14, answered(A, 100, { body: listOf([A]) }), [refreshed(1, A), refreshed(2, A)], { counters: { refreshes: 1 } }],
    ],
  },
  {
    name: 'refresh() works before the first dial, and asks the seeds first',
    given: given({ peers: { [A]: { ...unlisted, origin: 'stored' }, [B]: front }, discovery: pending }),
    phases: [[10, refreshRequested(1), [ask(100, B)]]],
  },
  {
    name: 'refresh() fails with close(), and after it',
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
    name: 'refreshInterval 0: refresh() works, and nothing follows by itself',
    given: given({
      peers: { [A]: front },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [ask(100, A)]],
      [
        11,
        answered(A, 100, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B), refreshed(1, A, B)],
        { discovery: { status: 'off', nextAt: Infinity, listedAt: 11 }, deadline: { at: 75_011, why: 'monitor' } },
      ],
    ],
  },
  {
    name: 'refreshInterval 0: a refresh() that fails is not asked again',
    given: given({
      peers: { [A]: front },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [ask(100, A)]],
      [
        11,
        answered(A, 100, { status: 500 }),
        [settleRefresh(1, { kind: 'failed', causes: [cause(A, otherAnswer(500))] })],
        { discovery: { status: 'off', nextAt: Infinity, lastError: 'it answered 500' } },
      ],
    ],
  },
  {
    name: 'refreshInterval 0: what a heartbeat lists is not taken, and a 401 not asked again',
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

const resources: readonly Row[] = [
  ...[404, 410].map((status): Row => ({
    name: `R2 on ${status} the EndpointSlices are asked for, and from then on first`,
    given: given({ peers: { [A]: asked }, discovery: { ...inRound, listedAt: undefined, status: 'pending' } }),
    phases: [
      [10, answered(A, 7, { status }), [ask(100, A, slices)]],
      [
        11,
        answered(A, 100, { body: listOf([A]) }),
        [refreshed(1, A)],
        { discovery: { via: 'endpointslices', status: 'ok' } },
      ],
      [20, refreshRequested(2), [ask(101, A, slices)]],
      [21, answered(A, 101, { status: 404 }), [ask(102, A)]],
      [22, answered(A, 102, { body: listOf([A]) }), [refreshed(2, A)], { discovery: { via: 'endpoints' } }],
    ],
  })),
  {
    name: 'R2 where both are gone another endpoint is asked',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 404 }), [ask(100, A, slices)]],
      [
        11,
        answered(A, 100, { status: 410 }),
        [ask(101, B)],
        { discovery: { round: roundOf([A, B], { causes: [cause(A, otherAnswer(410))] }) } },
      ],
    ],
  },
  {
    name: 'R2 on 403 the EndpointSlices are asked for, too, and may be allowed',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [ask(100, A, slices)]],
      [
        11,
        answered(A, 100, { body: listOf([A]) }),
        [refreshed(1, A)],
        { discovery: { status: 'ok', via: 'endpointslices' } },
      ],
    ],
  },
  ...(
    [
      [403, 403],
      [404, 403],
      [403, 404],
    ] as const
  ).map(([first, second]): Row => ({
    name: `R2 ${first} and then ${second} is forbidden: warned of, and what is known is kept`,
    given: given({ peers: { [A]: asked, [B]: ready }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: first }), [ask(100, A, slices)]],
      [
        11,
        answered(A, 100, { status: second }),
        [
          reportWarning('discovery', forbiddenMessage),
          settleRefresh(1, { kind: 'failed', causes: [cause(A, { blame: 'none', message: forbiddenMessage })] }),
        ],
        {
          discovery: { status: 'forbidden', lastError: 'it answered 403', listedAt: 0 },
          peers: { [A]: { failures: 0 }, [B]: { listed: true } },
        },
      ],
    ],
  })),
  {
    name: 'R2 forbidden again is not warned of again; allowed and forbidden again is',
    given: given({
      peers: { [A]: asked },
      discovery: { ...inRound, status: 'forbidden', waiting: [] },
      warned: new Map([['discovery', forbiddenMessage]]),
    }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [ask(100, A, slices)]],
      [11, answered(A, 100, { status: 403 }), []],
      [400_000, tick, [closeMonitor(A), ask(101, A)]],
      [400_001, answered(A, 101, { body: listOf([A]) }), [], { discovery: { status: 'ok' } }],
      [500_000, tick, [closeMonitor(A), ask(102, A)]],
      [500_001, answered(A, 102, { status: 403 }), [ask(103, A, slices)]],
      [500_002, answered(A, 103, { status: 403 }), [reportWarning('discovery', forbiddenMessage)]],
    ],
  },
  {
    name: 'R2 where it is forbidden a failure asks for nothing before the 5 minutes are over, nor does a connection',
    given: given({
      peers: { [A]: front, [B]: front },
      discovery: { ...pending, status: 'forbidden', nextAt: 300_000 },
    }),
    phases: [
      [5_000, dialled(1), [connect(1, 100, A)]],
      [5_001, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [5_002, connected(1, 101), [deliver(1, 101, B)], { discovery: { nextAt: 300_000 } }],
    ],
  },
  {
    name: 'R2 on 401 the token is read again, once',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 401 }), [ask(100, A, { reauthorize: true })]],
      [
        11,
        answered(A, 100, { status: 401 }),
        [ask(101, B)],
        { peers: { [A]: { failures: 0, draining: false } } },
      ],
    ],
  },
  {
    name: 'R2 with the token read again the list may be given, also to a heartbeat outside of a round',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [10, answered(A, 7, { status: 401 }), [ask(100, A, { reauthorize: true })]],
      [11, answered(A, 100, { body: listOf([A]) }), [], { discovery: { listedAt: 11 } }],
    ],
  },
  {
    name: 'R2 a 401 on the EndpointSlices reads the token again and goes on there',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 404 }), [ask(100, A, slices)]],
      [11, answered(A, 100, { status: 401 }), [ask(101, A, { ...slices, reauthorize: true })]],
      [
        12,
        answered(A, 101, { status: 403 }),
        [
          reportWarning('discovery', forbiddenMessage),
          settleRefresh(1, { kind: 'failed', causes: [cause(A, { blame: 'none', message: forbiddenMessage })] }),
        ],
      ],
    ],
  },
  {
    name: 'R2 a second try that is answered 401 is asked again on the connection that it made',
    given: given({
      peers: { [A]: { ...used, question: asking(7, 0, { misses: 1 }), ...suspectSince(0) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [[10, answered(A, 7, { status: 401, fresh: true }), [ask(100, A, { reauthorize: true })]]],
  },
  ...[301, 429, 500, 503].map((status): Row => ({
    name: `R2 ${status} is asked of another endpoint`,
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [[10, answered(A, 7, { status }), [ask(100, B)]]],
  })),
  {
    name: 'R2 a heartbeat outside of a round that is answered 403 or 404 asks nothing more',
    given: given({ peers: { [A]: asked, [B]: { question: asking(8) } }, discovery: known }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [], { discovery: { status: 'ok' } }],
      [10, answered(B, 8, { status: 404 }), []],
    ],
  },
]

runRows('discovery: when', when)
runRows('discovery: which resource', resources)

describe('jitter of discovery', () => {
  function spreadOf(event: Event): readonly [least: number, most: number] {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = {
        ...given({
          peers: { [A]: { ...ready, question: asking(7, 0, { via: 'endpointslices', otherStatus: 403 }) } },
          discovery: inRound,
        }),
        seed: randomSeed,
      }
      const [state] = step(from, event, 0)
      const { nextAt } = state.discovery
      assert.ok(nextDeadline(state)?.at !== undefined)
      least = Math.min(least, nextAt)
      most = Math.max(most, nextAt)
    }
    return [least, most]
  }

  it('R1 the next round is refreshInterval, 20 % less to 20 % more, after a list', () => {
    const [least, most] = spreadOf(answered(A, 7, { body: listOf([A]) }))
    assert.ok(least >= 48_000 && least < 48_500 && most <= 72_000 && most > 71_500, `from ${least} to ${most} ms`)
  })

  it('R1 so it is after a round that failed', () => {
    const [least, most] = spreadOf(answered(A, 7, { status: 500 }))
    assert.ok(least >= 48_000 && least < 48_500 && most <= 72_000 && most > 71_500, `from ${least} to ${most} ms`)
  })

  it('R2 the next round is 5 minutes, 20 % less to 20 % more, after a round that was forbidden', () => {
    const [least, most] = spreadOf(answered(A, 7, { status: 403 }))
    assert.ok(least >= 240_000 && least < 242_500 && most <= 360_000 && most > 357_500, `from ${least} to ${most} ms`)
  })
})
