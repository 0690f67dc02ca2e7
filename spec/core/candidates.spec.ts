// The order of candidates (D1, D2) and `balance`, as rows. Failures of this machine move a dial on and blame nobody,
// so that one dial shows the whole order.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { firstCandidate, SPREAD_REST } from '../../lib/core/candidates.ts'
import type { Address } from '../../lib/core/endpoint.ts'
import type { State } from '../../lib/core/state.ts'
import { initialState, step } from '../../lib/core/step.ts'
import { Turn } from '../../lib/core/turn.ts'
import { DEFAULTS } from '../../lib/options.ts'
import { runRows } from '../support/core-rows.ts'
import type { Phase, Row } from '../support/core-rows.ts'
import {
  A, askDeep, at, attempt, attemptFailed, B, C, cause, connect, connected, D, deliver, destroy, dialled, E, failing,
  front, given, hintsLoaded, local, pending, ready, refused, refusing, reject, removed, reportFailed, reportFailover,
  seed, tick, unlisted, unready,
} from '../support/core-given.ts'

const early = { discovery: { listedAt: undefined } } as const
const spread = { settings: { balance: 'spread' } } as const

/** Every endpoint in this order, and none twice or never. */
function inOrder(name: string, state: State, ...order: readonly Address[]): Row {
  const phases = order.map((address, index): Phase => {
    const event = index === 0 ? dialled(1) : attemptFailed(1, 99 + index, local)
    return [1_000, event, [connect(1, 100 + index, address)]]
  })
  const causes = order.map((address) => cause(address, local))
  const last: Phase = [1_000, attemptFailed(1, 99 + order.length, local), [reject(1, { kind: 'failed', causes })]]
  return { name, given: state, phases: [...phases, last] }
}

/** Unverified, and asked before: nobody has to find out whether it can be reached. */
const plain = { askedAt: 0 } as const
const hint = { ...unlisted, origin: 'stored' } as const
const alternate = { ...unlisted, origin: 'alternate' } as const

const rows: readonly Row[] = [
  inOrder(
    'D1 before anything is learned the seed is dialled first, and hints and alternates behind it',
    given({ peers: { [A]: hint, [B]: alternate, [C]: front }, ...early }),
    C,
    A,
    B,
  ),
  inOrder(
    'D1 hints and alternates are one rank, in the order drawn',
    given({
      peers: {
        [A]: { ...alternate, lot: 0.9 },
        [B]: { ...hint, lot: 0.5 },
        [C]: front,
        [D]: { ...alternate, lot: 0.1 },
      },
      ...early,
    }),
    C,
    D,
    B,
    A,
  ),
  inOrder(
    'D1 a hint that worked comes before a seed that was never reached',
    given({ peers: { [A]: { ...hint, ...ready }, [B]: front }, ...early }),
    A,
    B,
  ),
  inOrder(
    'D1 a seed that failed comes behind hints that nobody tried yet',
    given({ peers: { [A]: { ...front, ...failing(0) }, [B]: hint }, ...early }),
    B,
    A,
  ),
  inOrder(
    'D1 before anything is learned a seed that works is ready like any other',
    given({ peers: { [A]: { ...front, ...ready, lot: 0.9 }, [B]: { ...hint, ...ready } }, ...early }),
    B,
    A,
  ),
  inOrder(
    'D2 the last working one, ready, unverified, leaving, failed, removed',
    given({
      peers: {
        [A]: removed,
        [B]: failing(5_000),
        [C]: { ...ready, ...unready },
        [D]: plain,
        [E]: ready,
        '10.0.0.6:6443': ready,
      },
      current: '10.0.0.6:6443',
    }),
    '10.0.0.6:6443',
    E,
    D,
    C,
    B,
    A,
  ),
  inOrder(
    'D2 seeds that are not in the list come behind unverified ones and before those that are leaving',
    given({ peers: { [A]: unready, [B]: front, [C]: plain } }),
    C,
    B,
    A,
  ),
  inOrder(
    'D2 a seed that is not in the list comes there although it is ready',
    given({ peers: { [A]: { ...front, ...ready }, [B]: plain, [C]: ready } }),
    C,
    B,
    A,
  ),
  inOrder(
    'F1 a front that is the last working one stays first while no listed one is ready',
    given({ peers: { [A]: { ...front, ...ready }, [B]: plain, [C]: { ...ready, ...unready } }, current: A }),
    A,
    B,
    C,
  ),
  inOrder(
    'F1 a front is not first though it is the last working one, where a listed one is ready',
    given({ peers: { [A]: { ...front, ...ready }, [B]: ready }, current: A }),
    B,
    A,
  ),
  inOrder(
    'D2 a seed that dropped out of the list comes before those that are leaving, too',
    given({ peers: { [A]: unready, [B]: { ...seed, ...removed, ...ready }, [C]: plain } }),
    C,
    B,
    A,
  ),
  inOrder(
    'D2 a seed that is draining is leaving, in the list or not',
    given({ peers: { [A]: { ...front, ...refusing() }, [B]: unready, [C]: front } }),
    C,
    A,
    B,
  ),
  inOrder(
    'D2 among the failed, the one whose retry time is nearest is first',
    given({ peers: { [A]: failing(9_000, 1), [B]: failing(2_000, 8), [C]: failing(5_000, 2) } }),
    B,
    C,
    A,
  ),
  inOrder(
    'D2 among the failed of one retry time the order is the one drawn',
    given({ peers: { [A]: { ...failing(9_000), lot: 0.9 }, [B]: { ...failing(9_000), lot: 0.2 } } }),
    B,
    A,
  ),
  inOrder(
    'D2 the last working one loses its place when it fails, and when it leaves',
    given({ peers: { [A]: { ...ready, ...failing(0) }, [B]: { ...ready, ...refusing() }, [C]: plain }, current: A }),
    C,
    B,
    A,
  ),
  inOrder(
    'D2 one that is removed but still serves a socket is leaving',
    given({ peers: { [A]: failing(0), [B]: { ...removed, ...ready } }, sockets: { 7: { address: B } } }),
    B,
    A,
  ),
  inOrder(
    'D2 one that was removed after it failed is the last resort',
    given({ peers: { [A]: { ...removed, ...failing(0) }, [B]: failing(90_000) } }),
    B,
    A,
  ),
  inOrder(
    'D2 within a rank the order is the one drawn, and not that of the list',
    given({
      peers: {
        [A]: { ...plain, lot: 0.7 },
        [B]: { ...plain, lot: 0.1 },
        [C]: { ...plain, lot: 0.4 },
        [D]: { ...plain, lot: 0.2 },
      },
    }),
    B,
    D,
    C,
    A,
  ),
  inOrder(
    'D2 no endpoint is ever excluded: when all failed every one is tried again',
    given({
      peers: {
        [A]: failing(1e9, 99),
        [B]: { ...removed, ...failing(2e9, 99) },
        [C]: { ...front, ...failing(3e9, 99) },
      },
    }),
    A,
    C,
    B,
  ),
  {
    name: 'D2 a dial that found the last working one failing makes another the last working one, and says why',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [1, attemptFailed(1, 100), [reportFailed(A), connect(1, 101, B)]],
      [
        2,
        connected(1, 101),
        [deliver(1, 101, B), reportFailover(A, B, 'refused')],
        { current: B, counters: { failovers: 1 } },
      ],
    ],
  },
  {
    name: 'D2 a dial after the last working one failed names the reason of its failure',
    given: given({ peers: { [A]: failing(0), [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, B)]],
      [2, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'refused')], { current: B }],
    ],
  },
  {
    name: 'D2 a dial after the last working one began to leave says so',
    given: given({ peers: { [A]: { ...ready, ...unready }, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1), [connect(1, 100, B)]],
      [2, connected(1, 100), [deliver(1, 100, B), reportFailover(A, B, 'leaving')], { current: B }],
    ],
  },
  {
    name: 'D2 a dial that began before the last change does not undo it',
    given: given({
      peers: { [A]: ready, [B]: ready, [C]: ready },
      current: B,
      dials: [
        {
          id: 1,
          tried: [A, C],
          attempts: [attempt(10, C)],
          causes: [cause(A, refused)],
          nextAt: 250,
        },
      ],
    }),
    phases: [[100, connected(1, 10), [deliver(1, 10, C)], { current: B, counters: { failovers: 0 } }]],
  },
  {
    name: 'D2 an error of this machine, or of the caller, moves nobody away from the last working one',
    given: given({ peers: { [A]: ready, [B]: ready }, current: A }),
    phases: [
      [0, dialled(1, { own: true }), [connect(1, 100, A)]],
      [1, attemptFailed(1, 100, local), [connect(1, 101, B)]],
      [2, connected(1, 101), [deliver(1, 101, B)], { current: A, counters: { failovers: 0 } }],
    ],
  },
  {
    name: 'D2 an error of this machine does not bring back one that had failed by itself',
    given: given({
      peers: { [A]: failing(0), [B]: ready },
      current: A,
      dials: [
        {
          id: 1,
          tried: [A, B],
          attempts: [attempt(10, B)],
          causes: [cause(A, local)],
          nextAt: 250,
        },
      ],
    }),
    phases: [[100, connected(1, 10), [deliver(1, 10, B), reportFailover(A, B, 'EMFILE')], { current: B }]],
  },
  {
    name: 'D2 the first that works is the last working one without a failover',
    given: given({ peers: { [A]: front }, ...early }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [1, connected(1, 100), [deliver(1, 100, A)], { current: A, counters: { failovers: 0 } }],
    ],
  },
  {
    name: 'D1 hints that arrive while a dial has nothing else to try are tried at once',
    given: given({ peers: { [A]: front }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [250, tick, [connect(1, 101, A)]],
      [
        400,
        hintsLoaded(B, C),
        [connect(1, 102, B)],
        { deadline: { at: 650, why: 'dial' } },
      ],
      [650, tick, [connect(1, 103, C)]],
    ],
  },
  {
    name: 'D1 hints that arrive while a dial still has candidates wait for their turn',
    given: given({ peers: { [A]: front }, discovery: pending }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [10, hintsLoaded(B), []],
      [250, tick, [connect(1, 101, B)]],
    ],
  },
  {
    name: 'D2 spread reports a failover from the one that was chosen first',
    given: given({ peers: { [A]: ready, [B]: failing(0) }, ...spread }),
    phases: [
      [1_000, dialled(1), [connect(1, 100, A)]],
      [1_250, tick, [connect(1, 101, B)]],
      [
        1_260,
        connected(1, 101),
        [
          deliver(1, 101, B),
          destroy(1, 100),
          reportFailover(A, B, 'no connection within 250 ms'),
          askDeep(102, A, { on: 'fresh' }),
        ],
        { current: B },
      ],
    ],
  },
  {
    name: 'D2 spread chooses one that failed more than a minute ago, whose retry time has come',
    given: given({ peers: { [A]: failing(SPREAD_REST + 5), [B]: unlisted }, ...spread }),
    phases: [[SPREAD_REST + 5, dialled(1), [connect(1, 100, A)]]],
  },
  inOrder(
    'D2 spread leaves alone what failed less than a minute ago, though its retry time has come',
    given({ peers: { [A]: failing(0, 1, { at: 900 }), [B]: ready }, ...spread }),
    B,
    A,
  ),
  inOrder(
    'D2 spread leaves alone what failed and is leaving, and falls back to the order where there is no choice',
    given({
      peers: { [A]: { ...failing(0, 1, { at: -1e6 }), ...unready }, [B]: unready, [C]: unlisted },
      ...spread,
    }),
    C,
    B,
    A,
  ),
]

runRows('candidates', rows)

describe('balance', () => {
  const state = given({
    peers: { [A]: ready, [B]: plain, [C]: ready, [D]: { ...ready, ...refusing() }, [E]: { ...ready, ...failing(0) } },
    current: A,
    ...spread,
  })

  it('D2 spread chooses among ready and unverified ones evenly, and never a leaving or failed one', () => {
    const counts = new Map<string, number>()
    const turn = new Turn(state, 1_000)
    for (let round = 0; round < 3_000; round += 1) {
      const peer = firstCandidate(turn)
      assert.ok(peer)
      counts.set(peer.address, (counts.get(peer.address) ?? 0) + 1)
    }
    assert.deepEqual([...counts.keys()].sort(), [A, B, C])
    for (const [address, count] of counts)
      assert.ok(count > 850 && count < 1_150, `${address} was chosen ${count} times`)
  })

  it('D2 sticky draws no number for a choice', () => {
    const sticky = given({ peers: { [A]: ready, [B]: ready }, current: B })
    const turn = new Turn(sticky, 0)
    assert.equal(firstCandidate(turn)?.address, B)
    assert.equal(turn.state, sticky)
  })

  it('D2 the order within a rank differs from process to process, so that a fleet spreads', () => {
    const seeds = ['a:1', 'b:1', 'c:1', 'd:1'].map(at)
    const first = new Map<string, number>()
    for (let randomSeed = 0; randomSeed < 400; randomSeed += 1) {
      const [, effects] = step(initialState(DEFAULTS, seeds, [], randomSeed), dialled(1), 0)
      const [effect] = effects
      assert.ok(effect?.type === 'connect')
      first.set(effect.endpoint.host, (first.get(effect.endpoint.host) ?? 0) + 1)
    }
    for (const host of ['a', 'b', 'c', 'd']) {
      const count = first.get(host) ?? 0
      assert.ok(count > 60 && count < 140, `${host} was first ${count} times of 400`)
    }
  })
})
