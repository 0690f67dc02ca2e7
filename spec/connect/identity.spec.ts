// Identity: who must prove what (I1, I2), as rows.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { identityOf } from '../../lib/connect/identity.ts'
import type { Identity } from '../../lib/connect/identity.ts'
import type { Endpoint } from '../../lib/core/endpoint.ts'

const SERVICE = ['kubernetes.default.svc', 'kubernetes.default', 'kubernetes']
const at = (host: string, port = 6443): Endpoint => ({ host, port })
const named = at('api.example.com')
const other = at('api2.example.com')
const ip = at('10.77.0.1')
const ip6 = at('2001:db8::1')
const peer = at('10.77.0.2')

interface Row {
  readonly name: string
  readonly endpoint: Endpoint
  readonly seeds: readonly Endpoint[]
  readonly alternates?: readonly Endpoint[]
  readonly servername?: string
  readonly publicAuthorities?: boolean
  readonly identity: Identity
}

const rows: readonly Row[] = [
  {
    name: 'I1 with a servername the seed proves exactly that name', endpoint: named, seeds: [named],
    servername: 'lb.example.com', identity: { sni: 'lb.example.com', names: ['lb.example.com'] },
  },
  {
    name: 'I1 with a servername any other endpoint proves exactly that name', endpoint: peer, seeds: [named],
    servername: 'lb.example.com', identity: { sni: 'lb.example.com', names: ['lb.example.com'] },
  },
  {
    name: 'I1 a servername that is an IPv4 address is proved, and not sent', endpoint: peer, seeds: [named],
    servername: '10.0.0.9', identity: { sni: '', names: ['10.0.0.9'] },
  },
  {
    name: 'I1 a servername that is an IPv6 address is proved, and not sent', endpoint: peer, seeds: [named],
    servername: '2001:db8::9', identity: { sni: '', names: ['2001:db8::9'] },
  },
  {
    name: 'I2 a seed that is a name proves that name and nothing else', endpoint: named, seeds: [named],
    identity: { sni: 'api.example.com', names: ['api.example.com'] },
  },
  {
    name: 'I2 each of several seeds proves its own host', endpoint: other, seeds: [named, ip, other],
    identity: { sni: 'api2.example.com', names: ['api2.example.com'] },
  },
  {
    name: 'I2 a seed that is an IP proves that IP, and no name is sent', endpoint: ip, seeds: [ip],
    identity: { sni: '', names: ['10.77.0.1'] },
  },
  {
    name: "I2 a seed that is an IP is not asked by another seed's name, which it need not prove", endpoint: ip6,
    seeds: [named, ip6], identity: { sni: '', names: ['2001:db8::1'] },
  },
  {
    name: "I2 any other endpoint proves the seed's name, its IP, or a service name, and is asked by the seed's name",
    endpoint: peer, seeds: [named],
    identity: { sni: 'api.example.com', names: ['api.example.com', '10.77.0.2', ...SERVICE] },
  },
  {
    name: 'I2 where the seed is an IP, no name is sent to any other endpoint, and none is made up',
    endpoint: peer, seeds: [ip],
    identity: { sni: '', names: ['10.77.0.1', '10.77.0.2', ...SERVICE] },
  },
  {
    name: 'I2 of several seeds the first that is a name is asked for, and each host counts', endpoint: peer,
    seeds: [ip, named, other],
    identity: {
      sni: 'api.example.com',
      names: ['10.77.0.1', 'api.example.com', 'api2.example.com', '10.77.0.2', ...SERVICE],
    },
  },
  {
    name: 'I2 an alternate that is a name may prove it, and is asked by it', endpoint: other, seeds: [named],
    alternates: [other],
    identity: { sni: 'api2.example.com', names: ['api.example.com', 'api2.example.com', ...SERVICE] },
  },
  {
    name: 'I2 a name that was learned or stored proves nothing, and is not asked for', endpoint: other, seeds: [named],
    identity: { sni: 'api.example.com', names: ['api.example.com', ...SERVICE] },
  },
  {
    name: "I2 another port of the seed's host is another endpoint, and its host counts once",
    endpoint: at('10.77.0.1', 6444), seeds: [ip],
    identity: { sni: '', names: ['10.77.0.1', ...SERVICE] },
  },
  {
    name: 'I2 a seed that is a service name counts once', endpoint: peer, seeds: [at('kubernetes.default.svc', 443)],
    identity: {
      sni: 'kubernetes.default.svc',
      names: ['kubernetes.default.svc', '10.77.0.2', 'kubernetes.default', 'kubernetes'],
    },
  },
  {
    name: 'I2 an IPv6 endpoint proves its address', endpoint: ip6, seeds: [ip],
    identity: { sni: '', names: ['10.77.0.1', '2001:db8::1', ...SERVICE] },
  },
  {
    name: "I2 another port of a seed that is a name is asked by that name, not by the first seed's",
    endpoint: at('api2.example.com', 6444), seeds: [named, other],
    identity: { sni: 'api2.example.com', names: ['api.example.com', 'api2.example.com', ...SERVICE] },
  },
  {
    name: 'I2 another port of the only seed proves its host without a CA of its own, too',
    endpoint: at('10.77.0.1', 6444), seeds: [ip], publicAuthorities: true,
    identity: { sni: '', names: ['10.77.0.1', ...SERVICE] },
  },
  {
    name: 'I2 localhost is a name of this machine: it is not sent to another', endpoint: peer, seeds: [at('localhost')],
    identity: { sni: '', names: ['localhost', '10.77.0.2', ...SERVICE] },
  },
  {
    name: 'I2 nor is a name under localhost', endpoint: peer, seeds: [at('api.localhost'), named],
    identity: { sni: 'api.example.com', names: ['api.localhost', 'api.example.com', '10.77.0.2', ...SERVICE] },
  },
  {
    name: 'I2 localhost is sent to an address of this machine', endpoint: at('127.0.0.2'), seeds: [at('localhost')],
    identity: { sni: 'localhost', names: ['localhost', '127.0.0.2', ...SERVICE] },
  },
  {
    name: 'I2 localhost is sent to itself, as a seed and on another port', endpoint: at('localhost', 1),
    seeds: [at('localhost')], identity: { sni: 'localhost', names: ['localhost', ...SERVICE] },
  },
  {
    name: "I2 an alternate that is an IP is asked by the seed's name", endpoint: peer, seeds: [named],
    alternates: [peer], identity: { sni: 'api.example.com', names: ['api.example.com', '10.77.0.2', ...SERVICE] },
  },
]

describe('identity', () => {
  for (const { name, endpoint, seeds, alternates = [], servername, publicAuthorities, identity } of rows) {
    it(name, () => {
      const frozen = Object.freeze(seeds.map((seed) => Object.freeze({ ...seed })))
      const policy = Object.freeze({ servername, seeds: frozen, alternates, publicAuthorities })
      assert.deepEqual(identityOf(Object.freeze({ ...endpoint }), policy), identity)
    })
  }
})
