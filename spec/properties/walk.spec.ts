// Seeded random walks through the state machine: what must hold whatever happens is asserted at every step by the
// model. A few walks by default, and many with MULTIDIALER_LONG=1 or in CI. A walk that failed is taken again with
// MULTIDIALER_WALK_SEED=<the seed it printed>.

import '../support/patient.ts'
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DEFAULTS } from '../../lib/options.ts'
import type { Settings } from '../../lib/core/state.ts'
import { draw } from '../../lib/core/turn.ts'
import { Model } from '../support/core-model.ts'

const PER_WALK = 1_500
const isLong = process.env['MULTIDIALER_LONG'] !== undefined || process.env['CI'] !== undefined
const given = process.env['MULTIDIALER_WALK_SEED']
const first = given === undefined ? Date.now() % 2 ** 32 : Number(given)
const WALKS = given !== undefined ? 1 : isLong ? 240 : 24

function settingsOf(seed: number): Settings {
  const [value] = draw(seed ^ 0x5eed)
  const bits = Math.floor(value * 256)
  return {
    ...DEFAULTS,
    balance: (bits & 1) === 0 ? 'sticky' : 'spread',
    ...((bits & 6) === 2 ? { refreshInterval: 0 } : {}),
    ...((bits & 24) === 8 ? { heartbeatInterval: 0 } : {}),
    ...((bits & 32) === 0 ? {} : { maxConnectionAge: 30_000, dialTimeout: 3_000 }),
    ...((bits & 192) === 64 ? { attemptDelay: 3_000 } : {}),
  }
}

describe('random walks', () => {
  const seen = new Map<string, number>()
  let events = 0

  for (let walk = 0; walk < WALKS; walk += 1) {
    const seed = (first + walk) >>> 0
    const pace = [3, 30, 300, 3_000, 30_000][seed % 5] ?? 30
    it(`walk ${walk}: seed ${seed}, something new every ${pace} ms`, () => {
      const model = new Model({
        seed,
        settings: settingsOf(seed),
        seeds: seed % 3 === 0 ? ['seed.example:6443'] : ['10.0.0.1:6443', 'seed.example:6443'],
        alternates: seed % 2 === 0 ? [] : ['10.0.0.2:6443'],
        others: ['10.0.0.1:6443', '10.0.0.2:6443', '10.0.0.3:6443', '10.0.0.4:6443', '10.0.0.5:6443', '10.0.0.6:6443'],
        pace,
      })
      model.walk(PER_WALK)
      model.finish()
      events += model.events
      for (const [type, count] of model.seen) seen.set(type, (seen.get(type) ?? 0) + count)
    })
  }

  it('the walks were long enough, and met every kind of event', (t) => {
    t.diagnostic(`${WALKS} walks, ${events} events`)
    if (given !== undefined) return
    assert.ok(events >= WALKS * PER_WALK, `${events} events`)
    // A few walks may miss what is rare.
    if (!isLong) return
    const kinds = [
      'hintsLoaded', 'dialRequested', 'dialCancelled', 'attemptConnected', 'attemptFailed', 'socketClosed',
      'socketsSampled', 'trafficResumed', 'refusalSeen', 'questionConnected', 'questionAnswered', 'questionFailed',
      'refreshRequested', 'identityChanged', 'warningRaised', 'warningPassed', 'deadlineReached', 'closed',
    ]
    for (const kind of kinds) assert.ok((seen.get(kind) ?? 0) > 0, `no ${kind}`)
  })
})
