/** The rules of throughProxy, against proxies that open the way, and against those that do anything else. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import https from 'node:https'
import net from 'node:net'
import type { Socket } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { inspect } from 'node:util'
import { Multidialer, MultidialerAgent, throughProxy } from '../../lib/index.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { HTTPProxy } from '../support/http-proxy.ts'
import type { ProxyAnswer } from '../support/http-proxy.ts'
import { withoutLeaks } from '../support/leaks.ts'
import { LocalServer, pem, response } from '../support/tls-servers.ts'

const PASSWORD = 'canary-p@ss:word/%'
const BASIC = Buffer.from(`user:${PASSWORD}`).toString('base64')
const SECRET = new RegExp(`canary|${BASIC}`)
/** As a URL has them. */
const CREDENTIALS = `user:${encodeURIComponent(PASSWORD)}`
const AWAY = { host: '10.77.0.1', port: 6443 }
const never = new AbortController().signal

let plain: HTTPProxy
let secure: HTTPProxy
before(async () => { [plain, secure] = await Promise.all([HTTPProxy.start(), HTTPProxy.start('name-localhost')]) })
after(() => Promise.all([plain.stop(), secure.stop()]))
beforeEach(() => {
  for (const proxy of [plain, secure]) {
    proxy.answer = 'tunnel'
    proxy.heads.length = 0
  }
})

function urlOf(proxy: HTTPProxy, credentials = ''): string {
  return `http${proxy === secure ? 's' : ''}://${credentials && `${credentials}@`}localhost:${proxy.port}`
}

/** What is thrown; nothing of it may hold the password. */
async function refusalOf(action: () => unknown): Promise<Error & { code?: string; status?: number }> {
  try {
    await action()
  } catch (error) {
    assert.ok(error instanceof Error)
    assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }), SECRET)
    return error
  }
  return assert.fail('it did not fail')
}

function portOf(server: net.Server): number {
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

function get(
  url: string, agent: https.Agent, token: string,
): Promise<{ status: number | undefined; servedBy: unknown }> {
  const headers = { authorization: `Bearer ${token}` }
  return new Promise((resolve, reject) => {
    https.get(url, { agent, headers }, (answer) => {
      answer.resume().on('end', () => resolve({ status: answer.statusCode, servedBy: answer.headers['x-served-by'] }))
    }).on('error', reject)
  })
}

describe('throughProxy', () => {
  for (const kind of ['http', 'https'] as const) {
    it(`has a dialer go through a proxy with ${kind}:, discovery too, and fails over`, async () => {
      const proxy = await HTTPProxy.start(kind === 'https' ? 'name-localhost' : undefined)
      const plane = await ControlPlane.start()
      const through = `${kind}://${CREDENTIALS}@localhost:${proxy.port}`
      const url = `${plane.servers[0]?.url}/version`
      const agent = new MultidialerAgent({
        server: plane.servers[0]?.url ?? '', ca: plane.ca, token: plane.token,
        connectSocket: throughProxy(through, kind === 'https' ? { ca: pem('ca.crt') } : {}),
      })
      try {
        const learned = once(agent.dialer, 'endpoints')
        assert.deepEqual(await get(url, agent, plane.token), { status: 200, servedBy: 'apiserver-1' })
        await learned
        await plane.servers[0]?.kill()
        // One that is written to the connection that the killed server is just losing fails.
        const again = (): ReturnType<typeof get> => get(url, agent, plane.token)
        const answered = await again().catch(again)
        assert.notEqual(answered.servedBy, 'apiserver-1')
        assert.ok(proxy.heads.every((head) => head.includes(`\r\nProxy-Authorization: Basic ${BASIC}\r\n`)))
        const asked = new Set(proxy.heads.map((head) => head.split(' ')[1]))
        assert.ok(asked.size > 1, 'more than one endpoint was asked for')
        assert.doesNotMatch(inspect(agent, { depth: 10, showHidden: true }), SECRET)
      } finally {
        agent.destroy()
        await plane.stop()
        await proxy.stop()
      }
    })
  }

  it('asks by CONNECT with a Host, IPv6 in brackets, and no authorization where the URL has no user', async () => {
    plain.answer = (socket) => socket.end('HTTP/1.0 200 OK\r\nX-Long: yes\r\n\r\n')
    const stream = await throughProxy(urlOf(plain))({ host: '2001:db8::1', port: 6443 }, { signal: never })
    stream.destroy()
    assert.deepEqual(plain.heads, ['CONNECT [2001:db8::1]:6443 HTTP/1.1\r\nHost: [2001:db8::1]:6443\r\n\r\n'])
  })

  it('leaves what comes behind the head, however it is split, to the next reader', async () => {
    const bytes = 'HTTP/1.1 200 OK\r\nVia: one\r\n\r\nthe server speaks first'
    for (const at of [0, 1, 12, 26, 27, 28, 30, bytes.length]) {
      plain.answer = (socket) => {
        socket.setNoDelay(true)
        socket.write(bytes.slice(0, at))
        setImmediate(() => socket.end(bytes.slice(at)))
      }
      const stream = await throughProxy(urlOf(plain))(AWAY, { signal: never })
      let rest = ''
      for await (const chunk of stream) rest += String(chunk)
      assert.equal(rest, 'the server speaks first', `split at ${at}`)
    }
  })

  const refusals: readonly (readonly [string, ProxyAnswer, { code: string; status?: number; says: RegExp }])[] = [
    ['refuses', (socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'),
      { code: 'ERR_MULTIDIALER_PROXY', status: 403, says: /answered 403: it does not let connections/ }],
    ['wants authorization', (socket) => socket.end('HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n'),
      { code: 'ERR_MULTIDIALER_PROXY', status: 407, says: /answered 407: it does not take this user and password/ }],
    ['cannot reach the endpoint', (socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n<html>'),
      { code: 'ERR_MULTIDIALER_PROXY', status: 502, says: /answered 502: it cannot reach that host and port/ }],
    ['redirects', (socket) => socket.end('HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\n\r\n'),
      { code: 'ERR_MULTIDIALER_PROXY', status: 302, says: /answered 302$/ }],
    ['says back what it was told',
      (socket, head) => socket.end(`HTTP/1.1 400 ${head.replace(/\r\n/g, ' ')}\r\n\r\n${head}`),
      { code: 'ERR_MULTIDIALER_PROXY', status: 400, says: /answered 400$/ }],
    ['closes', (socket) => socket.end(),
      { code: 'ERR_MULTIDIALER_PROXY', says: /closed the connection and answered nothing/ }],
    ['resets', (socket) => socket.resetAndDestroy(), { code: 'ECONNRESET', says: /ECONNRESET|closed the connection/ }],
    ['closes in the middle of its head', (socket) => socket.end('HTTP/1.1 200 OK\r\nVia'),
      { code: 'ERR_MULTIDIALER_PROXY', says: /closed the connection/ }],
    ['answers garbage', (socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n'),
      { code: 'ERR_MULTIDIALER_PROXY', says: /its answer is not HTTP$/ }],
    ['answers a status line that is none', (socket) => socket.write('HTTP/1.1 2000 OK\r\n\r\n'),
      { code: 'ERR_MULTIDIALER_PROXY', says: /its answer is not HTTP\/1\.1/ }],
    ['speaks TLS', (socket) => socket.write(Buffer.from('15030300020232', 'hex')),
      { code: 'ERR_MULTIDIALER_PROXY', says: /but TLS: its URL may have to begin with 'https:'/ }],
    ['answers a head without end',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\n${'X-Fill: 0123456789\r\n'.repeat(2_000)}`),
      { code: 'ERR_MULTIDIALER_PROXY', says: /a head of more than 16384 bytes/ }],
    ['answers nothing', () => {},
      { code: 'ETIMEDOUT', says: /answered nothing when it was asked for .* within 300 ms/ }],
  ]
  for (const [name, answer, { code, status, says }] of refusals) {
    it(`is an error that names the proxy and what it was asked for where it ${name}`, () => withoutLeaks(async () => {
      plain.answer = answer
      const connectSocket = throughProxy(urlOf(plain, CREDENTIALS), { timeout: 300 })
      const error = await refusalOf(() => connectSocket(AWAY, { signal: never }))
      assert.ok(error.message.startsWith(`The proxy localhost:${plain.port} `), error.message)
      assert.match(error.message, /asked for 10\.77\.0\.1:6443/)
      assert.match(error.message, says)
      // A reset is the end of the connection for some systems, and an error for others.
      const codes = name === 'resets' ? [code, 'ERR_MULTIDIALER_PROXY'] : [code]
      assert.ok(codes.includes(String(error.code)), String(error.code))
      assert.equal(error.status, status)
    }))
  }

  it('says how to give a user and a password where the proxy asks for authorization and there are none', async () => {
    plain.answer = (socket) => socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
    const connectSocket = throughProxy(urlOf(plain))
    using dialer = new Multidialer({ server: 'https://10.77.0.1:6443', connectSocket, refreshInterval: 0 })
    for (const ask of [() => connectSocket(AWAY, { signal: never }), () => dialer.connect()]) {
      const error = await refusalOf(ask)
      assert.match(error.message, /asks for authorization.*before the host: 'user:password@host:port'/)
    }
  })

  it('keeps the code of the cause where the proxy cannot be reached', async () => {
    const gone = await HTTPProxy.start()
    const url = urlOf(gone, CREDENTIALS)
    const { port } = gone
    await gone.stop()
    const error = await refusalOf(() => throughProxy(url)(AWAY, { signal: never }))
    assert.equal(error.code, 'ECONNREFUSED')
    assert.match(error.message, new RegExp(`^The proxy localhost:${port} cannot be reached: .*ECONNREFUSED`))
  })

  it('verifies the proxy, whatever the environment says, and writes it no password before', async () => {
    const url = urlOf(secure, CREDENTIALS)
    const untrusted = await refusalOf(() => throughProxy(url)(AWAY, { signal: never }))
    assert.match(untrusted.message, /^The proxy localhost:\d+ cannot be reached by TLS: /)
    assert.match(untrusted.code ?? '', /^(UNABLE_TO_|SELF_SIGNED_)/)
    const wrong = throughProxy(url, { ca: pem('ca.crt'), servername: 'elsewhere.example' })
    assert.equal((await refusalOf(() => wrong(AWAY, { signal: never }))).code, 'ERR_TLS_CERT_ALTNAME_INVALID')
    assert.deepEqual(secure.heads, [])
    secure.answer = (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n')
    for (const options of [{ ca: pem('ca.crt') }, { rejectUnauthorized: false }]) {
      const stream = await throughProxy(url, options)(AWAY, { signal: never })
      stream.destroy()
    }
    assert.equal(secure.heads.length, 2)
  })

  it('says so where a proxy with https: does not speak TLS', async () => {
    const server = net.createServer((socket: Socket) => {
      socket.on('error', () => {}).once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    })
    server.listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const error = await refusalOf(() => throughProxy(`https://localhost:${portOf(server)}`)(AWAY, { signal: never }))
      assert.match(error.message, /cannot be reached by TLS: .*its URL may have to begin with 'http:'/)
    } finally {
      server.close()
    }
  })

  it('ends at once when it is aborted: before, on its way, and while it waits', () => withoutLeaks(async () => {
    plain.answer = () => {}
    const connectSocket = throughProxy(urlOf(plain, CREDENTIALS))
    const before = await refusalOf(() => connectSocket(AWAY, { signal: AbortSignal.abort() }))
    assert.equal(before.code, 'ABORT_ERR')
    const abort = new AbortController()
    const early = refusalOf(() => connectSocket(AWAY, { signal: abort.signal }))
    abort.abort()
    assert.equal((await early).code, 'ABORT_ERR')
    const later = new AbortController()
    const connected = plain.connected()
    const silent = refusalOf(() => connectSocket(AWAY, { signal: later.signal }))
    await connected
    later.abort()
    assert.equal((await silent).code, 'ABORT_ERR')
  }))

  it('has the next apiserver dialled where the proxy has no way to one, and names all where it fails', async () => {
    const server = await LocalServer.start('name-kubernetes.default.svc', {}, () => response(200, '{}'))
    plain.route = (target) => ({ host: '127.0.0.1', port: target === '10.77.0.2:6443' ? server.port : 1 })
    const dialer = new Multidialer({
      server: ['https://10.77.0.1:6443', 'https://10.77.0.2:6443'], ca: pem('ca.crt'),
      servername: 'kubernetes.default.svc', refreshInterval: 0,
      connectSocket: throughProxy(urlOf(plain, CREDENTIALS)),
    })
    try {
      const socket = await dialer.connect()
      socket.destroy()
      plain.answer = (one) => one.end('HTTP/1.1 407 x\r\n\r\n')
      const error = await refusalOf(() => dialer.connect())
      for (const address of ['10.77.0.1:6443', '10.77.0.2:6443']) {
        const said = `${address} (The proxy localhost:${plain.port} was asked for ${address}: it answered 407`
        assert.ok(error.message.includes(said), error.message)
      }
    } finally {
      dialer.close()
      await server.stop()
    }
  })

  const rows: readonly (readonly [string, unknown, RegExp])[] = [
    ['no URL', undefined, /the URL of a proxy/],
    ['an object', { host: 'proxy' }, /the URL of a proxy/],
    ['a host and port alone', 'proxy:3128', /a whole URL/],
    ['a text that is no URL', 'http://', /a whole URL/],
    ['a path', `http://${CREDENTIALS}@proxy:3128/path`, /no path, query or fragment/],
    ['a query', 'http://proxy:3128?a=b', /no path, query or fragment/],
    ['socks5', `socks5://${CREDENTIALS}@proxy:1080`,
      /not for SOCKS.*connectSocket.*package 'socks'/],
    ['another scheme', 'ftp://proxy:21', /begins with 'http:' or 'https:'/],
    ['port 0', 'http://proxy:0', /a port that is not 0/],
    ["a '%' that is not written as one", 'http://user:canary%@proxy:3128', /a '%' is '%25'/],
    ["a user with ':'", 'http://us%3Aer:x@proxy:3128', /user with ':'/],
  ]
  for (const [name, url, pattern] of rows) {
    it(`is a TypeError that says what to give for ${name}`, async () => {
      const error = await refusalOf(() => Reflect.apply(throughProxy, undefined, [url]))
      assert.ok(error instanceof TypeError)
      assert.equal(error.code, 'ERR_INVALID_ARG_VALUE')
      assert.match(error.message, pattern)
    })
  }

  it('is a TypeError for options that cannot be used, and none of a key is shown', async () => {
    const key: unknown = { canary: PASSWORD }
    for (const options of [{ timeout: 0 }, { timeout: Infinity }, { key }, { cert: 'canary', key: 'canary' }]) {
      const error = await refusalOf(() => Reflect.apply(throughProxy, undefined, ['https://proxy:3128', options]))
      assert.equal(error.code, 'ERR_INVALID_ARG_VALUE')
    }
  })

  it('takes a URL object, the port of the scheme, and an IPv6 address for the proxy', async () => {
    const server = net.createServer((socket: Socket) => { socket.on('error', () => {}).end('HTTP/1.1 200 OK\r\n\r\n') })
    server.listen(0, '::1')
    try {
      await once(server, 'listening')
      const stream = await throughProxy(new URL(`http://[::1]:${portOf(server)}`))(AWAY, { signal: never })
      stream.destroy()
    } finally {
      server.close()
    }
    const error = await refusalOf(() => throughProxy('http://127.0.0.9')(AWAY, { signal: never }))
    assert.match(error.message, /^The proxy 127\.0\.0\.9:80 cannot be reached/)
  })
})
