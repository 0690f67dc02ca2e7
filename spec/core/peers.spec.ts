// What is known of each apiserver (H1), as rows: what makes it ready or failed, and for how long.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ask as askNow, askAgain, askOn, endDeaf, release } from '../../lib/core/asking.ts'
import {
  becomeAlive, becomeDoubted, becomeFailed, becomeHeard, becomeHollow, becomeMute, becomeRefusing, becomeSilent, becomeSlow, becomeSuspect, becomeUnasked, becomeUndoubted, becomeReady, becomeWell,
} from '../../lib/core/peers.ts'
import { struck } from '../../lib/core/severing.ts'
import { step } from '../../lib/core/step.ts'
import { Turn } from '../../lib/core/turn.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, ask, asking, attemptFailed, cause, connect, connected, D, deliver, dialled, failing, given, noAnswer,
  rejectFailed, reportFailed, reportWarning, silentSince, untrusted, used,
} from '../support/core-given.ts'

const identities: readonly Row[] = [
  {
    name: 'H1 a wrong identity is warned of once, and again after the endpoint was verified in between',
    given: given({ peers: { [A]: { askedAt: -9_000 } } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        1,
        attemptFailed(1, 100, untrusted),
        [
          reportFailed(A, untrusted),
          reportWarning(`identity ${A}`, 'wrong name'),
          rejectFailed(1, cause(A, untrusted)),
        ],
      ],
      [2, dialled(2), [connect(2, 101, A)]],
      [3, attemptFailed(2, 101, untrusted), [rejectFailed(2, cause(A, untrusted))]],
      [4, dialled(3), [connect(3, 102, A)]],
      [5, connected(3, 102), [deliver(3, 102, A)]],
      [6, dialled(4), [connect(4, 103, A)]],
      [
        7,
        attemptFailed(4, 103, untrusted),
        [
          reportFailed(A, untrusted),
          reportWarning(`identity ${A}`, 'wrong name'),
          ask(104, A),
          rejectFailed(4, cause(A, untrusted)),
        ],
      ],
    ],
  },
  {
    name: "H1 a connection with TLS options of its caller's own proves nothing of the endpoint but that it lives",
    given: given({
      peers: { [A]: { ...failing(0), ...silentSince(5) } },
      warned: new Map([[`identity ${A}`, 'wrong name']]),
    }),
    phases: [
      [10, dialled(1, { own: true }), [connect(1, 100, A)]],
      [
        11,
        connected(1, 100),
        [deliver(1, 100, A)],
        { peers: { [A]: { standing: { is: 'failed', failures: 1 }, voice: { is: 'well' }, heardAt: 11, sockets: 1 } } },
      ],
      [12, dialled(2), [connect(2, 101, A)]],
      [
        13,
        attemptFailed(2, 101, untrusted),
        [
          reportFailed(A, untrusted),
          ask(102, A),
          rejectFailed(2, cause(A, untrusted)),
        ],
      ],
    ],
  },
]

runRows('identities', identities)

describe('an endpoint that is not known any more', () => {
  it('D2 stays unknown, whatever is said of it', () => {
    const failure = noAnswer
    const changes: readonly ((turn: Turn) => void)[] = [
      (turn) => becomeReady(turn, D),
      (turn) => becomeMute(turn, D),
      (turn) => becomeFailed(turn, D, failure),
      (turn) => becomeHeard(turn, D),
      (turn) => becomeDoubted(turn, D),
      (turn) => becomeUndoubted(turn, D),
      (turn) => becomeUnasked(turn, D),
      (turn) => becomeSuspect(turn, D),
      (turn) => becomeSilent(turn, D, true),
      (turn) => becomeSlow(turn, D, failure, true),
      (turn) => becomeHollow(turn, D, 0, 1, false),
      (turn) => struck(turn, D),
      (turn) => becomeRefusing(turn, D, 503),
      (turn) => becomeAlive(turn, D),
      (turn) => becomeWell(turn, D),
      (turn) => askNow(turn, D, 'deep'),
      (turn) => askOn(turn, D, 7),
      (turn) => askAgain(turn, D, asking(7), {}),
      (turn) => endDeaf(turn, D),
      (turn) => release(turn, D, 7),
    ]
    const state = given({ peers: { [A]: used } })
    for (const change of changes) {
      const turn = new Turn(state, 9)
      change(turn)
      assert.equal(turn.state, state, String(change))
      assert.deepEqual(turn.effects, [], String(change))
    }
  })

  it('D2 is visited no more, nor dialled, and stands as it was', () => {
    const turn = new Turn(given({ peers: { [A]: used, [D]: used } }), 9)
    const visited: string[] = []
    turn.forEachPeer(({ address }) => {
      visited.push(address)
      turn.set({ peers: new Map() })
    })
    assert.deepEqual(visited, [A])
  })
})

describe('jitter of backoff', () => {
  it('H1 the retry time is drawn from 0 to 250 ms, doubling to 30 s, and every endpoint is asked for its own', () => {
    const bounds = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    const most = bounds.map(() => 0)
    for (let randomSeed = 0; randomSeed < 200; randomSeed += 1) {
      for (const [failures, bound] of bounds.entries()) {
        const from = { ...given({ peers: { [A]: failures === 0 ? {} : failing(0, failures) } }), seed: randomSeed }
        const [dialling] = step(from, dialled(1), 1_000)
        const [state] = step(dialling, attemptFailed(1, 100), 1_000)
        const standing = state.peers.get(A)?.standing
        assert.ok(standing?.is === 'failed')
        const pause = standing.retryAt - 1_000
        assert.ok(pause >= 0 && pause < bound, `after ${failures + 1} failures: ${pause} ms`)
        most[failures] = Math.max(most[failures] ?? 0, pause)
      }
    }
    for (const [failures, bound] of bounds.entries())
      assert.ok((most[failures] ?? 0) > 0.9 * bound, `never near ${bound} ms`)
  })
})
