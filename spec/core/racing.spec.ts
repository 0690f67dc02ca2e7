// Racing (D3, D8), as rows: a dial goes on early where its endpoint has become far slower than it was.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, attemptFailed, B, C, connect, connected, deliver, destroy, dialled, doubted, failing, given, pending, ready,
  reportFailed, reportFailover, suspectSince, tick, unlisted, unready, used,
} from '../support/core-given.ts'
import type { Given } from '../support/core-given.ts'

const usually = (connectMs: number): Given['peers'][string] => ({ ...used, connectMs })
const quick = usually(5)

/** A dial that begins at 1,000 ms, at A, and the first time at which it is looked at again. */
function beginning(name: string, parts: Partial<Given>, at: number): Row {
  return {
    name,
    given: given({ peers: { [A]: quick, [B]: ready }, current: A, ...parts }),
    phases: [[1_000, dialled(1), [connect(1, 100, A)], { deadline: { at, why: 'dial' } }]],
  }
}

/** It is not gone on with at 1,050 ms, but `attemptDelay` after it began. */
function putOff(name: string, other: Given['peers'][string], late = 0): Row {
  return {
    name,
    given: given({ peers: { [A]: quick, [B]: other }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_050 + late, tick, [], { deadline: { at: 1_250, why: 'dial' } }],
      [1_250, tick, [connect(1, 101, B)]],
    ],
  }
}

const whenDue: readonly Row[] = [
  beginning('D8 after 50 ms where connections take 5', {}, 1_050),
  beginning('D8 after four times what they take', { peers: { [A]: usually(30), [B]: ready } }, 1_120),
  beginning('D3, D8 never later than attemptDelay', { peers: { [A]: usually(80), [B]: ready } }, 1_250),
  beginning('D3, D8 where attemptDelay is shorter, after that', { settings: { attemptDelay: 20 } }, 1_020),
  beginning('D3, D8 where nothing is known of it, after attemptDelay', { peers: { [A]: used, [B]: ready } }, 1_250),
  beginning('D3, F3 while its connection is to be held back, after attemptDelay', {
    peers: { [A]: { ...quick, ...unlisted, origin: 'seed' }, [B]: { ...unlisted, origin: 'alternate' } },
    discovery: pending,
  }, 1_250),
]

const early: readonly Row[] = [
  {
    name: 'D8 another serves it, and the next dials; nobody is doubted or failed',
    given: given({ peers: { [A]: quick, [B]: ready }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_051, tick, [connect(1, 101, B)], { state: { racedAt: 1_051 } }],
      [1_056, connected(1, 101), [
        deliver(1, 101, B), destroy(1, 100), reportFailover(A, B, 'no connection within 56 ms'),
      ], { current: B, peers: { [A]: { voice: { is: 'well' }, standing: { is: 'ready' }, question: undefined } } }],
      [1_060, dialled(2), [connect(2, 102, B)]],
    ],
  },
  {
    name: 'D8 the slow one is still the first to answer: it serves, and stays the current one',
    given: given({ peers: { [A]: quick, [B]: ready }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_050, tick, [connect(1, 101, B)]],
      [1_055, connected(1, 100), [deliver(1, 100, A), destroy(1, 101)], { current: A }],
    ],
  },
  {
    name: 'D8 one dial in a second: a second one waits for attemptDelay, as D3 says',
    given: given({ peers: { [A]: quick, [B]: ready }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_000, dialled(2), [connect(2, 101, A)]],
      [1_050, tick, [connect(1, 102, B)], { deadline: { at: 1_250, why: 'dial' } }],
      [1_250, tick, [connect(2, 103, B)]],
    ],
  },
  {
    name: 'D8 a second later the next may',
    given: given({ peers: { [A]: quick, [B]: ready }, current: A, racedAt: 50 }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_050, tick, [connect(1, 101, B)], { state: { racedAt: 1_050 } }],
    ],
  },
  {
    name: 'D3, D8 after the early one the next follows after attemptDelay, as nothing is known of its connections',
    given: given({ peers: { [A]: quick, [B]: ready, [C]: ready }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_050, tick, [connect(1, 101, B)], { deadline: { at: 1_300, why: 'dial' } }],
      [1_300, tick, [connect(1, 102, C)]],
    ],
  },
  putOff('D8 not to one that failed', failing(900, 1)),
  putOff('D8 not to one that callers gave up on', { ...doubted, askedAt: 1_000 }),
  putOff('D8 not to one that is suspected', { ...ready, ...suspectSince(900) }),
  putOff('D8 not to one that leaves', { ...ready, ...unready }),
  putOff('D8, F1 not to one that is not listed', { ...ready, ...unlisted, origin: 'seed' }),
  putOff('D8, H4 not where the loop was late: it was this machine that was slow', ready, 30),
  {
    name: 'D8 where there is no other, it is looked at again for its own bound',
    given: given({ peers: { [A]: quick }, current: A }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_050, tick, [], { deadline: { at: 1_250, why: 'dial' } }],
      [1_250, tick, [], { deadline: { at: 6_000, why: 'dial' } }],
    ],
  },
  {
    name: 'D3, D8 an attempt that fails is followed at once, early or not',
    given: given({ peers: { [A]: quick, [B]: ready }, current: A, racedAt: 900 }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_010, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
    ],
  },
]

runRows('when the next candidate is due', whenDue)
runRows('going on early', early)
