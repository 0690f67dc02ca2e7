// Traffic, as rows: when the bytes of sockets are looked at.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isCloselyWatched } from '../../lib/core/traffic.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, asking, B, closed, D, failing, given, reading, ready, refused, sampled, sever, silentSince,
  socketClosed, suspectSince, tick, trafficResumed, used,
} from '../support/core-given.ts'

const looked: readonly Row[] = [
  {
    name: 'H2 bytes are looked at every 250 ms while a socket is in use, and not while all wait in pools',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } }, sampleAt: 250 }),
    phases: [
      [250, sampled(reading(1, 0, 0, true)), [], { deadline: { at: 500, why: 'sample' } }],
      [500, sampled(reading(2, 0, 0, true)), [], { deadline: { at: 5_000, why: 'silence' } }],
      [900, trafficResumed, [], { deadline: { at: 1_150, why: 'sample' } }],
      [901, trafficResumed, [], { deadline: { at: 1_150, why: 'sample' }, state: { usedAt: 901 } }],
      [1_150, tick, [], { deadline: { at: 1_400, why: 'sample' } }],
    ],
  },
  {
    name: 'H10 with no socket left no bytes are looked at, though a pool speaks of traffic',
    given: given({ peers: { [A]: { ...used, kept: undefined } }, sockets: { 1: { address: A } }, sampleAt: 250 }),
    phases: [
      [10, socketClosed(1), [], { deadline: { at: 120_000, why: 'unused' } }],
      [20, trafficResumed, [], { deadline: { at: 120_020, why: 'unused' } }],
    ],
  },
  {
    name: 'H10 after close() traffic is of no interest',
    given: given({ peers: { [A]: { ...used, kept: undefined } }, sockets: { 1: { address: A } } }),
    phases: [
      [10, closed, []],
      [20, trafficResumed, [], { same: true, deadline: null }],
    ],
  },
  {
    name: 'D2 what a socket says whose endpoint is not known any more has no consequences',
    given: given({
      peers: { [A]: used }, sockets: { 1: { address: D }, 2: { address: D }, 3: { address: A, idle: true } },
    }),
    phases: [
      [100, sampled(reading(1, 0, 50)), [], { sockets: { 1: { owedSince: 100 } }, peers: { [A]: { heardAt: 0 } } }],
      [2_000, socketClosed(1, { written: 50, byPeer: true }), [], { sockets: { 2: {} } }],
    ],
  },
]

const owing: readonly Row[] = [
  {
    name: 'H2 an answer and the next request within one sample: it may be owed, until the endpoint has answered',
    given: given({ peers: { [A]: { ...used, question: asking(9, 0) } }, sockets: { 1: { address: A } }, sampleAt: 250 }),
    phases: [
      [250, sampled(reading(1, 900, 90)), [], { sockets: { 1: { owedSince: 250, surelyOwed: false } } }],
      [300, answered(A, 9), [], { sockets: { 1: { owedSince: Infinity } } }],
    ],
  },
  {
    name: 'H2 where a pool tells that the answer is that of the request, nothing is owed',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A } }, sampleAt: 250 }),
    phases: [[250, sampled({ ...reading(1, 900, 90), unanswered: false }), [], {
      sockets: { 1: { owedSince: Infinity, surelyOwed: false } }, peers: { [A]: { owedSince: Infinity } },
    }]],
  },
  {
    name: 'H2 where a pool tells that the request began after the answer, it is owed until it is answered itself',
    given: given({ peers: { [A]: { ...used, question: asking(9, 0) } }, sockets: { 1: { address: A } }, sampleAt: 250 }),
    phases: [
      [250, sampled({ ...reading(1, 900, 90), unanswered: true }), [], {
        sockets: { 1: { owedSince: 250, surelyOwed: true } }, peers: { [A]: { surelyOwedSince: 250 } },
      }],
      [300, answered(A, 9), [], { sockets: { 1: { owedSince: 250, surelyOwed: true } } }],
      [500, sampled(reading(1, 1_800, 90)), [], { sockets: { 1: { owedSince: Infinity, surelyOwed: false } } }],
    ],
  },
]

const gone: readonly Row[] = [
  {
    name: 'H2 what a socket owed that is gone is owed no more: the next one is asked for in its own time',
    given: given({
      peers: { [A]: { ...used, askedAt: 100, askedDeepAt: 100 } },
      sockets: { 1: { address: A, owedSince: 50 }, 2: { address: A, owedSince: 400, surelyOwed: true } },
    }),
    phases: [
      [500, socketClosed(1), [], {
        peers: { [A]: { owedSince: 400, surelyOwedSince: 400 } }, deadline: { at: 1_400, why: 'silence' },
      }],
      [600, socketClosed(2, { read: 5 }), [], { peers: { [A]: { owedSince: Infinity, surelyOwedSince: Infinity } } }],
    ],
  },
]

const toldLate: readonly Row[] = [
  {
    name: 'H3 what is told late says when its socket spoke, and nothing of now',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } }, sampleAt: 5_000 }),
    phases: [
      [5_000, sampled({ ...reading(1, 900, 0), heardAt: 3_000 }), [], {
        sockets: { 1: { heardAt: 3_000 } }, peers: { [A]: { heardAt: 3_000 } },
      }],
      [5_250, sampled({ ...reading(2, 900, 0), heardAt: 5_249 }), [], {
        sockets: { 2: { heardAt: 5_249 } }, peers: { [A]: { heardAt: 5_250 } },
      }],
    ],
  },
  {
    name: 'H2, H9 what a socket read at last, and was not told of, is a byte of its endpoint too',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A, read: 90 }, 2: { address: A, read: 90 } } }),
    phases: [
      [700, socketClosed(1, { read: 90, written: 50 }), [], { peers: { [A]: { heardAt: 0 } } }],
      [800, socketClosed(2, { read: 180, written: 50 }), [], { peers: { [A]: { heardAt: 800 } } }],
    ],
  },
  {
    name: 'H3 nor does that say anything of now if it came long before',
    given: given({
      peers: { [A]: { ...used, ...suspectSince(2_000) } }, sockets: { 1: { address: A, read: 90 }, 2: { address: A } },
    }),
    phases: [
      [2_500, socketClosed(1, { read: 180, written: 50, heardAt: 700 }), [], {
        peers: { [A]: { ...suspectSince(2_000), heardAt: 700 } },
      }],
    ],
  },
  {
    name: 'H3 a silent endpoint that spoke, as is told late, is severed `heartbeatTimeout` after that byte',
    given: given({
      peers: {
        [A]: { ...used, ...failing(0), ...silentSince(500, -Infinity), heardAt: 400, askedAt: 2_300 },
        [B]: { ...ready, answeredAt: 2_300 },
      },
      sockets: { 1: { address: A, heardAt: 400 } },
    }),
    phases: [
      [2_300, sampled({ ...reading(1, 900, 0), heardAt: 1_500 }), [], { deadline: { at: 2_550, why: 'sample' } }],
      [2_400, tick, []],
      [3_499, tick, []],
      [3_500, tick, [sever(1, A, refused.message)]],
    ],
  },
]

runRows('traffic', [...looked, ...owing, ...gone, ...toldLate])

describe('who is watched closely', () => {
  const questioned = { ...used, question: asking(9, 0) }
  for (const [name, peer, expected] of [
    ['an endpoint in use that is well', used, false], ['one that is asked', questioned, true],
    ['one that is suspected', { ...used, ...suspectSince(0) }, true], ['one that has failed', { ...failing(0, 1) }, true],
  ] as const) {
    it(`H3 ${name}: ${expected}`, () => {
      const state = given({ peers: { [A]: peer, [B]: questioned }, sockets: { 1: { address: A } } })
      assert.equal(isCloselyWatched(state), expected)
    })
  }
})
