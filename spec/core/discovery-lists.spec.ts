// Lists (R3, R4), as rows: what is taken of them, and what they do to the endpoints (D1, D2).

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, attempt, B, C, closeMonitor, connect, connected, D, deliver, dialled,
  front, given, hintsLoaded, keptSince, known, listOf, pending, ready, refreshRequested, rejectedList, removed,
  removedAt, reportEndpoints, reportWarning, retire, roundOf, save, seed, tick, unlisted, unready, used,
} from '../support/core-given.ts'

/** A round is asking A for the list, with a caller of refresh() who waits. */
const inRound = {
  status: 'ok', listedAt: 0, startedAt: 0, nextAt: Infinity, round: roundOf([A]), waiting: [1],
} as const
const asked = { ...ready, question: asking(7) }

const lists: readonly Row[] = [
  {
    name: 'R3 a list that was rejected changes nothing, is warned of, and another endpoint is asked',
    given: given({ peers: { [A]: asked, [B]: {} }, current: A, discovery: inRound }),
    phases: [
      [
        10,
        answered(A, 7, { body: rejectedList('no endpoint left') }),
        [reportWarning('list', 'list rejected: no endpoint left'), askDeep(100, B)],
        {
          peers: { [A]: { listing: { is: 'listed' }, standing: { is: 'ready' } }, [B]: { listing: { is: 'listed' } } },
        },
      ],
    ],
  },
  {
    name: 'R3 a list rejected for the same reason is warned of once, until a good one came',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [10, answered(A, 7, { body: rejectedList('not JSON') }), [reportWarning('list', 'list rejected: not JSON')]],
      [11, refreshRequested(), [askDeep(100, A)]],
      [12, answered(A, 100, { body: rejectedList('not JSON') }), []],
      [13, refreshRequested(), [askDeep(101, A)]],
      [14, answered(A, 101, { body: listOf([A]) }), []],
      [15, refreshRequested(), [askDeep(102, A)]],
      [16, answered(A, 102, { body: rejectedList('not JSON') }), [reportWarning('list', 'list rejected: not JSON')]],
    ],
  },
  {
    name: 'R4 a list refused in part is used, and warned of once',
    given: given({ peers: { [A]: asked }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A, B], [], ['loopback', 'port 0']) }),
        [reportEndpoints(A, B), save(A, B), reportWarning('list', 'list refused in part: loopback; port 0')],
        { peers: { [B]: { listing: { is: 'listed', ready: true }, origin: 'learned' } } },
      ],
      [11, refreshRequested(), [askDeep(100, A)]],
      [12, answered(A, 100, { body: listOf([A, B], [], ['loopback', 'port 0']) }), []],
    ],
  },
  {
    name: 'R3 the same list again is no news',
    given: given({ peers: { [A]: asked, [B]: unready }, discovery: known }),
    phases: [[10, answered(A, 7, { body: listOf([A], [B]) }), [], { discovery: { listedAt: 10 } }]],
  },
  {
    name: "R3 any heartbeat's list is taken, and puts off the next round",
    given: given({
      peers: { [A]: { ...used, question: asking(7) } },
      sockets: { 1: { address: A } },
      discovery: { ...known, nextAt: 1_000 },
    }),
    phases: [
      [
        999,
        answered(A, 7, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { counters: { refreshes: 0 } },
      ],
      [1_000, tick, []],
    ],
  },
  {
    name: 'R3 an endpoint that becomes unready, or ready again, is news',
    given: given({ peers: { [A]: asked, [B]: {} }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A], [B]) }),
        [reportEndpoints(A), save(A)],
        { peers: { [B]: unready } },
      ],
      [11, refreshRequested(), [askDeep(100, A)]],
      [
        12,
        answered(A, 100, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { peers: { [B]: { listing: { is: 'listed', ready: true } } } },
      ],
    ],
  },
  {
    name: 'D1 the first list drops hints that are not in it to the removed, and keeps the seeds and alternates (F1)',
    given: given({
      peers: {
        [A]: { ...front, question: asking(7) },
        [B]: { ...unlisted, origin: 'alternate' },
        [C]: { ...unlisted, origin: 'stored' },
        [D]: { ...unlisted, origin: 'stored' },
      },
      discovery: { ...pending, round: roundOf([A]) },
    }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([D]) }),
        [reportEndpoints(D), save(D), ask(100, D)],
        {
          peers: {
            [A]: unlisted,
            [B]: unlisted,
            [C]: removedAt(10),
            [D]: { listing: { is: 'listed' }, origin: 'stored' },
          },
        },
      ],
    ],
  },
  {
    name: 'D1 hints that come after a list, and hints of what is known, change nothing',
    given: given({ peers: { [A]: { askedAt: 0 } }, discovery: known }),
    phases: [[10, hintsLoaded(A, B), [], { same: true }]],
  },
  {
    name: 'D1 hints are stored endpoints, and leave a seed what it is',
    given: given({ peers: { [A]: front }, discovery: pending }),
    phases: [
      [
        10,
        hintsLoaded(A, B, B),
        [],
        { peers: { [A]: { origin: 'seed' }, [B]: { origin: 'stored' } } },
      ],
    ],
  },
  {
    name: 'D2 a removed endpoint is remembered for 5 minutes and then forgotten, with its monitor and its warning',
    given: given({
      peers: { [A]: ready, [B]: { ...removed, ...keptSince(299_000) } },
      current: B,
      usedAt: 290_000,
      discovery: known,
      warned: new Map([[`identity ${B}`, 'wrong name']]),
    }),
    phases: [
      [299_999, tick, [], { deadline: { at: 300_000, why: 'forget' } }],
      [
        300_000,
        tick,
        [closeMonitor(B)],
        { unknown: [B], current: undefined, deadline: { at: 410_000, why: 'unused' } },
      ],
    ],
  },
  {
    name: 'D2 what is forgotten leaves the last working one alone',
    given: given({ peers: { [A]: ready, [B]: removed }, current: A, usedAt: 290_000, discovery: known }),
    phases: [[300_000, tick, [], { unknown: [B], current: A }]],
  },
  {
    name: 'D2 a removed seed is never forgotten',
    given: given({
      peers: { [A]: ready, [B]: { ...seed, ...removed } },
      usedAt: 1e8,
      discovery: { ...known, nextAt: 1e8 + 9 },
    }),
    phases: [[1e8, tick, [], { peers: { [B]: { ...removedAt(0) } }, deadline: { at: 1e8 + 9, why: 'refresh' } }]],
  },
  {
    name: 'D2 a removed endpoint that serves a socket, or is being asked, is not forgotten',
    given: given({
      peers: {
        [A]: { ...removed, ...keptSince(0, 299_000), askedAt: 299_000, askedDeepAt: 299_000 },
        [B]: { ...removed, question: asking(7, 299_000) },
      },
      sockets: { 1: { address: A } },
      usedAt: 299_000,
    }),
    phases: [[300_000, tick, [], { peers: { [A]: {}, [B]: {} } }]],
  },
  {
    name: 'D2 a removed endpoint that is being dialled is not forgotten, and any other is',
    given: given({
      peers: { [A]: ready, [B]: removed, [C]: removed },
      dials: [
        { id: 1, tried: [B], attempts: [attempt(10, B, 299_999)], nextAt: 300_200, deadline: 310_000 },
        { id: 2, tried: [A], attempts: [attempt(11, A, 299_999)], nextAt: 300_200, deadline: 310_000 },
      ],
    }),
    phases: [
      [300_000, tick, [], { unknown: [C], peers: { [B]: {} }, deadline: { at: 300_200, why: 'dial' } }],
      [300_100, connected(1, 10), [deliver(1, 10, B), retire(10)], { peers: { [B]: { sockets: 1 } } }],
    ],
  },
  {
    name: 'D2 of removed endpoints no more than 64 are remembered, the last ones and those being dialled',
    given: given({
      peers: {
        [A]: asked,
        [B]: removedAt(-9),
        [C]: { ...removedAt(-8), ...keptSince(1) },
        ...Object.fromEntries(Array.from({ length: 63 }, (_, index) => [`10.1.0.${index}:6443`, removed])),
        [D]: {},
      },
      dials: [{ id: 1, tried: [B], attempts: [attempt(10, B)], nextAt: 250 }],
      discovery: known,
    }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A]) }),
        [closeMonitor(C), reportEndpoints(A), save(A)],
        { unknown: [C], peers: { [B]: {}, [D]: removedAt(10), '10.1.0.0:6443': {} } },
      ],
    ],
  },
  {
    name: 'R4, D2 no more are remembered for being asked: a question to what was forgotten is abandoned',
    given: given({
      peers: {
        [A]: asked,
        [B]: { ...removedAt(-9), question: asking(8) },
        ...Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`10.1.0.${index}:6443`, removed])),
      },
      discovery: { ...known, round: roundOf([B]) },
    }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A]) }),
        [abandon(B, 8)],
        { unknown: [B], peers: { [A]: { question: undefined } }, discovery: { round: undefined } },
      ],
    ],
  },
  {
    name: 'D2 a removed endpoint that is listed again is as any other',
    given: given({ peers: { [A]: asked, [B]: removed }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A, B]) }),
        [reportEndpoints(A, B), save(A, B)],
        { peers: { [B]: { listing: { is: 'listed', ready: true } } } },
      ],
    ],
  },
  {
    name: 'D2 what was removed stays removed since then, however many lists follow',
    given: given({ peers: { [A]: asked, [B]: removed }, discovery: known }),
    phases: [[10, answered(A, 7, { body: listOf([A]) }), [], { peers: { [B]: { ...removedAt(0) } } }]],
  },
  {
    name: 'D2 a seed that drops out of the list is leaving since then',
    given: given({ peers: { [A]: asked, [B]: seed }, discovery: known }),
    phases: [
      [
        10,
        answered(A, 7, { body: listOf([A]) }),
        [reportEndpoints(A), save(A)],
        { peers: { [B]: removedAt(10) } },
      ],
    ],
  },
  {
    name: 'D3 a dial with nothing else to try goes on with an endpoint that a list names meanwhile',
    given: given({
      peers: { [A]: { ...front, ...ready, question: asking(7) } },
      discovery: { ...pending, round: roundOf([A]) },
    }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, A)]],
      [300, answered(A, 7, { body: listOf([A, B]) }), [reportEndpoints(A, B), save(A, B), connect(1, 102, B)]],
    ],
  },
]

runRows('lists', lists)
