// What is counted (D5, D6, H2, R1), as rows: each failure once, whatever follows from it, and nothing that is none.

import { NOTHING_COUNTED } from '../../lib/core/counting.ts'
import type { FailureKind } from '../../lib/core/state.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attempt, attemptFailed, B, broken, cancelled, cause, closed, connect,
  connected, deliver, destroy, dialled, failing, given, known, local, missed, noConnection, noConnectionIn, noDial,
  otherAnswer, pending, ready, refused, reject, rejectFailed, reportFailed, reportFailover, reportWarning, roundOf,
  seed, settleRefresh, tick, unlisted, unreached, untrusted, used,
} from '../support/core-given.ts'

const two = given({ peers: { [A]: ready, [B]: ready }, current: A })
const one = given({ peers: { [A]: { ...seed, askedAt: 0 } } })
const asked = { ...ready, question: asking(7), kept: { since: 0, usedAt: 0 } }

function failed(counts: Partial<Record<FailureKind, number>>): Readonly<Record<FailureKind, number>> {
  return { ...NOTHING_COUNTED.attemptsFailed, ...counts }
}

const dials: readonly Row[] = [
  {
    name: 'D3 a dial that is served counts the time since it began, whatever failed on the way',
    given: two,
    phases: [
      [10, dialled(1), [connect(1, 100, A)], { counters: { dials: 1, dialTimes: { count: 0, sumMs: 0 } } }],
      [15, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [40.5, connected(1, 101), [deliver(1, 101, B), reportFailover(A, B, 'refused')], {
        counters: { dialsFailed: 0, attemptsFailed: failed({ refused: 1 }), dialTimes: { count: 1, sumMs: 30.5 } },
      }],
      [50, dialled(2), [connect(2, 102, B)]],
      [52, connected(2, 102), [deliver(2, 102, B)], { counters: { dialTimes: { count: 2, sumMs: 32.5 } } }],
    ],
  },
  {
    name: 'D6 a dial whose every attempt failed is one failed dial, and each attempt counts by its kind',
    given: two,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [5, attemptFailed(1, 101, untrusted), [
        reportFailed(B, untrusted), reportWarning(`identity ${B}`, 'wrong name'),
        rejectFailed(1, cause(A, refused), cause(B, untrusted)),
      ], {
        counters: {
          dials: 1, dialsFailed: 1, attempts: 2, attemptsFailed: failed({ refused: 1, identity: 1 }),
          dialTimes: { count: 0, sumMs: 0 },
        },
      }],
    ],
  },
  {
    name: 'H1 an attempt that blames no endpoint counts as well',
    given: one,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100, local), [rejectFailed(1, cause(A, local))],
        { counters: { dialsFailed: 1, attemptsFailed: failed({ local: 1 }) } }],
    ],
  },
  {
    name: 'D5 an attempt that attemptTimeout ends counts once, as silence',
    given: one,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, []],
      [5_000, tick, [destroy(1, 100), reportFailed(A, noConnection), rejectFailed(1, cause(A, noConnection))],
        { counters: { dialsFailed: 1, attemptsFailed: failed({ silence: 1 }) } }],
      [5_001, attemptFailed(1, 100), [], { same: true }],
    ],
  },
  {
    name: 'D5 a dial that dialTimeout ends has failed, and so have those of its attempts that it waited for',
    given: given({
      peers: { [A]: failing(900), [B]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(11, B, 12_000)], causes: [cause(A, refused)] }],
    }),
    phases: [
      [15_000, tick, [destroy(1, 11), reject(1, { kind: 'timedOut', causes: [cause(A, refused), cause(B, noDial)] })],
        { counters: { dialsFailed: 1, attemptsFailed: failed({ silence: 1 }) } }],
    ],
  },
  {
    name: 'D7 what was never reached and is waited for no longer has failed by silence',
    given: given({
      peers: { [A]: { ...ready, ...seed, ...unlisted }, [B]: unreached }, current: A, usedAt: -Infinity,
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [253, tick, [destroy(1, 101), rejectFailed(1, cause(A, refused), cause(B, noConnectionIn(250)))],
        { counters: { dialsFailed: 1, attemptsFailed: failed({ refused: 1, silence: 1 }) } }],
    ],
  },
  {
    name: 'F3 a connection that is lost with the question on it is an attempt that failed',
    given: given({ peers: { [A]: { ...seed, ...unlisted } }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A, { on: 'fresh', attempt: 100 })]],
      [15, missed(A, 101, broken), [destroy(1, 100), connect(1, 102, A), ask(103, A, { on: 'fresh' })],
        { counters: { attemptsFailed: failed({ broken: 1 }), heartbeatsFailed: 1 } }],
      [15, attemptFailed(1, 100, broken), [], { same: true }],
      [25, connected(1, 102), [deliver(1, 102, A)],
        { counters: { dialsFailed: 0, dialTimes: { count: 1, sumMs: 25 } } }],
    ],
  },
  {
    name: 'D5 what its caller gave up has not failed, nor has what close() ended, nor one that lost the race',
    given: two,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, cancelled(1, 'enough'), [destroy(1, 100), reject(1, { kind: 'cancelled', reason: 'enough' })]],
      [20, dialled(2), [connect(2, 101, A)]],
      [270, tick, [connect(2, 102, B)]],
      [280, connected(2, 101), [deliver(2, 101, A), destroy(2, 102)]],
      [290, dialled(3), [connect(3, 103, A)]],
      [300, closed, [destroy(3, 103), reject(3, { kind: 'closed' })], {
        counters: { dials: 3, dialsFailed: 0, attemptsFailed: failed({}), dialTimes: { count: 1, sumMs: 260 } },
      }],
    ],
  },
]

const questions: readonly Row[] = [
  {
    name: 'H2 each try that had no answer in time is one failed heartbeat',
    given: given({ peers: { [A]: { ...used, ...asked } }, discovery: known, usedAt: -Infinity }),
    phases: [
      [2_000, tick, [ask(100, A, { on: 'fresh' })], { counters: { heartbeats: 1, heartbeatsFailed: 1 } }],
      [2_010, missed(A, 100, refused), [abandon(A, 7), reportFailed(A)], { counters: { heartbeats: 1, heartbeatsFailed: 2 } }],
      [2_011, missed(A, 100, refused), [], { same: true }],
    ],
  },
  {
    name: 'H2, H7 an answer is an answer, 503 too: no heartbeat has failed',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [[10, answered(A, 7, { status: 503 }), [], { counters: { heartbeatsFailed: 0 } }]],
  },
  {
    name: 'H2 one that close() ends has not failed',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [[10, closed, [abandon(A, 7), { type: 'closeMonitor', address: A }], { counters: { heartbeatsFailed: 0 } }]],
  },
  {
    name: 'R1 a refresh that came to no list has failed once, however many were asked',
    given: given({
      peers: { [A]: asked, [B]: ready }, current: A, discovery: { ...known, round: roundOf([A]), waiting: [1] },
    }),
    phases: [
      [10, answered(A, 7, { status: 418 }), [askDeep(100, B)], { counters: { refreshesFailed: 0 } }],
      [20, answered(B, 100, { status: 418 }), [
        reportWarning('discovery', 'the list of apiservers cannot be had, so that there is no failover: ' +
          `${B} answered 418`),
        settleRefresh(1, { kind: 'failed', causes: [cause(A, otherAnswer(418)), cause(B, otherAnswer(418))] }),
      ], { counters: { refreshesFailed: 1 } }],
    ],
  },
  {
    name: 'R1 one that close() ends has not failed',
    given: given({ peers: { [A]: { ...ready, question: asking(7) } }, discovery: {
      ...known, round: roundOf([A]), waiting: [1],
    } }),
    phases: [
      [10, closed, [abandon(A, 7), settleRefresh(1, { kind: 'closed' })], { counters: { refreshesFailed: 0 } }],
    ],
  },
]

runRows('counting dials and attempts', dials)
runRows('counting questions', questions)
