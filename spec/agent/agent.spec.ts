/**
 * What an agent whose connections come later owes to its requests. Each rule that a plain override of createConnection
 * breaks is run against such an override, too, which must break it: a row that both pass would prove nothing.
 */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners, once } from 'node:events'
import https from 'node:https'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import tls from 'node:tls'
import { inspect } from 'node:util'

import { MultidialerAgent } from '../../lib/agent/agent.ts'
import {
  count, type Exchange, HeldServer, type MakeAgent, NaiveAgent, type PoolCount, send, StubbedAgent, until,
} from '../support/agent-harness.ts'
import { codedError, serverIdentity, StubDialer } from '../support/stub-dialer.ts'

let server: HeldServer
before(async () => { server = await HeldServer.start() })
after(() => server.stop())

/** One run of a rule: an agent of its kind, its dialer, and an end to waiting. */
interface Run {
  readonly dialer: StubDialer
  agent(options?: https.AgentOptions): https.Agent
  /** Resolves when the pool has become so. */
  becomes(pool: https.Agent, holds: (count: PoolCount) => boolean): Promise<PoolCount>
  /** What has to happen: a rule whose event never comes is broken. */
  happens<T>(event: Promise<T>): Promise<T>
}

const PATIENCE = 20_000
/**
 * How long to wait for a plain override to do what it never does. Waiting too briefly cannot make a good agent fail.
 */
const NAIVE_PATIENCE = 400

async function run(make: MakeAgent, patience: number, body: (run: Run) => Promise<void>): Promise<void> {
  const dialer = new StubDialer(server.port)
  const agents: https.Agent[] = []
  const timers: NodeJS.Timeout[] = []
  const over = new AbortController()
  try {
    await body({
      dialer,
      agent(options = {}) {
        const agent = make(dialer, options)
        agents.push(agent)
        return agent
      },
      becomes: (pool, holds) => until(pool, holds, over.signal),
      happens: (event) => Promise.race([event, new Promise<never>((_resolve, reject) => {
        const late = new assert.AssertionError({ message: 'it never happened' })
        timers.push(setTimeout(reject, patience, late))
      })]),
    })
  } finally {
    over.abort()
    for (const timer of timers) clearTimeout(timer)
    dialer.close()
    for (const agent of agents) agent.destroy()
  }
}

const stubbed: MakeAgent = (pool, options) => new StubbedAgent(pool, options)
const naive: MakeAgent = (pool, options) => new NaiveAgent(pool, options)

/** A rule that the agent keeps and a plain override of createConnection breaks. */
function beatsNaive(name: string, body: (run: Run) => Promise<void>): void {
  test(name, () => run(stubbed, PATIENCE, body))
  test(`${name} (a plain override does not)`, async () => {
    await assert.rejects(run(naive, NAIVE_PATIENCE, body), assert.AssertionError)
  })
}

/** A rule that has no counterpart in a plain override. */
function rule(name: string, body: (run: Run) => Promise<void>): void {
  test(name, () => run(stubbed, PATIENCE, body))
}

const ends = (exchange: Exchange): Promise<void> => exchange.closed
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

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

const CLOSED = 'ERR_MULTIDIALER_CLOSED'

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

beatsNaive('all hosts of the cluster share one pool', async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true })
  dialer.automatic = true
  for (const host of ['10.0.0.1', '10.0.0.2', 'kubernetes.default.svc']) {
    const exchange = send(pool, `/now/${host}`, { host })
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, ['response', 'end', 'close'])
    await happens(becomes(pool, ({ free }) => free === 1))
  }
  assert.equal(dialer.dials.length, 1)
  // Not one name is derived from the host: it would be taken for one that the caller asked for.
  assert.equal(dialer.dials[0]?.request.servername, undefined)
})

const ownOptions: readonly (https.RequestOptions & { secureContext?: tls.SecureContext })[] = [
  { cert: 'a' }, { cert: 'b' }, { key: 'a' }, { ca: 'a' }, { ca: ['a'] }, { ca: ['a', 'b'] }, { ca: Buffer.from('a') },
  { pfx: 'a' }, { pfx: 'a', passphrase: 'b' }, { passphrase: 'a' }, { key: [{ pem: 'a', passphrase: 'b' }] },
  { key: [{ pem: 'a', passphrase: 'c' }] }, { rejectUnauthorized: false }, { rejectUnauthorized: true },
  { servername: 'a' }, { servername: '' }, { servername: '127.0.0.1' }, { minVersion: 'TLSv1.3' },
  { maxVersion: 'TLSv1.3' }, { ciphers: 'a' }, { sigalgs: 'a' }, { secureContext: tls.createSecureContext() },
  { secureContext: tls.createSecureContext() }, { checkServerIdentity: () => undefined },
  { checkServerIdentity: () => undefined }, { localAddress: '127.0.0.2' },
]

rule('a request with TLS options of its own shares its connection with none but its like', async ({ agent }) => {
  const pool = agent()
  const host = { host: '10.0.0.1', port: 6443 }
  const names = ownOptions.map((options) => pool.getName({ ...host, ...options }))
  assert.equal(new Set([...names, pool.getName(host)]).size, ownOptions.length + 1)
  assert.deepEqual(ownOptions.map((options) => pool.getName({ ...options, ...host })), names)
  for (const absent of [{ cert: undefined, ca: undefined }, { timeout: 1 }, { headers: {} }]) {
    assert.equal(pool.getName({ ...host, ...absent }), pool.getName())
  }
})

rule('a connection made with options of its own is not given to a request without',
  async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true })
  dialer.automatic = true
  const requests: https.RequestOptions[] = [
    {}, { servername: 'kubernetes' }, { ca: serverIdentity.ca }, { rejectUnauthorized: false }, {},
    { servername: 'kubernetes' }, { ca: serverIdentity.ca }, { rejectUnauthorized: false },
  ]
  for (const [index, options] of requests.entries()) {
    const exchange = send(pool, `/now/${index}`, options)
    await happens(exchange.closed)
    assert.deepEqual(exchange.events, ['response', 'end', 'close'])
    await happens(becomes(pool, ({ sockets }) => sockets === 0))
  }
  assert.equal(dialer.dials.length, 4)
  assert.deepEqual(dialer.dials.map(({ request }) => request.servername), [
    undefined, 'kubernetes', undefined, undefined,
  ])
  assert.deepEqual(dialer.dials.map(({ request }) => request.rejectUnauthorized), [
    undefined, undefined, undefined, false,
  ])
})

beatsNaive('no key, certificate or passphrase is part of a pool\'s name',
  async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true })
  dialer.automatic = true
  const exchange = send(pool, '/now/secret', { passphrase: 'canary-passphrase', ca: serverIdentity.ca })
  await happens(exchange.closed)
  await happens(becomes(pool, ({ free }) => free === 1))
  const names = inspect([Object.keys(pool.freeSockets), pool.options, pool.getName({ cert: 'canary-cert' })])
  assert.doesNotMatch(names, /canary|BEGIN/)
})

rule('a request to another host takes no pooled connection, but is refused by the dialer', async (
  { agent, dialer, becomes, happens },
) => {
  const pool = agent({ keepAlive: true })
  dialer.automatic = true
  dialer.foreign = new Set(['example.com'])
  await happens(send(pool, '/now/own').closed)
  await happens(becomes(pool, ({ free }) => free === 1))
  for (const options of [{}, { servername: 'kubernetes' }]) {
    const foreign = send(pool, '/now/foreign', { host: 'example.com', ...options })
    await happens(foreign.closed)
    assert.deepEqual(foreign.events, ['error ERR_MULTIDIALER_FOREIGN_HOST ERR_MULTIDIALER_FOREIGN_HOST', 'close'])
  }
  assert.deepEqual(count(pool), { sockets: 0, free: 1, queued: 0, total: 1 })
})

rule('a socket that the dialer does not want kept is closed, not pooled',
  async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true })
  dialer.automatic = true
  dialer.keep = () => false
  await happens(send(pool, '/now/1').closed)
  await happens(becomes(pool, ({ total }) => total === 0))
  assert.deepEqual(dialer.log, ['released'])
})

rule('a socket that the dialer does not want kept is not given to a queued request', async (
  { agent, dialer, happens },
) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  dialer.automatic = true
  dialer.keep = () => false
  const exchanges = ['/now/1', '/now/2', '/now/3'].map((path) => send(pool, path))
  await happens(Promise.all(exchanges.map(ends)))
  assert.equal(dialer.dials.length, 3)
  assert.deepEqual(exchanges.map(({ events }) => events.join(' ')), Array(3).fill('response end close'))
})

rule('released and acquired tell the dialer of each time that a socket is idle',
  async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true, maxSockets: 1 })
  dialer.automatic = true
  const first = [send(pool, '/now/1'), send(pool, '/now/2')]
  await happens(Promise.all(first.map(ends)))
  await happens(becomes(pool, ({ free }) => free === 1))
  const third = send(pool, '/now/3')
  await happens(third.closed)
  assert(third.request.reusedSocket)
  await happens(becomes(pool, ({ free }) => free === 1))
  assert.deepEqual(dialer.log, ['released', 'acquired', 'released', 'acquired', 'released'])
})

rule('a severed socket fails its request with the reason it was severed for', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true })
  const exchange = send(pool, '/held/severed')
  const socket = await happens(dialer.dialNumber(0).then((dial) => dial.connect()))
  await happens(server.arrived('/held/severed'))
  socket.destroy(Object.assign(new Error('10.0.0.1:6443 stopped answering'), { code: 'ECONNRESET' }))
  await happens(exchange.closed)
  assert.deepEqual(exchange.events, ['error ECONNRESET 10.0.0.1:6443 stopped answering', 'close'])
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
})

rule('a severed idle socket is gone at once, and no request is given to it',
  async ({ agent, dialer, becomes, happens }) => {
  for (const scheduling of ['lifo', 'fifo'] as const) {
    const pool = agent({ keepAlive: true, scheduling })
    dialer.automatic = true
    await happens(Promise.all([send(pool, '/now/1'), send(pool, '/now/2')].map(ends)))
    await happens(becomes(pool, ({ free }) => free === 2))
    for (const socket of Object.values(pool.freeSockets).flatMap((sockets) => sockets ?? [])) {
      socket.destroy(Object.assign(new Error('severed'), { code: 'ECONNRESET' }))
    }
    const next = send(pool, '/now/3')
    await happens(next.closed)
    assert.deepEqual(next.events, ['response', 'end', 'close'])
    assert(!next.request.reusedSocket)
    assert.deepEqual(await happens(becomes(pool, ({ free }) => free === 1)), {
      sockets: 0, free: 1, queued: 0, total: 1,
    })
  }
})

rule('a socket severed in any moment of its life is no unhandled error',
  async ({ agent, dialer, becomes, happens }) => {
  const pool = agent({ keepAlive: true })
  const sever = (socket: Socket): void => void socket.destroy(codedError('ECONNRESET'))
  // As it is handed over.
  const first = send(pool, '/now/1')
  const dial = await happens(dialer.dialNumber(0))
  dial.delivered = sever
  await happens(dial.connect())
  await happens(first.closed)
  assert.equal(first.events[0], 'error ECONNRESET ECONNRESET')
  // Between the end of the response and its return to the pool.
  const second = send(pool, '/now/2')
  const next = await happens(dialer.dialNumber(1))
  next.delivered = (socket) => {
    second.request.once('response', (response) => response.once('end', () => sever(socket)))
  }
  await happens(next.connect())
  await happens(second.closed)
  await happens(becomes(pool, ({ total }) => total === 0))
  assert.deepEqual(second.events, ['response', 'end', 'close'])
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

rule('createConnection called by others dials and keeps out of the pool', async ({ agent, dialer, happens }) => {
  const pool = agent({ keepAlive: true })
  const outcome = (options: https.RequestOptions): Promise<unknown> => new Promise((resolve) => {
    const returned: unknown = pool.createConnection(options, (error, socket) => resolve(error ?? socket))
    assert.equal(returned, undefined)
  })
  dialer.automatic = true
  const socket = await happens(outcome({ host: '10.0.0.1', port: 6443, servername: 'kubernetes' }))
  assert(socket instanceof tls.TLSSocket)
  assert.equal(dialer.dials[0]?.request.servername, 'kubernetes')
  assert.deepEqual(count(pool), { sockets: 0, free: 0, queued: 0, total: 0 })
  socket.destroy()
  pool.destroy()
  assert.equal(inspect(await happens(outcome({ host: '10.0.0.1' }))).includes(CLOSED), true)
})

rule('key material is told of while dialling to whoever listens for it, and to nobody else', async (
  { agent, dialer, happens },
) => {
  const pool = agent({ keepAlive: true })
  send(pool, '/now/1')
  assert.equal((await happens(dialer.dialNumber(0))).request.keylog, undefined)
  const other = agent({ keepAlive: true })
  const lines: string[] = []
  other.on('keylog', (line: Buffer) => lines.push(String(line)))
  send(other, '/now/2')
  const dial = await happens(dialer.dialNumber(1))
  const socket = await happens(dial.connect())
  dial.request.keylog?.(Buffer.from('CLIENT_RANDOM'), socket)
  assert.deepEqual(lines, ['CLIENT_RANDOM'])
})

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
