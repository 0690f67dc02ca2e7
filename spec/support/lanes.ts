/**
 * Rows of faults: each is played by clients of a control plane that is as new before it, and leaves nothing behind.
 * Rows of one lane share a plane, one after another; lanes run beside each other.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { MultidialerOptions } from '../../lib/multidialer.ts'
import { at, Client, until } from './client.ts'
import { ControlPlane, type ApiServer, type ControlPlaneOptions } from './control-plane.ts'
import { withoutLeaks } from './leaks.ts'

/** What a machine of two cores that has much else to do may add to a dial. ms */
export const LOAD = 2_500
/** Half of a dialled, answered request on such a machine. ms */
export const D = 100

/** Whether rows play that take half a minute and more, as in CI. */
export const LONG: boolean = process.env['MULTIDIALER_LONG'] !== undefined
export const ONLY_LONG: string | false = LONG ? false : 'plays in CI, or with MULTIDIALER_LONG=1'

export interface Scene {
  readonly plane: ControlPlane
  readonly client: Client
  readonly server: (index: number) => ApiServer
  /** Another client of the same plane, ended with the scene. */
  readonly another: (options?: Partial<MultidialerOptions>) => Client
}

export interface Row {
  readonly name: string
  readonly options?: Partial<MultidialerOptions> | ((plane: ControlPlane) => Partial<MultidialerOptions>)
  readonly skip?: string | false
  readonly body: (scene: Scene) => Promise<void>
}

/** The planes of this process. To start one takes more of the machine than any row does, and rows measure time. */
const starting: Promise<ControlPlane>[] = []

/** Resolves when all planes are there that are wanted by now. */
async function started(options: ControlPlaneOptions): Promise<ControlPlane> {
  const plane = ControlPlane.start(options)
  starting.push(plane)
  await Promise.allSettled(starting)
  return plane
}

/** Rows one after another on one plane, which is as new before each; planes run beside each other. */
export function lane(name: string, options: ControlPlaneOptions, rows: readonly Row[]): void {
  describe(name, { concurrency: 1 }, () => {
    let plane: ControlPlane
    // A plane for nobody costs as much as one for all.
    const needed = rows.some(({ skip }) => skip === undefined || skip === false)
    before(async () => { if (needed) plane = await started(options) })
    after(async () => { if (needed) await plane.stop() })
    for (const row of rows) {
      it(row.name, { skip: row.skip ?? false }, async () => {
        await heal(plane)
        await played(plane, row)
      })
    }
  })
}

async function heal(plane: ControlPlane): Promise<void> {
  await Promise.all(plane.servers.map(async (server) => {
    if (server.state === 'stopped') await server.cont()
    if (server.state === 'gone') await server.restart()
    await server.misbehave()
    await plane.list(server)
    await server.resetStats()
  }))
  await plane.forbid()
  await plane.setEndpoints(undefined)
}

/** Plays a row; afterwards nothing of it is left, here or on any server. */
function played(plane: ControlPlane, { body, options = {} }: Row): Promise<void> {
  return withoutLeaks(async () => {
    const clients: Client[] = []
    const given = typeof options === 'function' ? options(plane) : options
    const another = (more: Partial<MultidialerOptions> = {}): Client => {
      const client = new Client(plane, { ...given, ...more })
      clients.push(client)
      return client
    }
    try {
      await body({ plane, client: another(), server: (index) => at(plane, index), another })
    } finally {
      for (const client of clients) await client.close()
    }
    // One that says nothing does not notice either that a client has closed.
    for (const server of plane.servers) if (server.state === 'running') await server.misbehave()
    await closedEverywhere(plane)
  })
}

/** Knows the other servers without having asked: its first dial goes to server 0, the next ones to these. */
export const told = (plane: ControlPlane): Partial<MultidialerOptions> =>
  ({ alternates: plane.servers.slice(1).map(({ address }) => address) })

/** It knows every server, has used the first one, and holds no socket. */
export async function learned(client: Client): Promise<void> {
  await client.dialer.refresh()
  const socket = await client.connect()
  socket.destroy()
}

/** Every server that runs has seen every connection closed. */
async function closedEverywhere(plane: ControlPlane): Promise<void> {
  for (const server of plane.servers) {
    if (server.state === 'running') {
      await until(`${server.name} has no connection`, async () => (await server.stats()).rawOpen === 0, 10_000)
    }
  }
}

/** A request that is not served by server 0, and in time. */
export async function servedByNext({ client, server }: Scene, within: number): Promise<number> {
  const { server: name, ms } = await client.get('/version')
  assert.notEqual(name, server(0).name)
  assert.ok(ms < within + LOAD, `${Math.round(ms)} ms, promised ${within}`)
  return ms
}

