/**
 * The same scenarios for the stock agent with plain TLS and for the agent whose connections come from a dialer: what
 * their users see must be the same, event for event and count for count. What differs by design is not here.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import https from 'node:https'
import net from 'node:net'
import { after, before, test } from 'node:test'

import { count, type Exchange, HeldServer, send, StubbedAgent, until } from '../support/agent-harness.ts'
import { serverIdentity, StubDialer } from '../support/stub-dialer.ts'

/** What a scenario has to work with: its agent, its server and its notebook. */
interface Scene {
  readonly agent: https.Agent
  readonly server: HeldServer
  readonly trace: unknown[]
  /** Sends a request, whose name is its path. */
  send(path: string, options?: https.RequestOptions): Exchange
  /** Writes down what the pool looks like, once it is at rest. */
  count(expected: { sockets: number; free: number; queued: number; total: number }): Promise<void>
}

type Scenario = (scene: Scene) => Promise<void>

/** Accepts and never says a word: a connection to it is being made for as long as anybody waits. */
const silent: net.Server = net.createServer((socket) => socket.on('error', () => {}).resume())
before(async () => {
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
})
after(() => { silent.close() })

function portOf(server: net.Server): number {
  const address = server.address()
  assert(address !== null && typeof address !== 'string')
  return address.port
}

async function traceOf(
  kind: 'stock' | 'pooled', options: https.AgentOptions, scenario: Scenario, serverOptions: https.ServerOptions,
): Promise<unknown[]> {
  const server = await HeldServer.start(serverOptions)
  const agent = kind === 'stock'
    ? new https.Agent({ ...options, ca: serverIdentity.ca })
    : new StubbedAgent(new StubDialer(server.port, true), options)
  const over = new AbortController()
  const trace: unknown[] = []
  const exchanges: Exchange[] = []
  try {
    await scenario({
      agent, server, trace,
      send(path, requestOptions = {}) {
        const exchange = send(agent, path, { port: server.port, ...requestOptions })
        exchanges.push(exchange)
        return exchange
      },
      async count(expected) {
        await until(agent, (now) => JSON.stringify(now) === JSON.stringify(expected), over.signal)
        trace.push(expected)
      },
    })
    trace.push(exchanges.map(({ request, events }) => [request.path, request.reusedSocket, ...events]))
    trace.push(server.seen)
    return trace
  } finally {
    over.abort()
    agent.destroy()
    await server.stop()
  }
}

function parity(
  name: string, options: https.AgentOptions, scenario: Scenario, serverOptions: https.ServerOptions = {},
): void {
  test(`like the stock agent: ${name}`, { timeout: 60_000 }, async () => {
    const stock = await traceOf('stock', options, scenario, serverOptions)
    const pooled = await traceOf('pooled', options, scenario, serverOptions)
    assert.deepEqual(pooled, stock)
  })
}

const all = (exchanges: readonly Exchange[]): Promise<unknown> => Promise.all(exchanges.map(({ closed }) => closed))

parity('a burst over maxSockets', { keepAlive: true, maxSockets: 1 }, async ({ agent, send, trace, count: at }) => {
  const burst = [1, 2, 3, 4, 5].map((number) => send(`/now/${number}`))
  trace.push(count(agent))
  await all(burst)
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('a burst over maxSockets without keepAlive', { maxSockets: 1 }, async ({ agent, send, trace, count: at }) => {
  const burst = [1, 2, 3].map((number) => send(`/now/${number}`))
  trace.push(count(agent))
  await all(burst)
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
})

parity('no keepAlive, no limit', {}, async ({ send, count: at }) => {
  await send('/now/1').closed
  await send('/now/2').closed
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
})

for (const scheduling of ['lifo', 'fifo'] as const) {
  parity(`idle sockets are taken ${scheduling}`, { keepAlive: true, scheduling }, async (
    { send, server, count: at },
  ) => {
    const [first, second] = [send('/held/1'), send('/held/2')]
    // Whatever order they connected in, the order in which they become idle is given here.
    await server.arrived('/held/1')
    await server.arrived('/held/2')
    const one = server.held.get('/held/1')
    assert(one)
    await server.answer('/held/1')
    await first.closed
    await at({ sockets: 1, free: 1, queued: 0, total: 2 })
    await server.answer('/held/2')
    await second.closed
    await at({ sockets: 0, free: 2, queued: 0, total: 2 })
    server.seen.splice(0)
    const third = send('/held/3')
    const response = await server.arrived('/held/3')
    server.seen.splice(0)
    server.seen.push(`the ${response.socket === one.req.socket ? 'first' : 'second'} idle one`)
    await server.answer('/held/3')
    await third.closed
  })
}

parity('maxFreeSockets', { keepAlive: true, maxFreeSockets: 1 }, async ({ send, server, count: at }) => {
  const held = ['/held/1', '/held/2', '/held/3'].map((path) => send(path))
  for (const { request } of held) await server.arrived(request.path)
  server.seen.splice(0)
  for (const exchange of held) {
    await server.answer(exchange.request.path)
    await exchange.closed
  }
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('a server that says close', { keepAlive: true, maxSockets: 1 }, async ({ send, count: at }) => {
  await all([send('/close/1'), send('/close/2'), send('/now/3')])
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('a server whose keep-alive hint is too short', { keepAlive: true }, async ({ send, count: at }) => {
  await send('/hint').closed
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
})

parity('a server that closes idle connections', { keepAlive: true }, async ({ send, server, count: at }) => {
  await send('/now/1').closed
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
  server.server.closeIdleConnections()
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
  await send('/now/2').closed
})

parity('the agent\'s timeout ends idle sockets', { keepAlive: true, timeout: 200 }, async ({ send, count: at }) => {
  await send('/now/1').closed
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
})

for (const [what, agentOptions, options] of [
  ['options.timeout', {}, { timeout: 50 }],
  ['the agent\'s timeout', { timeout: 50 }, {}],
  ['options.timeout over the agent\'s', { timeout: 3_600_000 }, { timeout: 50 }],
] as const) {
  parity(`${what} while a response is awaited`, {
    keepAlive: true, ...agentOptions,
  }, async ({ send, server, count: at }) => {
    const exchange = send('/held/slow', options)
    await exchange.timeout
    exchange.request.destroy()
    await exchange.closed
    await at({ sockets: 0, free: 0, queued: 0, total: 0 })
    server.seen.splice(0)
  })
}

parity('a connection cut before the response', {
  keepAlive: true, maxSockets: 1,
}, async ({ send, server, count: at }) => {
  const [cut, next] = [send('/held/cut'), send('/now/next')]
  await server.cut('/held/cut')
  await all([cut, next])
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('a request destroyed while its response is awaited', { keepAlive: true, maxSockets: 1 }, async (
  { send, server, count: at },
) => {
  const [destroyed, next] = [send('/held/destroyed'), send('/now/next')]
  await server.arrived('/held/destroyed')
  destroyed.request.destroy()
  await all([destroyed, next])
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('a queued request destroyed', { keepAlive: true, maxSockets: 1 }, async ({ send, server, count: at }) => {
  const [first, queued, last] = [send('/held/first'), send('/now/queued'), send('/now/last')]
  await server.arrived('/held/first')
  queued.request.destroy()
  await server.answer('/held/first')
  await all([first, queued, last])
  await at({ sockets: 0, free: 1, queued: 0, total: 1 })
})

parity('maxTotalSockets over several pools', { maxTotalSockets: 2, maxSockets: 1 }, async (
  { agent, send, server, trace, count: at },
) => {
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes']
  const exchanges = names.map((servername, index) => send(`/held/${index}`, { servername }))
  trace.push(count(agent))
  for (const { request, closed } of exchanges) {
    await server.answer(request.path)
    await closed
  }
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
  server.seen.sort()
})

parity('destroy() with a request in use and an idle socket', {
  keepAlive: true,
}, async ({ agent, send, server, count: at }) => {
  const inUse = send('/held/use')
  await server.arrived('/held/use')
  await send('/now/idle').closed
  await at({ sockets: 1, free: 1, queued: 0, total: 2 })
  agent.destroy()
  await inUse.closed
  await at({ sockets: 0, free: 0, queued: 0, total: 0 })
  server.seen.splice(0)
})

// While the connection is being made: to a server that accepts, and never says a word.
const ends: readonly (readonly [string, (exchange: Exchange, controller: AbortController) => void])[] = [
  ['destroy()', ({ request }) => request.destroy()],
  ['destroy(error)', ({ request }) => request.destroy(Object.assign(new Error('mine'), { code: 'EMINE' }))],
  ['abort()', ({ request }) => request.abort()],
  ['an aborted signal', (_exchange, controller) => controller.abort()],
  ['destroy() in the handler of options.timeout', ({ request }) => request.on('timeout', () => request.destroy())],
  ['destroy() in the handler of setTimeout', ({ request }) => request.setTimeout(50, () => request.destroy())],
]
for (const [how, end] of ends) {
  for (const when of ['at once', 'while it is connecting'] as const) {
    test(`like the stock agent: ${how}, ${when}`, { timeout: 60_000 }, async () => {
      const events = async (agent: https.Agent): Promise<unknown> => {
        const controller = new AbortController()
        const timeout = how.includes('options.timeout') ? { timeout: 50 } : {}
        const exchange = send(agent, '/', { port: portOf(silent), signal: controller.signal, ...timeout })
        // Its socket is given to a request in the next tick, when it connects and when it does not.
        if (when === 'while it is connecting') await new Promise((resolve) => setImmediate(resolve))
        end(exchange, controller)
        await exchange.closed
        // From Node 24 on the stock agent goes on connecting a socket that was given up at once, and keeps it: no dial
        // is.
        if (when === 'at once' && !(agent instanceof StubbedAgent)) agent.destroy()
        await until(agent, ({ total }) => total === 0, AbortSignal.timeout(30_000))
        agent.destroy()
        // Node's documentation has 'abort' before 'close', here and always; the stock agent's next tick has it after.
        return [how === 'abort()' ? exchange.events.toSorted() : exchange.events, count(agent)]
      }
      const stock = await events(new https.Agent({ keepAlive: true }))
      assert.deepEqual(await events(new StubbedAgent(new StubDialer(0), { keepAlive: true })), stock)
    })
  }
}
