/**
 * Which requests share a connection, which sockets stay in the pool, and what becomes of one that ends there.
 */
import assert from 'node:assert/strict'
import type https from 'node:https'
import type { Socket } from 'node:net'
import { after } from 'node:test'
import tls from 'node:tls'
import { inspect } from 'node:util'

import { count, HeldServer, send } from '../support/agent-harness.ts'
import { CLOSED, ends, rulesFor } from '../support/agent-rules.ts'
import { codedError, serverIdentity } from '../support/stub-dialer.ts'

const server = await HeldServer.start()
after(() => server.stop())
const { beatsNaive, rule } = rulesFor(server)

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
  assert.deepEqual(dialer.log, ['acquired', 'released'])
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

rule('acquired and released tell the dialer of each request that has a socket, the first of a new one too',
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
  assert.deepEqual(dialer.log, ['acquired', 'released', 'acquired', 'released', 'acquired', 'released'])
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
