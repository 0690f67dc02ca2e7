/**
 * The channels of node:diagnostics_channel, as a program meets them whose dependency made the dialer: the events'
 * values, and the dialer; nothing is made where nobody subscribes.
 */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { withMultidialer } from '../lib/adapters/client-node.ts'
import { publish } from '../lib/channels.ts'
import type { MultidialerChannels } from '../lib/index.ts'
import { Multidialer } from '../lib/index.ts'
import { at, rejection } from './support/client.ts'
import { ControlPlane } from './support/control-plane.ts'
import { kubeConfigOf } from './support/kube-config.ts'
import { startProgram } from './support/program.ts'

const NAMES = ['endpoints', 'failover', 'failed', 'warning'] as const

let plane: ControlPlane
before(async () => { plane = await ControlPlane.start({ servers: 3 }) })
after(() => plane.stop())

/** What came by a channel while `body` ran. */
async function published<Name extends (typeof NAMES)[number]>(
  name: Name, body: () => Promise<void>,
): Promise<MultidialerChannels[`kube-multidialer:${Name}`][]> {
  const messages: MultidialerChannels[`kube-multidialer:${Name}`][] = []
  const hear = (message: unknown): void => {
    messages.push(message as MultidialerChannels[`kube-multidialer:${Name}`])
  }
  subscribe(`kube-multidialer:${name}`, hear)
  try {
    await body()
  } finally {
    unsubscribe(`kube-multidialer:${name}`, hear)
  }
  return messages
}

const dialerOf = (server = 0): Multidialer =>
  new Multidialer({ server: at(plane, server).url, ca: plane.ca, token: plane.token })

describe('the channels', () => {
  it('kube-multidialer:endpoints has the list, and whose it is', async () => {
    using one = dialerOf()
    using other = dialerOf(1)
    const lists: unknown[] = []
    one.on('endpoints', (endpoints) => lists.push(endpoints))
    const messages = await published('endpoints', async () => {
      await one.refresh()
      await one.refresh()
      await other.refresh()
    })
    assert.deepEqual(messages.map((message) => Object.keys(message)), [['dialer', 'endpoints'], ['dialer', 'endpoints']])
    assert.equal(messages[0]?.dialer, one)
    assert.equal(messages[1]?.dialer, other)
    assert.equal(messages[0].endpoints, lists[0], 'it is the event\'s own value')
    assert.deepEqual(messages[0].endpoints, plane.servers.map(({ host, port }) => ({ host, port })))
  })

  it('kube-multidialer:failed and :failover have who, to whom and why', async () => {
    using dialer = dialerOf()
    const failures: unknown[] = []
    const failovers: unknown[] = []
    dialer.on('failed', ({ address, error }) => failures.push({ dialer, address, error }))
    dialer.on('failover', (failover) => failovers.push({ dialer, ...failover }))
    await dialer.refresh()
    ;(await dialer.connect()).destroy()
    await at(plane, 0).misbehave('reset-handshake')
    let moved: unknown
    const failed = await published('failed', async () => {
      moved = await published('failover', async () => { (await dialer.connect()).destroy() })
    })
    await at(plane, 0).misbehave()
    assert.equal(failed[0]?.address, at(plane, 0).address)
    assert.deepEqual(failed, failures)
    assert.deepEqual(moved, failovers)
    assert.equal(failovers.length, 1)
  })

  it('kube-multidialer:warning has the error, with its kind', async () => {
    using dialer = dialerOf()
    const warnings: Error[] = []
    dialer.on('warning', (warning) => warnings.push(warning))
    await plane.setEndpoints({ body: '<html>' })
    const messages = await published('warning', async () => void await rejection(dialer.refresh()))
    await plane.setEndpoints(undefined)
    const [message] = messages
    assert.ok(message !== undefined)
    assert.equal(message.error, warnings[0])
    assert.deepEqual([messages.length, message.error.kind, message.dialer === dialer], [1, 'list', true])
  })

  it('kube-multidialer:warning has what an adapter warns of, too', async () => {
    let warned: unknown
    let dialer: unknown
    const messages = await published('warning', async () => {
      using made = withMultidialer(kubeConfigOf(plane, {}, { proxyUrl: 'socks5://127.0.0.1:9' }))
      dialer = made
      ;[warned] = await once(made, 'warning')
    })
    assert.deepEqual(messages.map((message) => [message.dialer === dialer, message.error === warned]), [[true, true]])
  })

  it('makes nothing where nobody subscribes, and again nothing when the last one has left', async () => {
    let made = 0
    const message = (): { dialer: Multidialer; endpoints: [] } => {
      made += 1
      return { dialer, endpoints: [] }
    }
    using dialer = dialerOf()
    publish('endpoints', message)
    assert.equal(made, 0)
    await published('endpoints', async () => publish('endpoints', message))
    assert.equal(made, 1)
    publish('endpoints', message)
    assert.equal(made, 1)
  })

  it('what a subscriber throws surfaces, and keeps neither the event nor a dial from its end', async () => {
    const program = startProgram(`
      const { subscribe } = await import('node:diagnostics_channel')
      subscribe('kube-multidialer:endpoints', () => { throw new Error('the subscriber') })
      process.on('uncaughtException', (error) => console.log('uncaught: ' + error.message))
      const dialer = new Multidialer({ server: given.url, ca: given.ca, token: given.token })
      dialer.on('endpoints', () => console.log('listed'))
      await dialer.refresh()
      ;(await dialer.connect()).destroy()
      console.log('connected')`, { url: at(plane, 0).url, ca: plane.ca, token: plane.token })
    assert.equal(await program.ended, 0, program.lines.join('\n'))
    assert.deepEqual([...program.lines].sort(), ['connected', 'listed', 'uncaught: the subscriber'])
  })
})
