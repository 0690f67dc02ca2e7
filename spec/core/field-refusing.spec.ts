// Refusing (H7), as rows: 429 and 5xx of an endpoint's own to the heartbeat, hints of callers, and how often one that
// is busy is asked.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { nextDeadline, step } from '../../lib/core/step.ts'
import { checkedStep, runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, B, connect, connected, deliver, dialled, failing, given, keptSince, missed,
  noAnswer, otherAnswer, reading, ready, refusalSeen, refusing, reportFailed, reportFailover, reportSick, retire, socketClosed,
  sampled, settleRefresh, tick, used, cause, known, refreshRequested,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }
const inUse = given({ peers: { [A]: kept, [B]: ready }, sockets: { 1: { address: A } }, current: A })

const own: readonly Row[] = [
  {
    name: 'H7, H5 503 to the heartbeat: idle sockets go, the next dial goes elsewhere, and what is in use is left',
    given: inUse,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [5_010, answered(A, 100, { status: 503 }), [retire(1)], {
        peers: { [A]: { voice: { is: 'refusing', status: 503 }, sockets: 1, question: undefined } },
      }],
      [5_020, dialled(1), [connect(1, 101, B)]],
      [5_030, connected(1, 101), [deliver(1, 101, B), reportFailover(A, B, 'leaving')], { current: B }],
    ],
  },
  {
    name: 'H7 429 to the heartbeat is a refusal, too',
    given: given({ peers: { [A]: { ...kept, question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [
      [
        10, answered(A, 9, { status: 429 }), [retire(1)],
        { peers: { [A]: { voice: { is: 'refusing', status: 429 } } } },
      ],
    ],
  },
  {
    name: 'H7, H9 429 to a deep question tells of load, and not of etcd: it is not asked what its cache says',
    given: given({
      peers: { [A]: { ...kept, question: asking(9, 0, { depth: 'deep' }) }, [B]: { ...ready, answeredDeepAt: 5 } },
      sockets: { 1: { address: A, owedSince: 0, surelyOwed: true } },
    }),
    phases: [
      [
        10, answered(A, 9, { status: 429 }), [retire(1)],
        { peers: { [A]: { voice: { is: 'refusing', status: 429 } } } },
      ],
    ],
  },
  {
    name: 'H7, H12 503 to a deep question and to a shallow one after it: refusing',
    given: given({
      peers: {
        [A]: { ...kept, question: asking(9, 0, { depth: 'deep' }) }, [B]: ready,
      }, sockets: { 1: { address: A } },
    }),
    phases: [
      [10, answered(A, 9, { status: 503 }), [ask(100, A)]],
      [
        20, answered(A, 100, { status: 503 }), [retire(1)],
        { peers: { [A]: { voice: { is: 'refusing', status: 503 } } } },
      ],
    ],
  },
  {
    name: 'H7 an answer below 500 ends the refusal',
    given: given({
      peers: {
        [A]: { ...kept, ...refusing(), question: asking(9) }, [B]: ready,
      }, sockets: { 1: { address: A, retired: true } },
    }),
    phases: [[10, answered(A, 9, { status: 403 }), [], { peers: { [A]: { voice: { is: 'well' } } } }]],
  },
  {
    name: 'H7 neither a byte nor a missed question ends it: only the answer of the endpoint itself',
    given: given({
      peers: {
        [A]: { ...kept, ...refusing(), question: asking(9) }, [B]: ready,
      }, sockets: { 1: { address: A, retired: true } },
      sampleAt: 250, recovery: { nextAt: 1e6, pause: 5_000 },
    }),
    phases: [
      [250, sampled(reading(1, 10, 5)), [], { peers: { [A]: { voice: { is: 'refusing', status: 503 } } } }],
      [
        300, missed(A, 9, noAnswer), [ask(100, A, { on: 'fresh' })],
        { peers: { [A]: { voice: { is: 'refusing', status: 503 } } } },
      ],
    ],
  },
  {
    name: 'H7, H9 a refusing one that leaves two questions unanswered is slow',
    given: given({
      peers: { [A]: { ...kept, ...refusing(), question: asking(9, 0, { misses: 1, on: 'fresh' }) }, [B]: ready },
      sockets: { 1: { address: A, retired: true } },
    }),
    phases: [[100, missed(A, 9, noAnswer), [reportFailed(A, noAnswer), ask(100, B)], {
      peers: { [A]: { voice: { is: 'slow', since: 100, error: noAnswer.message } } },
    }]],
  },
  {
    name: 'H7 one that refuses a dial by TLS and the heartbeat by 503 is left for that, too',
    given: given({
      peers: { [A]: { ...kept, ...failing(0), question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } },
    }),
    phases: [[10, answered(A, 9, { status: 503 }), [retire(1)]]],
  },
  {
    name: 'H7 where all refuse nothing is retired, and dials go on',
    given: given({
      peers: { [A]: { ...kept, question: asking(8) }, [B]: { ...kept, question: asking(9) } },
      sockets: { 1: { address: A }, 2: { address: B } }, current: A,
    }),
    phases: [
      [10, answered(A, 8, { status: 503 }), [retire(1)]],
      [20, answered(B, 9, { status: 503 }), []],
      [30, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'H7 the question of a refresh is a heartbeat, too',
    given: given({ peers: { [A]: kept }, sockets: { 1: { address: A } }, discovery: known, usedAt: 0 }),
    phases: [
      [10, refreshRequested(5), [askDeep(100, A)]],
      [20, answered(A, 100, { status: 503 }), [ask(101, A)]],
      [30, answered(A, 101, { status: 503 }), [
        settleRefresh(5, { kind: 'failed', causes: [cause(A, otherAnswer(503))] }),
      ], { peers: { [A]: { voice: { is: 'refusing', status: 503 } } } }],
    ],
  },
]

const hints: readonly Row[] = [
  {
    name: 'H7 a caller\'s 503 has its endpoint asked at once, deep, and no more often than once per heartbeatInterval',
    given: inUse,
    phases: [
      [100, refusalSeen(1), [askDeep(100, A)]],
      [105, refusalSeen(1), []],
      [110, answered(A, 100), [], { peers: { [A]: { voice: { is: 'well' } } } }],
      [5_099, refusalSeen(1), []],
      [5_100, refusalSeen(1), [askDeep(101, A)]],
    ],
  },
  {
    name: 'H7 a hint is no verdict: an endpoint that answers well stays in use',
    given: inUse,
    phases: [
      [100, refusalSeen(1), [askDeep(100, A)]],
      [110, answered(A, 100), []],
      [120, dialled(1), [connect(1, 101, A)]],
    ],
  },
  {
    name: 'H7 a hint is confirmed by the endpoint itself, and another serves the next dial',
    given: inUse,
    phases: [
      [100, refusalSeen(1), [askDeep(100, A)]],
      [110, answered(A, 100, { status: 503 }), [ask(101, A)]],
      [120, answered(A, 101, { status: 503 }), [retire(1)]],
      [130, dialled(1), [connect(1, 102, B)]],
    ],
  },
  {
    name: 'H7 a hint of a socket that is gone, or while its endpoint is asked, asks nothing',
    given: given({ peers: { [A]: { ...kept, question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [
      [100, refusalSeen(7), [], { same: true }],
      [100, refusalSeen(1), [], { same: true }],
    ],
  },
  {
    name: 'H7 a hint while its endpoint is asked does not keep the next one from being followed',
    given: given({ peers: { [A]: { ...kept, question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [
      [100, refusalSeen(1), []],
      [110, answered(A, 9), []],
      [120, refusalSeen(1), [askDeep(100, A)], { peers: { [A]: { hintedAt: 120 } } }],
    ],
  },
  {
    name: 'H7 with heartbeatInterval 0 a hint asks nothing',
    given: given({ peers: { [A]: kept }, sockets: { 1: { address: A } }, settings: { heartbeatInterval: 0 } }),
    phases: [[100, refusalSeen(1), [], { same: true }]],
  },
  {
    name: 'H7, H12 a hint of one whose etcd is gone: the deep question says so, and it is asked again after a time-out',
    given: given({
      peers: { [A]: kept, [B]: { ...ready, answeredDeepAt: 1 } }, sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [100, refusalSeen(1), [askDeep(100, A)]],
      [110, answered(A, 100, { status: 500 }), [ask(101, A)]],
      [
        120, answered(A, 101), [askDeep(102, B)],
        { peers: { [A]: { voice: { is: 'hollow', since: 120, strikes: 1, full: false } } } },
      ],
      [130, answered(B, 102), [reportSick(A)]],
      [2_129, tick, []],
      [2_130, tick, [askDeep(103, A)]],
    ],
  },
  {
    name: 'H7, H10 a refusal that a caller reads wakes a dialer that had gone to rest, as somebody is there',
    given: given({ peers: { [A]: used, [B]: ready }, sockets: { 1: { address: A, idle: true } }, dormant: true }),
    phases: [
      [200_000, refusalSeen(1), [askDeep(100, A)], { state: { dormant: false, usedAt: 200_000 } }],
      [200_001, refusalSeen(77), [], { same: true }],
    ],
  },
]

const busy: readonly Row[] = [
  {
    name: 'H7, H12 one that is busy is asked after 15 s and as much as its patience is below 5 s, and deep',
    given: given({
      peers: { [A]: { ...kept, heardAt: 15_900, patience: 4_000 } }, sockets: { 1: { address: A, heardAt: 15_900 } },
    }),
    phases: [
      [15_999, tick, [], { deadline: { at: 16_000, why: 'silence' } }],
      [16_000, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H7, H12 with the longest patience that is after 15 s',
    given: given({
      peers: { [A]: { ...kept, heardAt: 14_900 } }, sockets: { 1: { address: A, heardAt: 14_900 } },
    }),
    phases: [
      [14_999, tick, [], { deadline: { at: 15_000, why: 'silence' } }],
      [15_000, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H7 an idle pool is asked shallow, busy or not',
    given: given({
      peers: { [A]: { ...kept, heardAt: 14_900 } }, sockets: { 1: { address: A, idle: true, heardAt: 14_900 } },
    }),
    phases: [[15_000, tick, [ask(100, A)]]],
  },
  {
    name: 'H7 15 s are 3 heartbeat intervals',
    given: given({
      peers: { [A]: { ...kept, heardAt: 5_900, patience: 2_000 } }, sockets: { 1: { address: A, heardAt: 5_900 } },
      settings: { heartbeatInterval: 2_000 },
    }),
    phases: [[5_999, tick, []], [6_000, tick, [ask(100, A)]]],
  },
]

const comingAndGoing: readonly Row[] = [
  {
    name: 'H7 sockets that come and go, 15 s apart at the most, are one use: asked with one that comes when it is time',
    given: given({ peers: { [A]: { ...used, ...keptSince(0), usedSince: 1_000, usedUntil: 9_000, askedAt: 0 } } }),
    phases: [
      [15_900, dialled(1), [connect(1, 100, A)]],
      [15_999, connected(1, 100), [deliver(1, 100, A)], {
        peers: { [A]: { usedSince: 1_000 } }, deadline: { at: 16_000, why: 'silence' },
      }],
      [15_999, socketClosed(100, { read: 10, written: 10 }), [], { peers: { [A]: { usedSince: 1_000, usedUntil: 15_999 } } }],
      [30_990, dialled(2), [connect(2, 101, A)]],
      [30_998, connected(2, 101), [deliver(2, 101, A), askDeep(102, A)]],
    ],
  },
  {
    name: 'H7 after a longer pause the use begins anew',
    given: given({ peers: { [A]: { ...used, ...keptSince(0), usedSince: 1_000, usedUntil: 9_000, askedAt: 0 } } }),
    phases: [
      [23_900, dialled(1), [connect(1, 100, A)]],
      [24_000, connected(1, 100), [deliver(1, 100, A)], { peers: { [A]: { usedSince: 24_000 } } }],
    ],
  },
  {
    name: 'H7, F4 the second of two sockets that follow each other has a connection of ours made',
    given: given({ peers: { [A]: { ...used, usedSince: 1_000, usedUntil: 1_040, askedAt: 0 } } }),
    phases: [
      [1_900, dialled(1), [connect(1, 100, A)]],
      [2_000, connected(1, 100), [deliver(1, 100, A), ask(101, A)]],
    ],
  },
]

/** Lets an endpoint in use answer everything at once, for a minute; `bytes`: one comes from it with each sample. */
function questionsInAMinute(bytes: boolean): { readonly shallow: number; readonly deep: number } {
  let state = given({ peers: { [A]: kept }, sockets: { 1: { address: A } }, sampleAt: 250 })
  const count = { shallow: 0, deep: 0 }
  let read = 0
  for (let now = 0; now < 60_000;) {
    now = nextDeadline(state)?.at ?? assert.fail('nothing is waited for')
    if (bytes) read += 10
    const [seen] = checkedStep(state, sampled(...(bytes ? [reading(1, read, 0)] : [])), now)
    const [next, effects] = checkedStep(seen, tick, now)
    state = next
    for (const effect of effects) {
      if (effect.type !== 'ask') continue
      count[effect.depth] += 1
      ;[state] = step(state, answered(A, effect.question), now)
    }
  }
  return count
}

runRows('refusing', own)
runRows('hints', hints)
runRows('how often who is busy is asked', busy)
runRows('sockets that come and go', comingAndGoing)

describe('how often who is in use is asked', () => {
  it('H7, H12 a busy one that is healthy once in 15 to 16 s, and so at most 4 times a minute', () => {
    assert.deepEqual(questionsInAMinute(true), { shallow: 0, deep: 3 })
  })

  it('H2, H12 a silent one as often as heartbeatInterval says, and at most 4 times of these through to etcd', () => {
    const { shallow, deep } = questionsInAMinute(false)
    assert.ok(deep >= 3 && deep <= 4, `${deep} deep`)
    assert.ok(shallow >= 8 && shallow <= 12, `${shallow} shallow`)
  })
})
