// "The list" of FAULTS.md and the rules R3 and R4, row by row.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { addressOf } from '../../lib/core/endpoint.ts'
import { readEndpointsBody, vetHints } from '../../lib/discovery/endpoints-body.ts'
import type { EndpointsBody, Via } from '../../lib/core/state.ts'
import type { Scope } from '../../lib/address.ts'

interface Expected {
  readonly ready?: readonly string[]
  readonly unready?: readonly string[]
  readonly refused?: readonly string[]
}

/** The name, the body (as text, or to be JSON), and the whole list or the reason it was rejected for. */
type Row = readonly [name: string, body: unknown, expected: string | Expected, ...allowed: Scope[]]

const HTTPS = [{ name: 'https', port: 6443, protocol: 'TCP' }]

function endpoints(...subsets: unknown[]): unknown {
  return { kind: 'Endpoints', apiVersion: 'v1', metadata: { name: 'kubernetes', namespace: 'default' }, subsets }
}

function subset(ips: readonly unknown[], rest: object = {}): object {
  return { addresses: ips.map((ip) => ({ ip })), ports: HTTPS, ...rest }
}

function ported(ports: unknown): unknown {
  return endpoints(subset(['10.0.0.1'], { ports }))
}

function slices(...items: unknown[]): unknown {
  return { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', items }
}

function slice(endpoints: unknown, rest: object = {}): object {
  return { metadata: { labels: { 'kubernetes.io/service-name': 'kubernetes' } }, addressType: 'IPv4', endpoints,
    ports: HTTPS, ...rest }
}

const ONE = { ready: ['10.0.0.1:6443'] }
const many = (from: number, length: number): string[] => Array.from({ length },
  (_, i) => `10.1.${i + from >> 8}.${i + from & 255}`)
const deep = (open: string, close: string): string => `${open.repeat(10_000)}${close.repeat(10_000)}`

const ENDPOINTS: readonly Row[] = [
  ['R4 three ready addresses', endpoints(subset(['10.0.0.1', '10.0.0.2', '10.0.0.3'])),
    { ready: ['10.0.0.1:6443', '10.0.0.2:6443', '10.0.0.3:6443'] }],
  ['R3 an empty list never replaces one', endpoints(), 'the list is empty'],
  ['R3 no subsets at all', { kind: 'Endpoints', apiVersion: 'v1' }, 'the list is empty'],
  ['R3 null subsets', { kind: 'Endpoints', apiVersion: 'v1', subsets: null }, 'the list is empty'],
  ['R3 subsets without addresses', endpoints(subset([]), { ports: HTTPS }, { addresses: null, ports: HTTPS }),
    'the list is empty'],
  ['R3 a list that shrank to one server, dead or not, is a list', endpoints(subset(['10.0.0.9'])),
    { ready: ['10.0.0.9:6443'] }],
  ['R4 only loopback', endpoints(subset(['127.0.0.1', '::1'])),
    'the list has no address that may be used: address 127.0.0.1 is loopback; address ::1 is loopback'],
  ['R4 only loopback, as the seed is', endpoints(subset(['127.0.0.1', '127.0.0.2', '::1'])),
    { ready: ['127.0.0.1:6443', '127.0.0.2:6443', '[::1]:6443'] }, 'loopback'],
  ['R4 a seed of one scope permits no other', endpoints(subset(['127.0.0.1', '169.254.169.254', '10.0.0.1'])),
    { ready: ['127.0.0.1:6443', '10.0.0.1:6443'], refused: ['address 169.254.169.254 is link-local'] },
    'loopback'],
  ['R4 every scope but global is refused', endpoints(subset(['10.0.0.1', '127.8.8.8', '169.254.1.1', '224.0.0.1',
    '0.0.0.0', 'fe80::1', 'ff02::1', '::'])),
    { ...ONE, refused: ['address 127.8.8.8 is loopback', 'address 169.254.1.1 is link-local',
      'address 224.0.0.1 is multicast', 'address 0.0.0.0 is unspecified',
      'address fe80::1 is link-local', 'address ff02::1 is multicast', 'address :: is unspecified'] }],
  ['R4 every scope is permitted to seeds of every scope', endpoints(subset(['127.0.0.1', 'fe80::1', 'ff02::1', '::'])),
    { ready: ['127.0.0.1:6443', '[fe80::1]:6443', '[ff02::1]:6443', '[::]:6443'] }, 'loopback', 'link-local',
      'multicast', 'unspecified'],
  ['R4 10,000 addresses: the first 64', endpoints(subset(many(0, 10_000))),
    { ready: many(0, 64).map((ip) => `${ip}:6443`), refused: ['9936 beyond the first 64 addresses'] }],
  ['R4 64 addresses', endpoints(subset(many(0, 64))), { ready: many(0, 64).map((ip) => `${ip}:6443`) }],
  ['R4 64 addresses, each of them twice', endpoints(subset([...many(0, 64), ...many(0, 64)])),
    { ready: many(0, 64).map((ip) => `${ip}:6443`) }],
  ['R4 as many unready ones again', endpoints(subset(many(0, 64),
    { notReadyAddresses: many(100, 65).map((ip) => ({ ip })) })),
    { ready: many(0, 64).map((ip) => `${ip}:6443`), unready: many(100, 64).map((ip) => `${ip}:6443`),
      refused: ['1 beyond the first 64 addresses'] }],
  ['R4 IPv6', endpoints(subset(['fd00::1', '2001:DB8:0::A'])), { ready: ['[fd00::1]:6443', '[2001:db8::a]:6443'] }],
  ['R4 two subsets', endpoints(subset(['10.0.0.1']), subset(['10.0.0.2'], { ports: [{ name: 'https', port: 8443 }] })),
    { ready: ['10.0.0.1:6443', '10.0.0.2:8443'] }],
  ['R4 two ports, one named https', ported([{ name: 'konnectivity', port: 8132 }, { name: 'https', port: 6443 }]), ONE],
  ['R4 two ports, none named https', ported([{ name: 'a', port: 6443 }, { name: 'b', port: 6444 }]),
    'the list has no address that may be used: 2 ports, and no single one named https'],
  ['R4 two ports, none named https, and a good subset', endpoints(subset(['10.0.0.2'],
    { ports: [{ name: 'a', port: 1 }, { port: 2 }] }), subset(['10.0.0.1'])),
    { ...ONE, refused: ['2 ports, and no single one named https'] }],
  ['R4 two ports named https that differ', ported([{ name: 'https', port: 6443 }, { name: 'https', port: 6444 }]),
    'the list has no address that may be used: 2 ports, and no single one named https'],
  ['R4 two ports named https that agree', ported([...HTTPS, ...HTTPS]), ONE],
  ['R4 one port of another name', ported([{ name: 'api', port: 6443 }]), ONE],
  ['R4 one port without a name', ported([{ port: 6443 }]), ONE],
  ['R4 a port of null protocol is TCP', ported([{ port: 6443, protocol: null }]), ONE],
  ['R4 a UDP port is no apiserver\'s', ported([{ name: 'https', port: 443, protocol: 'UDP' },
    { name: 'api', port: 6443 }]), ONE],
  ['R4 only a UDP port', ported([{ name: 'https', port: 443, protocol: 'UDP' }]),
    'the list has no address that may be used: no port'],
  ['R4 no ports', ported([]), 'the list has no address that may be used: no port'],
  ['R4 null ports', ported(null), 'the list has no address that may be used: no port'],
  ['R4 ports that are no list', ported('6443'),
    'the list has no address that may be used: ports "6443" is not a list; no port'],
  ['R4 ports that are no objects', ported([6443]),
    'the list has no address that may be used: port 6443 is not an object; no port'],
  ['R4 a string port', ported([{ name: 'https', port: '6443' }]),
    'the list has no address that may be used: port "6443" is not a whole number from 1 to 65535'],
  ...[0, 65536, 6443.5, -1, 1e300, null, true].map((port): Row => [`R4 port ${port}`, ported([{ name: 'https', port }]),
    `the list has no address that may be used: port ${port} is not a whole number from 1 to 65535`]),
  ['R4 a port of nothing', ported([{ name: 'https' }]),
    'the list has no address that may be used: port undefined is not a whole number from 1 to 65535'],
  ['R4 ports 1 and 65535', endpoints(subset(['10.0.0.1'], { ports: [{ port: 1 }] }),
    subset(['10.0.0.1'], { ports: [{ port: 65535 }] })),
    { ready: ['10.0.0.1:1', '10.0.0.1:65535'] }],
  ['R3 notReadyAddresses only', endpoints({ notReadyAddresses: [{ ip: '10.0.0.1' }], ports: HTTPS }),
    'the list has notReadyAddresses only'],
  ['R3 notReadyAddresses only, of those that may be used', endpoints(subset(['::1'],
    { notReadyAddresses: [{ ip: '10.0.0.1' }] })),
    'the list has notReadyAddresses only: address ::1 is loopback'],
  ['R4 notReadyAddresses beside others', endpoints(subset(['10.0.0.1'],
    { notReadyAddresses: [{ ip: '10.0.0.2' }, { ip: '127.0.0.1' }] })),
    { ...ONE, unready: ['10.0.0.2:6443'], refused: ['address 127.0.0.1 is loopback'] }],
  ['R4 ready in one subset, unready in another: ready', endpoints({ notReadyAddresses: [{ ip: '10.0.0.1' }],
    ports: HTTPS }, subset(['10.0.0.1'])), ONE],
  ['R4 a zone', endpoints(subset(['fe80::1%eth0', '10.0.0.1'])),
    { ...ONE, refused: ['address "fe80::1%eth0" is not an IP address'] }, 'link-local'],
  ['R4 v4-mapped link-local and its like', endpoints(subset(['10.0.0.1', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe',
    '::ffff:127.0.0.1', '64:ff9b::7f00:1'])),
    { ...ONE, refused: ['address ::ffff:169.254.169.254 is link-local', 'address ::ffff:169.254.169.254 is link-local',
      'address ::ffff:127.0.0.1 is loopback', 'address 64:ff9b::7f00:1 is loopback'] }],
  ['R4 v4-mapped of a global address', endpoints(subset(['::FFFF:10.0.0.1'])), { ready: ['[::ffff:10.0.0.1]:6443'] }],
  ['R4 leading zeros', endpoints(subset(['010.0.0.1', '10.0.0.01', '10.0.0.1'])),
    { ...ONE, refused: ['address "010.0.0.1" is not an IP address', 'address "10.0.0.01" is not an IP address'] }],
  ['R4 names, numbers and other spellings', endpoints(subset(['kubernetes', '', '10.1', '0x0a000001', ' 10.0.0.1',
    '[fd00::1]', '10.0.0.1:1', '10.0.0.1'])),
    { ...ONE, refused: ['kubernetes', '', '10.1', '0x0a000001', ' 10.0.0.1', '[fd00::1]',
      '10.0.0.1:1'].map((ip) => `address "${ip}" is not an IP address`) }],
  ['R4 addresses that are no strings', endpoints(subset(['10.0.0.1', 167772161, null, true, ['10.0.0.1'],
    { ip: '10.0.0.1' }, undefined])),
    { ...ONE, refused: ['167772161', 'null', 'true', '(a list)', '(an object)',
      'undefined'].map((ip) => `address ${ip} is not an IP address`) }],
  ['R4 addresses that are no objects', endpoints({ addresses: ['10.0.0.2', null, [], { ip: '10.0.0.1' }],
    ports: HTTPS }),
    { ...ONE, refused: ['address "10.0.0.2" is not an object', 'address null is not an object',
      'address (a list) is not an object'] }],
  ['R4 addresses that are no list', endpoints({ addresses: { ip: '10.0.0.2' }, ports: HTTPS }, subset(['10.0.0.1'])),
    { ...ONE, refused: ['addresses (an object) is not a list'] }],
  ['R4 subsets that are no objects', endpoints(null, 'x', 1, subset(['10.0.0.1'])),
    { ...ONE, refused: ['subset null is not an object', 'subset "x" is not an object', 'subset 1 is not an object'] }],
  ['R3 subsets that are no list', { kind: 'Endpoints', apiVersion: 'v1', subsets: 'x' },
    'the list has no address that may be used: subsets "x" is not a list'],
  ['R4 duplicate addresses', endpoints(subset(['10.0.0.1', '10.0.0.1', 'fd00::1', 'FD00:0::1']), subset(['10.0.0.1'])),
    { ready: ['10.0.0.1:6443', '[fd00::1]:6443'] }],
  ['R4 more refusals than anybody reads', endpoints(subset([...many(0, 12).map((ip) => `${ip}.`), '10.0.0.1'])),
    { ...ONE, refused: [...many(0, 8).map((ip) => `address "${ip}." is not an IP address`), 'and 4 more'] }],
  ['R4 more refusals, and more addresses: those are counted first',
    endpoints(subset([...many(0, 9).map((ip) => `${ip}.`), ...many(0, 66)])),
    { ready: many(0, 64).map((ip) => `${ip}:6443`),
      refused: ['2 beyond the first 64 addresses', ...many(0, 7).map((ip) => `address "${ip}." is not an IP address`),
        'and 2 more'] }],
  ['R4 long and wild text is cut and escaped', endpoints(subset(['10.0.0.1', `\u202e\n"\\${'x'.repeat(100_000)}`])),
    { ...ONE, refused: [`address "\\u202e\\u000a\\u0022\\u005c${'x'.repeat(44)}"... is not an IP address`] }],
  ['R4 text of 48 characters is shown whole', endpoints(subset(['10.0.0.1', 'x'.repeat(48)])),
    { ...ONE, refused: [`address "${'x'.repeat(48)}" is not an IP address`] }],
  ['R4 a __proto__ key is harmless',
    `{"__proto__":{"kind":"Status","polluted":1},"kind":"Endpoints","apiVersion":"v1","subsets":[
    {"__proto__":{"ports":[]},"addresses":[{"ip":"10.0.0.1"},{"__proto__":{"ip":"10.0.0.2"}}],
    "ports":[{"name":"https","port":6443}]}]}`,
    { ...ONE, refused: ['address undefined is not an IP address'] }],
  ['R3 a __proto__ key makes no list', '{"__proto__":{"kind":"Endpoints","apiVersion":"v1"}}',
    'kind is undefined, not "Endpoints"'],
  ['R3 JSON 10,000 deep, closed', deep('[', ']'), 'not a JSON object'],
  ['R3 JSON 10,000 deep in objects', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
    'kind is undefined, not "Endpoints"'],
  ['R3 JSON 10,000 deep, open', '['.repeat(10_000), 'not JSON'],
  ['R3 JSON 10,000 deep within a list', `{"kind":"Endpoints","apiVersion":"v1","subsets":${deep('[', ']')}}`,
    'the list has no address that may be used: subset (a list) is not an object'],
  ['R3 HTML', '<!doctype html><html>Sign in</html>', 'not JSON'],
  ['R3 nothing', '', 'not JSON'],
  ['R3 a byte order mark', `\ufeff${JSON.stringify(endpoints(subset(['10.0.0.1'])))}`, 'not JSON'],
  ['R3 JSON cut short', JSON.stringify(endpoints(subset(['10.0.0.1']))).slice(0, -1), 'not JSON'],
  ['R3 null', 'null', 'not a JSON object'],
  ['R3 a number', '1', 'not a JSON object'],
  ['R3 a string', '"Endpoints"', 'not a JSON object'],
  ['R3 a bare list', '[]', 'not a JSON object'],
  ['R3 a Status', { kind: 'Status', apiVersion: 'v1', status: 'Failure' }, 'kind is "Status", not "Endpoints"'],
  ['R3 kind in lower case', { kind: 'endpoints', apiVersion: 'v1' }, 'kind is "endpoints", not "Endpoints"'],
  ['R3 a kind of another type', { kind: ['Endpoints'], apiVersion: 'v1' }, 'kind is (a list), not "Endpoints"'],
  ['R3 slices where endpoints were asked for', slices(slice([{ addresses: ['10.0.0.1'] }])),
    'kind is "EndpointSliceList", not "Endpoints"'],
  ['R3 another apiVersion', { kind: 'Endpoints', apiVersion: 'v2', subsets: [subset(['10.0.0.1'])] },
    'apiVersion of Endpoints is "v2", not "v1"'],
  ['R3 no apiVersion', { kind: 'Endpoints', subsets: [subset(['10.0.0.1'])] },
    'apiVersion of Endpoints is undefined, not "v1"'],
]

const SLICES: readonly Row[] = [
  ['R4 a slice', slices(slice([{ addresses: ['10.0.0.1'], conditions: { ready: true } }])), ONE],
  ['R4 conditions.ready false, and what it serves and whether it terminates', slices(slice([
    { addresses: ['10.0.0.1'], conditions: { ready: true, serving: false, terminating: true } },
    { addresses: ['10.0.0.2'], conditions: { ready: false, serving: true, terminating: false } }])),
  { ...ONE, unready: ['10.0.0.2:6443'] }],
  ['R3 conditions.ready false only', slices(slice([{ addresses: ['10.0.0.1'], conditions: { ready: false } }])),
    'the list has notReadyAddresses only'],
  ['R4 no ready at all is ready', slices(slice([{ addresses: ['10.0.0.1'], conditions: {} },
    { addresses: ['10.0.0.2'] },
    { addresses: ['10.0.0.3'], conditions: null }, { addresses: ['10.0.0.4'], conditions: { ready: null } }])),
  { ready: ['10.0.0.1:6443', '10.0.0.2:6443', '10.0.0.3:6443', '10.0.0.4:6443'] }],
  ['R4 ready that is neither true nor false', slices(slice([{ addresses: ['10.0.0.1'] },
    { addresses: ['10.0.0.2'], conditions: { ready: 'false' } },
    { addresses: ['10.0.0.3'], conditions: true }, { addresses: ['10.0.0.4'], conditions: 'x' }])),
  { ...ONE, refused: Array<string>(3).fill('endpoint has conditions that are neither true nor false') }],
  ['R4 two families', slices(slice([{ addresses: ['10.0.0.1'] }]),
    slice([{ addresses: ['FD00::1'] }], { addressType: 'IPv6' })),
    { ready: ['10.0.0.1:6443', '[fd00::1]:6443'] }],
  ['R4 an address of the other family', slices(slice([{ addresses: ['10.0.0.1', 'fd00::1'] }]),
    slice([{ addresses: ['10.0.0.2'] }], { addressType: 'IPv6' })),
    { ...ONE, refused: ['address "fd00::1" is not of its slice\'s family, IPv4',
      'address "10.0.0.2" is not of its slice\'s family, IPv6'] }],
  ['R4 FQDN, and no addressType', slices(slice([{ addresses: ['a.b'] }], { addressType: 'FQDN' }),
    slice([{ addresses: ['10.0.0.2'] }], { addressType: undefined }),
    slice([{ addresses: ['10.0.0.1'] }])),
  { ...ONE, refused: ['addressType "FQDN" is not IPv4 or IPv6', 'addressType undefined is not IPv4 or IPv6'] }],
  ['R4 several addresses of one endpoint, and several slices',
    slices(slice([{ addresses: ['10.0.0.1', '10.0.0.2'] }]), slice([{ addresses: ['10.0.0.2', '10.0.0.3'] }])),
    { ready: ['10.0.0.1:6443', '10.0.0.2:6443', '10.0.0.3:6443'] }],
  ['R4 ready in one slice, unready in another: ready', slices(slice([{ addresses: ['10.0.0.1'],
    conditions: { ready: false } }]), slice([{ addresses: ['10.0.0.1'] }])), ONE],
  ['R4 a port of null means all ports', slices(slice([{ addresses: ['10.0.0.1'] }],
    { ports: [{ name: 'https', port: null }] })),
    'the list has no address that may be used: port null is not a whole number from 1 to 65535'],
  ['R4 ports of null', slices(slice([{ addresses: ['10.0.0.1'] }], { ports: null })),
    'the list has no address that may be used: no port'],
  ['R4 loopback and names', slices(slice([{ addresses: ['127.0.0.1', 'localhost', 7, '10.0.0.1'] }])),
    { ...ONE, refused: ['address 127.0.0.1 is loopback', 'address "localhost" is not an IP address',
      'address 7 is not an IP address'] }],
  ['R4 loopback, as the seed is', slices(slice([{ addresses: ['127.0.0.1'] }])), { ready: ['127.0.0.1:6443'] },
    'loopback'],
  ['R4 addresses that are no list, endpoints and slices that are no objects',
    slices(7, slice([null, { addresses: '10.0.0.2' }, { addresses: ['10.0.0.1'] }])),
    { ...ONE, refused: ['slice 7 is not an object', 'endpoint null is not an object',
      'addresses "10.0.0.2" is not a list'] }],
  ['R4 a slice of another service', slices(slice([{ addresses: ['10.0.0.2'] }],
    { metadata: { labels: { 'kubernetes.io/service-name': 'other' } } }),
    slice([{ addresses: ['10.0.0.1'] }])), { ...ONE, refused: ['slice is of service "other"'] }],
  ['R4 a slice without labels', slices(slice([{ addresses: ['10.0.0.1'] }], { metadata: {} }),
    slice([{ addresses: ['10.0.0.2'] }], { metadata: null })),
    { ready: ['10.0.0.1:6443', '10.0.0.2:6443'] }],
  ['R3 a single slice is not what was asked for', { kind: 'EndpointSlice', apiVersion: 'discovery.k8s.io/v1',
    ...slice([{ addresses: ['10.0.0.1'] }]) }, 'kind is "EndpointSlice", not "EndpointSliceList"'],
  ['R3 no slices', slices(), 'the list is empty'],
  ['R3 null items', { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', items: null }, 'the list is empty'],
  ['R3 slices without endpoints', slices(slice([]), slice(null)), 'the list is empty'],
  ['R3 items that are no list', { kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', items: {} },
    'the list has no address that may be used: items (an object) is not a list'],
  ...['v1beta1', 'v1alpha1'].map((version): Row => [`R3 ${version}`, slicesOf(`discovery.k8s.io/${version}`),
    `apiVersion of EndpointSliceList is "discovery.k8s.io/${version}", not "discovery.k8s.io/v1"`]),
  ['R3 endpoints where slices were asked for', endpoints(subset(['10.0.0.1'])),
    'kind is "Endpoints", not "EndpointSliceList"'],
  ['R3 a Status', { kind: 'Status', apiVersion: 'v1' }, 'kind is "Status", not "EndpointSliceList"'],
  ['R3 HTML', '<html></html>', 'not JSON'],
]

function slicesOf(apiVersion: string): object {
  return { kind: 'EndpointSliceList', apiVersion, items: [slice([{ addresses: ['10.0.0.1'] }])] }
}

const KINDS: readonly (readonly [Via, readonly Row[]])[] = [['endpoints', ENDPOINTS], ['endpointslices', SLICES]]

for (const [via, rows] of KINDS) {
  describe(`The list, via ${via}`, () => {
    for (const [name, body, expected, ...allowed] of rows) {
      it(name, () => {
        const text = typeof body === 'string' ? body : JSON.stringify(body)
        assert.deepEqual(shown(readEndpointsBody(text, via, new Set(allowed))), asShown(expected))
        assert.equal(Object.hasOwn(Object.prototype, 'polluted'), false)
      })
    }
  })
}

function shown(body: EndpointsBody): unknown {
  if (body.kind === 'rejected') return body
  return { ...body, ready: body.ready.map(addressOf), unready: body.unready.map(addressOf) }
}

function asShown(expected: string | Expected): unknown {
  if (typeof expected === 'string') return { kind: 'rejected', reason: expected }
  return { kind: 'list', ready: [], unready: [], refused: [], ...expected }
}

const at = (host: unknown, port: unknown = 6443): object => ({ host, port })

/** What a store may give, the addresses that may be dialled, and what is said of the others. */
const HINTS: readonly (readonly [name: string, hints: unknown, good: readonly string[], refused: readonly string[],
  ...allowed: Scope[]])[] = [
  ['R4 none', [], [], []],
  ['R4 a store that gives nothing', undefined, [], []],
  ['R4 good ones, canonical and each once', [at('10.0.0.1'), at('2001:DB8::1', 1), at('10.0.0.1')],
    ['10.0.0.1:6443', '[2001:db8::1]:1'], []],
  ['R4 every scope but global', [at('169.254.169.254', 80), at('0.0.0.0', 22), at('fe80::1', 1), at('ff02::1'),
    at('::ffff:127.0.0.1'), at('10.0.0.1')], ['10.0.0.1:6443'],
  ['address 169.254.169.254 is link-local', 'address 0.0.0.0 is unspecified', 'address fe80::1 is link-local',
    'address ff02::1 is multicast', 'address ::ffff:127.0.0.1 is loopback']],
  ['R4 loopback, as the seed is', [at('127.0.0.2'), at('169.254.1.1')], ['127.0.0.2:6443'],
    ['address 169.254.1.1 is link-local'], 'loopback'],
  ['R4 names prove nothing, so they lead nowhere', [at('evil.example', 25), at('10.0.0.1')], ['10.0.0.1:6443'],
    ['address "evil.example" is not an IP address']],
  ['R4 what could be a secret is not repeated', [at('eyJhbGciOi.eyJz'), at('10.0.0.1', 'canary-7f3a9c51d2e84b60')], [],
    ['address "(not shown)" is not an IP address', 'port "(not shown)" is not a whole number from 1 to 65535']],
  ['R4 what is no endpoint', ['10.0.0.2:6443', null, [], at(5), at('10.0.0.2', '6443'), at('10.0.0.2', 0), {},
    at('10.0.0.1')], ['10.0.0.1:6443'],
  ['endpoint "10.0.0.2:6443" is not an object', 'endpoint null is not an object', 'endpoint (a list) is not an object',
    'address 5 is not an IP address', 'port "6443" is not a whole number from 1 to 65535',
    'port 0 is not a whole number from 1 to 65535', 'port undefined is not a whole number from 1 to 65535']],
  ['R4 what is no list', { length: 1, 0: at('10.0.0.1') }, [], ['stored endpoints (an object) is not a list']],
  ['R4 20,000 of them: the first 64', Array.from({ length: 20_000 }, (_, i) => at(`10.1.${i >> 8 & 255}.${i & 255}`)),
    many(0, 64).map((ip) => `${ip}:6443`), ['19936 beyond the first 64 addresses']],
  ['R4 20,000 that are refused, each of them counted', Array(20_000).fill(at('127.0.0.1')), [],
    ['18976 beyond the first 64 addresses', ...Array<string>(7).fill('address 127.0.0.1 is loopback'),
      'and 1017 more']],
]

describe('Stored hints', () => {
  for (const [name, hints, good, refused, ...allowed] of HINTS) {
    it(name, () => {
      const vetted = vetHints(hints, new Set(allowed))
      assert.deepEqual(vetted.endpoints.map(addressOf), good)
      assert.deepEqual(vetted.refused, refused)
    })
  }

  it('R4 take no longer for a list that is a billion long', () => {
    const { endpoints, refused } = vetHints(new Array(1e9), new Set())
    assert.deepEqual(endpoints, [])
    assert.equal(refused[0], '999998976 beyond the first 64 addresses')
  })
})
