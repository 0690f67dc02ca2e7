// The heartbeat (H2), as rows: what an answer means, what a miss, and what is never held against an endpoint (H4).

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { nextDeadline, step } from '../../lib/core/step.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attempt, B, broken, C, closeMonitor, D, failing, given, keptSince,
  local, missed, mistake, noAnswer, noConnectionIn, questionConnected, reaching, ready, refused, refusing,
  reportFailed, reportWarning, suspectSince, tick, untrusted, used,
} from '../support/core-given.ts'

const fresh = { on: 'fresh' } as const
const kept = { ...used, ...keptSince(0) }
const inUse = given({ peers: { [A]: kept, [B]: ready }, sockets: { 1: { address: A } } })
const alone = given({ peers: { [A]: kept }, sockets: { 1: { address: A } } })
/** Missed one question, and is asked a second time since 5 ms. */
const suspect = { ...used, ...suspectSince(5), question: asking(7, 5, { misses: 1, on: 'fresh' }) }

function answer(status: number, isRefusal: boolean): Row {
  return {
    name: `H2 ${status} proves it alive${isRefusal ? ', and makes it refusing (H7)' : ''}`,
    given: given({
      peers: { [A]: { ...used, ...suspectSince(3), question: asking(7) } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        50,
        answered(A, 7, { status }),
        [],
        {
          peers: {
            [A]: {
              standing: { is: 'ready' },
              voice: isRefusal ? { is: 'refusing', status } : { is: 'well' },
              answer: status,
              answeredAt: 50,
              heardAt: 50,
              kept: { since: 0, usedAt: 50 },
            },
          },
        },
      ],
    ],
  }
}

const answers: readonly Row[] = [
  ...[200, 301, 400, 401, 403, 404, 410].map((status) => answer(status, false)),
  ...[429, 500, 503, 599].map((status) => answer(status, true)),
  {
    name: 'H2 an answered heartbeat begins the silence anew, with a patience drawn anew',
    given: inUse,
    phases: [
      [5_000, tick, [ask(100, A)], { deadline: { at: 7_000, why: 'question' } }],
      [5_010, answered(A, 100), [], { peers: { [A]: { heardAt: 5_010, answeredAt: 5_010, question: undefined } } }],
      [9_009, tick, []],
      [10_010, tick, [ask(101, A)]],
    ],
  },
  {
    name: 'H7 a leaving one that answers below 500 again is ready again',
    given: given({ peers: { [A]: { ...used, ...refusing(), question: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'well' } } } }]],
  },
  {
    name: 'H1 an answer on a connection made for it clears the failures, as a verified attempt does',
    given: given({
      peers: { [A]: { ...failing(9_000), question: asking(7, 0, fresh) } },
      warned: new Map([[`identity ${A}`, 'wrong name']]),
    }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { standing: { is: 'ready' } } }, state: { warned: new Map() } }]],
  },
  {
    name: 'H1 an answer on a kept connection leaves a failed one failed: dials of it failed since',
    given: given({ peers: { [A]: { ...failing(9_000), ...keptSince(-5), question: asking(7) } } }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { standing: { is: 'failed', failures: 1 }, heardAt: 50 } } }]],
  },
  {
    name: 'H1 an answer on a connection that was kept since the failure proves it good',
    given: given({ peers: { [A]: { ...failing(9_000), ...keptSince(5), question: asking(7, 10) } } }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { standing: { is: 'ready' } } } }]],
  },
  {
    name: 'H2 a miss is asked again at once on a fresh connection, and nobody is blamed yet',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [
        5_100,
        missed(A, 100, refused),
        [ask(101, A, fresh)],
        { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'suspect', since: 5_100 }, askedAt: 5_100 } } },
      ],
    ],
  },
  {
    name: 'H3 no connection after a miss: silent and failed, though nothing is severed as nobody else answers',
    given: given({ peers: { [A]: { ...kept, connectMs: 9 } }, sockets: { 1: { address: A } } }),
    phases: [
      [5_000, tick, [ask(100, A)], { deadline: { at: 7_000, why: 'question' } }],
      [
        7_000,
        tick,
        [ask(101, A, fresh)],
        { deadline: { at: 9_000, why: 'question' }, peers: { [A]: { deaf: { question: 100 } } } },
      ],
      [
        9_000,
        tick,
        [abandon(A, 101), abandon(A, 100), reportFailed(A, noConnectionIn(2_000))],
        {
          peers: {
            [A]: {
              standing: { is: 'failed', failures: 1, reached: true, silent: true },
              voice: { is: 'silent', since: 7_000 },
              sockets: 1,
              kept: undefined,
              question: undefined,
              deaf: undefined,
            },
          },
        },
      ],
    ],
  },
  {
    name: 'H2 the second try has twice as long as a connection took before, and heartbeatTimeout at least',
    given: given({
      peers: { [A]: { ...kept, connectMs: 1_300 }, [B]: { ...kept, connectMs: 9 } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [5_000, tick, [ask(100, A)]],
      [
        5_001,
        missed(A, 100, broken),
        [ask(101, A, fresh), ask(102, B)],
        { peers: { [A]: { question: { deadline: 7_601 } } } },
      ],
      [5_002, missed(B, 102, broken), [ask(103, B, fresh)], { peers: { [B]: { question: { deadline: 7_002 } } } }],
      [6_000, questionConnected(B, 103), [], { peers: { [B]: { question: { deadline: 8_000 }, connectMs: 998 } } }],
      [6_001, questionConnected(B, 103), [], { same: true }],
    ],
  },
  {
    name: 'H12 a question beside the kept connection leaves that as it is; 5xx is followed by a shallow one on that',
    given: given({
      peers: { [A]: { ...kept, question: reaching(7, 5, { depth: 'deep', on: 'full' }) } }, sockets: {
        1: { address: A },
      },
    }),
    phases: [
      [
        10,
        questionConnected(A, 7),
        [],
        { peers: { [A]: { kept: { since: 0, usedAt: 0 }, question: { deadline: 2_010 } } } },
      ],
      [20, answered(A, 7, { status: 500 }), [ask(100, A)], { peers: { [A]: { question: { after: 'full' } } } }],
    ],
  },
  {
    name: 'H12 an answer from the cache whose connection was not told of is timed from the question on',
    given: given({
      peers: {
        [A]: { ...used, ...suspectSince(0), question: reaching(7, 5, { misses: 2, on: 'fresh', after: 'silence' }) },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        1_006,
        answered(A, 7),
        [reportFailed(A, { kind: 'late', message: 'it took 1001 ms to answer from its cache' })],
        { peers: { [A]: { voice: { is: 'slow' } } } },
      ],
    ],
  },
  {
    name: 'H9 its handshake was done and its answer is late: slow, and nothing is severed',
    given: given({ peers: { [A]: suspect, [B]: { ...ready, answeredAt: 1_000 } }, sockets: { 1: { address: A } } }),
    phases: [
      [
        2_005,
        tick,
        [abandon(A, 7), reportFailed(A, noAnswer)],
        {
          peers: {
            [A]: { standing: { is: 'ready' }, voice: { is: 'slow', since: 5, error: noAnswer.message }, sockets: 1 },
          },
          deadline: { at: 5_000, why: 'silence' },
        },
      ],
    ],
  },
  {
    name: 'H2 a miss and an answer on the fresh connection: alive, and the next miss is a first one again',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [5_100, missed(A, 100, refused), [ask(101, A, fresh)]],
      [5_150, questionConnected(A, 101), []],
      [5_200, answered(A, 101), [], { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'well' } } } }],
      [10_200, tick, [ask(102, A)]],
      [10_300, missed(A, 102, refused), [ask(103, A, fresh)]],
    ],
  },
  {
    name: 'F4 a late answer to the missed question ends the suspicion, and the second try goes on',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [7_000, tick, [ask(101, A, fresh)]],
      [
        7_100,
        answered(A, 100),
        [],
        {
          peers: {
            [A]: { voice: { is: 'well' }, heardAt: 7_100, deaf: undefined, kept: { since: 5_000, usedAt: 7_100 } },
          },
        },
      ],
      [7_101, answered(A, 100), [], { same: true }],
      [7_101, missed(A, 100), [], { same: true }],
      [
        7_102,
        missed(A, 101, refused),
        [reportFailed(A)],
        { peers: { [A]: { kept: { since: 5_000, usedAt: 7_100 }, question: undefined } } },
      ],
    ],
  },
  {
    name: 'F4 a late answer to the missed question leaves the fresh connection the one that is kept',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [7_000, tick, [ask(101, A, fresh)]],
      [7_005, questionConnected(A, 101), []],
      [7_100, answered(A, 100), [], { peers: { [A]: { deaf: undefined, kept: { since: 7_005, usedAt: 7_005 } } } }],
    ],
  },
  {
    name: 'F4 the missed question is listened to until its connection breaks',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [7_000, tick, [ask(101, A, fresh)]],
      [7_100, missed(A, 100, broken), [], { peers: { [A]: { deaf: undefined, question: { id: 101 } } } }],
    ],
  },
  {
    name: 'F4 the missed question is given up with the second try, where that gives a verdict',
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [7_000, tick, [ask(101, A, fresh)]],
      [
        7_005, missed(A, 101, refused), [abandon(A, 100), reportFailed(A)],
        { peers: { [A]: { deaf: undefined, question: undefined } } },
      ],
    ],
  },
  {
    name: 'F4 of two missed questions only the last is listened to',
    given: given({
      peers: { [A]: { ...kept, question: asking(7), deaf: { question: 6, since: -500, until: 2_400 } } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        2_000,
        tick,
        [abandon(A, 6), ask(100, A, fresh)],
        { peers: { [A]: { deaf: { question: 7, since: 0, until: Infinity } } } },
      ],
    ],
  },
  {
    name: 'H2 a connection that could not be made leaves the one that is kept',
    given: given({ peers: { [A]: { ...kept, question: reaching(7, 0, fresh) } }, sockets: { 1: { address: A } } }),
    phases: [[5, missed(A, 7, refused), [ask(100, A, fresh)], { peers: { [A]: { kept: { since: 0, usedAt: 0 } } } }]],
  },
  {
    name: 'H2 an answer that comes after its heartbeat was given up changes nothing',
    given: given({ peers: { [A]: suspect }, sockets: { 1: { address: A } } }),
    phases: [
      [2_005, tick, [abandon(A, 7), reportFailed(A, noAnswer)]],
      [2_100, answered(A, 7), [], { same: true }],
      [2_100, missed(A, 7), [], { same: true }],
      [2_100, questionConnected(A, 7), [], { same: true }],
    ],
  },
  ...([
    ['an error of this machine', local], ['an option of the caller', mistake],
  ] as const).map(([what, failure]): Row => ({
    name: `H1 a heartbeat that fails for ${what} blames nobody, and is asked again after a silence`,
    given: alone,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [
        5_001,
        missed(A, 100, failure),
        [],
        { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'well' }, question: undefined } } },
      ],
      [9_999, tick, []],
      [10_000, tick, [ask(101, A)]],
    ],
  })),
  {
    name: 'H1 an error of this machine in the second try blames nobody either',
    given: given({ peers: { [A]: suspect }, sockets: { 1: { address: A } } }),
    phases: [
      [
        50,
        missed(A, 7, local),
        [],
        { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'suspect' }, question: undefined } } },
      ],
    ],
  },
  {
    name: 'H3 an endpoint that answers with a wrong certificate failed and is warned of; its sockets are not severed',
    given: given({ peers: { [A]: suspect, [B]: { ...ready, answeredAt: 40 } }, sockets: { 1: { address: A } } }),
    phases: [
      [
        50,
        missed(A, 7, untrusted),
        [reportFailed(A, untrusted), reportWarning(`identity ${A}`, 'wrong name')],
        {
          peers: {
            [A]: { standing: { is: 'failed', failures: 1, untrusted: true }, voice: { is: 'well' }, sockets: 1 },
          },
          counters: { severed: 0 },
        },
      ],
    ],
  },
]

const late: readonly Row[] = [
  {
    name: 'H4 a heartbeat whose deadline is handled more than 1 s late is waited for again',
    given: given({ peers: { [A]: { ...used, question: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [
      [3_001, tick, [], { peers: { [A]: { voice: { is: 'well' } } }, deadline: { at: 5_001, why: 'question' } }],
      [3_010, answered(A, 7), [], { peers: { [A]: { standing: { is: 'ready' }, answeredAt: 3_010 } } }],
    ],
  },
  {
    name: 'H4 a heartbeat whose deadline is handled 1 s late is missed',
    given: given({ peers: { [A]: { ...used, question: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [
      [3_000, tick, [ask(100, A, fresh)], { peers: { [A]: { deaf: { question: 7, since: 0, until: Infinity } } } }],
    ],
  },
  {
    name: 'H4 after a long suspension everything is asked again and nothing is failed or severed',
    given: given({
      peers: {
        [A]: suspect,
        [B]: { ...used, answeredAt: 6 },
        [C]: { ...used, ...keptSince(0) },
        [D]: { ...ready, ...keptSince(0) },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C, owedSince: 10 } },
      dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }],
    }),
    phases: [
      [
        3_600_000,
        tick,
        [ask(100, B), askDeep(101, C), closeMonitor(D)],
        { counters: { severed: 0 }, peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'suspect' } } } },
      ],
    ],
  },
]

runRows('heartbeat: answers and misses', answers)
runRows('heartbeat: late deadlines', late)

describe('jitter of heartbeats', () => {
  it('H2 the silence after an answer is from 20 % less than heartbeatInterval to heartbeatInterval', () => {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = {
        ...given({ peers: { [A]: { ...used, question: asking(7) } }, sockets: { 1: { address: A } } }),
        seed: randomSeed,
      }
      const [state] = step(from, answered(A, 7), 0)
      const deadline = nextDeadline(state)
      assert.ok(deadline?.why === 'silence')
      least = Math.min(least, deadline.at)
      most = Math.max(most, deadline.at)
    }
    assert.ok(least >= 4_000 && least < 4_050 && most <= 5_000 && most > 4_950, `from ${least} to ${most} ms`)
  })
})
