// The whole machine: how it begins and ends, what its clock waits for, ids that answer nothing, storms that must not
// be, and a fleet in one process.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Address } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'
import { DEFAULTS } from '../../lib/options.ts'
import type { Effect, Event, State } from '../../lib/core/state.ts'
import { initialState, nextDeadline, step } from '../../lib/core/step.ts'
import { rowsOf } from '../../lib/core/table.ts'
import { Model } from '../support/core-model.ts'
import { checkedStep, runRows } from '../support/core-rows.ts'
import type { Row } from '../support/core-rows.ts'
import {
  A, abandon, answered, asking, at, attempt, attemptFailed, B, C, cancelled, closed, closeMonitor, connect, connected,
  destroy, dialled, given, identityChanged, keptSince, known, listOf, local, missed, pending, questionConnected,
  ready, refreshRequested, refusalSeen, refused, reject, roundOf, seed, settleRefresh, socketClosed, tick,
  trafficResumed, untrusted, used,
} from '../support/core-given.ts'

const everything = given({
  peers: {
    [A]: { ...used, question: asking(7), deaf: { question: 6, since: 0, until: 900 }, ...keptSince(0) },
    [B]: { ...ready, ...keptSince(3) },
    [C]: {},
  },
  sockets: { 1: { address: A, wakeAt: 9_000 } },
  dials: [
    { id: 1, tried: [A, B], attempts: [attempt(10, A), attempt(11, B)], nextAt: 400 },
    { id: 2, tried: [A], attempts: [attempt(12, A)], nextAt: 300 },
  ],
  discovery: { ...known, nextAt: Infinity, round: roundOf([A]), waiting: [5, 6] },
  witness: { depth: 'shallow', asked: [B], nextAt: 100, vain: 0 },
  sampleAt: 250,
})

const closing: readonly Row[] = [
  {
    name: 'D5 close() ends every dial, question, monitor and refresh(), once, and waits for nothing any more',
    given: everything,
    phases: [
      [
        50,
        closed,
        [
          destroy(1, 10),
          destroy(1, 11),
          reject(1, { kind: 'closed' }),
          destroy(2, 12),
          reject(2, { kind: 'closed' }),
          abandon(A, 7),
          abandon(A, 6),
          closeMonitor(A),
          closeMonitor(B),
          settleRefresh(5, { kind: 'closed' }),
          settleRefresh(6, { kind: 'closed' }),
        ],
        { deadline: null, sockets: { 1: {} } },
      ],
      [51, closed, [], { same: true }],
      [52, dialled(3), [reject(3, { kind: 'closed' })], { same: true }],
      [53, connected(1, 10), [destroy(1, 10)], { same: true }],
      [54, attemptFailed(1, 11), [], { same: true }],
      [55, answered(A, 7), [], { same: true }],
      [56, missed(A, 7), [], { same: true }],
      [57, trafficResumed, [], { same: true }],
      [57, refusalSeen(1), [], { same: true }],
      [57, identityChanged, [], { same: true }],
      [57, refreshRequested(), [], { same: true }],
      [1e9, tick, [], { same: true }],
      [1e9, socketClosed(1), [], { peers: { [A]: { sockets: 0 } }, deadline: null }],
    ],
  },
  {
    name: 'D3 a dial that is requested twice is one dial',
    given: given({ peers: { [A]: { ...seed, askedAt: 0 } } }),
    phases: [
      [0, dialled(1), [connect(1, 100, A)]],
      [0, dialled(1), [], { same: true }],
    ],
  },
  {
    name: 'H2 questions are waited for by nobody but the one who was asked',
    given: given({ peers: { [A]: { ...ready, question: asking(7) }, [B]: { question: asking(8) } } }),
    phases: [
      [1, answered(A, 8), [], { same: true }],
      [1, missed(B, 7), [], { same: true }],
      [1, answered('10.9.9.9:1', 7), [], { same: true }],
    ],
  },
]

runRows('the end', closing)

describe('the beginning', () => {
  it('knows the seeds and the alternates, each once, and waits for nothing', () => {
    const state = initialState(DEFAULTS, [A, B].map(at), [B, C].map(at), 2 ** 32 + 5)
    assert.deepEqual(
      [...state.peers.values()].map(({ address, origin }) => [address, origin]),
      [
        [A, 'seed'],
        [B, 'seed'],
        [C, 'alternate'],
      ],
    )
    assert.equal(nextDeadline(state), undefined)
    assert.equal(state.discovery.status, 'pending')
  })

  it('D1 writes an IPv6 host in brackets', () => {
    assert.deepEqual([...initialState(DEFAULTS, [{ host: '::1', port: 6443 }], [], 1).peers.keys()], ['[::1]:6443'])
  })

  it('is off where refreshInterval is 0', () => {
    assert.equal(initialState({ ...DEFAULTS, refreshInterval: 0 }, [at(A)], [], 1).discovery.status, 'off')
  })
})

// ---- ids that answer nothing

/** Every event with an id that is unknown to this state, or known of something else in it. */
function staleEvents(state: State, used: readonly number[]): Event[] {
  const failures = [refused, untrusted, local]
  const dials = [...rowsOf(state.dials)]
  const attempts = dials.flatMap((dial) => dial.attempts.map(({ id }) => ({ dial: dial.id, id })))
  const questions = [...state.peers.values()].flatMap(({ question, deaf }) => (
    [...(question === undefined ? [] : [question.id]), ...(deaf === undefined ? [] : [deaf.question])]
  ))
  const live = new Set([
    ...attempts.map(({ id }) => id),
    ...questions,
    ...[...rowsOf(state.sockets)].map(({ id }) => id),
  ])
  const stale = [-1, 1e9, state.nextId, ...used].filter((id) => !live.has(id))
  const events: Event[] = []
  for (const id of stale) {
    for (const dial of [-1, ...dials.map((each) => each.id)]) {
      events.push(connected(dial, id), ...failures.map((failure) => attemptFailed(dial, id, failure)))
    }
    for (const address of [...state.peers.keys(), '10.9.9.9:9']) {
      for (const status of [200, 401, 403, 404, 503]) {
        events.push(answered(address, id, { status, ...(status === 200 ? { body: listOf(['10.8.8.8:8']) } : {}) }))
      }
      events.push(questionConnected(address, id), ...failures.map((failure) => missed(address, id, failure)))
    }
    events.push(socketClosed(id, { written: 9, byPeer: true }), refusalSeen(id))
  }
  for (const { dial, id } of attempts) {
    events.push(...failures.map((failure) => attemptFailed(dial + 0.5, id, failure)), connected(dial + 0.5, id))
  }
  for (const { address, question } of state.peers.values()) {
    if (question === undefined) continue
    for (const other of state.peers.keys()) {
      if (other !== address) events.push(
        answered(other, question.id),
        missed(other, question.id),
        questionConnected(other, question.id),
      )
    }
  }
  events.push(cancelled(-1, 'stale'))
  return events
}

describe('ids that answer nothing', () => {
  it('change nothing, and at most destroy a socket that came too late, in any state that a walk reaches', () => {
    let rows = 0
    const kinds = new Set<string>()
    for (let walk = 0; walk < 8; walk += 1) {
      const model = new Model({
        seed: 500 + walk,
        settings: DEFAULTS,
        seeds: [A],
        alternates: [],
        others: [A, B, C],
        pace: [5, 100][walk % 2] ?? 5,
      })
      for (let stop = 1; stop <= 6; stop += 1) {
        model.walk(stop * 60)
        const [state] = checkedStep(model.state, socketClosed(-1), model.now)
        const last = state.nextId
        for (const event of staleEvents(state, [last - 1, last - 5, last - 20])) {
          const [next, effects] = step(state, event, model.now)
          const late = event.type === 'attemptConnected' ? [destroy(event.dial, event.attempt)] : []
          assert.deepStrictEqual(effects, late, JSON.stringify(event))
          assert.equal(next, state, JSON.stringify(event))
          rows += 1
          kinds.add(event.type)
        }
      }
    }
    assert.ok(rows > 5_000, `${rows} rows`)
    assert.deepEqual([...kinds].sort(), [
      'attemptConnected',
      'attemptFailed',
      'dialCancelled',
      'questionAnswered',
      'questionConnected',
      'questionFailed',
      'refusalSeen',
      'socketClosed',
    ])
  })
})

// ---- storms

interface Script {
  readonly state: State
  readonly until: number
  /** What the world answers to an effect, and after how long. */
  readonly answer: (effect: Effect) => readonly [after: number, event: Event] | undefined
  /** A caller dials this often. */
  readonly dialEvery: number
}

/** Plays a script in virtual time, and counts what came out of it. */
function play({ state, until, answer, dialEvery }: Script): {
  state: State
  wakes: number
  heartbeats: Map<Address, number>
  connects: number
} {
  const due: { at: number; event: Event }[] = []
  const heartbeats = new Map<Address, number>()
  let wakes = 0
  let connects = 0
  let dial = 1_000
  let nextDial = 0
  for (let now = 0; now <= until;) {
    assert.ok(wakes < 100_000, 'a busy loop')
    const clock = nextDeadline(state)?.at ?? Infinity
    due.sort((one, other) => one.at - other.at)
    now = Math.max(now, Math.min(clock, nextDial, due[0]?.at ?? Infinity))
    let event: Event = tick
    if ((due[0]?.at ?? Infinity) <= now) event = due.shift()?.event ?? tick
    else if (nextDial <= now) {
      event = dialled(dial++)
      nextDial += dialEvery
    } else wakes += 1
    const [next, effects] = step(state, event, now)
    state = next
    for (const effect of effects) {
      if (effect.type === 'connect') connects += 1
      if (effect.type === 'ask') heartbeats.set(effect.endpoint.host, (heartbeats.get(effect.endpoint.host) ?? 0) + 1)
      const reply = answer(effect)
      if (reply !== undefined) due.push({ at: now + reply[0], event: reply[1] })
    }
  }
  return { state, wakes, heartbeats, connects }
}

/** Everything that is asked of anybody is refused at once. */
const refuse = (effect: Effect): readonly [number, Event] | undefined => {
  if (effect.type === 'connect') return [1, attemptFailed(effect.dial, effect.attempt)]
  if (effect.type === 'ask') return [1, missed(addressOf(effect.endpoint), effect.question, refused)]
  return undefined
}

describe('storms', () => {
  const busy = (change: object): State =>
    given({ peers: { [A]: { ...used, ...seed }, [B]: ready }, sockets: { 1: { address: A } }, current: A, ...change })

  for (const [name, change] of [
    ['a list', { discovery: known }],
    ['no list', { discovery: pending }],
    ['discovery off', {}],
    ['heartbeatInterval 0', { settings: { heartbeatInterval: 0 } }],
  ] as const) {
    it(`all refuse, sockets are open, a dial every 10 ms: heartbeats do not follow the dials (${name})`, () => {
      const { heartbeats, wakes, connects } = play({
        state: busy(change),
        until: 60_000,
        dialEvery: 10,
        answer: refuse,
      })
      for (const [host, count] of heartbeats) assert.ok(count <= 60 * 6, `${host} got ${count} heartbeats in a minute`)
      assert.ok(wakes < 60 * 8, `${wakes} wakes in a minute`)
      assert.ok(connects <= 2 * 6_002, `${connects} attempts for 6,001 dials of two endpoints`)
    })

    it(`all hang, sockets are open: the clock is looked at only when something is due (${name})`, () => {
      const { heartbeats, wakes } = play({
        state: busy(change),
        until: 60_000,
        dialEvery: 20_000,
        answer: () => undefined,
      })
      for (const [host, count] of heartbeats) assert.ok(count <= 60, `${host} got ${count} heartbeats in a minute`)
      assert.ok(wakes < 60 * 8, `${wakes} wakes in a minute`)
    })
  }

  it('one that never dialled has no deadline at all', () => {
    assert.equal(nextDeadline(initialState(DEFAULTS, [at(A)], [at(B)], 1)), undefined)
  })

  it('one in use and silent asks its server once in 4 to 5 s, and nobody else', () => {
    const answer = (effect: Effect): readonly [number, Event] | undefined =>
      effect.type === 'ask'
        ? [1, answered(addressOf(effect.endpoint), effect.question, { body: listOf([A, B]) })]
        : undefined
    const { heartbeats } = play({
      state: busy({ discovery: known }),
      until: 600_000,
      dialEvery: Infinity,
      answer: (effect) => (effect.type === 'connect' ? [1, connected(effect.dial, effect.attempt)] : answer(effect)),
    })
    assert.deepEqual([...heartbeats.keys()], ['10.0.0.1'])
    const count = heartbeats.get('10.0.0.1') ?? 0
    assert.ok(count >= 119 && count <= 151, `${count} in ten minutes`)
  })
})

describe('an address', () => {
  it('D1 is written host:port, an IPv6 host in brackets', () => {
    const state = initialState(DEFAULTS, [{ host: 'fd00::1', port: 6443 }], [at(A)], 1)
    assert.deepEqual([...state.peers.keys()], ['[fd00::1]:6443', A])
  })
})

describe('a fleet', () => {
  it('a hundred clients in one process, step by step in turn, each do what each does alone', () => {
    const make = (seedOf: number): Model =>
      new Model({
        seed: seedOf,
        settings: DEFAULTS,
        seeds: [A, '10.0.0.9:6443'],
        alternates: [],
        others: [A, B, C],
        pace: 50,
      })
    const fleet = Array.from({ length: 100 }, (_, index) => make(9_000 + index))
    for (let round = 1; round <= 15; round += 1) for (const client of fleet) client.walk(round * 10)
    for (const index of [0, 17, 99]) {
      const alone = make(9_000 + index)
      for (let round = 1; round <= 15; round += 1) alone.walk(round * 10)
      assert.deepStrictEqual(fleet[index]?.state, alone.state)
    }
    const heads = new Set(fleet.map(({ state }) => state.seed))
    assert.ok(heads.size > 95, 'clients share their randomness')
  })

  it('a hundred clients whose one server fell do not all go to the same one', () => {
    const first = new Map<Address, number>()
    for (let index = 0; index < 100; index += 1) {
      const from = initialState(DEFAULTS, [at(A)], [at(B), at(C)], index * 7_919)
      const [dialling] = step(from, dialled(1), 0)
      const [, effects] = step(dialling, attemptFailed(1, 1), 1)
      const next = effects.find((effect) => effect.type === 'connect')
      assert.ok(next?.type === 'connect')
      first.set(next.endpoint.host, (first.get(next.endpoint.host) ?? 0) + 1)
    }
    assert.deepEqual([...first.keys()].sort(), ['10.0.0.2', '10.0.0.3'])
    for (const count of first.values()) assert.ok(count > 30, `${count} of 100`)
  })
})
