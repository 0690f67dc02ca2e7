/** The balancer of the specs does what it is told, and nothing else: each command, over real sockets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import tls from 'node:tls'
import { Balancer } from './balancer.ts'
import { canBlackhole } from './blackhole.ts'
import { until } from './client.ts'

/** A server that says its name, then echoes. */
class Echo {
  readonly sockets: net.Socket[] = []
  readonly ended: net.Socket[] = []
  readonly server: net.Server
  address = ''

  constructor(name: string) {
    this.server = net.createServer((socket) => {
      this.sockets.push(socket)
      socket.on('error', () => undefined).on('end', () => this.ended.push(socket)).pipe(socket)
      socket.write(name)
    })
  }

  async listen(): Promise<this> {
    await once(this.server.listen(0, '127.0.0.1'), 'listening')
    const address = this.server.address()
    assert.ok(typeof address === 'object' && address !== null)
    this.address = `127.0.0.1:${address.port}`
    return this
  }

  close(): void {
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
  }
}

/** A client's connection, and what came over it. */
class Connection {
  readonly socket: net.Socket
  text = ''
  closed: string | undefined

  constructor({ host, port }: Balancer) {
    this.socket = net.connect({ host, port })
    this.socket.on('data', (chunk) => { this.text += String(chunk) })
    let code = 'end'
    this.socket.on('error', (error: NodeJS.ErrnoException) => { code = error.code ?? error.message })
    this.socket.once('close', () => { this.closed = code })
  }

  got(text: string): Promise<void> {
    return until(`'${text}' has come, not '${this.text}'`, () => this.text.includes(text))
  }

  over(): Promise<void> {
    return until('it is closed', () => this.closed !== undefined)
  }
}

describe('a balancer', { timeout: 60_000 }, () => {
  const backs: Echo[] = []
  let balancer: Balancer
  let connections: Connection[] = []
  const connect = (): Connection => {
    const connection = new Connection(balancer)
    connections.push(connection)
    return connection
  }
  const addresses = (): string[] => backs.map(({ address }) => address)

  before(async () => { backs.push(await new Echo('a').listen(), await new Echo('b').listen()) })
  beforeEach(async () => {
    for (const { socket } of connections) socket.destroy()
    connections = []
    await balancer?.stop()
    balancer = await Balancer.start(addresses())
  })
  after(async () => {
    for (const { socket } of connections) socket.destroy()
    for (const back of backs) back.close()
    await balancer.stop()
  })

  it('takes its back ends in turn and counts what it made to each', async () => {
    for (const name of ['a', 'b', 'a']) {
      const connection = connect()
      await connection.got(name)
      connection.socket.write('hello')
      await connection.got('hello')
    }
    const { accepted, open, backends } = await balancer.stats()
    assert.deepEqual({ accepted, open }, { accepted: 3, open: 3 })
    assert.deepEqual(addresses().map((address) => backends[address]), [{ made: 2, open: 2 }, { made: 1, open: 1 }])
    for (const { socket } of connections) socket.destroy()
    await until('none is open', async () => (await balancer.stats()).open === 0)
    await balancer.resetStats()
    assert.deepEqual((await balancer.stats()).backends[backs[0]?.address ?? ''], { made: 0, open: 0 })
  })

  it('passes an end on in both directions', async () => {
    const client = connect()
    await client.got('a')
    client.socket.end('last')
    await client.got('last')
    await client.over()
    assert.equal(client.closed, 'end')
    const other = connect()
    await other.got('b')
    backs[1]?.sockets.at(-1)?.end()
    await other.over()
    assert.equal(other.closed, 'end')
  })

  it('gives new connections to the back ends that it was told last, and leaves the others where they are', async () => {
    const old = connect()
    await old.got('a')
    await balancer.setBackends(addresses().slice(1))
    for (let i = 0; i < 2; i += 1) await connect().got('b')
    old.socket.write('still here')
    await old.got('still here')
  })

  it('goes deaf: nothing passes on old connections, no end either, and new ones work', async () => {
    const old = connect()
    await old.got('a')
    await balancer.deafen()
    old.socket.write('lost')
    const back = backs[0]?.sockets.at(-1)
    back?.write('lost, too')
    await connect().got('b')
    const third = connect()
    await third.got('a')
    assert.deepEqual([old.text, old.closed], ['a', undefined])
    back?.destroy()
    await until('its back end is gone', async () => {
      const { backends } = await balancer.stats()
      return backends[backs[0]?.address ?? '']?.open === 1
    })
    assert.equal(old.closed, undefined)
  })

  it('keeps the client\'s side when the back end is gone, if told so, and resets it otherwise', async () => {
    await balancer.keepClient(true)
    const [kept, next] = [connect(), connect()]
    await Promise.all([kept.got('a'), next.got('b')])
    backs[0]?.sockets.at(-1)?.resetAndDestroy()
    await until('the back end is gone', async () =>
      (await balancer.stats()).backends[backs[0]?.address ?? '']?.open === 0)
    kept.socket.write('anybody?')
    next.socket.write('hello')
    await next.got('hello')
    assert.deepEqual([kept.text, kept.closed], ['a', undefined])
    await balancer.keepClient(false)
    backs[1]?.sockets.at(-1)?.resetAndDestroy()
    await next.over()
    assert.equal(next.closed, 'ECONNRESET')
  })

  it('resets what is open to one back end', async () => {
    const [a, b] = [connect(), connect()]
    await Promise.all([a.got('a'), b.got('b')])
    await balancer.reset(backs[0]?.address)
    await a.over()
    b.socket.write('hello')
    await b.got('hello')
    assert.equal(a.closed, 'ECONNRESET')
  })

  it('refuses, drained: what is open goes on; it listens again where it was', async () => {
    const old = connect()
    await old.got('a')
    await balancer.treat('refuse')
    const late = connect()
    await late.over()
    assert.equal(late.closed, 'ECONNREFUSED')
    old.socket.write('hello')
    await old.got('hello')
    await balancer.treat('forward')
    await connect().got('b')
  })

  it('drops the packets of new connections', { skip: !canBlackhole && 'only Linux drops a SYN' }, async () => {
    const old = connect()
    await old.got('a')
    await balancer.dropNew()
    const late = connect()
    old.socket.write('hello')
    await old.got('hello')
    assert.ok(late.socket.connecting)
    late.socket.destroy()
    await balancer.treat('forward')
    await connect().got('b')
  })

  it('swallows, closes, or answers new connections itself', async () => {
    await balancer.treat('swallow')
    const swallowed = connect()
    swallowed.socket.write('anybody?')
    await until('it is accepted', async () => (await balancer.stats()).accepted === 1)
    await balancer.treat('close')
    const closed = connect()
    closed.socket.write('anybody?')
    await closed.over()
    await balancer.treat('bad-gateway')
    const refused = connect()
    refused.socket.write('GET / HTTP/1.1\r\n\r\n')
    await refused.over()
    assert.match(refused.text, /^HTTP\/1\.1 502 .*<h1>502 Bad Gateway<\/h1>$/s)
    assert.deepEqual([swallowed.text, swallowed.closed], ['', undefined])
    await balancer.treat('login-page')
    const page = tls.connect({ host: balancer.host, port: balancer.port, rejectUnauthorized: false })
    await once(page, 'secureConnect')
    assert.equal(page.getPeerCertificate().issuer.CN, 'another-cluster')
    page.end('GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n')
    let text = ''
    for await (const chunk of page) text += String(chunk)
    assert.match(text, /^HTTP\/1\.1 200 .*<title>Sign in<\/title>/s)
  })
})
