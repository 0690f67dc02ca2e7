/**
 * One client of bench/scale, in a process of its own: it opens watches by the module's agent or by Node's, and says how
 * long that took, what they weigh, and what they cost while each brings an event a second.
 */
import https from 'node:https'
import type * as Library from '../../lib/index.ts'
import { pem } from '../../spec/support/tls-servers.ts'
import { moduleOf } from '../support/dist.ts'
import { answerAll } from '../support/worker.ts'

export type Side = 'mine' | 'stock'

export type ScaleQuestion =
  | {
    readonly what: 'open'
    readonly side: Side
    readonly port: number
    readonly dist: string
    readonly watches: number
  }
  /** For so many ms. */
  | { readonly what: 'watch'; readonly ms: number }
  | { readonly what: 'weigh' }

export interface Opened {
  /** ms until every watch was answered. */
  readonly opening: number
  /** ms of CPU for that. */
  readonly openingCpu: number
}

/** For each watch. */
export interface Weighed {
  /** Bytes of JavaScript's heap. */
  readonly heap: number
  /** Bytes of the whole process. */
  readonly resident: number
}

export interface Watched {
  /** Of a core while events came, 0 to 1 and more. */
  readonly cpu: number
  /** Events a second for each watch: below 1 one side was overloaded. */
  readonly events: number
}

const HOST = '127.0.0.1'
const WATCH = '/api/v1/pods?watch=1'
/** So many handshakes are under way at a time. */
const AT_ONCE = 16

let events = 0
let held = 0
/** With one watch. */
let empty = process.memoryUsage()

answerAll<ScaleQuestion, Opened | Watched | Weighed>((question) => {
  switch (question.what) {
    case 'open': return opened(question)
    case 'watch': return watched(question.ms)
    case 'weigh': return weighed()
  }
})

async function opened({ side, port, dist, watches }: ScaleQuestion & { what: 'open' }): Promise<Opened> {
  const agent = await agentOf(side, port, dist)
  // The first one loads what is loaded once, and is not counted.
  await open(agent, port)
  empty = memory()
  const opening = clock()
  let left = watches
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left > 0) {
      left -= 1
      await open(agent, port)
    }
  }))
  const { ms, cpu } = opening()
  held = watches
  return { opening: ms, openingCpu: cpu }
}

function weighed(): Weighed {
  const { heapUsed, rss } = memory()
  return { heap: (heapUsed - empty.heapUsed) / held, resident: (rss - empty.rss) / held }
}

async function watched(ms: number): Promise<Watched> {
  const before = events
  const watching = clock()
  await pause(ms)
  const { ms: took, cpu } = watching()
  return { cpu: cpu / took, events: (events - before) / (held + 1) / (took / 1_000) }
}

async function agentOf(side: Side, port: number, dist: string): Promise<https.Agent> {
  const credentials = { ca: pem('ca.crt'), cert: pem('client-a.crt'), key: pem('client-a.key') }
  if (side === 'stock') return new https.Agent({ ...credentials, keepAlive: true })
  const { MultidialerAgent }: typeof Library = await import(moduleOf(dist, 'index'))
  return new MultidialerAgent({ server: `https://${HOST}:${port}`, ...credentials })
}

/** Resolves when the watch is answered. Its events are counted. */
function open(agent: https.Agent, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    https.get({ host: HOST, port, path: WATCH, agent }, (response) => {
      response.on('data', () => { events += 1 })
      response.on('error', () => undefined)
      resolve()
    }).on('error', reject)
  })
}

function memory(): NodeJS.MemoryUsage {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage()
}

/** Started now; gives what has passed since, in ms of the clock and of this process's CPU. */
function clock(): () => { readonly ms: number; readonly cpu: number } {
  const from = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return { ms: performance.now() - from, cpu: (user + system) / 1_000 }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
