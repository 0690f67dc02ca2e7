// Recovery (H8), as rows: who is asked while nothing good serves, and for how long.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { nextDeadline } from '../../lib/core/step.ts'
import { checkedStep, runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, answered, ask, askDeep, asking, B, C, connect, dialled, failing, front, given, keptSince, known, questionConnected,
  missed, ready, refused, refusing, removedAt, reportFailed, retire, seed, sickSince, silentSince, slowSince, tick,
  unready, unreached, used, attemptFailed, connected, deliver, reportFailover, rejectFailed, cause,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0) }
const soon = { nextAt: 5_000, pause: 5_000 }

const wanted: readonly Row[] = [
  {
    name: 'H8 all refuse: they are asked every heartbeatInterval, and the one that answers well serves the next dial',
    given: given({
      peers: {
        [A]: { ...kept, ...refusing(), heardAt: 4_000 }, [B]: { ...ready, ...refusing() },
        [C]: { ...ready, ...refusing() },
      },
      sockets: { 1: { address: A, heardAt: 4_000 } }, current: A, recovery: soon,
    }),
    phases: [
      [5_000, tick, [ask(100, A), ask(101, B), ask(102, C)]],
      [5_010, answered(A, 100, { status: 503 }), []],
      [5_020, answered(B, 101), [retire(1)], { peers: { [B]: { voice: { is: 'well' } } } }],
      [5_030, dialled(1), [connect(1, 103, B)]],
    ],
  },
  {
    name: 'H8 fallen back to a front that refuses: the listed ones that failed are asked, and one that is back serves',
    given: given({
      peers: {
        [A]: { ...kept, ...front, ...refusing(), answer: 503, heardAt: 4_000 },
        [B]: { ...failing(0, 9, { reached: true }), askedAt: 0 },
      },
      sockets: { 1: { address: A, heardAt: 4_000 } }, current: A, recovery: soon, discovery: known,
    }),
    phases: [
      [5_000, tick, [ask(100, A), ask(101, B)]],
      [5_005, questionConnected(B, 101), []],
      [5_010, answered(B, 101), [retire(1)], { peers: { [B]: { standing: { is: 'ready' } } } }],
      [5_020, dialled(1), [connect(1, 102, B)]],
    ],
  },
  {
    name: 'H8 one in use that refuses has those asked that are out of service, though another is ready',
    given: given({
      peers: { [A]: { ...kept, ...refusing(), heardAt: 4_000 }, [B]: ready, [C]: { ...failing(0), askedAt: 0 } },
      sockets: { 1: { address: A, heardAt: 4_000, retired: true } }, current: A, recovery: soon,
    }),
    phases: [[5_000, tick, [ask(100, A), ask(101, C)]]],
  },
  {
    name: 'H8, H12 a sick one is asked what it did not answer: deep, and with a full handshake where that was lost',
    given: given({
      peers: {
        [A]: { ...kept, ...sickSince(0), heardAt: 4_000, askedAt: 4_000, askedDeepAt: 4_000 },
        [B]: { ...ready, ...sickSince(0, 2, true) }, [C]: { ...ready, ...slowSince(0) },
      },
      sockets: { 1: { address: A, heardAt: 4_000 } }, current: A, recovery: soon,
    }),
    phases: [[5_000, tick, [askDeep(100, A), askDeep(101, B, { on: 'full' }), ask(102, C)]]],
  },
  {
    name: 'H8 those that left long ago, and that nobody uses, are not asked',
    given: given({
      peers: {
        [A]: { ...ready, ...unready }, [B]: { ...ready, ...removedAt(0) },
        [C]: { ...ready, ...seed, ...removedAt(0) },
      },
      recovery: soon,
    }),
    phases: [[5_000, tick, [ask(100, A), ask(101, C)]]],
  },
]

const vain: readonly Row[] = [
  {
    name: 'H8 where nobody answered anything for 10 s and the last pause, the pause doubles, however much is dialled',
    given: given({
      peers: { [A]: { ...failing(0, 1, { silent: true }), askedAt: 0, answeredAt: -10_001 } }, recovery: soon,
      usedAt: 5_000,
    }),
    phases: [[5_000, tick, [ask(100, A)], { state: { recovery: { pause: 10_000 } } }]],
  },
  {
    name: 'H8 it stays where somebody did',
    given: given({
      peers: { [A]: { ...failing(0, 1, { silent: true }), askedAt: 0, answeredAt: -10_000 } }, recovery: soon,
      usedAt: 5_000,
    }),
    phases: [[5_000, tick, [ask(100, A)], { state: { recovery: { pause: 5_000 } } }]],
  },
  {
    name: 'H8, H3 where nobody answers, and a search for a witness asks them all, they are not asked twice',
    given: given({
      peers: {
        [A]: { ...kept, ...failing(0), ...silentSince(0), askedAt: 4_000, heardAt: 4_000 },
        [B]: failing(0),
      },
      sockets: { 1: { address: A, heardAt: 4_000 } }, current: A, recovery: soon,
      witness: { depth: 'shallow', asked: [], nextAt: 9_000, vain: 1 },
    }),
    phases: [[5_000, tick, [], { state: { recovery: { pause: 10_000 } } }]],
  },
]

const ends: readonly Row[] = [
  {
    name: 'H8 it ends when one is ready, and who is in use does not refuse',
    given: given({
      peers: { [A]: { ...ready, ...refusing(), question: asking(9) }, [B]: failing(0) }, current: A, recovery: soon,
    }),
    phases: [[10, answered(A, 9), [], { deadline: { at: 75_010, why: 'monitor' } }]],
  },
  {
    name: 'H8 nobody is asked for who neither dialled nor used a socket for a minute',
    given: given({
      peers: { [A]: { ...ready, ...refusing(), askedAt: 0 } }, recovery: { nextAt: 60_001, pause: 30_000 }, usedAt: 0,
    }),
    phases: [[60_001, tick, [], { deadline: { at: 120_000, why: 'unused' } }]],
  },
  {
    name: 'H8 a dial begins it again, and tries them itself',
    given: given({ peers: { [A]: { ...ready, ...refusing(), askedAt: 0 } }, usedAt: 0 }),
    phases: [
      [70_000, dialled(1), [connect(1, 100, A)]],
      [70_010, attemptFailed(1, 100), [reportFailed(A), rejectFailed(1, cause(A, refused))]],
    ],
  },
  {
    name: 'H8 with heartbeatInterval 0 nobody is asked',
    given: given({
      peers: { [A]: { ...ready, ...refusing(), question: asking(9) } }, settings: { heartbeatInterval: 0 }, usedAt: 0,
    }),
    phases: [[10, answered(A, 9, { status: 503 }), [], { deadline: { at: 75_010, why: 'monitor' } }]],
  },
  {
    name: 'H8 endpoints that nobody ever tried, before anybody dialled, are not asked',
    given: given({ peers: { [A]: { ...ready, ...refusing(), question: asking(9) } }, usedAt: -Infinity }),
    phases: [[10, answered(A, 9, { status: 503 }), [], { deadline: { at: 75_010, why: 'monitor' } }]],
  },
  {
    name: 'H8 one that fails to answer costs a question each time, and no storm',
    given: given({ peers: { [A]: { ...unreached, askedAt: 0 } }, recovery: soon, usedAt: 5_000 }),
    phases: [
      [5_000, tick, [ask(100, A)]],
      [5_010, missed(A, 100, refused), [ask(101, A, { on: 'fresh' })]],
      [5_020, missed(A, 101, refused), [reportFailed(A)]],
      [5_021, tick, []],
    ],
  },
  {
    name: 'H8 one that is well after all is dialled, and the failover tells why',
    given: given({
      peers: {
        [A]: { ...kept, ...refusing(), heardAt: 4_000 }, [B]: { ...ready, ...refusing(), question: asking(9, 5_000) },
      },
      sockets: { 1: {
        address: A, heardAt: 4_000,
      } }, current: A, recovery: { nextAt: 14_000, pause: 10_000 }, usedAt: 5_000,
    }),
    phases: [
      [5_010, answered(B, 9), [retire(1)]],
      [5_020, dialled(1), [connect(1, 100, B)]],
      [5_030, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'leaving')]],
    ],
  },
]

runRows('recovery', wanted)
runRows('recovery in vain', vain)
runRows('the end of recovery', ends)

describe('the pauses of recovery', () => {
  it('H8 stay at heartbeatInterval, jittered by a fifth at most, while somebody dials or uses a socket', () => {
    assertPauses([5_000, 5_000, 5_000, 5_000], (before) => before)
    assertPauses([5_000, 5_000, 5_000], (before) => before - 10_000)
  })

  it('H8 double to 30 s once nobody has for two heartbeatIntervals', () => {
    assertPauses([10_000, 20_000, 30_000, 30_000], (before) => before - 10_001)
  })

  /** Asks again and again, each time used when `usedAt` says, and compares the pauses. */
  function assertPauses(pauses: readonly number[], usedAt: (before: number) => number): void {
    let state = given({ peers: { [A]: { ...ready, ...refusing(), answeredAt: 0 } }, recovery: soon })
    let before = 5_000
    for (const most of pauses) {
      ;[state] = checkedStep({ ...state, usedAt: usedAt(before) }, tick, before)
      const question = state.peers.get(A)?.question ?? assert.fail('it was not asked')
      ;[state] = checkedStep(state, answered(A, question.id, { status: 503 }), before + 1)
      const { at, why } = nextDeadline(state) ?? assert.fail('nothing is waited for')
      assert.equal(why, 'recovery')
      const least = most > 5_000 ? 0.5 : 0.8
      assert.ok(at >= before + least * most && at < before + most, `${at - before} ms of ${most}`)
      before = at
    }
  }

  it('H8 the first question comes within heartbeatInterval', () => {
    const refused = given({
      peers: { [A]: { ...kept, question: asking(9) } }, sockets: { 1: { address: A } }, current: A,
    })
    const [state] = checkedStep(refused, answered(A, 9, { status: 503 }), 10)
    const { at, why } = nextDeadline({ ...state, sampleAt: Infinity }) ?? assert.fail('nothing is waited for')
    assert.ok(why === 'recovery' || why === 'silence', why)
    assert.ok(at >= 4_010 && at <= 5_010, `${at}`)
  })
})
