/** check(): what it finds out about apiservers that are processes, and that nothing of it counts against anybody. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, afterEach, before, describe, it } from 'node:test'
import type { Check, EndpointCheck } from '../lib/index.ts'
import { Multidialer } from '../lib/multidialer.ts'
import type { MultidialerOptions } from '../lib/multidialer.ts'
import { Balancer } from './support/balancer.ts'
import { at } from './support/client.ts'
import { certificateFile, ControlPlane } from './support/control-plane.ts'
import { withoutLeaks } from './support/leaks.ts'
import { endpointsBody, response } from './support/tls-servers.ts'

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start({ servers: 3 }) })
after(() => plane.stop())
afterEach(async () => {
  await plane.forbid()
  await Promise.all(plane.servers.map((server) => server.misbehave()))
})

/** A dialer of the control plane, closed at the end of `body`; whatever it left behind fails the row. */
async function withDialer(options: Partial<MultidialerOptions>, body: (dialer: Multidialer) => Promise<void>): Promise<void> {
  await withoutLeaks(async () => {
    using dialer = new Multidialer({ server: at(plane, 0).url, ca: plane.ca, token: plane.token, ...options })
    await body(dialer)
  })
}

function of(check: Check, index: number): EndpointCheck {
  const found = check.endpoints.find(({ address }) => address === at(plane, index).address)
  assert.ok(found, `nothing of ${at(plane, index).address}`)
  return found
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

describe('check()', () => {
  it('learns of every endpoint, asks each, and says that each loss is survived', () => withDialer({}, async (dialer) => {
    const check = await dialer.check()
    assert.equal(check.endpoints.length, 3)
    for (const { reached, ms, status, listed, certificate } of check.endpoints) {
      assert.deepEqual({ reached, status, listed }, { reached: 'answer', status: 200, listed: true })
      assert.ok(ms.route !== undefined && ms.tls !== undefined && ms.answer !== undefined)
      assert.ok(certificate !== undefined && certificate.daysLeft > 0 && certificate.names.length > 0)
    }
    assert.deepEqual(check.survives.map(({ survived, by }) => [survived, by.length]), [[true, 2], [true, 2], [true, 2]])
    assert.equal(check.front, false)
    assert.deepEqual(check.discovery, { status: 'ok', via: 'endpoints' })
    assert.deepEqual(check.advice, [])
  }))

  it('makes a connection of its own to each, resumes no session, and keeps none', () => withDialer({}, async (dialer) => {
    await Promise.all(plane.servers.map((server) => server.resetStats()))
    await dialer.check()
    await dialer.check()
    const stats = await Promise.all(plane.servers.map((server) => server.stats()))
    // The seed has been asked by the refreshes, too.
    assert.deepEqual(stats.map(({ connections }) => connections), [3, 2, 2])
    assert.deepEqual(stats.map(({ sessionsReused }) => sessionsReused), [0, 0, 0])
  }))

  it('I1, I2 a wrong certificate: how far it came, the names that count, which to add; no token was sent there',
    () => withDialer({}, async (dialer) => {
      await at(plane, 1).misbehave({ certificate: 'wrong-name' })
      await at(plane, 1).resetStats()
      const one = of(await dialer.check(), 1)
      assert.equal(one.reached, 'tls')
      assert.equal(one.error?.code, 'ERR_TLS_CERT_ALTNAME_INVALID')
      assert.match(one.error?.advice ?? '', /Add the DNS name 'kubernetes'/)
      assert.deepEqual(one.certificate?.names, [])
      assert.ok(one.certificate?.needs.includes('kubernetes.default.svc'))
      assert.deepEqual((await at(plane, 1).stats()).tokens, [])
    }))

  it('shows the names and the end of a certificate that is over, or of another CA', () => withDialer({}, async (dialer) => {
    await at(plane, 1).misbehave({ certificate: 'expired' })
    await at(plane, 2).misbehave({ certificate: 'from-other-ca' })
    const check = await dialer.check()
    assert.equal(of(check, 1).error?.code, 'CERT_HAS_EXPIRED')
    assert.ok((of(check, 1).certificate?.daysLeft ?? 0) < 0)
    assert.equal(of(check, 2).reached, 'tls')
    assert.match(of(check, 2).error?.advice ?? '', /not from the CA that this client trusts/)
  }))

  it('one that hangs, one that refuses TCP, one whose handshake fails: nothing counts against anybody', async () => {
    const own = await ControlPlane.start({ servers: 4 })
    try {
      const options = { server: at(own, 0).url, ca: own.ca, token: own.token, attemptTimeout: 1_000 }
      using dialer = new Multidialer(options)
      await dialer.refresh()
      const failed: string[] = []
      dialer.on('failed', ({ address }) => failed.push(address))
      await Promise.all([at(own, 1).stop(), at(own, 2).kill(), at(own, 3).misbehave('plain-http')])
      const { endpoints, survives } = await dialer.check()
      const told = endpoints.map(({ reached, error }) => [reached, error?.code])
      assert.deepEqual(told, [['answer', undefined], ['route', 'ETIMEDOUT'], ['nothing', 'ECONNREFUSED'], ['route', told[3]?.[1]]])
      assert.equal(endpoints[1]?.error?.message, 'the TLS handshake timed out after 1000 ms')
      assert.match(endpoints[1].error.advice, /^its TLS handshake hangs\. .* restart it\.$/)
      assert.deepEqual(survives.map(({ survived }) => survived), [false, true, true, true])
      assert.deepEqual(failed, [])
      assert.deepEqual(dialer.snapshot().endpoints.map(({ status }) => status), ['ready', 'unverified', 'unverified', 'unverified'])
    } finally {
      await own.stop()
    }
  })

  it('one that answers nothing: its connection is good, its answer is not', () => withDialer({ heartbeatTimeout: 500 }, async (dialer) => {
    await at(plane, 1).misbehave({ heartbeat: 'silent' })
    const one = of(await dialer.check(), 1)
    assert.equal(one.reached, 'identity')
    assert.match(one.error?.message ?? '', /the answer timed out after 500 ms/)
  }))

  it('R2 forbidden: the Role to grant, and one address only', () => withDialer({}, async (dialer) => {
    await plane.forbid('endpoints', 'endpointslices')
    const { discovery, advice, survives, front } = await dialer.check()
    assert.equal(discovery.status, 'forbidden')
    assert.equal(front, undefined)
    assert.deepEqual(survives, [{ lost: at(plane, 0).address, survived: false, by: [] }])
    assert.match(advice[0] ?? '', /^Only one address is known/)
    assert.match(advice[1] ?? '', /^Discovery is forbidden: .*create role apiserver-discovery/)
  }))

  it('no endpoint at all: it resolves, and says of each why', () => withDialer({ server: 'https://127.0.0.1:1' }, async (dialer) => {
    const { endpoints, survives, discovery } = await dialer.check()
    assert.deepEqual(endpoints.map(({ reached, error }) => [reached, error?.code]), [['nothing', 'ECONNREFUSED']])
    assert.deepEqual(survives.map(({ survived }) => survived), [false])
    assert.equal(discovery.status, 'failing')
  }))

  it('F1 a seed that is a front: says so, and who serves without it', async () => {
    await Promise.all(plane.servers.map((server) => server.misbehave({ certificate: 'every-ip' })))
    await using balancer = await Balancer.start(plane.servers.map(({ address }) => address))
    await withDialer({ server: `https://${balancer.address}` }, async (dialer) => {
      const { endpoints, front, survives } = await dialer.check()
      assert.equal(front, true)
      assert.deepEqual(endpoints.filter((each) => each.front).map(({ address, listed }) => [address, listed]), [[balancer.address, false]])
      const lost = survives.find((each) => each.lost === balancer.address)
      assert.deepEqual(lost?.by.toSorted(), plane.servers.map(({ address }) => address).sort())
    })
  })

  it('a clock that differs by more than a minute, by the Date of its answer', () => withDialer({}, async (dialer) => {
    const list = endpointsBody(plane.servers.map(({ address }) => address))
    const date = new Date(Date.now() + 600_000).toUTCString()
    await at(plane, 1).misbehave({ answer: Buffer.from(response(200, list, { date })).toString('base64') })
    const { advice } = await dialer.check()
    assert.match(advice.join('\n'), new RegExp(`^The clock of ${at(plane, 1).address} is (59|60)\\d s ahead of this machine's`))
    assert.equal(advice.length, 1)
  }))

  it('goes by the dialer that is wrapped, where there is one', () => {
    let calls = 0
    const connectSocket = (): never => {
      calls += 1
      throw Object.assign(new Error('no way'), { code: 'ENETUNREACH' })
    }
    return withDialer({ connectSocket }, async (dialer) => {
      const { endpoints } = await dialer.check()
      assert.deepEqual(endpoints.map(({ reached, error }) => [reached, error?.code]), [['nothing', 'ENETUNREACH']])
      assert.ok(calls > 0)
    })
  })

  it('takes no longer than it may, and leaves nothing', () => withDialer({}, async (dialer) => {
    await dialer.refresh()
    await at(plane, 1).misbehave('hang-handshake')
    const begun = performance.now()
    const one = of(await dialer.check({ timeout: 700 }), 1)
    assert.ok(performance.now() - begun < 4_000)
    assert.equal(one.reached, 'route')
  }))

  it('is ended by its signal', () => withDialer({}, async (dialer) => {
    await dialer.refresh()
    await at(plane, 1).misbehave('hang-handshake')
    const abort = new AbortController()
    const checking = dialer.check({ signal: abort.signal })
    setTimeout(() => abort.abort(), 100)
    await assert.rejects(checking, { name: 'AbortError', code: 'ABORT_ERR' })
    await assert.rejects(dialer.check({ signal: abort.signal }), { code: 'ABORT_ERR' })
  }))

  it('refuses a timeout that is none, and a dialer that is closed', () => withDialer({}, async (dialer) => {
    for (const timeout of [0, -1, NaN, Infinity]) {
      await assert.rejects(dialer.check({ timeout }), (error) => codeOf(error) === 'ERR_INVALID_ARG_VALUE')
    }
    dialer.close()
    await assert.rejects(dialer.check(), { code: 'ERR_MULTIDIALER_CLOSED' })
  }))

  it('I4 holds no secret, whatever servers answer', () => withDialer({
    cert: readFileSync(certificateFile('client-a.crt')), key: readFileSync(certificateFile('client-a.key')),
  }, async (dialer) => {
    const echo = `HTTP/1.1 200 OK\r\nContent-Length: ${plane.token.length}\r\n\r\n${plane.token}`
    await at(plane, 1).misbehave({ answer: Buffer.from(echo).toString('base64') })
    const text = JSON.stringify(await dialer.check())
    assert.ok(!text.includes(plane.token))
    assert.ok(!text.includes('PRIVATE'))
  }))
})
