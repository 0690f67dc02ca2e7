/** What is told of the sockets in their callers' hands: over real connections on loopback. */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import net from 'node:net'
import { it, type TestContext } from 'node:test'
import type { Event, Reading } from '../lib/core/state.ts'
import { HandedSockets } from '../lib/handed-sockets.ts'

interface Pair {
  readonly handed: HandedSockets
  readonly ours: net.Socket
  readonly theirs: net.Socket
  readonly events: Event[]
}

async function pair(t: TestContext): Promise<Pair> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const ours = net.connect(address.port, '127.0.0.1')
  const [theirs] = await once(server, 'connection')
  assert.ok(theirs instanceof net.Socket)
  await once(ours, 'connect')
  t.after(() => {
    ours.destroy()
    theirs.destroy()
    server.close()
  })
  const events: Event[] = []
  const handed = new HandedSockets((event) => events.push(event))
  handed.add(1, ours)
  return { handed, ours, theirs, events }
}

async function asks({ ours, theirs }: Pair): Promise<void> {
  ours.write('a question')
  await once(theirs, 'data')
}

async function answers({ ours, theirs }: Pair): Promise<void> {
  theirs.write('an answer')
  await once(ours, 'data')
}

const quiet: Reading[] = []

it('H2 a request is told of as unanswered until something is read; what carries nothing is not told of', async (t) => {
  const one = await pair(t)
  one.handed.acquired(one.ours)
  assert.deepEqual(one.handed.sample(), quiet)
  await asks(one)
  assert.deepEqual(one.handed.sample(), [{ socket: 1, read: 0, written: 10, idle: false, unanswered: true }])
  assert.deepEqual(one.handed.sample(), quiet)
  await answers(one)
  assert.deepEqual(one.handed.sample(), [{ socket: 1, read: 9, written: 10, idle: false, unanswered: false }])
})

it('H2 an answer and the next request between two looks: unanswered where a pool told when that began', async (t) => {
  for (const pooled of [true, false]) {
    const one = await pair(t)
    await asks(one)
    await answers(one)
    if (pooled) {
      one.handed.released(one.ours)
      one.handed.acquired(one.ours)
    }
    await asks(one)
    const reading = { socket: 1, read: 9, written: 20, idle: false }
    assert.deepEqual(one.handed.sample(), [pooled ? { ...reading, unanswered: true } : reading])
  }
})

it('H2 a request that began and has written nothing yet is not unanswered', async (t) => {
  const one = await pair(t)
  await asks(one)
  await answers(one)
  one.handed.released(one.ours)
  one.handed.acquired(one.ours)
  assert.deepEqual(one.handed.sample(), [{ socket: 1, read: 9, written: 10, idle: false, unanswered: false }])
})

it('H11 a socket that is closed tells what it carried, and by whom', async (t) => {
  const one = await pair(t)
  await asks(one)
  one.ours.on('error', () => undefined)
  one.theirs.resetAndDestroy()
  await new Promise((resolve) => one.ours.once('close', resolve))
  assert.deepEqual(one.events, [{ type: 'socketClosed', socket: 1, read: 0, written: 10, byPeer: true }])
})

it('H3 what a socket is severed with is told in the asynchronous context of the request that has it', async (t) => {
  const { handed, ours } = await pair(t)
  const storage = new AsyncLocalStorage<string>()
  storage.run('the first request', () => handed.acquired(ours))
  handed.released(ours)
  storage.run('the second request', () => handed.acquired(ours))
  const told: unknown[] = []
  ours.on('error', ({ message }) => told.push(storage.getStore(), message))
  const over = new Promise((resolve) => ours.once('close', resolve))
  storage.run('the dialer', () => handed.sever(1, '10.77.0.1:6443', 'it is silent'))
  await over
  assert.equal(told[0], 'the second request')
  assert.match(String(told[1]), /10\.77\.0\.1:6443.*it is silent/)
})
