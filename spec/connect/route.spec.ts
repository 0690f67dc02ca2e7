/** The options of the way: which there are, and that none is taken that Node would refuse at the first connection. */
import assert from 'node:assert/strict'
import dns from 'node:dns'
import { describe, it } from 'node:test'

import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { checkRoute } from '../../lib/connect/route.ts'

const GOOD: readonly (readonly [string, readonly unknown[]])[] = [
  ['localAddress', ['127.0.0.2', '::1']],
  ['family', [0, 4, 6]],
  ['hints', [0, dns.ADDRCONFIG | dns.V4MAPPED]],
  ['lookup', [dns.lookup]],
  ['autoSelectFamily', [true, false]],
  ['autoSelectFamilyAttemptTimeout', [1, 250]],
]

const WRONG: readonly (readonly [string, readonly unknown[]])[] = [
  ['localAddress', ['', 'eth0', '127.0.0.256', 4, {}]],
  ['family', [5, '4', 'IPv4', true, Number.NaN]],
  ['hints', [-1, 1.5, 'ADDRCONFIG']],
  ['lookup', ['dns', {}, true]],
  ['autoSelectFamily', ['true', 1, {}]],
  ['autoSelectFamilyAttemptTimeout', [0, -1, 1.5, '250', 2 ** 31, Infinity]],
  ['localPort', [0, 40_000]],
]

describe('the options of the way', () => {
  for (const [name, values] of GOOD) {
    it(`${name} is taken as it is`, () => {
      for (const value of values) assert.deepEqual(checkRoute({ [name]: value }), { [name]: value })
    })
  }

  for (const [name, values] of WRONG) {
    it(`a wrong ${name} is a TypeError that names it`, () => {
      for (const value of values) {
        assert.throws(() => checkRoute({ [name]: value }), {
          name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: new RegExp(`^The option '${name}' `),
        })
      }
    })
  }

  it('one that is undefined or null was not given', () => {
    const names = [...GOOD, ...WRONG].map(([name]) => name)
    for (const value of [undefined, null]) {
      assert.deepEqual(checkRoute(Object.fromEntries(names.map((name) => [name, value]))), {})
    }
  })

  it('no other option is one of them', () => {
    assert.deepEqual(checkRoute(Object.assign({ family: 4 }, { ca: 'x', host: 'y', timeout: 3 })), { family: 4 })
  })
})

describe('proxyEnv', () => {
  it('is refused by the agent, which says what to give instead', () => {
    assert.throws(() => new MultidialerAgent({ server: 'https://127.0.0.1', proxyEnv: {} }), {
      name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /'proxyEnv'.*'connectSocket: throughProxy\(url\)'/,
    })
  })
})
