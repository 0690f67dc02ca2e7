/**
 * H7's hint: which answers a dialer is told of, and that telling it changes nothing for the one who asked.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import https from 'node:https'
import { after } from 'node:test'

import { HeldServer, send } from '../support/agent-harness.ts'
import { ends, rulesFor } from '../support/agent-rules.ts'

const server = await HeldServer.start()
after(() => server.stop())

const { rule } = rulesFor(server)

for (const [status, told] of [
  [200, []], [304, []], [401, []], [404, []], [428, []], [429, ['answered 429']], [499, []], [500, ['answered 500']],
  [503, ['answered 503']],
] as const) {
  rule(`H7 an answer of ${status} is ${told.length > 0 ? 'a hint to its dialer' : 'nothing to its dialer'}`, async (
    { agent, dialer, happens },
  ) => {
    dialer.automatic = true
    const exchange = send(agent(), `/status/${status}`)
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, ['response', 'end', 'close'])
    assert.deepEqual(dialer.log, ['acquired', ...told])
  })
}

rule('H7 the dialer knows before the caller does, with the socket that the answer came on', async (
  { agent, dialer, happens },
) => {
  const seen: unknown[] = []
  dialer.automatic = true
  dialer.told = (socket, status) => seen.push([socket, status])
  const request = https.get({ host: '127.0.0.1', path: '/status/503', agent: agent() })
  const [socket] = await happens(once(request, 'socket'))
  request.on('response', (response) => {
    seen.push('response')
    response.resume()
  })
  await happens(once(request, 'close'))
  assert.deepEqual(seen, [[socket, 503], 'response'])
})

rule('H7 an answer of a connection that is used again is told of again', async ({ agent, dialer, happens }) => {
  dialer.automatic = true
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const exchanges = [1, 2, 3].map((number) => send(pool, `/status/50${number}`))
  await happens(Promise.all(exchanges.map(ends)))
  assert.equal(dialer.dials.length, 1)
  assert.deepEqual(dialer.log.filter((line) => line.startsWith('answered')), [
    'answered 501', 'answered 502', 'answered 503',
  ])
})

rule('H7 a request that nobody listens to has its body thrown away, and its socket back in the pool', async (
  { agent, dialer, becomes, happens },
) => {
  dialer.automatic = true
  const pool = agent({ keepAlive: true })
  const request = https.get({ host: '127.0.0.1', path: '/status/503', agent: pool })
  assert.equal(request.listenerCount('response'), 0)
  await happens(once(request, 'close'))
  await happens(becomes(pool, ({ free }) => free === 1))
  assert.deepEqual(dialer.log, ['acquired', 'answered 503', 'released'])
})

rule('H7 the answers of another agent are not told of', async ({ dialer, happens }) => {
  const stock = new https.Agent({ rejectUnauthorized: false })
  const exchange = send(stock, '/status/503', { port: server.port })
  await happens(exchange.closed)
  assert.deepEqual(exchange.events, ['response', 'end', 'close'])
  assert.deepEqual(dialer.log, [])
})
