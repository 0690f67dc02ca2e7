/** What must hold whatever happens, asserted of the model at every step: of states, and of what is cut or rejected. */
import assert from 'node:assert/strict'
import type { Address } from '../../lib/core/endpoint.ts'
import { addressOf } from '../../lib/core/endpoint.ts'
import type { Effect, EndpointsBody, Event, Id, Peer, State } from '../../lib/core/state.ts'
import { nextDeadline } from '../../lib/core/step.ts'
import { rowsOf } from '../../lib/core/table.ts'
import type { Model } from './core-model.ts'

/** D2, and the second after which one that was being dialled is looked at again. */
const FORGOTTEN = 300_000 + 2_000

/** The questions that an endpoint left unanswered since it last answered one. */
interface Misses {
  count: number
  readonly first: number
  lastSentAt: number
}

export class Invariants {
  readonly #model: Model
  /** The sockets that a pool held, as far as the machine knew before the last event. */
  #idle: ReadonlySet<Id> = new Set()
  readonly #misses = new Map<Address, Misses>()
  /** When each endpoint last answered, and last answered deep. */
  readonly #answeredAt = new Map<Address, number>()
  readonly #answeredDeepAt = new Map<Address, number>()
  readonly #heardAt = new Map<Id, number>()
  /** Since when each is no longer listed. */
  readonly #gone = new Map<Address, number>()

  constructor(model: Model) {
    this.#model = model
  }

  /** Notes what an event means, before its effects are performed. */
  note(before: State, event: Event): void {
    const { state, now } = this.#model
    const readings = event.type === 'socketsSampled' ? event.readings : []
    this.#idle = new Set([
      ...readings.filter(({ idle }) => idle).map(({ socket }) => socket),
      ...[...rowsOf(before.sockets)].filter(({ idle }) => idle).map(({ id }) => id),
    ])
    switch (event.type) {
      case 'questionAnswered': {
        const question = before.peers.get(event.address)?.question
        if (question?.id !== event.question) return
        this.#misses.delete(event.address)
        this.#answeredAt.set(event.address, now)
        const isBad = event.status === 429 || event.status >= 500
        if (question.depth === 'deep' && !isBad) this.#answeredDeepAt.set(event.address, now)
        const isTaken = event.body?.kind === 'list' && state.discovery.listedAt === now
        if (isTaken && event.body?.kind === 'list') this.#listed(event.body)
        if (isBad && question.depth === 'deep') this.#missed(event.address, question.sentAt)
        return
      }
      case 'questionFailed': {
        const question = before.peers.get(event.address)?.question
        const isOurs = event.failure.kind === 'local' || event.failure.kind === 'mistake'
        if (question?.id === event.question && !isOurs) this.#missed(event.address, question.sentAt)
        return
      }
      case 'deadlineReached':
        for (const { address, question } of before.peers.values()) {
          const isOver = question !== undefined && state.peers.get(address)?.question?.id !== question.id
          if (isOver && !state.dormant) this.#missed(address, question.sentAt)
        }
        return
      case 'socketsSampled':
        for (const socket of rowsOf(before.sockets)) {
          const reading = event.readings.find((each) => each.socket === socket.id)
          if (reading !== undefined && reading.read > socket.read) this.#heardAt.set(socket.id, reading.heardAt ?? now)
        }
        return
      default:
    }
  }

  assertAll(event: Event): void {
    const { state, dials, attempts, sockets, options, now } = this.#model
    for (const { dial } of attempts.values()) assert.ok(dials.has(dial), `an attempt outlived dial ${dial}`)
    for (const address of options.seeds) assert.ok(state.peers.has(address), `the seed ${address} was forgotten`)
    this.#assertCounts()
    assert.ok(state.warned.size <= state.peers.size + 5, `${state.warned.size} warnings are remembered`)
    if (state.discovery.round !== undefined) assert.equal(state.discovery.nextAt, Infinity, 'a round waits for another')
    for (const { address, kept } of state.peers.values()) {
      if (kept !== undefined) assert.ok(this.#model.kept.has(address), `${address} has no monitor connection`)
    }
    if (state.dormant) this.#assertAtRest()
    if (event.type !== 'deadlineReached' || state.dormant) return
    const dialled = new Set([...attempts.values()].map(({ address }) => address))
    for (const [address, peer] of state.peers) {
      if (peer.origin === 'seed' || peer.sockets > 0 || peer.question !== undefined || dialled.has(address)) continue
      if (peer.listing.is === 'removed') {
        const gone = this.#gone.get(address)
        assert.ok(gone !== undefined && now - gone <= FORGOTTEN, `${address} is never forgotten`)
      } else {
        const isNamed = peer.listing.is === 'listed' || options.alternates.includes(address) || this.#model.hints.has(
          address,
        )
        assert.ok(isNamed, `${address} was never named`)
      }
    }
    assert.ok(sockets.size === state.sockets.size)
  }

  #assertCounts(): void {
    const { state, dials, sockets } = this.#model
    const counts = new Map<Address, number>()
    const active = new Set<Address>()
    for (const { address } of sockets.values()) counts.set(address, (counts.get(address) ?? 0) + 1)
    for (const { address, idle } of rowsOf(state.sockets)) if (!idle) active.add(address)
    for (const peer of state.peers.values()) {
      assert.equal(peer.sockets, counts.get(peer.address) ?? 0, `sockets of ${peer.address}`)
      if (peer.sockets === 0) assert.deepEqual(
        [peer.active, peer.owedSince],
        [false, Infinity],
      )
    }
    assert.equal(state.sockets.size, sockets.size, 'sockets')
    assert.equal(state.dials.size, dials.size, 'dials')
  }

  /** H10: What nobody uses keeps nothing and waits for nothing; sockets that a pool holds may still come of age. */
  #assertAtRest(): void {
    const { state, dials, refreshes, questions, kept } = this.#model
    assert.deepEqual([dials.size, refreshes.size, questions.size, kept.size], [0, 0, 0, 0], 'at rest, and not quiet')
    const next = nextDeadline(state)
    assert.ok(next === undefined || next.why === 'age', `at rest, and waiting: ${next?.why}`)
  }

  /** D2, D6: Nobody is excluded, and who worked all the time is found. */
  assertRejected({ dial: id, rejection }: Effect & { type: 'reject' }): void {
    const { dials, state, world, options } = this.#model
    const dial = dials.get(id)
    assert.ok(dial, `dial ${id} ended twice`)
    const { kind } = rejection
    if (kind !== 'failed' && kind !== 'timedOut') return
    if (kind === 'failed') {
      for (const peer of state.peers.values()) {
        const { address } = peer
        assert.ok(dial.tried.has(address) || this.#isFutile(peer), `${address} was excluded from dial ${id}`)
      }
      const named = new Set(rejection.causes.map(({ address }) => address))
      for (const address of dial.tried.keys()) assert.ok(named.has(address), `${address} has no cause in dial ${id}`)
    }
    if (dial.excused || (kind === 'timedOut' && options.settings.dialTimeout < 10_000)) return
    for (const address of dial.knownAtStart) {
      const since = world.upSince(address)
      const hasWorked: boolean = since !== undefined && since <= dial.startedAt && dial.tried.has(address)
      assert.ok(!hasWorked, `${address} worked all the time, and dial ${id} ${kind}`)
    }
  }

  /** D7: Nobody waits for what was never reached, and is known to be silent. */
  #isFutile({ standing, mute, question }: Peer): boolean {
    const { now, options } = this.#model
    const wasReached = standing.is === 'ready' || (standing.is === 'failed' && standing.reached)
    const isMute = question !== undefined && question.connectedAt === undefined &&
      now - question.sentAt >= 2 * options.settings.attemptDelay
    return !wasReached && (mute || isMute || (standing.is === 'failed' && standing.silent))
  }

  /** H3, H9, H12, F4: Nothing is cut without misses and a witness, nor what speaks, nor what is of a healthy one. */
  assertSevered({ socket: id, address, reason }: Effect & { type: 'sever' }): void {
    const { sockets, world, now, options } = this.#model
    const socket = sockets.get(id)
    assert.ok(socket?.address === address, `socket ${id} was severed twice, or after its end`)
    const { heartbeatTimeout } = options.settings
    const silence = now - Math.max(socket.madeAt, this.#heardAt.get(id) ?? -Infinity)
    const misses = this.#misses.get(address)
    if (/older connection/.test(reason)) return assert.ok(
      silence >= heartbeatTimeout,
      `${silence} ms of silence on ${id}`,
    )
    if (/its cache/.test(reason)) return this.#assertWitnessed(this.#answeredDeepAt, address, -Infinity)
    assert.ok(misses !== undefined && misses.count >= 2, `${address} was severed without two misses: ${reason}`)
    this.#assertWitnessed(this.#answeredAt, address, misses.first)
    if (!this.#idle.has(id)) assert.ok(
      silence >= heartbeatTimeout,
      `${address} spoke ${silence} ms ago and was severed`,
    )
    const since = world.upSince(address)
    assert.ok(since === undefined || since >= misses.lastSentAt, `${address} is healthy and was severed`)
  }

  #assertWitnessed(answered: ReadonlyMap<Address, number>, address: Address, since: number): void {
    const isWitnessed = [...answered].some(([other, when]) => other !== address && when >= since)
    assert.ok(isWitnessed, `${address} was severed though nobody else does better`)
  }

  #missed(address: Address, sentAt: number): void {
    const { count, first } = this.#misses.get(address) ?? { count: 0, first: this.#model.now }
    this.#misses.set(address, { count: count + 1, first, lastSentAt: sentAt })
  }

  #listed(body: EndpointsBody & { kind: 'list' }): void {
    const { state, now } = this.#model
    const listed = new Set([...body.ready, ...body.unready].map(addressOf))
    for (const address of state.peers.keys()) {
      if (listed.has(address)) this.#gone.delete(address)
      else if (!this.#gone.has(address)) this.#gone.set(address, now)
    }
  }
}
