/**
 * Poisoned lists, end to end: servers that answer discovery with whatever a generator makes up, and a dialer that reads
 * it. Each case is made together with what it must come to, so that nothing of lib/ says what is right; which addresses
 * may be dialled at all is net.BlockList's to say. Every address that is dialled is written down, and some of those
 * that may be listed belong to servers that are not of the cluster.
 */
import '../support/patient.ts'
import assert from 'node:assert/strict'
import net from 'node:net'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { Multidialer, type MultidialerOptions } from '../../lib/multidialer.ts'
import { Random } from '../support/grammar.ts'
import { endpointsBody, LocalServer, Network, pem, response } from '../support/tls-servers.ts'

const ALL_RUNS = 4
const RUNS = process.env['CI'] === 'true' ? ALL_RUNS : 2
const TOKEN = 'canary-of-the-lists'
const SEED = '10.77.0.1:6443'
/** Of the cluster, and up. */
const GOOD = ['10.77.0.2', '10.77.0.3', '2001:db8::3']
/** Of the cluster, and gone. */
const GONE = ['10.77.0.8', '2001:db8::8']
/** Addresses like any other, where somebody else answers. */
const IMPOSTORS = {
  '10.66.0.1': 'from-other-ca', '10.66.0.2': 'self-signed', '10.66.0.3': 'wrong-name', '10.66.0.4': 'client-only',
  '10.66.0.5': 'expired', '10.66.0.6': 'cn-only', '10.66.0.7': 'own-ip-2', '2001:db8::66': 'not-yet-valid',
} as const
const USABLE = [...GOOD, ...GONE, ...Object.keys(IMPOSTORS)]
/** What no list may make anybody dial. */
const REFUSED: readonly unknown[] = [
  '127.0.0.1', '127.9.9.9', '::1', '169.254.169.254', '169.254.1.1', 'fe80::1', 'fe80::a9fe:a9fe', '224.0.0.1',
  'ff02::1', '239.255.255.255', '255.255.255.255', '0.0.0.0', '0.1.2.3', '::', '::ffff:127.0.0.1',
  '::ffff:169.254.169.254', '::127.0.0.1', '::ffff:0:127.0.0.1', '64:ff9b::7f00:1', '64:ff9b::169.254.169.254',
  '2002:7f00:1::', '2002:a9fe:a9fe::1', 'fe80::1%eth0', '2001:db8::3%1', '10.77.0.2%lo', '010.77.0.2', '10.77.2',
  '0x0a.77.0.2', '10.77.0.2.', '2130706433', '127.1', 'localhost', 'metadata.google.internal', 'kubernetes.default.svc',
  '10.77.0.2:6443', '[2001:db8::3]', 'https://10.77.0.2', '', ' 10.77.0.2', '10.77.0.2 ', '10.77.0.2\r\nhost: x',
  '10.77.0.2\0', '１０.77.0.2', '10。77。0。2', '10.77.0.256', '10.77.0.-1', 'g::1', ':::1', '1:2:3:4:5:6:7:8:9',
  'x'.repeat(10_000), null, 7, true, {}, [], ['10.77.0.2'], { ip: '10.77.0.2' },
]
const BAD_PORTS: readonly unknown[] = [0, -1, 65_536, 6443.5, '6443', null, true, 1e21, [6443], { port: 6443 }]

/** An answer to discovery and what is good in it. */
interface Case {
  readonly endpoints: string
  readonly slices: string
  /** The addresses that are ready; undefined where it must change nothing. */
  readonly list: readonly string[] | undefined
  /** Those that are not. */
  readonly unready?: readonly string[]
}

const MISSING = response(404, '{"kind":"Status"}')
const write = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`)
const some = <T>(random: Random, items: readonly T[], most: number): T[] =>
  Array.from({ length: random.below(most + 1) }, () => random.pick(items))

/** A mixture of what is good and what is not. */
function mixture(random: Random): Case {
  const list = new Set<string>()
  const notReady = new Set<string>()
  const asSlices = random.chance(0.4)
  const subsets = Array.from({ length: 1 + random.below(3) }, () => {
    const port = 6443
    const badPort = random.chance(0.2)
    // A slice is of one family.
    const usable = asSlices ? USABLE.filter((ip) => !ip.includes(':')) : USABLE
    const good = some(random, usable, 4)
    const items: unknown[] = [...good, ...some(random, REFUSED, 6)].sort(() => random.next() - 0.5)
    const waiting = some(random, usable, 2)
    const unready: unknown[] = [...waiting, ...some(random, REFUSED, 2)]
    if (!badPort) for (const ip of good) list.add(write(ip, port))
    if (!badPort) for (const ip of waiting) notReady.add(write(ip, port))
    const ports = badPort
      ? random.pick<unknown>([
          [{ name: 'https', port: random.pick(BAD_PORTS) }], [], [{ port }, { port: 1 }], 'https',
          [{ port, protocol: 'UDP' }],
        ])
      : random.pick<unknown>([
          [{ name: 'https', port }], [{ port }], [{ name: 'metrics', port: 9 }, { name: 'https', port }],
        ])
    return asSlices
      ? {
          addressType: 'IPv4', ports, metadata: { labels: { 'kubernetes.io/service-name': 'kubernetes' } },
          endpoints: [
            ...items.map((item) => ({ addresses: [item], conditions: random.pick([{ ready: true }, {}, undefined]) })),
            ...unready.map((item) => ({ addresses: [item], conditions: { ready: false } })),
            ...random.chance(0.2) ? [null, 7, { addresses: 'x' }] : [],
          ],
        }
      : {
          ports,
          addresses: [
            ...items.map((ip) => ({ ip, hostname: 'x', __proto__: 1 })),
            ...random.chance(0.2) ? [null, 'x', []] : [],
          ],
          notReadyAddresses: unready.map((ip) => ({ ip })),
        }
  })
  const body = asSlices
    ? { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', items: subsets }
    : { kind: 'Endpoints', apiVersion: 'v1', metadata: {}, subsets }
  const answer = response(200, JSON.stringify(body))
  return {
    endpoints: asSlices ? MISSING : answer, slices: asSlices ? answer : MISSING,
    list: list.size === 0 ? undefined : [...list], unready: [...notReady],
  }
}

/** What is no list at all. */
function nonsense(random: Random): Case {
  const whole = endpointsBody(['10.66.0.1:6443', '10.66.0.2:6443'])
  const answer = random.pick([
    () => response(200, ''), () => response(200, 'null'), () => response(200, '[]'),
    () => response(200, '<html>login</html>'),
    () => response(200, `${'['.repeat(10_000)}${']'.repeat(10_000)}`),
    () => response(200, '{"__proto__":{"kind":"Endpoints"}}'),
    () => response(200, whole.replace('Endpoints', 'Secret')), () => response(200, whole.replace('"v1"', '"v2"')),
    () => response(200, whole.slice(0, random.below(whole.length))), () => response(200, endpointsBody([])),
    () => response(200, endpointsBody(['127.0.0.1:6443', '169.254.169.254:80', '[::1]:6443'])),
    () => response(200, whole.replace('"subsets":', '"subsets":{"x":').replace(/}$/, '}}')),
    () => response(200, `\ufeff${whole}`), () => response(200, whole, { 'content-encoding': 'gzip' }),
    () => response(random.pick([201, 204, 206, 301, 302, 307, 400, 401, 403, 410, 429, 500, 503]), whole, {
      location: 'https://10.66.0.1:6443/',
    }),
    () => `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n${whole}`,
    () => `HTTP/1.1 200 OK\r\n\r\n${whole}`,
  ])()
  return { endpoints: answer, slices: random.chance(0.5) ? answer : MISSING, list: undefined }
}

/** More than anybody needs, the good ones somewhere in between. */
function flood(random: Random): Case {
  const good = random.pick(GOOD)
  const ips = Array.from({ length: 10_000 }, (_, index) =>
    `127.${index >> 16 & 255}.${index >> 8 & 255}.${index & 255}`)
  ips.splice(random.below(ips.length), 0, good)
  const subsets = [{ addresses: ips.map((ip) => ({ ip })), ports: [{ port: 6443 }] }]
  return {
    endpoints: response(200, JSON.stringify({ kind: 'Endpoints', apiVersion: 'v1', subsets })),
    slices: MISSING, list: [write(good, 6443)],
  }
}

const blocked = new net.BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8], ['127.0.0.0', 8], ['169.254.0.0', 16], ['224.0.0.0', 4],
] as const) blocked.addSubnet(network, prefix)
blocked.addAddress('255.255.255.255')
// Apart: with ::ffff:0:0/96 in the same list, every IPv4 address is.
const blocked6 = new net.BlockList()
for (const [network, prefix] of [
  ['::', 96], ['::ffff:0:0', 96], ['64:ff9b::', 96], ['2002::', 16], ['fe80::', 10], ['ff00::', 8],
] as const) {
  blocked6.addSubnet(network, prefix, 'ipv6')
}

/** Whether a list may make anybody dial it, by another judge than lib/. */
function mayBeDialled(address: string): boolean {
  const host = address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
  const family = net.isIP(host)
  const isBlocked = family === 4 ? blocked.check(host) : blocked6.check(host, 'ipv6')
  return family !== 0 && !host.includes('%') && !isBlocked && address.endsWith(':6443')
}

let seed: LocalServer
let good: LocalServer
const impostors = new Map<string, LocalServer>()
let current: Case = { endpoints: MISSING, slices: MISSING, list: undefined }

before(async () => {
  const answer = (head: string, socket: TLSSocket): string => {
    const bytes = head.includes('/endpointslices')
      ? current.slices
      : head.includes('/endpoints/') ? current.endpoints : MISSING
    // Without a length its end is the connection's.
    if (!bytes.includes('content-length')) setImmediate(() => socket.end())
    return bytes
  }
  // The dialled addresses are made up: the servers of the cluster prove its service names.
  seed = await LocalServer.start('name-kubernetes.default.svc', {}, answer)
  good = await LocalServer.start('name-kubernetes.default.svc', {}, answer)
  for (const [ip, certificate] of Object.entries(IMPOSTORS)) {
    impostors.set(ip, await LocalServer.start(certificate, {}, answer))
  }
})
after(async () => {
  for (const server of [seed, good, ...impostors.values()]) await server.stop()
})

function clusterOf(): Network {
  const network = new Network()
  network.lead(SEED, seed)
  for (const ip of GOOD) network.lead(write(ip, 6443), good)
  for (const [ip, server] of impostors) network.lead(write(ip, 6443), server)
  return network
}

function dialerOf(t: TestContext, network: Network, options: Partial<MultidialerOptions> = {}): Multidialer {
  const dialer = new Multidialer({
    server: `https://${SEED}`, servername: 'kubernetes.default.svc', ca: pem('ca.crt'), token: TOKEN,
    attemptDelay: 1_000, heartbeatTimeout: 10_000,
    connectSocket: network.connectSocket, ...options,
  })
  t.after(() => dialer.close())
  return dialer
}

const listedBy = (dialer: Multidialer): string[] =>
  dialer.snapshot().endpoints.filter(({ listed }) => listed).map(({ address }) => address).sort()

/** Nobody got the token who did not pass, and nothing was dialled that must not be. */
function assertHarmless(network: Network): void {
  assert.deepEqual(network.dialled.filter((address) => !mayBeDialled(address)), [])
  for (const [ip, server] of impostors) assert.equal(server.received, '', `${ip} got bytes`)
}

describe(`R3, R4, I4 whatever arrives, ${RUNS} of ${ALL_RUNS} runs (CI=true plays all)`, () => {
  for (let run = 1; run <= RUNS; run += 1) {
    it(`only vetted addresses are dialled, the last good list survives, the caller is served (seed ${run})`,
      async (t) => {
      const random = new Random(run)
      const network = clusterOf()
      const dialer = dialerOf(t, network, { balance: run % 2 ? 'sticky' : 'spread' })
      const warnings: Error[] = []
      dialer.on('warning', (warning) => warnings.push(warning))
      let lastGood: string[] = []
      let listed: string[] = []
      for (let step = 0; step < 18; step += 1) {
        const make = random.usually(mixture, [nonsense, nonsense, flood], 0.5)
        current = make(random)
        const { list, unready = [] } = current
        // A round that is under way may have its answer from before; the next one has not.
        await dialer.refresh().catch(() => undefined)
        const refreshed = await dialer.refresh().then(
          (endpoints) => endpoints.map(({ host, port }) => write(host, port)).sort(), () => undefined,
        )
        const expected = list === undefined ? undefined : [...list].sort()
        assert.deepEqual(refreshed, expected,
          `step ${step}: ${current.endpoints.slice(0, 2_000)} ${current.slices.slice(0, 2_000)}`)
        lastGood = expected ?? lastGood
        listed = expected === undefined ? listed : [...new Set([...expected, ...unready])].sort()
        assert.deepEqual(listedBy(dialer), listed)
        // The list is put to use where the seed does not answer; the seed stays the last resort.
        if (random.chance(0.5)) network.cut(SEED)
        const served = lastGood.some((address) => GOOD.some((ip) => address === write(ip, 6443)))
        const socket = await dialer.connect().catch(() => undefined)
        if (served) assert.ok(socket, 'a good server was listed')
        socket?.destroy()
        network.mend(SEED)
        const again = await dialer.connect()
        again.destroy()
        assert.deepEqual(listedBy(dialer), listed)
      }
      assertHarmless(network)
      assert.ok(network.dialled.some((address) => address.startsWith('10.66.')), 'impostors were dialled')
      for (const { message } of warnings) assert.match(message, /^[\x20-\x7e]{1,2000}$/)
    })
  }

  it('the token went to those that passed', () => {
    assert.ok(seed.received.includes(`Bearer ${TOKEN}`))
    assert.ok(good.received.includes(`Bearer ${TOKEN}`))
  })
})

describe('a list with nobody of the cluster in it', () => {
  it('gets no token, and the seed goes on serving', async (t) => {
    const network = clusterOf()
    const dialer = dialerOf(t, network, { heartbeatTimeout: 500 })
    current = {
      endpoints: response(200, endpointsBody([...impostors.keys()].map((ip) => write(ip, 6443)))),
      slices: MISSING, list: undefined,
    }
    await dialer.refresh()
    for (let times = 0; times < 5; times += 1) {
      const socket = await dialer.connect()
      socket.destroy()
      network.cut(SEED)
      await assert.rejects(dialer.connect(), { name: 'MultidialError' })
      network.mend(SEED)
    }
    assertHarmless(network)
  })

  it('is refused where all of it is loopback, and allowed where the seed is', async (t) => {
    const network = new Network()
    network.lead('127.0.0.1:6443', seed)
    network.lead('127.0.0.2:6443', good)
    current = {
      endpoints: response(200, endpointsBody(['127.0.0.2:6443', '169.254.169.254:6443', '[fe80::1]:6443'])),
      slices: MISSING, list: undefined,
    }
    const dialer = dialerOf(t, network, { server: 'https://127.0.0.1:6443' })
    assert.deepEqual(await dialer.refresh(), [{ host: '127.0.0.2', port: 6443 }])
  })
})

describe('a list that is another one each time', () => {
  it('is forgotten again: memory is bounded however many addresses have passed, and while dials are under way',
    async (t) => {
    const network = clusterOf()
    const hung = new AbortController()
    const dialer = dialerOf(t, network, {
      // For as long as this takes: a seed that had failed a dial would not be the one that is asked.
      attemptTimeout: 600_000,
      dialTimeout: 600_000,
      connectSocket: (endpoint, options) =>
        (hung.signal.aborted ? new Promise(() => {}) : network.connectSocket(endpoint, options)),
    })
    // The monitor's connection stands; from now on new ones hang.
    current = { endpoints: response(200, endpointsBody([SEED])), slices: MISSING, list: undefined }
    await dialer.refresh()
    hung.abort()
    const pending = dialer.connect().catch(() => undefined)
    let most = 0
    for (let step = 0; step < 60; step += 1) {
      // The seed is among them, so that it stays the one that is asked.
      const ips = [SEED, ...Array.from({ length: 63 }, (_, index) => `10.${step}.1.${index + 1}:6443`)]
      const unready = Array.from({ length: 64 }, (_, index) => ({ ip: `10.${step}.2.${index + 1}` }))
      const surplus = JSON.stringify({ notReadyAddresses: unready, ports: [{ port: 6443 }] })
      const body = endpointsBody(ips).replace(/]}$/, `,${surplus}]}`)
      current = { endpoints: response(200, body), slices: MISSING, list: undefined }
      await dialer.refresh()
      most = Math.max(most, dialer.snapshot().endpoints.length)
    }
    assert.ok(most <= 1 + 2 * 64 + 64 + 32, `${most} endpoints are known`)
    assert.ok(most > 128, 'all of a list is taken')
    dialer.close()
    await pending
  })
})
