// Seeded generators of responses and of endpoint lists: mostly well-formed, with a fault here and there, and a mutator
// that spoils their bytes. The same seed gives the same cases everywhere; no case knows what it should come to.

/** Small, fast, good enough for cases (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  next(): number {
    this.#state = this.#state + 0x6d2b79f5 >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ mixed >>> 15, mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61)
    return ((mixed ^ mixed >>> 14) >>> 0) / 0x1_0000_0000
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    for (const item of items.slice(this.below(items.length))) return item
    throw new RangeError('Nothing to pick from')
  }

  /** Usually the first, sometimes one of the others. */
  usually<T>(usual: T, others: readonly T[], probability = 0.06): T {
    return this.chance(probability) ? this.pick(others) : usual
  }
}

/** A response, one character a byte. `fault`: how likely each of its parts is an odd one. */
export function responseText(random: Random, fault = 0.03): string {
  const interims = random.chance(0.05) ? random.below(8) : 0
  let text = ''
  for (let i = 0; i < interims; i++) {
    const field = random.chance(0.1) ? header(random, fault) : ''
    text += `HTTP/1.1 ${random.pick([100, 102, 103])} Continue\r\n${field}\r\n`
  }
  return text + finalResponse(random, fault) + random.usually('', EXCESS, fault)
}

const EXCESS = ['x', '\r\n', '\n', ' ', '\0', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', '0\r\n\r\n']
const ENDS = ['\n', '\r', '\r\r\n', '\n\r', ' \r\n', '\0\r\n', '']
const VERSIONS = ['HTTP/1.0', 'HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'HTTP/01.1', 'HTP/1.1', 'http/1.1', ' HTTP/1.1',
  '\r\nHTTP/1.1',
  '\nHTTP/1.1', 'HTTP/1.10', 'HTTP/1', 'HTTP/0.9', 'ICY', '\x15\x03\x03\0\x02\x02\x28', '']
const STATUSES = ['404', '403', '500', '204', '304', '301', '101', '199', '099', '600', '999', '20', '2', '2000', '+20',
  '2e1', 'abc', '']
const REASONS = ['', ' ', 'Not Found', 'O\0K', 'O\rK', 'O\tK', 'caf\xe9', 'O\x7fK', 'x'.repeat(2_000)]
const GAPS = ['\t', '  ', '', '\x0b', '\xa0']

function finalResponse(random: Random, fault: number): string {
  const version = random.usually('HTTP/1.1', VERSIONS, fault)
  const status = random.chance(0.2) ? random.pick(STATUSES.slice(0, 6)) : random.usually('200', STATUSES, fault)
  const reason = random.usually('OK', REASONS, fault)
  const end = random.usually('\r\n', ENDS, fault / 2)
  const gaps = [random.usually(' ', GAPS, fault), random.usually(' ', GAPS, fault)]
  const first = `${version}${gaps[0]}${status}${gaps[1]}${reason}${end}`
  const { fields, body } = framed(random, fault)
  const others = Array.from({ length: random.below(5) }, () => header(random, fault))
  const place = random.below(others.length + 1)
  const head = [...others.slice(0, place), fields, ...others.slice(place)].join('')
  const folded = random.usually('', [' x: y\r\n', '\tx\r\n'], fault / 4)
  return `${first}${folded}${head}${random.usually('\r\n', ENDS, fault / 2)}${body}`
}

const NAMES = ['Content-Type', 'Date', 'X-A', 'x-a', 'Connection', 'Audit-Id', 'Cache-Control', 'Set-Cookie', 'Server']
const ODD_NAMES = ['', 'X A', 'X\xe9', '__proto__', 'X\0', '(x)', 'Content-Encoding', 'Upgrade', 'Trailer', 'X:',
  '!#$%&\'*+-.^_`|~9', 'Keep-Alive']
const VALUES = ['application/json', 'a', '', 'a, b', 'close', 'keep-alive', 'identity', '"q\\"uoted"']
const ODD_VALUES = ['Keep-Alive, Close', 'upgrade', 'gzip', 'a\0b', 'a\rb', 'a\nb', 'caf\xe9', '\x7f', '\x01', 'x\ty',
  ' \t ', 'h2c', 'Close ', 'x'.repeat(3_000),
  'x'.repeat(17_000), '\xa0close\xa0']
const COLONS = [' : ', ': ', ':', ':\t', ' :', '\t: ', '', ' ']

function header(random: Random, fault: number): string {
  const name = random.usually(random.pick(NAMES), ODD_NAMES, fault)
  const value = random.usually(random.pick(VALUES), ODD_VALUES, fault)
  const text = `${name}${random.usually(': ', COLONS, fault)}${value}${random.usually('\r\n', ENDS, fault / 2)}`
  if (random.chance(fault / 8)) return text.repeat(random.pick([2, 99, 100, 101]))
  return random.chance(fault / 4) ? `${text} folded\r\n` : text
}

const LENGTHS = ['-1', '+5', '0x5', '1 2', '5,6', '5, 5', '5,5', '007', '000000000000000000005',
  '123456789012345678901', '9007199254740992', '', '5;', '5.0', '1e1',
  '0', '1', '4', '6', '1048577', '99999999999']
const CODINGS = ['Chunked', 'CHUNKED ', 'chunked, gzip', 'gzip, chunked', 'chunkedchunked', 'identity', '', 'chunked;',
  'chunked, chunked', 'xchunked', ',chunked',
  '\x0bchunked', '"chunked"', 'gzip']

function framed(random: Random, fault: number): { fields: string; body: string } {
  const kind = random.pick(['length', 'length', 'chunked', 'chunked', 'close', 'none', 'both'])
  const body = payload(random, fault)
  const length = `Content-Length: ${random.usually(String(body.length), LENGTHS, fault * 2)}\r\n`
  const coding = `Transfer-Encoding: ${random.usually('chunked', CODINGS, fault * 2)}\r\n`
  if (kind === 'length') return { fields: random.chance(fault / 4) ? length + random.pick([length,
    'Content-Length: 5\r\n']) : length, body }
  if (kind === 'chunked') return { fields: random.chance(fault / 4) ? coding + coding : coding,
    body: chunked(random, fault, body) }
  if (kind === 'both' && random.chance(fault * 4)) return { fields: length + coding,
    body: random.pick([body, chunked(random, 0, body)]) }
  return { fields: '', body: kind === 'none' ? '' : body }
}

function payload(random: Random, fault: number): string {
  const text = random.pick(['', 'hello', '{"kind":"Endpoints"}', 'caf\xc3\xa9', '\xef\xbb\xbf{}', '\r\n\r\n',
    'HTTP/1.1 200 OK\r\n\r\n', 'a'.repeat(random.below(400))])
  return random.usually(text, ['\xff', '\xc3', '\xed\xa0\x80', '\xf4\x90\x80\x80', 'a'.repeat(70_000)], fault)
}

const SIZES = ['X', '-1', '', '00000000000000001', '0000000000000005', '1 A', ' 5', '5 ', '0x5', 'fffffffffffffff',
  '10000000000000000', '100001', '5\t', '+5']
const EXTENSIONS = [';', ';a', ';a=b', ';a="b;\\"c"', ';a="b', '; a=b', ' ;a=b', ';a = b', ';a=', ';\0', ';a=\x7f',
  ';a=b;c=d', ';=b', `;a=${'b'.repeat(500)}`,
  `;a=${'b'.repeat(17_000)}`, ';caf\xe9', ';a="caf\xe9"']
const TRAILERS = ['X-T: 1\r\n', 'X-T : 1\r\n', 'X-T\r\n', ' x\r\n', 'Content-Length: 5\r\n',
  `X: ${'y'.repeat(17_000)}\r\n`, 'X: 1\n', ': 1\r\n', 'X-T: 1\r\nX-U: 2\r\n']

function chunked(random: Random, fault: number, body: string): string {
  let text = ''
  for (let at = 0; at < body.length;) {
    const data = body.slice(at, at + 1 + random.below(random.pick([2, 20, 5_000])))
    at += data.length
    const size = random.usually(random.chance(0.2) ? data.length.toString(16).toUpperCase() : data.length.toString(16),
      SIZES, fault / 4)
    const extension = random.usually('', EXTENSIONS, fault / 2)
    const end = random.usually('\r\n', ENDS, fault / 4)
    const footer = random.usually('\r\n', [...ENDS, 'x\r\n', 'xy', 'xyz'], fault / 4)
    text += `${size}${extension}${end}${data}${footer}`
  }
  const last = random.usually('0', ['', '00', '0;a=b', '0000000000000000', '0x0'], fault)
  return `${text}${last}\r\n${random.usually('', TRAILERS, fault)}${random.usually('\r\n', ENDS, fault / 2)}`
}

export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}

const TELLING = [0, 9, 10, 13, 32, 34, 44, 45, 48, 49, 57, 58, 59, 65, 92, 97, 102, 127, 128, 255]

/** A copy with a few bytes changed, inserted, removed, repeated or copied, or its end cut off. */
export function mutated(random: Random, bytes: Uint8Array): Uint8Array {
  let result = bytes
  for (let left = 1 + random.below(4); left > 0; left--) result = mutatedOnce(random, result)
  return result
}

function mutatedOnce(random: Random, bytes: Uint8Array): Uint8Array {
  const at = random.below(bytes.length + 1)
  const to = Math.min(bytes.length, at + random.below(random.pick([2, 8, 64])))
  const head = bytes.subarray(0, at)
  const from = random.below(bytes.length + 1)
  const elsewhere = bytes.subarray(from, from + random.below(32))
  const byte = Uint8Array.of(random.chance(0.7) ? random.pick(TELLING) : random.below(256))
  switch (random.below(6)) {
    case 0: return Buffer.concat([head, byte, bytes.subarray(at)])
    case 1: return Buffer.concat([head, byte, bytes.subarray(at + 1)])
    case 2: return Buffer.concat([head, bytes.subarray(to)])
    case 3: return Buffer.concat([head, bytes.subarray(at, to), bytes.subarray(at)])
    case 4: return Buffer.concat([head, elsewhere, bytes.subarray(at)])
    default: return head
  }
}

const IPS = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '192.168.1.10', '203.0.113.7', 'fd00::1', '2001:db8::1',
  'FD00:0:0:0:0:0:0:1']
const ODD_IPS = ['127.0.0.1', '::1', '::', '0.0.0.0', '169.254.169.254', 'fe80::1', 'fe80::1%eth0', '::ffff:127.0.0.1',
  '::ffff:7f00:1', '::ffff:a9fe:a9fe',
  '::127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::1', '224.0.0.1', 'ff02::1', '255.255.255.255', '010.0.0.1',
    '10.0.0.01', '10.1', '0x0a000001', '167772161',
  'kubernetes.default', '', ' 10.0.0.1', '10.0.0.1 ', '[fd00::1]', '10.0.0.1:6443', '::ffff:0:127.0.0.1', '１0.0.0.1',
    '10.0.0.1\u202e', 'x'.repeat(5_000)]
const ODD_PORTS: readonly unknown[] = ['6443', 0, 65_536, 6443.5, -1, 1e99, null, true, [], {}, 1, 65_535]
const ODD: readonly unknown[] = [null, undefined, '', 'x', 0, -1, 1e308, true, [], {}, [[]], [null], { ip: null },
  JSON.parse('{"__proto__":{"ready":true}}')]

/** The text of Endpoints or EndpointSlices, and what it was asked as. */
export function listText(random: Random, fault = 0.04): { text: string; via: 'endpoints' | 'endpointslices' } {
  const via = random.pick(['endpoints', 'endpointslices'] as const)
  const value = via === 'endpoints' ? endpoints(random, fault) : slices(random, fault)
  const text = JSON.stringify(value) ?? 'undefined'
  if (random.chance(fault)) return { text: random.pick(['', '<html>no</html>', '[]', 'null', '1', '"Endpoints"',
    '['.repeat(10_000), '{"a":'.repeat(3_000), `\ufeff${text}`]), via }
  return { text, via: random.usually(via, ['endpoints', 'endpointslices'] as const, fault) }
}

function endpoints(random: Random, fault: number): unknown {
  const subset = (): unknown => random.usually<unknown>({
    addresses: many(random, fault, () => ({ ip: ip(random, fault), nodeName: 'a' })),
    notReadyAddresses: random.chance(0.3) ? many(random, fault, () => ({ ip: ip(random, fault) })) : undefined,
    ports: ports(random, fault),
  }, ODD, fault)
  return random.usually<unknown>({
    kind: random.usually('Endpoints', ['Status', 'endpoints', 'EndpointSliceList', 'x'.repeat(999)], fault),
    apiVersion: random.usually('v1', ['v2', '', 'discovery.k8s.io/v1'], fault),
    metadata: random.usually<unknown>({ name: 'kubernetes' }, ODD, fault),
    subsets: many(random, fault, subset),
  }, ODD, fault)
}

function slices(random: Random, fault: number): unknown {
  const slice = (): unknown => random.usually<unknown>({
    metadata: { labels: random.usually<unknown>({ 'kubernetes.io/service-name': 'kubernetes' },
      [...ODD, { 'kubernetes.io/service-name': 'other' }], fault) },
    addressType: random.pick(['IPv4', 'IPv4', 'IPv6', random.usually('IPv4', ['FQDN', '', 'ipv4'], fault)]),
    endpoints: many(random, fault, () => random.usually<unknown>({
      addresses: many(random, fault, () => ip(random, fault)),
      conditions: random.usually<unknown>({ ready: random.usually<unknown>(true, [false, null, undefined, 'true', 1],
        0.2), serving: true }, ODD, fault),
    }, ODD, fault)),
    ports: ports(random, fault),
  }, ODD, fault)
  const items = many(random, fault, slice)
  return { kind: random.usually('EndpointSliceList', ['EndpointSlice', 'List'], fault),
    apiVersion: random.usually('discovery.k8s.io/v1', ['discovery.k8s.io/v1beta1', 'v1'], fault), items }
}

function ports(random: Random, fault: number): unknown {
  const port = (name: unknown): unknown => random.usually<unknown>({ name,
    port: random.usually<unknown>(6443, ODD_PORTS, fault), protocol: random.usually<unknown>('TCP', ['UDP', null, 1],
    fault) }, ODD, fault)
  const list = random.usually<unknown>([port('https')], [[port(undefined)], [port('a'), port('b')],
    [port('http'), port('https')], [port('https'), port('https')]], 0.2)
  return random.usually<unknown>(list, ODD, fault)
}

function ip(random: Random, fault: number): unknown {
  const usual = random.chance(0.5) ? random.pick(IPS) : `10.1.${random.below(4)}.${random.below(256)}`
  return random.usually<unknown>(usual, random.chance(0.9) ? ODD_IPS : ODD, fault * 4)
}

function many(random: Random, fault: number, make: () => unknown): unknown {
  const length = random.chance(fault / 8) ? random.pick([64, 65, 300]) : random.below(4)
  return random.usually<unknown>(Array.from({ length }, make), ODD, fault)
}
