// What is given up teaches (H11), as rows: sockets that end unanswered, attempts that are cancelled, and what it takes
// to be trusted again.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, askDeep, asking, attempt, B, broken, cancelled, connect, connected, deliver, destroy,
  dialled, doubted, given, keptSince, local, missed, reaching, reading, ready, refused, reject, reportFailed,
  reportFailover, sampled, socketClosed, tick, used, noConnectionIn, attemptFailed, hollowSince,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }
const fresh = { on: 'fresh' } as const
const inUse = given({
  peers: { [A]: { ...kept, connectMs: 5 }, [B]: ready }, sockets: { 1: { address: A }, 2: { address: A } },
  current: A,
})
const gaveUp = (dial: number): ReturnType<typeof reject> => reject(dial, { kind: 'cancelled', reason: 'enough' })

const tells: readonly Row[] = [
  {
    name: 'H11 a socket that the other end closed with a request written and no byte read: its endpoint is asked anew',
    given: inUse,
    phases: [
      [
        50, socketClosed(1, { written: 100, byPeer: true }), [askDeep(100, A, fresh)],
        { peers: { [A]: { ...doubted, sockets: 1 } } },
      ],
      [60, dialled(1), [connect(1, 101, B)]],
      [70, connected(1, 101), [deliver(1, 101, B), reportFailover(A, B, 'callers gave up on it')], { current: B }],
    ],
  },
  {
    name: 'H11 a request that its caller gave up unanswered, on a new connection',
    given: inUse,
    phases: [
      [200, socketClosed(1, { written: 100 }), [askDeep(100, A, fresh)]],
      [210, dialled(1), [connect(1, 101, B)]],
    ],
  },
  {
    name: 'H11, F4 the same on a connection that had worked: the kept one is asked, as it may be deaf like that',
    given: given({
      peers: { [A]: kept, [B]: ready },
      sockets: {
        1: { address: A, read: 50, written: 100, owedSince: 1_000, surelyOwed: true },
      }, current: A, sampleAt: 1_250,
    }),
    phases: [[1_200, socketClosed(1, { read: 50, written: 100 }), [askDeep(100, A)], { peers: { [A]: doubted } }]],
  },
  {
    name: 'H11 a socket that had an answer, or nothing to be answered, tells nothing when it ends',
    given: inUse,
    phases: [
      [200, socketClosed(1, { read: 50, written: 100, byPeer: true }), []],
      [300, socketClosed(2, { byPeer: true }), [], { peers: { [A]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'H11 who gives up within 100 ms has not waited for anything',
    given: inUse,
    phases: [
      [99, socketClosed(1, { written: 100 }), []],
      [100, socketClosed(2, { written: 100 }), [askDeep(100, A, fresh)]],
    ],
  },
  {
    name: 'H11 a request whose answer had begun is not unanswered',
    given: given({
      peers: { [A]: kept }, sockets: {
        1: { address: A, read: 50, written: 100, owedSince: 1_000, surelyOwed: true },
      }, sampleAt: 1_250,
    }),
    phases: [[1_200, socketClosed(1, { read: 51, written: 100 }), []]],
  },
  {
    name: 'H11 a socket that was retired, and is closed in its pool, tells nothing',
    given: given({ peers: { [A]: kept }, sockets: { 1: { address: A, idle: true, retired: true } } }),
    phases: [[200, socketClosed(1, { written: 100, byPeer: true }), []]],
  },
  {
    name: 'H11 an attempt that is cancelled after some silence',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [200, cancelled(1, 'enough'), [destroy(1, 100), gaveUp(1), askDeep(101, A, fresh)]],
      [210, dialled(2), [connect(2, 102, B)]],
    ],
  },
  {
    name: 'H11 an attempt that is cancelled at once tells nothing',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [99, cancelled(1, 'enough'), [destroy(1, 100), gaveUp(1)]],
      [110, dialled(2), [connect(2, 101, A)]],
    ],
  },
  {
    name: 'H11 of two attempts that are cancelled, each that was silent for long enough',
    given: given({
      peers: {
        [A]: ready, [B]: ready,
      }, dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, A), attempt(8, B, 250)] }],
    }),
    phases: [[300, cancelled(1, 'enough'), [destroy(1, 7), destroy(1, 8), gaveUp(1), askDeep(100, A, fresh)]]],
  },
  {
    name: 'H11 an attempt that lost a race by silence',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, connected(1, 101), [
        deliver(1, 101, B), destroy(1, 100), reportFailover(A, B, 'no connection within 250 ms'),
        askDeep(102, A, fresh),
      ]],
    ],
  },
]

const trust: readonly Row[] = [
  {
    name: 'H11 it is asked at most once a second, however many give up',
    given: given({
      peers: { [A]: { ...kept, askedAt: 1_000 } },
      sockets: { 1: { address: A }, 2: { address: A }, 3: { address: A } },
    }),
    phases: [
      [1_500, socketClosed(1, { written: 9 }), [], { peers: { [A]: { voice: { is: 'well' } } } }],
      [2_000, socketClosed(2, { written: 9 }), [askDeep(100, A, fresh)]],
      [2_001, socketClosed(3, { written: 9 }), []],
    ],
  },
  {
    name: 'H11 one that is being asked anyhow is doubted until it answers',
    given: given({
      peers: { [A]: { ...kept, question: asking(9) }, [B]: ready }, sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [200, socketClosed(1, { written: 9 }), [], { peers: { [A]: doubted } }],
      [210, dialled(1), [connect(1, 100, B)]],
      [220, answered(A, 9), [], { peers: { [A]: { voice: { is: 'well' } } } }],
      [230, dialled(2), [connect(2, 101, A)]],
    ],
  },
  {
    name: 'H11 neither a byte nor a new connection is an answer',
    given: given({
      peers: {
        [A]: { ...kept, ...doubted, question: reaching(9) }, [B]: ready,
      }, sockets: { 1: { address: A } }, current: A,
      dials: [{ id: 1, tried: [A], attempts: [attempt(7, A)], nextAt: 250 }], sampleAt: 250,
    }),
    phases: [
      [10, sampled(reading(1, 10, 0)), [], { peers: { [A]: doubted } }],
      [20, connected(1, 7), [deliver(1, 7, A)], { peers: { [A]: doubted } }],
      [30, dialled(2), [connect(2, 100, B)]],
    ],
  },
  {
    name: 'H11 one that misses its question is doubted as before, until the second try answers',
    given: given({
      peers: {
        [A]: { ...kept, ...doubted, question: asking(9, 0, { on: 'fresh', depth: 'deep' }) },
        [B]: { ...ready, answeredDeepAt: 2_000 },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [
        2_000, tick, [abandon(A, 9), askDeep(100, A, fresh)],
        { peers: { [A]: { voice: { is: 'suspect', since: 2_000, doubted: true } } } },
      ],
      [2_010, dialled(1), [connect(1, 101, B)]],
      [2_020, sampled(reading(1, 10, 0)), [], { peers: { [A]: doubted } }],
      [2_030, answered(A, 100), [], { peers: { [A]: { voice: { is: 'well' } } } }],
    ],
  },
  {
    name: 'H11 one that is suspect already is doubted, too',
    given: given({
      peers: {
        [A]: { ...kept, voice: { is: 'suspect', since: 5 }, question: reaching(9, 5, { misses: 1, on: 'fresh' }) },
        [B]: { ...ready, answeredAt: 10 },
      },
      sockets: { 1: { address: A } }, current: A,
    }),
    phases: [
      [
        200, socketClosed(1, { written: 9 }), [],
        { peers: { [A]: { voice: { is: 'suspect', since: 5, doubted: true } } } },
      ],
      [210, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'H11 one that accepts and says nothing has failed within two questions; another serves from the first on',
    given: given({ peers: { [A]: { ...ready, connectMs: 5 }, [B]: { ...ready, ...keptSince(0) } }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [200, cancelled(1, 'enough'), [destroy(1, 100), gaveUp(1), askDeep(101, A, fresh)]],
      [210, dialled(2), [connect(2, 102, B)]],
      [220, connected(2, 102), [deliver(2, 102, B), reportFailover(A, B, 'callers gave up on it')]],
      [
        2_200, tick, [abandon(A, 101), reportFailed(A, noConnectionIn(2_000))],
        { peers: { [A]: { voice: { is: 'silent', since: 2_200 } } } },
      ],
    ],
  },
  {
    name: 'H11 with nobody else the next dial goes to it all the same',
    given: given({ peers: { [A]: { ...ready, ...doubted, question: reaching(9) } }, current: A }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
  {
    name: 'H11, D2 a doubted one comes after untried ones, and before those that left or failed',
    given: given({
      peers: { [A]: { ...ready, ...doubted, question: reaching(9) }, [B]: { askedAt: 0 } }, current: A,
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, B)]],
      [20, attemptFailed(1, 100), [reportFailed(B), connect(1, 101, A)]],
    ],
  },
  {
    name: 'H11 balance: spread does not choose it',
    given: given({
      peers: {
        [A]: { ...ready, ...doubted, question: reaching(9) }, [B]: ready,
      }, settings: { balance: 'spread' }, current: A,
    }),
    phases: [1, 2, 3, 4].map((dial) => [dial, dialled(dial), [connect(dial, 99 + dial, B)]]),
  },
  {
    name: 'H11, H1 an error of this machine ends the doubt: nothing else would',
    given: given({ peers: { [A]: { ...ready, ...doubted, question: reaching(9) }, [B]: ready }, current: A }),
    phases: [
      [10, missed(A, 9, local), [], { peers: { [A]: { voice: { is: 'well' } } } }],
      [20, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'H11 one that refuses by then has failed, and is not doubted any longer than that',
    given: given({
      peers: {
        [A]: { ...ready, ...doubted, question: reaching(9, 0, { misses: 1, on: 'fresh' }) }, [B]: ready,
      }, current: A,
    }),
    phases: [[10, missed(A, 9, refused), [reportFailed(A)], { peers: { [A]: { voice: { is: 'well' } } } }]],
  },
  {
    name: 'H11 TLS and then closed, for every connection: the question is closed as well, and another serves',
    given: inUse,
    phases: [
      [50, socketClosed(1, { written: 100, byPeer: true }), [askDeep(100, A, fresh)]],
      [60, missed(A, 100, broken), [askDeep(101, A, fresh), askDeep(102, B)]],
      [
        70, missed(A, 101, broken), [reportFailed(A, broken)],
        { peers: { [A]: { voice: { is: 'well' }, sockets: 1 } } },
      ],
      [80, dialled(1), [connect(1, 103, B)]],
    ],
  },
  {
    name: 'H11, H12 of a hollow one nothing new is learned',
    given: given({
      peers: { [A]: { ...kept, ...hollowSince(0, 1), askedAt: 1_000, askedDeepAt: 1_000 }, [B]: ready },
      sockets: { 1: { address: A } }, current: A, witness: { depth: 'shallow', asked: [B], nextAt: 1e6, vain: 0 },
    }),
    phases: [[2_500, socketClosed(1, { written: 9 }), [askDeep(100, A, fresh)], { peers: { [A]: hollowSince(0, 1) } }]],
  },
]

runRows('what tells of an endpoint', tells)
runRows('doubt and trust', trust)
