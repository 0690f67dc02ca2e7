// What a dial holds back before the first list is known (F3), as rows: the first connections of a process are those
// that stay, and must not be a balancer's.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, adopt, answered, ask, askDeep, asking, attempt, attemptFailed, B, broken, C, cancelled, cause, connect,
  connected, deliver, destroy, dialled, front, given, hintsLoaded, identityChanged, known, listOf, missed, pending,
  questionConnected, ready, refused, refreshed, refreshRequested, reject, roundOf, rejectFailed, reportEndpoints,
  reportFailed, reportWarning, retire, save, tick, unreached, used,
} from '../support/core-given.ts'

/** A is the seed, nothing was ever asked, and nobody dialled before. */
const first = given({ peers: { [A]: front }, discovery: pending, usedAt: -Infinity })
const twoSeeds = given({ peers: { [A]: front, [B]: front }, discovery: pending, usedAt: -Infinity })
const forbidden = 'discovery is forbidden: grant get on endpoints "kubernetes" in namespace "default"; ' +
  'only the configured servers are used'
/** On the connection of an attempt. */
const asked = (question: number, address: string, attempt: number): ReturnType<typeof ask> => (
  ask(question, address, { on: 'fresh', attempt })
)

const listedSeed: readonly Row[] = [
  {
    name: 'F3 the first connection is asked for the list before it is handed over, and delivered where that is listed',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)], { deadline: { at: 260, why: 'dial' }, counters: { refreshes: 1 } }],
      [
        20,
        answered(A, 101, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B), deliver(1, 100, A)],
        { current: A, discovery: { status: 'ok', listedAt: 20 }, peers: { [A]: { kept: undefined, sockets: 1 } } },
      ],
    ],
  },
  {
    name: 'F3 under spread a connection that was made before there was a choice is not used again',
    given: { ...first, settings: { ...first.settings, balance: 'spread' } },
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([A, B]) }), [
        reportEndpoints(A, B), save(A, B), deliver(1, 100, A), retire(100),
      ], { sockets: { 100: { retired: true } } }],
    ],
  },
  {
    name: 'F3 under spread a connection to the only one that is listed is used again',
    given: { ...first, settings: { ...first.settings, balance: 'spread' } },
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'F3 dials that connect while the list is asked for wait for it, and ask nothing themselves',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [0, dialled(2), [connect(2, 101, A)]],
      [0, dialled(3), [connect(3, 102, A)]],
      [10, connected(2, 101), [asked(103, A, 101)]],
      [11, connected(1, 100), []],
      [20, answered(A, 103, { body: listOf([A]) }), [
        reportEndpoints(A), save(A), deliver(1, 100, A), deliver(2, 101, A),
      ]],
      [21, connected(3, 102), [deliver(3, 102, A)]],
    ],
  },
  {
    name: 'F3 no list within attemptDelay: another connection is delivered, and the answer is the monitor\'s',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [259, tick, []],
      [260, tick, [adopt(1, 100), connect(1, 102, A)], { peers: { [A]: { kept: { since: 10, usedAt: 260 } } } }],
      [270, connected(1, 102), [deliver(1, 102, A)]],
      [300, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A)], { discovery: { status: 'ok' } }],
    ],
  },
  {
    name: 'F3 a dial that waits for the list of another is delivered its own connection after attemptDelay',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [0, dialled(2), [connect(2, 101, A)]],
      [10, connected(1, 100), [asked(102, A, 100)]],
      [15, connected(2, 101), []],
      [260, tick, [adopt(1, 100), connect(1, 103, A)]],
      [265, tick, [deliver(2, 101, A)]],
    ],
  },
  {
    name: 'F3 a list that was waited for too long because of a stalled loop is waited for again (H4)',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [1_270, tick, [], { deadline: { at: 1_520, why: 'dial' } }],
      [1_271, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'F3 the list is forbidden: the connection is delivered as soon as that is known',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { status: 403 }), [ask(102, A, { via: 'endpointslices' })]],
      [30, answered(A, 102, { status: 403 }), [reportWarning('discovery', forbidden), deliver(1, 100, A)]],
      [40, dialled(2), [connect(2, 103, A)]],
      [50, connected(2, 103), [deliver(2, 103, A)]],
    ],
  },
  {
    name: 'F3 with refreshInterval 0 nothing is asked and nothing held back',
    given: given({ peers: { [A]: front }, discovery: { ...pending, status: 'off' } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [deliver(1, 100, A)], { current: A, discovery: { status: 'off' } }],
    ],
  },
  {
    name: 'F3 connect() with h2 cannot carry the question: it is asked on a monitor connection, and the socket waits',
    given: first,
    phases: [
      [0, dialled(1, { plain: false }), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A)]],
      [20, questionConnected(A, 101), []],
      [30, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'F3, H1 a dial with TLS options of its own is not asked on, and proves nothing but that somebody is there',
    given: first,
    phases: [
      [0, dialled(1, { own: true }), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A)], { peers: { [A]: { standing: { is: 'unverified' }, heardAt: 10 } } }],
      [260, tick, [deliver(1, 100, A)], { peers: { [A]: { standing: { is: 'unverified' } } } }],
    ],
  },
  {
    name: 'F3 a question that is on its way already is the one that is waited for',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [150, cancelled(1, 'enough'), [
        destroy(1, 100), reject(1, { kind: 'cancelled', reason: 'enough' }), askDeep(101, A, { on: 'fresh' }),
      ]],
      [160, dialled(2), [connect(2, 102, A)]],
      [170, connected(2, 102), [], { discovery: { nextAt: Infinity }, counters: { refreshes: 1 } }],
      [180, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(2, 102, A)]],
    ],
  },
  {
    name: 'F3, D1 hints are raced behind the seed, and whoever is there first is asked for the list',
    given: first,
    phases: [
      [0, hintsLoaded(B), []],
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, connected(1, 101), [asked(102, B, 101)]],
      [270, answered(B, 102, { body: listOf([B, C]) }), [
        reportEndpoints(B, C), save(B, C), deliver(1, 101, B), destroy(1, 100), askDeep(103, A, { on: 'fresh' }),
      ]],
    ],
  },
]

const odd: readonly Row[] = [
  {
    name: 'F3 a connection that carried an answer which no apiserver gives is not handed over: another is made',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { status: 400 }), [
        reportWarning(
          'discovery', `the list of apiservers cannot be had, so that there is no failover: ${A} answered 400`,
        ),
        destroy(1, 100), connect(1, 102, A),
      ]],
      [30, connected(1, 102), [deliver(1, 102, A)]],
    ],
  },
  {
    name: 'F3 one that waited beside it carried nothing, and is handed over',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [0, dialled(2), [connect(2, 101, A)]],
      [10, connected(1, 100), [asked(102, A, 100)]],
      [11, connected(2, 101), []],
      [20, answered(A, 102, { status: 400 }), [
        reportWarning(
          'discovery', `the list of apiservers cannot be had, so that there is no failover: ${A} answered 400`,
        ),
        destroy(1, 100), connect(1, 103, A), deliver(2, 101, A),
      ]],
    ],
  },
  {
    name: 'F3 nor is it handed over where another is asked for the list, and does not give it in time',
    given: twoSeeds,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { status: 400 }), [ask(102, B)]],
      [260, tick, [destroy(1, 100), connect(1, 103, A)]],
      [270, connected(1, 103), [deliver(1, 103, A)]],
    ],
  },
]

const lost: readonly Row[] = [
  {
    name: 'F3 a question that is lost with its connection leaves another one that is held: that is delivered',
    given: given({
      peers: { [A]: { ...front, question: asking(9, 10, { on: 'fresh', attempt: 7 }) }, [B]: front },
      discovery: { ...pending, round: roundOf([A], { depth: 'shallow' }) },
      dials: [{
        id: 1, tried: [A, B], hold: { is: 'list', until: 260 },
        attempts: [attempt(7, A, 0, { phase: 'asking' }), attempt(8, B, 0, { phase: 'held' })],
      }],
    }),
    phases: [
      [15, missed(A, 9, broken), [destroy(1, 7), ask(100, A, { on: 'fresh' }), ask(101, B)]],
      [260, tick, [deliver(1, 8, B)]],
    ],
  },
  {
    name: 'F3 a connection that is lost while it is asked is a failed attempt: the next candidate is started',
    given: twoSeeds,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [15, attemptFailed(1, 100, broken), [reportFailed(A, broken), connect(1, 102, B)]],
      [15, missed(A, 101, broken), [ask(103, A, { on: 'fresh' }), ask(104, B)]],
      [25, connected(1, 102), []],
      [35, answered(B, 104, { body: listOf([B]) }), [reportEndpoints(B), save(B), deliver(1, 102, B)]],
    ],
  },
  {
    name: 'F3 a question that is lost with its connection has another made, on which nothing is asked',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [15, missed(A, 101, broken), [destroy(1, 100), connect(1, 102, A), ask(103, A, { on: 'fresh' })]],
      [15, attemptFailed(1, 100, broken), []],
      [25, connected(1, 102), [deliver(1, 102, A)]],
    ],
  },
  {
    name: 'F3 a question that is lost where another connection is held leaves the list to that one',
    given: given({ peers: { [A]: front, [B]: front }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, connected(1, 100), [asked(102, A, 100)]],
      [270, connected(1, 101), []],
      [280, missed(A, 102, broken), [destroy(1, 100), ask(103, A, { on: 'fresh' }), ask(104, B)]],
      [290, answered(B, 104, { body: listOf([B]) }), [reportEndpoints(B), save(B), deliver(1, 101, B)]],
    ],
  },
  {
    name: 'F3 a question that is not answered in time loses its connection, where attemptDelay is longer than that',
    given: given({ peers: { [A]: front }, discovery: pending, settings: { attemptDelay: 3_000 } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [2_010, tick, [abandon(A, 101), destroy(1, 100), connect(1, 102, A), ask(103, A, { on: 'fresh' })]],
      [2_020, connected(1, 102), [deliver(1, 102, A)]],
    ],
  },
  {
    name: 'F3, H2 no connection for the question, while a dial holds one to the same endpoint: asked a second time',
    given: given({ peers: { [A]: front }, discovery: pending, settings: { attemptDelay: 5_000 } }),
    phases: [
      [0, dialled(1, { plain: false }), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A)]],
      [2_010, tick, [abandon(A, 101), ask(102, A, { on: 'fresh' })], { peers: { [A]: { standing: { is: 'ready' } } } }],
    ],
  },
  {
    name: 'F3 a caller who gives up leaves the question to the monitor, and the list is taken',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [15, cancelled(1, 'enough'), [adopt(1, 100), reject(1, { kind: 'cancelled', reason: 'enough' })]],
      [20, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A)]],
    ],
  },
  {
    name: 'F3 refresh() while the first connection is asked has no question of its own',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [12, refreshRequested(5), []],
      [20, answered(A, 101, { body: listOf([A]) }), [
        reportEndpoints(A), save(A), refreshed(5, A), deliver(1, 100, A),
      ]],
    ],
  },
  {
    name: 'F3, I5 another identity begins everything anew, and the list is asked for as who we are now',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [15, identityChanged, [abandon(A, 101), destroy(1, 100), connect(1, 102, A), askDeep(103, A)]],
      [25, connected(1, 102), []],
      [35, answered(A, 103, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(1, 102, A)]],
    ],
  },
  {
    name: 'D5 dialTimeout delivers a connection that is held back, as it is better than none',
    given: given({ peers: { [A]: front }, discovery: pending, settings: { dialTimeout: 200 } }),
    phases: [
      [0, dialled(1, { plain: false }), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A)]],
      [200, tick, [deliver(1, 100, A)]],
    ],
  },
]

const heldFront: readonly Row[] = [
  {
    name: 'F3 the seed is a front: a listed one is dialled, and delivered when it answers as the front did',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)]],
      [30, connected(1, 102), [asked(103, B, 102)]],
      [40, answered(B, 103, { body: listOf([C, B]) }), [deliver(1, 102, B), destroy(1, 100)], { current: B }],
    ],
  },
  {
    name: 'F3 several dials on a front are each delivered a listed one, which is asked once',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [0, dialled(2), [connect(2, 101, A)]],
      [10, connected(1, 100), [asked(102, A, 100)]],
      [10, connected(2, 101), []],
      [20, answered(A, 102, { body: listOf([B]) }), [
        reportEndpoints(B), save(B), connect(1, 103, B), connect(2, 104, B),
      ]],
      [30, connected(2, 104), [asked(105, B, 104)]],
      [30, connected(1, 103), []],
      [40, answered(B, 105, { body: listOf([B]) }), [
        deliver(1, 103, B), destroy(1, 100), deliver(2, 104, B), destroy(2, 101),
      ]],
      [41, dialled(3), [connect(3, 106, B)]],
    ],
  },
  {
    name: 'F3 a dial that connects to the front after the list came has a listed one dialled beside it',
    given: given({
      peers: { [A]: { ...front, answer: 200 }, [B]: ready }, discovery: known,
      dials: [{ id: 1, tried: [A], attempts: [attempt(7, A)], hold: { is: 'wanted' }, nextAt: 250 }],
    }),
    phases: [
      [10, connected(1, 7), [connect(1, 100, B)]],
      [20, connected(1, 100), [asked(101, B, 100)]],
      [30, answered(B, 101), [deliver(1, 100, B), destroy(1, 7)]],
    ],
  },
  {
    name: 'F3 no listed one answers within attemptDelay: the front\'s is delivered, and the loser is doubted',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)]],
      [270, tick, [deliver(1, 100, A), destroy(1, 102), askDeep(103, B, { on: 'fresh' }), ask(104, C)], { current: A }],
    ],
  },
  {
    name: 'F3 after refresh() the first dial waits for a listed one, too, as none of them has been tried',
    given: first,
    phases: [
      [0, refreshRequested(1), [askDeep(100, A)]],
      [5, questionConnected(A, 100), []],
      [10, answered(A, 100, { body: listOf([B]) }), [reportEndpoints(B), save(B), refreshed(1, B), ask(101, B)]],
      [20, dialled(1), [connect(1, 102, A)]],
      [30, connected(1, 102), [connect(1, 103, B)], { deadline: { at: 155, why: 'dial' } }],
      [40, connected(1, 103), []],
      [50, answered(B, 101), [deliver(1, 103, B), destroy(1, 102)], { current: B }],
      [60, dialled(2), [connect(2, 104, B)]],
    ],
  },
  {
    name: 'F3 once they were tried to no end the front\'s connection is held back no longer',
    given: given({ peers: { [A]: { ...used, ...front, answer: 200 }, [B]: unreached }, discovery: known }),
    phases: [[0, dialled(1), [connect(1, 100, A)]], [10, connected(1, 100), [deliver(1, 100, A)]]],
  },
  {
    name: 'F3 a listed one that hangs is followed by the next after half of that time, which is delivered',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)], {
        deadline: { at: 145, why: 'dial' },
      }],
      [145, tick, [connect(1, 103, C)], { deadline: { at: 270, why: 'dial' } }],
      [150, connected(1, 103), [asked(104, C, 103)]],
      [160, answered(C, 104), [deliver(1, 103, C), destroy(1, 100), destroy(1, 102)], { current: C }],
    ],
  },
  {
    name: 'F3 on a way that is slow the list, and then a listed one, are waited for twice as long as the front has taken',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [200, connected(1, 100), [asked(101, A, 100)], { deadline: { at: 600, why: 'dial' } }],
      [500, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [750, tick, []],
      [1_400, connected(1, 102), [asked(103, B, 102)], { deadline: { at: 1_500, why: 'dial' } }],
      [1_499, answered(B, 103), [deliver(1, 102, B), destroy(1, 100)]],
    ],
  },
  {
    name: 'F3 a listed one that refuses is followed by the next at once; where none is left, the front is delivered',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)]],
      [25, attemptFailed(1, 102), [reportFailed(B), connect(1, 103, C)]],
      [30, attemptFailed(1, 103), [reportFailed(C), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'F3, F1 a listed one that answers otherwise than the front is no better than none',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)]],
      [30, connected(1, 102), [asked(103, B, 102)]],
      [40, answered(B, 103, { status: 503 }), [destroy(1, 102), connect(1, 104, C)]],
      [50, connected(1, 104), [asked(105, C, 104)]],
      [60, answered(C, 105, { body: listOf([C, B]) }), [deliver(1, 104, C), destroy(1, 100)]],
    ],
  },
  {
    name: 'F3 a listed one that loses its question is followed by the next',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B]) }), [reportEndpoints(C, B), save(C, B), connect(1, 102, B)]],
      [30, connected(1, 102), [asked(103, B, 102)]],
      [40, missed(B, 103, broken), [destroy(1, 102), ask(104, B, { on: 'fresh' }), connect(1, 105, C)]],
    ],
  },
  {
    name: 'F3 the front\'s connection is lost: a listed one that is there is delivered, whatever it answers',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [30, connected(1, 102), [asked(103, B, 102)]],
      [35, attemptFailed(1, 100, broken), [reportFailed(A, broken)]],
      [40, answered(B, 103, { status: 503 }), [deliver(1, 102, B)]],
    ],
  },
  {
    name: 'F3 the front\'s connection is lost, and the listed one does not answer: another of it is delivered',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [30, connected(1, 102), [asked(103, B, 102)]],
      [35, attemptFailed(1, 100, broken), [reportFailed(A, broken)]],
      [270, tick, [adopt(1, 102), connect(1, 104, B)]],
      [280, connected(1, 104), [deliver(1, 104, B)]],
    ],
  },
  {
    name: 'F3 the front\'s connection is lost while a listed one is still being dialled: the dial is as any other',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [25, attemptFailed(1, 100, broken), [reportFailed(A, broken), connect(1, 103, A), ask(104, B)]],
      [30, connected(1, 102), [deliver(1, 102, B), destroy(1, 103)]],
    ],
  },
  {
    name: 'F3 both are lost: the dial fails with the causes of both',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [25, attemptFailed(1, 100, broken), [reportFailed(A, broken), connect(1, 103, A), ask(104, B)]],
      [30, attemptFailed(1, 102), [reportFailed(B)]],
      [35, attemptFailed(1, 103), [rejectFailed(1, cause(A, broken), cause(B, refused))]],
    ],
  },
  {
    name: 'F3 private addresses can hardly be reached from where a public one was dialled: the front is delivered',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100, false), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([C, B], [], [], true) }), [
        reportEndpoints(C, B), save(C, B), deliver(1, 100, A), ask(102, B),
      ]],
      [120, tick, [ask(103, A)]],
      [270, tick, [ask(104, C)]],
    ],
  },
  {
    name: 'F3 private addresses are dialled where the connection itself goes to a private one',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100, true), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B], [], [], true) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
    ],
  },
  {
    name: 'F3 a list of none but unready addresses leaves nothing to be dialled: the front is delivered',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([], [B]) }), [reportEndpoints(), save(), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'F3 connect() with h2 to a front is delivered a listed one, asked on a monitor connection',
    given: first,
    phases: [
      [0, dialled(1, { plain: false }), [connect(1, 100, A)]],
      [10, connected(1, 100), [ask(101, A)]],
      [30, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [40, connected(1, 102), [ask(103, B)]],
      [50, answered(B, 103, { body: listOf([B]) }), [deliver(1, 102, B), destroy(1, 100)]],
    ],
  },
  {
    name: 'F3 a stalled loop is no reason to hand over the front\'s (H4)',
    given: first,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, connected(1, 100), [asked(101, A, 100)]],
      [20, answered(A, 101, { body: listOf([B]) }), [reportEndpoints(B), save(B), connect(1, 102, B)]],
      [1_280, tick, [], { deadline: { at: 1_530, why: 'dial' } }],
      [1_281, connected(1, 102), [asked(103, B, 102)]],
      [1_282, answered(B, 103), [deliver(1, 102, B), destroy(1, 100)]],
    ],
  },
]

runRows('held for the list', listedSeed)
runRows('answers of what is no apiserver', odd)
runRows('lost while held', lost)
runRows('held for a listed one', heldFront)
