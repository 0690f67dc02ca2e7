/**
 * What an agent whose connections come later owes to its requests while they wait: in a queue, or for their dial.
 */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import type https from 'node:https'
import { after } from 'node:test'

import { count, type Exchange, HeldServer, send } from '../support/agent-harness.ts'
import { CLOSED, ends, rulesFor, tick } from '../support/agent-rules.ts'
import { codedError } from '../support/stub-dialer.ts'

const server = await HeldServer.start()
after(() => server.stop())
const { beatsNaive, rule } = rulesFor(server)

beatsNaive('maxSockets counts the dials that are pending', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 2 })
  const exchanges = [1, 2, 3, 4, 5].map((number) => send(pool, `/now/${number}`))
  await tick()
  assert.equal(dialer.dials.length, 2)
  assert.deepEqual(count(pool), { sockets: 2, free: 0, queued: 3, total: 2 })
  await happens(dialer.dials[0]?.connect() ?? Promise.reject())
  for (const { closed } of [
    exchanges[0], exchanges[2], exchanges[3], exchanges[4],
  ].filter((one) => one !== undefined)) {
    await happens(closed)
  }
  assert.equal(dialer.dials.length, 2)
  await happens(dialer.dials[1]?.connect() ?? Promise.reject())
  await happens(Promise.all(exchanges.map(ends)))
  for (const { events } of exchanges) assert.deepEqual(events, ['response', 'end', 'close'])
})

beatsNaive('maxTotalSockets counts the dials that are pending, over all pools', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxTotalSockets: 2 })
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc']
  const exchanges = names.map((servername) => send(pool, `/now/${servername}`, { servername }))
  await tick()
  assert.equal(dialer.dials.length, 2)
  assert.deepEqual(count(pool), { sockets: 2, free: 0, queued: 1, total: 2 })
  dialer.dials[0]?.fail(codedError('ETEST'))
  const third = await happens(dialer.dialNumber(2))
  assert.equal(third.request.servername, 'kubernetes.default.svc')
  assert.equal(count(pool).total, 2)
  await happens(Promise.all([dialer.dials[1]?.connect(), third.connect()]))
  await happens(Promise.all(exchanges.map(ends)))
  assert.deepEqual(exchanges.map(({ events }) => events.join(' ')), [
    'error ETEST ETEST close', 'response end close', 'response end close',
  ])
})

beatsNaive('a failed dial strands no queued request: the next one is dialled for',
  async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const [first, second, third] = ['/held/1', '/now/2', '/now/3'].map((path) => send(pool, path))
  assert(first && second && third)
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(server.cut('/held/1'))
  const failing = await happens(dialer.dialNumber(1))
  assert.deepEqual(count(pool), { sockets: 1, free: 0, queued: 1, total: 1 })
  failing.fail(codedError('ETEST'))
  assert.equal((await happens(second.error)).code, 'ETEST')
  const last = await happens(dialer.dialNumber(2))
  assert.deepEqual(count(pool), { sockets: 1, free: 0, queued: 0, total: 1 })
  await happens(last.connect())
  await happens(third.closed)
  assert.deepEqual(second.events, ['error ETEST ETEST', 'close'])
  assert.deepEqual(third.events, ['response', 'end', 'close'])
})

rule('a hundred queued requests each fail with a dial of their own when nothing answers', async (
  { agent, dialer, happens },
) => {
  const pool = agent({ keepAlive: true, maxSockets: 3 })
  const exchanges = Array.from({ length: 100 }, (_, number) => send(pool, `/now/${number}`))
  for (let number = 0; number < 100; number++) {
    const dial = await happens(dialer.dialNumber(number))
    assert(count(pool).total <= 3)
    dial.fail(codedError(`E${number}`))
  }
  await happens(Promise.all(exchanges.map(ends)))
  assert.deepEqual(exchanges.map(({ events }) => events[0]),
    exchanges.map((_, number) => `error E${number} E${number}`))
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
})

beatsNaive('a queued request that is destroyed is not dialled for', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const [first, second, third] = ['/held/a', '/now/b', '/now/c'].map((path) => send(pool, path))
  assert(first && second && third)
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  second.request.destroy()
  await happens(server.cut('/held/a'))
  const dial = await happens(dialer.dialNumber(1))
  await happens(second.closed)
  assert.deepEqual(second.events, ['error ECONNRESET socket hang up', 'close'])
  await happens(dial.connect())
  await happens(third.closed)
  assert.deepEqual(third.events, ['response', 'end', 'close'])
  assert.equal(dialer.dials.length, 2)
})

rule('a queue of destroyed requests does not hold up the queue of another pool', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxTotalSockets: 1 })
  const first = send(pool, '/held/q')
  const second = send(pool, '/now/q', { servername: 'kubernetes' })
  const third = send(pool, '/now/r', { servername: 'kubernetes.default' })
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  second.request.destroy()
  await happens(server.cut('/held/q'))
  const dial = await happens(dialer.dialNumber(1))
  assert.equal(dial.request.servername, 'kubernetes.default')
  await happens(dial.connect())
  await happens(Promise.all([first, second, third].map(ends)))
  assert.deepEqual(third.events, ['response', 'end', 'close'])
})

beatsNaive('destroy() ends pending dials, and their requests say that the dialer is closed', async (
  { agent, dialer, happens },
) => {
  const pool = agent({ keepAlive: true })
  const exchanges = ['/now/1', '/now/2'].map((path) => send(pool, path))
  await tick()
  pool.destroy()
  for (const dial of dialer.dials) assert(dial.givenUp)
  await happens(Promise.all(exchanges.map(ends)))
  for (const { events } of exchanges) assert.deepEqual(events, [`error ${CLOSED} ${CLOSED}`, 'close'])
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
})

beatsNaive('destroy() leaves nothing: pending, queued, in use or idle', async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 3 })
  const inUse = send(pool, '/held/use')
  const idle = send(pool, '/now/idle')
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(dialer.dialNumber(1).then((dial) => dial.connect()))
  await happens(server.arrived('/held/use'))
  await happens(becomes(pool, ({ free }) => free === 1))
  const [own, waiting, ...queued] = ['o', 'w', 'q', 'r'].map((name) => send(pool, `/held/${name}`))
  assert(own && waiting)
  await tick()
  const [first] = Object.values(pool.freeSockets)
  assert.equal(first, undefined)
  assert.deepEqual(count(pool), { sockets: 3, free: 0, queued: 2, total: 3 })
  pool.destroy()
  await happens(Promise.all([inUse, idle, own, waiting, ...queued].map(ends)))
  assert.deepEqual(inUse.events, ['error ECONNRESET socket hang up', 'close'])
  for (const { events } of [waiting, ...queued]) assert.deepEqual(events, [`error ${CLOSED} ${CLOSED}`, 'close'])
  await happens(becomes(pool, ({ total }) => total === 0))
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
  assert(dialer.closed)
  assert.deepEqual(dialer.pending, [])
})

beatsNaive('a request after destroy() fails: ERR_MULTIDIALER_CLOSED', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const inUse = send(pool, '/held/last')
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(server.arrived('/held/last'))
  pool.destroy()
  const late = send(pool, '/now/late')
  await happens(late.closed)
  assert.deepEqual(late.events, [`error ${CLOSED} ${CLOSED}`, 'close'])
  await happens(inUse.closed)
})

type End = readonly [how: string, end: (exchange: Exchange, controller: AbortController) => void, events: string[]]
const reasonOfMine = codedError('EMINE')
const waysToEnd: readonly End[] = [
  ['req.destroy()', ({ request }) => request.destroy(), ['error ECONNRESET socket hang up', 'close']],
  ['req.destroy(error)', ({ request }) => request.destroy(reasonOfMine), ['error EMINE EMINE', 'close']],
  ['req.abort()', ({ request }) => request.abort(), ['abort', 'error ECONNRESET socket hang up', 'close']],
  ['AbortSignal', (_, controller) => controller.abort(), ['error ABORT_ERR The operation was aborted', 'close']],
]
for (const [how, end, events] of waysToEnd) {
  beatsNaive(`D5 ${how} while its dial is pending gives the dial up at once`,
    async ({ agent, dialer, becomes, happens }) => {
    const pool = agent({ keepAlive: true })
    const controller = new AbortController()
    const exchange = send(pool, '/now/given-up', { signal: controller.signal })
    const dial = await happens(dialer.dialNumber(0))
    await tick()
    end(exchange, controller)
    assert(dial.givenUp)
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, events)
    assert.deepEqual(await becomes(pool, ({ total }) => total === 0), { sockets: 0, free: 0, queued: 0, total: 0 })
  })
}

beatsNaive('a request whose signal is aborted already is not dialled for', async ({ agent, dialer, happens }) => {
  const exchange = send(agent({ keepAlive: true }), '/now/aborted', { signal: AbortSignal.abort() })
  await happens(exchange.closed)
  assert.deepEqual(exchange.events, ['error ABORT_ERR The operation was aborted', 'close'])
  assert.deepEqual(dialer.dials, [])
})

rule('a request given up leaves its place to the next in the queue', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const [first, second] = ['/now/1', '/now/2'].map((path) => send(pool, path))
  assert(first && second)
  await tick()
  first.request.destroy()
  await happens(dialer.dialNumber(1).then((dial) => dial.connect()))
  await happens(second.closed)
  assert.deepEqual(second.events, ['response', 'end', 'close'])
})

rule('a socket that comes for a request given up in the meantime is destroyed', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true })
  const exchange = send(pool, '/now/too-late')
  const dial = await happens(dialer.dialNumber(0))
  // As if the dialer had its answer on the way before it was told.
  dial.giveUp = () => {}
  exchange.request.destroy()
  const socket = await happens(dial.connect())
  assert(socket.destroyed)
  await happens(exchange.closed)
  assert.deepEqual(exchange.events, ['error ECONNRESET socket hang up', 'close'])
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
})

const timeouts: readonly (readonly [string, https.AgentOptions, https.RequestOptions, number | undefined])[] = [
  ['options.timeout', {}, { timeout: 30 }, undefined],
  ['the agent\'s timeout', { timeout: 30 }, {}, undefined],
  ['req.setTimeout()', {}, {}, 30],
  ['options.timeout shorter than the agent\'s', { timeout: 3_600_000 }, { timeout: 30 }, undefined],
]
for (const [what, agentOptions, options, set] of timeouts) {
  beatsNaive(`D5 ${what} counts while the dial is pending`, async ({ agent, dialer, happens }) => {
    const exchange = send(agent({ keepAlive: true, ...agentOptions }), '/now/slow', options)
    const called: string[] = []
    if (set !== undefined) exchange.request.setTimeout(set, () => called.push('callback'))
    await happens(exchange.timeout)
    assert.deepEqual(called, set === undefined ? [] : ['callback'])
    const dial = await happens(dialer.dialNumber(0))
    assert.equal(dial.givenUp, undefined)
    exchange.request.destroy(codedError('EMINE'))
    assert(dial.givenUp)
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, ['timeout', 'error EMINE EMINE', 'close'])
  })
}

beatsNaive('req.setTimeout() on a queued request counts from its dial on', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const first = send(pool, '/held/first')
  const second = send(pool, '/now/second')
  second.request.setTimeout(20)
  await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(server.cut('/held/first'))
  await happens(first.closed)
  assert.deepEqual(second.events, [])
  await happens(dialer.dialNumber(1))
  await happens(second.timeout)
})

rule('a timeout that passes while dialling is said once, and the request goes on',
  async ({ agent, dialer, happens }) => {
  for (const set of [true, false]) {
    const exchange = send(agent({ keepAlive: true }), `/held/${set}`, set ? {} : { timeout: 20 })
    if (set) exchange.request.setTimeout(20)
    await happens(exchange.timeout)
    const dial = dialer.dials.at(-1)
    assert(dial)
    const socket = await happens(dial.connect())
    await happens(server.arrived(`/held/${set}`))
    // The socket's own timeout has to pass again.
    await happens(once(socket, 'timeout'))
    await happens(server.answer(`/held/${set}`))
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, ['timeout', 'response', 'end', 'close'])
  }
})

rule('a timeout of the request goes over to its socket', async ({ agent, dialer, happens }) => {
  const exchange = send(agent({ keepAlive: true }), '/held/timeout', { timeout: 12_345 })
  const socket = await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(server.arrived('/held/timeout'))
  assert.equal(socket.timeout, 12_345)
  exchange.request.setTimeout(54_321)
  assert.equal(socket.timeout, 54_321)
  await happens(server.answer('/held/timeout'))
  await happens(exchange.closed)
  for (const name of ['destroy', 'setTimeout']) assert(!Object.hasOwn(exchange.request, name))
})

rule('the timeout of a request is none of the one that takes its place', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const first = send(pool, '/held/timed', { timeout: 20 })
  first.request.once('timeout', () => first.request.destroy())
  const second = send(pool, '/held/untimed')
  const socket = await happens(dialer.dialNumber(1).then((dial) => dial.connect()))
  await happens(server.arrived('/held/untimed'))
  assert.equal(socket.timeout ?? 0, 0)
  await happens(server.answer('/held/untimed'))
  await happens(second.closed)
  assert.deepEqual(second.events, ['response', 'end', 'close'])
})

beatsNaive('the events of a request belong to the context it was made in', async ({ agent, dialer, happens }) => {
  const context = new AsyncLocalStorage<string>()
  const seen: string[] = []
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const exchanges = ['one', 'two', 'three'].map((name) => context.run(name, () => {
    const exchange = send(pool, name === 'two' ? '/close/2' : `/now/${name}`)
    for (const event of ['response', 'error', 'socket']) {
      exchange.request.on(event, () => seen.push(`${name}: ${event} in ${context.getStore()}`))
    }
    return exchange
  }))
  const [one] = await context.run('elsewhere', async () => [await happens(dialer.dialNumber(0))])
  await context.run('elsewhere', () => happens(one?.connect() ?? Promise.reject()))
  const next = await happens(dialer.dialNumber(1))
  context.run('elsewhere', () => next.fail(codedError('ETEST')))
  await happens(Promise.all(exchanges.map(ends)))
  assert.deepEqual(seen, [
    'one: socket in one', 'one: response in one', 'two: socket in two', 'two: response in two', 'three: error in three',
  ])
})

// How a request ends that waits in the queue, and what the one before it does to bring that about.
const endsInQueue: readonly (readonly [string, (exchange: Exchange, controller: AbortController) => void])[] = [
  ['destroy(error)', ({ request }) => request.destroy(reasonOfMine)],
  ['abort()', ({ request }) => request.abort()],
  ['an aborted signal', (_exchange, controller) => controller.abort()],
  ['a dial that fails', () => {}],
  ['a timeout of its dial', ({ request }) => request.setTimeout(20, () => request.destroy())],
]
const endsBefore: readonly (readonly [string, (exchange: Exchange) => unknown])[] = [
  ['is cut', ({ request }) => server.cut(request.path)],
  ['is destroyed', ({ request }) => request.destroy()],
  ['is answered, and its connection closed', async ({ request }) => {
    (await server.arrived(request.path)).setHeader('connection', 'close')
    await server.answer(request.path)
  }],
]
for (const [how, end] of endsInQueue) {
  for (const [what, endFirst] of endsBefore) {
    const name = `a queued request that ends by ${how} has its events in its own context, when the one before ${what}`
    rule(name, async ({ agent, dialer, happens }) => {
      const context = new AsyncLocalStorage<string>()
      const pool = agent({ keepAlive: true, maxSockets: 1 })
      const path = `/held/${how} ${what}`.replaceAll(/[^a-z/]/g, '-')
      const first = context.run('first', () => send(pool, path))
      const controller = new AbortController()
      const seen: string[] = []
      const second = context.run('second', () => {
        const exchange = send(pool, '/now/second', { signal: controller.signal })
        for (const event of ['abort', 'timeout', 'error', 'close']) {
          exchange.request.on(event, () => seen.push(`${event} in ${context.getStore()}`))
        }
        return exchange
      })
      await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
      await happens(server.arrived(path))
      context.run('elsewhere', () => end(second, controller))
      const last = context.run('last', () => send(pool, '/now/last'))
      await context.run('elsewhere', () => endFirst(first))
      const next = await happens(dialer.dialNumber(1))
      if (how.includes('dial')) {
        if (how.includes('fails')) context.run('elsewhere', () => next.fail(codedError('ETEST')))
        await happens(dialer.dialNumber(2))
      }
      await context.run('elsewhere', () => happens(dialer.dials.at(-1)?.connect() ?? Promise.reject()))
      await happens(Promise.all([first, second, last].map(ends)))
      assert(seen.length >= 2)
      // Node's own abort() says so in the context of who called it.
      assert.deepEqual(seen.filter((line) => !/ in second$|^abort /.test(line)), [])
      assert.deepEqual(last.events, ['response', 'end', 'close'])
    })
  }
}

rule('a request that waits when the agent is destroyed has its events in its own context', async (
  { agent, dialer, happens },
) => {
  const context = new AsyncLocalStorage<string>()
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const seen: string[] = []
  const exchanges = ['dialled', 'queued'].map((name) => context.run(name, () => {
    const exchange = send(pool, `/now/${name}`)
    for (const event of ['error', 'close']) {
      exchange.request.on(event, () => seen.push(`${name}: ${event} in ${context.getStore()}`))
    }
    return exchange
  }))
  await happens(dialer.dialNumber(0))
  context.run('elsewhere', () => pool.destroy())
  await happens(Promise.all(exchanges.map(ends)))
  assert.deepEqual(seen.toSorted(), [
    'dialled: close in dialled', 'dialled: error in dialled', 'queued: close in queued', 'queued: error in queued',
  ])
})

rule('a dial for a queued request is begun in the context of that request', async ({ agent, dialer, happens }) => {
  const context = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  dialer.began = () => seen.push(context.getStore())
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  const [first, second] = ['first', 'second'].map((name) => context.run(name, () => send(pool, `/now/${name}`)))
  assert(first && second)
  const dial = await happens(dialer.dialNumber(0))
  context.run('elsewhere', () => dial.fail(codedError('ETEST')))
  await happens(dialer.dialNumber(1).then((next) => next.connect()))
  await happens(Promise.all([first, second].map(ends)))
  assert.deepEqual(seen, ['first', 'second'])
})

rule('the place of a pending dial can be destroyed as a connecting socket can', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true })
  const exchange = send(pool, '/now/place')
  await tick()
  const [place] = Object.values(pool.sockets)[0] ?? []
  assert(place?.connecting)
  assert.equal(place.remoteAddress, undefined)
  place.destroy()
  await happens(exchange.closed)
  assert.deepEqual(exchange.events, ['error ECONNRESET socket hang up', 'close'])
  assert(dialer.dials[0]?.givenUp)
})
