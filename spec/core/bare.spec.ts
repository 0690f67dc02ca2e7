/** Dials for pipes: a bare TCP connection obeys the rules of all others, and proves nothing. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { addressOf } from '../../lib/core/endpoint.ts'
import type { Effect, Event, State } from '../../lib/core/state.ts'
import { initialState, step } from '../../lib/core/step.ts'

const SETTINGS = {
  attemptDelay: 250, attemptTimeout: 5_000, dialTimeout: 15_000, refreshInterval: 60_000, heartbeatInterval: 5_000,
  heartbeatTimeout: 2_000, balance: 'sticky', maxConnectionAge: undefined,
} as const
const [A, B] = [{ host: '10.0.0.1', port: 6_443 }, { host: '10.0.0.2', port: 6_443 }]

/** A world of two seeds, whose events happen one after another. */
class World {
  state: State
  now = 1_000

  constructor(refreshInterval: number = SETTINGS.refreshInterval) {
    this.state = initialState({ ...SETTINGS, refreshInterval }, [A, B], [], 1)
  }

  happen(event: Event): readonly Effect[] {
    const [state, effects] = step(this.state, event, this.now)
    this.state = state
    return effects
  }

  /** Makes it ready, as everyone's dial does; the connection is closed again. */
  verify(dial: number): void {
    const connect = this.happen({ type: 'dialRequested', dial, own: false, plain: false }).find((effect) => effect.type === 'connect')
    assert.ok(connect?.type === 'connect')
    this.happen({ type: 'attemptConnected', dial, attempt: connect.attempt })
    this.now += 300
    // Who is in use is asked, and answers.
    for (const effect of this.happen({ type: 'deadlineReached', due: this.now })) {
      if (effect.type !== 'ask') continue
      const address = addressOf(effect.endpoint)
      this.happen({ type: 'questionAnswered', address, question: effect.question, status: 403, authorized: true })
    }
    this.happen({ type: 'socketClosed', socket: connect.attempt, read: 1, written: 1, byPeer: false })
  }

  bare(dial: number): readonly Effect[] {
    return this.happen({ type: 'dialRequested', dial, own: true, plain: false, bare: true })
  }

  /** Answers what is asked now, without a list. */
  answerAll(): void {
    for (const { address, question } of this.state.peers.values()) {
      if (question === undefined) continue
      this.happen({ type: 'questionAnswered', address, question: question.id, status: 200, authorized: true })
    }
  }

  statuses(): string[] {
    return [...this.state.peers.values()].map(({ standing, voice }) => `${standing.is} ${voice.is}`)
  }
}

const connectsOf = (effects: readonly Effect[]): string[] =>
  effects.flatMap((effect) => (effect.type === 'connect' ? effect.endpoint.host : []))

describe('a bare dial', () => {
  it('D4 goes to no endpoint that nothing has verified, and fails where there is no other', () => {
    const world = new World()
    assert.deepEqual(world.bare(9), [{ type: 'reject', dial: 9, rejection: { kind: 'failed', causes: [] } }])
  })

  it('D2, D4 goes to the one that works, and to an unverified one not even when that fails', () => {
    const world = new World()
    world.verify(1)
    const [effect] = world.bare(9)
    assert.ok(effect?.type === 'connect' && effect.endpoint.host === world.state.current?.split(':')[0])
    const failure = { kind: 'refused', message: 'connect ECONNREFUSED' } as const
    const effects = world.happen({ type: 'attemptFailed', dial: 9, attempt: effect.attempt, failure })
    assert.deepEqual(connectsOf(effects), [])
    assert.ok(effects.some(({ type }) => type === 'reject'))
  })

  it('H1 a refused one blames nobody, and has its endpoint asked', () => {
    const world = new World(0)
    world.verify(1)
    const [effect] = world.bare(9)
    assert.ok(effect?.type === 'connect')
    world.answerAll()
    world.now += 2_000
    const before = world.statuses()
    const failure = { kind: 'refused', message: 'connect ECONNREFUSED' } as const
    const effects = world.happen({ type: 'attemptFailed', dial: 9, attempt: effect.attempt, failure })
    assert.deepEqual(world.statuses(), before)
    assert.ok(effects.some((each) => each.type === 'ask' && each.endpoint.host === effect.endpoint.host))
  })

  it('H1, H3 that TCP connects is no byte of an apiserver: a kernel accepts for a stopped process', () => {
    const world = new World()
    world.verify(1)
    const { current } = world.state
    const peer = current === undefined ? undefined : world.state.peers.get(current)
    assert.ok(current !== undefined && peer !== undefined)
    const silent = { ...peer, voice: { is: 'suspect', since: world.now } as const }
    world.state = { ...world.state, peers: new Map(world.state.peers).set(current, silent) }
    const [effect] = world.bare(9)
    assert.ok(effect?.type === 'connect')
    world.now += 10
    const effects = world.happen({ type: 'attemptConnected', dial: 9, attempt: effect.attempt })
    assert.deepEqual(world.state.peers.get(current)?.voice, silent.voice)
    assert.equal(world.state.peers.get(current)?.heardAt, peer.heardAt)
    assert.equal(effects[0]?.type, 'deliver')
  })

  it('F3 holds nothing back, as it can carry no question', () => {
    const world = new World()
    world.verify(1)
    assert.equal(world.state.discovery.status, 'pending')
    const [effect] = world.bare(9)
    assert.ok(effect?.type === 'connect')
    assert.ok(world.happen({ type: 'attemptConnected', dial: 9, attempt: effect.attempt }).some(({ type }) => type === 'deliver'))
  })
})
