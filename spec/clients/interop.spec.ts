/**
 * Each client against real servers that really fail: a request, reuse, an abort while a dial is pending, the server in
 * use killed and stopped, and an error as that client's users see it. What was verified goes into the matrix.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { ApiServer } from '../support/control-plane.ts'
import { ControlPlane } from '../support/control-plane.ts'
import type { Client, Target, Use } from './clients.ts'
import { clients, QUICK, runsHere } from './clients.ts'
import { record } from './matrix.ts'
import { proxies } from './proxies.ts'

const REQUESTS = 5
/** A row that hangs must not take the others with it. */
const LIMIT = 30_000

/** So many clients at a time, each with a control plane of its own meanwhile: most of them wait most of the time. */
const LANES = 3

const planes: ControlPlane[] = []
// A dialer keeps no process alive while it learns of the other servers, which is waited for here.
const awake = setInterval(() => {}, 60_000)
after(() => {
  clearInterval(awake)
  return Promise.all(planes.map((plane) => plane.stop()))
})

/** One that no client uses, or a new one. */
async function lendPlane(): Promise<ControlPlane> {
  return planes.pop() ?? await ControlPlane.start({ http2: true })
}

function targetOf(plane: ControlPlane): Target {
  const [seed] = plane.servers
  assert.ok(seed !== undefined)
  return { server: seed.url, ca: plane.ca, token: plane.token }
}

async function using<T>(client: Client, target: Target, body: (use: Use) => Promise<T>): Promise<T> {
  const use = await client.open(target)
  try {
    return await body(use)
  } finally {
    await use.close()
  }
}

/** By its name, or by its address. */
function serverOf(plane: ControlPlane, servedBy: string): ApiServer {
  const server = plane.servers.find(({ name, url }) => name === servedBy || url === `https://${servedBy}`)
  assert.ok(server !== undefined, `no server ${servedBy}`)
  return server
}

/** Asks until it is answered, as the users of a client without retries do; tells how many requests failed before. */
async function ask(use: Use): Promise<{ servedBy: string; errors: unknown[] }> {
  const errors: unknown[] = []
  for (;;) {
    try {
      return { servedBy: await use.get(), errors }
    } catch (error) {
      errors.push(error)
      if (errors.length > 3) throw error
    }
  }
}

/** One request, after which the other servers are known. */
async function settled(plane: ControlPlane, use: Use): Promise<ApiServer> {
  const learned = once(use.dialer, 'endpoints')
  const server = serverOf(plane, await use.get())
  await learned
  return server
}

// CLIENTS='got,ws' runs those alone.
const wanted = process.env['CLIENTS']?.split(',')

function verifyClient(client: Client): void {
  const skip = runsHere(client) ? false : `needs Node ${client.needs}`
  if (skip) {
    for (const what of ['request', 'reuse', 'abort', 'SIGKILL', 'SIGSTOP', 'error']) record(client.name, what, skip)
  }

  describe(client.name, { skip, concurrency: 1 }, () => {
    let plane: ControlPlane
    before(async () => { plane = await lendPlane() })
    after(() => { planes.push(plane) })
    const verify = (what: string, rule: string, body: () => Promise<string>): void => {
      it(rule, { timeout: LIMIT }, async () => record(client.name, what, await body()))
    }

    verify('request', 'is answered', () => using(client, targetOf(plane), async (use) => {
      serverOf(plane, await use.get())
      return 'ok'
    }))

    verify('reuse', 'reuses its connections', () => using(client, targetOf(plane), async (use) => {
      for (let i = 0; i < REQUESTS; i += 1) await use.get()
      const { dials } = use.dialer.snapshot().counters
      const { reuse = REQUESTS } = client
      assert.ok(dials <= reuse, `${dials} connections for ${REQUESTS} requests`)
      return client.reuse === undefined ? 'one each' : `${dials} for ${REQUESTS}`
    }))

    verify('abort', 'ends at once when it is aborted while its dial is pending', async () => {
      if (client.abort === undefined) return 'not possible'
      const { abort: effect } = client
      const silent = net.createServer()
      silent.listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const address = silent.address()
      assert.ok(typeof address === 'object' && address !== null)
      const patient = {
        ...targetOf(plane), server: `https://127.0.0.1:${address.port}`, attemptTimeout: 60_000, dialTimeout: 60_000,
      }
      try {
        return await using(client, patient, async (use) => {
          const accepted = once(silent, 'connection')
          const abort = new AbortController()
          const request = use.get(abort.signal)
          const rejected = assert.rejects(request)
          const [socket] = await accepted as [net.Socket]
          const closed = once(socket.resume().on('error', () => {}), 'close')
          abort.abort()
          if (effect !== 'waits for the dial') await rejected
          if (effect !== 'dial ended') use.dialer.close()
          await Promise.all([rejected, closed])
          return effect
        })
      } finally {
        silent.close()
      }
    })

    const quick = (): Target => ({ ...targetOf(plane), ...QUICK })
    verify('SIGSTOP', 'goes on when the server in use is stopped', () => using(client, quick(), async (use) => {
      const known = await settled(plane, use)
      const held = await use.hold?.()
      const server = held === undefined ? known : serverOf(plane, held.servedBy)
      await server.stop()
      try {
        await held?.ended
        const { servedBy, errors } = await ask(use)
        assert.notEqual(serverOf(plane, servedBy), server)
        // A request that was written is lost with its connection: the client says so, or asks again by itself.
        assert.ok(errors.length <= 1, `failed requests: ${errors.join(', ')}`)
        for (const error of errors) assert.equal(client.codeOf(error), 'ECONNRESET', String(error))
        if (held !== undefined) return 'closed'
        return errors.length === 0 ? 'no error' : 'one ECONNRESET'
      } finally {
        await server.cont()
      }
    }))

    verify('SIGKILL', 'goes on when the server in use is killed', () => using(client, targetOf(plane), async (use) => {
      const server = await settled(plane, use)
      await server.kill()
      try {
        const { servedBy, errors } = await ask(use)
        assert.notEqual(serverOf(plane, servedBy), server)
        assert.ok(errors.length <= 1, `failed requests: ${errors.join(', ')}`)
        return errors.length === 0 ? 'no error' : `one ${String(client.codeOf(errors[0]))}`
      } finally {
        await server.restart()
      }
    }))

    verify('error', 'fails with a code when no server can be reached', async () => {
      const [seed] = plane.servers
      const nowhere = { ...targetOf(plane), server: `https://127.0.0.9:${seed?.port}` }
      return using(client, nowhere, async (use) => {
        const error = await use.get().then(() => assert.fail('answered'), (error: unknown) => error)
        assert.equal(client.codeOf(error), client.refused ?? 'ECONNREFUSED', String(error))
        assert.ok(error instanceof Error)
        return `${error.name}: ${String(client.codeOf(error))}`
      })
    })
  })
}

describe('the clients', { concurrency: LANES }, () => {
  for (const client of [...clients, ...proxies]) if (wanted?.includes(client.name) ?? true) verifyClient(client)
})
