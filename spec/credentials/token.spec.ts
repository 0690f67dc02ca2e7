// The token: from a value, from a file that changes, from a function.

import assert from 'node:assert/strict'
import { unlinkSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { inspect } from 'node:util'
import { Credentials } from '../../lib/credentials/credentials.ts'
import { CANARY, folderOfRow, watched } from '../support/credentials.ts'

const { put } = folderOfRow()

describe('the token from a value or a file', () => {
  it('is undefined where none was given', async () => assert.equal(await new Credentials({}).token(), undefined))
  it('is the string given', async () => {
    const credentials = new Credentials({ token: 'abc' })
    assert.equal(await credentials.token(), 'abc')
    assert.equal(await credentials.token(true), 'abc')
  })
  it('is what the file holds, without the line break at its end', async () => {
    assert.equal(await new Credentials({ tokenFile: put('token', ' abc\r\n') }).token(), 'abc')
  })
  it('is read again when the file has changed, and is no new generation', async () => {
    const { credentials } = watched({ tokenFile: put('token', 'one') })
    put('token', 'second')
    assert.equal(await credentials.token(), 'second')
    assert.equal(credentials.current().generation, 1)
  })
  it('is the last good one when the file is gone, empty or half written, with one warning', async () => {
    const path = put('token', 'one')
    const { credentials, warnings, passed } = watched({ tokenFile: path })
    put('token', '')
    assert.equal(await credentials.token(), 'one')
    put('token', `${CANARY} ${CANARY}`)
    assert.equal(await credentials.token(), 'one')
    unlinkSync(path)
    assert.equal(await credentials.token(), 'one')
    assert.equal(await credentials.token(true), 'one')
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] ?? '', /'tokenFile'.*must hold.*The credentials read before are kept$/)
    put('token', 'two')
    assert.equal(await credentials.token(), 'two')
    assert.equal(passed(), 1)
    put('token', '')
    await credentials.token()
    assert.equal(warnings.length, 2, 'a fault that returns is news')
  })
})

describe('the token from a function', () => {
  /** A token function that counts, and a clock that is turned by hand. */
  function counted(t: TestContext): { credentials: Credentials; calls: () => number; pass: (ms: number) => void } {
    let calls = 0
    let now = 1_000
    t.mock.method(performance, 'now', () => now)
    const credentials = new Credentials({ token: () => `token-${++calls}` })
    return { credentials, calls: () => calls, pass: (ms) => { now += ms } }
  }

  it('is not asked for before it is needed', (t) => assert.equal(counted(t).calls(), 0))
  it('is kept for a minute, then asked for again', async (t) => {
    const { credentials, pass } = counted(t)
    assert.equal(await credentials.token(), 'token-1')
    pass(59_999)
    assert.equal(await credentials.token(), 'token-1')
    pass(1)
    assert.equal(await credentials.token(), 'token-2')
  })
  it('R2 is asked for again at once when a fresh one is wanted, and kept from then', async (t) => {
    const { credentials } = counted(t)
    await credentials.token()
    assert.equal(await credentials.token(true), 'token-2')
    assert.equal(await credentials.token(), 'token-2')
  })
  it('is asked for once, however many want it at once', async (t) => {
    const { credentials, calls } = counted(t)
    const all = await Promise.all([credentials.token(), credentials.token(true), credentials.token()])
    assert.deepEqual(all, ['token-1', 'token-1', 'token-1'])
    assert.equal(calls(), 1)
  })
  it('may come later', async () => {
    assert.equal(await new Credentials({ token: async () => 'abc' }).token(), 'abc')
  })
  it('is asked for again after a failure', async () => {
    const answers = [() => { throw new Error('no plugin') }, () => Promise.reject(new Error('no network')), () => 'abc']
    const credentials = new Credentials({ token: () => answers.shift()?.() ?? '' })
    await assert.rejects(credentials.token(),
      { code: 'ERR_MULTIDIALER_TOKEN', message: "The function given as the option 'token' failed: no plugin" })
    await assert.rejects(credentials.token(), { message: /failed: no network$/ })
    assert.equal(await credentials.token(), 'abc')
  })
  for (const value of ['', `${CANARY}\n`, `a ${CANARY}`, undefined, null, 5, { token: CANARY }]) {
    it(`is refused as ${JSON.stringify(value)?.replace(CANARY, '...')}`, async () => {
      const credentials: unknown = Reflect.construct(Credentials, [{ token: () => value }])
      assert.ok(credentials instanceof Credentials)
      await assert.rejects(credentials.token(), (error: unknown) => {
        assert.match(String(error), /gave something else than a non-empty string of visible ASCII/)
        assert.ok(!inspect(error).includes(CANARY))
        return true
      })
    })
  }
  it('its own words are shown without what it gave before, nor what looks like a token', async () => {
    const answers = [() => CANARY, () => {
      const jwt = `eyJhbGciOi.${CANARY.slice(2)}`
      throw new Error(`${CANARY} expired; Bearer ${CANARY.slice(1)} and ${jwt} and ${'x9'.repeat(30)}`)
    }]
    const credentials = new Credentials({ token: () => answers.shift()?.() ?? '' })
    await credentials.token()
    await assert.rejects(credentials.token(true), (error: unknown) => {
      assert.equal(error instanceof Error && error.message, "The function given as the option 'token' failed: " +
        '(not shown) expired; Bearer (not shown) and (not shown) and (not shown)')
      assert.ok(!inspect(error).includes(CANARY.slice(2)), inspect(error))
      return true
    })
  })
  it('that never comes is given up after 10 s, and asked for again the next time', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const answers = [new Promise<string>(() => {}), 'abc']
    const credentials = new Credentials({ token: () => answers.shift() ?? '' })
    const asked = credentials.token()
    const outcome = assert.rejects(asked,
      { code: 'ERR_MULTIDIALER_TOKEN', message: /gave no answer within 10000 ms$/ })
    t.mock.timers.tick(10_000)
    await outcome
    assert.equal(await credentials.token(), 'abc')
  })
})

describe('R6 whether a token is expected', () => {
  it('is known without asking for it', () => {
    assert.equal(new Credentials({}).expectsToken, false)
    assert.equal(new Credentials({ token: 'abc' }).expectsToken, true)
    assert.equal(new Credentials({ tokenFile: put('token', 'abc') }).expectsToken, true)
    assert.equal(new Credentials({ token: () => Promise.reject(new Error('no')) }).expectsToken, true)
  })
})
