// Another identity (I5), as rows: connections do not outlive the credentials that made them.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, askDeep, asking, attempt, attemptFailed, B, closed, closeMonitor, connect, connected,
  deliver, destroy, dialled, doubted, given, identityChanged, keptSince, known, listOf, noConnectionIn,
  questionConnected, reaching, ready, refreshed, reportEndpoints, reportFailed, retire, roundOf, save, sever,
  severDeaf, sickSince, suspectSince, tick, used, ask,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }

const rows: readonly Row[] = [
  {
    name: 'I5 every socket is told to close when it is idle, once, and the monitor\'s connections are closed',
    given: given({
      peers: { [A]: kept, [B]: kept },
      sockets: {
        1: { address: A }, 2: { address: A, idle: true }, 3: { address: B }, 4: { address: B, retired: true },
      }, current: A,
    }),
    phases: [
      [10, identityChanged, [retire(1), retire(2), retire(3), closeMonitor(A), closeMonitor(B)], {
        peers: { [A]: { kept: undefined, sockets: 2 }, [B]: { kept: undefined, sockets: 2 } },
      }],
      [20, identityChanged, []],
    ],
  },
  {
    name: 'I5 what is made afterwards is not told to close, and the endpoint is used as before',
    given: given({ peers: { [A]: kept, [B]: ready }, sockets: { 1: { address: A } }, current: A }),
    phases: [
      [10, identityChanged, [retire(1), closeMonitor(A)]],
      [20, dialled(1), [connect(1, 100, A)]],
      [30, connected(1, 100), [deliver(1, 100, A)], { sockets: { 1: { retired: true }, 100: { retired: false } } }],
    ],
  },
  {
    name: 'I5 questions on their way are given up, and what they would have told of one not in use is not known',
    given: given({
      peers: {
        [A]: { ...ready, ...suspectSince(5), question: asking(9, 5) },
        [B]: { ...ready, ...doubted, question: reaching(10) },
      },
      witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[10, identityChanged, [abandon(A, 9), abandon(B, 10)], {
      peers: {
        [A]: { question: undefined, voice: { is: 'well' } },
        [B]: { question: undefined, voice: { is: 'well' } },
      },
    }]],
  },
  {
    name: 'I5 one in use is asked again where its questions had come to, so that it is found out all the same',
    given: given({
      peers: {
        [A]: {
          ...kept, kept: undefined, connectMs: 5, ...suspectSince(2_000),
          question: reaching(9, 2_000, { misses: 1, on: 'fresh', depth: 'deep' }),
        },
        [B]: { ...ready, ...keptSince(0), answeredAt: 2_010 },
      },
      sockets: { 1: { address: A, owedSince: 0, surelyOwed: true, retired: true } }, current: A,
    }),
    phases: [
      [3_900, identityChanged, [abandon(A, 9), askDeep(100, A, { on: 'fresh' }), closeMonitor(B)], {
        peers: { [A]: suspectSince(2_000) },
      }],
      [5_900, tick, [
        abandon(A, 100), reportFailed(A, noConnectionIn(2_000)), sever(1, A, noConnectionIn(2_000).message),
      ]],
    ],
  },
  {
    name: 'I5, F4 what its old connection left unanswered counts, and is listened to no longer',
    given: given({
      peers: {
        [A]: {
          ...kept, kept: undefined, connectMs: 5, ...suspectSince(2_000),
          deaf: { question: 8, since: 0, until: Infinity },
          question: reaching(9, 2_000, { misses: 1, on: 'fresh' }),
        },
      },
      sockets: { 1: { address: A, retired: true } }, current: A,
    }),
    phases: [
      [2_001, identityChanged, [abandon(A, 9), abandon(A, 8), ask(100, A, { on: 'fresh' })], {
        peers: { [A]: { deaf: { question: undefined, since: 0, until: Infinity, replaced: true } } },
      }],
      [2_005, questionConnected(A, 100), []],
      [2_010, answered(A, 100), []],
      [4_010, tick, [severDeaf(1, A)]],
    ],
  },
  {
    name: 'I5, F4 one that is answered already, and waited for on the old connection, is cut in time as well',
    given: given({
      peers: { [A]: { ...kept, askedAt: 10, deaf: { question: 8, since: 5, until: 2_010 } } },
      sockets: { 1: { address: A, retired: true } }, current: A,
    }),
    phases: [
      [20, identityChanged, [abandon(A, 8), closeMonitor(A)]],
      [2_010, tick, [severDeaf(1, A)]],
    ],
  },
  {
    name: 'I5 attempts begin anew at the same endpoints, and those before count for nothing',
    given: given({
      peers: { [A]: ready, [B]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, A), attempt(8, B, 250)], nextAt: Infinity }],
    }),
    phases: [
      [300, identityChanged, [destroy(1, 7), connect(1, 100, A), destroy(1, 8), connect(1, 101, B)]],
      [301, connected(1, 7), [destroy(1, 7)]],
      [302, attemptFailed(1, 8), []],
      [310, connected(1, 101), [deliver(1, 101, B), destroy(1, 100)]],
    ],
  },
  {
    name: 'I5, F3 a connection that was held back is made anew as well',
    given: given({
      peers: { [A]: ready, [B]: ready }, discovery: known,
      dials: [{
        id: 1, tried: [A, B], attempts: [attempt(7, A, 0, { phase: 'held' }), attempt(8, B, 5)], nextAt: 255,
        hold: { is: 'listed', until: 255 },
      }],
    }),
    phases: [
      [10, identityChanged, [destroy(1, 7), connect(1, 100, A), destroy(1, 8), connect(1, 101, B)]],
      [20, connected(1, 101), [ask(102, B, { on: 'fresh', attempt: 101 })]],
      [30, answered(B, 102), [deliver(1, 101, B), destroy(1, 100)]],
    ],
  },
  {
    name: 'I5, R1 who was being asked for the list is asked again as who we are now; refresh() waits for that',
    given: given({
      peers: { [A]: { ...kept, question: asking(9, 0, { depth: 'deep' }) } },
      discovery: { ...known, nextAt: Infinity, round: roundOf([A]), waiting: [5] }, current: A,
    }),
    phases: [
      [10, identityChanged, [abandon(A, 9), closeMonitor(A), askDeep(100, A)]],
      [20, answered(A, 9, { body: listOf([B]) }), []],
      [30, answered(A, 100, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), refreshed(5, A, B)]],
    ],
  },
  {
    name: 'I5 a severity that is known stays: another identity does not mend an etcd',
    given: given({ peers: { [A]: { ...ready, ...sickSince(0) }, [B]: ready }, current: A }),
    phases: [
      [10, identityChanged, [], { peers: { [A]: sickSince(0) } }],
      [20, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'I5 after close() nothing is made anew',
    given: given({ peers: { [A]: ready } }),
    phases: [
      [10, closed, []],
      [20, identityChanged, [], { same: true }],
      [30, tick, [], { same: true }],
    ],
  },
]

runRows('another identity', rows)
