// What nobody uses costs nothing (H10), as rows: after two minutes a dialer waits for nothing, and the next dial wakes
// it.

import { runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, ask, askDeep, asking, B, C, closeMonitor, connect, connected, deliver, dialled, doubted, front,
  given, hollowSince, identityChanged, keptSince, known, listOf, pending, reading, ready, refreshed, refreshRequested,
  refusing, removed, reportEndpoints, roundOf, sampled, save, socketClosed, suspectSince, tick, trafficResumed, used,
  warningRaised, reportWarning,
} from '../support/core-given.ts'

const kept = { ...used, ...keptSince(0, 119_000) }
const asleep = { dormant: true, usedAt: 0 }
const nothing = { deadline: null } as const

const rest: readonly Row[] = [
  {
    name: 'H10 two minutes after its last use a dialer closes its monitors and waits for nothing',
    given: given({ peers: { [A]: kept, [B]: ready }, discovery: known, current: A, usedAt: 0 }),
    phases: [
      [119_999, tick, [], { deadline: { at: 120_000, why: 'unused' } }],
      [120_000, tick, [closeMonitor(A)], nothing],
      [500_000, tick, [], nothing],
    ],
  },
  {
    name: 'H10 what is asked just then is given up, with all that was to be asked',
    given: given({
      peers: {
        [A]: { ...kept, question: asking(9, 119_000), deaf: { question: 8, since: 0, until: 121_000 } },
        [B]: { ...ready, ...refusing(), question: asking(10, 119_500) }, [C]: { ...ready, ...suspectSince(0) },
      },
      discovery: { ...known, nextAt: Infinity, round: roundOf([A]) }, usedAt: 0,
      witness: { depth: 'shallow', asked: [], nextAt: 130_000, vain: 0 }, probe: { nextAt: 130_000 },
      recovery: { nextAt: 130_000, pause: 30_000 },
    }),
    phases: [[120_000, tick, [abandon(A, 8), abandon(A, 9), closeMonitor(A), abandon(B, 10)], {
      ...nothing, peers: {
        [A]: { question: undefined, deaf: undefined, kept: undefined }, [C]: { voice: { is: 'well' } },
      },
    }]],
  },
  {
    name: 'H10 a socket in use, a dial and a refresh() are uses',
    given: given({
      peers: { [A]: { ...kept, heardAt: 119_900, askedAt: 119_000, askedDeepAt: 119_000 } },
      sockets: { 1: { address: A } }, usedAt: 0, sampleAt: 120_000,
    }),
    phases: [
      [120_000, sampled(reading(1, 10, 10)), []],
      [120_000, tick, [], { deadline: { at: 120_250, why: 'sample' } }],
      [120_250, sampled(reading(1, 10, 10, true)), []],
      [120_250, tick, [], { peers: { [A]: { active: false } } }],
    ],
  },
  {
    name: 'H10 a socket that waits in its pool is none',
    given: given({
      peers: { [A]: { ...kept, heardAt: 119_000, askedAt: 119_000, askedDeepAt: 119_000 } },
      sockets: { 1: { address: A, idle: true } }, usedAt: 0,
    }),
    phases: [
      [120_000, tick, [closeMonitor(A)], nothing],
      [130_000, tick, [], nothing],
      [140_000, socketClosed(1, { read: 0, written: 10, byPeer: true }), [], nothing],
    ],
  },
  {
    name: 'H10 with nothing ever used there is nothing to rest from',
    given: given({ peers: { [A]: front }, discovery: pending, usedAt: -Infinity }),
    phases: [[500_000, tick, [], { ...nothing, same: true }]],
  },
  {
    name: 'H10 what happens while it rests wakes nothing: warnings, another identity, a token that is there',
    given: given({ peers: { [A]: ready }, discovery: { ...known, nextAt: Infinity }, ...asleep }),
    phases: [
      [200_000, warningRaised('store', 'one'), [reportWarning('store', 'one')], nothing],
      [200_001, identityChanged, [], nothing],
      [200_002, refreshRequested(), [], nothing],
    ],
  },
]

const waking: readonly Row[] = [
  {
    name: 'H10 the next dial refreshes the list, on whoever it would dial',
    given: given({
      peers: { [A]: ready, [B]: ready }, discovery: { ...known, nextAt: Infinity }, current: A, ...asleep,
    }),
    phases: [
      [300_000, dialled(1), [connect(1, 100, A), askDeep(101, A)], { counters: { refreshes: 1 } }],
      [300_010, connected(1, 100), [deliver(1, 100, A)]],
      [300_020, answered(A, 101, { body: listOf([A, B]) }), [], { discovery: { status: 'ok', listedAt: 300_020 } }],
      [300_030, dialled(2), [connect(2, 102, A)], { counters: { refreshes: 1 } }],
    ],
  },
  {
    name: 'H10 a pooled socket that is used again wakes it, too',
    given: given({
      peers: { [A]: ready }, sockets: { 1: { address: A, idle: true } }, discovery: { ...known, nextAt: Infinity },
      current: A, ...asleep,
    }),
    phases: [[300_000, trafficResumed, [askDeep(100, A)], { deadline: { at: 300_250, why: 'sample' } }]],
  },
  {
    name: 'H10 refresh() is a use, and one question',
    given: given({ peers: { [A]: ready }, discovery: { ...known, nextAt: Infinity }, current: A, ...asleep }),
    phases: [
      [300_000, refreshRequested(5), [askDeep(100, A)]],
      [300_010, answered(A, 100, { body: listOf([A]) }), [refreshed(5, A)]],
      [420_000, tick, [closeMonitor(A)], nothing],
    ],
  },
  {
    name: 'H10 where the list was forbidden, or could not be had, it is asked for again',
    given: given({
      peers: { [A]: {
        ...ready, ...front,
      } }, discovery: { status: 'forbidden', listedAt: undefined, nextAt: Infinity }, current: A, ...asleep,
    }),
    phases: [[300_000, dialled(1), [connect(1, 100, A), askDeep(101, A)]]],
  },
  {
    name: 'H10, F3 where it was never had, the dial asks for it on its own connection',
    given: given({ peers: { [A]: front }, discovery: pending, ...asleep }),
    phases: [
      [300_000, dialled(1), [connect(1, 100, A)]],
      [300_010, connected(1, 100), [ask(101, A, { on: 'fresh', attempt: 100 })]],
      [300_020, answered(A, 101, { body: listOf([A]) }), [reportEndpoints(A), save(A), deliver(1, 100, A)]],
    ],
  },
  {
    name: 'H10 with refreshInterval 0 nothing is asked',
    given: given({ peers: { [A]: ready }, current: A, ...asleep }),
    phases: [[300_000, dialled(1), [connect(1, 100, A)]]],
  },
  {
    name: 'H10, D2 what was removed long ago is forgotten as it wakes',
    given: given({ peers: { [A]: ready, [B]: { ...ready, ...removed } }, current: A, ...asleep }),
    phases: [
      [300_000, dialled(1), [connect(1, 100, A)], { deadline: { at: 300_000, why: 'forget' } }],
      [300_000, tick, [], { unknown: [B] }],
    ],
  },
  {
    name: 'H10 what was doubted then is not now; what was known to be hollow is, until it is asked',
    given: given({
      peers: { [A]: { ...kept, ...doubted, question: asking(9, 119_900) }, [B]: { ...ready, ...hollowSince(0) } },
      usedAt: 0, current: A,
    }),
    phases: [
      [
        120_000, tick, [abandon(A, 9), closeMonitor(A)],
        { peers: { [A]: { voice: { is: 'well' } }, [B]: hollowSince(0) } },
      ],
    ],
  },
]

runRows('a dialer that nobody uses', rest)
runRows('a dialer that is used again', waking)
