// What is known of each apiserver (H1), as rows: what makes it ready or failed, and for how long.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { step } from '../../lib/core/step.ts'
import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, ask, attemptFailed, cause, connect, connected, deliver, dialled, failing, given, rejectFailed, reportFailed,
  reportWarning, silentSince, untrusted,
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
