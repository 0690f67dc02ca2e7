/**
 * Bounds: what an answer without end costs in bytes and time, what thousands of dials and dialers come to, and what a
 * pool, a process without descriptors, a stalled event loop and a clock that jumps do under it. Times are printed, and
 * asserted only where something else would take for ever.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import https from 'node:https'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { Multidialer, type MultidialerOptions } from '../../lib/multidialer.ts'
import { startProgram } from '../support/program.ts'
import { type Answerer, endpointsBody, LocalServer, Network, pem, response } from '../support/tls-servers.ts'

const ADDRESS = '10.77.0.1:6443'
const OTHER = '10.77.0.2:6443'
const MIB = 1_048_576

/** Writes as fast as the other end takes it, until there is no other end. */
function pour(socket: TLSSocket, head: string, piece: string | Buffer): undefined {
  socket.write(head)
  const more = (): void => {
    while (!socket.destroyed && socket.writable) if (!socket.write(piece)) return
  }
  socket.on('drain', more)
  more()
}

/** Writes one piece every `ms`. */
function drip(socket: TLSSocket, text: string, ms: number): undefined {
  let at = 0
  const timer = setInterval(() => socket.write(text[at++ % text.length] ?? ''), ms)
  socket.once('close', () => clearInterval(timer))
}

describe('bounds: an answer without end', () => {
  const piece = Buffer.alloc(64 * 1024, 'a')
  const ENDLESS: Readonly<Record<string, Answerer>> = {
    'a body of 1 GiB': (_, socket) => pour(socket, `HTTP/1.1 200 OK\r\ncontent-length: ${1024 * MIB}\r\n\r\n`, piece),
    'a body of 1 GiB with no length': (_, socket) => pour(socket, 'HTTP/1.1 200 OK\r\n\r\n', piece),
    'chunks without end': (_, socket) =>
      pour(socket, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', `10000\r\n${piece.toString()}\r\n`),
    'chunks of one byte without end': (_, socket) =>
      pour(socket, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', '1;x=y\r\na\r\n'.repeat(1_000)),
    'a header without end': (_, socket) => pour(socket, 'HTTP/1.1 200 OK\r\nx: ', piece),
    'headers without end': (_, socket) => pour(socket, 'HTTP/1.1 200 OK\r\n', 'x: y\r\n'.repeat(1_000)),
    'interim answers without end': (_, socket) => pour(socket, '', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(1_000)),
    'a trailer without end': (_, socket) =>
      pour(socket, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n', 'x: y\r\n'.repeat(1_000)),
    'answers without end': (_, socket) => pour(socket, '', response(404, '{}').repeat(100)),
    'a head, one byte at a time': (_, socket) => drip(socket, response(200, endpointsBody([ADDRESS])), 50),
    'a body, one byte at a time': (_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
      return drip(socket, ' ', 50)
    },
  }
  const heartbeatTimeout = 400

  for (const [name, answer] of Object.entries(ENDLESS)) {
    it(`${name}: ends within the heartbeat's time, having read little`, async (t) => {
      const server = await LocalServer.start('name-kubernetes.default.svc', {}, answer)
      const sockets: net.Socket[] = []
      const dialer = new Multidialer({
        server: `https://${ADDRESS}`, servername: 'kubernetes.default.svc', ca: pem('ca.crt'), heartbeatTimeout,
        connectSocket: async () => {
          const socket = net.connect({ host: '127.0.0.1', port: server.port })
          sockets.push(socket)
          await once(socket, 'connect')
          return socket
        },
      })
      t.after(async () => {
        dialer.close()
        await server.stop()
      })
      const began = performance.now()
      await assert.rejects(dialer.refresh(), { name: 'MultidialError' })
      const took = performance.now() - began
      await Promise.all(sockets.filter((socket) => !socket.closed).map((socket) => once(socket, 'close')))
      const read = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0)
      t.diagnostic(`${Math.round(took)} ms, ${Math.round(read / 1024)} KiB on ${sockets.length} connections`)
      // Once, once more on a fresh connection (H2), and from the cache (H12); 1 MiB and what lies in buffers each time.
      assert.ok(sockets.length <= 3, `${sockets.length} connections`)
      assert.ok(read <= sockets.length * 2 * MIB, `${read} bytes were read`)
      assert.ok(took < 20 * heartbeatTimeout, `${took} ms`)
    })
  }
})

describe('bounds: many', () => {
  let server: LocalServer
  before(async () => {
    server = await LocalServer.start('name-kubernetes.default.svc', {}, (head) =>
      (head.includes('endpoints') ? response(200, endpointsBody([ADDRESS])) : response(200, '{}')))
  })
  after(() => server.stop())

  function optionsFor(network: Network, more: Partial<MultidialerOptions> = {}): MultidialerOptions {
    return {
      server: `https://${ADDRESS}`, servername: 'kubernetes.default.svc', ca: pem('ca.crt'),
      connectSocket: network.connectSocket, ...more,
    }
  }

  it('10,000 dials at once all end, each once, whether served, refused, given up or left hanging', async (t) => {
    const network = new Network()
    network.lead(ADDRESS, server)
    let reached = 0
    const hung: AbortSignal[] = []
    const dialer = new Multidialer(optionsFor(network, {
      alternates: [OTHER], attemptDelay: 60_000, attemptTimeout: 60_000, dialTimeout: 60_000, refreshInterval: 0,
      // A few are served; most of the rest are refused everywhere, and some are never answered.
      connectSocket: (endpoint, options) => {
        reached += 1
        if (reached % 20 === 1) return network.connectSocket(endpoint, options)
        if (reached % 20 === 2) {
          hung.push(options.signal)
          return new Promise(() => {})
        }
        return Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
      },
    }))
    const ends: number[] = Array.from({ length: 10_000 }, () => 0)
    const outcomes = new Map<string, number>()
    let synchronous = 0
    let left = ends.length
    // What is left when all others have ended hangs for good: closing ends it.
    const closeAtLast = (): void => {
      if (left > 0 && left === hung.filter(({ aborted }) => !aborted).length) dialer.close()
    }
    const done = deferred()
    const aborts: AbortController[] = []
    const began = performance.now()
    for (const index of ends.keys()) {
      const abort = new AbortController()
      if (index % 7 === 0) aborts.push(abort)
      let returned = false
      dialer.createConnection({ signal: abort.signal }, (error, socket) => {
        if (!returned) synchronous += 1
        ends[index] = (ends[index] ?? 0) + 1
        const outcome = error === null ? 'served' : 'code' in error ? String(error.code) : 'error'
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        socket?.on('error', () => {}).destroy()
        left -= 1
        if (left === 0) done.resolve()
        else if (left < 1_500) closeAtLast()
      })
      returned = true
    }
    for (const abort of aborts) abort.abort()
    await done.promise
    t.diagnostic(`${Math.round(performance.now() - began)} ms: ${JSON.stringify(Object.fromEntries(outcomes))}`)
    dialer.close()
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(ends.filter((times) => times !== 1), [])
    assert.equal(synchronous, 0)
    for (const outcome of ['served', 'ECONNREFUSED', 'ABORT_ERR', 'ERR_MULTIDIALER_CLOSED']) {
      assert.ok(outcomes.has(outcome), outcome)
    }
    assert.equal(dialer.snapshot().counters.dials, 10_000)
  })

  it('1,000 dialers live in one process, dial, and leave nothing', async (t) => {
    const network = new Network()
    const before = process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
    const began = performance.now()
    const heap = process.memoryUsage().heapUsed
    const dialers = Array.from({ length: 1_000 }, () => new Multidialer(optionsFor(network, { alternates: [OTHER] })))
    const results = await Promise.allSettled(dialers.flatMap((dialer) => [dialer.connect(), dialer.refresh()]))
    assert.equal(results.filter(({ status }) => status === 'rejected').length, 2_000)
    const each = (process.memoryUsage().heapUsed - heap) / dialers.length
    for (const dialer of dialers) dialer.close()
    t.diagnostic(`${Math.round(performance.now() - began)} ms, about ${Math.round(each / 1024)} KiB of heap each`)
    assert.ok(each < 256 * 1024, `${each} bytes each`)
    assert.ok(process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length <= before + 1)
  })

  it('maxSockets holds under faults: never more connections, and every request ends', async (t) => {
    const network = new Network()
    network.lead(ADDRESS, server)
    network.lead(OTHER, server)
    let dial = 0
    const agent = new MultidialerAgent({
      ...optionsFor(network, { alternates: [OTHER], refreshInterval: 0, heartbeatInterval: 0 }), maxSockets: 5,
      // A third is refused, a third is cut in the handshake or soon after it.
      connectSocket: async (endpoint, options) => {
        dial += 1
        if (dial % 3 === 1) throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
        const socket = await network.connectSocket(endpoint, options)
        if (dial % 3 === 2) setTimeout(() => socket.destroy(new Error('cut')), dial % 11)
        return socket
      },
    })
    t.after(() => agent.destroy())
    let most = 0
    let mostOpen = 0
    const count = (): void => {
      most = Math.max(most, agent.totalSocketCount)
      mostOpen = Math.max(mostOpen,
        Object.values(agent.sockets).flat().length + Object.values(agent.freeSockets).flat().length)
    }
    const outcomes = await Promise.all(Array.from({ length: 300 }, (_, index) => new Promise<string>((resolve) => {
      const request = https.get({ host: '10.77.0.1', port: 6443, path: '/version', agent }, (response) => {
        count()
        response.on('error', () => resolve('cut')).resume().once('end', () => resolve('served'))
      })
      request.on('error', () => resolve('failed'))
      if (index % 10 === 0) setTimeout(() => request.destroy(), index % 13)
      count()
    })))
    const tally = (what: string): number => outcomes.filter((outcome) => outcome === what).length
    t.diagnostic(`${tally('served')} served, ${tally('failed')} failed, ${tally('cut')} cut; at most ${most} sockets`)
    assert.ok(most <= 5, `${most} sockets`)
    assert.ok(mostOpen <= 5, `${mostOpen} in the lists`)
    assert.ok(tally('served') >= 100)
    assert.deepEqual(Object.keys(agent.requests), [])
  })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((settle) => { resolve = settle })
  return { promise, resolve }
}

describe('bounds: this machine', () => {
  let server: LocalServer
  before(async () => {
    server = await LocalServer.start('every-ip', {}, (head) =>
      (head.includes('endpoints/')
        ? response(200, endpointsBody([`127.0.0.1:${server.port}`]))
        : response(200, '{}')))
  })
  after(() => server.stop())

  const url = (): string => `https://127.0.0.1:${server.port}`

  it('without descriptors no endpoint is blamed, and it works again when there are some', async () => {
    const program = startProgram(`
      import { openSync, closeSync } from 'node:fs'
      const dialer = new Multidialer({ server: given.url, ca: given.ca })
      ;(await dialer.connect()).destroy()
      await dialer.refresh()
      const held = []
      try { for (;;) held.push(openSync('/dev/null')) } catch {}
      const codes = new Set()
      for (let i = 0; i < 50; i += 1) {
        await dialer.connect().then((s) => { codes.add('served'); s.destroy() }, (error) => codes.add(error.code))
      }
      const [endpoint] = dialer.snapshot().endpoints
      console.log([...codes].join(), endpoint.status, endpoint.failures)
      for (const fd of held) closeSync(fd)
      ;(await dialer.connect()).destroy()
      console.log('served again', dialer.snapshot().counters.failovers)
      dialer.close()
    `, { url: url(), ca: pem('ca.crt') }, { descriptors: 64 })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines.slice(-2), ['EMFILE ready 0', 'served again 0'])
  })

  async function settled(t: TestContext, dialer: Multidialer): Promise<TLSSocket> {
    t.after(() => dialer.close())
    const socket = await dialer.connect()
    t.after(() => socket.destroy())
    socket.on('error', () => {})
    await dialer.refresh()
    return socket
  }

  it('an event loop that stalls for longer than every timeout fails nobody, and starts no storm of timers',
    async (t) => {
    const dialer = new Multidialer({
      server: url(), ca: pem('ca.crt'), attemptTimeout: 400, heartbeatInterval: 200, heartbeatTimeout: 200,
      dialTimeout: 800,
    })
    const failed: unknown[] = []
    dialer.on('failed', (event) => failed.push(event))
    const held = await settled(t, dialer)
    const dialling = dialer.connect()
    const asked = dialer.snapshot().counters.heartbeats
    // More than a second past each of them (H4).
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500)
    ;(await dialling).destroy()
    await dialer.refresh()
    assert.ok(dialer.snapshot().counters.heartbeats - asked < 10)
    assert.deepEqual(failed, [])
    assert.equal(dialer.snapshot().endpoints[0]?.status, 'ready')
    assert.equal(held.destroyed, false)
  })

  it('a wall clock that jumps an hour either way changes nothing', async (t) => {
    const dialer = new Multidialer({ server: url(), ca: pem('ca.crt') })
    await settled(t, dialer)
    const now = Date.now()
    const before = dialer.snapshot().counters
    for (const jump of [3_600_000, -3_600_000]) {
      t.mock.timers.enable({ apis: ['Date'], now: now + jump })
      ;(await dialer.connect()).destroy()
      await dialer.refresh()
      t.mock.timers.reset()
    }
    const { counters, endpoints } = dialer.snapshot()
    assert.equal(counters.heartbeats, before.heartbeats + 2)
    assert.equal(counters.failovers, 0)
    assert.equal(endpoints[0]?.status, 'ready')
  })
})
