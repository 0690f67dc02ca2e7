// Deaf connections (F4), as rows: the endpoint answers on a new connection, and its old ones are dead.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { step } from '../../lib/core/step.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, B, front, given, keptSince, local, missed, noConnectionIn,
  questionConnected, reaching, reading, ready, refreshRequested, refused, reportFailed, retire, sampled, severDeaf,
  sickSince, silentSince, socketClosed, suspectSince, tick, tickFor, used,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0), connectMs: 5 }
/** The question 8 was sent at 5 s on a connection that went deaf; a fresh one was answered at 7.01 s. */
const deaf = { question: 8, since: 5_000, until: 9_010 }
const quiet = { askedAt: 7_000, askedDeepAt: 7_000, heardAt: 7_010 }

const rows: readonly Row[] = [
  {
    name: 'F4 the kept connection misses and a fresh one answers: old sockets are cut in time, idle ones closed',
    given: given({
      peers: { [A]: kept, [B]: ready }, sockets: { 1: { address: A }, 2: { address: A, idle: true } }, current: A,
    }),
    phases: [
      [5_000, tick, [ask(100, A)]],
      [
        7_000, tick, [ask(101, A, { on: 'fresh' }), ask(102, B)],
        { peers: { [A]: { deaf: { question: 100, since: 5_000, until: Infinity } } } },
      ],
      [7_005, questionConnected(A, 101), []],
      [
        7_010, answered(A, 101), [],
        { peers: { [A]: { voice: { is: 'well' }, deaf: { question: 100, since: 7_005, until: 9_010 } } } },
      ],
      [9_009, tick, []],
      [9_010, tick, [abandon(A, 100), retire(2), severDeaf(1, A)], { peers: { [A]: { deaf: undefined, sockets: 1 } } }],
    ],
  },
  {
    name: 'F4 the same for a request that is owed, within 6 s of it',
    given: given({
      peers: { [A]: kept }, sockets: { 1: { address: A, owedSince: 0, surelyOwed: true } }, current: A,
    }),
    phases: [
      [1_000, tick, [askDeep(100, A)]],
      [3_000, tick, [askDeep(101, A, { on: 'fresh' })]],
      [3_005, questionConnected(A, 101), []],
      [3_010, answered(A, 101), []],
      [5_010, tick, [abandon(A, 100), severDeaf(1, A)]],
    ],
  },
  {
    name: 'F4 it holds for a front as for any other, and needs no other endpoint',
    given: given({ peers: { [A]: { ...kept, ...front, ...quiet, deaf } }, sockets: { 1: { address: A } }, current: A }),
    phases: [[9_010, tick, [abandon(A, 8), severDeaf(1, A)]]],
  },
  {
    name: 'F4 behind a front each connection has its own: one that spoke after the question is not as dead',
    given: given({
      peers: {
        [A]: {
          ...kept, ...front, ...suspectSince(7_000), ...quiet, kept: undefined, deaf: { ...deaf, until: Infinity },
          question: asking(9, 7_000, { misses: 1, on: 'fresh' }),
        },
      },
      sockets: { 1: { address: A, heardAt: 6_000 }, 2: { address: A } }, current: A,
    }),
    phases: [
      [7_010, answered(A, 9), [], { peers: { [A]: { deaf } } }],
      [9_010, tick, [abandon(A, 8), severDeaf(2, A)]],
    ],
  },
  {
    name: 'F4 where none could be made in time and the next is there, what is older than that is as dead',
    given: given({
      peers: {
        [A]: { ...used, question: reaching(8, 5_000, { deadline: 7_000 }), askedAt: 5_000, askedDeepAt: 5_000 },
      },
      sockets: { 1: { address: A, heardAt: 6_000 }, 2: { address: A, madeAt: 7_005 } }, current: A,
    }),
    phases: [
      [
        7_000, tick, [abandon(A, 8), ask(100, A, { on: 'fresh' })],
        { peers: { [A]: { deaf: { question: undefined, since: 5_000, until: Infinity } } } },
      ],
      [7_005, questionConnected(A, 100), []],
      [
        7_010, answered(A, 100), [],
        { peers: { [A]: { deaf: { question: undefined, since: 7_005, until: 9_010 } } } },
      ],
      [9_010, tick, [severDeaf(1, A)], { peers: { [A]: { deaf: undefined, sockets: 1 } } }],
    ],
  },
  {
    name: 'F4 an answer whose connection was not told of: what is older than the answer is as dead',
    given: given({
      peers: {
        [A]: {
          ...kept, ...suspectSince(7_000), ...quiet, kept: undefined, deaf: { ...deaf, until: Infinity },
          question: reaching(9, 7_000, { misses: 1, on: 'fresh' }),
        },
      },
      sockets: { 1: { address: A, heardAt: 6_000 } }, current: A,
    }),
    phases: [
      [7_010, answered(A, 9), [], { peers: { [A]: { deaf: { ...deaf, since: 7_010 } } } }],
      [9_010, tick, [abandon(A, 8), severDeaf(1, A)]],
    ],
  },
  {
    name: 'F4 an answer of the old connection just before the end: it was not deaf but slow, and nothing is cut',
    given: given({ peers: { [A]: { ...kept, ...quiet, deaf } }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [9_009, answered(A, 8), [], { peers: { [A]: { deaf: undefined, heardAt: 9_009 } } }],
      [9_010, tick, []],
    ],
  },
  {
    name: 'F4 the old connection is reset: it is not deaf but gone, as its neighbours will be told',
    given: given({ peers: { [A]: { ...kept, ...quiet, deaf } }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [8_000, missed(A, 8, refused), [], { peers: { [A]: { deaf: undefined, voice: { is: 'well' } } } }],
      [9_010, tick, []],
    ],
  },
  {
    name: 'F4 a socket from which a byte came since then is left, and one that was made since',
    given: given({
      peers: { [A]: { ...kept, ...quiet, deaf } },
      sockets: {
        1: { address: A, heardAt: 5_000 }, 2: { address: A, madeAt: 5_000 }, 3: { address: A, heardAt: 4_999 },
      }, current: A,
    }),
    phases: [[9_010, tick, [abandon(A, 8), severDeaf(3, A)], { peers: { [A]: { sockets: 2 } } }]],
  },
  {
    name: 'F4 the bytes that came just before are seen first',
    given: given({
      peers: { [A]: { ...kept, ...quiet, deaf } }, sockets: { 1: { address: A } }, current: A, sampleAt: 9_010,
    }),
    phases: [
      [9_010, sampled(reading(1, 10, 0)), []],
      [9_010, tick, [abandon(A, 8)], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'F4, H4 a deadline that is handled more than 1 s late counts against nobody: it is waited for again',
    given: given({
      peers: { [A]: { ...kept, ...quiet, deaf, askedAt: 9_000, heardAt: 9_000 } }, sockets: { 1: { address: A } },
      current: A,
    }),
    phases: [
      [10_011, tickFor(9_010), [], { deadline: { at: 12_011, why: 'deaf' } }],
      [12_010, answered(A, 8), []],
    ],
  },
  {
    name: 'F4 neither of both answers: the endpoint is silent, and the first question is given up with the second',
    given: given({
      peers: {
        [A]: {
          ...kept, ...suspectSince(7_000), deaf: { ...deaf, until: Infinity },
          question: reaching(9, 7_000, { misses: 1, on: 'fresh', deadline: 9_000 }), askedAt: 7_000,
        },
      },
      sockets: { 1: { address: A, heardAt: 6_000 } }, current: A,
    }),
    phases: [
      [
        9_000, tick, [abandon(A, 9), abandon(A, 8), reportFailed(A, noConnectionIn(2_000))],
        { peers: { [A]: { deaf: undefined } } },
      ],
    ],
  },
  {
    name: 'F4, H12 what went unanswered because it was deep says nothing of its connection',
    given: given({
      peers: {
        [A]: {
          ...kept, ...suspectSince(7_000), deaf: { ...deaf, until: Infinity },
          question: asking(9, 9_000, { misses: 2, on: 'fresh', after: 'silence' }),
        },
        [B]: { ...ready, answeredDeepAt: 0, question: asking(10, 9_000, { depth: 'deep' }) },
      },
      sockets: { 1: { address: A, heardAt: 6_000 } }, current: A,
      witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[9_010, answered(A, 9), [abandon(A, 8)], { peers: { [A]: { deaf: undefined, sockets: 1 } } }]],
  },
  {
    name: 'F4 a late answer keeps no connection whose place the second one had taken, were that not answered either',
    given: given({
      peers: {
        [A]: {
          ...used, ...suspectSince(7_000), kept: undefined, deaf: { ...deaf, until: Infinity, replaced: true },
          question: reaching(9, 9_000, { misses: 2, on: 'fresh', after: 'silence' }), askedAt: 9_000,
        },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [[9_001, answered(A, 8), [], { peers: { [A]: { deaf: undefined, kept: undefined, voice: { is: 'well' } } } }]],
  },
  {
    name: 'F4 nor does one that comes when the second connection has been answered on, and is lost since',
    given: given({
      peers: {
        [A]: {
          ...used, ...suspectSince(7_000), kept: undefined, deaf: { ...deaf, until: Infinity },
          question: reaching(9, 7_000, { misses: 1, on: 'fresh' }), askedAt: 7_000,
        },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [7_005, questionConnected(A, 9), [], { peers: { [A]: { deaf: { question: 8, replaced: true } } } }],
      [7_010, answered(A, 9), [], { peers: { [A]: { kept: { since: 7_005, usedAt: 7_010 } } } }],
      [7_020, refreshRequested(1), [askDeep(100, A)]],
      [7_030, missed(A, 100, refused), [askDeep(101, A, { on: 'fresh' })], { peers: { [A]: { kept: undefined } } }],
      [7_040, answered(A, 8), [], { peers: { [A]: { deaf: undefined, kept: undefined } } }],
    ],
  },
  {
    name: 'F4 once its connection is there, such an error gives up both: the second had taken the place of the first',
    given: given({
      peers: {
        [A]: {
          ...kept, ...suspectSince(7_000), deaf: { ...deaf, until: Infinity },
          question: asking(9, 7_000, { misses: 1, on: 'fresh' }), askedAt: 7_000,
        },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [[7_001, missed(A, 9, local), [abandon(A, 8)], { peers: { [A]: { deaf: undefined, kept: undefined } } }]],
  },
  {
    name: 'F4 an error of this machine in the second try leaves the first open, until a later one is answered',
    given: given({
      peers: {
        [A]: {
          ...kept, ...suspectSince(7_000), kept: undefined, deaf: { ...deaf, until: Infinity },
          question: reaching(9, 7_000, { misses: 1, on: 'fresh' }), askedAt: 7_000,
        },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [7_001, missed(A, 9, local), []],
      [12_000, tick, [ask(100, A)]],
      [12_005, questionConnected(A, 100), []],
      [12_010, answered(A, 100), [], { peers: { [A]: { deaf: { question: 8, since: 12_005, until: 14_010 } } } }],
      [14_010, tick, [abandon(A, 8), severDeaf(1, A)]],
    ],
  },
  {
    name: 'F4 with no socket left there is nothing to be deaf',
    given: given({
      peers: {
        [A]: { ...ready, deaf: { ...deaf, until: Infinity }, question: reaching(9, 7_000, { misses: 1, on: 'fresh' }) },
      }, usedAt: 7_000,
    }),
    phases: [[7_001, missed(A, 9, local), [abandon(A, 8)], { peers: { [A]: { deaf: undefined } } }]],
  },
  {
    name: 'F4 a second connection that goes deaf takes the place of the first',
    given: given({
      peers: {
        [A]: { ...kept, ...quiet, deaf: { ...deaf, until: Infinity }, question: asking(9, 7_500) },
      }, sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [
        9_500, tick, [abandon(A, 8), ask(100, A, { on: 'fresh' })],
        { peers: { [A]: { deaf: { question: 9, since: 7_500, until: Infinity } } } },
      ],
    ],
  },
  {
    name: 'F4 sockets that closed meanwhile are not cut',
    given: given({ peers: { [A]: { ...kept, ...quiet, deaf } }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [8_000, socketClosed(1, { read: 10, written: 10 }), []],
      [9_010, tick, [abandon(A, 8)]],
    ],
  },
]

/** All had been silent since 1 s; a connection for one more question to A is being made since 20 s. */
const silentWhole = {
  ...used, ...silentSince(1_000, Infinity), askedAt: 20_000, askedDeepAt: 20_000, heardAt: 900, kept: undefined,
  question: reaching(9, 20_000, { misses: 1, on: 'fresh' }),
} as const

const wellAgain = {
  voice: { is: 'well' }, question: undefined, kept: { since: 20_005, usedAt: 20_010 },
  deaf: { question: undefined, since: 20_005, until: 22_010, restUntil: 22_100 },
} as const

const back: readonly Row[] = [
  {
    name: 'F4, H3 after all of it was silent: what owes or is idle goes as ever, what owes nothing later',
    given: given({
      peers: { [A]: { ...silentWhole, ...wellAgain } }, current: A, settings: { heartbeatInterval: 0 },
      sockets: {
        1: { address: A, owedSince: 500, surelyOwed: true }, 2: { address: A }, 3: { address: A, idle: true },
        4: { address: A },
      },
    }),
    phases: [
      [22_010, tick, [retire(3), severDeaf(1, A)], {
        peers: { [A]: { sockets: 3 } }, deadline: { at: 22_100, why: 'deaf' },
      }],
      [22_020, sampled(reading(4, 5, 0)), []],
      [22_100, tick, [severDeaf(2, A)], { peers: { [A]: { deaf: undefined, sockets: 2 } } }],
    ],
  },
  {
    name: 'F4 where nobody holds a socket of it, nothing is waited for',
    given: given({ peers: { [A]: silentWhole }, current: A }),
    phases: [
      [20_005, questionConnected(A, 9), []],
      [20_010, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' }, deaf: undefined } } }],
    ],
  },
  {
    name: 'F4 a connection from before it fell silent answers: so do others of its time',
    given: given({
      peers: {
        [A]: { ...silentWhole, kept: { since: 0, usedAt: 20_000 }, question: asking(9, 20_000) },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [[20_010, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' }, deaf: undefined } } }]],
  },
]

const full = { on: 'full' } as const
/** A was found to lose full packets, and is used again for want of a better one. */
const sick = { ...kept, ...sickSince(0, 2, true), askedOwedAt: 15_000, askedFullAt: 18_000, askedAt: 18_000 }

const beside: readonly Row[] = [
  {
    name: 'F4 the kept connection is asked for what is surely owed, whatever others say, and a question beside it',
    given: given({
      peers: {
        [A]: {
          ...kept, kept: { since: 0, usedAt: 5_000 }, askedAt: 5_000, askedDeepAt: 3_000, askedFullAt: 5_000,
          question: asking(9, 5_000, { depth: 'deep', ...full }),
        },
      },
      sockets: { 1: { address: A, owedSince: 0, surelyOwed: true }, 2: { address: A, heardAt: 6_900 } }, current: A,
    }),
    phases: [
      [5_010, answered(A, 9), []],
      [6_950, sampled(reading(2, 10, 0)), []],
      [7_000, tick, [ask(100, A)]],
      [9_000, tick, [ask(101, A, { on: 'fresh' })]],
      [9_005, questionConnected(A, 101), []],
      [9_010, answered(A, 101), []],
      [11_000, sampled(reading(2, 20, 0)), []],
      [11_010, tick, [abandon(A, 100), severDeaf(1, A)]],
    ],
  },
  {
    name: 'F4 an answer beside the kept connection does not say that what is owed there was answered',
    given: given({
      peers: { [A]: { ...kept, question: asking(9, 5_000, { depth: 'deep', ...full }) } },
      sockets: { 1: { address: A, owedSince: 4_500 } }, current: A,
    }),
    phases: [[5_010, answered(A, 9), [], { peers: { [A]: { owedSince: 4_500 } } }]],
  },
  {
    name: 'F4 of one that is asked beside the kept connection, for it is sick, what is owed is asked on the kept one',
    given: given({
      peers: { [A]: sick, [B]: ready }, sockets: { 1: { address: A, owedSince: 20_000, surelyOwed: true } },
      current: A,
    }),
    phases: [
      [20_999, tick, []],
      [21_000, tick, [ask(100, A)]],
      [21_010, answered(A, 100), [], { peers: { [A]: sickSince(0, 2, true) } }],
      [23_000, tick, [askDeep(101, A)]],
      [25_000, tick, [askDeep(102, A, { on: 'fresh' })]],
      [25_005, questionConnected(A, 102), []],
      [25_010, answered(A, 102), [], { peers: { [A]: { deaf: { question: 101, since: 25_005, until: 27_010 } } } }],
    ],
  },
  {
    name: 'F4 once it is well, a deep question of before, beside the kept connection, was none for what is owed',
    given: given({
      peers: {
        [A]: {
          ...sick, voice: { is: 'well' }, kept: { since: 0, usedAt: 21_500 }, askedFullAt: 22_000, askedAt: 22_000,
        },
      },
      sockets: { 1: { address: A, owedSince: 20_000, surelyOwed: true } }, current: A,
    }),
    phases: [
      [22_999, tick, []],
      [23_000, tick, [askDeep(100, A)]],
    ],
  },
]

runRows('deaf connections', rows)
runRows('deaf connections, and an answer beside them', beside)
runRows('deaf connections after all of it was silent', back)

describe('when what owes nothing is cut', () => {
  it('F4 at a time drawn up to 30 s after the answer, so that a fleet does not come back in step', () => {
    const times = Array.from({ length: 50 }, (_, seed) => {
      const before = { ...given({ peers: { [A]: silentWhole }, sockets: { 1: { address: A } } }), seed: seed * 99_991 }
      const [connected] = step(before, questionConnected(A, 9), 20_005)
      return step(connected, answered(A, 9), 20_010)[0].peers.get(A)?.deaf?.restUntil ?? assert.fail('nothing is cut')
    })
    assert.ok(times.every((time) => time >= 22_010 && time <= 50_010), times.join(' '))
    assert.ok(Math.min(...times) < 26_000 && Math.max(...times) > 46_000, times.join(' '))
  })
})
