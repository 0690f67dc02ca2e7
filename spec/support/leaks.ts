/**
 * What a piece of a spec leaves behind. Every socket, timer and lookup that is created while it runs, and by whatever
 * it set going, belongs to it, also when other pieces run in the same process at the same time; at its end all of them
 * must be gone. Unlike process.getActiveResourcesInfo(), this also sees what keeps no process alive.
 */
import assert from 'node:assert/strict'
import { AsyncLocalStorage, createHook } from 'node:async_hooks'

interface Resource {
  readonly type: string
  readonly stack: string
}

type Living = Map<number, Resource>

/** Sockets of each kind, timers, connects under way and lookups. A tick or a promise leaves nothing behind. */
const WATCHED = new Set(['TCPWRAP', 'TCPCONNECTWRAP', 'Timeout', 'GETADDRINFOREQWRAP'])
/** For what is on its way out when the piece ends: a destroyed socket is closed by the next turn of the loop. ms */
const GONE_WITHIN = 5_000

const pieces = new AsyncLocalStorage<Living>()
const owners = new Map<number, Living>()

createHook({
  init(id, type) {
    if (!WATCHED.has(type)) return
    const living = pieces.getStore()
    if (living === undefined) return
    living.set(id, { type, stack: stackOf() })
    owners.set(id, living)
  },
  destroy(id) {
    owners.get(id)?.delete(id)
    owners.delete(id)
  },
}).enable()

/** Runs it; rejects if it does, or if something that it created is still there some time after its end. */
export async function withoutLeaks(body: () => Promise<void>, within: number = GONE_WITHIN): Promise<void> {
  const living: Living = new Map()
  await pieces.run(living, body)
  await pieces.exit(() => gone(living, within))
}

/** Runs it on behalf of nobody: what it creates may stay. */
export function apart<T>(body: () => T): T {
  return pieces.exit(body)
}

async function gone(living: Living, within: number): Promise<void> {
  const until = performance.now() + within
  while (living.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 5))
  const left = [...living.values()].map(({ type, stack }) => `${type}\n${stack}`)
  assert.equal(left.length, 0, `${left.length} left behind: ${left.slice(0, 5).join('\n')}`)
}

function stackOf(): string {
  const holder = { stack: '' }
  Error.captureStackTrace(holder, stackOf)
  return holder.stack.split('\n').filter((line) => !line.includes('node:internal/async_hooks')).slice(1, 10).join('\n')
}
