/**
 * What this machine does to a dialer: it stalls, sleeps, changes its clock, runs out of descriptors, resolves no name.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import type { LookupFunction } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Multidialer } from '../../lib/multidialer.ts'
import type { DialRequest } from '../../lib/pool.ts'
import { at, Client, dialError, rejection, timed, until } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { withoutLeaks } from '../support/leaks.ts'
import { startProgram } from '../support/program.ts'

/** So fast that a stall of some seconds is many heartbeats long. */
const FAST = { heartbeatInterval: 300, heartbeatTimeout: 600, refreshInterval: 1_000 }
/** What a busy machine of two cores may add. ms */
const LOAD = 1_500

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start({ servers: 3 }) })
after(() => plane.stop())
beforeEach(async () => {
  await Promise.all(plane.servers.map((server) => server.misbehave()))
})

/** Nothing was failed, severed or warned of; and it was asked no more than it would have been anyhow. */
function assertUnmoved(client: Client, heartbeats: number): void {
  const { counters, endpoints } = client.dialer.snapshot()
  assert.deepEqual(client.failed, [])
  assert.deepEqual(client.warnings, [])
  assert.equal(counters.severed, 0)
  assert.deepEqual(endpoints.map(({ failures }) => failures), [0, 0, 0])
  assert.ok(counters.heartbeats - heartbeats <= 12, `${counters.heartbeats - heartbeats} heartbeats`)
}

/** Holds up the event loop. ms */
function stall(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

describe('time', () => {
  it('H4 an event loop stalled for 3 s, heartbeats and a dial under way: nothing failed for it, no storm',
    () => withoutLeaks(async () => {
    await using client = new Client(plane, FAST)
    await client.dialer.refresh()
    const watch = await client.watch()
    await until('a heartbeat was sent', () => client.dialer.snapshot().counters.heartbeats > 2)
    const { heartbeats } = client.dialer.snapshot().counters
    const refreshed = client.dialer.refresh()
    const dialled = client.connect()
    stall(3_000)
    const socket = await dialled
    await refreshed
    socket.destroy()
    assert.equal((await client.get('/version')).status, 200)
    assertUnmoved(client, heartbeats)
    watch.destroy()
  }))

  it('H4 an event loop stalled for 4 s while a question is open: its server has not hesitated', () => (
    withoutLeaks(async () => {
      // An answer is late after half of attemptDelay, which the stall outlasts; it comes 500 ms after the stall.
      const server = at(plane, 0)
      await using client = new Client(plane, { attemptDelay: 4_000, heartbeatTimeout: 10_000 })
      await client.dialer.refresh()
      await Promise.all([client.get('/version'), client.get('/version')])
      const idle = client.pooled.length
      assert.ok(idle > 1)
      await server.misbehave({ slow: 4_500 })
      const { heartbeats } = client.dialer.snapshot().counters
      const owed = client.get('/slow?ms=3500')
      await until('it is asked for what it owes', () => client.dialer.snapshot().counters.heartbeats > heartbeats)
      stall(4_000)
      await delay(1_000)
      assert.equal(client.pooled.length, idle - 1, 'its idle connections were closed')
      await server.misbehave()
      assert.equal((await owed).server, server.name)
    })
  ))

  it('H4 a process suspended for 3 s and resumed: nothing failed for it', async () => {
    const program = startProgram(`
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token, ...given.fast })
      let failed = 0
      dialer.on('failed', () => { failed += 1 })
      const agent = agentOf(dialer)
      await dialer.refresh()
      const headers = { authorization: 'Bearer ' + given.token }
      const watch = https.get(given.url + '/tick?ms=100', { agent, headers })
      const [response] = await new Promise((resolve) => watch.once('response', (response) => resolve([response])))
      let ticks = 0
      response.on('data', () => { ticks += 1 })
      watch.on('error', (error) => console.log('watch: ' + error.message))
      const idle = await dialer.connect()
      process.on('SIGUSR2', async () => {
        const before = ticks
        while (ticks < before + 10) await new Promise((resolve) => setTimeout(resolve, 50))
        const { counters, endpoints } = dialer.snapshot()
        const failures = endpoints.map((endpoint) => endpoint.failures)
        console.log(JSON.stringify({ failed, severed: counters.severed, failures }))
        watch.destroy()
        idle.destroy()
        process.exit()
      })
      console.log('ready')`, { url: at(plane, 0).url, ca: plane.ca, token: plane.token, fast: FAST })
    await program.printed('ready')
    program.child.kill('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    program.child.kill('SIGCONT')
    program.child.kill('SIGUSR2')
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['ready', '{"failed":0,"severed":0,"failures":[0,0,0]}'])
  })

  for (const hours of [1, -1]) {
    it(`a wall clock set by ${hours} h: nothing failed for it, no storm`, () => withoutLeaks(async () => {
      await using client = new Client(plane, FAST)
      await client.dialer.refresh()
      const watch = await client.watch()
      const { heartbeats } = client.dialer.snapshot().counters
      const now = Date.now
      try {
        Date.now = () => now() + hours * 3_600_000
        await until('two more were sent', () => client.dialer.snapshot().counters.heartbeats >= heartbeats + 2)
        assert.equal((await client.fresh('/version')).status, 200)
        assert.equal((await client.dialer.refresh()).length, 3)
      } finally {
        Date.now = now
      }
      assertUnmoved(client, heartbeats)
      const age = client.dialer.snapshot().discovery.ageMs ?? Infinity
      assert.ok(age >= 0 && age < 60_000)
      watch.destroy()
    }))
  }
})

describe('descriptors', () => {
  it('EMFILE at socket creation: no endpoint blamed; works again when descriptors do', {
    skip: process.platform === 'win32' && 'there is no limit of descriptors',
  }, async () => {
    const program = startProgram(`
      import { closeSync, openSync } from 'node:fs'
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
      let failed = 0
      dialer.on('failed', () => { failed += 1 })
      await dialer.refresh()
      ;(await dialer.connect()).destroy()
      const files = []
      try { for (;;) files.push(openSync('/dev/null')) } catch {}
      console.log(await dialer.connect().then(() => 'connected', (error) => error.code))
      console.log(JSON.stringify([failed, dialer.snapshot().endpoints.map(({ failures }) => failures)]))
      for (const file of files) closeSync(file)
      ;(await dialer.connect()).destroy()
      console.log('connected')`, { url: at(plane, 0).url, ca: plane.ca, token: plane.token }, { descriptors: 128 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['EMFILE', '[0,[0,0,0]]', 'connected'])
  })
})

describe('names', () => {
  /** An attempt with a resolver of its own: there is no other way to have one that fails as told. */
  const dial = (dialer: Multidialer, lookup: LookupFunction): Promise<string> => new Promise((resolve, reject) => {
    const request: DialRequest = { lookup }
    dialer.createConnection(request, (error, socket) => {
      if (socket === undefined) return reject(error)
      resolve(`${socket.remoteAddress}:${socket.remotePort}`)
      socket.destroy()
    })
  })
  const nxdomain: LookupFunction = (host, _options, callback) => {
    const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' })
    process.nextTick(callback, error, '', 4)
  }
  const silent: LookupFunction = () => {}
  const server = 'https://api.test.example:6443'

  for (const [name, lookup, code] of [
    ['NXDOMAIN', nxdomain, 'ENOTFOUND'], ['a resolver that never answers', silent, 'ETIMEDOUT'],
  ] as const) {
    it(`${name} for the seed: known IPs are still used`, () => withoutLeaks(async () => {
      using dialer = new Multidialer({ server, ca: plane.ca, alternates: [at(plane, 1).address], refreshInterval: 0 })
      const { value, ms } = await timed(dial(dialer, lookup))
      assert.equal(value, at(plane, 1).address)
      assert.ok(ms < 250 + 100 + LOAD, `${ms} ms`)
    }))

    it(`${name} for the only one: bounded by attemptTimeout, and named`, () => withoutLeaks(async () => {
      using dialer = new Multidialer({ server, ca: plane.ca, attemptTimeout: 200 })
      const { value, ms } = await timed(dialError(dial(dialer, lookup)))
      assert.equal(value.code, code)
      assert.match(value.message, /api\.test\.example:6443/)
      assert.ok(ms < 200 + LOAD, `${ms} ms`)
    }))
  }
})

describe('close() and abort in the middle of anything', () => {
  const moments = Array.from({ length: 60 }, () => randomInt(0, 40))

  for (const how of ['close', 'signal', 'each its own signal'] as const) {
    it(`${how}: every dial and refresh ends once; nothing is left`, () => withoutLeaks(async () => {
      for (const [index, ms] of moments.entries()) {
        // Each third time one server is silent, so that there is more to be in the middle of.
        if (index % 20 === 0) await at(plane, 0).misbehave(index % 40 === 0 ? 'deaf' : [])
        const whole = new AbortController()
        const dialer = new Multidialer({
          server: at(plane, 0).url, ca: plane.ca, token: plane.token, signal: whole.signal,
          alternates: plane.servers.slice(1).map(({ address }) => address), attemptDelay: 10,
          heartbeatInterval: 20, heartbeatTimeout: 30,
        })
        const single = new AbortController()
        const endings = [0, 0, 0, 0]
        const sockets: { destroy(): unknown }[] = []
        const dials = endings.map((_, dial) => new Promise<void>((resolve) => {
          const request = how === 'each its own signal' ? { signal: single.signal } : {}
          dialer.createConnection(request, (error, socket) => {
            endings[dial] = (endings[dial] ?? 0) + 1
            if (socket !== undefined) sockets.push(socket.on('error', () => undefined))
            else assert.match(error !== null && 'code' in error ? String(error.code) : '',
              /^(ERR_MULTIDIALER_CLOSED|ABORT_ERR)$/)
            resolve()
          })
        }))
        const refresh = dialer.refresh().then(() => undefined, (error: Error) => error)
        await new Promise((resolve) => (ms === 0 ? resolve(undefined) : setTimeout(resolve, ms)))
        if (how === 'close') dialer.close()
        else if (how === 'signal') whole.abort()
        else single.abort()
        await Promise.all(dials)
        dialer.close()
        await refresh
        await new Promise((resolve) => setImmediate(resolve))
        assert.deepEqual(endings, [1, 1, 1, 1])
        assert.equal((await rejection(dialer.connect())).code, 'ERR_MULTIDIALER_CLOSED')
        for (const socket of sockets) socket.destroy()
      }
      await at(plane, 0).misbehave()
      for (const each of plane.servers) {
        await until(`${each.name} has no connection`, async () => (await each.stats()).rawOpen === 0, 10_000)
      }
    }))
  }

  it('leaves nothing in process.getActiveResourcesInfo()', async () => {
    const handles = (): string[] =>
      process.getActiveResourcesInfo().filter((type) => /TCP|TLS|Timeout/.test(type)).sort()
    const before = handles()
    const client = new Client(plane, FAST)
    await client.dialer.refresh()
    const watch = await client.watch()
    await client.get('/version')
    assert.ok(handles().length > before.length)
    watch.destroy()
    await client.close()
    await until('all are gone', () => {
      const left = [...handles()]
      for (const type of before) if (left.includes(type)) left.splice(left.indexOf(type), 1)
      // The timer of this very wait.
      return left.filter((type) => type !== 'Timeout').length === 0
    })
  })
})
