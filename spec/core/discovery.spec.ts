// Discovery (R1 to R4) and what a list does to the endpoints (D1, D2), as rows.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { nextDeadline, step } from '../../lib/core/step.ts'
import type { Event } from '../../lib/core/state.ts'
import { rowOf } from '../../lib/core/table.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A,
  abandon,
  answered,
  asking,
  at,
  attempt,
  attemptFailed,
  B,
  C,
  cause,
  closed,
  closeMonitor,
  connect,
  connected,
  D,
  deliver,
  dialled,
  failing,
  given,
  heartbeat,
  known,
  listOf,
  local,
  missed,
  noAnswer,
  pending,
  ready,
  refreshed,
  refreshRequested,
  refused,
  reject,
  rejectedList,
  removed,
  reportEndpoints,
  reportFailed,
  reportWarning,
  retire,
  save,
  seed,
  settleRefresh,
  tick,
  unlisted,
  untrusted,
  used,
} from '../support/core-given.ts'

const newSeed = { ...seed, ...unlisted }
const forbiddenMessage =
  'discovery is forbidden: grant get on endpoints "kubernetes" in namespace "default"; ' +
  'only the configured servers are used'
const slices = { via: 'endpointslices' } as const
const round = (...tried: readonly string[]) => ({ tried, at: tried.at(-1), causes: [] })
/** A round is asking A for the list, with a caller of refresh() who waits. */
const inRound = { status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: round(A), waiting: [1] } as const
const asked = { ...ready, heartbeat: asking(7) }

const when: readonly Row[] = [
  {
    name: 'R1 the first verified connection asks for the list at once, on the endpoint that was reached',
    given: given({ peers: { [A]: newSeed, [B]: newSeed }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)], { deadline: { at: 250, why: 'dial' } }],
      [5, connected(1, 100), [deliver(1, 100, A), heartbeat(101, A)], { counters: { refreshes: 1, heartbeats: 1 } }],
      [
        6,
        answered(A, 101, { fresh: true, body: listOf([A, B]) }),
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
      peers: { [A]: { ...newSeed, ...used } },
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
    given: given({ peers: { [A]: newSeed }, discovery: { ...pending, status: 'off' } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [5, attemptFailed(1, 100), [reportFailed(A), reject(1, { kind: 'failed', causes: [cause(A, refused)] })]],
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
        [heartbeat(100, B)],
        { discovery: { nextAt: Infinity, startedAt: 60_000 }, counters: { refreshes: 1 } },
      ],
    ],
  },
  {
    name: 'R1 as late as a refresh may be, it is asked on the connection that was kept since the one before',
    given: given({ peers: { [A]: { ...ready, monitoredAt: 0 } }, discovery: { ...known, nextAt: 72_000 } }),
    phases: [
      [71_999, tick, [], { deadline: { at: 72_000, why: 'refresh' } }],
      [72_000, tick, [heartbeat(100, A)], { peers: { [A]: { monitoredAt: 72_000 } } }],
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
      [5_101, tick, [heartbeat(102, B)]],
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
      [5_500, tick, [heartbeat(102, B)]],
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
        [A]: { ...used, suspectSince: 5, heartbeat: asking(7, 5, { misses: 1 }) },
        [B]: { ...ready, heartbeat: asking(8) },
      },
      sockets: { 1: { address: A } },
      discovery: { ...known, startedAt: -9_000 },
      witness: { asked: [B], nextAt: 600 },
    }),
    phases: [[500, missed(A, 7), [reportFailed(A, noAnswer)], { discovery: { startedAt: 500, round: round(B) } }]],
  },
  {
    name: 'R1 one that goes on failing does not have the list asked for again and again',
    given: given({
      peers: { [A]: { ...used, ...failing(0), suspectSince: 5, silent: true, heartbeat: asking(7, 5, { misses: 1 }) } },
      sockets: { 1: { address: A } },
      discovery: known,
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [[1_500, missed(A, 7, refused), [], { peers: { [A]: { failures: 2 } }, discovery: { nextAt: 600_000 } }]],
  },
  {
    name: 'R1 a failure while a round is asking asks for nothing more, and is no busy loop',
    given: given({
      peers: { [A]: ready, [B]: { ...ready, heartbeat: asking(7, 4_900) } },
      current: A,
      discovery: { ...known, nextAt: Infinity, round: round(B) },
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
        [heartbeat(100, A, { fresh: true }), heartbeat(101, B)],
        { discovery: { round: { ...round(A, B), causes: [cause(A, noAnswer)] } } },
      ],
      [
        21,
        answered(B, 101, { body: listOf([A, B]) }),
        [refreshed(1, A, B)],
        { discovery: { round: undefined, waiting: [], status: 'ok' } },
      ],
      [22, answered(A, 100, { fresh: true, body: listOf([A, B]) }), []],
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
      [20, missed(A, 7), [heartbeat(100, A, { fresh: true })], { discovery: { waiting: [1] } }],
      [21, answered(A, 100, { fresh: true, body: listOf([A]) }), [refreshed(1, A)]],
    ],
  },
  {
    name: 'R1 a refresh that failed everywhere tells each cause once, and is asked again after refreshInterval',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [20, missed(A, 7), [heartbeat(100, A, { fresh: true }), heartbeat(101, B)]],
      [21, missed(A, 100), [reportFailed(A, noAnswer)]],
      [22, missed(B, 101), [heartbeat(102, B, { fresh: true })]],
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
      [20, missed(A, 7, local), [heartbeat(100, B)]],
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
    given: given({ peers: { [A]: asked, [B]: { heartbeat: asking(8) } }, discovery: inRound }),
    phases: [[20, missed(B, 8), [heartbeat(100, B, { fresh: true })], { discovery: { round: round(A) } }]],
  },
  {
    name: 'R1 with each round those that were draining are asked too, as nobody else may ask them',
    given: given({
      peers: {
        [A]: ready,
        [B]: { ...ready, draining: true },
        [C]: { ...newSeed, draining: true },
        [D]: { ...removed, draining: true },
      },
      current: A,
      discovery: known,
    }),
    phases: [
      [10, refreshRequested(), [heartbeat(100, A), heartbeat(101, B), heartbeat(102, C)]],
      [11, answered(B, 101, { body: listOf([A, B]) }), [], { peers: { [B]: { draining: false } } }],
    ],
  },
  {
    name: 'refresh() asks at once, and a second one joins the round that is under way',
    given: given({ peers: { [A]: ready }, discovery: known }),
    phases: [
      [10, refreshRequested(1), [heartbeat(100, A)], { deadline: { at: 2_010, why: 'heartbeat' } }],
      [
        11,
        refreshRequested(2),
        [],
        { deadline: { at: 2_010, why: 'heartbeat' }, discovery: { waiting: [1, 2], nextAt: Infinity } },
      ],
      [12, refreshRequested(2), [], { same: true }],
      [13, refreshRequested(), [], { discovery: { waiting: [1, 2], nextAt: Infinity } }],
      [14, answered(A, 100, { body: listOf([A]) }), [refreshed(1, A), refreshed(2, A)], { counters: { refreshes: 1 } }],
    ],
  },
  {
    name: 'refresh() works before the first dial, and asks the seeds first',
    given: given({ peers: { [A]: { ...unlisted, origin: 'stored' }, [B]: newSeed }, discovery: pending }),
    phases: [[10, refreshRequested(1), [heartbeat(100, B)]]],
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
      peers: { [A]: newSeed },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [heartbeat(100, A)]],
      [
        11,
        answered(A, 100, { fresh: true, body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B), refreshed(1, A, B)],
        { discovery: { status: 'off', nextAt: Infinity, listedAt: 11 }, deadline: { at: 75_011, why: 'monitor' } },
      ],
    ],
  },
  {
    name: 'refreshInterval 0: a refresh() that fails is not asked again',
    given: given({
      peers: { [A]: newSeed },
      settings: { refreshInterval: 0 },
      discovery: { ...pending, status: 'off' },
    }),
    phases: [
      [10, refreshRequested(1), [heartbeat(100, A)]],
      [
        11,
        answered(A, 100, { fresh: true, status: 500 }),
        [settleRefresh(1, { kind: 'failed', causes: [cause(A, { blame: 'none', message: 'it answered 500' })] })],
        { discovery: { status: 'off', nextAt: Infinity, lastError: 'it answered 500' } },
      ],
    ],
  },
  {
    name: 'refreshInterval 0: what a heartbeat lists is not taken, and a 401 not asked again',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: { ...used, heartbeat: asking(8) } },
      sockets: { 1: { address: A }, 2: { address: B } },
    }),
    phases: [
      [10, answered(A, 7, { body: listOf([C]) }), [], { unknown: [C], peers: { [A]: { provenAt: 10 } } }],
      [10, answered(B, 8, { status: 401 }), []],
    ],
  },
]

const resources: readonly Row[] = [
  ...[404, 410].map((status): Row => ({
    name: `R2 on ${status} the EndpointSlices are asked for, and from then on first`,
    given: given({ peers: { [A]: asked }, discovery: { ...inRound, listedAt: undefined, status: 'pending' } }),
    phases: [
      [10, answered(A, 7, { status }), [heartbeat(100, A, slices)]],
      [
        11,
        answered(A, 100, { body: listOf([A]) }),
        [refreshed(1, A)],
        { discovery: { via: 'endpointslices', status: 'ok' } },
      ],
      [20, refreshRequested(2), [heartbeat(101, A, slices)]],
      [21, answered(A, 101, { status: 404 }), [heartbeat(102, A)]],
      [22, answered(A, 102, { body: listOf([A]) }), [refreshed(2, A)], { discovery: { via: 'endpoints' } }],
    ],
  })),
  {
    name: 'R2 where both are gone another endpoint is asked',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 404 }), [heartbeat(100, A, slices)]],
      [
        11,
        answered(A, 100, { status: 410 }),
        [heartbeat(101, B)],
        { discovery: { round: { ...round(A, B), causes: [cause(A, { blame: 'none', message: 'it answered 410' })] } } },
      ],
    ],
  },
  {
    name: 'R2 on 403 the EndpointSlices are asked for, too, and may be allowed',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [heartbeat(100, A, slices)]],
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
      [10, answered(A, 7, { status: first }), [heartbeat(100, A, slices)]],
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
      [10, answered(A, 7, { status: 403 }), [heartbeat(100, A, slices)]],
      [11, answered(A, 100, { status: 403 }), []],
      [400_000, tick, [closeMonitor(A), heartbeat(101, A)]],
      [400_001, answered(A, 101, { body: listOf([A]) }), [], { discovery: { status: 'ok' } }],
      [500_000, tick, [closeMonitor(A), heartbeat(102, A)]],
      [500_001, answered(A, 102, { status: 403 }), [heartbeat(103, A, slices)]],
      [500_002, answered(A, 103, { status: 403 }), [reportWarning('discovery', forbiddenMessage)]],
    ],
  },
  {
    name: 'R2 where it is forbidden a failure asks for nothing before the 5 minutes are over, nor does a connection',
    given: given({
      peers: { [A]: newSeed, [B]: newSeed },
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
      [10, answered(A, 7, { status: 401 }), [heartbeat(100, A, { reauthorize: true })]],
      [
        11,
        answered(A, 100, { status: 401 }),
        [heartbeat(101, B)],
        { peers: { [A]: { failures: 0, draining: false } } },
      ],
    ],
  },
  {
    name: 'R2 with the token read again the list may be given, also to a heartbeat outside of a round',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [10, answered(A, 7, { status: 401 }), [heartbeat(100, A, { reauthorize: true })]],
      [11, answered(A, 100, { body: listOf([A]) }), [], { discovery: { listedAt: 11 } }],
    ],
  },
  {
    name: 'R2 a 401 on the EndpointSlices reads the token again and goes on there',
    given: given({ peers: { [A]: asked }, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 404 }), [heartbeat(100, A, slices)]],
      [11, answered(A, 100, { status: 401 }), [heartbeat(101, A, { ...slices, reauthorize: true })]],
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
      peers: { [A]: { ...used, heartbeat: asking(7, 0, { misses: 1 }), suspectSince: 0 } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [[10, answered(A, 7, { status: 401, fresh: true }), [heartbeat(100, A, { reauthorize: true })]]],
  },
  ...[301, 429, 500, 503].map((status): Row => ({
    name: `R2 ${status} is asked of another endpoint`,
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [[10, answered(A, 7, { status }), [heartbeat(100, B)]]],
  })),
  {
    name: 'R2 a heartbeat outside of a round that is answered 403 or 404 asks nothing more',
    given: given({ peers: { [A]: asked, [B]: { heartbeat: asking(8) } }, discovery: known }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [], { discovery: { status: 'ok' } }],
      [10, answered(B, 8, { status: 404 }), []],
    ],
  },
]

const lists: readonly Row[] = [
  {
    name: 'R3 a list that was rejected changes nothing, is warned of, and another endpoint is asked',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [
        10,
        answered(A, 7, { body: rejectedList('no endpoint left') }),
        [reportWarning('list', 'list rejected: no endpoint left'), heartbeat(100, B)],
        { peers: { [A]: { listed: true, failures: 0 }, [B]: { listed: true } } },
      ],
    ],
  },
  {
    name: 'R3 a list rejected for the same reason is warned of once, until a good one came',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [10, answered(A, 7, { body: rejectedList('not JSON') }), [reportWarning('list', 'list rejected: not JSON')]],
      [11, refreshRequested(), [heartbeat(100, A)]],
      [12, answered(A, 100, { body: rejectedList('not JSON') }), []],
      [13, refreshRequested(), [heartbeat(101, A)]],
      [14, answered(A, 101, { body: listOf([A]) }), []],
      [15, refreshRequested(), [heartbeat(102, A)]],
      [16, answered(A, 102, { body: rejectedList('not JSON') }), [reportWarning('list', 'list rejected: not JSON')]],
    ],
  },
  {
    name: 'R4 a list refused in part is used, and warned of once',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A, B], [], ['loopback', 'port 0']) }),
        [reportEndpoints(A, B), save(A, B), reportWarning('list', 'list refused in part: loopback; port 0')],
        { peers: { [B]: { listed: true, origin: 'learned' } } },
      ],
      [11, refreshRequested(), [heartbeat(100, A)]],
      [12, answered(A, 100, { body: listOf([A, B], [], ['loopback', 'port 0']) }), []],
    ],
  },
  {
    name: 'R3 the same list again is no news',
    given: given({ peers: { [A]: asked, [B]: { unready: true } }, discovery: known }),
    phases: [[10, answered(A, 7, { body: listOf([A], [B]) }), [], { discovery: { listedAt: 10 } }]],
  },
  {
    name: "R3 any heartbeat's list is taken, and puts off the next round",
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: { ...known, nextAt: 1_000 },
    }),
    phases: [
      [
        999,
        answered(A, 7, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { counters: { refreshes: 0 } },
      ],
      [1_000, tick, []],
    ],
  },
  {
    name: 'R3 an endpoint that becomes unready, or ready again, is news',
    given: given({ peers: { [A]: asked, [B]: {} }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A], [B]) }),
        [reportEndpoints(A), save(A)],
        { peers: { [B]: { listed: true, unready: true } } },
      ],
      [11, refreshRequested(), [heartbeat(100, A)]],
      [
        12,
        answered(A, 100, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { peers: { [B]: { unready: false } } },
      ],
    ],
  },
  {
    name: 'R1 spread: a socket made before the first list is retired by it where there is a choice, ' +
      'or a fleet stays on its seed',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: { ...newSeed, ...used, heartbeat: asking(7) } },
      sockets: { 90: { address: A }, 91: { address: A, retired: true } },
      discovery: { ...pending, round: round(A) },
    }),
    phases: [
      [10, answered(A, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), retire(90)]],
      [11, refreshRequested(), [heartbeat(100, A)]],
      [12, answered(A, 100, { body: listOf([A, B]) }), []],
    ],
  },
  {
    name: 'R1 spread: a socket made before the first list stays in use where its endpoint is the only one',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: { ...newSeed, ...used, heartbeat: asking(7) } },
      sockets: { 90: { address: A } },
      discovery: { ...pending, round: round(A) },
    }),
    phases: [[10, answered(A, 7, { body: listOf([A]) }), [reportEndpoints(A), save(A)]]],
  },
  {
    name: 'maxConnectionAge, spread: a list with nobody new in it, or one that is unready, leaves each socket its age',
    given: given({
      settings: { balance: 'spread' },
      peers: { [A]: asked, [B]: ready },
      sockets: { 90: { address: A, wakeAt: 5_000 } },
      discovery: { ...inRound, waiting: [] },
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
    name: 'maxConnectionAge, sticky: an endpoint that joins leaves each socket its age, as none would go there',
    given: given({
      peers: { [A]: asked },
      sockets: { 90: { address: A, wakeAt: 5_000 } },
      discovery: { ...inRound, waiting: [] },
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
  {
    name: 'D1 the first list drops alternates and hints that are not in it to the removed, and keeps the seeds',
    given: given({
      peers: {
        [A]: { ...newSeed, heartbeat: asking(7) },
        [B]: { ...unlisted, origin: 'alternate' },
        [C]: { ...unlisted, origin: 'stored' },
        [D]: { ...unlisted, origin: 'stored' },
      },
      discovery: { ...pending, round: round(A) },
    }),
    phases: [
      [
        10,
        answered(A, 7, { fresh: true, body: listOf([D]) }),
        [reportEndpoints(D), save(D)],
        {
          peers: {
            [A]: { removedAt: undefined },
            [B]: { removedAt: 10 },
            [C]: { removedAt: 10 },
            [D]: { removedAt: undefined, origin: 'stored' },
          },
        },
      ],
    ],
  },
  {
    name: 'D1 hints that come after a list, and hints of what is known, change nothing',
    given: given({ peers: { [A]: {} }, discovery: known }),
    phases: [[10, { type: 'hintsLoaded', endpoints: [at(A), at(B)] }, [], { same: true }]],
  },
  {
    name: 'D1 hints are stored endpoints, and leave a seed what it is',
    given: given({ peers: { [A]: newSeed }, discovery: pending }),
    phases: [
      [
        10,
        { type: 'hintsLoaded', endpoints: [at(A), at(B), at(B)] },
        [],
        { peers: { [A]: { origin: 'seed' }, [B]: { origin: 'stored' } } },
      ],
    ],
  },
  {
    name: 'D2 a removed endpoint is remembered for 5 minutes and then forgotten, with its monitor and its warning',
    given: given({
      peers: { [A]: ready, [B]: { ...removed, monitoredAt: 299_000 } },
      current: B,
      discovery: known,
      warned: new Map([[`identity ${B}`, 'wrong name']]),
    }),
    phases: [
      [299_999, tick, [], { deadline: { at: 300_000, why: 'forget' } }],
      [
        300_000,
        tick,
        [closeMonitor(B)],
        { unknown: [B], current: undefined, deadline: { at: 600_000, why: 'refresh' } },
      ],
    ],
  },
  {
    name: 'D2 what is forgotten leaves the last working one alone',
    given: given({ peers: { [A]: ready, [B]: removed }, current: A, discovery: known }),
    phases: [[300_000, tick, [], { unknown: [B], current: A }]],
  },
  {
    name: 'D2 a removed seed is never forgotten',
    given: given({ peers: { [A]: ready, [B]: { ...seed, ...removed } }, discovery: { ...known, nextAt: 1e9 } }),
    phases: [[1e8, tick, [], { peers: { [B]: { removedAt: 0 } }, deadline: { at: 1e9, why: 'refresh' } }]],
  },
  {
    name: 'D2 a removed endpoint that serves a socket, or is being asked, is not forgotten',
    given: given({
      peers: { [A]: { ...removed, heardAt: 299_000 }, [B]: { ...removed, heartbeat: asking(7, 299_000) } },
      sockets: { 1: { address: A } },
    }),
    phases: [[300_000, tick, [], { peers: { [A]: {}, [B]: {} } }]],
  },
  {
    name: 'D2 a removed endpoint that is being dialled is not forgotten, and any other is',
    given: given({
      peers: { [A]: ready, [B]: removed, [C]: removed },
      dials: [
        { id: 1, tried: [B], attempts: [attempt(10, B, 299_999)], nextAt: 300_200, deadline: 310_000 },
        { id: 2, tried: [A], attempts: [attempt(11, A, 299_999)], nextAt: 300_200, deadline: 310_000 },
      ],
    }),
    phases: [
      [300_000, tick, [], { unknown: [C], peers: { [B]: {} }, deadline: { at: 300_200, why: 'dial' } }],
      [300_100, connected(1, 10), [deliver(1, 10, B), retire(10)], { peers: { [B]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'D2 of removed endpoints no more than 64 are remembered, the last ones and those being dialled',
    given: given({
      peers: {
        [A]: asked,
        [B]: { ...removed, removedAt: -9 },
        [C]: { ...removed, removedAt: -8, monitoredAt: 1 },
        ...Object.fromEntries(Array.from({ length: 63 }, (_, index) => [`10.1.0.${index}:6443`, removed])),
        [D]: {},
      },
      dials: [{ id: 1, tried: [B], attempts: [attempt(10, B)], nextAt: 250 }],
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A]) }),
        [closeMonitor(C), reportEndpoints(A), save(A)],
        { unknown: [C], peers: { [B]: {}, [D]: { removedAt: 10 }, '10.1.0.0:6443': {} } },
      ],
    ],
  },
  {
    name: 'D2 a removed endpoint that is listed again is as any other',
    given: given({ peers: { [A]: asked, [B]: removed }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { peers: { [B]: { removedAt: undefined, listed: true } } },
      ],
    ],
  },
  {
    name: 'D2 what was removed stays removed since then, however many lists follow',
    given: given({ peers: { [A]: asked, [B]: removed }, discovery: known }),
    phases: [[10, answered(A, 7, { body: listOf([A]) }), [], { peers: { [B]: { removedAt: 0 } } }]],
  },
  {
    name: 'D2 a seed that drops out of the list is leaving since then',
    given: given({ peers: { [A]: asked, [B]: seed }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A]) }),
        [reportEndpoints(A), save(A)],
        { peers: { [B]: { removedAt: 10, listed: false } } },
      ],
    ],
  },
  {
    name: 'D3 a dial with nothing else to try goes on with an endpoint that a list names meanwhile',
    given: given({
      peers: { [A]: { ...newSeed, ...ready, heartbeat: asking(7) } },
      discovery: { ...pending, round: round(A) },
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, []],
      [300, answered(A, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), connect(1, 101, B)]],
    ],
  },
]

const warnings: readonly Row[] = [
  {
    name: 'a wrong identity is warned of once, and again after the endpoint was verified in between',
    given: given({ peers: { [A]: {} } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        1,
        attemptFailed(1, 100, untrusted),
        [
          reportFailed(A, untrusted),
          reportWarning(`identity ${A}`, 'wrong name'),
          reject(1, { kind: 'failed', causes: [cause(A, untrusted)] }),
        ],
      ],
      [2, dialled(2), [connect(2, 101, A)]],
      [3, attemptFailed(2, 101, untrusted), [reject(2, { kind: 'failed', causes: [cause(A, untrusted)] })]],
      [4, dialled(3), [connect(3, 102, A)]],
      [5, connected(3, 102), [deliver(3, 102, A)]],
      [6, dialled(4), [connect(4, 103, A)]],
      [
        7,
        attemptFailed(4, 103, untrusted),
        [
          reportFailed(A, untrusted),
          reportWarning(`identity ${A}`, 'wrong name'),
          heartbeat(104, A),
          reject(4, { kind: 'failed', causes: [cause(A, untrusted)] }),
        ],
      ],
    ],
  },
  {
    name: "a connection with TLS options of its caller's own proves nothing of the endpoint but that it lives",
    given: given({
      peers: { [A]: { ...failing(0), suspectSince: 5, silent: true } },
      warned: new Map([[`identity ${A}`, 'wrong name']]),
    }),
    phases: [
      [10, dialled(1, true), [connect(1, 100, A)]],
      [
        11,
        connected(1, 100),
        [deliver(1, 100, A)],
        { peers: { [A]: { failures: 1, verified: false, silent: false, heardAt: 11, sockets: 1 } } },
      ],
      [12, dialled(2), [connect(2, 101, A)]],
      [
        13,
        attemptFailed(2, 101, untrusted),
        [
          { type: 'report', report: { event: 'failed', address: A, failure: untrusted } },
          heartbeat(102, A),
          reject(2, { kind: 'failed', causes: [cause(A, untrusted)] }),
        ],
      ],
    ],
  },
  {
    name: 'what another part warns of is told once for each kind, until its message changes, with its error',
    given: given({ peers: { [A]: {} } }),
    phases: [
      [
        0,
        { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' },
        [{ type: 'report', report: { event: 'warning', kind: 'token', message: 'no file', error: 'E' } }],
      ],
      [1, { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' }, [], { same: true }],
      [2, { type: 'warningRaised', kind: 'store', message: 'no file' }, [reportWarning('store', 'no file')]],
      [3, { type: 'warningRaised', kind: 'token', message: 'empty' }, [reportWarning('token', 'empty')]],
    ],
  },
]

runRows('discovery: when', when)
runRows('discovery: which resource', resources)
runRows('discovery: lists', lists)
runRows('warnings', warnings)

describe('maxConnectionAge, spread', () => {
  for (const [what, newcomer] of [['joins', {}], ['is ready again', { [B]: { ...ready, unready: true } }]] as const) {
    it(`each socket is left a part of half its time when an endpoint ${what}`, () => {
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
})

describe('jitter of discovery', () => {
  function spreadOf(event: Event): readonly [least: number, most: number] {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = {
        ...given({
          peers: { [A]: { ...ready, heartbeat: asking(7, 0, { via: 'endpointslices', otherStatus: 403 }) } },
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
