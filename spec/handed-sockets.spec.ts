/** What is told of the sockets in their callers' hands: over real connections on loopback. */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import net from 'node:net'
import { it, type TestContext } from 'node:test'
import type { Event, Reading } from '../lib/core/state.ts'
import { HandedSockets } from '../lib/handed-sockets.ts'

const ADDRESS = '10.77.0.1:6443'

interface Pair {
  readonly handed: HandedSockets
  readonly ours: net.Socket
  readonly theirs: net.Socket
  readonly events: Event[]
}

async function connection(t: TestContext): Promise<Pick<Pair, 'ours' | 'theirs'>> {
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
  return { ours, theirs }
}

async function pair(t: TestContext): Promise<Pair> {
  const events: Event[] = []
  const handed = new HandedSockets((event) => events.push(event), 5_000)
  const { ours, theirs } = await connection(t)
  handed.add(1, ADDRESS, ours)
  return { handed, ours, theirs, events }
}

async function asks({ ours, theirs }: Pick<Pair, 'ours' | 'theirs'>): Promise<void> {
  ours.write('a question')
  await once(theirs, 'data')
}

async function answers({ ours, theirs }: Pick<Pair, 'ours' | 'theirs'>): Promise<void> {
  theirs.write('an answer')
  await once(ours, 'data')
}

/** What is told, but for when. */
function told(handed: HandedSockets, closely = true): Reading[] {
  return handed.sample(closely).map(({ heardAt, begunAt, ...reading }) => reading)
}

const quiet: Reading[] = []

it('H2 a request is told of as unanswered until something is read; what carries nothing is not told of', async (t) => {
  const one = await pair(t)
  one.handed.acquired(one.ours, false)
  assert.deepEqual(told(one.handed), quiet)
  await asks(one)
  assert.deepEqual(told(one.handed), [{ socket: 1, read: 0, written: 10, idle: false, unanswered: true }])
  assert.deepEqual(told(one.handed), quiet)
  await answers(one)
  assert.deepEqual(told(one.handed), [{ socket: 1, read: 9, written: 10, idle: false, unanswered: false }])
})

it('H2 an answer and the next request between two looks: unanswered where a pool told when that began', async (t) => {
  for (const pooled of [true, false]) {
    const one = await pair(t)
    await asks(one)
    await answers(one)
    if (pooled) {
      one.handed.released(one.ours)
      one.handed.acquired(one.ours, false)
    }
    await asks(one)
    const reading = { socket: 1, read: 9, written: 20, idle: false }
    assert.deepEqual(told(one.handed), [pooled ? { ...reading, unanswered: true } : reading])
  }
})

it('H2 one that has no byte of an answer is told of with when it began, or was looked at in vain', async (t) => {
  let now = 10_000
  t.mock.method(performance, 'now', () => now)
  const one = await pair(t)
  const begun = (): (number | undefined)[] => one.handed.sample(false).map(({ begunAt }) => begunAt)
  one.handed.acquired(one.ours, true)
  await asks(one)
  now = 10_200
  assert.deepEqual(begun(), [10_000])
  await answers(one)
  now = 10_400
  assert.deepEqual(begun(), [undefined])
  one.handed.released(one.ours)
  one.handed.acquired(one.ours, true)
  now = 10_600
  begun()
  now = 10_700
  await asks(one)
  now = 10_800
  assert.deepEqual(begun(), [10_600])
})

it('H2 a request that began and has written nothing yet is not unanswered', async (t) => {
  const one = await pair(t)
  await asks(one)
  await answers(one)
  one.handed.released(one.ours)
  one.handed.acquired(one.ours, false)
  assert.deepEqual(told(one.handed), [{ socket: 1, read: 9, written: 10, idle: false, unanswered: false }])
})

it('H11 a socket that is closed tells what it carried, and by whom', async (t) => {
  const one = await pair(t)
  await asks(one)
  one.ours.on('error', () => undefined)
  one.theirs.resetAndDestroy()
  await new Promise((resolve) => one.ours.once('close', resolve))
  assert.deepEqual(one.events, [
    { type: 'socketClosed', socket: 1, read: 0, written: 10, heardAt: -Infinity, byPeer: true },
  ])
})

it('H2 a socket that is closed tells when its last byte came: just now, where nobody has looked since', async (t) => {
  let now = 10_000
  t.mock.method(performance, 'now', () => now)
  const when: unknown[] = []
  for (const looked of [true, false]) {
    const one = await pair(t)
    await answers(one)
    if (looked) told(one.handed)
    now += 700
    one.ours.destroy()
    await once(one.ours, 'close')
    when.push(...one.events.map((event) => (event.type === 'socketClosed' ? event.heardAt : event)))
  }
  assert.deepEqual(when, [10_000, 11_400])
})

it('H3 what a socket is severed with is told in the asynchronous context of the request that has it', async (t) => {
  const { handed, ours } = await pair(t)
  const storage = new AsyncLocalStorage<string>()
  storage.run('the first request', () => handed.acquired(ours, false))
  handed.released(ours)
  storage.run('the second request', () => handed.acquired(ours, false))
  const told: unknown[] = []
  ours.on('error', ({ message }) => told.push(storage.getStore(), message))
  const over = new Promise((resolve) => ours.once('close', resolve))
  storage.run('the dialer', () => handed.sever(1, '10.77.0.1:6443', 'it is silent'))
  await over
  assert.equal(told[0], 'the second request')
  assert.match(String(told[1]), /10\.77\.0\.1:6443.*it is silent/)
})

it('H3 of those that are answered one is told of for each endpoint; closely looked at, all are, and when', async (t) => {
  let now = 10_000
  t.mock.method(performance, 'now', () => now)
  const one = await pair(t)
  const two = await connection(t)
  one.handed.add(2, ADDRESS, two.ours)
  const other = await connection(t)
  one.handed.add(3, '10.77.0.2:6443', other.ours)
  for (const each of [one, two, other]) {
    one.handed.acquired(each.ours, false)
    await asks(each)
    await answers(each)
  }
  assert.equal(told(one.handed, false).length, 3)
  for (const each of [one, two, other]) await answers(each)
  now = 11_000
  assert.deepEqual(told(one.handed, false).map(({ socket, read }) => [socket, read]), [[1, 18], [3, 18]])
  now = 11_250
  assert.deepEqual(one.handed.sample(true), [
    { socket: 2, read: 18, written: 10, idle: false, unanswered: false, heardAt: 11_000 },
  ])
  assert.deepEqual(one.handed.sample(true), [])
})

it('H2 what is answered is looked at once a second, what is not, or belongs to no pool, each time', async (t) => {
  let now = 10_000
  t.mock.method(performance, 'now', () => now)
  const one = await pair(t)
  const raw = await connection(t)
  one.handed.add(2, '10.77.0.2:6443', raw.ours)
  one.handed.acquired(one.ours, false)
  await asks(one)
  await answers(one)
  assert.equal(told(one.handed, false).length, 1)
  assert.deepEqual(told(one.handed, false), quiet)
  await answers(one)
  await asks(raw)
  now = 10_750
  assert.deepEqual(told(one.handed, false), [{ socket: 2, read: 0, written: 10, idle: false }])
  now = 11_000
  assert.deepEqual(told(one.handed, false).map(({ socket }) => socket), [1])
  one.handed.released(one.ours)
  one.handed.acquired(one.ours, false)
  await asks(one)
  now = 11_250
  assert.deepEqual(told(one.handed, false).map(({ unanswered }) => unanswered), [true])
})

it('H2 one that is written to without a request, as an upgraded one is, is looked at each time', async (t) => {
  let now = 10_000
  t.mock.method(performance, 'now', () => now)
  const one = await pair(t)
  one.handed.acquired(one.ours, false)
  await asks(one)
  await answers(one)
  for (const at of [10_250, 10_500]) {
    now = at
    told(one.handed, false)
  }
  await asks(one)
  now = 11_250
  assert.deepEqual(told(one.handed, false).map(({ written }) => written), [20])
  for (const [at, written] of [[11_500, 30], [11_750, 40]] as const) {
    await asks(one)
    now = at
    assert.deepEqual(told(one.handed, false).map((reading) => reading.written), [written])
  }
})

it('H12 the rest of an answer that comes as a whole is owed until a pool has the socket back', async (t) => {
  const one = await pair(t)
  one.handed.acquired(one.ours, true)
  await asks(one)
  assert.deepEqual(told(one.handed, false).map(({ unanswered }) => unanswered), [true])
  await answers(one)
  assert.deepEqual(told(one.handed, false), [{ socket: 1, read: 9, written: 10, idle: false, unanswered: true }])
  one.handed.released(one.ours)
  assert.deepEqual(told(one.handed, false), [{ socket: 1, read: 9, written: 10, idle: true, unanswered: false }])
})
