/**
 * The agent against https.Agent: random programs of requests, each played with both. What a user sees must be the same,
 * event for event, and so must the accounts of the pool whenever all is at rest. What differs by design is two things:
 * after destroy() nothing is dialled any more, and a dial that is given up is not kept.
 *
 * The programs follow from the seed, which is printed, as is how many of the 2,000 are played: MULTIDIALER_SEED=N plays
 * the same again, MULTIDIALER_PROGRAMS=N that many.
 */
import '../support/patient.ts'
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import https from 'node:https'
import { describe, it } from 'node:test'

import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { play, type Program, programOf, type Trace } from '../support/agent-programs.ts'
import { serverIdentity } from '../support/stub-dialer.ts'
import { randomOf } from '../support/random.ts'

const SEED = Number(process.env['MULTIDIALER_SEED'] ?? randomInt(2 ** 31))
const ALL = 2_000
const PROGRAMS = Number(process.env['MULTIDIALER_PROGRAMS'] ?? (process.env['CI'] === 'true' ? 300 : 40))

const { ca } = serverIdentity

async function compare(program: Program): Promise<void> {
  const stock = await play(program, () => new https.Agent({ ...program.agent, ca }), true)
  const pooled = await play(program, (port) => new MultidialerAgent({
    ...program.agent, server: `https://127.0.0.1:${port}`, ca, refreshInterval: 0, heartbeatInterval: 0,
  }), false)
  assert.deepEqual(pooled.steps, stock.steps)
  assert.deepEqual(pooled.outcomes, stock.outcomes)
  if (program.destroy === 'at rest') assert.deepEqual(atServer(pooled), atServer(stock))
  for (const { request, aborted, atServer } of pooled.destroyed) {
    assert.equal(request.filter((event) => event === 'close').length, 1)
    const error = request.find((event) => event.startsWith('error '))
    if (program.destroy === 'at once' || atServer || request.some((event) => event.startsWith('response '))) continue
    // It waited for a connection, unless its user had already given it up.
    if (aborted === 0) assert.match(error ?? 'none', /ERR_MULTIDIALER_CLOSED|ECONNRESET|EMINE|ABORT_ERR/)
  }
}

function atServer({ destroyed }: Trace): unknown[] {
  return destroyed.filter(({ atServer }) => atServer)
}

describe(`the agent and https.Agent, MULTIDIALER_SEED=${SEED}, ${PROGRAMS} of ${ALL} programs`, () => {
  it('the same outcomes and accounts', { timeout: 1_800_000 }, async (t) => {
    let requests = 0
    for (let index = 0; index < PROGRAMS; index++) {
      const program = programOf(randomOf(SEED + index))
      requests += program.steps.filter((step) => step.do === 'send').length
      try {
        await compare(program)
      } catch (error) {
        t.diagnostic(`MULTIDIALER_SEED=${SEED + index} MULTIDIALER_PROGRAMS=1: ${JSON.stringify(program)}`)
        throw error
      }
    }
    t.diagnostic(`${PROGRAMS} programs, ${requests} requests`)
  })
})
