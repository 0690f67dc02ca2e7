/**
 * Runs the rows of spec/core: from a given state, events at given times, and the whole list of effects of each. Every
 * state is frozen to its depth before a step, and every step is taken twice, as the same input must give the same
 * output. After it the state must be settled: nothing is left that any event at all would set off.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Address } from '../../lib/core/endpoint.ts'
import type {
  Counters, Deadline, Dial, Discovery, Effect, Event, HandedSocket, Id, Peer, State,
} from '../../lib/core/state.ts'
import { nextDeadline, step } from '../../lib/core/step.ts'
import { rowOf } from '../../lib/core/table.ts'
import { deepFreeze } from './core-freeze.ts'

/** Of each object in it, the fields that are named. */
type Parts<T> = T extends readonly unknown[] | ReadonlyMap<unknown, unknown>
  ? T
  : T extends object ? { readonly [K in keyof T]?: Parts<T[K]> } : T

/** What a state must show after a phase: of each part, the fields that are named. */
export interface Expected {
  /** null: nothing is waited for. */
  readonly deadline?: Deadline | null
  readonly current?: Address | undefined
  readonly peers?: Readonly<Record<Address, Parts<Peer>>>
  /** Addresses that are not known, or not any more. */
  readonly unknown?: readonly Address[]
  readonly sockets?: Readonly<Record<Id, Parts<HandedSocket>>>
  readonly dials?: Readonly<Record<Id, Parts<Dial>>>
  readonly discovery?: Parts<Discovery>
  readonly counters?: Partial<Counters>
  /** Anything else. */
  readonly state?: Parts<Omit<State, 'peers' | 'sockets' | 'dials' | 'discovery' | 'counters' | 'current'>>
  /** The very state that was given: nothing changed. */
  readonly same?: true
}

export type Phase =
  | readonly [at: number, event: Event, effects: readonly Effect[]]
  | readonly [at: number, event: Event, effects: readonly Effect[], after: Expected]

export interface Row {
  readonly name: string
  readonly given: State
  readonly phases: readonly Phase[]
}

/** An event that means nothing to any state, and so shows what is left to be done. */
const NOTHING: Event = { type: 'socketClosed', socket: -1, read: 0, written: 0, byPeer: false }

export function runRows(title: string, rows: readonly Row[]): void {
  describe(title, () => {
    const names = new Set<string>()
    for (const row of rows) {
      assert.ok(!names.has(row.name), `two rows are named '${row.name}'`)
      names.add(row.name)
      it(row.name, () => {
        let state = row.given
        for (const [index, phase] of row.phases.entries())
          state = playPhase(state, phase, `phase ${index} at ${phase[0]} ms`)
      })
    }
  })
}

function playPhase(state: State, phase: Phase, where: string): State {
  const [at, event, effects, after] = phase
  const [next, actual] = checkedStep(state, event, at)
  assert.deepStrictEqual(actual, effects, `the effects of ${event.type} in ${where}`)
  if (after !== undefined) assertExpected(state, next, after, where)
  return next
}

/** A step whose input is frozen, whose output is the same a second time, and after which nothing is left to do. */
export function checkedStep(
  state: State,
  event: Event,
  now: number,
): readonly [state: State, effects: readonly Effect[]] {
  const first = settledStep(state, event, now)
  assert.deepStrictEqual(step(state, event, now), first, `${event.type}: the same input gave another output`)
  return first
}

/** A step whose input is frozen, and after which nothing is left to do. */
export function settledStep(
  state: State,
  event: Event,
  now: number,
): readonly [state: State, effects: readonly Effect[]] {
  deepFreeze(state)
  deepFreeze(event)
  const first = step(state, event, now)
  const [next] = first
  deepFreeze(next)
  const [settled, more] = step(next, NOTHING, now)
  assert.deepStrictEqual(more, [], `${event.type} left something to be done`)
  assert.equal(settled, next, `${event.type} left something to be changed`)
  return first
}

function assertExpected(before: State, state: State, expected: Expected, where: string): void {
  if (expected.same === true) assert.equal(state, before, `the state changed in ${where}`)
  if (expected.deadline !== undefined) {
    assert.deepStrictEqual(nextDeadline(state), expected.deadline ?? undefined, `the deadline after ${where}`)
  }
  if ('current' in expected) assert.equal(state.current, expected.current, `the current endpoint after ${where}`)
  for (const address of expected.unknown ?? []) {
    assert.ok(!state.peers.has(address), `${address} is known after ${where}`)
  }
  for (const [address, parts] of Object.entries(expected.peers ?? {})) {
    assertParts(state.peers.get(address), parts, `peer ${address} after ${where}`)
  }
  for (const [id, parts] of Object.entries(expected.sockets ?? {})) {
    assertParts(rowOf(state.sockets, Number(id)), parts, `socket ${id} after ${where}`)
  }
  for (const [id, parts] of Object.entries(expected.dials ?? {})) {
    assertParts(rowOf(state.dials, Number(id)), parts, `dial ${id} after ${where}`)
  }
  if (expected.discovery !== undefined) assertParts(state.discovery, expected.discovery, `discovery after ${where}`)
  if (expected.counters !== undefined) assertParts(state.counters, expected.counters, `counters after ${where}`)
  if (expected.state !== undefined) assertParts(state, expected.state, `state after ${where}`)
}

function assertParts(whole: object | undefined, parts: object, what: string): void {
  assert.ok(whole !== undefined, `no ${what}`)
  assert.deepStrictEqual(namedIn(whole, parts), parts, what)
}

/** Gives of an object what another names, to its depth, and of all else the whole. */
function namedIn(whole: unknown, parts: unknown): unknown {
  if (!isPlain(whole) || !isPlain(parts)) return whole
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, namedIn(whole[name], part)]))
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map)
}
