// What has never been reached (D7), as rows: no dial waits long for listed addresses that are out of reach.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, ask, askDeep, attempt, attemptFailed, B, C, cancelled, cause, connect, connected, deliver, destroy,
  dialled, failing, front, given, missed, noConnection, noConnectionIn, reaching, ready, refused, reject, rejectFailed,
  reportFailed, reportFailover, tick, unreachable, unreached, used,
} from '../support/core-given.ts'

const after250 = noConnectionIn(250)

const dials: readonly Row[] = [
  {
    name: 'D4, D3 a connection without TLS and identity wins nothing, however long ago it was begun',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A, usedAt: -Infinity }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, B)]],
      [400, connected(1, 101), [
        deliver(1, 101, B), destroy(1, 100), reportFailover(A, B, 'no connection within 250 ms'),
        askDeep(102, A, { on: 'fresh' }),
      ]],
      [410, connected(1, 100), [destroy(1, 100)]],
    ],
  },
  {
    name: 'D7, D2 the seed refuses, and what is left was never reached: all of it is tried at once, for attemptDelay',
    given: given({ peers: { [A]: { ...used, ...front }, [B]: unreached, [C]: unreached }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [
        3, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B), connect(1, 102, C)],
        { deadline: { at: 253, why: 'dial' } },
      ],
      [252, tick, []],
      [253, tick, [
        destroy(1, 101), destroy(1, 102), rejectFailed(1, cause(A, refused), cause(B, after250), cause(C, after250)),
      ]],
    ],
  },
  {
    name: 'D7 where the one in use took long to connect, others are given three times that before they count as silent',
    given: given({ peers: { [A]: { ...used, ...front, connectMs: 300 }, [B]: {} }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A), ask(101, B)]],
      [3, attemptFailed(1, 100), [reportFailed(A), connect(1, 102, B)]],
      [700, tick, [], { deadline: { at: 900, why: 'dial' } }],
      [900, tick, [destroy(1, 102), rejectFailed(1, cause(A, refused), cause(B, noConnectionIn(897)))]],
    ],
  },
  {
    name: 'D7 one of them that answers after all within that time is delivered',
    given: given({ peers: { [A]: { ...used, ...front }, [B]: unreached, [C]: unreached }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [3, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B), connect(1, 102, C)]],
      [252, connected(1, 102), [deliver(1, 102, C), destroy(1, 101), reportFailover(A, C, 'refused')]],
    ],
  },
  {
    name: 'D7 one that was verified before is waited for, however silent it was',
    given: given({
      peers: {
        [A]: { ...used, ...front }, [B]: { ...failing(0, 1, { silent: true, reached: true, error: 'x' }) },
      }, current: A,
      usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 3)], failedAt: 3, causes: [cause(A, refused)] }],
    }),
    phases: [
      [253, tick, [], { deadline: { at: 5_003, why: 'dial' } }],
      [5_003, tick, [
        destroy(1, 7), reportFailed(B, noConnection), rejectFailed(1, cause(A, refused), cause(B, noConnection)),
      ]],
    ],
  },
  {
    name: 'D7 one that refused before is no silent one, and is waited for',
    given: given({
      peers: { [A]: failing(0), [B]: failing(0) }, usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 3)], failedAt: 3, causes: [cause(A, refused)] }],
    }),
    phases: [[253, tick, [], { deadline: { at: 5_003, why: 'dial' } }]],
  },
  {
    name: 'D7 as long as a better one is left to be tried, or is being tried, the dial goes on',
    given: given({
      peers: { [A]: { ...used, ...front }, [B]: unreached, [C]: ready }, current: A, usedAt: -Infinity,
      dials: [
        { id: 1, tried: [A, B], attempts: [attempt(7, B, 3)], failedAt: 3, causes: [cause(A, refused)], nextAt: 253 },
      ],
    }),
    phases: [
      [253, tick, [connect(1, 100, C)]],
      [600, tick, []],
      [
        610, connected(1, 100),
        [deliver(1, 100, C), destroy(1, 7), reportFailover(A, C, 'refused'), askDeep(101, B, { on: 'fresh' })],
      ],
    ],
  },
  {
    name: 'D7 a dial that waits for one that turns out to be out of reach ends at once, if the others failed long ago',
    given: given({
      peers: {
        [A]: { ...failing(0), ...front }, [B]: { question: reaching(9, 900, { misses: 1, on: 'fresh' }), askedAt: 900 },
      },
      current: A, usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 800)], failedAt: 800, causes: [cause(A, refused)] }],
    }),
    phases: [[1_200, missed(B, 9, unreachable), [
      reportFailed(B, unreachable), destroy(1, 7), rejectFailed(1, cause(A, refused), cause(B, noConnectionIn(400))),
    ]]],
  },
  {
    name: 'D7 a question that has been connecting for twice attemptDelay tells the same, before it is given up',
    given: given({
      peers: { [A]: { ...failing(0), ...front }, [B]: { question: reaching(9, 900), askedAt: 900 } }, current: A,
      usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 800)], failedAt: 800, causes: [cause(A, refused)] }],
    }),
    phases: [
      [1_399, tick, [], { deadline: { at: 1_400, why: 'dial' } }],
      [1_400, tick, [destroy(1, 7), rejectFailed(1, cause(A, refused), cause(B, noConnectionIn(600)))], {
        peers: { [B]: { mute: true } },
      }],
    ],
  },
  {
    name: 'D7 an attempt that was given up after twice attemptDelay of silence tells the same to the next dial',
    given: given({
      peers: { [A]: ready, [B]: { askedAt: -1_000 } }, current: A,
      dials: [{ id: 1, tried: [B], attempts: [attempt(7, B)] }],
    }),
    phases: [
      [500, cancelled(1, 'enough'), [
        destroy(1, 7), reject(1, { kind: 'cancelled', reason: 'enough' }), askDeep(100, B, { on: 'fresh' }),
      ], {
        peers: { [B]: { mute: true } },
      }],
      [510, dialled(2), [connect(2, 101, A)]],
      [520, attemptFailed(2, 101), [reportFailed(A), connect(2, 102, B)], { deadline: { at: 770, why: 'dial' } }],
      [600, missed(B, 100, refused), [ask(103, B, { depth: 'deep', on: 'fresh' })]],
      [610, missed(B, 103, refused), [reportFailed(B)], { peers: { [B]: { mute: false } } }],
      [770, tick, [], { dials: { 2: { wakeAt: 5_520 } } }],
    ],
  },
  {
    name: 'D7 one that is being asked, and was never tried by the dial, is tried before it may count as silent',
    given: given({
      peers: { [A]: failing(0), [B]: unreached, [C]: { ...failing(0), question: reaching(9, 200), askedAt: 200 } }, usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B)], failedAt: 0, causes: [cause(A, refused)], nextAt: 250 }],
    }),
    phases: [
      [250, tick, [connect(1, 100, C)], { deadline: { at: 500, why: 'dial' } }],
      [260, connected(1, 100), [deliver(1, 100, C), destroy(1, 7), askDeep(101, B, { on: 'fresh' })]],
    ],
  },
  {
    name: 'D7 and attemptDelay after the last of the others failed, if that was just now',
    given: given({
      peers: {
        [A]: { ...failing(0), ...front }, [B]: { question: reaching(9), askedAt: 0 },
      }, current: A, usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 4_900)], failedAt: 4_900, causes: [cause(A, refused)] }],
    }),
    phases: [
      [5_000, tick, [abandon(B, 9), reportFailed(B, noConnection)], { deadline: { at: 5_150, why: 'dial' } }],
      [5_150, tick, [destroy(1, 7), rejectFailed(1, cause(A, refused), cause(B, after250))]],
    ],
  },
  {
    name: 'D7, H4 a stalled loop is no silence: the dial waits for attemptDelay again',
    given: given({
      peers: { [A]: failing(0), [B]: unreached }, usedAt: -Infinity,
      dials: [{ id: 1, tried: [A, B], attempts: [attempt(7, B, 3)], failedAt: 3, causes: [cause(A, refused)] }],
    }),
    phases: [
      [1_254, tick, [], { deadline: { at: 1_504, why: 'dial' } }],
      [1_300, connected(1, 7), [deliver(1, 7, B)]],
    ],
  },
  {
    name: 'D7 where nothing but what was never reached is known, it is waited for as for any other',
    given: given({
      peers: { [B]: unreached }, usedAt: -Infinity, dials: [{ id: 1, tried: [B], attempts: [attempt(7, B)] }],
    }),
    phases: [
      [250, tick, []],
      [4_999, tick, []],
      [5_000, tick, [destroy(1, 7), rejectFailed(1, cause(B, noConnection))]],
    ],
  },
]

runRows('what has never been reached', dials)
