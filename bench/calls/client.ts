/**
 * One client of bench/calls, in a process of its own: @kubernetes/client-node, with a dialer under it or without.
 */
import type * as Adapter from '../../lib/adapters/client-node.ts'
import { kubeConfigOf, loadClientNode, type Target, type Version } from '../support/client-node.ts'
import { moduleOf } from '../support/dist.ts'
import { answerAll } from '../support/worker.ts'

export type CallsQuestion =
  | { readonly what: 'start'; readonly version: Version; readonly dist: string | undefined; readonly target: Target }
  | { readonly what: 'calls'; readonly concurrency: number; readonly ms: number }

export interface Calls {
  readonly count: number
  /** ms; CPU is this process's. */
  readonly took: number
  readonly cpu: number
}

let call: (() => Promise<unknown>) | undefined

answerAll<CallsQuestion, Calls>(async (question) => {
  if (question.what === 'calls') return calls(question.concurrency, question.ms)
  const module = await loadClientNode(question.version)
  const config = kubeConfigOf(module, question.target)
  if (question.dist !== undefined) {
    const { withMultidialer }: typeof Adapter = await import(moduleOf(question.dist, 'client-node'))
    withMultidialer(config)
  }
  const api = config.makeApiClient(module.VersionApi)
  call = () => api.getCode()
  return { count: 0, took: 0, cpu: 0 }
})

async function calls(concurrency: number, ms: number): Promise<Calls> {
  const before = process.cpuUsage()
  const from = performance.now()
  let count = 0
  const one = async (): Promise<void> => {
    while (performance.now() - from < ms) {
      await call?.()
      count += 1
    }
  }
  await Promise.all(Array.from({ length: concurrency }, one))
  const { user, system } = process.cpuUsage(before)
  return { count, took: performance.now() - from, cpu: (user + system) / 1_000 }
}
