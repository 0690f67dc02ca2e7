// The snapshot: plain JSON, whole, and nothing that is not known.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { snapshotOf } from '../../lib/core/snapshot.ts'
import type { State } from '../../lib/core/state.ts'
import {
  A, B, C, D, failing, given, pending, ready, removed, seed, sickSince, slowSince, unlisted, unready,
} from '../support/core-given.ts'

const counters = {
  dials: 0,
  dialsFailed: 0,
  dialTimes: { count: 0, sumMs: 0 },
  attempts: 0,
  attemptsFailed: {
    local: 0, mistake: 0, identity: 0, refused: 0, unreachable: 0, name: 0, silence: 0, late: 0, broken: 0, answer: 0,
  },
  failovers: 0,
  severed: 0,
  heartbeats: 0,
  heartbeatsFailed: 0,
  refreshes: 0,
  refreshesFailed: 0,
}
const plain = { sockets: 0, failures: 0 }

interface Row {
  readonly name: string
  readonly state: State
  readonly at: number
  readonly snapshot: unknown
}

const rows: readonly Row[] = [
  {
    name: 'R5 before anything is known: the seed, and no list',
    state: given({ peers: { [A]: { ...seed, ...unlisted } }, discovery: pending }),
    at: 5,
    snapshot: {
      endpoints: [{ address: A, origin: 'seed', status: 'unverified', listed: false, ...plain }],
      discovery: { status: 'pending' },
      counters,
    },
  },
  {
    name: 'R5 each status, the current one, sockets, failures, the retry time, and the age of the list',
    state: given({
      peers: { [A]: ready, [B]: failing(1_500.6, 3), [C]: removed, [D]: { ...failing(900), ...unready } },
      sockets: { 1: { address: A }, 2: { address: A } },
      current: A,
      discovery: { status: 'failing', listedAt: 200.2, lastError: 'it answered 500', via: 'endpointslices' },
    }),
    at: 1_000,
    snapshot: {
      current: A,
      endpoints: [
        { address: A, origin: 'learned', status: 'ready', listed: true, sockets: 2, failures: 0 },
        {
          address: B,
          origin: 'learned',
          status: 'failed',
          listed: true,
          sockets: 0,
          failures: 3,
          lastError: 'refused',
          retryInMs: 501,
        },
        { address: C, origin: 'learned', status: 'leaving', listed: false, ...plain },
        {
          address: D,
          origin: 'learned',
          status: 'failed',
          listed: true,
          sockets: 0,
          failures: 1,
          lastError: 'refused',
          retryInMs: 0,
        },
      ],
      discovery: { status: 'failing', via: 'endpointslices', ageMs: 800, lastError: 'it answered 500' },
      counters,
    },
  },
  {
    name: 'R5 what is slow or sick has failed once, for what its answers tell',
    state: given({
      peers: { [A]: { ...ready, ...slowSince(0) }, [B]: { ...ready, ...sickSince(0) } }, discovery: pending,
    }),
    at: 5,
    snapshot: {
      endpoints: [
        {
          address: A, origin: 'learned', status: 'failed', listed: true, sockets: 0, failures: 1,
          lastError: 'no answer within 2000 ms',
        },
        {
          address: B, origin: 'learned', status: 'failed', listed: true, sockets: 0, failures: 1,
          lastError: 'it answers from its cache, and nothing that goes through to etcd',
        },
      ],
      discovery: { status: 'pending' },
      counters,
    },
  },
  {
    name: 'D3 the sum of dial times is in whole milliseconds',
    state: { ...given({ peers: {} }), counters: { ...counters, dials: 2, dialTimes: { count: 2, sumMs: 30.5 } } },
    at: 5,
    snapshot: {
      endpoints: [],
      discovery: { status: 'off', via: 'endpoints', ageMs: 5 },
      counters: { ...counters, dials: 2, dialTimes: { count: 2, sumMs: 31 } },
    },
  },
]

describe('snapshot', () => {
  for (const { name, state, at: time, snapshot } of rows) {
    it(name, () => {
      const actual = snapshotOf(state, time)
      assert.deepStrictEqual(actual, snapshot)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(actual)), snapshot, 'it is not plain JSON')
    })
  }
})
