// What a turn warns of, and its draws.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, ask, attemptFailed, cause, connect, connected, deliver, dialled, failing, given, rejectFailed, reportFailed,
  reportWarning, suspectSince, untrusted,
} from '../support/core-given.ts'

const warnings: readonly Row[] = [
  {
    name: 'a wrong identity is warned of once, and again after the endpoint was verified in between',
    given: given({ peers: { [A]: {} } }),
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
    name: "a connection with TLS options of its caller's own proves nothing of the endpoint but that it lives",
    given: given({
      peers: { [A]: { ...failing(0), ...suspectSince(5), silent: true } },
      warned: new Map([[`identity ${A}`, 'wrong name']]),
    }),
    phases: [
      [10, dialled(1, { own: true }), [connect(1, 100, A)]],
      [
        11,
        connected(1, 100),
        [deliver(1, 100, A)],
        { peers: { [A]: { failures: 1, verified: false, silent: false, heardAt: 11, sockets: 1 } } },
      ],
      [12, dialled(2), [connect(2, 101, A)]],
      [
        13,
        attemptFailed(2, 101, untrusted),
        [
          { type: 'report', report: { event: 'failed', address: A, failure: untrusted } },
          ask(102, A),
          rejectFailed(2, cause(A, untrusted)),
        ],
      ],
    ],
  },
  {
    name: 'what another part warns of is told once for each kind, until its message changes, with its error',
    given: given({ peers: { [A]: {} } }),
    phases: [
      [
        0,
        { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' },
        [{ type: 'report', report: { event: 'warning', kind: 'token', message: 'no file', error: 'E' } }],
      ],
      [1, { type: 'warningRaised', kind: 'token', message: 'no file', error: 'E' }, [], { same: true }],
      [2, { type: 'warningRaised', kind: 'store', message: 'no file' }, [reportWarning('store', 'no file')]],
      [3, { type: 'warningRaised', kind: 'token', message: 'empty' }, [reportWarning('token', 'empty')]],
    ],
  },
]

runRows('warnings', warnings)
