// One that hesitates (H11), as rows: when its idle sockets are closed although it lives, and where dials begin then.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { hesitatesAt } from '../../lib/core/retiring.ts'
import type { Peer, Question, State } from '../../lib/core/state.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, B, connect, connected, deliver, dialled, doubted, failing, given, hollowSince,
  keptSince, questionConnected, reading, ready, refusing, reportFailover, retire, sampled, sickSince, silentSince,
  slowSince, socketClosed, suspectSince, tick, tickFor, unlisted, unready, used,
} from '../support/core-given.ts'

/** Its connections take 5 ms, so that an answer is late after half of `attemptDelay`. */
const quick = { ...used, ...keptSince(0), quickestMs: 5 }
/** A request waits on one socket, and two others wait in a pool, when A has been silent since 0. */
const sockets = {
  1: { address: A, owedSince: 0, surelyOwed: true, written: 70 }, 2: { address: A, idle: true },
  3: { address: A, idle: true },
}
/** It is asked since 1,000 ms for what it owes. */
const owing = {
  ...quick, askedAt: 1_000, askedDeepAt: 1_000, question: asking(9, 1_000, { depth: 'deep' }),
}
/** All that is known beside it. */
function among(peers: Readonly<Record<string, Partial<Peer>>>, hesitatedAt: number = -Infinity): State {
  return given({ peers: { [A]: owing, ...peers }, sockets, current: A, sampleAt: 5_000, hesitatedAt })
}
const inUse = among({ [B]: {} })
const far = (quickestMs: number, question: Partial<Question> = {}): State => (
  among({ [A]: { ...owing, quickestMs, question: asking(9, 1_000, question) }, [B]: ready })
)
const all = [retire(1), retire(2), retire(3)]

const hesitating: readonly Row[] = [
  {
    name: 'H11 what is owed for 1 s has it asked; 125 ms later its sockets are retired, and dials go elsewhere',
    given: given({ peers: { [A]: quick, [B]: {} }, sockets, current: A, sampleAt: 5_000 }),
    phases: [
      [1_000, tick, [askDeep(100, A)], { deadline: { at: 1_125, why: 'hesitation' } }],
      [1_124, tick, []],
      [1_125, tick, all, { peers: { [A]: { ...doubted, retired: true } }, state: { hesitatedAt: 1_125 } }],
      [1_126, tick, []],
      [1_300, dialled(1), [connect(1, 101, B)]],
      [1_305, connected(1, 101), [deliver(1, 101, B), reportFailover(A, B, 'callers gave up on it')], { current: B }],
    ],
  },
  {
    name: 'H11 the same where it is doubted, and after 250 ms without a connection: nothing need be owed',
    given: given({
      peers: { [A]: quick, [B]: ready }, sockets: { 1: { address: A }, 2: { address: A, idle: true } }, current: A,
      sampleAt: 5_000,
    }),
    phases: [
      [200, socketClosed(1, { written: 70 }), [askDeep(100, A, { on: 'fresh' })]],
      [449, tick, [], { deadline: { at: 450, why: 'hesitation' } }],
      [450, tick, [retire(2)], { peers: { [A]: doubted } }],
    ],
  },
  {
    name: 'H11 a connection that is made meanwhile has 125 ms for the answer',
    given: far(5, { connectedAt: undefined }),
    phases: [
      [1_200, questionConnected(A, 9), [], { deadline: { at: 1_325, why: 'hesitation' } }],
      [1_325, tick, all],
    ],
  },
  {
    name: 'H11 where it is far, twice what a connection took at the least is late',
    given: far(200),
    phases: [[1_399, tick, [], { deadline: { at: 1_400, why: 'hesitation' } }], [1_400, tick, all]],
  },
  {
    name: 'H11 three times that where the question waits for a connection',
    given: far(200, { connectedAt: undefined }),
    phases: [[1_599, tick, [], { deadline: { at: 1_600, why: 'hesitation' } }], [1_600, tick, all]],
  },
  {
    name: 'H11 what was measured in a burst is not how far it is: an answer tells that, too',
    given: given({
      peers: { [A]: { ...quick, quickestMs: 600, question: asking(9, 700) }, [B]: ready }, sockets, current: A,
      sampleAt: 5_000,
    }),
    phases: [
      [703, answered(A, 9), [], { peers: { [A]: { quickestMs: 3 } } }],
      [1_703, tick, [askDeep(100, A)], { deadline: { at: 1_828, why: 'hesitation' } }],
    ],
  },
  {
    name: 'H11 where it is farther than that, four delays are',
    given: far(600),
    phases: [[1_999, tick, [], { deadline: { at: 2_000, why: 'hesitation' } }], [2_000, tick, all]],
  },
  {
    name: 'H11 a byte, or the answer, and it does not hesitate',
    given: inUse,
    phases: [[1_050, sampled(reading(2, 10, 0)), []], [1_125, tick, [], { peers: { [A]: { retired: false } } }]],
  },
  {
    name: 'H11 an answer that is too late ends no doubt: the next one, a second later, does',
    given: inUse,
    phases: [
      [1_125, tick, all],
      [1_500, answered(A, 9), [], {
        peers: { [A]: { ...doubted, retired: true } }, deadline: { at: 2_000, why: 'silence' },
      }],
      [1_600, dialled(1), [connect(1, 100, B)]],
      [1_605, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'callers gave up on it')], { current: B }],
      [1_705, tick, [ask(101, B)]],
      [2_000, tick, [ask(102, A)]],
      [2_600, answered(A, 102), [], { peers: { [A]: { voice: { is: 'well' }, retired: true } } }],
    ],
  },
  {
    name: 'H11 it is asked for that, too, where all its sockets are closed meanwhile',
    given: inUse,
    phases: [
      [1_125, tick, all],
      [1_500, answered(A, 9), []],
      [1_501, socketClosed(1, { read: 70, written: 70 }), []],
      [1_502, socketClosed(2), []],
      [1_503, socketClosed(3), [], { deadline: { at: 2_000, why: 'silence' } }],
      [2_000, tick, [ask(100, A)]],
      [2_010, answered(A, 100), [], { peers: { [A]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'H11 without heartbeats nobody would be asked again: any answer ends the doubt',
    given: given({
      settings: { heartbeatInterval: 0 }, peers: { [A]: owing, [B]: ready }, sockets, current: A, sampleAt: 5_000,
    }),
    phases: [
      [1_125, tick, all],
      [1_500, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'H11 where all are slow, one in 5 s: connections are not made anew again and again',
    given: among({ [B]: ready }, -3_000),
    phases: [
      [1_125, tick, [], { deadline: { at: 2_000, why: 'hesitation' } }],
      [2_000, tick, all, { state: { hesitatedAt: 2_000 } }],
    ],
  },
  {
    name: 'H11 an answer that is as late tells the same, although a late loop reads it first',
    given: inUse,
    phases: [
      [1_130, answered(A, 9), all, {
        peers: { [A]: { ...doubted, retired: true } }, state: { hesitatedAt: 1_130 },
      }],
    ],
  },
  {
    name: 'H11 one that comes in time does not',
    given: inUse,
    phases: [[1_124, answered(A, 9), [], { peers: { [A]: { retired: false } } }]],
  },
  {
    name: 'H11, H4 a machine that was away has heard nobody, and waits as long once more',
    given: inUse,
    phases: [
      [2_126, tickFor(1_125), [], { deadline: { at: 2_251, why: 'hesitation' }, peers: { [A]: { retired: false } } }],
      [2_251, tick, all],
    ],
  },
  {
    name: 'H11 what it was asked for before counts as well, once something is owed for 1 s',
    given: among({ [A]: { ...owing, question: asking(9, 700) }, [B]: ready }),
    phases: [[999, tick, [], { deadline: { at: 1_000, why: 'hesitation' } }], [1_000, tick, all]],
  },
  {
    name: 'H11 a question beside which nothing is owed, and no doubt, may take its time',
    given: given({
      peers: { [A]: owing, [B]: ready }, sockets: { 1: { address: A }, 2: { address: A, idle: true } }, current: A,
      sampleAt: 5_000,
    }),
    phases: [[2_999, tick, [], { peers: { [A]: { retired: false } } }]],
  },
]

/** Nobody hesitates where dials would not be served elsewhere. */
const alone: readonly Row[] = ([
  ['no other', {}],
  ['an unready one', { [B]: { ...ready, ...unready } }],
  ['one that failed', { [B]: failing(0) }],
  ['one that refuses', { [B]: { ...ready, ...refusing() } }],
  ['one that is doubted, too', { [B]: { ...ready, ...doubted, askedAt: 1_000 } }],
  ['one that is suspected of the same', { [B]: { ...ready, ...suspectSince(900) } }],
  ['one that is not listed', { [B]: { ...ready, ...unlisted, origin: 'alternate' } }],
] as const).map(([what, peers]) => ({
  name: `H11 beside ${what} it keeps its sockets`,
  given: among(peers),
  phases: [[1_125, tick, [], { peers: { [A]: { voice: { is: 'well' }, retired: false } } }]],
}))

runRows('hesitation', [...hesitating, ...alone])

describe('one of which worse is known does not hesitate: its sockets are a matter of other rules', () => {
  for (const [what, phase, expected] of [
    ['nothing', {}, 1_125], ['that it is suspected', suspectSince(900), 1_125],
    ['that it is slow', slowSince(500), Infinity], ['that it is silent', silentSince(500), Infinity],
    ['that it refuses', refusing(), Infinity],
    ['that it is hollow', hollowSince(500), Infinity], ['that it is sick', sickSince(500), Infinity],
  ] as const) {
    it(`H11, H9 ${what}: ${expected}`, () => {
      const state = among({ [A]: { ...owing, ...phase }, [B]: ready })
      const peer = state.peers.get(A)
      assert.equal(peer && hesitatesAt(state, peer), expected)
    })
  }
})
