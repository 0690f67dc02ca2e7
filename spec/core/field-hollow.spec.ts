// Alive is not useful (H12), as rows: endpoints that answer from their cache alone, and paths that lose full packets.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attempt, B, broken, C, connect, connected, deliver, dialled, given,
  hollowSince, keptSince, missed, noAnswer, noConnection, noConnectionIn, questionConnected, reaching, reading, ready,
  refused, refusing, reportFailed, reportFailover, reportSick, retire, sampled, severSick, sickSince, silentSince,
  slowSince, tick, tickFor, used,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }
const owed = { owedSince: 0, surelyOwed: true }
/** A question beside the kept connection. */
const full = { on: 'full' } as const
/** Two deep questions of A went unanswered, the first of them at 5 ms, and this one asks its cache. */
const lastTry = asking(9, 100, { misses: 2, missedAt: 5, on: 'fresh', depth: 'shallow', after: 'silence' })
/** The first deep question went unanswered at 3 s. */
const deepAgain = { misses: 1, missedAt: 3_000, on: 'fresh', depth: 'deep' } as const
const hollow = { voice: { is: 'hollow', since: 5, strikes: 2, full: false } } as const

const lostEtcd: readonly Row[] = [
  {
    name: 'H12 a request owed for 1 s has its endpoint asked deep: kept, then fresh, then from its cache; it is sick',
    given: given({
      peers: { [A]: { ...kept, connectMs: 5 }, [B]: { ...ready, ...keptSince(0) } },
      sockets: { 1: { address: A, ...owed }, 2: { address: A, idle: true } }, current: A,
    }),
    phases: [
      [1_000, tick, [askDeep(100, A)]],
      [
        3_000, tick, [askDeep(101, A, { on: 'fresh' }), askDeep(102, B)],
        { peers: { [A]: { voice: { is: 'suspect', since: 3_000 } } } },
      ],
      [3_010, answered(B, 102), []],
      [3_011, questionConnected(A, 101), []],
      [5_011, tick, [abandon(A, 101), ask(103, A, { on: 'fresh' })]],
      [5_012, questionConnected(A, 103), []],
      [5_015, answered(A, 103), [abandon(A, 100), reportSick(A), retire(2), severSick(1, A)], {
        peers: {
          [A]: { voice: { is: 'sick', since: 5_015, strikes: 2, full: false }, deaf: undefined, sockets: 1 },
        }, counters: { severed: 1 },
      }],
      [5_030, dialled(1), [connect(1, 104, B)]],
    ],
  },
  {
    name: 'H12 a byte says nothing of etcd: who answered deep since the first miss is a witness all the same',
    given: given({
      peers: {
        [A]: { ...kept, kept: undefined, question: asking(9, 3_000, { ...deepAgain, deadline: 5_000 }) },
        [B]: { ...ready, question: asking(8, 3_000, { depth: 'deep' }) },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: A } }, current: A,
      witness: { depth: 'deep', asked: [B], nextAt: 3_250, vain: 0 },
    }),
    phases: [
      [3_010, answered(B, 8), []],
      [3_500, sampled(reading(2, 10, 0)), [], { peers: { [A]: { heardAt: 3_500 } } }],
      [5_000, tick, [abandon(A, 9), ask(100, A, { on: 'fresh' })], { peers: { [A]: { voice: { since: 5_000 } } } }],
      [5_001, questionConnected(A, 100), []],
      [5_010, answered(A, 100), [reportSick(A), severSick(1, A)], { peers: { [A]: sickSince(5_010, 2) } }],
    ],
  },
  {
    name: 'H3, H12 one that was silent and answers 500 is silent no longer: nothing is cut while its cache is asked',
    given: given({
      peers: {
        [A]: { ...kept, ...silentSince(0), question: asking(9, 0, { depth: 'deep', misses: 1 }) },
        [B]: { ...ready, ...keptSince(0), answeredAt: 5 },
      },
      sockets: { 1: { address: A, idle: true } }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { status: 500 }), [ask(100, A)], { peers: { [A]: { voice: { is: 'well' }, sockets: 1 } } }],
      [11, tick, []],
    ],
  },
  {
    name: 'H12 a deep question is answered with 500 and a shallow one well: once more after heartbeatTimeout, then cut',
    given: given({
      peers: {
        [A]: { ...kept, question: asking(9, 0, { depth: 'deep' }) },
        [B]: { ...ready, ...keptSince(0), answeredDeepAt: 25 },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: A, heardAt: 2_000 } }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { status: 500 }), [ask(100, A)]],
      [
        20, answered(A, 100), [reportSick(A)],
        { peers: { [A]: { voice: { is: 'sick', since: 20, strikes: 1, full: false } } } },
      ],
      [30, dialled(1), [connect(1, 101, B)]],
      [
        40, connected(1, 101),
        [deliver(1, 101, B), reportFailover(A, B, 'it answers from its cache, and nothing that goes through to etcd')],
      ],
      [2_020, tick, [askDeep(102, A)]],
      [2_030, answered(A, 102, { status: 500 }), [ask(103, A)]],
      [2_040, answered(A, 103), [severSick(1, A)], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'H12 only what is idle, owed, or silent for heartbeatTimeout is cut: a socket that still speaks is left',
    given: given({
      peers: { [A]: { ...kept, ...sickSince(0, 1), question: asking(9, 4_000, { after: 'answer' }) }, [B]: ready },
      sockets: {
        1: {
          address: A, idle: true,
        }, 2: { address: A, ...owed }, 3: { address: A, heardAt: 2_000 }, 4: { address: A, heardAt: 3_500 },
      },
      current: B,
    }),
    phases: [
      [4_010, answered(A, 9), [retire(1), severSick(2, A), severSick(3, A)], { peers: { [A]: { sockets: 2 } } }],
    ],
  },
  {
    name: 'H12 what is owed to one that is sick later is cut at the next question that tells so',
    given: given({
      peers: {
        [A]: { ...kept, ...sickSince(0), heardAt: 14_000, askedAt: 14_000, owedSince: 14_500, surelyOwedSince: 14_500 },
        [B]: ready,
      },
      sockets: { 1: { address: A, heardAt: 14_000, owedSince: 14_500, surelyOwed: true } }, current: B,
    }),
    phases: [
      [15_000, tick, [askDeep(100, A)]],
      [15_010, answered(A, 100, { status: 504 }), [ask(101, A)]],
      [15_020, answered(A, 101), [severSick(1, A)]],
    ],
  },
  {
    name: 'H12 a good deep answer ends it at once, and the same client uses it again',
    given: given({
      peers: { [A]: { ...ready, ...sickSince(0), question: asking(9, 0, { depth: 'deep' }) }, [B]: ready }, current: A,
    }),
    phases: [
      [10, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' }, answeredDeepAt: 10 } } }],
      [20, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'H12 a good shallow answer does not end it, nor does a byte, nor a new connection',
    given: given({
      peers: { [A]: { ...kept, ...sickSince(0), question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } },
      dials: [{ id: 1, tried: [A], attempts: [attempt(7, A)], nextAt: 250 }], sampleAt: 250,
    }),
    phases: [
      [10, answered(A, 9), [], { peers: { [A]: sickSince(0) } }],
      [20, sampled(reading(1, 10, 0)), [], { peers: { [A]: sickSince(0) } }],
      [30, connected(1, 7), [deliver(1, 7, A)], { peers: { [A]: sickSince(0) } }],
    ],
  },
  {
    name: 'H12 a silent watch has its endpoint asked deep with the first question from 15 s on',
    given: given({
      peers: { [A]: { ...kept, askedAt: 10_000, heardAt: 10_000 } }, sockets: { 1: { address: A, heardAt: 10_000 } },
    }),
    phases: [[15_000, tick, [askDeep(100, A)]]],
  },
  {
    name: 'H12 and with none before that',
    given: given({
      peers: { [A]: { ...kept, askedAt: 9_999, heardAt: 9_999 } }, sockets: { 1: { address: A, heardAt: 9_999 } },
    }),
    phases: [[14_999, tick, [ask(100, A)]]],
  },
  {
    name: 'H12 a deep question that is due waits 5 s for one that comes anyway, and no longer',
    given: given({
      peers: { [A]: { ...kept, askedAt: 18_000, heardAt: 18_000 } }, sockets: { 1: { address: A, heardAt: 18_000 } },
    }),
    phases: [
      [19_999, tick, []],
      [20_000, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H12 a fresh connection that cannot be made tells of silence, and not of etcd',
    given: given({
      peers: {
        [A]: { ...kept, askedAt: 2_000, question: reaching(9, 0, { misses: 1, on: 'fresh', depth: 'deep' }) },
        [B]: ready,
      },
      sockets: { 1: { address: A, ...owed } },
    }),
    phases: [[5_000, tick, [abandon(A, 9), reportFailed(A, noConnection), ask(100, B)], {
      peers: { [A]: { voice: { is: 'silent', since: 5_000 } } },
    }]],
  },
]

const witnesses: readonly Row[] = [
  {
    name: 'H12 all are hollow: nobody is severed and nobody sick, and the next dial is as the ones before',
    given: given({
      peers: {
        [A]: { ...kept, ...hollow, askedAt: 100, askedDeepAt: 0, question: lastTry },
        [B]: { ...kept, ...hollowSince(5), askedAt: 100 },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: B } }, current: A,
      witness: { depth: 'shallow', asked: [], nextAt: 15_000, vain: 0 },
    }),
    phases: [
      [
        110, answered(A, 9), [],
        { peers: { [A]: { voice: { is: 'hollow', since: 5, strikes: 4, full: false }, sockets: 1 } } },
      ],
      [120, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'H12 the search for one that answers deep asks each, rests 15 s, and asks again',
    given: given({
      peers: { [A]: { ...kept, ...hollowSince(0), askedAt: 0, askedDeepAt: 0 }, [B]: ready, [C]: ready },
      sockets: { 1: { address: A, idle: true } }, current: A,
    }),
    phases: [
      [10, tick, [askDeep(100, B)]],
      [20, answered(B, 100, { status: 500 }), [ask(101, B)]],
      [30, answered(B, 101), [askDeep(102, C)], { peers: { [B]: hollowSince(30, 1) } }],
      [40, answered(C, 102, { status: 500 }), [ask(103, C)]],
      [50, answered(C, 103), []],
      [280, tick, [], { state: { witness: { depth: 'deep', asked: [], nextAt: 15_280, vain: 0 } } }],
    ],
  },
  {
    name: 'H12 one that answered deep before the first miss is no witness',
    given: given({
      peers: {
        [A]: { ...kept, ...hollow, question: lastTry },
        [B]: { ...ready, answeredDeepAt: 4, question: asking(8, 100, { depth: 'deep' }) },
      },
      sockets: { 1: { address: A, ...owed } }, current: A, witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [110, answered(A, 9), [], { peers: { [A]: { voice: { is: 'hollow', since: 5, strikes: 4, full: false } } } }],
    ],
  },
  {
    name: 'H12 one that answers shallow is no witness: it is asked deep as soon as that is over',
    given: given({
      peers: { [A]: { ...kept, ...hollow, question: lastTry }, [B]: { ...ready, question: asking(8, 100) } },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [110, answered(A, 9), []],
      [120, answered(B, 8), []],
      [360, tick, [askDeep(100, B)]],
      [370, answered(B, 100), [reportSick(A)], { peers: { [A]: sickSince(370, 1), [B]: { answeredDeepAt: 370 } } }],
    ],
  },
  {
    name: 'H12 all had lost their etcd: the first to come back has no socket of the others cut, which are asked again',
    given: given({
      peers: {
        [A]: { ...kept, ...hollowSince(5_000, 6), heardAt: 22_000, askedAt: 22_000, askedDeepAt: 20_000 },
        [B]: { ...ready, ...hollowSince(5_000, 6), question: asking(9, 24_000, { depth: 'deep' }) },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: A, idle: true } }, current: A,
      witness: { depth: 'deep', asked: [B], nextAt: 24_250, vain: 0 },
    }),
    phases: [
      [
        24_010, answered(B, 9), [reportSick(A)],
        { peers: { [A]: sickSince(24_010, 1), [B]: { voice: { is: 'well' } } } },
      ],
      [26_009, tick, []],
      [26_010, tick, [askDeep(100, A)]],
      [26_020, answered(A, 100), [], { peers: { [A]: { voice: { is: 'well' }, sockets: 2 } } }],
    ],
  },
  {
    name: 'H12 one that does not come back with the others is cut',
    given: given({
      peers: {
        [A]: { ...kept, ...sickSince(24_000, 1), heardAt: 24_000, question: asking(9, 26_000, { depth: 'deep' }) },
        [B]: { ...ready, answeredDeepAt: 24_000 },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: A, idle: true } }, current: B,
    }),
    phases: [
      [26_010, answered(A, 9, { status: 500 }), [ask(100, A)]],
      [26_020, answered(A, 100), [retire(2), severSick(1, A)], { peers: { [A]: sickSince(24_000, 2) } }],
    ],
  },
  {
    name: 'H12 a refresh that another answers deep is a witness as well',
    given: given({
      peers: {
        [A]: { ...kept, ...hollowSince(5, 1), askedAt: 5 },
        [B]: { ...ready, question: asking(8, 6, { depth: 'deep' }) },
      },
      sockets: { 1: { address: A } }, current: A, witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[10, answered(B, 8), [reportSick(A)]]],
  },
  {
    name: 'H12 with nobody in doubt, or no socket of who is, the search ends',
    given: given({
      peers: { [A]: { ...ready, ...hollowSince(5) }, [B]: ready },
      witness: { depth: 'shallow', asked: [], nextAt: 15_000, vain: 0 },
    }),
    phases: [[10, tick, [], { deadline: { at: 120_000, why: 'unused' } }]],
  },
  {
    name: 'H12, H4 after a stalled loop silence is not counted from before: only what is owed or idle is cut',
    given: given({
      peers: {
        [A]: { ...kept, ...sickSince(0, 1), question: asking(9, 4_000, { after: 'answer' }) },
        [B]: { ...ready, answeredDeepAt: 1 },
      },
      sockets: { 1: { address: A, ...owed }, 2: { address: A } }, current: B,
    }),
    phases: [
      [9_000, tickFor(7_999), []],
      [9_010, answered(A, 9), [severSick(1, A)], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
]

const owedOften: readonly Row[] = [
  {
    name: 'H12 what is owed again within 15 s is asked about in the cache: a pool that is never idle costs etcd little',
    given: given({
      peers: { [A]: { ...kept, askedAt: 5_000, askedDeepAt: 5_000, askedOwedAt: 5_000 } },
      sockets: { 1: { address: A, heardAt: 6_000, owedSince: 6_000 } },
    }),
    phases: [
      [6_999, tick, []],
      [7_000, tick, [ask(100, A)], { peers: { [A]: { askedOwedAt: 5_000 } } }],
      [7_010, answered(A, 100), [], { peers: { [A]: { owedSince: Infinity } } }],
    ],
  },
  {
    name: 'H12 what is owed 15 s later is asked about deep, although another deep question came between',
    given: given({
      peers: { [A]: { ...kept, askedAt: 18_000, askedDeepAt: 18_000, askedOwedAt: 5_000 } },
      sockets: { 1: { address: A, heardAt: 19_000, owedSince: 19_000 } },
    }),
    phases: [[20_000, tick, [askDeep(100, A)], { peers: { [A]: { askedOwedAt: 20_000 } } }]],
  },
  {
    name: 'H12 what is surely owed for 3 s is asked about deep, however short it is since the last time',
    given: given({
      peers: { [A]: { ...kept, askedAt: 5_000, askedDeepAt: 5_000, askedOwedAt: 5_000 } },
      sockets: { 1: { address: A, heardAt: 6_000, owedSince: 6_000, surelyOwed: true } },
    }),
    phases: [
      [7_000, tick, [ask(100, A)]],
      [7_010, answered(A, 100), []],
      [8_999, tick, []],
      [9_000, tick, [askDeep(101, A)], { peers: { [A]: { askedOwedAt: 9_000 } } }],
      [9_010, answered(A, 101), [], { deadline: { at: 11_000, why: 'silence' } }],
    ],
  },
]

const packets: readonly Row[] = [
  {
    name: 'H12 a request owed for 5 s although its endpoint answers: asked deep beside the kept one, and found sick',
    given: given({
      peers: {
        [A]: {
          ...kept, kept: { since: 0, usedAt: 4_010 }, connectMs: 5, askedAt: 4_000, askedDeepAt: 4_000,
          answeredAt: 4_010,
        }, [B]: ready,
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [4_999, tick, []],
      [5_000, tick, [askDeep(100, A, full)], { peers: { [A]: { kept: { since: 0, usedAt: 4_010 } } } }],
      [7_000, tick, [abandon(A, 100), ask(101, A), askDeep(102, B)]],
      [7_010, answered(A, 101), [], { peers: { [A]: hollowSince(7_000, 1, true) } }],
      [
        7_015, answered(B, 102), [reportSick(A, true)],
        { peers: { [A]: sickSince(7_015, 1, true), [B]: { answeredDeepAt: 7_015 } } },
      ],
      [9_010, tick, [ask(103, A)]],
      [9_012, answered(A, 103), []],
      [9_015, tick, [askDeep(104, A, full)]],
      [11_015, tick, [abandon(A, 104), ask(105, A)]],
      [11_025, answered(A, 105), [severSick(1, A)]],
    ],
  },
  {
    name: 'H12 a full handshake that is answered with 500 is followed by a shallow question on the kept connection',
    given: given({
      peers: {
        [A]: { ...kept, question: asking(9, 100, { depth: 'deep', on: 'full' }) },
        [B]: { ...ready, answeredDeepAt: 120 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [110, answered(A, 9, { status: 500 }), [ask(100, A)]],
      [120, answered(A, 100), [reportSick(A, true)], { peers: { [A]: sickSince(120, 1, true) } }],
    ],
  },
  {
    name: 'H12 a full handshake that is answered tells that the packets come through',
    given: given({
      peers: {
        [A]: { ...kept, ...hollowSince(0, 1, true), question: asking(9, 100, { depth: 'deep', on: 'full' }) },
        [B]: ready,
      },
      sockets: { 1: { address: A, ...owed } }, current: A, witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [[110, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' }, kept: { since: 0, usedAt: 0 } } } }]],
  },
  {
    name: 'H12 one that is asked with full handshakes has its next deep question 15 s after the last of those',
    given: given({
      peers: {
        [A]: {
          ...kept, ...sickSince(0, 2, true), askedAt: 14_000, askedDeepAt: 0, askedFullAt: 10_000, heardAt: 24_000,
        }, [B]: ready,
      },
      sockets: { 1: { address: A } }, current: B,
    }),
    phases: [
      [24_999, tick, []],
      [25_000, tick, [askDeep(100, A, full)], { peers: { [A]: { askedFullAt: 25_000, askedDeepAt: 0 } } }],
    ],
  },
  {
    name: 'H12 a deep answer on the kept connection does not tell so',
    given: given({
      peers: { [A]: { ...kept, ...sickSince(0, 2, true), question: asking(9, 100, { depth: 'deep' }) }, [B]: ready },
      sockets: { 1: { address: A } }, current: B,
    }),
    phases: [[110, answered(A, 9), [], { peers: { [A]: sickSince(0, 2, true) } }]],
  },
  {
    name: 'H12, H3 a new connection that is refused says nothing of packets: a graceful end answers what is in flight',
    given: given({
      peers: {
        [A]: { ...kept, question: reaching(9, 5_000, { depth: 'deep', on: 'full' }) },
        [B]: { ...ready, answeredDeepAt: 6_000 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [5_010, missed(A, 9, refused), [reportFailed(A)], {
        peers: { [A]: { voice: { is: 'well' }, kept: { since: 0, usedAt: 0 }, sockets: 1 } },
      }],
      [5_020, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'H12 the same for one that is reset',
    given: given({
      peers: { [A]: { ...kept, question: reaching(9, 5_000, { depth: 'deep', on: 'full' }) }, [B]: ready },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [[5_010, missed(A, 9, broken), [reportFailed(A, broken)]]],
  },
  {
    name: 'H12 where the kept connection does not answer either it is silence as any other',
    given: given({
      peers: {
        [A]: { ...kept, connectMs: 5, question: asking(9, 7_000, { after: 'full' }) },
        [B]: { ...ready, answeredAt: 8_000 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [
        9_000, tick, [ask(100, A, { on: 'fresh' }), ask(101, B)],
        { peers: { [A]: { voice: { is: 'suspect', since: 9_000 } } } },
      ],
      [11_000, tick, [abandon(A, 100), abandon(A, 9), reportFailed(A, noConnectionIn(2_000))]],
    ],
  },
  {
    name: 'H12 the request that is owed is asked about in full once, and another one 15 s later at the earliest',
    given: given({
      peers: {
        [A]: {
          ...kept, askedAt: 5_000, askedDeepAt: 5_000, askedFullAt: 5_000, owedSince: 6_000, surelyOwedSince: 6_000,
        },
      },
      sockets: { 1: { address: A, owedSince: 6_000, surelyOwed: true, heardAt: 6_000 } },
    }),
    phases: [
      [7_000, tick, [askDeep(100, A)]],
      [7_010, answered(A, 100), []],
      [9_010, tick, [ask(101, A)]],
      [9_020, answered(A, 101), []],
      [11_020, tick, [ask(102, A)]],
      [11_030, answered(A, 102), []],
      [13_030, tick, [ask(103, A)]],
      [13_040, answered(A, 103), []],
      [15_040, tick, [ask(104, A)]],
      [15_050, answered(A, 104), []],
      [19_900, tick, [ask(105, A)]],
      [19_910, answered(A, 105), []],
      [19_999, tick, []],
      [20_000, tick, [askDeep(106, A, full)]],
    ],
  },
  {
    name: 'H12 what may have been answered is not asked about in full',
    given: given({
      peers: { [A]: { ...kept, askedAt: 4_000, askedDeepAt: 4_000, heardAt: 4_000 } },
      sockets: { 1: { address: A, owedSince: 0, surelyOwed: false, heardAt: 4_000 } },
    }),
    phases: [[5_000, tick, []], [9_000, tick, [ask(100, A)]]],
  },
]

const load: readonly Row[] = [
  {
    name: 'H12, H9 a late answer from the cache tells of load: slow and not hollow, and nothing is cut',
    given: given({
      peers: {
        [A]: { ...kept, voice: { is: 'suspect', since: 5 }, question: lastTry },
        [B]: { ...ready, answeredAt: 50, answeredDeepAt: 50 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [
      [1_101, answered(A, 9), [
        retire(1),
        reportFailed(A, { kind: 'late', message: 'it took 1001 ms to answer from its cache' }),
      ], {
        peers: {
          [A]: { voice: { is: 'slow', since: 5, error: 'it took 1001 ms to answer from its cache' }, sockets: 1 },
        },
      }],
      [1_110, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'H12 an answer from the cache within half of heartbeatTimeout tells of etcd',
    given: given({
      peers: {
        [A]: { ...kept, voice: { is: 'suspect', since: 5 }, question: lastTry },
        [B]: { ...ready, answeredAt: 50, answeredDeepAt: 50 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [[1_100, answered(A, 9), [retire(1), reportSick(A), severSick(1, A)]]],
  },
  {
    name: 'H12, H9 no answer from the cache either: slow',
    given: given({
      peers: {
        [A]: { ...kept, voice: { is: 'suspect', since: 5 }, question: lastTry }, [B]: { ...ready, answeredAt: 50 },
      },
      sockets: { 1: { address: A, ...owed } }, current: A,
    }),
    phases: [[2_100, tick, [abandon(A, 9), reportFailed(A, noAnswer)], { peers: { [A]: slowSince(5) } }]],
  },
  {
    name: 'H12, H7 503 from the cache, too: refusing',
    given: given({
      peers: { [A]: { ...kept, ...hollowSince(5, 1), question: asking(9, 100, { after: 'answer' }) }, [B]: ready },
      sockets: { 1: { address: A } }, current: A, witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[110, answered(A, 9, { status: 503 }), [retire(1)], { peers: { [A]: refusing() } }]],
  },
]


runRows('etcd is lost', lostEtcd)
runRows('another that does better', witnesses)
runRows('what is owed often', owedOften)
runRows('full packets are lost', packets)
runRows('load', load)
