// Who is asked whether it lives, when, how deep and on which connection (H2), as rows. Discovery is off here, so that
// each question has one reason.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, attemptFailed, B, C, cause, closeMonitor, connect, dialled, failing, given, keptSince,
  local, missed, questionConnected, reading, ready, refused, rejectFailed, reportFailed, sampled, silentSince,
  slowSince, socketClosed, suspectSince, tick, used,
} from '../support/core-given.ts'

const inUse = given({ peers: { [A]: { ...used, ...keptSince(0) }, [B]: ready }, sockets: { 1: { address: A } } })
const alone = given({ peers: { [A]: used }, sockets: { 1: { address: A } } })

const asked: readonly Row[] = [
  {
    name: 'H2 an endpoint in use is asked after a silence of heartbeatInterval, and one without sockets is not',
    given: inUse,
    phases: [
      [4_999, tick, [], { deadline: { at: 5_000, why: 'silence' } }],
      [5_000, tick, [ask(100, A)], { deadline: { at: 7_000, why: 'question' }, counters: { heartbeats: 1 } }],
      [5_001, tick, []],
    ],
  },
  {
    name: 'H2 an endpoint whose sockets carry traffic is not asked: each byte from it begins the silence anew',
    given: inUse,
    phases: [
      [
        4_900,
        sampled(reading(1, 10, 0)),
        [],
        { peers: { [A]: { heardAt: 4_900 } }, deadline: { at: 5_150, why: 'sample' } },
      ],
      [5_000, tick, []],
      [9_800, sampled(reading(1, 20, 0)), []],
      [14_799, tick, [], { deadline: { at: 14_800, why: 'silence' } }],
      [14_800, tick, [ask(100, A)]],
    ],
  },
  {
    name: 'H2 what was written to it is no byte from it',
    given: given({
      peers: { [A]: used },
      sockets: { 1: { address: A, owedSince: 3 } },
      settings: { heartbeatInterval: 5_000 },
    }),
    phases: [[400, sampled(reading(1, 0, 70)), [], { peers: { [A]: { heardAt: 0, owedSince: 3 } } }]],
  },
  {
    name: 'H2 an answered heartbeat begins the silence anew, with a patience drawn anew',
    given: inUse,
    phases: [
      [5_000, tick, [ask(100, A)]],
      [5_010, answered(A, 100), [], { peers: { [A]: { heardAt: 5_010, answeredAt: 5_010, question: undefined } } }],
      [9_009, tick, []],
      [10_010, tick, [ask(101, A)]],
    ],
  },
  {
    name: 'H2 a request owed an answer for 1 s has its endpoint asked',
    given: inUse,
    phases: [
      [100, sampled(reading(1, 0, 50)), [], { peers: { [A]: { owedSince: 100 } }, sockets: { 1: { owedSince: 100 } } }],
      [1_099, tick, []],
      [1_100, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 where a pool tells when it began, that is since when it is owed',
    given: inUse,
    phases: [
      [
        100, sampled({ ...reading(1, 0, 50), unanswered: true, begunAt: 10 }), [],
        { peers: { [A]: { owedSince: 10, surelyOwedSince: 10 } }, sockets: { 1: { owedSince: 10 } } },
      ],
      [150, sampled({ ...reading(1, 80, 90), unanswered: true, begunAt: 120 }), [], { peers: { [A]: { owedSince: 120 } } }],
      [1_119, tick, []],
      [1_120, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 a second request does not put off the question about the first',
    given: inUse,
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [900, sampled(reading(1, 0, 90)), [], { sockets: { 1: { owedSince: 100 } } }],
      [1_100, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 a request that is answered in time owes nothing',
    given: inUse,
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [350, sampled(reading(1, 80, 50)), [], { peers: { [A]: { owedSince: Infinity, heardAt: 350 } } }],
      [1_350, tick, []],
    ],
  },
  {
    name: 'H2 a request stuck behind a fast one is found: a write and a read in one sample are owed',
    given: inUse,
    phases: [
      [
        250,
        sampled(reading(1, 80, 90)),
        [],
        { sockets: { 1: { owedSince: 250 } }, peers: { [A]: { owedSince: 250, heardAt: 250 } } },
      ],
      [1_249, tick, []],
      [1_250, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 an answered heartbeat clears what is owed until the next write, so that a watch costs nothing',
    given: given({
      peers: { [A]: used, [B]: used },
      sockets: { 1: { address: A, owedSince: 250, written: 90 }, 2: { address: B, owedSince: 300 } },
    }),
    phases: [
      [1_250, tick, [askDeep(100, A)]],
      [
        1_260,
        answered(A, 100),
        [],
        { sockets: { 1: { owedSince: Infinity }, 2: { owedSince: 300 } }, peers: { [A]: { owedSince: Infinity } } },
      ],
      [1_300, tick, [askDeep(101, B)]],
      [2_300, tick, []],
      [2_400, sampled(reading(1, 0, 99)), [], { sockets: { 1: { owedSince: 2_400 } } }],
    ],
  },
  {
    name: 'H2 a socket that waits in a pool owes nothing, whatever was written to it',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A, owedSince: 10 } } }),
    phases: [
      [
        100,
        sampled(reading(1, 0, 50, true)),
        [],
        { sockets: { 1: { owedSince: Infinity, idle: true } }, deadline: { at: 5_000, why: 'silence' } },
      ],
      [1_500, tick, []],
    ],
  },
  {
    name: 'H2 a byte on one socket does not put off the question about what another is owed',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } } }),
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [900, sampled(reading(2, 70, 0)), [], { peers: { [A]: { owedSince: 100, heardAt: 900 } } }],
      [1_099, tick, []],
      [1_100, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 what was owed to a socket that closed is forgotten with the next sample',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } } }),
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [200, socketClosed(1, { read: 80, written: 50 }), [], { peers: { [A]: { sockets: 1 } } }],
      [350, sampled(), [], { peers: { [A]: { owedSince: Infinity } } }],
      [1_350, tick, []],
    ],
  },
  {
    name: 'H2 one that was asked just now is asked again for what is owed only 1 s later',
    given: given({ peers: { [A]: { ...used, askedAt: 900 } }, sockets: { 1: { address: A } } }),
    phases: [
      [950, sampled(reading(1, 0, 50)), []],
      [1_949, tick, []],
      [1_950, tick, [askDeep(100, A)]],
    ],
  },
  {
    name: 'H2 one that is known to be silent, or slow, is asked at the normal interval, even while requests wait',
    given: given({
      peers: {
        [A]: { ...used, ...failing(0), ...silentSince(0, Infinity), askedAt: 2_000, askedDeepAt: 0 },
        [B]: { ...used, ...slowSince(0, undefined, Infinity), askedAt: 3_000, askedDeepAt: 0 },
      },
      sockets: { 1: { address: A, owedSince: 10 }, 2: { address: B, owedSince: 10 } },
      witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [6_999, tick, []],
      [7_000, tick, [ask(100, A)]],
      [8_000, tick, [ask(101, B)]],
    ],
  },
  {
    name: 'H2 several silent endpoints are each asked in their own time',
    given: given({
      peers: { [A]: used, [B]: { ...used, patience: 4_500 }, [C]: { ...used, heardAt: 3_000 } },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C }, 4: { address: A } },
    }),
    phases: [
      [4_500, tick, [ask(100, B)]],
      [5_000, tick, [ask(101, A)]],
      [5_001, answered(B, 100), []],
      [5_002, answered(A, 101), []],
      [8_000, tick, [ask(102, C)], { peers: { [A]: { question: undefined }, [B]: { question: undefined } } }],
    ],
  },
  {
    name: 'H2 heartbeatInterval 0 asks nobody for a silence',
    given: given({
      peers: { [A]: { ...used, kept: undefined } },
      sockets: { 1: { address: A, owedSince: 5 } },
      settings: { heartbeatInterval: 0 },
    }),
    phases: [[100_000, tick, [], { deadline: { at: 120_000, why: 'unused' } }]],
  },
  {
    name: 'H2 a dial that fails has its endpoint asked where sockets of it are open, as it does not prove them dead',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [
        11,
        attemptFailed(1, 100),
        [reportFailed(A), ask(101, A), rejectFailed(1, cause(A, refused))],
      ],
    ],
  },
  {
    name: 'H1 however many dials fail, their endpoint is asked for it at most once a second',
    given: given({ peers: { [A]: { ...used, askedAt: 0 } }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [990, dialled(1), [connect(1, 100, A)]],
      [999, attemptFailed(1, 100), [reportFailed(A), rejectFailed(1, cause(A, refused))]],
      [1_000, dialled(2), [connect(2, 101, A)]],
      [1_000, attemptFailed(2, 101), [ask(102, A), rejectFailed(2, cause(A, refused))]],
    ],
  },
  {
    name: 'H2 a sample of a socket that is not known changes nothing of any other',
    given: alone,
    phases: [
      [
        100,
        sampled(reading(77, 9, 9)),
        [],
        { sockets: { 1: { read: 0, written: 0 } }, peers: { [A]: { heardAt: 0 } } },
      ],
    ],
  },
  {
    name: 'H12 one in use is asked deep with the first question from 15 s on',
    given: given({ peers: { [A]: { ...used, ...keptSince(0), patience: 4_000 } }, sockets: { 1: { address: A } } }),
    phases: [
      [4_000, tick, [ask(100, A)]],
      [4_000, missed(A, 100, local), []],
      [8_000, tick, [ask(101, A)]],
      [8_000, missed(A, 101, local), []],
      [11_999, tick, [], { deadline: { at: 12_000, why: 'silence' } }],
      [12_000, tick, [ask(102, A)]],
      [12_000, missed(A, 102, local), []],
      [16_000, tick, [askDeep(103, A)]],
    ],
  },
  {
    name: 'F4 an endpoint in use is asked 100 ms after its first socket: a connection of ours is as old as those',
    given: given({ peers: { [A]: { ...used, kept: undefined } }, sockets: { 1: { address: A } } }),
    phases: [
      [99, tick, [], { deadline: { at: 100, why: 'silence' } }],
      [100, tick, [ask(100, A)]],
      [105, questionConnected(A, 100), []],
      [110, answered(A, 100), [], { peers: { [A]: { kept: { since: 105, usedAt: 110 } } } }],
    ],
  },
  {
    name: 'F4 with a second socket after 10 ms: who opens two does not end right away',
    given: given({ peers: { [A]: { ...used, kept: undefined } }, sockets: { 1: { address: A }, 2: { address: A } } }),
    phases: [[9, tick, [], { deadline: { at: 10, why: 'silence' } }], [10, tick, [ask(100, A)]]],
  },
  {
    name: 'F4 where that one failed for an error of this machine, the next is made with the next heartbeat',
    given: given({ peers: { [A]: { ...used, kept: undefined } }, sockets: { 1: { address: A } } }),
    phases: [
      [100, tick, [ask(100, A)]],
      [100, missed(A, 100, local), [], { deadline: { at: 5_100, why: 'silence' } }],
    ],
  },
  {
    name: 'F4, H10 one that has not been used for 75 s is closed, unless a socket is in use',
    given: given({
      peers: {
        [A]: { ...used, ...keptSince(-90_000, -75_000), usedSince: -4_000, askedAt: -75_000 },
        [B]: { ...used, ...keptSince(-90_000, -75_000) },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [[0, tick, [closeMonitor(B)], { deadline: { at: 5_000, why: 'silence' } }]],
  },
  {
    name: 'F4 sockets that wait in a pool, and those that have one already, need none',
    given: given({
      peers: { [A]: { ...used, kept: undefined }, [B]: { ...used, ...keptSince(-9) } },
      sockets: { 1: { address: A, idle: true }, 2: { address: B } },
    }),
    phases: [[100, tick, [], { deadline: { at: 5_000, why: 'silence' } }]],
  },
  {
    name: 'H12 idle pools are asked shallow, however long they wait',
    given: given({
      peers: { [A]: { ...used, ...keptSince(0), askedAt: 50_000 } },
      sockets: { 1: { address: A, idle: true } },
      usedAt: 50_000,
    }),
    phases: [[55_000, tick, [ask(100, A)]]],
  },
  {
    name: 'H10 what has gone to rest asks nobody, though a pool still holds sockets',
    given: given({
      peers: { [A]: { ...used, ...suspectSince(5), kept: undefined }, [B]: ready },
      sockets: { 1: { address: A, idle: true } },
      dormant: true,
    }),
    phases: [[500_000, tick, [], { deadline: null }]],
  },
]

runRows('asking', asked)
