// Addresses: what is an IP literal, how it is written, how far it reaches; checked against node:net and by bits.

import assert from 'node:assert/strict'
import { isIP as isIPOfNode } from 'node:net'
import { describe, it } from 'node:test'
import { addressOf } from '../lib/core/endpoint.ts'
import { canonicalIP, isIP, isPrivate, parseAddress, scopeOf } from '../lib/address.ts'
import type { Scope } from '../lib/address.ts'
import { Random } from './support/grammar.ts'
import { scopeByBits } from './support/http1-fuzz.ts'

const CANONICAL: readonly (readonly [text: string, canonical: string])[] = [
  ['10.0.0.1', '10.0.0.1'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['FD00:0:0:0:0:0:0:00A1', 'fd00::a1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8::0:1', '2001:db8::1'],
  ['10:0:0:1:0:0:2:3', '10::1:0:0:2:3'],
  ['0:0:1::', '0:0:1::'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
  ['::FFFF:A00:1', '::ffff:10.0.0.1'],
  ['0:0:0:0:0:ffff:255.255.255.255', '::ffff:255.255.255.255'],
  ['::10.0.0.1', '::a00:1'],
  ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
]

const NO_IP = ['', '.', '1', '1.2.3', '1.2.3.4.5', '1.2.3.', '.1.2.3', '1..2.3', '256.1.1.1', '1.2.3.999', '01.2.3.4',
  '1.2.3.00', '1.2.3.4 ',
  ' 1.2.3.4', '1.2.3.4\n', '1.2.3.-4', '+1.2.3.4', '0x1.2.3.4', '1e0.2.3.4', '16909060', '１.2.3.4', '1.2.3.4:5',
    '1.2.3.4%eth0', 'localhost',
  ':', ':::', ':1', '1:', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', '1:::2', '::1::', '1::2:3:4:5:6:7:8',
    '12345::', 'g::', '::-1', '::1 ', '::1\n',
  'fe80::1%eth0', 'fe80::1%', '[::1]', '1.2.3.4\0', '::1\0', '::1\0::', '::1/64', '::1?', '::1#', '::1]@[::2', '::1.2.3', '::1.2.3.04', '::1.2.3.256', '1.2.3.4::', '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4', '::ffff:1.2.3.4.5',
  '0000:0000:0000:0000:0000:0000:255.255.255.2555', '0'.repeat(100_000), ':'.repeat(100_000), '1.'.repeat(100_000)]

describe('An IP literal', () => {
  for (const [text, canonical] of CANONICAL) {
    it(`${text} is ${canonical}`, () => {
      assert.equal(canonicalIP(text), canonical)
      assert.equal(canonicalIP(canonical), canonical)
      assert.equal(isIP(text), isIPOfNode(text))
    })
  }

  for (const text of NO_IP) {
    it(`is not ${JSON.stringify(text.slice(0, 60))}`, () => {
      assert.equal(canonicalIP(text), undefined)
      assert.equal(isIP(text), 0)
      assert.equal(scopeOf(text), undefined)
    })
  }

  it('is what net.isIP says it is, for anything without a zone', (t) => {
    const seed = Date.now() % 0x1_0000_0000
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const found = { 0: 0, 4: 0, 6: 0 }
    for (let i = 0; i < 20_000; i++) {
      const text = literal(random)
      const family = isIP(text)
      assert.equal(family, isIPOfNode(text), text)
      assert.equal(canonicalIP(text) === undefined, family === 0, text)
      found[family]++
    }
    assert.ok(found[0] > 1_000 && found[4] > 1_000 && found[6] > 1_000, JSON.stringify(found))
  })

  it('has the canonical form that URL gives it, but for the dotted tail of v4-mapped ones', (t) => {
    const seed = Date.now() % 0x1_0000_0000
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    for (let i = 0; i < 20_000; i++) {
      const text = literal(random)
      const canonical = canonicalIP(text)
      if (canonical === undefined) continue
      const inURL = (host: string): string => new URL(`http://${host.includes(':') ? `[${host}]` : host}`).hostname
      assert.equal(inURL(canonical), inURL(text))
      if (!canonical.startsWith('::ffff:')) assert.equal(addressOf({ host: canonical, port: 81 }), `${inURL(text)}:81`)
    }
  })
})

/** Text that often is an IP literal, and otherwise nearly one. */
function literal(random: Random): string {
  const text = random.chance(0.4) ? v4(random) : v6(random)
  if (random.chance(0.7)) return text
  const at = random.below(text.length + 1)
  return text.slice(0, at) + random.pick(['', ':', '::', '.', '0', '1', 'f', 'g', ' ', '-',
    '256']) + text.slice(at + random.below(3))
}

function v4(random: Random): string {
  return Array.from({ length: 4 }, () => random.usually(String(random.below(256)),
    ['0', '00', '256', '010', ''])).join('.')
}

function v6(random: Random): string {
  const group = (): string => random.chance(0.4) ? '0' : random.below(0x1_0000).toString(16).padStart(random.below(5),
    '0')
  const tail = random.chance(0.2) ? [v4(random)] : [group(), group()]
  const groups = [...Array.from({ length: 6 }, group), ...tail]
  if (random.chance(0.3)) groups.splice(0, 6, ...random.pick(['::ffff', '::', '::ffff:0', '64:ff9b::', '2002:7f00:1::',
    'fe80::', 'ff02::']).split(':'))
  if (random.chance(0.6)) groups.splice(random.below(groups.length), random.below(5), '')
  return groups.join(':').replace(/:{3,}/g, '::').replace(/^:(?!:)/, '::').toUpperCase()
}

/** An IPv4 address by the edge of a range, alone or in an IPv6 one. */
function nearEdge(random: Random): string {
  const first = random.pick([0, 1, 126, 127, 128, 169, 223, 224, 239, 240, 255])
  const second = random.pick([0, 253, 254, 255])
  return `${random.pick(['', '::', '::ffff:', '::ffff:0:', '64:ff9b::'])}${first}.${second}.${random.pick([0, 255])}.1`
}

const SCOPES: readonly (readonly [scope: Scope, ...hosts: string[]])[] = [
  ['global', '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1', '8.8.8.8', '1.0.0.0', '126.255.255.255',
    '128.0.0.0', '169.253.255.255',
    '169.255.0.0', '223.255.255.255', '240.0.0.0', '255.255.255.254', 'fd00::1', '2001:db8::1', '::ffff:10.0.0.1',
      '::10.0.0.1',
    '64:ff9b::10.0.0.1', '2002:a00:1::', 'fe7f::1', 'fec0::1', 'feff::1', '::1:0:0:1', '64:ff9a::7f00:1'],
  ['loopback', '127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::127.0.0.1',
    '64:ff9b::7f00:1', '2002:7f00:1::',
    '::ffff:0:127.0.0.1', '0:0:0:0:0:0:0:1'],
  ['link-local', '169.254.0.0', '169.254.169.254', '169.254.255.255', 'fe80::1', 'febf::1', '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '2002:a9fe:a9fe::1'],
  ['multicast', '224.0.0.1', '239.255.255.255', '255.255.255.255', 'ff02::1', 'ffff::1', '::ffff:224.0.0.1',
    '::ffff:255.255.255.255'],
  ['unspecified', '0.0.0.0', '0.1.2.3', '::', '::ffff:0.0.0.0', '::0.0.0.2', '64:ff9b::', '2002::1'],
]

describe('A scope', () => {
  for (const [scope, ...hosts] of SCOPES) {
    for (const host of hosts) it(`of ${host} is ${scope}`, () => assert.equal(scopeOf(host), scope))
  }

  it('of a name, or of a literal with a zone or brackets, is none', () => {
    for (const host of ['localhost', 'kubernetes.default.svc', '', 'fe80::1%eth0', '[::1]',
      '127.1']) assert.equal(scopeOf(host), undefined)
  })

  it('is what its bits say it is', (t) => {
    const seed = Date.now() % 0x1_0000_0000
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const found = new Map<Scope, number>()
    for (let i = 0; i < 20_000; i++) {
      const text = random.chance(0.3) ? nearEdge(random) : literal(random)
      const scope = scopeOf(text)
      if (scope === undefined) continue
      found.set(scope, (found.get(scope) ?? 0) + 1)
      assert.equal(scope, scopeByBits(text), text)
    }
    assert.deepEqual([...found.keys()].sort(), ['global', 'link-local', 'loopback', 'multicast', 'unspecified'])
  })
})

describe('A private address', () => {
  for (const host of [
    '10.0.0.0', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255', '100.64.0.0',
    '100.127.255.255', 'fc00::', 'fdff::1', '127.0.0.1', '::1', '169.254.1.1', 'fe80::1', '::ffff:10.0.0.1',
    '64:ff9b::10.0.0.1', '2002:a00:1::',
  ]) it(`is ${host}`, () => assert.ok(isPrivate(host)))

  for (const host of [
    '9.255.255.255', '11.0.0.0', '172.15.255.255', '172.32.0.0', '192.167.255.255', '192.169.0.0', '100.63.255.255',
    '100.128.0.0', '8.8.8.8', '224.0.0.1', '0.0.0.0', '::', 'fbff::1', 'fe00::1', '2001:db8::1', '::ffff:8.8.8.8',
    'localhost', 'api.example.com', '', 'fe80::1%eth0', '10.0.1',
  ]) it(`is not ${host || 'nothing'}`, () => assert.ok(!isPrivate(host)))
})

describe('An address', () => {
  const GOOD: readonly (readonly [text: string, host: string, port: number, written?: string])[] = [
    ['10.0.0.1:6443', '10.0.0.1', 6443],
    ['10.0.0.1:1', '10.0.0.1', 1],
    ['10.0.0.1:65535', '10.0.0.1', 65535],
    ['[::1]:6443', '::1', 6443],
    ['[FD00:0::1]:443', 'fd00::1', 443, '[fd00::1]:443'],
    ['kubernetes.default.svc:443', 'kubernetes.default.svc', 443],
    ['API.Example.COM:443', 'api.example.com', 443, 'api.example.com:443'],
    ['localhost.:443', 'localhost.', 443],
    ['a_b.c-d:443', 'a_b.c-d', 443],
    ['xn--bcher-kva.example:443', 'xn--bcher-kva.example', 443],
    ['1a:443', '1a', 443],
    [`${'a'.repeat(63)}:1`, 'a'.repeat(63), 1],
    [`${'a.'.repeat(126)}a:1`, `${'a.'.repeat(126)}a`, 1],
    [`${'a.'.repeat(126)}a.:1`, `${'a.'.repeat(126)}a.`, 1],
  ]
  for (const [text, host, port, written] of GOOD) {
    it(`${text.slice(0, 70)} is read and written`, () => {
      assert.deepEqual(parseAddress(text), { host, port })
      assert.equal(addressOf({ host, port }), written ?? text)
    })
  }

  const BAD = ['', ':', 'a', ':1', '10.0.0.1', '10.0.0.1:', '10.0.0.1:0', '10.0.0.1:65536', '10.0.0.1:100000',
    '10.0.0.1:06443', '10.0.0.1:+1', '10.0.0.1:-1',
    '10.0.0.1:1.5', '10.0.0.1:1e3', '10.0.0.1:0x1', '10.0.0.1: 1', '10.0.0.1:1 ', ' 10.0.0.1:1', '10.0.0.1:1\n',
      '::1:6443', 'fd00::1', '[::1]', '[::1]6443',
    '[::1:6443', '::1]:6443', '[10.0.0.1]:1', '[a]:1', '[]:1', '[fe80::1%eth0]:1', '010.0.0.1:1', '10.1:1', '127.1:1',
      '2130706433:1', '0x7f000001:1', '1.2.3.4.:1',
    'a.0x1:1', 'a.1:1', 'a b:1', 'a/b:1', 'a@b:1', 'https://a:1', 'a..b:1', '.a:1', '-a:1', 'a-:1', 'é:1', 'a\0:1',
      `${'a'.repeat(64)}:1`,
    `${'a.'.repeat(127)}a:1`]
  for (const text of BAD) {
    it(`${JSON.stringify(text.slice(0, 70))} is malformed`, () => assert.equal(parseAddress(text), undefined))
  }
})
