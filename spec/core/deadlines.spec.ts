// Deadlines: what the clock waits for, and what is done then.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import { A, asking, closeMonitor, given, keptSince, tick } from '../support/core-given.ts'

const monitors: readonly Row[] = [
  {
    name: 'the monitor connection is closed when it was unused for 75 s',
    given: given({ peers: { [A]: { ...keptSince(1_000) } } }),
    phases: [
      [75_999, tick, [], { deadline: { at: 76_000, why: 'monitor' } }],
      [76_000, tick, [closeMonitor(A)], { deadline: null, peers: { [A]: { kept: undefined } } }],
    ],
  },
  {
    name: 'the monitor connection is not closed while it is asked on',
    given: given({ peers: { [A]: { ...keptSince(1_000), question: asking(7, 75_500) } } }),
    phases: [[76_500, tick, [], { deadline: { at: 77_500, why: 'question' } }]],
  },
]

runRows('connections that are kept', monitors)
