// Several ways to one address (F1), as rows: a balancer's next connection may lead to another apiserver, so that a dial
// which has nothing else to try tries it again, and a connection on which a caller was refused is not kept.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, attemptFailed, B, broken, cause, connect, connected, deliver, destroy, dialled, front,
  given, keptSince, noConnection, ready, refused, refusalSeen, refusing, rejectFailed, reportFailed, reportWarning, retire, seed, tick,
  unlisted, untrusted, used,
} from '../support/core-given.ts'
import type { Given } from '../support/core-given.ts'

const alone = given({ peers: { [A]: front } })

/** A dial that has nothing but this to try, and that tries it once. */
function onceOnly(name: string, peers: Given['peers'], discovery: Given['discovery'] = {}): Row {
  return {
    name,
    given: given({ peers, discovery, settings: { attemptTimeout: 1_000 } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [], { deadline: { at: 1_000, why: 'dial' } }],
    ],
  }
}

const ways: readonly Row[] = [
  {
    name: 'F1, D3 a front that says nothing is tried again after attemptDelay, three times in all; one of them serves',
    given: alone,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, A)]],
      [500, tick, [connect(1, 102, A)]],
      [750, tick, [], { deadline: { at: 5_000, why: 'dial' } }],
      [800, connected(1, 101), [deliver(1, 101, A), destroy(1, 100), destroy(1, 102)], {
        peers: { [A]: { voice: { is: 'well' }, question: undefined } },
      }],
    ],
  },
  {
    name: 'F1, D5, D6 where none of them does, all end with the first, and it is named once',
    given: alone,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, A)]],
      [500, tick, [connect(1, 102, A)]],
      [750, tick, []],
      [5_000, tick, [
        destroy(1, 100), reportFailed(A, noConnection), destroy(1, 101), destroy(1, 102),
        rejectFailed(1, cause(A, noConnection)),
      ]],
    ],
  },
  {
    name: 'F1, H1 what breaks is followed at once; the cause that was the first is named, and counted',
    given: alone,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100, broken), [reportFailed(A, broken), connect(1, 101, A)]],
      [6, attemptFailed(1, 101, broken), [connect(1, 102, A)]],
      [9, attemptFailed(1, 102, refused), [rejectFailed(1, cause(A, broken))], {
        peers: { [A]: { standing: { is: 'failed', failures: 1 } } },
      }],
    ],
  },
  {
    name: 'F1 what refuses, or shows a wrong certificate, is the address itself',
    given: given({ peers: { [A]: front } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100, refused), [reportFailed(A), rejectFailed(1, cause(A, refused))]],
      [5, dialled(2), [connect(2, 101, A)]],
      [8, attemptFailed(2, 101, untrusted), [
        reportFailed(A, untrusted), reportWarning(`identity ${A}`, untrusted.message),
        rejectFailed(2, cause(A, untrusted)),
      ]],
    ],
  },
  {
    name: 'F1 a seed before the first list, too: nobody knows what it is',
    given: given({ peers: { [A]: { ...seed, ...unlisted } }, discovery: { listedAt: undefined } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, A)]],
    ],
  },
  onceOnly('F1 a seed that is listed is one apiserver', { [A]: { ...seed, ...ready } }),
  onceOnly(
    'F1 an alternate before the first list is what it was said to be', { [A]: { ...unlisted, origin: 'alternate' } },
    { listedAt: undefined },
  ),
  {
    name: 'F1 before the first list not where others are configured: each of them is tried, once',
    given: given({
      peers: { [A]: { ...seed, ...unlisted }, [B]: { ...unlisted, origin: 'alternate' } },
      discovery: { listedAt: undefined }, settings: { attemptTimeout: 1_000 },
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [500, tick, [], { deadline: { at: 1_000, why: 'dial' } }],
    ],
  },
  {
    name: 'F1 not where listed ones are within reach: they are tried, and no more is',
    given: given({
      peers: { [A]: front, [B]: { ...ready, answer: 200 } }, current: B, settings: { attemptTimeout: 1_000 },
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, B)]],
      [250, tick, [connect(1, 101, A)]],
      [500, tick, [], { deadline: { at: 1_000, why: 'dial' } }],
    ],
  },
]

const seen: readonly Row[] = [
  {
    name: 'F1, H7 a refusal that a caller reads by a front ends that connection when it is done, once in a second',
    given: given({
      peers: { [A]: { ...used, ...front, ...keptSince(0) } }, current: A,
      sockets: { 1: { address: A }, 2: { address: A, madeAt: 900 } },
    }),
    phases: [
      [1_000, refusalSeen(1), [askDeep(100, A), retire(1)]],
      [1_001, refusalSeen(1), []],
      [1_002, refusalSeen(2), []],
      [1_900, refusalSeen(2), [retire(2)]],
    ],
  },
  {
    name: 'F1 an apiserver itself is asked, and its connections are kept',
    given: given({ peers: { [A]: { ...used, ...keptSince(0) } }, sockets: { 1: { address: A } }, current: A }),
    phases: [[2_000, refusalSeen(1), [askDeep(100, A)]]],
  },
]

/** The front serves, as the listed one refuses. */
const standIn = {
  peers: { [A]: { ...used, ...front, ...keptSince(0), answer: 200 }, [B]: { ...ready, ...refusing(), answer: 200 } },
  sockets: { 1: { address: A } }, current: A,
} as const

const standingIn: readonly Row[] = [
  {
    name: 'F1, H8 while a front stands in for listed ones that are within reach they are asked, less and less often',
    given: given({ ...standIn, recovery: { nextAt: 3_000, pause: 5_000 } }),
    phases: [
      [3_000, tick, [ask(100, A), ask(101, B)], { state: { recovery: { pause: 10_000 } } }],
      [3_010, answered(B, 101), [retire(1)], { state: { recovery: undefined } }],
      [3_020, dialled(1), [connect(1, 102, B)]],
    ],
  },
]

runRows('ways', ways)
runRows('refusals by a front', seen)
runRows('standing in', standingIn)
