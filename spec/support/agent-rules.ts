/**
 * How the specs of the agent run a rule: agents over a stub dialer and a held server, and an end to waiting. A rule
 * that a plain override of createConnection breaks is run against such an override, too, which must break it: a row
 * that both pass would prove nothing.
 */
import assert from 'node:assert/strict'
import type https from 'node:https'
import { test } from 'node:test'

import {
  type Exchange, type HeldServer, type MakeAgent, NaiveAgent, type PoolCount, StubbedAgent, until,
} from './agent-harness.ts'
import { StubDialer } from './stub-dialer.ts'

/** One run of a rule: an agent of its kind, its dialer, and an end to waiting. */
export interface Run {
  readonly dialer: StubDialer
  agent(options?: https.AgentOptions): https.Agent
  /** Resolves when the pool has become so. */
  becomes(pool: https.Agent, holds: (count: PoolCount) => boolean): Promise<PoolCount>
  /** What has to happen: a rule whose event never comes is broken. */
  happens<T>(event: Promise<T>): Promise<T>
}

export const PATIENCE = 20_000
/**
 * How long to wait for a plain override to do what it never does. Waiting too briefly cannot make a good agent fail.
 */
const NAIVE_PATIENCE = 400

async function run(
  server: HeldServer, make: MakeAgent, patience: number, body: (run: Run) => Promise<void>,
): Promise<void> {
  const dialer = new StubDialer(server.port)
  const agents: https.Agent[] = []
  const timers: NodeJS.Timeout[] = []
  const over = new AbortController()
  try {
    await body({
      dialer,
      agent(options = {}) {
        const agent = make(dialer, options)
        agents.push(agent)
        return agent
      },
      becomes: (pool, holds) => until(pool, holds, over.signal),
      happens: (event) => Promise.race([event, new Promise<never>((_resolve, reject) => {
        const late = new assert.AssertionError({ message: 'it never happened' })
        timers.push(setTimeout(reject, patience, late))
      })]),
    })
  } finally {
    over.abort()
    for (const timer of timers) clearTimeout(timer)
    dialer.close()
    for (const agent of agents) agent.destroy()
  }
}

const stubbed: MakeAgent = (pool, options) => new StubbedAgent(pool, options)
const naive: MakeAgent = (pool, options) => new NaiveAgent(pool, options)

export interface Rules {
  /** A rule that the agent keeps and a plain override of createConnection breaks. */
  beatsNaive(name: string, body: (run: Run) => Promise<void>): void
  /** A rule that has no counterpart in a plain override. */
  rule(name: string, body: (run: Run) => Promise<void>): void
}

export function rulesFor(server: HeldServer): Rules {
  return {
    beatsNaive(name, body) {
      test(name, () => run(server, stubbed, PATIENCE, body))
      test(`${name} (a plain override does not)`, async () => {
        await assert.rejects(run(server, naive, NAIVE_PATIENCE, body), assert.AssertionError)
      })
    },
    rule(name, body) {
      test(name, () => run(server, stubbed, PATIENCE, body))
    },
  }
}

export const ends = (exchange: Exchange): Promise<void> => exchange.closed
export const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The code of an error after close() or destroy(). */
export const CLOSED = 'ERR_MULTIDIALER_CLOSED'
