// Fronts (F1, F2), as rows: when listed apiservers take the place of a balancer that was configured, and when they
// cannot.

import type { Peer } from '../../lib/core/state.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, attempt, attemptFailed, B, C, connect, connected, D, deliver, destroy, dialled,
  doubted, failing, front, given, hintsLoaded, known, listOf, missed, noConnection, reaching, ready, refreshed,
  refreshRequested, refused, removed, reportEndpoints, reportFailed, reportFailover, reportWarning, retire, save, seed,
  sickSince, slowSince, tick, unlisted, unreached, untrusted, used,
} from '../support/core-given.ts'

const byItself = 'a listed apiserver can be reached itself'
/** A front in use, which gave the list. */
const balancer: Partial<Peer> = { ...used, ...front, answer: 200 }
/** A listed one that answers the question as it should. */
const taken: Partial<Peer> = { ...used, answer: 200 }
const useless = (why: string): string => (
  `the listed apiservers cannot stand in for the configured server, as ${why}: it is used alone. ` +
  'If it is a proxy that authenticates by itself, set refreshInterval: 0'
)

const replaced: readonly Row[] = [
  {
    name: 'F1 a listed one that answers as the front did takes its place: idle sockets of the front go, dials go to it',
    given: given({
      peers: {
        [A]: balancer, [B]: { question: asking(9) },
      }, sockets: { 1: { address: A }, 2: { address: A, idle: true } },
      discovery: known, current: A, probe: { nextAt: 1e6 },
    }),
    phases: [
      [10, answered(B, 9), [retire(1), retire(2)], { current: A, peers: { [B]: { standing: { is: 'ready' } } } }],
      [20, dialled(1), [connect(1, 100, B)]],
      [30, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, byItself)], { current: B }],
    ],
  },
  {
    name: 'F1 a listed one that only has done its handshake does not take the place of a front that gave the list',
    given: given({
      peers: { [A]: balancer, [B]: ready }, sockets: { 1: { address: A } }, discovery: known, current: A,
    }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
  {
    name: 'F1 where the list came from elsewhere a handshake is enough, as the front was never seen to answer better',
    given: given({
      peers: { [A]: { ...used, ...front, answer: 403 }, [B]: { ...ready, answer: 403 } },
      sockets: { 1: { address: A, retired: true } }, discovery: known, current: A,
    }),
    phases: [[10, dialled(1), [connect(1, 100, B)]]],
  },
  {
    name: 'F1 a listed one that answers 401 where the front gave the list is used after all others, and warned of once',
    given: given({
      peers: { [A]: balancer, [B]: { question: asking(9) }, [C]: failing(500) }, sockets: { 1: { address: A } },
      discovery: { ...known, round: undefined }, current: A,
    }),
    phases: [
      [10, answered(B, 9, { status: 401 }), [ask(100, B, { reauthorize: true })]],
      [20, answered(B, 100, { status: 401 }), []],
      [30, dialled(1), [connect(1, 101, A)]],
      [280, tick, [connect(1, 102, C)]],
      [530, tick, [connect(1, 103, B)]],
    ],
  },
  {
    name: 'F1 where every listed one refuses our credentials that is warned of, once, and what to do about it',
    given: given({
      peers: { [A]: balancer, [B]: { question: asking(9, 0, { reauthorized: true }) } }, sockets: { 1: { address: A } },
      discovery: known, current: A,
    }),
    phases: [
      [10, answered(B, 9, { status: 401 }), [
        reportWarning('front', useless('they answer 401 to the credentials that it takes')),
      ]],
      [20, refreshRequested(5), [askDeep(100, A)]],
      [30, answered(A, 100, { body: listOf([B]) }), [refreshed(5, B)]],
      [40, dialled(1), [connect(1, 101, A)]],
    ],
  },
  {
    name: 'F1 where the certificate of each listed one is of another CA that is warned of, and the front serves',
    given: given({
      peers: {
        [A]: balancer, [B]: { question: asking(9, 0, { misses: 1, on: 'fresh' }) },
      }, sockets: { 1: { address: A } },
      discovery: known, current: A,
    }),
    phases: [
      [10, missed(B, 9, untrusted), [
        reportFailed(B, untrusted), reportWarning(`identity ${B}`, 'wrong name'),
        reportWarning('front', useless('their certificates are not of its CA')),
      ]],
      [20, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'F1 where no list was ever had the seed is no front: it serves as before',
    given: given({
      peers: { [A]: { ...used, ...front, answer: 403 } }, sockets: { 1: { address: A } }, current: A,
      discovery: { status: 'forbidden', listedAt: undefined },
    }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
]

const lastResort: readonly Row[] = [
  {
    name: 'F1 a front that is ready is the last resort: it comes before listed ones that failed',
    given: given({
      peers: { [A]: balancer, [B]: { ...taken, ...failing(400) }, [C]: { ...taken, ...failing(300) } },
      discovery: known, current: B,
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [20, connected(1, 100), [deliver(1, 100, A), reportFailover(B, A, 'refused')], { current: A }],
    ],
  },
  {
    name: 'F1 a front in use is left again for a listed one that is ready again, and not only when it fails',
    given: given({
      peers: { [A]: balancer, [B]: { ...taken, ...failing(400), question: asking(9, 20, { on: 'fresh' }) } },
      sockets: { 1: { address: A } }, discovery: known, current: A,
    }),
    phases: [
      [30, answered(B, 9), [retire(1)]],
      [40, dialled(1), [connect(1, 100, B)]],
    ],
  },
  {
    name: 'F1 listed ones that are within reach, and not ready, come before the front that is ready',
    given: given({ peers: { [A]: balancer, [B]: { ...taken, ...doubted }, [C]: {} }, discovery: known, current: A }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
  {
    name: 'F1 an untried listed one comes before the front where another listed one was within reach',
    given: given({
      peers: { [A]: balancer, [B]: { ...taken, ...failing(0) }, [C]: { askedAt: 5 } }, discovery: known,
    }),
    phases: [[10, dialled(1), [connect(1, 100, C)]]],
  },
  {
    name: 'F1, D2 listed ones that are out of reach: the front is dialled, and they after it',
    given: given({
      peers: { [A]: balancer, [B]: unreached, [C]: { askedAt: 5 } }, discovery: known, current: A,
    }),
    phases: [
      [10, dialled(1), [connect(1, 100, A)]],
      [260, tick, [connect(1, 101, C)]],
      [510, tick, [connect(1, 102, B)]],
    ],
  },
  {
    name: 'F1 every listed one silent: once they were asked, dials go to the front without waiting',
    given: given({
      peers: {
        [A]: balancer,
        [B]: { question: reaching(8), askedAt: 0 },
        [C]: { question: reaching(9, 250), askedAt: 250 },
      },
      sockets: { 1: { address: A } }, discovery: known, current: A,
    }),
    phases: [
      [5_000, tick, [
        { type: 'abandon', address: B, question: 8 }, reportFailed(B, noConnection), ask(100, A),
      ]],
      [5_010, answered(A, 100, { body: listOf([B, C]) }), []],
      [5_250, tick, [{ type: 'abandon', address: C, question: 9 }, reportFailed(C, noConnection)]],
      [5_260, dialled(1), [connect(1, 101, A)]],
      [5_270, connected(1, 101), [deliver(1, 101, A)]],
    ],
  },
  {
    name: 'F1 a listed one that is of no use now gives the front its place back',
    given: given({
      peers: { [A]: balancer, [B]: { ...taken, ...slowSince(0) }, [C]: { ...taken, ...sickSince(0) } },
      discovery: known, current: B,
    }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
]

const kinds: readonly Row[] = [
  {
    name: 'F1 a front that the list names is an apiserver as any other, and no front any more',
    given: given({
      peers: { [A]: { ...balancer, question: asking(9) }, [B]: taken }, sockets: { 1: { address: B } },
      discovery: known, current: B,
    }),
    phases: [
      [10, answered(A, 9, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B)], {
        peers: { [A]: { listing: { is: 'listed', ready: true } } },
      }],
      [20, dialled(1), [connect(1, 100, B)]],
      [270, tick, [connect(1, 101, A)]],
    ],
  },
  {
    name: 'F1, H5 a seed that was listed, and is no longer, leaves as any other, and is never forgotten',
    given: given({
      peers: { [A]: { ...taken, ...seed }, [B]: { ...taken, question: asking(9) } }, sockets: { 1: { address: A } },
      discovery: known, current: A,
    }),
    phases: [
      [10, answered(B, 9, { body: listOf([B]) }), [reportEndpoints(B), save(B), retire(1)], {
        peers: { [A]: { listing: { is: 'removed', at: 10 } } },
      }],
      [20, dialled(1), [connect(1, 100, B)]],
      [30, attemptFailed(1, 100), [reportFailed(B), connect(1, 101, A)]],
    ],
  },
  {
    name: 'F1 a seed that left and is listed again is as it was',
    given: given({
      peers: {
        [A]: { ...taken, ...seed, ...removed }, [B]: { ...taken, question: asking(9) },
      }, discovery: known, current: A,
    }),
    phases: [
      [10, answered(B, 9, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B)], {
        peers: { [A]: { listing: { is: 'listed', ready: true } } },
      }],
      [20, dialled(1), [connect(1, 100, A)]],
    ],
  },
  {
    name: 'F1 of two fronts both give their place up, and both are the last resort, the one that worked last first',
    given: given({
      peers: { [A]: balancer, [B]: balancer, [C]: { question: asking(9) } },
      sockets: { 1: { address: A }, 2: { address: B } }, discovery: known, current: B,
    }),
    phases: [
      [10, answered(C, 9), [retire(1), retire(2)]],
      [20, dialled(1), [connect(1, 100, C)]],
      [30, attemptFailed(1, 100), [reportFailed(C), connect(1, 101, B)]],
      [40, attemptFailed(1, 101), [reportFailed(B), ask(102, B), connect(1, 103, A)]],
    ],
  },
  {
    name: 'F1 an alternate that the list does not hold is a front, too; a hint of a store is not, and leaves',
    given: given({
      peers: {
        [A]: { ...used, ...front, question: asking(9) }, [B]: { ...used, ...unlisted, origin: 'alternate' },
        [C]: { ...used, ...unlisted, origin: 'stored' },
      },
      sockets: { 1: { address: A }, 2: { address: B }, 3: { address: C } },
      discovery: { ...known, listedAt: undefined, status: 'pending' }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { body: listOf([A]) }), [reportEndpoints(A), save(A), retire(2), retire(3)], {
        peers: { [B]: { listing: { is: 'unlisted' } }, [C]: { listing: { is: 'removed', at: 10 } } },
      }],
      [20, dialled(1), [connect(1, 100, A)]],
      [270, tick, [connect(1, 101, B)]],
      [520, tick, [connect(1, 102, C)]],
    ],
  },
  {
    name: 'F1 hints that the list does not name are no fronts, whoever gave them',
    given: given({ peers: { [A]: balancer, [B]: taken }, discovery: known, current: B }),
    phases: [[10, hintsLoaded(C), [], { unknown: [C] }]],
  },
  {
    name: 'F1 balance: spread never chooses a front while a listed one is within reach',
    given: given({
      peers: { [A]: balancer, [B]: taken, [D]: taken }, discovery: known, current: B, settings: { balance: 'spread' },
    }),
    phases: Array.from({ length: 8 }, (_, dial) => [dial, dialled(dial), [connect(dial, 100 + dial, chosen(dial))]]),
  },
  {
    name: 'F1 balance: spread has no choice while no listed one answered as the front did: the front serves',
    given: given({
      peers: { [A]: balancer, [B]: unreached, [C]: { askedAt: 5 } }, discovery: known, current: A,
      settings: { balance: 'spread' },
    }),
    phases: [[10, dialled(1), [connect(1, 100, A)]]],
  },
]

/** As the seed of every state has it. */
function chosen(dial: number): string {
  return [D, D, B, D, B, B, B, B][dial] ?? B
}

const probing: readonly Row[] = [
  {
    name: 'F2 a list that brings endpoints of which none is ready has them asked at once, the next after attemptDelay',
    given: given({
      peers: { [A]: { ...used, ...front, question: asking(9) }, [B]: unlisted, [C]: unlisted, [D]: unlisted },
      sockets: { 1: { address: A } }, discovery: { ...known, listedAt: undefined, status: 'pending' }, current: A,
    }),
    phases: [
      [10, answered(A, 9, { body: listOf([B, C, D]) }), [reportEndpoints(B, C, D), save(B, C, D), ask(100, B)], {
        deadline: { at: 260, why: 'probe' },
      }],
      [260, tick, [ask(101, C)], { deadline: { at: 510, why: 'probe' } }],
      [510, tick, [ask(102, D)]],
    ],
  },
  {
    name: 'F2 it ends with the first that answers, which takes the front\'s place',
    given: given({
      peers: { [A]: balancer, [B]: { question: asking(9), askedAt: 0 }, [C]: {} }, sockets: { 1: { address: A } },
      discovery: known, current: A, probe: { nextAt: 250 },
    }),
    phases: [
      [20, answered(B, 9), [retire(1)]],
      [250, tick, []],
    ],
  },
  {
    name: 'F2 where a listed one is ready nothing needs to be found out',
    given: given({
      peers: { [A]: { ...used, ...seed, question: asking(9) }, [B]: unlisted }, sockets: { 1: { address: A } },
      discovery: { ...known, listedAt: undefined, status: 'pending' }, current: A,
    }),
    phases: [[10, answered(A, 9, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B)]]],
  },
  {
    name: 'F2 one that is listed as unready is not asked',
    given: given({
      peers: { [A]: { ...balancer, question: asking(9) }, [C]: unreached }, sockets: { 1: { address: A } },
      discovery: known, current: A,
    }),
    phases: [[10, answered(A, 9, { body: listOf([C], [B]) }), [reportEndpoints(C), save(C)]]],
  },
  {
    name: 'F2 while a dial tries the listed ones itself they are not asked beside it',
    given: given({
      peers: { [A]: balancer, [B]: {}, [C]: {} }, discovery: known, current: A,
      dials: [{
        id: 1, tried: [A, B], hold: { is: 'listed', until: 250 }, nextAt: 250,
        attempts: [attempt(7, A, 0, { phase: 'held' }), attempt(8, B)],
      }],
    }),
    phases: [
      [10, tick, []],
      [250, tick, [deliver(1, 7, A), destroy(1, 8), askDeep(100, B, { on: 'fresh' }), ask(101, C)]],
    ],
  },
  {
    name: 'F2 one that is asked and does not answer is not asked again and again',
    given: given({
      peers: { [A]: { ...balancer, heardAt: 4_900 }, [B]: { question: reaching(9), askedAt: 0 } },
      sockets: { 1: { address: A, heardAt: 4_900 } }, discovery: known, current: A,
    }),
    phases: [
      [20, missed(B, 9, refused), [ask(100, B, { on: 'fresh' })]],
      [30, missed(B, 100, refused), [reportFailed(B)], { deadline: { at: 9_900, why: 'silence' } }],
    ],
  },
]

runRows('fronts whose place is taken', replaced)
runRows('fronts as the last resort', lastResort)
runRows('what is a front', kinds)
runRows('listed ones that nobody has reached', probing)
