// Health (H2 to H5), as rows: who is asked whether it lives, what an answer and a miss mean, what is severed and
// what retired. Discovery is off here, but for its own rows elsewhere, so that each heartbeat has one reason.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Peer } from '../../lib/core/state.ts'
import { rowOf } from '../../lib/core/table.ts'
import { nextDeadline, step } from '../../lib/core/step.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A,
  abandon,
  answered,
  asking,
  attempt,
  attemptFailed,
  B,
  C,
  cause,
  closed,
  closeMonitor,
  connect,
  connected,
  D,
  deliver,
  destroy,
  dialled,
  failing,
  given,
  heartbeat,
  known,
  listOf,
  local,
  missed,
  noAnswer,
  noConnection,
  noDial,
  reading,
  ready,
  refused,
  reject,
  removed,
  reportEndpoints,
  reportFailed,
  reportFailover,
  reportWarning,
  retire,
  sampled,
  save,
  sever,
  socketClosed,
  tick,
  untrusted,
  used,
} from '../support/core-given.ts'

const suspectAt = (at: number): Partial<Peer> => ({ ...used, suspectSince: at })
const silentSince = (at: number): Partial<Peer> => ({
  ...used,
  ...failing(0),
  heardAt: -10_000,
  suspectSince: at,
  silent: true,
  askedAt: at + 2_000,
})
const inUse = given({ peers: { [A]: used, [B]: ready }, sockets: { 1: { address: A } } })
const alone = given({ peers: { [A]: used }, sockets: { 1: { address: A } } })

const asked: readonly Row[] = [
  {
    name: 'H2 an endpoint in use is asked after a silence of heartbeatInterval, and one without sockets is not',
    given: inUse,
    phases: [
      [4_999, tick, [], { deadline: { at: 5_000, why: 'silence' } }],
      [5_000, tick, [heartbeat(100, A)], { deadline: { at: 7_000, why: 'heartbeat' }, counters: { heartbeats: 1 } }],
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
      [14_800, tick, [heartbeat(100, A)]],
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
      [5_000, tick, [heartbeat(100, A)]],
      [5_010, answered(A, 100), [], { peers: { [A]: { heardAt: 5_010, provenAt: 5_010, heartbeat: undefined } } }],
      [9_009, tick, []],
      [10_010, tick, [heartbeat(101, A)]],
    ],
  },
  {
    name: 'H2 a request owed an answer for 1 s has its endpoint asked',
    given: inUse,
    phases: [
      [100, sampled(reading(1, 0, 50)), [], { peers: { [A]: { owedSince: 100 } }, sockets: { 1: { owedSince: 100 } } }],
      [1_099, tick, []],
      [1_100, tick, [heartbeat(100, A)]],
    ],
  },
  {
    name: 'H2 a second request does not put off the question about the first',
    given: inUse,
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [900, sampled(reading(1, 0, 90)), [], { sockets: { 1: { owedSince: 100 } } }],
      [1_100, tick, [heartbeat(100, A)]],
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
      [1_250, tick, [heartbeat(100, A)]],
    ],
  },
  {
    name: 'H2 an answered heartbeat clears what is owed until the next write, so that a watch costs nothing',
    given: given({
      peers: { [A]: { ...used, owedSince: 250 }, [B]: { ...used } },
      sockets: { 1: { address: A, owedSince: 250, written: 90 }, 2: { address: B, owedSince: 300 } },
    }),
    phases: [
      [1_250, tick, [heartbeat(100, A)]],
      [
        1_260,
        answered(A, 100),
        [],
        { sockets: { 1: { owedSince: Infinity }, 2: { owedSince: 300 } }, peers: { [A]: { owedSince: Infinity } } },
      ],
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
    name: 'H2 a byte on one socket proves the endpoint alive: what another is owed is asked 1 s later',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } } }),
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [900, sampled(reading(2, 70, 0)), [], { peers: { [A]: { owedSince: 100, heardAt: 900 } } }],
      [1_899, tick, []],
      [1_900, tick, [heartbeat(100, A)]],
    ],
  },
  {
    name: 'H2 what was owed to a socket that closed is forgotten with the next sample',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } } }),
    phases: [
      [100, sampled(reading(1, 0, 50)), []],
      [200, socketClosed(1), [], { peers: { [A]: { sockets: 1 } } }],
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
      [1_950, tick, [heartbeat(100, A)]],
    ],
  },
  {
    name: 'H2 one that is known to be silent is asked in peace, however much is owed',
    given: given({
      peers: { [A]: { ...silentSince(0), owedSince: 10 } },
      sockets: { 1: { address: A, owedSince: 10 } },
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [
      [6_999, tick, []],
      [7_000, tick, [heartbeat(100, A)]],
    ],
  },
  {
    name: 'H2 several silent endpoints are each asked in their own time',
    given: given({
      peers: { [A]: used, [B]: { ...used, patience: 4_500 }, [C]: { ...used, heardAt: 3_000 } },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C }, 4: { address: A } },
    }),
    phases: [
      [4_500, tick, [heartbeat(100, B)]],
      [5_000, tick, [heartbeat(101, A)]],
      [5_001, answered(B, 100), []],
      [5_002, answered(A, 101), []],
      [8_000, tick, [heartbeat(102, C)], { peers: { [A]: { heartbeat: undefined }, [B]: { heartbeat: undefined } } }],
    ],
  },
  {
    name: 'H2 heartbeatInterval 0 asks nobody for a silence',
    given: given({
      peers: { [A]: used },
      sockets: { 1: { address: A, owedSince: 5 } },
      settings: { heartbeatInterval: 0 },
    }),
    phases: [[100_000, tick, [], { deadline: null }]],
  },
  {
    name: 'H2 a dial that fails has its endpoint asked where sockets of it are open: they may be as dead',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [
        11,
        attemptFailed(1, 100),
        [reportFailed(A), heartbeat(101, A), reject(1, { kind: 'failed', causes: [cause(A, refused)] })],
      ],
    ],
  },
  {
    name: 'H2 however many dials fail, their endpoint is asked for it at most once a second',
    given: given({ peers: { [A]: { ...used, askedAt: 0 } }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [990, dialled(1), [connect(1, 100, A)]],
      [999, attemptFailed(1, 100), [reportFailed(A), reject(1, { kind: 'failed', causes: [cause(A, refused)] })]],
      [1_000, dialled(2), [connect(2, 101, A)]],
      [1_000, attemptFailed(2, 101), [heartbeat(102, A), reject(2, { kind: 'failed', causes: [cause(A, refused)] })]],
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
]

function answer(status: number, leaving: boolean): Row {
  return {
    name: `H2 ${status} proves it alive${leaving ? ', and makes it leaving' : ''}`,
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7), suspectSince: 3 } },
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
              draining: leaving,
              provenAt: 50,
              heardAt: 50,
              suspectSince: undefined,
              failures: 0,
              monitoredAt: 50,
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
    name: 'H2 a leaving one that answers below 500 again is ready again',
    given: given({ peers: { [A]: { ...used, draining: true, heartbeat: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { draining: false } } }]],
  },
  {
    name: 'H1 an answer on a connection made for it clears the failures, as a verified attempt does',
    given: given({
      peers: { [A]: { ...failing(9_000), heartbeat: asking(7) } },
      warned: new Map([[`identity ${A}`, 'wrong name']]),
    }),
    phases: [
      [
        50,
        answered(A, 7, { fresh: true }),
        [],
        { peers: { [A]: { failures: 0, verified: true, lastError: undefined } } },
      ],
    ],
  },
  {
    name: 'H1 an answer on a kept connection leaves a failed one failed: dials of it failed since',
    given: given({ peers: { [A]: { ...failing(9_000), heartbeat: asking(7) } } }),
    phases: [[50, answered(A, 7), [], { peers: { [A]: { failures: 1, verified: false } } }]],
  },
  {
    name: 'H2 a miss is asked again at once on a fresh connection, and nobody is blamed yet',
    given: alone,
    phases: [
      [5_000, tick, [heartbeat(100, A)]],
      [
        5_100,
        missed(A, 100, refused),
        [heartbeat(101, A, { fresh: true })],
        { peers: { [A]: { failures: 0, suspectSince: 5_100, silent: false, askedAt: 5_100 } } },
      ],
    ],
  },
  {
    name: 'H2 two misses in a row: failed, though nothing is severed as nobody else answers',
    given: alone,
    phases: [
      [5_000, tick, [heartbeat(100, A)]],
      [
        7_000,
        tick,
        [abandon(A, 100), heartbeat(101, A, { fresh: true })],
        { deadline: { at: 9_000, why: 'heartbeat' } },
      ],
      [
        9_000,
        tick,
        [abandon(A, 101), reportFailed(A, noAnswer)],
        {
          peers: {
            [A]: {
              failures: 1,
              silent: true,
              suspectSince: 7_000,
              sockets: 1,
              monitoredAt: undefined,
              heartbeat: undefined,
            },
          },
        },
      ],
    ],
  },
  {
    name: 'H2 a miss and an answer on the fresh connection: alive, and the next miss is a first one again',
    given: alone,
    phases: [
      [5_000, tick, [heartbeat(100, A)]],
      [5_100, missed(A, 100, refused), [heartbeat(101, A, { fresh: true })]],
      [
        5_200,
        answered(A, 101, { fresh: true }),
        [],
        { peers: { [A]: { suspectSince: undefined, silent: false, failures: 0 } } },
      ],
      [10_200, tick, [heartbeat(102, A)]],
      [10_300, missed(A, 102, refused), [heartbeat(103, A, { fresh: true })]],
    ],
  },
  {
    name: 'H2 an answer that comes after its heartbeat was given up changes nothing',
    given: alone,
    phases: [
      [5_000, tick, [heartbeat(100, A)]],
      [7_000, tick, [abandon(A, 100), heartbeat(101, A, { fresh: true })]],
      [7_100, answered(A, 100), [], { same: true }],
      [7_100, missed(A, 100), [], { same: true }],
      [9_000, tick, [abandon(A, 101), reportFailed(A, noAnswer)]],
      [9_001, answered(A, 101), [], { same: true }],
    ],
  },
  {
    name: 'H1 a heartbeat that fails for an error of this machine blames nobody, and is asked again after a silence',
    given: alone,
    phases: [
      [5_000, tick, [heartbeat(100, A)]],
      [
        5_001,
        missed(A, 100, local),
        [],
        { peers: { [A]: { failures: 0, suspectSince: undefined, heartbeat: undefined } } },
      ],
      [9_999, tick, []],
      [10_000, tick, [heartbeat(101, A)]],
    ],
  },
  {
    name: 'H1 an error of this machine in the second try blames nobody either',
    given: given({
      peers: { [A]: { ...used, suspectSince: 5, heartbeat: asking(7, 5, { misses: 1 }) } },
      sockets: { 1: { address: A } },
    }),
    phases: [[50, missed(A, 7, local), [], { peers: { [A]: { failures: 0, silent: false, heartbeat: undefined } } }]],
  },
  {
    name: 'H3 an endpoint that answers with a wrong certificate failed and is warned of; its sockets are not severed',
    given: given({
      peers: { [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) }, [B]: { ...ready, provenAt: 40 } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        50,
        missed(A, 7, untrusted),
        [reportFailed(A, untrusted), reportWarning(`identity ${A}`, 'wrong name')],
        { peers: { [A]: { silent: false, failures: 1, sockets: 1 } }, counters: { severed: 0 } },
      ],
    ],
  },
]

const severing: readonly Row[] = [
  {
    name: 'H3 a silent endpoint is severed, idle sockets and busy ones, as soon as another has answered',
    given: given({
      peers: { [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) }, [B]: { ...used, provenAt: 6 } },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: A, idle: true } },
    }),
    phases: [
      [
        2_005,
        tick,
        [
          abandon(A, 7),
          reportFailed(A, noAnswer),
          sever(1, A, 'no answer within 2000 ms'),
          sever(3, A, 'no answer within 2000 ms'),
        ],
        {
          peers: { [A]: { sockets: 0, owedSince: Infinity }, [B]: { sockets: 1 } },
          sockets: { 2: {} },
          counters: { severed: 2 },
        },
      ],
      [2_006, socketClosed(1), [], { same: true }],
    ],
  },
  {
    name: 'H3 a silent endpoint without another to answer is severed later, when one does',
    given: given({
      peers: { [A]: silentSince(5), [B]: { ...ready, heartbeat: asking(9) } },
      sockets: { 1: { address: A } },
      witness: { asked: [B], nextAt: 1e6 },
      sampleAt: 3_000,
    }),
    phases: [
      [
        1_000,
        answered(B, 9),
        [sever(1, A, 'refused')],
        { deadline: { at: 76_000, why: 'monitor' }, peers: { [A]: { sockets: 0 } } },
      ],
    ],
  },
  {
    name: 'H3 an answer from before the first miss is no witness',
    given: given({
      peers: { [A]: silentSince(5), [B]: { ...ready, provenAt: 4 } },
      sockets: { 1: { address: A } },
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [[1_000, tick, [], { peers: { [A]: { sockets: 1 } } }]],
  },
  {
    name: 'H3 an answer of the suspect itself is no witness against it',
    given: given({
      peers: { [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) } },
      sockets: { 1: { address: A } },
    }),
    phases: [[40, answered(A, 7, { fresh: true }), [], { peers: { [A]: { sockets: 1, silent: false } } }]],
  },
  {
    name: 'H3 a witness is looked for with the first miss: asked as a dial would try them, each after attemptDelay',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: {}, [C]: ready, [D]: removed },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        2_000,
        tick,
        [abandon(A, 7), heartbeat(100, A, { fresh: true }), heartbeat(101, C)],
        { deadline: { at: 2_250, why: 'witness' } },
      ],
      [2_250, tick, [heartbeat(102, B)]],
      [2_500, tick, [heartbeat(103, D)]],
      [2_749, tick, []],
      [2_900, answered(B, 102, { fresh: true }), [], { deadline: { at: 4_000, why: 'heartbeat' } }],
      [
        4_000,
        tick,
        [
          abandon(A, 100),
          reportFailed(A, noAnswer),
          abandon(C, 101),
          heartbeat(104, C, { fresh: true }),
          sever(1, A, 'no answer within 2000 ms'),
        ],
      ],
    ],
  },
  {
    name: 'H3 one that misses at once is no witness: the next is asked at once',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: ready, [C]: {} },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [heartbeat(100, A, { fresh: true }), heartbeat(101, B)]],
      [110, missed(B, 101, refused), [heartbeat(102, B, { fresh: true }), heartbeat(103, C)]],
      [111, missed(B, 102, refused), [reportFailed(B)]],
    ],
  },
  {
    name: 'H3 one that could not be asked for an error of this machine is no witness either',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: ready, [C]: {} },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [heartbeat(100, A, { fresh: true }), heartbeat(101, B)]],
      [110, missed(B, 101, local), [heartbeat(102, C)]],
      [111, missed(C, 102, local), [], { deadline: { at: 360, why: 'witness' } }],
    ],
  },
  {
    name: "H3 one that fell silent long ago and is in nobody's use is given its attemptDelay like any other",
    given: given({
      peers: {
        [A]: { ...used, heartbeat: asking(7, 98_000) },
        [B]: { ...failing(0), suspectSince: 5, silent: true },
        [C]: failing(1),
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100_000, tick, [abandon(A, 7), heartbeat(100, A, { fresh: true }), heartbeat(101, B)]],
      [100_100, tick, []],
      [100_250, tick, [heartbeat(102, C)]],
    ],
  },
  {
    name: 'H3 one that is being asked already is not asked twice, and counts',
    given: given({
      peers: { [A]: { ...used, heardAt: -2_000, heartbeat: asking(7) }, [B]: { ...ready, heartbeat: asking(8) } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [heartbeat(100, A, { fresh: true })], { deadline: { at: 350, why: 'witness' } }],
      [101, missed(A, 100), [reportFailed(A, noAnswer)]],
      [102, answered(B, 8), [sever(1, A, 'no answer within 2000 ms')]],
    ],
  },
  {
    name: 'H3 suspects that are in use themselves are not asked by the search: they are asked anyhow',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: silentSince(5), [C]: ready },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { asked: [C], nextAt: 2_200 },
    }),
    phases: [[2_000, tick, [abandon(A, 7), heartbeat(100, A, { fresh: true })]]],
  },
  {
    name: 'H3 the search begins all over again after an interval, and finds one that has recovered',
    given: given({
      peers: { [A]: { ...silentSince(0), askedAt: 20_000 }, [B]: { ...failing(0), suspectSince: 1 } },
      sockets: { 1: { address: A } },
      witness: { asked: [B], nextAt: 20_250 },
    }),
    phases: [
      [20_250, tick, []],
      [24_249, tick, []],
      [25_250, tick, [heartbeat(100, A), heartbeat(101, B)]],
      [25_260, answered(B, 101, { fresh: true }), [sever(1, A, 'refused')]],
    ],
  },
  {
    name: 'H3 with heartbeatInterval 0 the search rests a second between two rounds, and is no storm',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) } },
      sockets: { 1: { address: A } },
      settings: { heartbeatInterval: 0 },
    }),
    phases: [
      [10, missed(A, 7), [heartbeat(100, A, { fresh: true })], { deadline: { at: 1_010, why: 'witness' } }],
      [11, missed(A, 100), [reportFailed(A, noAnswer)], { deadline: { at: 1_010, why: 'witness' } }],
      [1_010, tick, [], { deadline: { at: 2_010, why: 'witness' } }],
    ],
  },
  {
    name: 'H3 the only server that answers: nothing is ever severed',
    given: given({ peers: { [A]: silentSince(0), [B]: failing(9) }, sockets: { 1: { address: A } } }),
    phases: [
      [2_000, tick, [heartbeat(100, B)]],
      [2_001, missed(B, 100), [heartbeat(101, B, { fresh: true })]],
      [2_002, missed(B, 101), [reportFailed(B, noAnswer)]],
      [2_250, tick, []],
      [7_300, tick, [heartbeat(102, A), heartbeat(103, B)]],
      [7_301, missed(A, 102), [heartbeat(104, A, { fresh: true })]],
      [
        7_302,
        missed(A, 104),
        [reportFailed(A, noAnswer)],
        { counters: { severed: 0 }, peers: { [A]: { sockets: 1, failures: 2 } } },
      ],
    ],
  },
  {
    name: 'H3 a byte from the suspect ends the search, and nothing is severed for what was',
    given: given({
      peers: { [A]: silentSince(0), [B]: { ...ready, heartbeat: asking(8) } },
      sockets: { 1: { address: A } },
      witness: { asked: [B], nextAt: 1_000 },
    }),
    phases: [
      [
        500,
        sampled(reading(1, 5, 0)),
        [],
        { peers: { [A]: { silent: false, suspectSince: undefined } }, deadline: { at: 750, why: 'sample' } },
      ],
      [600, answered(B, 8), [], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'H3 when the last socket of the suspect has closed the search ends',
    given: given({
      peers: { [A]: silentSince(0), [B]: { ...ready, heartbeat: asking(8) } },
      sockets: { 1: { address: A } },
      witness: { asked: [B], nextAt: 1_000 },
    }),
    phases: [[500, socketClosed(1), [], { deadline: { at: 2_000, why: 'heartbeat' }, peers: { [A]: { sockets: 0 } } }]],
  },
  {
    name: 'H3 a new connection to a suspect is a byte from it',
    given: given({
      peers: { [A]: silentSince(0) },
      sockets: { 1: { address: A } },
      current: A,
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [
        20,
        connected(1, 100),
        [deliver(1, 100, A)],
        { peers: { [A]: { silent: false, suspectSince: undefined, sockets: 2, failures: 0 } } },
      ],
    ],
  },
  {
    name: 'H3 two that are silent are both severed when a third answers',
    given: given({
      peers: { [A]: silentSince(0), [B]: silentSince(9), [C]: { ...ready, heartbeat: asking(8) } },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { asked: [C], nextAt: 1e6 },
    }),
    phases: [
      [
        500,
        answered(C, 8),
        [sever(1, A, 'refused'), sever(2, B, 'refused')],
        { counters: { severed: 2 }, deadline: { at: 75_500, why: 'monitor' } },
      ],
    ],
  },
  {
    name: 'H3 of two that are silent, the one that answers is the witness against the other',
    given: given({
      peers: { [A]: { ...silentSince(0), heartbeat: asking(7) }, [B]: silentSince(9) },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { asked: [], nextAt: 1e6 },
    }),
    phases: [
      [
        500,
        answered(A, 7, { fresh: true }),
        [sever(2, B, 'refused')],
        { peers: { [A]: { sockets: 1 }, [B]: { sockets: 0 } } },
      ],
    ],
  },
  {
    name: 'H3 a suspect that missed once is not severed, though another has answered',
    given: given({
      peers: {
        [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) },
        [B]: { ...ready, heartbeat: asking(8) },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [[500, answered(B, 8), [], { peers: { [A]: { sockets: 1 } } }]],
  },
  {
    name: 'H3 a byte between two misses: they are not two in a row, and the next miss is a first one again',
    given: given({
      peers: { [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) }, [B]: { ...ready, provenAt: 6 } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [1_000, sampled(reading(1, 5, 0)), []],
      [
        2_005,
        tick,
        [abandon(A, 7), heartbeat(100, A, { fresh: true }), heartbeat(101, B)],
        { peers: { [A]: { failures: 0, silent: false, suspectSince: 2_005 } } },
      ],
      [2_010, answered(B, 101), []],
      [4_005, tick, [abandon(A, 100), reportFailed(A, noAnswer), sever(1, A, 'no answer within 2000 ms')]],
    ],
  },
  {
    name: 'H3 one that refuses connections but spoke within heartbeatTimeout is not severed, nor later if it speaks',
    given: given({
      peers: {
        [A]: { ...suspectAt(9_000), heardAt: 8_900, heartbeat: asking(7, 9_000, { misses: 1 }) },
        [B]: { ...used, provenAt: 9_000, heardAt: 9_000 },
        [C]: { ...suspectAt(9_000), heardAt: 8_900, heartbeat: asking(8, 9_000, { misses: 1 }) },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C } },
    }),
    phases: [
      [9_001, missed(A, 7, refused), [reportFailed(A)], { peers: { [A]: { silent: true, sockets: 1 } } }],
      [9_001, missed(C, 8, refused), [reportFailed(C)]],
      [9_250, sampled(reading(1, 5, 0)), [], { peers: { [A]: { silent: false }, [C]: { silent: true } } }],
      [10_899, sampled(reading(1, 6, 0)), []],
      [10_900, tick, [sever(3, C, 'refused')], { peers: { [A]: { sockets: 1 }, [C]: { sockets: 0 } } }],
    ],
  },
  {
    name: 'H3 an endpoint nobody uses has nothing to sever, and needs no witness',
    given: given({ peers: { [A]: { ...ready, suspectSince: 5, heartbeat: asking(7, 5, { misses: 1 }) }, [B]: ready } }),
    phases: [
      [2_005, tick, [abandon(A, 7), reportFailed(A, noAnswer)], { deadline: null, peers: { [A]: { silent: true } } }],
    ],
  },
  {
    name: 'H3 the next dial after the one in use fell silent goes elsewhere, and tells why',
    given: given({ peers: { [A]: { ...silentSince(0), sockets: 0 }, [B]: ready }, current: A }),
    phases: [
      [10, dialled(1), [connect(1, 100, B)]],
      [20, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'refused')], { current: B }],
    ],
  },
]

const late: readonly Row[] = [
  {
    name: 'H4 an attempt whose deadline is handled more than 1 s late is given its time again',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }] }),
    phases: [
      [6_001, tick, [], { peers: { [A]: { failures: 0 } }, deadline: { at: 11_001, why: 'dial' } }],
      [
        11_001,
        tick,
        [
          destroy(1, 10),
          reportFailed(A, noConnection),
          reject(1, { kind: 'failed', causes: [cause(A, noConnection)] }),
        ],
      ],
    ],
  },
  {
    name: 'H4 of two attempts only the one that is late is given its time again',
    given: given({
      peers: { [A]: ready, [B]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(10, A), attempt(11, B, 4_000)] }],
    }),
    phases: [[6_001, tick, [], { deadline: { at: 9_000, why: 'dial' } }]],
  },
  {
    name: 'H4 an attempt whose deadline is handled 1 s late has failed',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }] }),
    phases: [
      [
        6_000,
        tick,
        [
          destroy(1, 10),
          reportFailed(A, noConnection),
          reject(1, { kind: 'failed', causes: [cause(A, noConnection)] }),
        ],
      ],
    ],
  },
  {
    name: 'H4 a dial found late is given one more attemptTimeout, and its next candidate is started at once',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [100_000, tick, [connect(1, 101, B)], { deadline: { at: 100_250, why: 'dial' } }],
      [
        100_300,
        connected(1, 101),
        [deliver(1, 101, B), destroy(1, 100), reportFailover(A, B, 'no connection within 250 ms'), heartbeat(102, A)],
      ],
    ],
  },
  {
    name: 'H4 a dial is put off once and no more: its bound holds even where this machine stalls for ever',
    given: given({ peers: { [A]: ready }, dials: [{ id: 1, tried: [A], attempts: [attempt(10, A, 14_000)] }] }),
    phases: [
      [17_000, tick, [], { deadline: { at: 19_000, why: 'dial' } }],
      [30_000, tick, [destroy(1, 10), reject(1, { kind: 'timedOut', causes: [cause(A, noDial)] })]],
    ],
  },
  {
    name: 'H4 a heartbeat whose deadline is handled more than 1 s late is waited for again',
    given: given({ peers: { [A]: { ...used, heartbeat: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [
      [3_001, tick, [], { peers: { [A]: { suspectSince: undefined } }, deadline: { at: 5_001, why: 'heartbeat' } }],
      [3_010, answered(A, 7), [], { peers: { [A]: { failures: 0, provenAt: 3_010 } } }],
    ],
  },
  {
    name: 'H4 a heartbeat whose deadline is handled 1 s late is missed',
    given: given({ peers: { [A]: { ...used, heartbeat: asking(7) } }, sockets: { 1: { address: A } } }),
    phases: [[3_000, tick, [abandon(A, 7), heartbeat(100, A, { fresh: true })]]],
  },
  {
    name: 'H4 after a long suspension everything is asked again and nothing is failed or severed',
    given: given({
      peers: {
        [A]: { ...suspectAt(5), heartbeat: asking(7, 5, { misses: 1 }) },
        [B]: { ...used, provenAt: 6 },
        [C]: { ...used, owedSince: 10 },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C, owedSince: 10 } },
      dials: [{ id: 1, tried: [A], attempts: [attempt(10, A)] }],
    }),
    phases: [
      [
        3_600_000,
        tick,
        [heartbeat(100, B), heartbeat(101, C)],
        { counters: { severed: 0 }, peers: { [A]: { failures: 0 } } },
      ],
    ],
  },
]

const leaving: readonly Row[] = [
  {
    name: 'H5 an endpoint that is listed no longer has its sockets retired as another is ready, and each once',
    given: given({
      peers: { [A]: used, [B]: { ...ready, heartbeat: asking(7) } },
      sockets: { 1: { address: A, idle: true }, 2: { address: A } },
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(B, 7, { body: listOf([B]) }),
        [reportEndpoints(B), save(B), retire(1), retire(2)],
        {
          peers: { [A]: { removedAt: 10, retired: true, sockets: 2 } },
          sockets: { 1: { retired: true }, 2: { retired: true } },
        },
      ],
      [11, tick, []],
    ],
  },
  {
    name: 'H5 an endpoint that is listed as unready has its sockets retired',
    given: given({
      peers: { [A]: used, [B]: { ...ready, heartbeat: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(B, 7, { body: listOf([B], [A]) }),
        [reportEndpoints(B), save(B), retire(1)],
        { peers: { [A]: { unready: true } } },
      ],
    ],
  },
  {
    name: 'H5 an endpoint that answers 503 has its sockets retired',
    given: given({ peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [[10, answered(A, 7, { status: 503 }), [retire(1)], { peers: { [A]: { draining: true, sockets: 1 } } }]],
  },
  {
    name: 'H5 a leaving one whose new connections fail has its sockets retired all the same',
    given: given({
      peers: { [A]: { ...used, ...failing(0) }, [B]: { ...ready, heartbeat: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: known,
    }),
    phases: [[10, answered(B, 7, { body: listOf([B]) }), [reportEndpoints(B), save(B), retire(1)]]],
  },
  {
    name: 'H5 a failed one that is not leaving keeps its sockets',
    given: given({ peers: { [A]: { ...used, ...failing(0) }, [B]: ready }, sockets: { 1: { address: A } } }),
    phases: [[10, tick, []]],
  },
  {
    name: 'H5 while no other is ready a leaving one keeps its sockets, and loses them when one is',
    given: given({
      peers: { [A]: { ...used, draining: true }, [B]: failing(0) },
      sockets: { 1: { address: A } },
      current: A,
    }),
    phases: [
      [10, tick, []],
      [20, dialled(1), [connect(1, 100, A)]],
      [21, connected(1, 100), [deliver(1, 100, A)]],
      [30, dialled(2), [connect(2, 101, A)]],
      [280, tick, [connect(2, 102, B)]],
      [
        281,
        connected(2, 102),
        [
          deliver(2, 102, B),
          destroy(2, 101),
          reportFailover(A, B, 'leaving'),
          heartbeat(103, A),
          retire(1),
          retire(100),
        ],
      ],
    ],
  },
  {
    name: 'H5 where none is known to be ready, one that is untried is asked, once, and takes over when it answers',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: { listed: true }, [C]: { listed: true, askedAt: 0 } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [10, answered(A, 7, { status: 503 }), [heartbeat(100, B)]],
      [20, tick, []],
      [30, answered(B, 100, { status: 200, fresh: true }), [retire(1)]],
    ],
  },
  {
    name: 'H5 a leaving one is dialled after all others, and a socket that it still gives is retired at once',
    given: given({
      peers: { [A]: { ...used, ...removed }, [B]: ready },
      dials: [{ id: 1, tried: [B, A], attempts: [attempt(10, A)], causes: [cause(B, local)] }],
      sockets: { 1: { address: A, retired: true } },
    }),
    phases: [[10, connected(1, 10), [deliver(1, 10, A), retire(10)], { sockets: { 10: { retired: true } } }]],
  },
  {
    name: 'H5 busy sockets of a leaving one are left to finish: it is asked when silent, and severed only by H2',
    given: given({
      peers: {
        [A]: { ...used, ...removed, heartbeat: asking(7, 5, { misses: 1 }), suspectSince: 5, retired: true },
        [B]: { ...ready, provenAt: 9 },
      },
      sockets: { 1: { address: A, retired: true } },
    }),
    phases: [[2_005, tick, [abandon(A, 7), reportFailed(A, noAnswer), sever(1, A, 'no answer within 2000 ms')]]],
  },
  {
    name: 'H5 there is no fail-back: when the one that left is back, the last working one stays so',
    given: given({
      peers: { [A]: { ...ready, unready: true }, [B]: { ...ready, heartbeat: asking(7) } },
      current: B,
      discovery: known,
    }),
    phases: [
      [10, answered(B, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B)]],
      [11, dialled(1), [connect(1, 100, B)]],
    ],
  },
]

const keeping: readonly Row[] = [
  {
    name: 'the monitor connection is closed when it was unused for 75 s',
    given: given({ peers: { [A]: { monitoredAt: 1_000 } } }),
    phases: [
      [75_999, tick, [], { deadline: { at: 76_000, why: 'monitor' } }],
      [76_000, tick, [closeMonitor(A)], { deadline: null, peers: { [A]: { monitoredAt: undefined } } }],
    ],
  },
  {
    name: 'the monitor connection is not closed while it is asked on',
    given: given({ peers: { [A]: { monitoredAt: 1_000, heartbeat: asking(7, 75_500) } } }),
    phases: [[76_500, tick, [], { deadline: { at: 77_500, why: 'heartbeat' } }]],
  },
  {
    name: 'bytes are looked at every 250 ms while a socket is in use, and not while all wait in pools',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A }, 2: { address: A } }, sampleAt: 250 }),
    phases: [
      [250, sampled(reading(1, 0, 0, true)), [], { deadline: { at: 500, why: 'sample' } }],
      [500, sampled(reading(2, 0, 0, true)), [], { deadline: { at: 5_000, why: 'silence' } }],
      [900, { type: 'trafficResumed' }, [], { deadline: { at: 1_150, why: 'sample' } }],
      [901, { type: 'trafficResumed' }, [], { same: true }],
      [1_150, tick, [], { deadline: { at: 1_400, why: 'sample' } }],
    ],
  },
  {
    name: 'with no socket left no bytes are looked at, though a pool speaks of traffic',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A } }, sampleAt: 250 }),
    phases: [
      [10, socketClosed(1), [], { deadline: null }],
      [20, { type: 'trafficResumed' }, [], { same: true, deadline: null }],
    ],
  },
  {
    name: 'after close() traffic is of no interest',
    given: given({ peers: { [A]: used }, sockets: { 1: { address: A } } }),
    phases: [
      [10, closed, []],
      [20, { type: 'trafficResumed' }, [], { same: true, deadline: null }],
    ],
  },
  {
    name: 'maxConnectionAge retires a socket once, and does not touch younger ones',
    given: given({
      peers: { [A]: { ...used, heardAt: 1_000 } },
      sockets: { 1: { address: A, wakeAt: 1_000 }, 2: { address: A, wakeAt: 2_000 } },
    }),
    phases: [
      [999, tick, [], { deadline: { at: 1_000, why: 'age' } }],
      [
        1_000,
        tick,
        [retire(1)],
        { sockets: { 1: { retired: true, wakeAt: Infinity } }, deadline: { at: 2_000, why: 'age' } },
      ],
    ],
  },
  {
    name: 'a socket that maxConnectionAge retired is not retired again when its endpoint leaves',
    given: given({
      peers: { [A]: { ...used, heartbeat: asking(7) }, [B]: ready },
      sockets: { 1: { address: A, retired: true }, 2: { address: A } },
    }),
    phases: [[10, answered(A, 7, { status: 429 }), [retire(2)]]],
  },
]

runRows('heartbeats: who is asked', asked)
runRows('heartbeats: answers and misses', answers)
runRows('severing', severing)
runRows('late deadlines', late)
runRows('leaving', leaving)
runRows('connections that are kept', keeping)

describe('jitter of health', () => {
  it('H1 the retry time is drawn from 0 to 250 ms, doubling to 30 s, and every endpoint is asked for its own', () => {
    const bounds = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    const most = bounds.map(() => 0)
    for (let randomSeed = 0; randomSeed < 200; randomSeed += 1) {
      for (const [failures, bound] of bounds.entries()) {
        const from = { ...given({ peers: { [A]: failures === 0 ? {} : failing(0, failures) } }), seed: randomSeed }
        const [dialling] = step(from, dialled(1), 1_000)
        const [state] = step(dialling, attemptFailed(1, 100), 1_000)
        const pause = (state.peers.get(A)?.retryAt ?? NaN) - 1_000
        assert.ok(pause >= 0 && pause < bound, `after ${failures + 1} failures: ${pause} ms`)
        most[failures] = Math.max(most[failures] ?? 0, pause)
      }
    }
    for (const [failures, bound] of bounds.entries())
      assert.ok((most[failures] ?? 0) > 0.9 * bound, `never near ${bound} ms`)
  })

  it('H2 the silence after an answer is from 20 % less than heartbeatInterval to heartbeatInterval', () => {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = {
        ...given({ peers: { [A]: { ...used, heartbeat: asking(7) } }, sockets: { 1: { address: A } } }),
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

  it('maxConnectionAge is from 10 % less to what was given', () => {
    let least = Infinity
    let most = 0
    for (let randomSeed = 0; randomSeed < 500; randomSeed += 1) {
      const from = { ...given({ peers: { [A]: ready }, settings: { maxConnectionAge: 1_000 } }), seed: randomSeed }
      const [dialling] = step(from, dialled(1), 0)
      const [state] = step(dialling, connected(1, 100), 0)
      const wakeAt = rowOf(state.sockets, 100)?.wakeAt ?? NaN
      least = Math.min(least, wakeAt)
      most = Math.max(most, wakeAt)
    }
    assert.ok(least >= 900 && least < 905 && most <= 1_000 && most > 995, `from ${least} to ${most} ms`)
  })
})
