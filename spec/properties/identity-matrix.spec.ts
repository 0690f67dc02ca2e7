/**
 * Identity (I1 to I4) as a matrix over real handshakes. The rules are written down here, as data, before anything is
 * dialled, and know nothing of lib/connect/identity.ts:
 *
 *   1. A certificate that is not of the cluster's CA, not of its time or not a server's is refused, whatever it says.
 *   2. Where a servername is set, the certificate must prove it, and nothing else counts.
 *   3. Otherwise the seed must prove the seed's host, and any other endpoint one of: the seed's host, the IP that was
 *      dialled, kubernetes.default.svc, kubernetes.default, kubernetes.
 *   4. A common name proves nothing: only a subjectAltName does (RFC 9525; Go's clients since 1.15).
 *   5. rejectUnauthorized: false, and nothing else, takes whatever comes.
 *   6. A resumed handshake comes to the same as a full one.
 *   7. The name that is sent (SNI) is one that the caller wrote down, or none.
 *
 * Whatever is refused has not got a byte. The second half has what a session must never outlive.
 */
import '../support/patient.ts'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import tls from 'node:tls'
import type { Endpoint } from '../../lib/core/endpoint.ts'
import { identityOf } from '../../lib/connect/identity.ts'
import { MultidialError } from '../../lib/errors.ts'
import { Multidialer, type MultidialerOptions } from '../../lib/multidialer.ts'
import { attempt, Sessions } from '../../lib/connect/attempt.ts'
import { certificateFile } from '../support/control-plane.ts'
import { partOf } from '../support/part.ts'
import { startProgram } from '../support/program.ts'
import { endpointsBody, LocalServer, Network, pem, response } from '../support/tls-servers.ts'

const NAME = 'api.test.example'
const SERVICE = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc']

/** What each certificate says: the names of this spec that it proves, and what is wrong with it as a whole. */
interface Certificate {
  readonly proves: readonly string[]
  readonly broken?: RegExp
}

const ALL = ['127.0.0.1', '127.0.0.2', '::1', ...SERVICE]
const CERTIFICATES: Readonly<Record<string, Certificate>> = {
  'own-ip-1': { proves: ['127.0.0.1'] },
  'own-ip-2': { proves: ['127.0.0.2'] },
  'own-ip-3': { proves: [] },
  'own-ip-ip6': { proves: ['::1'] },
  'kubeadm-2': { proves: ['127.0.0.2', ...SERVICE] },
  'every-ip': { proves: ALL },
  'name-kubernetes': { proves: ['kubernetes'] },
  'name-kubernetes.default': { proves: ['kubernetes.default'] },
  'name-kubernetes.default.svc': { proves: ['kubernetes.default.svc'] },
  'name-kubernetes.default.svc.cluster.local': { proves: [] },
  'name-localhost': { proves: [] },
  'name-api.test.example': { proves: [NAME] },
  'wildcard-test.example': { proves: [NAME] },
  'wildcard-default.svc': { proves: ['kubernetes.default.svc'] },
  'wrong-name': { proves: [] },
  'cn-only': { proves: [] },
  'cn-ip-only': { proves: [] },
  expired: { proves: ALL, broken: /^CERT_HAS_EXPIRED$/ },
  'not-yet-valid': { proves: ALL, broken: /^CERT_NOT_YET_VALID$/ },
  'from-other-ca': { proves: ALL, broken: /^UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT_LOCALLY)$/ },
  'self-signed': { proves: ALL, broken: /^DEPTH_ZERO_SELF_SIGNED_CERT$/ },
  'client-only': { proves: ALL, broken: /^INVALID_PURPOSE$/ },
}

const SEEDS: Readonly<Record<string, Endpoint>> = {
  IP: { host: '127.0.0.1', port: 6443 },
  IPv6: { host: '::1', port: 6443 },
  name: { host: NAME, port: 6443 },
}
const PEER: Endpoint = { host: '127.0.0.2', port: 6443 }
const SERVERNAMES = [undefined, NAME, 'kubernetes.default.svc'] as const
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const
type Version = (typeof VERSIONS)[number]

interface Cell {
  readonly seed: Endpoint
  readonly isSeed: boolean
  readonly certificate: string
  readonly servername: string | undefined
  readonly rejectUnauthorized: boolean
}

type Verdict = 'accepted' | 'its chain is refused' | 'its name is refused'

/** The rules, once more, as a function of nothing but the cell. */
function verdictOf({ seed, isSeed, certificate, servername, rejectUnauthorized }: Cell): Verdict {
  const { proves, broken } = CERTIFICATES[certificate] ?? { proves: [] }
  if (!rejectUnauthorized) return 'accepted'
  if (broken !== undefined) return 'its chain is refused'
  const counts = servername !== undefined ? [servername] : isSeed ? [seed.host] : [seed.host, PEER.host, ...SERVICE]
  return counts.some((name) => proves.includes(name)) ? 'accepted' : 'its name is refused'
}

const cells: readonly Cell[] = Object.values(SEEDS).flatMap((seed) => [true, false].flatMap((isSeed) =>
  Object.keys(CERTIFICATES).flatMap((certificate) => [
    ...SERVERNAMES.map((servername) => ({ seed, isSeed, certificate, servername, rejectUnauthorized: true })),
    // Where nothing is verified no name counts, so that one will do; another one for every other certificate.
    { seed, isSeed, certificate, servername: certificate.length % 2 ? undefined : NAME, rejectUnauthorized: false },
  ])))

const played = partOf(cells)

const addressOf = ({ host, port }: Endpoint): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)
const nameOf = (cell: Cell): string =>
  `${cell.isSeed ? 'the seed' : '127.0.0.2, seed'} ${cell.seed.host}, ${cell.certificate}, ` +
  `servername ${cell.servername ?? 'not set'}, rejectUnauthorized ${cell.rejectUnauthorized}`

const servers = new Map<string, LocalServer>()
const serverOf = (certificate: string, version: Version): LocalServer => {
  const server = servers.get(`${certificate} ${version}`)
  assert.ok(server)
  return server
}

before(async () => {
  for (const version of VERSIONS) {
    for (const certificate of Object.keys(CERTIFICATES)) {
      const options = { minVersion: version, maxVersion: version }
      servers.set(`${certificate} ${version}`, await LocalServer.start(certificate, options, () => response(404, '{}')))
    }
  }
})
after(async () => {
  for (const server of servers.values()) await server.stop()
})

/** The token of a cell. */
function canaryOf(cell: Cell): string {
  return `canary-${cells.indexOf(cell)}-of-the-matrix`
}

/** The dialer of a cell, whose wanted endpoint is the only one that does not refuse. */
function dialerOf(cell: Cell, network: Network): Multidialer {
  return new Multidialer({
    server: `https://${addressOf(cell.seed)}`,
    alternates: cell.isSeed ? [] : [addressOf(PEER)],
    ca: pem('ca.crt'),
    token: canaryOf(cell),
    refreshInterval: 0,
    servername: cell.servername,
    rejectUnauthorized: cell.rejectUnauthorized,
    connectSocket: network.connectSocket,
  })
}

/** One dial: the verdict it came to, and whether its handshake was a resumed one. */
async function dial(
  dialer: Multidialer, cell: Cell,
): Promise<{ verdict: Verdict; resumed: boolean; socket?: tls.TLSSocket }> {
  try {
    const socket = await dialer.connect()
    return { verdict: 'accepted', resumed: socket.isSessionReused(), socket: socket.on('error', () => {}) }
  } catch (error) {
    assert.ok(error instanceof MultidialError, String(error))
    const address = addressOf(cell.isSeed ? cell.seed : PEER)
    const code = error.errors.find((each) => each.address === address)?.code ?? ''
    return { verdict: refusalOf(code, cell), resumed: false }
  }
}

function refusalOf(code: string, cell: Cell): Verdict {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'its name is refused'
  const { broken } = CERTIFICATES[cell.certificate] ?? {}
  assert.match(code, broken ?? /^never$/, nameOf(cell))
  return 'its chain is refused'
}

/** The ticket of TLS 1.3 comes after the handshake, so with the first answer at the latest. */
async function answered(socket: tls.TLSSocket): Promise<void> {
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await once(socket, 'data')
  socket.destroy()
}

/** A session as an unverified handshake gives it: what would be resumed if somebody had let it in before. */
async function planted(cell: Cell, server: LocalServer, sni: string, version: Version): Promise<Sessions> {
  const socket = tls.connect({
    host: '127.0.0.1', port: server.port, servername: sni, ca: pem('ca.crt'), rejectUnauthorized: false,
    minVersion: version, maxVersion: version,
  })
  const ticket = once(socket, 'session')
  await once(socket, 'secureConnect')
  const certificate = socket.getPeerCertificate()
  socket.write('GET / HTTP/1.1\r\n\r\n')
  const [session] = await ticket
  assert.ok(Buffer.isBuffer(session))
  socket.destroy()
  const sessions = new Sessions()
  sessions.set(cell.isSeed ? cell.seed : PEER, sni, { ticket: session, certificate })
  return sessions
}

async function resumedVerdict(cell: Cell, version: Version): Promise<Verdict> {
  const server = serverOf(cell.certificate, version)
  const endpoint = cell.isSeed ? cell.seed : PEER
  const identity = identityOf(endpoint, { servername: cell.servername, seeds: [cell.seed], alternates: [] })
  const sessions = await planted(cell, server, identity.sni, version)
  const connectSocket = (): net.Socket => net.connect({ host: '127.0.0.1', port: server.port })
  return new Promise((resolve, reject) => {
    attempt({
      endpoint, identity, rejectUnauthorized: cell.rejectUnauthorized, connectSocket, sessions, ref: true,
      tls: { ca: pem('ca.crt') },
    }, (error, socket) => {
      try {
        if (socket !== undefined) assert.ok(socket.isSessionReused(), `resumed: ${nameOf(cell)}`)
        socket?.destroy()
        const code = error !== undefined && 'code' in error ? String(error.code) : String(error)
        resolve(socket === undefined ? refusalOf(code, cell) : 'accepted')
      } catch (thrown) {
        reject(thrown)
      }
    })
  })
}

/** All of them, some at a time. */
async function eachOf<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const rest = [...items]
  const worker = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await run(item)
  }
  await Promise.all(Array.from({ length: 8 }, worker))
}

describe(`I1 to I4 the matrix, ${played.length} of ${cells.length} cells (CI=true plays all)`, () => {
  it('has cells of every verdict', () => {
    assert.equal(new Set(cells.map(verdictOf)).size, 3)
    assert.equal(cells.length, 3 * 2 * 22 * (3 + 1))
  })

  for (const version of VERSIONS) {
    for (const rejectUnauthorized of [true, false]) {
      const those = played.filter((cell) => cell.rejectUnauthorized === rejectUnauthorized)

      it(`${version}, rejectUnauthorized ${rejectUnauthorized}: ` +
        'each full handshake comes to its verdict, and so does the next', async () => {
        await eachOf(those, async (cell) => {
          const network = new Network()
          network.lead(addressOf(cell.isSeed ? cell.seed : PEER), serverOf(cell.certificate, version))
          const dialer = dialerOf(cell, network)
          try {
            const first = await dial(dialer, cell)
            assert.equal(first.verdict, verdictOf(cell), nameOf(cell))
            assert.equal(first.resumed, false)
            if (first.socket !== undefined) await answered(first.socket)
            const second = await dial(dialer, cell)
            assert.equal(second.verdict, verdictOf(cell), `again: ${nameOf(cell)}`)
            assert.equal(second.resumed, second.verdict === 'accepted', `resumed: ${nameOf(cell)}`)
            second.socket?.destroy()
          } finally {
            dialer.close()
          }
        })
      })

      it(`${version}, rejectUnauthorized ${rejectUnauthorized}: ` +
        'each handshake resumed from an unverified one comes to its verdict', async () => {
        await eachOf(those, async (cell) =>
          assert.equal(await resumedVerdict(cell, version), verdictOf(cell), nameOf(cell)))
      })
    }
  }

  // Of a cell that is accepted, a slow machine may have had time for a heartbeat.
  it('I4 no server has got the token of a cell in which it did not pass, whatever it was taken for', () => {
    for (const [name, { received }] of servers) {
      for (const cell of played) {
        const passed = verdictOf(cell) === 'accepted' && name.startsWith(`${cell.certificate} `)
        assert.ok(passed || !received.includes(canaryOf(cell)), `${name}: ${nameOf(cell)}`)
      }
    }
  })
})

describe('I2 the common name', () => {
  it('proves nothing, also of a certificate that has a subjectAltName without a DNS name', async (t) => {
    // own-ip-1 has IP:127.0.0.1, and kube-apiserver as its common name.
    const network = new Network()
    network.lead('127.0.0.1:6443', serverOf('own-ip-1', 'TLSv1.3'))
    const options = {
      server: 'https://127.0.0.1:6443', ca: pem('ca.crt'), refreshInterval: 0, connectSocket: network.connectSocket,
    }
    const dialer = new Multidialer({ ...options, servername: 'kube-apiserver' })
    t.after(() => dialer.close())
    await assert.rejects(dialer.connect(), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  })
})

describe('I2 the name that is sent', () => {
  /** The seed, the alternates, the only address that does not refuse, and the name that reaches it. */
  const rows: readonly (readonly [seed: string, alternates: readonly string[], dialled: string, sent: string])[] = [
    ['10.77.0.1:6443', [], '10.77.0.1:6443', ''],
    ['[2001:db8::1]:6443', [], '[2001:db8::1]:6443', ''],
    ['10.77.0.1:6443', ['10.77.0.2:6443'], '10.77.0.2:6443', ''],
    ['10.77.0.1:6443', [`${NAME}:6443`], `${NAME}:6443`, NAME],
    [`${NAME}:6443`, [], `${NAME}:6443`, NAME],
    [`${NAME}:6443`, ['10.77.0.2:6443'], '10.77.0.2:6443', NAME],
    [`${NAME}:6443`, ['other.test.example:6443'], 'other.test.example:6443', 'other.test.example'],
    ['localhost:6443', [], 'localhost:6443', 'localhost'],
    ['localhost:6443', ['127.0.0.2:6443'], '127.0.0.2:6443', 'localhost'],
    ['localhost:6443', ['10.77.0.2:6443'], '10.77.0.2:6443', ''],
  ]
  for (const [seed, alternates, dialled, sent] of rows) {
    it(`to ${dialled}, with the seed ${seed}, is ${sent || 'none'}`, async (t) => {
      const server = await LocalServer.start('every-ip', {}, () => response(404, '{}'))
      t.after(() => server.stop())
      const network = new Network()
      network.lead(dialled, server)
      using dialer = new Multidialer({
        server: `https://${seed}`, alternates, ca: pem('ca.crt'), rejectUnauthorized: false, refreshInterval: 0,
        connectSocket: network.connectSocket,
      })
      await answered(await dialer.connect())
      assert.deepEqual(server.names.slice(0, 1), [sent])
    })
  }

  it('is none for an IP, so that a server that chooses by it shows the certificate that every client sees', async (t) => {
    const other = tls.createSecureContext({ cert: pem('from-other-ca.crt'), key: pem('server.key') })
    const SNICallback: tls.TlsOptions['SNICallback'] = (_name, done) => done(null, other)
    const server = await LocalServer.start('every-ip', { SNICallback }, () => response(404, '{}'))
    t.after(() => server.stop())
    const network = new Network()
    for (const address of ['127.0.0.1:6443', '127.0.0.2:6443']) network.lead(address, server)
    using dialer = new Multidialer({
      server: 'https://127.0.0.1:6443', alternates: ['127.0.0.2:6443'], ca: pem('ca.crt'), refreshInterval: 0,
      connectSocket: network.connectSocket,
    })
    await answered(await dialer.connect())
    network.cut('127.0.0.1:6443')
    await answered(await dialer.connect())
    assert.ok(server.names.every((name) => name === ''), server.names.join())
  })
})

describe('I2 without a CA of its own', () => {
  it('a learned endpoint does not prove itself by its IP, which any public CA may certify; with one it does',
    async (t) => {
    const list = (): string => response(200, endpointsBody(['10.77.0.2:6443']))
    const seed = await LocalServer.start('name-localhost', {}, list)
    const other = await LocalServer.start('own-ip-2', {}, list)
    t.after(() => Promise.all([seed.stop(), other.stop()]))
    // The environment makes the fixtures' CA one of those that the system trusts.
    const program = startProgram(`
      import net from 'node:net'
      for (const ca of [undefined, given.ca]) {
        let isDown = false
        const dialer = new Multidialer({
          server: 'https://localhost:' + given.seed, ca, token: 'canary-of-the-web',
          mapEndpoint: () => ({ host: '127.0.0.2', port: given.other }),
          connectSocket: ({ port }) => new Promise((resolve, reject) => {
            if (isDown && port === given.seed) {
              return reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
            }
            const socket = net.connect(port, '127.0.0.1', () => resolve(socket)).on('error', reject)
          }),
        })
        await dialer.refresh()
        isDown = true
        const accepted = (socket) => { socket.destroy(); return 'accepted' }
        console.log(await dialer.connect().then(accepted, (error) => error.code))
        dialer.close()
      }
    `, { seed: seed.port, other: other.port, ca: pem('ca.crt') }, {
      env: { NODE_EXTRA_CA_CERTS: certificateFile('ca.crt') },
    })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual(program.lines, ['ERR_TLS_CERT_ALTNAME_INVALID', 'accepted'])
  })
})

describe('I4 what would be lost', () => {
  it('an option of node:tls that says whom to trust is refused by a dialer, not ignored', () => {
    for (const option of [{ checkServerIdentity: () => undefined }, { secureContext: tls.createSecureContext() }]) {
      assert.throws(() => new Multidialer({ server: 'https://127.0.0.1:6443', ...option }), {
        code: 'ERR_INVALID_ARG_VALUE', message: new RegExp(`^The option '${Object.keys(option)[0]}'`),
      })
    }
  })
})

describe('I4 the environment', () => {
  it('NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing: every wrong certificate is refused, every good one taken',
    async (t) => {
    const good = await LocalServer.start('own-ip-1', {}, () => response(404, '{}'))
    t.after(() => good.stop())
    const wrong = ['own-ip-2', 'expired', 'from-other-ca', 'self-signed', 'client-only'] as const
    const given = {
      ca: pem('ca.crt'),
      good: good.port,
      wrong: wrong.flatMap((name) => VERSIONS.map((version) => serverOf(name, version).port)),
    }
    const program = startProgram(`
      const dial = (port) => {
        const dialer = new Multidialer({ server: 'https://127.0.0.1:' + port, ca: given.ca, refreshInterval: 0 })
        return dialer.connect().then((socket) => { socket.destroy(); return 'accepted' }, (error) => error.code)
      }
      console.log(await dial(given.good), (await Promise.all(given.wrong.map(dial))).join(' '))
    `, given, { env: { NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' } })
    assert.equal(await program.ended, 0)
    const [first, ...codes] = (program.lines.at(-1) ?? '').split(' ')
    assert.equal(first, 'accepted')
    assert.equal(codes.length, given.wrong.length)
    for (const code of codes) assert.match(code, /^(ERR_TLS_CERT_ALTNAME_INVALID|CERT_|UNABLE_|DEPTH_|INVALID_PURPOSE)/)
  })
})

describe('I3 a session never crosses', () => {
  /** Two servers that would resume each other's sessions, a dialer that knows both, and whom it may reach. */
  interface Pair {
    readonly one: LocalServer
    readonly two: LocalServer
    readonly network: Network
    readonly folder: string
    readonly dialer: Multidialer
    /** Dials; tells whether the handshake resumed a session. */
    resumes(options?: object): Promise<boolean>
  }

  async function pair(
    t: TestContext, version: Version,
    options: Partial<MultidialerOptions> | ((folder: string) => Partial<MultidialerOptions>) = {},
  ): Promise<Pair> {
    const folder = mkdtempSync(join(tmpdir(), 'identity-'))
    const shared = { ticketKeys: randomBytes(48), sessionIdContext: 'pair', minVersion: version, maxVersion: version }
    const one = await LocalServer.start('every-ip', shared, () => response(404, '{}'))
    const two = await LocalServer.start('every-ip', shared, () => response(404, '{}'))
    const network = new Network()
    network.lead('127.0.0.1:6443', one)
    network.lead('127.0.0.2:6443', two)
    const extra = typeof options === 'function' ? options(folder) : options
    const dialer = new Multidialer({
      server: 'https://127.0.0.1:6443', alternates: ['127.0.0.2:6443'], refreshInterval: 0,
      ...('caFile' in extra ? {} : { ca: pem('ca.crt') }), connectSocket: network.connectSocket, ...extra,
    })
    t.after(async () => {
      dialer.close()
      await one.stop()
      await two.stop()
      rmSync(folder, { recursive: true })
    })
    const resumes = (own: object = {}): Promise<boolean> => new Promise((resolve, reject) => {
      dialer.createConnection({ ...own }, (error, socket) => {
        if (socket === undefined) return reject(error)
        const resumed = socket.isSessionReused()
        answered(socket).then(() => resolve(resumed), reject)
      })
    })
    return { one, two, network, folder, dialer, resumes }
  }

  /** As a kubelet replaces a file: another one, whole, in its place. */
  function replace(from: string, to: string): void {
    copyFileSync(from, `${to}.new`)
    renameSync(`${to}.new`, to)
  }

  for (const version of VERSIONS) {
    it(`${version}: the endpoint, although the next one would resume it`, async (t) => {
      const { network, resumes, one, two } = await pair(t, version)
      assert.equal(await resumes(), false)
      assert.equal(await resumes(), true, 'to the same endpoint it is resumed')
      network.cut('127.0.0.1:6443')
      assert.equal(await resumes(), false, 'to another it is not')
      // Heartbeats make connections, too.
      assert.ok(one.resumed.includes(true))
      assert.ok(!two.resumed[0])
    })

    it(`${version}: the name`, async (t) => {
      const { resumes } = await pair(t, version)
      assert.equal(await resumes(), false)
      assert.equal(await resumes({ servername: 'kubernetes' }), false)
      assert.equal(await resumes({ servername: 'kubernetes' }), false,
        "nor is one connection's own session kept for another")
      assert.equal(await resumes(), true)
    })

    it(`${version}: the policy`, async (t) => {
      const { resumes } = await pair(t, version)
      assert.equal(await resumes({ rejectUnauthorized: false }), false)
      assert.equal(await resumes(), false, 'what was not verified is not resumed')
      assert.equal(await resumes({ rejectUnauthorized: false }), false)
      assert.equal(await resumes({ checkServerIdentity: () => undefined }), false)
      assert.equal(await resumes(), true)
    })

    it(`${version}: a client certificate of one connection's own`, async (t) => {
      // No connection of the dialer's own is among those that are counted (F4).
      const { resumes, one } = await pair(t, version, { heartbeatInterval: 0 })
      assert.equal(await resumes({ cert: pem('client-a.crt'), key: pem('client-a.key') }), false)
      assert.equal(await resumes(), false)
      assert.equal(await resumes({ cert: pem('client-b.crt'), key: pem('client-b.key') }), false)
      assert.deepEqual(one.clients, ['client-a', '', 'client-b'])
    })

    it(`${version}: the CA, when its file is replaced by another's`, async (t) => {
      const { resumes, folder } = await pair(t, version, (folder) => {
        replace(certificateFile('ca.crt'), join(folder, 'ca.crt'))
        return { caFile: join(folder, 'ca.crt') }
      })
      assert.equal(await resumes(), false)
      assert.equal(await resumes(), true)
      replace(certificateFile('other-ca.crt'), join(folder, 'ca.crt'))
      await assert.rejects(resumes(), { code: /^(UNABLE_|SELF_SIGNED_)/ })
      replace(certificateFile('ca.crt'), join(folder, 'ca.crt'))
      assert.equal(await resumes(), false, 'nor is the session from before the change taken up again')
    })

    it(`${version}: nor does a connection kept for heartbeats outlive the client certificate`, async (t) => {
      const { dialer, folder, one } = await pair(t, version, (folder) => {
        replace(certificateFile('client-a.crt'), join(folder, 'tls.crt'))
        replace(certificateFile('client-a.key'), join(folder, 'tls.key'))
        return { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') }
      })
      one.answer = () => response(200, endpointsBody(['127.0.0.1:6443']))
      await dialer.refresh()
      await dialer.refresh()
      assert.deepEqual(one.clients, ['client-a'])
      replace(certificateFile('client-b.key'), join(folder, 'tls.key'))
      replace(certificateFile('client-b.crt'), join(folder, 'tls.crt'))
      await dialer.refresh()
      assert.deepEqual(one.clients, ['client-a', 'client-b'])
    })

    it(`${version}: the client certificate, when its files are replaced`, async (t) => {
      const { resumes, folder, one } = await pair(t, version, (folder) => {
        replace(certificateFile('client-a.crt'), join(folder, 'tls.crt'))
        replace(certificateFile('client-a.key'), join(folder, 'tls.key'))
        return { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') }
      })
      assert.equal(await resumes(), false)
      replace(certificateFile('client-b.key'), join(folder, 'tls.key'))
      assert.equal(await resumes(), true, 'between the two files the old pair stays, and its session')
      replace(certificateFile('client-b.crt'), join(folder, 'tls.crt'))
      assert.equal(await resumes(), false)
      assert.equal(one.clients.at(0), 'client-a')
      assert.equal(one.clients.at(-1), 'client-b')
    })
  }
})
