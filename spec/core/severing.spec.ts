// Severing (H3), as rows: which open sockets are cut, and who is asked to be the witness.

import type { Peer } from '../../lib/core/state.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, B, broken, C, connect, connected, D, deliver, dialled, failing,
  given, hollowSince, keptSince, local, missed, noAnswer, noConnection, noConnectionIn, questionConnected, reaching,
  reading, ready, refused, removed, reportFailed, reportFailover, sampled, sever, sickSince, silentSince,
  socketClosed, suspectSince, tick, unreachable, used,
} from '../support/core-given.ts'

const fresh = { on: 'fresh' } as const
const kept = { ...used, ...keptSince(0) }
/** Missed one question at 5 ms, and a connection for the second one is being made since then. */
const suspect: Partial<Peer> = {
  ...used, ...suspectSince(5), question: reaching(7, 5, { misses: 1, on: 'fresh', deadline: 2_005 }),
}

/** Left two questions unanswered, the first of them at `time`. */
function silent(time: number): Partial<Peer> {
  const asked = time + 2_000
  return { ...used, ...failing(0), ...silentSince(time, Infinity), heardAt: -10_000, askedAt: asked, askedDeepAt: asked }
}

const severing: readonly Row[] = [
  {
    name: 'H3 a silent endpoint is severed, idle sockets and busy ones, as soon as another has answered',
    given: given({
      peers: { [A]: suspect, [B]: { ...used, answeredAt: 6 } },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: A, idle: true } },
    }),
    phases: [
      [
        2_005,
        tick,
        [
          abandon(A, 7),
          reportFailed(A, noConnectionIn(2_000)),
          sever(1, A, 'no connection within 2000 ms'),
          sever(3, A, 'no connection within 2000 ms'),
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
    name: 'H3 where all were missing, who comes back first proves nothing: the others are asked once more, and cut then',
    given: given({
      peers: { [A]: silent(5), [B]: { ...ready, question: asking(9) } },
      sockets: { 1: { address: A } },
      witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
      sampleAt: 3_000,
    }),
    phases: [
      [
        1_000,
        answered(B, 9),
        [ask(100, A)],
        { peers: { [A]: { ...silentSince(5, 1_000), sockets: 1 } } },
      ],
      [1_010, missed(A, 100, noConnection), [ask(101, A, fresh), sever(1, A, 'refused')], { peers: { [A]: { sockets: 0 } } }],
    ],
  },
  {
    name: 'H3 an answer from before the first miss is no witness',
    given: given({
      peers: { [A]: silent(5), [B]: { ...ready, answeredAt: 4 } },
      sockets: { 1: { address: A } },
      witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [[1_000, tick, [], { peers: { [A]: { sockets: 1 } } }]],
  },
  {
    name: 'H3 an answer of the suspect itself is no witness against it',
    given: given({
      peers: { [A]: suspect },
      sockets: { 1: { address: A } },
    }),
    phases: [[40, answered(A, 7), [], { peers: { [A]: { sockets: 1, voice: { is: 'well' } } } }]],
  },
  {
    name: 'H3 a witness is looked for with the first miss: asked as a dial would try them, each after attemptDelay',
    given: given({
      peers: {
        [A]: { ...kept, connectMs: 9, question: asking(7) },
        [B]: { connectMs: 9 },
        [C]: { ...ready, connectMs: 9 },
        [D]: removed,
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [2_000, tick, [ask(100, A, fresh), ask(101, C)], { deadline: { at: 2_250, why: 'witness' } }],
      [2_250, tick, [ask(102, B)]],
      [2_500, tick, [ask(103, D)]],
      [2_749, tick, []],
      [2_800, questionConnected(B, 102), []],
      [2_900, answered(B, 102), [], { deadline: { at: 4_000, why: 'question' } }],
      [
        4_000,
        tick,
        [
          abandon(A, 100),
          abandon(A, 7),
          reportFailed(A, noConnectionIn(2_000)),
          abandon(C, 101),
          reportFailed(C, noConnectionIn(2_000)),
          sever(1, A, 'no connection within 2000 ms'),
        ],
      ],
    ],
  },
  {
    name: 'H3 one that misses at once is no witness: the next is asked at once',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: ready, [C]: {} },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [ask(100, A, fresh), ask(101, B)]],
      [110, missed(B, 101, refused), [ask(102, B, fresh), ask(103, C)]],
      [111, missed(B, 102, refused), [reportFailed(B)]],
    ],
  },
  {
    name: 'H3 one that could not be asked for an error of this machine is no witness either',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: ready, [C]: {} },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [ask(100, A, fresh), ask(101, B)]],
      [110, missed(B, 101, local), [ask(102, C)]],
      [111, missed(C, 102, local), [], { deadline: { at: 360, why: 'witness' } }],
    ],
  },
  {
    name: "H3 one that fell silent long ago and is in nobody's use is given its attemptDelay like any other",
    given: given({
      peers: {
        [A]: { ...used, question: asking(7, 98_000) },
        [B]: { ...failing(0), ...silentSince(5) },
        [C]: failing(1),
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100_000, tick, [ask(100, A, fresh), ask(101, B)]],
      [100_100, tick, []],
      [100_250, tick, [ask(102, C)]],
    ],
  },
  {
    name: 'H3 one that is being asked already is not asked twice, and counts',
    given: given({
      peers: { [A]: { ...used, heardAt: -2_000, question: asking(7) }, [B]: { ...ready, question: asking(8) } },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [100, missed(A, 7), [ask(100, A, fresh)], { deadline: { at: 350, why: 'witness' } }],
      [101, missed(A, 100, noConnection), [reportFailed(A, noConnection)]],
      [102, answered(B, 8), [ask(101, A)]],
      [103, missed(A, 101, noConnection), [ask(102, A, fresh), sever(1, A, 'no connection within 5000 ms')]],
    ],
  },
  {
    name: 'H3 suspects that are in use themselves are not asked by the search: they are asked anyhow',
    given: given({
      peers: { [A]: { ...used, question: asking(7) }, [B]: silent(5), [C]: ready },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { depth: 'shallow', asked: [C], nextAt: 2_200, vain: 0 },
    }),
    phases: [[2_000, tick, [ask(100, A, fresh)]]],
  },
  {
    name: 'H3 the search begins all over again after an interval, and finds one that has recovered',
    given: given({
      peers: {
        [A]: { ...silent(0), askedAt: 20_000, askedDeepAt: 20_000, answeredAt: 15_000 },
        [B]: { ...failing(0), ...suspectSince(1) },
      },
      sockets: { 1: { address: A } },
      witness: { depth: 'shallow', asked: [B], nextAt: 20_250, vain: 0 },
    }),
    phases: [
      [20_250, tick, []],
      [24_249, tick, []],
      [25_250, tick, [ask(100, A), ask(101, B)]],
      [25_255, questionConnected(B, 101), []],
      [25_260, answered(B, 101), []],
      // Sent before there was a witness, and so no proof; what is sent after is.
      [25_300, missed(A, 100, noConnection), [ask(102, A, fresh)]],
      [25_310, missed(A, 102, noConnection), [reportFailed(A, noConnection), sever(1, A, 'no connection within 5000 ms')]],
    ],
  },
  {
    name: 'H3 the search that nobody answers rests for twice as long each time, with heartbeatInterval 0, too',
    given: given({
      peers: { [A]: { ...used, question: asking(7) } },
      sockets: { 1: { address: A } },
      settings: { heartbeatInterval: 0 },
    }),
    phases: [
      [10, missed(A, 7), [ask(100, A, fresh)], { deadline: { at: 2_010, why: 'witness' } }],
      [11, missed(A, 100), [reportFailed(A, noAnswer)], { deadline: { at: 2_010, why: 'witness' } }],
      [2_010, tick, [], { deadline: { at: 6_010, why: 'witness' } }],
      [6_010, tick, [], { state: { witness: { nextAt: 14_010, vain: 3 } } }],
      [14_010, tick, [], { state: { witness: { nextAt: 30_010, vain: 4 } } }],
      [30_010, tick, [], { state: { witness: { nextAt: 60_010, vain: 5 } } }],
    ],
  },
  {
    name: 'H3 the search rests a second, with heartbeatInterval 0, where somebody answered',
    given: given({
      peers: { [A]: { ...used, ...silent(0), answeredAt: 10 } }, sockets: { 1: { address: A } },
      settings: { heartbeatInterval: 0 },
    }),
    phases: [[10, tick, [], { state: { witness: { nextAt: 1_010, vain: 0 } } }]],
  },
  {
    name: 'H3 a byte ends the doubt in the middle of a search that nobody answers: it rests as at its end',
    given: given({
      peers: { [A]: { ...used, ...silent(0), question: asking(7, 10, { deadline: 1e6 }) }, [B]: failing(0) },
      sockets: { 1: { address: A } }, witness: { depth: 'deep', asked: [B], nextAt: 9_000, vain: 0 },
    }),
    phases: [[20, sampled(reading(1, 10, 0)), [], {
      state: { witness: { depth: 'deep', asked: [], nextAt: 30_020, vain: 1 } },
    }]],
  },
  {
    name: 'H3 a byte ends the doubt, and not the rest of a search that nobody answered: no other begins before its end',
    given: given({
      peers: { [A]: { ...used, ...silent(0), question: asking(7, 10, { deadline: 1e6 }) } },
      sockets: { 1: { address: A } }, witness: { depth: 'shallow', asked: [], nextAt: 9_000, vain: 1 },
    }),
    phases: [
      [20, sampled(reading(1, 10, 0)), [], {
        peers: { [A]: { voice: { is: 'well' } } },
        state: { witness: { depth: 'shallow', asked: [], nextAt: 9_000, vain: 1 } },
      }],
      [9_000, tick, [], { state: { witness: undefined } }],
    ],
  },
  {
    name: 'H3 the only server that answers: nothing is ever severed',
    given: given({ peers: { [A]: { ...silent(0), answeredAt: 0 }, [B]: failing(9) }, sockets: { 1: { address: A } } }),
    phases: [
      [2_000, tick, [ask(100, B)]],
      [2_001, missed(B, 100, refused), [ask(101, B, fresh)]],
      [2_002, missed(B, 101, refused), []],
      [2_250, tick, []],
      [7_300, tick, [ask(102, A), ask(103, B)]],
      [7_301, missed(A, 102, unreachable), [ask(104, A, fresh)]],
      [
        7_302,
        missed(A, 104, unreachable),
        [reportFailed(A, unreachable)],
        {
          counters: { severed: 0 },
          peers: { [A]: { sockets: 1, standing: { is: 'failed', failures: 2, silent: true } } },
        },
      ],
    ],
  },
  {
    name: 'H3 a byte from the suspect ends the search, and nothing is severed for what was',
    given: given({
      peers: { [A]: silent(0), [B]: { ...ready, question: asking(8) } },
      sockets: { 1: { address: A } },
      witness: { depth: 'shallow', asked: [B], nextAt: 1_000, vain: 0 },
    }),
    phases: [
      [
        500,
        sampled(reading(1, 5, 0)),
        [],
        { peers: { [A]: { voice: { is: 'well' } } }, deadline: { at: 750, why: 'sample' } },
      ],
      [600, answered(B, 8), [], { peers: { [A]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'H3 when the last socket of the suspect has closed the search ends',
    given: given({
      peers: { [A]: silent(0), [B]: { ...ready, question: asking(8) } },
      sockets: { 1: { address: A } },
      witness: { depth: 'shallow', asked: [B], nextAt: 1_000, vain: 0 },
    }),
    phases: [[500, socketClosed(1), [], { deadline: { at: 2_000, why: 'question' }, peers: { [A]: { sockets: 0 } } }]],
  },
  {
    name: 'H3 a new connection to a suspect is a byte from it',
    given: given({
      peers: { [A]: silent(0) },
      sockets: { 1: { address: A } },
      current: A,
      witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [
        20,
        connected(1, 100),
        [deliver(1, 100, A)],
        { peers: { [A]: { voice: { is: 'well' }, standing: { is: 'ready' }, sockets: 2 } } },
      ],
    ],
  },
  {
    name: 'H3 two that are silent are both severed when a third answers',
    given: given({
      peers: { [A]: silent(0), [B]: silent(9), [C]: { ...ready, question: asking(8) } },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { depth: 'shallow', asked: [C], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [
        500,
        answered(C, 8),
        [ask(100, A), ask(101, B)],
      ],
      [510, missed(A, 100, noConnection), [ask(102, A, fresh), sever(1, A, 'refused')]],
      [520, missed(B, 101, noConnection), [ask(103, B, fresh), sever(2, B, 'refused')], { counters: { severed: 2 } }],
    ],
  },
  {
    name: 'H3 of two that are silent, the one that answers is the witness against the other',
    given: given({
      peers: { [A]: { ...silent(0), question: asking(7) }, [B]: silent(9) },
      sockets: { 1: { address: A }, 2: { address: B } },
      witness: { depth: 'shallow', asked: [], nextAt: 1e6, vain: 0 },
    }),
    phases: [
      [
        500,
        answered(A, 7),
        [ask(100, B)],
      ],
      [510, missed(B, 100, noConnection), [ask(101, B, fresh), sever(2, B, 'refused')], {
        peers: { [A]: { sockets: 1 }, [B]: { sockets: 0 } },
      }],
    ],
  },
  {
    name: 'H3 a suspect that missed once is not severed, though another has answered',
    given: given({
      peers: {
        [A]: suspect,
        [B]: { ...ready, question: asking(8) },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [[500, answered(B, 8), [], { peers: { [A]: { sockets: 1 } } }]],
  },
  {
    name: 'H2 a byte between two misses clears the suspicion, and never starts the count of tries anew',
    given: given({
      peers: {
        [A]: { ...suspect, question: reaching(7, 5, { misses: 1, missedAt: 5, on: 'fresh', deadline: 2_005 }) },
        [B]: { ...ready, answeredAt: 6 },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [1_000, sampled(reading(1, 5, 0)), [], { peers: { [A]: { voice: { is: 'well' } } } }],
      [
        2_005,
        tick,
        [abandon(A, 7), reportFailed(A, noConnectionIn(2_000))],
        { peers: { [A]: { ...silentSince(2_005), question: undefined } } },
      ],
      [2_999, tick, [], { deadline: { at: 3_000, why: 'slow' } }],
      [3_000, tick, [sever(1, A, 'no connection within 2000 ms')]],
    ],
  },
  {
    name: 'H3 one out of reach is severed after heartbeatTimeout, unless it speaks; what is idle is, at once',
    given: given({
      peers: {
        [A]: { ...suspect, ...suspectSince(9_000), heardAt: 8_900 },
        [B]: { ...used, answeredAt: 9_000, heardAt: 9_000 },
        [C]: {
          ...suspect,
          ...suspectSince(9_000),
          heardAt: 8_900,
          question: reaching(8, 9_000, { misses: 1, on: 'fresh' }),
        },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C }, 4: { address: C, idle: true } },
    }),
    phases: [
      [
        9_001,
        missed(A, 7, unreachable),
        [reportFailed(A, unreachable)],
        { peers: { [A]: { voice: { is: 'silent' }, sockets: 1 } } },
      ],
      [
        9_001,
        missed(C, 8, unreachable),
        [reportFailed(C, unreachable), sever(4, C, 'EHOSTUNREACH')],
        { deadline: { at: 10_900, why: 'slow' } },
      ],
      [
        9_250,
        sampled(reading(1, 5, 0)),
        [],
        { peers: { [A]: { voice: { is: 'well' } }, [C]: { voice: { is: 'silent' } } } },
      ],
      [10_899, sampled(reading(1, 6, 0)), []],
      [10_900, tick, [sever(3, C, 'EHOSTUNREACH')], { peers: { [A]: { sockets: 1 }, [C]: { sockets: 0 } } }],
    ],
  },
  {
    name: 'H3 one that refuses or resets connections lives: it has failed, and what is open is left alone',
    given: given({
      peers: {
        [A]: suspect,
        [B]: { ...used, answeredAt: 6 },
        [C]: { ...suspect, question: reaching(8, 5, { misses: 1, on: 'fresh' }) },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C }, 4: { address: C, idle: true } },
    }),
    phases: [
      [
        100,
        missed(A, 7, refused),
        [reportFailed(A)],
        { peers: { [A]: { standing: { is: 'failed' }, voice: { is: 'well' } } } },
      ],
      [
        101,
        missed(C, 8, broken),
        [reportFailed(C, broken)],
        { peers: { [C]: { standing: { is: 'failed' }, voice: { is: 'well' } } } },
      ],
      [3_000, tick, [], { counters: { severed: 0 } }],
    ],
  },
  {
    name: 'H3 an endpoint nobody uses has nothing to sever, and needs no witness',
    given: given({ peers: { [A]: suspect, [B]: ready } }),
    phases: [
      [
        2_005,
        tick,
        [abandon(A, 7), reportFailed(A, noConnectionIn(2_000))],
        { deadline: { at: 120_000, why: 'unused' }, peers: { [A]: { voice: { is: 'silent' } } } },
      ],
    ],
  },
  {
    name: 'H3 the next dial after the one in use fell silent goes elsewhere, and tells why',
    given: given({ peers: { [A]: { ...silent(0), sockets: 0 }, [B]: ready }, current: A }),
    phases: [
      [10, dialled(1), [connect(1, 100, B)]],
      [20, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'refused')], { current: B }],
    ],
  },
  {
    name: 'H3 a sick one that falls silent needs a witness of its own: one of before its first miss does not do',
    given: given({
      peers: {
        [A]: { ...used, ...sickSince(5, 1), question: reaching(7, 900, { misses: 1, on: 'fresh' }) },
        [B]: { ...ready, answeredAt: 10, answeredDeepAt: 10 },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [
        2_900,
        missed(A, 7, unreachable),
        [reportFailed(A, unreachable), ask(100, B)],
        { peers: { [A]: { voice: { is: 'silent', since: 2_900 }, sockets: 1 } } },
      ],
    ],
  },
  {
    name: 'H12 one that is being asked shallow is asked deep when that is over, and not before',
    given: given({
      peers: {
        [A]: { ...used, ...hollowSince(0), askedAt: 10, askedDeepAt: 10 },
        [B]: { ...ready, question: asking(8) },
      },
      sockets: { 1: { address: A } },
    }),
    phases: [
      [10, tick, [], { state: { witness: { asked: [], nextAt: 260 } } }],
      [20, tick, [], { state: { witness: { asked: [], nextAt: 260 } } }],
      [30, answered(B, 8), []],
      [260, tick, [askDeep(100, B)], { state: { witness: { asked: [B], nextAt: 510 } } }],
    ],
  },
]

runRows('severing', severing)
