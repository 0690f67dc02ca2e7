/**
 * Secrets. A canary token, private key and passphrase are given to a dialer, everything is made to go wrong, and then
 * they are searched for in all that anybody could log: errors with their causes and stacks, events, snapshots, debug
 * lines, stored files, the keys of a pool, and what util.inspect shows of every public object. As text, in base64, and
 * as the bytes that inspect shows of a Buffer. And the token is searched for on the wire, where it has one place.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { inspect } from 'node:util'
import { MultidialerAgent } from '../../lib/agent/agent.ts'
import { fileStore } from '../../lib/adapters/file-store.ts'
import { Multidialer, type MultidialerOptions } from '../../lib/multidialer.ts'
import { startProgram } from '../support/program.ts'
import { type Answerer, endpointsBody, LocalServer, Network, pem, response } from '../support/tls-servers.ts'

const TOKEN = 'canary-7f3c9a51d2e84b60'
const PASSPHRASE = 'correct-horse'
const KEY = pem('client-b-encrypted.key')
const ADDRESS = '10.77.0.1:6443'

/** In which forms a secret would show. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret)
  const hex = bytes.toString('hex')
  // Of base64 only what does not depend on what stands around it.
  const base64 = [0, 1, 2].map((offset) => Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64').slice(4, -4))
  return [secret, encodeURIComponent(secret), hex, hex.replace(/(..)(?=.)/g, '$1 '), ...base64]
}

/** A line of the middle of the key says as much as all of it. */
const keyLines = (text: string): string[] => text.split('\n').filter((line) => line !== '' && !line.startsWith('-----'))
const CANARIES = [
  TOKEN, TOKEN.slice(3), TOKEN.slice(0, -8), PASSPHRASE, ...keyLines(KEY),
  ...keyLines(pem('client-b.key')), ...keyLines(pem('client-a.key')),
]
const FORMS = CANARIES.flatMap(formsOf)

function assertClean(text: string, where: string): void {
  const found = FORMS.find((form) => text.includes(form))
  if (found === undefined) return
  const at = text.indexOf(found)
  assert.fail(`${where} shows a secret: ...${text.slice(Math.max(0, at - 300), at + 100)}...`)
}

/** All that can be seen of a value. */
function assertNoSecret(value: unknown, where: string): void {
  assertClean(inspect(value, {
    showHidden: true, depth: Infinity, maxArrayLength: null, maxStringLength: null, getters: true,
  }), `${where}, inspected`)
  assertClean(inspect(value), where)
  if (value instanceof Error) {
    for (let error: unknown = value; error instanceof Error; error = error.cause) {
      assertClean(`${error.name} ${error.message} ${error.stack} ${String(error)} ${JSON.stringify(error)}`,
        `${where}, its error`)
      if (error instanceof AggregateError) for (const one of error.errors) assertNoSecret(one, where)
    }
  }
}

/** The search itself. */
describe('the search', () => {
  it('finds a secret in every form', () => {
    for (const value of [
      { a: TOKEN }, new Error('x', { cause: new Error(TOKEN) }), new AggregateError([new Error(PASSPHRASE)]), [KEY],
      { b: Buffer.from(`Bearer ${TOKEN}`) }, { c: Buffer.from(`x ${TOKEN} y`).toString('base64') },
      new Map([[TOKEN, 1]]),
      Object.defineProperty({}, 'hidden', { value: PASSPHRASE, enumerable: false }), { [Symbol('s')]: TOKEN },
    ]) assert.throws(() => assertNoSecret(value, 'it'), /shows a secret/)
    assertNoSecret({ nothing: 'Bearer' }, 'it')
  })
})

/** All that one dialer says, from its construction on. */
class Diary {
  readonly values: [where: string, value: unknown][] = []

  add(where: string, value: unknown): void {
    this.values.push([where, value])
  }

  follow(dialer: Multidialer): void {
    dialer.on('endpoints', (value) => this.add('event endpoints', value))
    dialer.on('failover', (value) => this.add('event failover', value))
    dialer.on('failed', (value) => this.add('event failed', value))
    dialer.on('warning', (value) => this.add('event warning', value))
  }

  assertNoSecret(): void {
    for (const [where, value] of this.values) assertNoSecret(value, where)
  }
}

const discoveries = (head: string): boolean =>
  /^GET \/(api\/v1|apis\/discovery\.k8s\.io\/v1)\/namespaces\/default\/endpoint/.test(head)

interface Fault {
  readonly name: string
  readonly answer?: Answerer
  readonly certificate?: string
  readonly options?: (folder: string) => Partial<MultidialerOptions>
}

const echo = (status: number): Answerer => (head) =>
  response(status, `you said: ${head}`, { 'www-authenticate': `Bearer error="${TOKEN}"`, [`x-${TOKEN}`]: TOKEN })

const listOf = (kind: string, ip: unknown, port: unknown = 6443): string =>
  JSON.stringify({
    kind, apiVersion: 'v1',
    subsets: [{ addresses: [{ ip: '10.77.0.9' }, { ip }], ports: [{ name: TOKEN, port }] }],
  })

const FAULTS: readonly Fault[] = [
  ...[400, 401, 403, 404, 429, 500, 503].map((status): Fault => ({
    name: `a ${status} that echoes the request, in body and headers`, answer: echo(status),
  })),
  ...[301, 302, 307, 308].map((status): Fault => ({
    name: `a ${status} to a place with the token in it`,
    answer: () => response(status, '', { location: `https://${ADDRESS}/?token=${TOKEN}` }),
  })),
  { name: 'a 200 that echoes the request', answer: echo(200) },
  { name: 'a list whose kind is the token', answer: () => response(200, listOf(TOKEN, '10.77.0.8')) },
  { name: 'a list whose kind is the Authorization header',
    answer: () => response(200, listOf(`authorization: Bearer ${TOKEN}`, '10.77.0.8')) },
  { name: 'a list with the token for an address', answer: () => response(200, listOf('Endpoints', TOKEN)) },
  { name: 'a list with the token for the only address', answer: () => response(200, endpointsBody([`${TOKEN}:6443`])) },
  { name: 'a list with the token for a port', answer: () => response(200, listOf('Endpoints', '10.77.0.8', TOKEN)) },
  { name: 'a list with a part of the token', answer: () => response(200, listOf('Endpoints', `x${TOKEN.slice(3)}`)) },
  { name: 'a list with a token that is too long to be quoted', options: () => ({ token: TOKEN + 'x'.repeat(1_000) }),
    answer: (head) => response(200, listOf('Endpoints', head.slice(head.indexOf('canary')).split('\r')[0])) },
  { name: 'a list with the token escaped',
    answer: () => response(200, listOf('Endpoints', '10.77.0.8').replace('10.77.0.8',
      [...TOKEN].map((c) => `\\u00${c.charCodeAt(0).toString(16)}`).join(''))) },
  { name: 'slices of a service that is the token',
    answer: (head) => response(head.includes('slices') ? 200 : 404, JSON.stringify({
      kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1',
      items: [{ metadata: { labels: { 'kubernetes.io/service-name': TOKEN } }, addressType: TOKEN }],
    })) },
  { name: 'the token for a status line', answer: () => `${TOKEN}\r\n\r\n` },
  { name: 'the token for a reason', answer: () => `HTTP/1.1 999 ${TOKEN}\r\n\r\n` },
  { name: 'the token for a header without a colon', answer: () => `HTTP/1.1 200 OK\r\n${TOKEN}\r\n\r\n` },
  { name: 'the token for a length', answer: () => `HTTP/1.1 200 OK\r\ncontent-length: ${TOKEN}\r\n\r\n` },
  { name: 'the token for a coding', answer: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: ${TOKEN}\r\n\r\n` },
  { name: 'the token for a chunk size',
    answer: () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${TOKEN}\r\n` },
  { name: 'the request sent back', answer: (head) => head },
  { name: 'an end in the middle of an answer', answer: (head, socket) => {
    setImmediate(() => socket.destroy())
    return response(200, head).slice(0, -5)
  } },
  { name: 'no answer', answer: () => undefined },
  { name: 'a certificate of another CA', certificate: 'from-other-ca' },
  { name: 'a certificate of another name', certificate: 'wrong-name' },
  { name: 'a token function that throws the token', options: () => ({
    token: () => { throw new Error(`401 for ${TOKEN}, key ${KEY}`, { cause: TOKEN }) },
  }) },
  { name: 'a token function that rejects with the token', options: () => ({
    token: () => Promise.reject(Object.assign(new Error('x'), { response: TOKEN, code: TOKEN })),
  }) },
  { name: 'a token function that rejects with a string', options: () => ({ token: () => Promise.reject(TOKEN) }) },
  { name: 'a token function that gives the token and a line break', options: () => ({ token: () => `${TOKEN}\n` }) },
  { name: 'a token function that gives it in an object', options: () => ({
    token: () => Promise.resolve(JSON.parse(`"\\n${TOKEN}"`)),
  }) },
  { name: 'a token file that is replaced by nonsense', options: (folder) => ({
    token: undefined, tokenFile: spoilt(folder, 'token', TOKEN, `${TOKEN} ${TOKEN}`),
  }) },
  { name: 'a key file that is replaced by half of it', options: (folder) => ({
    key: undefined, cert: undefined, certFile: kept(folder, 'tls.crt', pem('client-b.crt')),
    keyFile: spoilt(folder, 'tls.key', KEY, KEY.slice(0, 150)),
  }) },
  { name: 'a certificate file that is replaced by its key', options: (folder) => ({
    key: undefined, cert: undefined, certFile: spoilt(folder, 'tls.crt', pem('client-b.crt'), pem('client-b.key')),
    keyFile: kept(folder, 'tls.key', KEY),
  }) },
  { name: 'a CA file that is replaced by a key', options: (folder) => ({
    ca: undefined, caFile: spoilt(folder, 'ca.crt', pem('ca.crt'), pem('client-b.key')),
  }) },
  { name: 'a store that cannot be written', options: (folder) => ({
    store: fileStore(join(folder, 'missing', 'hints')),
  }) },
  { name: 'a store that gives the token for an address', options: () => ({
    store: { load: () => [{ host: TOKEN, port: 6443 }], save: () => undefined },
  }) },
  { name: 'a store that holds the token', options: (folder) => ({
    store: fileStore(kept(folder, 'hints', `{"kind":"${TOKEN}"`)),
  }) },
]

function kept(folder: string, name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

/** A file that is good when the dialer is made, and replaced right after. */
function spoilt(folder: string, name: string, text: string, later: string): string {
  setImmediate(() => writeFileSync(join(folder, name), later))
  return kept(folder, name, text)
}

describe('a canary is in nothing that is said or shown', () => {
  for (const fault of FAULTS) {
    it(`under ${fault.name}`, async (t) => {
      const { answer = () => response(200, endpointsBody([ADDRESS, '10.77.0.2:6443'])) } = fault
      // What a caller's own request is answered is the caller's.
      const server = await LocalServer.start(fault.certificate ?? 'name-kubernetes.default.svc', {},
        (head, socket) => (discoveries(head) ? answer(head, socket) : response(200, '{}')))
      const folder = mkdtempSync(join(tmpdir(), 'secrets-'))
      const network = new Network()
      network.lead(ADDRESS, server)
      const diary = new Diary()
      const agent = new MultidialerAgent({
        server: `https://${ADDRESS}`, servername: 'kubernetes.default.svc', ca: pem('ca.crt'), token: TOKEN,
        cert: pem('client-b.crt'), key: KEY, passphrase: PASSPHRASE,
        connectSocket: network.connectSocket, heartbeatTimeout: 150, store: fileStore(join(folder, 'endpoints')),
        ...fault.options?.(folder),
      })
      diary.follow(agent.dialer)
      t.after(async () => {
        agent.destroy()
        await server.stop()
        rmSync(folder, { recursive: true })
      })
      await new Promise((resolve) => setImmediate(resolve))

      // Twice, as a 401 has the token asked for again.
      for (let times = 0; times < 2; times += 1) {
        diary.add('refresh()', await agent.dialer.refresh().catch((error: unknown) => error))
      }
      const socket = await agent.dialer.connect().catch((error: unknown) => error)
      if (socket instanceof Error) diary.add('connect()', socket)
      else if (isSocket(socket)) socket.destroy()
      diary.add('a request', await request(agent).catch((error: unknown) => error))
      diary.add('a request elsewhere', await request(agent, { host: 'example.com' }).catch((error: unknown) => error))
      diary.add('a request with a key of its own', await request(agent, {
        key: `${KEY}x`, cert: pem('client-a.crt'), passphrase: `${PASSPHRASE}2`,
      }).catch((error: unknown) => error))
      show(diary, agent)
      agent.destroy()
      diary.add('connect() when closed', await agent.dialer.connect().catch((error: unknown) => error))
      diary.add('refresh() when closed', await agent.dialer.refresh().catch((error: unknown) => error))
      show(diary, agent)
      for (const name of readdirSync(folder)) {
        if (name.startsWith('endpoints')) diary.add(`the file ${name}`, readFileSync(join(folder, name), 'utf8'))
      }
      assert.ok(diary.values.length >= 10)
      diary.assertNoSecret()
    })
  }

  for (const [name, options] of Object.entries<Partial<MultidialerOptions>>({
    'a token with a line break': { token: `${TOKEN}\n` },
    'a token in a URL': { server: `https://user:${TOKEN}@${ADDRESS}` },
    'a token in the query': { server: `https://${ADDRESS}/?token=${TOKEN}` },
    'a key that is cut off': { cert: pem('client-b.crt'), key: pem('client-b.key').slice(0, 120) },
    'a key that does not fit': { cert: pem('client-a.crt'), key: pem('client-b.key') },
    'a wrong passphrase': { cert: pem('client-b.crt'), key: KEY, passphrase: `${PASSPHRASE}r` },
    'no passphrase': { cert: pem('client-b.crt'), key: KEY },
    'a key for a certificate': { cert: pem('client-b.key'), key: pem('client-b.key') },
    'a key for a CA': { ca: pem('client-b.key') },
    'a key for a pfx': { pfx: pem('client-b.key'), passphrase: PASSPHRASE },
    'a key for a file name': { certFile: '/nowhere', keyFile: pem('client-b.key') },
    'a token that is a file name': { tokenFile: TOKEN },
    'a key without a certificate': { key: pem('client-b.key') },
    'a passphrase for a servername': { servername: `${PASSPHRASE} ${PASSPHRASE}` },
  })) {
    // What a person wrote into the wrong place on purpose is shown if it cannot be told from a name.
    const shown = name === 'a token that is a file name' || name === 'a passphrase for a servername'
    it(`in the error of ${name}${shown ? ', unless it looks like what belongs there' : ''}`, () => {
      let error: unknown
      try {
        new Multidialer({ server: `https://${ADDRESS}`, ca: pem('ca.crt'), ...options })
      } catch (thrown) {
        error = thrown
      }
      assert.ok(error instanceof TypeError && 'code' in error && error.code === 'ERR_INVALID_ARG_VALUE')
      if (!shown) assertNoSecret(error, name)
    })
  }

  it('in what NODE_DEBUG=multidialer prints', async (t) => {
    const answers = [401, 200, 302, 500].map(echo)
    answers.push(...[listOf(TOKEN, '10.77.0.8'), listOf('Endpoints', TOKEN)]
      .map((body): Answerer => () => response(200, body)))
    let next = 0
    const server = await LocalServer.start('every-ip', {}, (head, socket) =>
      answers[next++ % answers.length]?.(head, socket))
    t.after(() => server.stop())
    const program = startProgram(`
      const dialer = new Multidialer({ ...given.options, server: given.url, token: given.secret })
      const token = () => { throw new Error(given.secret) }
      const refused = new Multidialer({ ...given.options, server: 'https://127.0.0.1:1', token })
      for (const one of [dialer, refused]) {
        for (let i = 0; i < 8; i += 1) {
          await one.refresh().catch(() => {})
          await one.connect().then((socket) => socket.destroy(), () => {})
        }
        one.close()
      }
    `, {
      url: `https://127.0.0.1:${server.port}`, secret: TOKEN,
      options: { ca: pem('ca.crt'), cert: pem('client-b.crt'), key: KEY, passphrase: PASSPHRASE },
    }, { env: { NODE_DEBUG: 'multidialer' } })
    assert.equal(await program.ended, 0)
    const text = program.lines.join('\n')
    for (const what of ['warning', 'failed']) assert.match(text, new RegExp(`MULTIDIALER \\d+: ${what}`))
    assertClean(text, 'the debug output')
  })
})

const isSocket = (value: unknown): value is TLSSocket =>
  typeof value === 'object' && value !== null && 'destroy' in value

/** One request by a caller who proves himself otherwise. */
function request(agent: https.Agent, options: https.RequestOptions = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = https.get({
      host: '10.77.0.1', port: 6443, path: '/version', agent, timeout: 300, ...options,
    }, (response: IncomingMessage) => {
      response.on('error', reject).resume().once('close', () => resolve(response.statusCode))
    })
    sent.on('timeout', () => sent.destroy(new Error('timeout')))
    sent.on('error', reject)
  })
}

function show(diary: Diary, agent: MultidialerAgent): void {
  diary.add('the agent', agent)
  diary.add('agent.options', agent.options)
  diary.add('the dialer', agent.dialer)
  diary.add('the snapshot', agent.dialer.snapshot())
  diary.add('the snapshot as JSON', JSON.stringify(agent.dialer.snapshot()))
  diary.add('the dialer as JSON', JSON.stringify(agent.dialer))
  diary.add('the keys of the pool',
    [agent.sockets, agent.freeSockets, agent.requests].flatMap((pool) => Object.keys(pool)))
  diary.add('a store', fileStore('/nowhere/endpoints'))
}

describe('the token has one place on the wire', () => {
  let server: LocalServer
  let elsewhere: LocalServer
  const network = new Network()
  before(async () => {
    server = await LocalServer.start('name-kubernetes.default.svc', {}, (head, socket) => {
      if (discoveries(head)) return response(200, endpointsBody([ADDRESS]))
      return head.startsWith('GET /redirect')
        ? response(302, '', { location: 'https://10.77.0.66:6443/' })
        : response(200, String(socket.remotePort))
    })
    elsewhere = await LocalServer.start('name-kubernetes.default.svc', {}, () => response(200, '{}'))
    network.lead(ADDRESS, server)
    network.lead('10.77.0.66:6443', elsewhere)
  })
  after(async () => {
    await server.stop()
    await elsewhere.stop()
  })

  function agentOf(t: TestContext): MultidialerAgent {
    const agent = new MultidialerAgent({
      server: `https://${ADDRESS}`, servername: 'kubernetes.default.svc', ca: pem('ca.crt'), token: TOKEN,
      connectSocket: network.connectSocket,
    })
    t.after(() => agent.destroy())
    return agent
  }

  it('the GET of discovery, and no request of a caller', async (t) => {
    const agent = agentOf(t)
    const own = ['/version', '/redirect', '/api/v1/namespaces/default/endpoints/kubernetes?of=the-caller']
    for (const path of own) {
      await request(agent, { path })
    }
    await agent.dialer.refresh()
    const socket = await agent.dialer.connect()
    socket.write('GET /raw HTTP/1.1\r\n\r\n')
    await once(socket, 'data')
    socket.destroy()
    const withToken = server.heads.filter((head) => head.includes(TOKEN))
    assert.ok(withToken.length > 0)
    for (const head of withToken) {
      // One that follows a slow answer is asked without the cache (H12).
      assert.match(head, /^GET \/api\/v1\/namespaces\/default\/endpoints\/kubernetes(\?resourceVersion=0)? HTTP\/1\.1\r\n/)
      assert.match(head, new RegExp(`\r\nauthorization: Bearer ${TOKEN}\r\n`))
    }
    for (const path of [...own, '/raw']) {
      const heads = server.heads.filter((head) => head.startsWith(`GET ${path} HTTP`))
      assert.ok(heads.length > 0, path)
      for (const head of heads) assert.ok(!head.includes(TOKEN), head)
    }
  })

  it('a redirect is never followed, neither by discovery nor by a request', async (t) => {
    for (const status of [301, 302, 303, 307, 308]) {
      server.answer = () => response(status, endpointsBody(['10.77.0.66:6443']), {
        location: 'https://10.77.0.66:6443/api',
      })
      const agent = agentOf(t)
      const before = server.heads.length
      await assert.rejects(agent.dialer.refresh(), { message: new RegExp(`it answered ${status}`) })
      assert.equal(await request(agent), status)
      assert.ok(server.heads.length > before)
    }
    assert.ok(!network.dialled.includes('10.77.0.66:6443'))
    assert.equal(elsewhere.received, '')
  })
})
