// Overload is not death (H9), as rows: an endpoint of which the handshake is done and the answer late.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, asking, attempt, B, connect, connected, deliver, dialled, given, keptSince, known, missed,
  noAnswer, questionConnected, reaching, reading, ready, refreshRequested, refused, reportFailed, reportFailover,
  sampled, severSlow, slowSince, tick, tickFor, used, askDeep, silentSince, failing, sever, noConnection,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }
/** Of the second try, its handshake done at 2 s. */
const second = asking(9, 2_000, { misses: 1, on: 'fresh', deadline: 4_000 })

const becoming: readonly Row[] = [
  {
    name: 'H9 the handshake is done and the answer is late: new dials go elsewhere, and nothing is severed',
    given: given({
      peers: { [A]: { ...kept, connectMs: 5 }, [B]: ready }, sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [5_000, tick, [ask(100, A)]],
      [7_000, tick, [ask(101, A, { on: 'fresh' }), ask(102, B)]],
      [7_005, questionConnected(A, 101), []],
      [7_006, answered(B, 102), []],
      [9_005, tick, [abandon(A, 101), abandon(A, 100), reportFailed(A, noAnswer)], {
        peers: { [A]: { ...slowSince(7_000), standing: { is: 'ready' }, sockets: 1 } }, counters: { severed: 0 },
      }],
      [9_010, dialled(1), [connect(1, 103, B)]],
      [9_020, connected(1, 103), [deliver(1, 103, B), reportFailover(A, B, 'no answer within 2000 ms')]],
    ],
  },
  {
    name: 'H9 it is severed when it has sent no byte for 30 s, and another has answered since',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(4_000), askedAt: 29_000, askedDeepAt: 29_000 },
        [B]: { ...ready, answeredAt: 5_000 },
      },
      sockets: { 1: { address: A }, 2: { address: A, idle: true } },
    }),
    phases: [
      [29_999, tick, [], { deadline: { at: 30_000, why: 'slow' } }],
      [
        30_000, tick, [severSlow(1, A, 30), severSlow(2, A, 30)],
        { peers: { [A]: { sockets: 0 } }, counters: { severed: 2 } },
      ],
    ],
  },
  {
    name: 'H9 a byte begins the 30 s anew, and does not make it well: its watch is not cut, and dials stay away',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(4_000), askedAt: 29_000, askedDeepAt: 29_000 },
        [B]: { ...ready, answeredAt: 5_000 },
      },
      sockets: { 1: { address: A } }, current: B, sampleAt: 29_500,
    }),
    phases: [
      [29_500, sampled(reading(1, 10, 0)), [], { peers: { [A]: { ...slowSince(4_000), heardAt: 29_500 } } }],
      [30_000, tick, []],
      [30_010, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'H9 nor does a new connection to it: that was never in question',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(4_000), askedAt: 5_000 }, [B]: { ...ready, answeredAt: 5_000 },
      }, current: B,
      dials: [{ id: 1, tried: [B, A], attempts: [attempt(7, A, 5_000)], deadline: 20_000 }], usedAt: 5_000,
    }),
    phases: [
      [
        5_100, connected(1, 7), [deliver(1, 7, A), reportFailover(B, A, 'no connection within 250 ms')],
        { peers: { [A]: { ...slowSince(4_000), standing: { is: 'ready' } } } },
      ],
      [5_200, dialled(2), [connect(2, 100, B)]],
    ],
  },
  {
    name: 'H9 while nobody else answers nothing is severed, however long it is silent',
    given: given({
      peers: {
        [A]: {
          ...kept, ...keptSince(0, 99_000), ...slowSince(4_000, undefined, Infinity), askedAt: 99_000,
          askedDeepAt: 99_000,
        },
        [B]: { ...ready, answeredAt: 3_999 },
      },
      sockets: { 1: { address: A } }, witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[100_000, tick, []]],
  },
  {
    name: 'H9, H4 after a stalled loop it has heartbeatTimeout to be heard',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(4_000), askedAt: 39_000, askedDeepAt: 39_000 },
        [B]: { ...ready, answeredAt: 5_000 },
      },
      sockets: { 1: { address: A } }, usedAt: 30_000,
    }),
    phases: [
      [40_000, tickFor(38_999), [], { deadline: { at: 42_000, why: 'slow' } }],
      [41_999, sampled(reading(1, 10, 0)), []],
      [42_000, tick, [], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'H3, H4 the same for one that is silent',
    given: given({
      peers: {
        [A]: {
          ...kept, ...silentSince(0), ...failing(0, 1, { error: 'no connection within 5000 ms' }), askedAt: 3_000,
          heardAt: 1_000,
        },
        [B]: { ...ready, answeredAt: 5 },
      },
      sockets: { 1: { address: A } }, usedAt: 3_000, recovery: { nextAt: 1e6, pause: 5_000 },
    }),
    phases: [
      [5_000, tickFor(3_999), [], { deadline: { at: 7_000, why: 'slow' } }],
      [7_000, tick, [sever(1, A, noConnection.message)]],
    ],
  },
]

const ending: readonly Row[] = [
  {
    name: 'H9 an answer in time makes it well',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(0), question: asking(9, 1_000) }, [B]: ready,
      }, sockets: { 1: { address: A } },
    }),
    phases: [[1_010, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' } } } }]],
  },
  {
    name: 'H9 one in use is asked at the normal interval, even while requests wait',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(0), askedAt: 4_000, askedDeepAt: 4_000 }, [B]: { ...ready, answeredAt: 5 },
      },
      sockets: { 1: { address: A, owedSince: 4_100, surelyOwed: true } },
    }),
    phases: [
      [8_999, tick, []],
      [9_000, tick, [ask(100, A)]],
    ],
  },
  {
    name: 'H9, R1 one that nobody uses is asked with the next refresh',
    given: given({
      peers: { [A]: { ...ready, ...slowSince(0), askedAt: 4_000 }, [B]: ready }, discovery: known, current: B,
    }),
    phases: [
      [10_000, refreshRequested(5), [askDeep(100, B), ask(101, A)]],
      [10_010, answered(A, 101), [], { peers: { [A]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'H9, H3 one that refuses connections by then is not slow but failed, and is not severed',
    given: given({
      peers: {
        [A]: { ...kept, ...slowSince(0), question: reaching(9, 1_000, { misses: 1, on: 'fresh' }) },
        [B]: { ...ready, answeredAt: 5 },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [1_010, missed(A, 9, refused), [reportFailed(A)], { peers: { [A]: { voice: { is: 'well' }, sockets: 1 } } }],
    ],
  },
  {
    name: 'H9 going on being late is no news',
    given: given({
      peers: { [A]: { ...kept, ...slowSince(0), question: second }, [B]: { ...ready, answeredAt: 5 } },
      sockets: { 1: { address: A, heardAt: 3_000 } },
    }),
    phases: [[4_000, tick, [abandon(A, 9)], { peers: { [A]: slowSince(0) } }]],
  },
  {
    name: 'H9 where all are slow dials go to the one that worked last, or the next',
    given: given({
      peers: {
        [A]: { ...ready, ...slowSince(0), askedAt: 0 }, [B]: { ...ready, ...slowSince(0), askedAt: 0 },
      }, current: B,
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [260, tick, [connect(1, 101, B)]],
    ],
  },
]

runRows('slow', becoming)
runRows('the end of slowness', ending)
