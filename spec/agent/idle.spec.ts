/** H10: how long a connection stays in the pool when nobody uses it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type https from 'node:https'
import { Socket } from 'node:net'
import { after, test } from 'node:test'

import { count, HeldServer, send, StubbedAgent, until } from '../support/agent-harness.ts'
import { PATIENCE } from '../support/agent-rules.ts'
import { startProgram } from '../support/program.ts'
import { serverIdentity, StubDialer } from '../support/stub-dialer.ts'

const server = await HeldServer.start()
after(() => server.stop())

function idleSocket(agent: https.Agent): Socket {
  const [socket] = Object.values(agent.freeSockets)[0] ?? []
  assert.ok(socket instanceof Socket)
  return socket
}

async function becomesIdle(agent: https.Agent): Promise<Socket> {
  await until(agent, ({ free }) => free === 1, AbortSignal.timeout(PATIENCE))
  return idleSocket(agent)
}

test('H10 a socket that is idle for 50 s is closed, and one in use is not', async () => {
  const agent = new StubbedAgent(new StubDialer(server.port, true), { keepAlive: true })
  await send(agent, '/now/1').closed
  const socket = await becomesIdle(agent)
  assert.equal(socket.timeout, 50_000)
  const used = send(agent, '/held/2')
  await server.arrived('/held/2')
  assert.equal(socket.timeout, 0)
  await server.answer('/held/2')
  await used.closed
  assert.equal(await becomesIdle(agent), socket)
  assert.equal(socket.timeout, 50_000)
  agent.destroy()
})

test('H10 the socket is gone when its time is over, and the next request has a new one', async () => {
  const dialer = new StubDialer(server.port, true)
  const agent = new StubbedAgent(dialer, { keepAlive: true }, 100)
  await send(agent, '/now/1').closed
  const socket = await becomesIdle(agent)
  await once(socket, 'close')
  assert.deepEqual(count(agent), { sockets: 0, free: 0, queued: 0, total: 0 })
  // In use it may be silent for longer.
  const exchange = send(agent, '/held/long')
  const response = await server.arrived('/held/long')
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(response.socket?.destroyed, false)
  await server.answer('/held/long')
  await exchange.closed
  assert.deepEqual(exchange.events, ['response', 'end', 'close'])
  assert.equal(dialer.dials.length, 2)
  agent.destroy()
})

for (const [what, options, request, idle, inUse] of [
  ["a shorter 'timeout' of the agent holds", { timeout: 30_000 }, {}, 30_000, 30_000],
  ["a longer 'timeout' of the agent holds while the socket is in use", { timeout: 55_000 }, {}, 50_000, 55_000],
  ["a request's own 'timeout' holds while it has the socket", { timeout: 55_000 }, { timeout: 70_000 }, 50_000, 70_000],
] as const) {
  test(`H10 ${what}`, async () => {
    const agent = new StubbedAgent(new StubDialer(server.port, true), { keepAlive: true, ...options })
    await send(agent, '/now/1').closed
    const socket = await becomesIdle(agent)
    assert.equal(socket.timeout, idle)
    const path = `/held/${what}`.replaceAll(/[^a-z/]/g, '-')
    const used = send(agent, path, request)
    await server.arrived(path)
    assert.equal(socket.timeout, inUse)
    await server.answer(path)
    await used.closed
    assert.equal((await becomesIdle(agent)).timeout, idle)
    agent.destroy()
  })
}

test('H10 an idle connection keeps no process alive', async () => {
  const program = startProgram(`
    const { MultidialerAgent } = await import(given.agent)
    const agent = new MultidialerAgent({ server: given.url, ca: given.ca, refreshInterval: 0 })
    await get('/now/1', agent)
    console.log('answered')
  `, {
    agent: new URL('../../lib/agent/agent.ts', import.meta.url).href, url: `https://127.0.0.1:${server.port}`,
    ca: serverIdentity.ca, token: 'none',
  })
  assert.equal(await program.ended, 0, program.lines.join('\n'))
  assert.deepEqual(program.lines, ['answered'])
})
