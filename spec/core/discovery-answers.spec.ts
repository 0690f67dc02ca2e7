// What the answers of a round mean (R2, R5, R6), as rows: which resource is asked for, and what is warned of.

import type { Address } from '../../lib/core/endpoint.ts'
import type { Failure } from '../../lib/core/state.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, attemptFailed, B, C, cause, closeMonitor, connect, connected, deliver, dialled,
  front, given, known, listOf, missed, noAnswer, pending, ready, refreshed, refreshRequested, refused, reportFailed,
  reportWarning, roundOf, settleRefresh, suspectSince, tick, used,
} from '../support/core-given.ts'

const fresh = { on: 'fresh' } as const
const grant = 'grant get on endpoints "kubernetes" in namespace "default"'
const forbiddenMessage = `discovery is forbidden: ${grant}; only the configured servers are used`
const forbidden: Failure = { kind: 'answer', message: `it answered 403: ${grant}` }

const redirect: Failure = {
  kind: 'answer', message: 'it answered 302, a redirect: it may be a login page or a proxy, and no apiserver',
}

function tokenless(status: number): Failure {
  const message = `it answered ${status} to a question without the token, which could not be had in time`
  return { kind: 'answer', message }
}

/** Neither resource is there. */
function gone(status: number): Failure {
  const advice = 'it serves neither endpoints nor endpointslices, and may be no apiserver'
  return { kind: 'answer', message: `it answered ${status}: ${advice}` }
}

/** R5: What is warned of where no endpoint has given a list, and one said why. */
function complaintOf(address: Address, { message }: Failure): string {
  return `the list of apiservers cannot be had, so that there is no failover: ${address}${message.slice('it'.length)}`
}

const slices = { via: 'endpointslices' } as const
/** A round is asking A for the list, with a caller of refresh() who waits. */
const inRound = {
  status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: roundOf([A]), waiting: [1],
} as const
const asked = { ...ready, question: asking(7) }

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
      [20, refreshRequested(2), [askDeep(101, A, slices)]],
      [21, answered(A, 101, { status: 404 }), [askDeep(102, A)]],
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
        [askDeep(101, B)],
        {
          discovery: { round: roundOf([A, B], { causes: [cause(A, gone(410))], answer: { address: A, status: 410 } }) },
        },
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
          settleRefresh(1, { kind: 'failed', causes: [cause(A, forbidden)] }),
        ],
        {
          discovery: { status: 'forbidden', lastError: forbidden.message, listedAt: 0 },
          peers: { [A]: { standing: { is: 'ready' } }, [B]: { listing: { is: 'listed' } } },
        },
      ],
    ],
  })),
  {
    name: 'R2 forbidden again is not warned of again; allowed and forbidden again is',
    given: given({
      peers: { [A]: asked },
      usedAt: 399_000,
      discovery: { ...inRound, status: 'forbidden', waiting: [] },
      warned: new Map([['discovery', forbiddenMessage]]),
    }),
    phases: [
      [10, answered(A, 7, { status: 403 }), [ask(100, A, slices)]],
      [11, answered(A, 100, { status: 403 }), []],
      [400_000, tick, [closeMonitor(A), askDeep(101, A)]],
      [400_001, answered(A, 101, { body: listOf([A]) }), [], { discovery: { status: 'ok' } }],
      [500_000, tick, [closeMonitor(A), askDeep(102, A)]],
      [500_001, answered(A, 102, { status: 403 }), [askDeep(103, A, slices)]],
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
        [askDeep(101, B)],
        { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'well' } } } },
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
          settleRefresh(1, { kind: 'failed', causes: [cause(A, forbidden)] }),
        ],
      ],
    ],
  },
  {
    name: 'R2 a second try that is answered 401 is asked again on the connection that it made',
    given: given({
      peers: { [A]: { ...used, question: asking(7, 0, { misses: 1, on: 'fresh' }), ...suspectSince(0) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [[10, answered(A, 7, { status: 401}), [ask(100, A, { reauthorize: true })]]],
  },
  ...[301, 429, 500, 503].map((status): Row => ({
    name: `R2 ${status} is asked of another endpoint`,
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [[10, answered(A, 7, { status }), [askDeep(100, B)]]],
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

const complaints: readonly Row[] = [
  ...([
    [401, ': look at the token, its expiry and its audience'],
    [302, ', a redirect: it may be a login page or a proxy, and no apiserver'],
    [400, ''],
  ] as const).map(([status, advice]): Row => ({
    name: `R5 a round without a list for a ${status} is warned of with what to do, once, when nobody else has a list`,
    given: given({
      peers: { [A]: { ...ready, question: asking(7, 0, { reauthorized: true }) }, [B]: { askedAt: 0 } },
      current: A,
      discovery: inRound,
    }),
    phases: [
      [10, answered(A, 7, { status }), [askDeep(100, B)]],
      [11, missed(B, 100, refused), [askDeep(101, B, fresh)]],
      [
        12,
        missed(B, 101, refused),
        [
          reportFailed(B),
          reportWarning('discovery', complaintOf(A, { kind: 'answer', message: `it answered ${status}${advice}` })),
          settleRefresh(1, {
            kind: 'failed',
            causes: [cause(A, { kind: 'answer', message: `it answered ${status}${advice}` }), cause(B, refused)],
          }),
        ],
        { discovery: { status: 'failing', failedBy: 'answer' } },
      ],
    ],
  })),
  {
    name: 'R5 an answer that is no list is not warned of where another endpoint gives one',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 302 }), [askDeep(100, B)]],
      [11, answered(B, 100, { body: listOf([A, B]) }), [refreshed(1, A, B)], { state: { warned: new Map() } }],
    ],
  },
  {
    name: 'R5 of several answers that are no list the last is warned of, and each is a cause',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [10, answered(A, 7, { status: 302 }), [askDeep(100, B)]],
      [11, answered(B, 100, { status: 404 }), [askDeep(101, B, slices)]],
      [
        12,
        answered(B, 101, { status: 404 }),
        [
          reportWarning('discovery', complaintOf(B, gone(404))),
          settleRefresh(1, { kind: 'failed', causes: [cause(A, redirect), cause(B, gone(404))] }),
        ],
      ],
    ],
  },
  {
    name: 'R6 an answer to a question that went without its token moves the round on, and grants or refuses nothing',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [
        10,
        answered(A, 7, { status: 403, authorized: false }),
        [askDeep(100, B)],
        { peers: { [A]: { answer: undefined, answeredAt: 10 } } },
      ],
      [11, answered(B, 100, { authorized: false, body: listOf([C]) }), [
        settleRefresh(1, {
          kind: 'failed',
          causes: [cause(A, tokenless(403)), cause(B, tokenless(200))],
        }),
      ], { unknown: [C] }],
    ],
  },
  {
    name: 'R6 the same outside of a round asks nothing more',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [[10, answered(A, 7, { status: 401, authorized: false }), []]],
  },
  ...([[answered(A, 7, { status: 503 }), 'it answered 503'], [missed(A, 7), noAnswer.message]] as const).map(
    ([event, lastError]): Row => ({
      name: `R5 '${lastError}' is warned of when it has lasted for a minute, once`,
      given: given({
        peers: { [A]: { ...ready, askedAt: 0, question: asking(7, 69_999, { misses: 1, on: 'fresh' }) } },
        usedAt: 70_000,
        discovery: { ...inRound, status: 'failing', failures: 2, failingSince: 10_000, startedAt: 70_000, waiting: [] },
      }),
      phases: [
        [
          70_001,
          event,
          [
            ...(event.type === 'questionFailed' ? [reportFailed(A, noAnswer)] : []),
            reportWarning('discovery', 'the list of apiservers cannot be had for a minute and more, ' +
              `so that there is no failover: ${lastError}`),
          ],
          { discovery: { status: 'failing', failures: 3 } },
        ],
        [70_002, tick, []],
      ],
    }),
  ),
  {
    name: 'R5 what has not lasted for a minute is not warned of, nor are connections that fail however long they do',
    given: given({
      peers: { [A]: { ...ready, question: asking(7, 69_999, { misses: 1, on: 'fresh' }) } },
      usedAt: 70_000,
      discovery: { ...inRound, status: 'failing', failures: 9, failingSince: 10_000, startedAt: 69_999, waiting: [] },
    }),
    phases: [
      [70_001, missed(A, 7), [reportFailed(A, noAnswer)]],
      [90_000, refreshRequested(), [askDeep(100, A)]],
      [90_001, missed(A, 100, refused), [askDeep(101, A, fresh)]],
      [90_002, missed(A, 101, refused), [reportFailed(A)], { discovery: { failedBy: 'refused', startedAt: 90_000 } }],
    ],
  },
]

runRows('discovery: which resource', resources)
runRows('discovery: what is warned of', complaints)
