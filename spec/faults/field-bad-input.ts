/** What balancers, names and lists can have wrong: callers are served, or told why not, and no token goes astray. */
import assert from 'node:assert/strict'
import { Balancer, type Treatment } from '../support/balancer.ts'
import { Busy, goOn, SLACK } from '../support/busy.ts'
import { at, dialError, timed, until } from '../support/client.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { D, lane, type Row, type Scene } from '../support/lanes.ts'
import { Wires } from '../support/wires.ts'

const balancerOf = ({ plane }: Scene): Promise<Balancer> =>
  Balancer.start(plane.servers.map(({ address }) => address))

const answersItself: readonly Row[] = ([
  ['HTTP 502 in the clear', 'bad-gateway', /WRONG_VERSION|PACKET_LENGTH|EPROTO/],
  ['a login page, with a certificate of another authority', 'login-page', /UNABLE_TO_VERIFY|ISSUER|SELF_SIGNED/],
  ['a closed connection', 'close', /ECONNRESET/],
] satisfies [string, Treatment, RegExp][]).map(([what, treatment, code]): Row => ({
  name: `a balancer answers with ${what}: said at once; where a list is known, nobody notices`,
  body: async (scene) => {
    await using balancer = await balancerOf(scene)
    const known = scene.another({ server: balancer.url })
    await known.dialer.refresh()
    const busy = await Busy.start(known)
    await busy.more(3)
    await balancer.treat(treatment)
    const client = scene.another({ server: balancer.url })
    const { value, ms } = await timed(dialError(client.get('/version')))
    assert.match(value.code ?? '', code)
    assert.ok(value.message.includes(balancer.address), value.message)
    assert.ok(ms < 2 * D + SLACK, `${Math.round(ms)} ms`)
    const from = performance.now()
    await busy.served('those who know the list are served', from, 1_000, () => true)
    goOn(busy.watches)
    await balancer.treat('forward')
    assert.equal((await client.get('/version')).status, 200)
  },
}))

const lists: readonly Row[] = [
  {
    name: 'a list names the balancer\'s own address: it is one of those, and all are served',
    body: async (scene) => {
      await using balancer = await balancerOf(scene)
      const { plane } = scene
      await plane.setEndpoints({ addresses: [balancer.address, ...plane.servers.map(({ address }) => address)] })
      const client = scene.another({ server: balancer.url, balance: 'spread' })
      assert.equal((await client.dialer.refresh()).length, plane.servers.length + 1)
      for (let i = 0; i < 20; i += 1) assert.equal((await client.fresh('/version')).status, 200)
      assert.deepEqual([client.failed, client.warnings], [[], []])
    },
  },
  {
    name: 'a list of another cluster behind the same name: served by the seed, no byte of any token goes to the other',
    body: async (scene) => {
      await using other = await ControlPlane.start({ servers: 2, certificate: 'from-other-ca' })
      const { plane, server } = scene
      await plane.setEndpoints({ addresses: other.servers.map(({ address }) => address) })
      const client = scene.another()
      const busy = await Busy.start(client)
      await until('it is warned of', () => client.warnings.length > 0)
      await busy.more(20)
      assert.ok(busy.outcomes.every(({ answer }) => answer?.server === server(0).name && answer.status === 200))
      goOn(busy.watches)
      for (const stranger of other.servers) {
        const { tokens, requests } = await stranger.stats()
        assert.deepEqual({ tokens, requests }, { tokens: [], requests: 0 })
      }
      await client.close()
    },
  },
  {
    name: 'F1 alternates that are fronts: dials go to those that are listed, and to a front when none of them is there',
    body: async (scene) => {
      const { plane, server } = scene
      await using balancer = await balancerOf(scene)
      const client = scene.another({ alternates: [balancer.address] })
      await client.dialer.refresh()
      await balancer.resetStats()
      await server(0).kill()
      const { server: next } = await client.fresh('/version')
      assert.notEqual(next, server(0).name)
      const { made } = (await balancer.stats()).backends[server(0).address] ?? { made: 0 }
      assert.equal(made, 0)
      // What is listed is gone, and the front leads to a server that nobody lists.
      const hidden = await plane.addServer({ listed: false })
      await balancer.setBackends([hidden.address])
      await Promise.all(plane.servers.filter((each) => each !== hidden && each.state !== 'gone')
        .map((each) => each.kill()))
      assert.equal((await client.fresh('/version')).server, hidden.name)
      await client.close()
      await plane.removeServer(hidden, { graceful: false })
    },
  },
  {
    name: 'a seed name that resolves to nothing after it was good: those that are known serve, the name is told',
    body: async (scene) => {
      const { plane } = scene
      let resolves = true
      const client = scene.another({
        server: `https://kubernetes.default.svc.cluster.local:${at(plane, 0).port}`,
        connectSocket: (endpoint, options) => {
          const listed = /^10\.77\.0\.(\d+)$/.exec(endpoint.host)?.[1]
          if (listed === undefined && !resolves) {
            throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${endpoint.host}`), { code: 'ENOTFOUND' })
          }
          const { host, port } = at(plane, listed === undefined ? 0 : Number(listed) - 1)
          return new Wires().connectSocket({ host, port }, options)
        },
      })
      await plane.setEndpoints({ addresses: plane.servers.map(({ port }, index) => `10.77.0.${index + 1}:${port}`) })
      assert.equal((await client.dialer.refresh()).length, plane.servers.length)
      resolves = false
      for (const server of plane.servers.slice(0, 2)) await server.kill()
      assert.equal((await client.fresh('/version')).server, at(plane, 2).name)
      await at(plane, 2).kill()
      const error = await dialError(client.fresh('/version'))
      assert.equal(error.code, 'ENOTFOUND')
      assert.equal(error.errors.length, plane.servers.length + 1)
    },
  },
]

export function badInput(): void {
  lane('a balancer that answers itself', { servers: 2, certificate: 'every-ip' }, answersItself)
  lane('lists and names', { servers: 3, certificate: 'every-ip' }, lists)
}
