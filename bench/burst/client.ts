/**
 * One client of bench/burst, in a process of its own: it makes many requests at once on an agent that has no connection
 * yet, and says how long each took.
 */
import https from 'node:https'
import type * as Library from '../../lib/index.ts'
import { pem } from '../../spec/support/tls-servers.ts'
import { moduleOf } from '../support/dist.ts'
import { answerAll } from '../support/worker.ts'

export type Side = 'mine' | 'stock'

export interface BurstQuestion {
  readonly side: Side
  readonly dist: string
  /** Each 'host:port': the one that is asked, and for this module's agent the others that it knows. */
  readonly server: string
  readonly alternates: readonly string[]
  readonly requests: number
  readonly maxSockets: number
}

export interface Burst {
  /** ms from the beginning of the burst to the end of each answer. */
  readonly times: Float64Array
  /** Requests that were not answered. */
  readonly failed: number
  /** ms of CPU of this process, for all of it. */
  readonly cpu: number
}

answerAll<BurstQuestion, Burst>(async (question) => {
  const agent = await agentOf(question)
  const { hostname, port } = new URL(`https://${question.server}`)
  const before = process.cpuUsage()
  const from = performance.now()
  const answered = await Promise.allSettled(Array.from({ length: question.requests }, async () => {
    await request(agent, hostname, port)
    return performance.now() - from
  }))
  const { user, system } = process.cpuUsage(before)
  agent.destroy()
  const times = answered.flatMap((each) => each.status === 'fulfilled' ? each.value : [])
  return {
    times: Float64Array.from(times), failed: answered.length - times.length, cpu: (user + system) / 1_000,
  }
})

async function agentOf({ side, dist, server, alternates, maxSockets }: BurstQuestion): Promise<https.Agent> {
  const options = {
    ca: pem('ca.crt'), cert: pem('client-a.crt'), key: pem('client-a.key'), keepAlive: true, maxSockets,
  }
  if (side === 'stock') return new https.Agent(options)
  const { MultidialerAgent }: typeof Library = await import(moduleOf(dist, 'index'))
  return new MultidialerAgent({ ...options, server: `https://${server}`, alternates })
}

function request(agent: https.Agent, host: string, port: string): Promise<void> {
  return new Promise((resolve, reject) => {
    https.get({ host, port, path: '/version', agent }, (response) => {
      response.once('end', resolve).once('error', reject).resume()
    }).once('error', reject)
  })
}
