// Dialling (D1, D3 to D6) and the failure memory of dials (H1), as rows. The order of candidates has its own file.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, askDeep, asking, attempt, attemptFailed, B, broken, C, cancelled, cause, connect, connected, D, deliver, destroy,
  dialled, failing, given, local, noConnection, noConnectionIn, noDial, ready, refused, reject, rejectFailed,
  reportFailed, reportFailover, reportWarning, seed, tick, unreached, untrusted,
} from '../support/core-given.ts'

const three = given({ peers: { [A]: ready, [B]: ready, [C]: ready }, current: A })
const one = given({ peers: { [A]: { ...seed, askedAt: 0 } } })

const rows: readonly Row[] = [
  {
    name: 'D3 a dial starts one attempt, at the first candidate, and looks again after attemptDelay',
    given: three,
    phases: [
      [
        0,
        dialled(1),
        [connect(1, 100, A)],
        { deadline: { at: 250, why: 'dial' }, counters: { dials: 1, attempts: 1 } },
      ],
    ],
  },
  {
    name: 'D3 the next candidate is started after attemptDelay of silence, and the first goes on',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [249, tick, []],
      [250, tick, [connect(1, 101, B)], { deadline: { at: 500, why: 'dial' } }],
      [500, tick, [connect(1, 102, C)], { deadline: { at: 750, why: 'dial' } }],
      [750, tick, [], { deadline: { at: 5_000, why: 'dial' } }],
    ],
  },
  {
    name: 'D3 the next candidate is started at once when an attempt fails',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)], { deadline: { at: 253, why: 'dial' } }],
    ],
  },
  {
    name: 'D3 when the later of two attempts fails the third is started, and the first goes on',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, attemptFailed(1, 101), [reportFailed(B), connect(1, 102, C)]],
      [270, connected(1, 100), [deliver(1, 100, A), destroy(1, 102)], { current: A }],
    ],
  },
  {
    name: 'D3 the first to succeed wins, and the others are destroyed at once; the one that lost by silence is asked',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [
        260,
        connected(1, 101),
        [
          deliver(1, 101, B),
          destroy(1, 100),
          reportFailover(A, B, 'no connection within 250 ms'),
          askDeep(102, A, { on: 'fresh' }),
        ],
        {
          current: B,
          peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'doubted' } }, [B]: { sockets: 1 } },
          counters: { failovers: 1, heartbeats: 1 },
        },
      ],
    ],
  },
  {
    name: 'D3 an attempt that lost before attemptDelay had passed is not asked, as it was given no time',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, connected(1, 100), [deliver(1, 100, A), destroy(1, 101)], { counters: { failovers: 0, heartbeats: 0 } }],
    ],
  },
  {
    name: 'D3 a loser whose success crossed the order to destroy it is destroyed, and changes nothing',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, connected(1, 100), [deliver(1, 100, A), destroy(1, 101)]],
      [260, connected(1, 101), [destroy(1, 101)], { same: true }],
    ],
  },
  {
    name: 'D3 two attempts that end by the clock together start one candidate, which is the last',
    given: given({
      peers: { [A]: ready, [B]: ready, [C]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(10, A), attempt(11, B)], nextAt: 9_000 }],
    }),
    phases: [
      [
        5_000,
        tick,
        [
          destroy(1, 10),
          reportFailed(A, noConnection),
          destroy(1, 11),
          reportFailed(B, noConnection),
          connect(1, 100, C),
        ],
        { deadline: { at: 5_250, why: 'dial' } },
      ],
    ],
  },
  {
    name: 'D5 attemptTimeout ends an attempt, which has failed, and starts the next',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A, settings: { attemptTimeout: 200 } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)], { deadline: { at: 200, why: 'dial' } }],
      [
        200,
        tick,
        [
          destroy(1, 100),
          reportFailed(A, noConnectionIn(200)),
          connect(1, 101, B),
        ],
        { peers: { [A]: { standing: { is: 'failed', failures: 1 } } } },
      ],
    ],
  },
  {
    name: 'D5 attemptTimeout of the last attempt ends the dial',
    given: one,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, []],
      [
        5_000,
        tick,
        [
          destroy(1, 100),
          reportFailed(A, noConnection),
          rejectFailed(1, cause(A, noConnection)),
        ],
        { peers: { [A]: { standing: { is: 'failed', failures: 1, silent: true } } } },
      ],
    ],
  },
  {
    name: 'D5 dialTimeout ends the whole dial with a cause for each endpoint that was tried',
    given: given({
      peers: { [A]: ready, [B]: ready },
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(11, B, 12_000)], causes: [cause(A, refused)] }],
    }),
    phases: [
      [14_999, tick, []],
      [
        15_000,
        tick,
        [destroy(1, 11), reject(1, { kind: 'timedOut', causes: [cause(A, refused), cause(B, noDial)] })],
        { deadline: { at: 120_000, why: 'unused' }, peers: { [B]: { standing: { is: 'ready' } } } },
      ],
    ],
  },
  {
    name: 'D5 a caller who gives up ends its dial at once; whom it left waiting for 100 ms is doubted (H11)',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [
        251,
        cancelled(1, 'enough'),
        [
          destroy(1, 100),
          destroy(1, 101),
          reject(1, { kind: 'cancelled', reason: 'enough' }),
          askDeep(102, A, { on: 'fresh' }),
        ],
        { peers: { [A]: { standing: { is: 'ready' }, voice: { is: 'doubted' } }, [B]: { voice: { is: 'well' } } } },
      ],
      [252, attemptFailed(1, 100), [], { same: true }],
    ],
  },
  {
    name: 'D6 when all have failed the dial is rejected at once with every cause, and there is no second round',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [1, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [2, attemptFailed(1, 101, local), [connect(1, 102, C)]],
      [
        3,
        attemptFailed(1, 102, untrusted),
        [
          reportFailed(C, untrusted),
          reportWarning(`identity ${C}`, 'wrong name'),
          rejectFailed(1, cause(A, refused), cause(B, local), cause(C, untrusted)),
        ],
        { deadline: { at: 120_000, why: 'unused' } },
      ],
    ],
  },
  {
    name: 'D6 a failure with nothing left to start waits for the attempts that are under way',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [260, attemptFailed(1, 101), [reportFailed(B)], { deadline: { at: 5_000, why: 'dial' } }],
      [300, connected(1, 100), [deliver(1, 100, A)]],
    ],
  },
  {
    name: 'H1 a verified attempt makes an endpoint ready and clears its failures',
    given: given({ peers: { [A]: failing(9_000, 3) } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        7,
        connected(1, 100),
        [deliver(1, 100, A)],
        {
          current: A,
          peers: { [A]: { standing: { is: 'ready' }, connectMs: 7, heardAt: 7, sockets: 1 } },
          sockets: { 100: { address: A } },
          deadline: { at: 107, why: 'silence' },
        },
      ],
    ],
  },
  {
    name: 'H1 an error of this machine blames no endpoint',
    given: three,
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        1,
        attemptFailed(1, 100, local),
        [connect(1, 101, B)],
        { peers: { [A]: { standing: { is: 'ready' } } } },
      ],
    ],
  },
  {
    name: 'H1 an endpoint that goes on failing for the same reason is reported once',
    given: given({ peers: { [A]: { ...failing(0), askedAt: 0 } } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        1,
        attemptFailed(1, 100),
        [rejectFailed(1, cause(A, refused))],
        { peers: { [A]: { standing: { is: 'failed', failures: 2 } } } },
      ],
    ],
  },
  {
    name: 'H1 an endpoint that fails for another reason is reported again',
    given: given({ peers: { [A]: { ...failing(0), askedAt: 0 } } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        1,
        attemptFailed(1, 100, broken),
        [
          reportFailed(A, broken),
          rejectFailed(1, cause(A, broken)),
        ],
      ],
    ],
  },
  {
    name: 'D7 what was never reached is tried together when all else has failed, and waited for no longer than attemptDelay',
    given: given({
      peers: { [A]: { ...ready, askedAt: 0 }, [B]: { ...unreached, askedAt: 0 }, [C]: { ...unreached, askedAt: 0 } },
      current: A,
    }),
    phases: [
      [100, dialled(1), [connect(1, 100, A)]],
      [
        101,
        attemptFailed(1, 100),
        [reportFailed(A), connect(1, 101, B), connect(1, 102, C)],
        { deadline: { at: 351, why: 'dial' } },
      ],
      [350, tick, []],
      [
        351,
        tick,
        [
          destroy(1, 101),
          destroy(1, 102),
          rejectFailed(1, cause(A, refused), cause(B, noConnectionIn(250)), cause(C, noConnectionIn(250))),
        ],
      ],
    ],
  },
  {
    name: 'D7 a dial that has nothing but what was never reached waits for it as for any other',
    given: given({ peers: { [A]: { ...unreached, askedAt: 0 }, [B]: { ...unreached, askedAt: 0 } } }),
    phases: [
      [100, dialled(1), [connect(1, 100, A)]],
      [350, tick, [connect(1, 101, B)]],
      [600, tick, []],
      [700, connected(1, 101), [deliver(1, 101, B), destroy(1, 100)]],
    ],
  },
  {
    name: 'D2 an attempt at an endpoint that is not known any more ends as any other, and nobody learns from it',
    given: given({
      peers: { [A]: ready },
      dials: [
        { id: 1, tried: [D, A], attempts: [attempt(10, D)] },
        { id: 2, tried: [D, A], attempts: [attempt(11, D)] },
        { id: 3, tried: [D, A], attempts: [attempt(12, D)] },
      ],
    }),
    phases: [
      [200, attemptFailed(1, 10), [rejectFailed(1, cause(D, refused))], { unknown: [D] }],
      [201, cancelled(2, 'enough'), [destroy(2, 11), reject(2, { kind: 'cancelled', reason: 'enough' })]],
      [202, connected(3, 12), [deliver(3, 12, D)], { unknown: [D] }],
    ],
  },
  {
    name: 'F3 a connection whose own question is over ends with its dial',
    given: given({
      peers: { [A]: { ...ready, question: asking(7) } },
      dials: [{ id: 1, tried: [A], attempts: [attempt(10, A, 0, { phase: 'asking' })] }],
    }),
    phases: [
      [
        20,
        cancelled(1, 'enough'),
        [destroy(1, 10), reject(1, { kind: 'cancelled', reason: 'enough' })],
        { peers: { [A]: { question: { id: 7, attempt: undefined } } } },
      ],
    ],
  },
]

runRows('dialling', rows)
