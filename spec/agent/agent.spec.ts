/**
 * MultidialerAgent as its users have it: its options, what it shows, and what it leaves behind.
 */
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import https from 'node:https'
import { after, test } from 'node:test'
import { inspect } from 'node:util'

import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { count, HeldServer, send, StubbedAgent, until } from '../support/agent-harness.ts'
import { ends, PATIENCE } from '../support/agent-rules.ts'
import { serverIdentity, StubDialer } from '../support/stub-dialer.ts'

const server = await HeldServer.start()
after(() => server.stop())

test('the options of an agent that are wrong fail as those of the stock agent do', () => {
  const dialer = new StubDialer(server.port)
  for (const options of [{ maxTotalSockets: 0 }, { scheduling: 'random' }]) {
    const wrong: object = options
    const failure = (make: () => https.Agent): unknown => {
      try {
        return make()
      } catch (error) {
        return inspect(error).split('\n')[0]
      }
    }
    const stock = failure(() => new https.Agent(wrong))
    assert.equal(typeof stock, 'string')
    assert.equal(failure(() => new StubbedAgent(dialer, wrong)), stock)
  }
})

test('MultidialerAgent keeps connections alive unless told not to, and takes the options of a pool', () => {
  const options = { server: `https://127.0.0.1:${server.port}`, ca: serverIdentity.ca }
  const agents = [
    new MultidialerAgent(options),
    new MultidialerAgent({ ...options, keepAlive: false, maxSockets: 3, maxTotalSockets: 4, maxFreeSockets: 5 }),
  ] as const
  assert.deepEqual(agents.map((agent) => Reflect.get(agent, 'keepAlive')), [true, false])
  assert.deepEqual([agents[1].maxSockets, agents[1].maxTotalSockets, agents[1].maxFreeSockets], [3, 4, 5])
  for (const agent of agents) agent.destroy()
})

test('MultidialerAgent shows no certificate, key, passphrase or token, in its options or anywhere', () => {
  const agent = new MultidialerAgent({
    server: 'https://127.0.0.1:6443', ca: serverIdentity.ca, cert: serverIdentity.cert, key: serverIdentity.key,
    passphrase: 'canary-passphrase', token: 'canary-token',
  })
  assert.doesNotMatch(inspect(agent, { depth: Infinity, showHidden: true }), /canary|BEGIN/)
  agent.destroy()
})

test('MultidialerAgent with wrong options throws, and leaves no dialer behind', () => {
  const { signal } = new AbortController()
  const good = { server: 'https://127.0.0.1:6443', signal }
  const wrongs: object[] = [
    { ...good, maxTotalSockets: 0 }, { ...good, scheduling: 'random' }, { ...good, server: 'http://127.0.0.1' },
  ]
  for (const wrong of wrongs) {
    assert.throws(() => Reflect.construct(MultidialerAgent, [wrong]), { name: /^(Type|Range)Error$/ })
  }
  assert.throws(() => Reflect.construct(MultidialerAgent, []), { code: 'ERR_INVALID_ARG_VALUE' })
  assert.deepEqual(getEventListeners(signal, 'abort'), [])
})

test('MultidialerAgent opens nothing before its first request, and leaves nothing after destroy()', async () => {
  const idle = process.getActiveResourcesInfo().toSorted()
  const agent = new MultidialerAgent({
    server: `https://127.0.0.1:${server.port}`, ca: serverIdentity.ca, maxSockets: 2, refreshInterval: 0,
  })
  assert.deepEqual(process.getActiveResourcesInfo().toSorted(), idle)
  const exchanges = [1, 2, 3, 4, 5].map((number) => send(agent, `/now/opens/${number}`, { port: server.port }))
  await Promise.all(exchanges.map(ends))
  for (const { events } of exchanges) assert.deepEqual(events, ['response', 'end', 'close'])
  const own = server.seen.filter((line) => line.startsWith('/now/opens/'))
  // The dialer's own questions have a connection of their own.
  assert.equal(new Set(own.map((line) => line.replace(/.* by /, ''))).size, 2)
  const foreign = send(agent, '/now/foreign', { host: 'example.com' })
  await foreign.closed
  assert.match(foreign.events[0] ?? '', /^error ERR_MULTIDIALER_FOREIGN_HOST /)
  const pending = send(agent, '/now/pending', { port: server.port, servername: 'kubernetes' })
  agent.destroy()
  const late = send(agent, '/now/late', { port: server.port })
  await Promise.all([pending.closed, late.closed])
  for (const { events } of [pending, late]) assert.match(events[0] ?? '', /^error ERR_MULTIDIALER_CLOSED /)
  await until(agent, ({ total }) => total === 0, AbortSignal.timeout(PATIENCE))
  assert.deepEqual(count(agent), { sockets: 0, free: 0, queued: 0, total: 0 })
})
