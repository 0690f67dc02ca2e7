/** One attempt: sessions and what is checked when they are resumed, keepalive, and streams that the caller connects. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { after, afterEach, before, describe, it } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { Multidialer } from '../../lib/multidialer.ts'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import type { ConnectSocket } from '../../lib/connect/attempt.ts'
import { at, dialError, rejection, servedBy } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { withoutLeaks } from '../support/leaks.ts'
import { pem } from '../support/tls-servers.ts'
import { Wires } from '../support/wires.ts'

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start({ servers: 2 }) })
after(() => plane.stop())
afterEach(async () => {
  await Promise.all(plane.servers.map((server) => server.misbehave()))
})

/** A dialer that asks for no list unless told to, so that every connection is one of the row's own. */
async function withDialer(
  options: Partial<MultidialerOptions>, body: (dialer: Multidialer) => Promise<void>,
): Promise<void> {
  await withoutLeaks(async () => {
    using dialer = new Multidialer({
      server: at(plane, 0).url, ca: plane.ca, token: plane.token, refreshInterval: 0, heartbeatInterval: 0, ...options,
    })
    await body(dialer)
  })
}

/** One request, by a connection of its own. */
function request(dialer: Multidialer): Promise<string> {
  return servedBy(dialer, at(plane, 0).url)
}

describe('TLS sessions', () => {
  it('are resumed, by dials and heartbeats alike', () => withDialer({}, async (dialer) => {
    const server = at(plane, 0)
    await request(dialer)
    await server.resetStats()
    await request(dialer)
    await request(dialer)
    await dialer.refresh()
    const { connections, sessionsReused } = await server.stats()
    assert.deepEqual({ connections, sessionsReused }, { connections: 3, sessionsReused: 3 })
  }))

  it('I3 prove that their certificate is still valid, or are dropped and not used again',
    () => withDialer({}, async (dialer) => {
    await request(dialer)
    const now = Date.now
    try {
      // OpenSSL reads another clock: a full handshake would go through.
      Date.now = () => new Date('2150-01-01').getTime()
      const error = await dialError(dialer.connect())
      assert.equal(error.code, 'CERT_HAS_EXPIRED')
    } finally {
      Date.now = now
    }
    await at(plane, 0).resetStats()
    await request(dialer)
    assert.equal((await at(plane, 0).stats()).sessionsReused, 0)
  }))

  it('I3 are not shared between endpoints, though these share their keys', async () => {
    const shared = await ControlPlane.start({ servers: 2, sharedTickets: true })
    try {
      await withDialer({ server: at(shared, 0).url, token: shared.token }, async (dialer) => {
        const send = (): Promise<string> => servedBy(dialer, at(shared, 0).url)
        await send()
        await dialer.refresh()
        await at(shared, 0).kill()
        await send()
        assert.equal((await at(shared, 1).stats()).sessionsReused, 0)
        await send()
        assert.equal((await at(shared, 1).stats()).sessionsReused, 1)
      })
    } finally {
      await shared.stop()
    }
  })

  it('prove nothing to a server that does not know their keys: its own certificate counts',
    () => withDialer({}, async (dialer) => {
    const server = at(plane, 0)
    await request(dialer)
    await server.restart({ certificate: 'wrong-name', ticketKeys: randomBytes(48).toString('base64') })
    try {
      assert.equal((await dialError(dialer.connect())).code, 'ERR_TLS_CERT_ALTNAME_INVALID')
    } finally {
      await server.restart({ certificate: 'kubeadm' })
    }
    await request(dialer)
  }))
})

it('a socket that is handed out shows its certificate and whose it is', () => withDialer({}, async (dialer) => {
  const socket = await dialer.connect()
  const { subject, issuerCertificate } = socket.getPeerCertificate(true)
  assert.deepEqual([subject.CN, issuerCertificate.subject.CN], ['kube-apiserver', 'kubernetes'])
  socket.destroy()
}))

it('a socket that is handed out unverified shows its certificate', () => (
  withDialer({ rejectUnauthorized: false, ca: pem('other-ca.crt') }, async (dialer) => {
    const socket = await dialer.connect()
    assert.equal(socket.authorized, false)
    assert.equal(socket.getPeerCertificate().subject.CN, 'kube-apiserver')
    socket.destroy()
  })
))

it('H6 a socket that is handed out has TCP keepalive from 5 s on', {
  skip: process.platform !== 'linux' && 'the timers of a socket are shown by Linux alone',
}, () => withDialer({}, async (dialer) => {
  const socket = await dialer.connect()
  const local = `:${(socket.localPort ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
  // It is idle when everything written is acknowledged: until then the kernel shows the timer of that.
  let timer = ''
  while (!timer.startsWith('02:')) {
    const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
    timer = lines.find((columns) => columns[1]?.endsWith(local) && columns[3] === '01')?.[5] ?? ''
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const TICKS_PER_SECOND = 100
  const seconds = Number.parseInt(timer.slice(3), 16) / TICKS_PER_SECOND
  assert.ok(seconds > 0 && seconds <= 5.1, `${seconds} s`)
  socket.destroy()
}))

describe('connectSocket', () => {
  const wires = new Wires()
  const to: ConnectSocket = ({ host, port }) => new Promise((resolve, reject) => {
    const socket: net.Socket = net.connect({ host, port }, () => resolve(socket.off('error', reject)))
    socket.once('error', reject)
  })

  const good: readonly [string, ConnectSocket][] = [
    ['a net.Socket, by a promise', to],
    ['a net.Socket that is still connecting, at once', ({ host, port }) => net.connect({ host, port })],
    ['a Duplex that is no net.Socket', wires.connectSocket],
  ]
  for (const [name, connectSocket] of good) {
    it(`takes ${name}, and puts TLS on it`, () => withDialer({ connectSocket }, async (dialer) => {
      assert.equal(await request(dialer), 'apiserver-1')
      assert.deepEqual(await dialer.refresh(), plane.servers.map(({ host, port }) => ({ host, port })))
      const socket = await dialer.connect()
      assert.equal(socket.authorized, true)
      const closed = once(socket, 'close')
      socket.destroy()
      await closed
    }))
  }

  it('is told which endpoint, and has its signal aborted when the attempt is given up', async () => {
    const seen: string[] = []
    let aborted = 0
    const connectSocket: ConnectSocket = (endpoint, { signal }) => {
      seen.push(`${endpoint.host}:${endpoint.port}`)
      signal.addEventListener('abort', () => { aborted += 1 })
      return new Promise(() => {})
    }
    await withDialer({
      connectSocket, attemptTimeout: 50, attemptDelay: 20, alternates: [at(plane, 1).address],
    }, async (dialer) => {
      const error = await dialError(dialer.connect())
      assert.equal(error.code, 'ETIMEDOUT')
      assert.deepEqual(seen, [at(plane, 0).address, at(plane, 1).address])
      assert.equal(aborted, 2)
    })
  })

  it('destroys a stream that comes when the attempt is over', async () => {
    const late = new PassThrough()
    let give: (stream: Duplex) => void = () => assert.fail()
    const connectSocket: ConnectSocket = () => new Promise<Duplex>((resolve) => { give = resolve })
    await withDialer({ connectSocket, attemptTimeout: 50 }, async (dialer) => {
      await dialError(dialer.connect())
      give(late)
      await once(late, 'close')
      assert.equal(late.destroyed, true)
    })
  })

  const destroyed = (): Duplex => new PassThrough().destroy()
  const ended = (): Duplex => {
    const stream = new PassThrough()
    stream.end()
    return stream
  }
  const bad: readonly [string, unknown, RegExp, string][] = [
    ['throws', () => { throw new Error('no route') }, /no route/, 'undefined'],
    ['throws what is no Error', () => { throw 'no route' }, /no route/, 'ECONNRESET'],
    ['rejects', () => Promise.reject(Object.assign(new Error('refused by the proxy'), { code: 'ECONNREFUSED' })),
      /refused by the proxy/, 'ECONNREFUSED'],
    ['rejects with nothing', () => Promise.reject(), /undefined/, 'ECONNRESET'],
    ['gives nothing', () => undefined, /must give a Duplex stream/, 'ECONNRESET'],
    ['gives a promise of nothing', () => Promise.resolve(null), /must give a Duplex stream/, 'ECONNRESET'],
    ['gives a string', () => 'socket', /must give a Duplex stream/, 'ECONNRESET'],
    ['gives a stream that is destroyed', destroyed, /destroyed/, 'ECONNRESET'],
    ['gives a stream that ends at once', ended, /./, 'any'],
    ['gives a stream that echoes', () => new PassThrough(), /./, 'any'],
    ['gives a stream that swallows everything',
      () => new Duplex({ read() {}, write(_chunk, _encoding, callback) { callback() } }),
      /no connection within 80 ms/, 'ETIMEDOUT'],
    ['gives a stream that fails when written to',
      () => new Duplex({ read() {}, write(_chunk, _encoding, callback) { callback(new Error('broken pipe')) } }),
      /broken pipe/, 'any'],
    ['never answers', () => new Promise(() => {}), /no connection within 80 ms/, 'ETIMEDOUT'],
  ]
  for (const [name, connectSocket, message, code] of bad) {
    it(`that ${name} fails the attempt, and nothing else`, async () => {
      // What a JavaScript caller may give, whatever the types say.
      const options: object = { connectSocket, attemptTimeout: 80, heartbeatTimeout: 80 }
      await withDialer(options, async (dialer) => {
        const error = await dialError(dialer.connect())
        assert.match(error.message, message)
        if (code !== 'any') assert.equal(String(error.code), code)
        assert.equal(dialer.snapshot().endpoints[0]?.failures, 1)
        assert.equal((await rejection(dialer.refresh())).name, 'MultidialError')
      })
    })
  }

  it('that fails for one endpoint leaves the others to serve', async () => {
    const connectSocket: ConnectSocket = (endpoint, options) => {
      if (endpoint.host === at(plane, 0).host && endpoint.port === at(plane, 0).port) throw new Error('no route')
      return wires.connectSocket(endpoint, options)
    }
    await withDialer({ connectSocket, alternates: [at(plane, 1).address] }, async (dialer) => {
      assert.equal(await request(dialer), 'apiserver-2')
    })
  })

  it('may give the same broken stream twice without the process noticing', async () => {
    const stream = new PassThrough()
    stream.on('error', () => {})
    await withDialer({ connectSocket: () => stream, attemptTimeout: 80 }, async (dialer) => {
      await dialError(dialer.connect())
      await dialError(dialer.connect())
    })
  })
})

it('what comes with the handshake is not lost: a socket can be read from as soon as it is there',
  () => withDialer({}, async (dialer) => {
  const socket: TLSSocket = await dialer.connect()
  socket.write('GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n')
  const [chunk] = await once(socket, 'data')
  assert.match(String(chunk), /^HTTP\/1\.1 200 OK/)
  socket.destroy()
}))
