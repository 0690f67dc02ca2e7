/** The TLS options that count: none of Node's is forgotten, and each of a request has a connection of its own. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { SecureContextOptions } from 'node:tls'
import { ownTLSOf } from '../../lib/connect/own-tls.ts'
import { ownPool } from '../../lib/agent/pool-key.ts'
import { CONTEXT_OPTIONS, HANDSHAKE_OPTIONS } from '../../lib/connect/tls-options.ts'

/** Not a name of these, and the compiler refuses this file: one that a newer Node has must find its place. */
type Known = (typeof CONTEXT_OPTIONS)[number] | 'ALPNCallback'
export const forgotten: Record<Exclude<keyof SecureContextOptions, Known>, never> = {}

describe('the TLS options of a request', () => {
  for (const name of [...CONTEXT_OPTIONS, ...HANDSHAKE_OPTIONS]) {
    it(`${name} goes into its handshake, and into the name of its pool`, () => {
      const value = ['what the caller gave']
      const own = ownTLSOf({ [name]: value }, true)
      const holder: object | undefined = CONTEXT_OPTIONS.some((each) => each === name) ? own?.context : own?.handshake
      assert.deepEqual(holder, { [name]: value })
      assert.notEqual(ownPool({ [name]: value }, true), ownPool({ [name]: ['something else'] }, true))
      assert.notEqual(ownPool({ [name]: value }, true), undefined)
    })
  }
})
