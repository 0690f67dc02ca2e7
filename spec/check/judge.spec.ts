/** What a check makes of its facts: who serves when another is lost, and every sentence that it can say. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { EndpointFacts, Facts } from '../../lib/check/facts.ts'
import { judge } from '../../lib/check/judge.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const DAY = 86_400_000
const SERVICE = ['kubernetes.default.svc', 'kubernetes.default', 'kubernetes']

/** One that answered well, unless told otherwise. */
function endpoint(host: string, change: Partial<EndpointFacts> = {}): EndpointFacts {
  return {
    address: `${host}:6443`, host, origin: 'learned', listed: true, front: false,
    reached: 'answer', ms: { route: 1, tls: 2, answer: 3 }, needs: [host, ...SERVICE],
    certificate: { names: [host], validTo: NOW + 300 * DAY }, status: 200, authorized: true, ahead: 0, ...change,
  }
}

function facts(endpoints: readonly EndpointFacts[], change: Partial<Facts> = {}): Facts {
  return { endpoints, discovery: { status: 'ok', via: 'endpoints', listed: true }, verified: true, now: NOW, ...change }
}

const seed = (change: Partial<EndpointFacts> = {}): EndpointFacts => endpoint('10.0.0.1', { origin: 'seed', ...change })
const [two, three] = [endpoint('10.0.0.2'), endpoint('10.0.0.3')]
const front = (change: Partial<EndpointFacts> = {}): EndpointFacts =>
  endpoint('api.test.example', { origin: 'seed', listed: false, front: true, ...change })
const silent = (one: EndpointFacts): EndpointFacts => {
  const { certificate, status, authorized, ahead, ...rest } = one
  return { ...rest, reached: 'nothing', ms: {}, failure: { kind: 'silence', code: 'ETIMEDOUT', message: 'the connection timed out after 5000 ms' } }
}
const failed = (reached: EndpointFacts['reached'], kind: NonNullable<EndpointFacts['failure']>['kind'], code = ''): EndpointFacts => ({
  ...endpoint('10.0.0.2'), reached, failure: { kind, message: 'the cause', ...(code === '' ? {} : { code }) },
})

/** 'lost: who serves', for each. */
const survivals = (given: Facts): string[] =>
  judge(given).survives.map(({ lost, survived, by }) => `${lost}: ${survived ? by.join(' ') : 'nobody'}`)

describe('who serves when one is lost', () => {
  it('the others, where all of them answer', () => {
    assert.deepEqual(survivals(facts([seed(), two, three])), [
      '10.0.0.1:6443: 10.0.0.2:6443 10.0.0.3:6443',
      '10.0.0.2:6443: 10.0.0.1:6443 10.0.0.3:6443',
      '10.0.0.3:6443: 10.0.0.1:6443 10.0.0.2:6443',
    ])
  })

  it('not who is out of reach', () => {
    assert.deepEqual(survivals(facts([seed(), silent(two)])), ['10.0.0.1:6443: nobody', '10.0.0.2:6443: 10.0.0.1:6443'])
  })

  for (const [what, status, serves] of [['refuses with 503', 503, false], ['answers 429', 429, false],
    ['forbids the list, which is not all that it serves', 403, true], ['does not know the token of discovery', 401, true]] as const) {
    it(`${serves ? '' : 'not '}who ${what}`, () => {
      assert.equal(judge(facts([seed(), { ...two, status }])).survives[0]?.survived, serves)
    })
  }

  it('F1 a front, for one of several that it stands for, but not for the only one', () => {
    assert.deepEqual(survivals(facts([front(), silent(two), silent(three)])), [
      'api.test.example:6443: nobody', '10.0.0.2:6443: api.test.example:6443', '10.0.0.3:6443: api.test.example:6443',
    ])
    assert.deepEqual(survivals(facts([front(), two])), ['api.test.example:6443: 10.0.0.2:6443', '10.0.0.2:6443: nobody'])
  })

  it('F1 no listed one that does not know the credentials that a front takes', () => {
    assert.deepEqual(survivals(facts([front(), { ...two, status: 401 }, { ...three, status: 403 }]))[0],
      'api.test.example:6443: nobody')
  })

  it('another front, where a front is lost', () => {
    const other = front({ host: 'other.test.example', address: 'other.test.example:6443' })
    assert.equal(survivals(facts([front(), other, silent(two)]))[0], 'api.test.example:6443: other.test.example:6443')
  })

  it('one that was removed from the list is not among those that can be lost, nor among those that serve', () => {
    const removed = endpoint('10.0.0.9', { listed: false })
    assert.deepEqual(survivals(facts([seed(), removed])), ['10.0.0.1:6443: nobody'])
  })

  it('without a list, all that are known', () => {
    const discovery = { status: 'forbidden', listed: false } as const
    const alternate = endpoint('10.0.0.2', { origin: 'alternate', listed: false })
    assert.deepEqual(survivals(facts([seed({ listed: false }), alternate], { discovery })),
      ['10.0.0.1:6443: 10.0.0.2:6443', '10.0.0.2:6443: 10.0.0.1:6443'])
  })

  it('tells whether the seed is a front, where there is a list to tell', () => {
    assert.equal(judge(facts([front(), two])).front, true)
    assert.equal(judge(facts([seed(), two])).front, false)
    assert.ok(!('front' in judge(facts([seed()], { discovery: { status: 'forbidden', listed: false } }))))
  })
})

describe('what a check advises', () => {
  const advice = (endpoints: readonly EndpointFacts[], change: Partial<Facts> = {}): readonly string[] =>
    judge(facts(endpoints, change)).advice

  it('nothing, where nothing is to be done', () => {
    assert.deepEqual(advice([seed(), two, three]), [])
  })

  it('one address only: nothing to fail over to', () => {
    assert.deepEqual(advice([seed()]), ['Only one address is known, 10.0.0.1:6443: there is nothing to fail over to. Run ' +
      'more apiservers, or give the addresses of the others as well.'])
  })

  it('R2 discovery is forbidden: the Role to grant', () => {
    const [told] = advice([seed({ status: 403 }), two], { discovery: { status: 'forbidden', listed: false } })
    assert.equal(told, 'Discovery is forbidden: only the addresses given are used. Grant it: kubectl -n default create ' +
      'role apiserver-discovery --verb=get --resource=endpoints --resource-name=kubernetes && kubectl -n default create ' +
      'rolebinding apiserver-discovery --role=apiserver-discovery --serviceaccount=YOUR-NAMESPACE:YOUR-ACCOUNT')
  })

  it('discovery is off, or fails', () => {
    assert.deepEqual(advice([seed(), two], { discovery: { status: 'off', listed: false } }),
      ['Discovery is turned off (refreshInterval: 0): only the addresses given are used.'])
    assert.deepEqual(advice([seed(), two], { discovery: { status: 'failing', listed: true, lastError: 'it answered 404' } }),
      ['The list of apiservers cannot be had (it answered 404): only the addresses known are used.'])
  })

  it('F1 no way round a front', () => {
    assert.equal(advice([front(), silent(two), silent(three)])[0], 'Every connection depends on api.test.example:6443, which ' +
      'stands before the apiservers: none of them can be used without it from here. Open the way to the listed ' +
      'addresses, or give another one that leads to them.')
  })

  it('certificates that end within 30 days, and no others', () => {
    const ending = (days: number): EndpointFacts => ({ ...two, certificate: { names: [], validTo: NOW + days * DAY } })
    assert.deepEqual(advice([seed(), ending(31)]), [])
    assert.deepEqual(advice([seed(), ending(9.5)]), ['The certificate of 10.0.0.2:6443 ends in 9 days, on 2026-01-10. ' +
      'Renew it (kubeadm: certs renew apiserver).'])
    assert.match(advice([seed(), ending(1.5)])[0] ?? '', /ends in 1 day, on 2026-01-02/)
  })

  it('clocks that differ by more than a minute, and no others', () => {
    assert.deepEqual(advice([seed(), { ...two, ahead: 60_000 }, { ...three, ahead: -60_000 }]), [])
    assert.deepEqual(advice([seed(), { ...two, ahead: 90_400 }, { ...three, ahead: -61_000 }]), [
      "The clock of 10.0.0.2:6443 is 90 s ahead of this machine's: certificates and tokens may begin too late or end " +
        'too early. Look at NTP on both.',
      "The clock of 10.0.0.3:6443 is 61 s behind this machine's: certificates and tokens may begin too late or end too " +
        'early. Look at NTP on both.',
    ])
  })

  it('certificates that are not verified', () => {
    assert.deepEqual(advice([seed(), two], { verified: false }), ['Certificates are not verified (rejectUnauthorized: ' +
      "false): whoever is in between can read and answer everything. Give the cluster's CA instead."])
  })

  const rows: readonly (readonly [title: string, given: EndpointFacts, sentence: string])[] = [
    ['out of reach: from here it is no help', silent(two),
      'it is out of reach: from here it is no help. Open the way to it (firewall, route, VPN), or map its address with mapEndpoint.'],
    ['out of reach, and given by hand', { ...silent(two), origin: 'alternate' },
      'it is out of reach: from here it is no help. Open the way to it (firewall, route, VPN), or correct the address.'],
    ['nothing listens', failed('nothing', 'refused'), 'nothing listens there. Start the apiserver, or correct the address.'],
    ['a name without an address', failed('nothing', 'name'), 'its name has no address here. Correct the name, or look at DNS.'],
    ['a proxy that does not lead there', failed('nothing', 'broken', 'ERR_MULTIDIALER_PROXY'),
      'the proxy does not lead to it. Look at what the proxy lets through.'],
    ["this machine's own limits", failed('nothing', 'local', 'EMFILE'),
      'this machine could not make the connection. Look at its limits (ulimit -n) and its memory.'],
    ['a handshake without an answer', failed('route', 'silence'), 'its TLS handshake hangs. A kernel accepts connections ' +
      'for a process that is stopped or stuck: look at the apiserver there (is it running, what does its log say), and restart it.'],
    ['no TLS', failed('route', 'broken'), 'it accepts connections and speaks no TLS that this client does. Look at whether ' +
      'an apiserver listens there.'],
    ['a certificate that lacks the names: which to add', failed('tls', 'identity', 'ERR_TLS_CERT_ALTNAME_INVALID'),
      "its certificate has no name that counts. Add the DNS name 'kubernetes' to it (kubeadm: apiServer.certSANs)."],
    ['a seed that lacks its own', { ...failed('tls', 'identity', 'ERR_TLS_CERT_ALTNAME_INVALID'), origin: 'seed', needs: ['10.0.0.2'] },
      "its certificate has no name that counts. Add the IP address '10.0.0.2' to it (kubeadm: apiServer.certSANs), or " +
      "give 'servername' a name that it has."],
    ['another CA', failed('tls', 'identity', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'its certificate is not from the CA that ' +
      "this client trusts. Give the cluster's own CA, or look at who answers there."],
    ['a certificate that has ended', failed('tls', 'identity', 'CERT_HAS_EXPIRED'),
      'its certificate has ended. Renew it (kubeadm: certs renew apiserver), or look at the clock of this machine.'],
    ['a certificate that has not begun', failed('tls', 'identity', 'CERT_NOT_YET_VALID'),
      'its certificate has not begun. Look at the clock of this machine.'],
    ['any other fault of a certificate', failed('tls', 'identity', 'CERT_REVOKED'),
      'its certificate will not do. Renew it, or look at who answers there.'],
    ['no answer', failed('identity', 'silence'),
      'it takes connections and leaves the question unanswered. It hangs, or has lost its etcd: look at its log.'],
    ['an answer that is none', failed('identity', 'broken'),
      'it takes connections and does not answer as an apiserver. Look at what listens there.'],
    ['a list that is none', failed('answer', 'answer'),
      'it answers, but not with a list that can be used. Look at the Endpoints "kubernetes" in namespace "default".'],
    ['401', { ...two, status: 401 }, 'it does not know the token. Look at its expiry and its audience.'],
    ['403', { ...two, status: 403 }, 'it keeps the list from this client. See the Role to grant.'],
    ['429', { ...two, status: 429 }, 'it is overloaded. Dials go elsewhere while it is.'],
    ['503', { ...two, status: 503 }, 'it refuses. Look at its /readyz?verbose.'],
    ['a redirect', { ...two, status: 302 }, 'it may be a login page or a proxy, and no apiserver. Correct the address.'],
    ['404', { ...two, status: 404 }, 'it serves neither endpoints nor endpointslices, and may be no apiserver. Correct the address.'],
    ['any other status', { ...two, status: 204 }, 'it does not give the list. Look at what listens there.'],
    ['R6 no token in time', { ...two, status: 401, authorized: false },
      'the token could not be had in time. Look at where it comes from.'],
  ]
  for (const [title, given, sentence] of rows) {
    it(title, () => {
      const { endpoints, advice } = judge(facts([seed(), given]))
      assert.deepEqual(advice.filter((each) => each.startsWith('10.0.0.2:6443: ')), [`10.0.0.2:6443: ${sentence}`])
      assert.equal(endpoints[1]?.error?.advice, sentence)
    })
  }

  it('F1 a front that authenticates by itself', () => {
    const told = judge(facts([front(), { ...two, status: 401 }])).endpoints[1]?.error
    assert.deepEqual(told, {
      message: 'it answered 401 to the credentials that the front takes',
      advice: 'it does not know the credentials that the front takes: the front authenticates by itself, and no listed ' +
        'apiserver can stand in for it.',
    })
  })

  it('is plain JSON, with the days that a certificate has left', () => {
    const told = judge(facts([seed(), silent(two), { ...three, certificate: { names: ['kubernetes'], validTo: NOW - DAY / 2 } }]))
    assert.deepEqual(JSON.parse(JSON.stringify(told)), told)
    assert.deepEqual(told.endpoints[2]?.certificate, {
      needs: ['10.0.0.3', ...SERVICE], names: ['kubernetes'], validTo: '2025-12-31T12:00:00.000Z', daysLeft: -1,
    })
  })
})
