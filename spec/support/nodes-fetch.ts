import assert from 'node:assert/strict'

/** The dispatcher that Node's own fetch uses by default: an Agent of the undici that is part of Node. */
export function nodesDispatcher(): object {
  // It is made by the first fetch.
  void fetch('data:,').catch(() => undefined)
  const dispatcher: unknown = Reflect.get(globalThis, Symbol.for('undici.globalDispatcher.2')) ??
    Reflect.get(globalThis, Symbol.for('undici.globalDispatcher.1'))
  assert.ok(typeof dispatcher === 'object' && dispatcher !== null)
  return dispatcher
}
