/**
 * Seeded random walks through the state machine. What must hold whatever happens is asserted at every step by the
 * model. CI takes 110,000 events, a run by hand a third of them; the title says how many. A walk that failed is taken
 * again with MULTIDIALER_WALK_SEED=<the seed it printed>.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DEFAULTS } from '../../lib/options.ts'
import type { Settings } from '../../lib/core/state.ts'
import { draw } from '../../lib/core/random.ts'
import { Model } from '../support/core-model.ts'

const ALL = 110_000
const EVENTS = process.env['CI'] === 'true' ? ALL : ALL / 3
const PER_WALK = 2_200

const given = process.env['MULTIDIALER_WALK_SEED']
const first = given === undefined ? Date.now() % 2 ** 32 : Number(given)

function settingsOf(seed: number): Settings {
  const [value] = draw(seed ^ 0x5eed)
  const bits = Math.floor(value * 64)
  return {
    ...DEFAULTS,
    balance: (bits & 1) === 0 ? 'sticky' : 'spread',
    ...((bits & 6) === 2 ? { refreshInterval: 0 } : {}),
    ...((bits & 24) === 8 ? { heartbeatInterval: 0 } : {}),
    ...((bits & 32) === 0 ? {} : { maxConnectionAge: 30_000, dialTimeout: 3_000 }),
  }
}

describe(`random walks, ${Math.round(EVENTS)} of ${ALL} events (CI=true takes all)`, () => {
  const seen = new Map<string, number>()
  let events = 0

  for (let walk = 0; walk * PER_WALK < EVENTS; walk += 1) {
    const seed = (first + walk) >>> 0
    const pace = [3, 30, 300, 3_000][walk % 4] ?? 30
    it(`walk ${walk}: seed ${seed}, something new every ${pace} ms`, () => {
      const model = new Model({
        seed,
        settings: settingsOf(seed),
        seeds: walk % 3 === 0 ? ['seed.example:6443'] : ['10.0.0.1:6443', 'seed.example:6443'],
        alternates: walk % 2 === 0 ? [] : ['10.0.0.2:6443'],
        others: ['10.0.0.1:6443', '10.0.0.2:6443', '10.0.0.3:6443', '10.0.0.4:6443', '10.0.0.5:6443', '10.0.0.6:6443'],
        pace,
      })
      model.walk(PER_WALK)
      model.finish()
      events += model.events
      for (const [type, count] of model.seen) seen.set(type, (seen.get(type) ?? 0) + count)
    })
  }

  it('the walks were long enough, and all of them together meet every kind of event', () => {
    assert.ok(events >= EVENTS / 1.1, `${events} events`)
    const kinds = [
      'hintsLoaded',
      'dialRequested',
      'dialCancelled',
      'attemptConnected',
      'attemptFailed',
      'socketClosed',
      'socketsSampled',
      'trafficResumed',
      'heartbeatAnswered',
      'heartbeatFailed',
      'refreshRequested',
      'warningRaised',
      'deadlineReached',
      'closed',
    ]
    // The rarest ones take more than a third of the walks.
    if (EVENTS < ALL) return
    for (const kind of kinds) assert.ok((seen.get(kind) ?? 0) > 0, `no ${kind}`)
  })
})
