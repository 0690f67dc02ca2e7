/** One pipe between two TCP connections: ends, resets, and who waits for whom. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import { describe, it } from 'node:test'
import { join, reset } from '../../lib/cli/pipe.ts'
import { withoutLeaks } from '../support/leaks.ts'

interface Joined {
  /** The two ends of the pipe, as the program and the apiserver have them. */
  readonly program: Socket
  readonly apiserver: Socket
  /** The two in the middle, which are joined. */
  readonly inner: { readonly program: Socket; readonly apiserver: Socket }
}

async function pair(): Promise<[outer: Socket, inner: Socket]> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const accepted = once(server, 'connection')
  const outer = net.connect({ host: '127.0.0.1', port: address.port, allowHalfOpen: true })
  const [inner] = await accepted
  await once(outer, 'connect')
  server.close()
  assert.ok(inner instanceof net.Socket)
  outer.on('error', () => {})
  return [outer, inner]
}

async function joined(body: (joined: Joined) => Promise<void>): Promise<void> {
  await withoutLeaks(async () => {
    const [[program, one], [apiserver, other]] = [await pair(), await pair()]
    join(one, other)
    try {
      await body({ program, apiserver, inner: { program: one, apiserver: other } })
    } finally {
      for (const socket of [program, apiserver, one, other]) socket.destroy()
    }
  })
}

const codeOf = (error: Error | null): unknown => (error !== null && 'code' in error ? error.code : error)

/** All that it hears up to the end of the other side; its own stays open. */
function textOf(socket: Socket): Promise<string> {
  let text = ''
  return new Promise((resolve) => {
    socket.on('data', (chunk: Buffer) => { text += String(chunk) }).once('end', () => resolve(text))
  })
}

/** Not `once`, which rejects for an error. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a pipe', () => {
  it('carries bytes both ways', () => joined(async ({ program, apiserver }) => {
    program.write('ask')
    assert.equal(String((await once(apiserver, 'data'))[0]), 'ask')
    apiserver.write('answer')
    assert.equal(String((await once(program, 'data'))[0]), 'answer')
  }))

  it('keeps half-closed connections: who has said all may hear for long', () => joined(async ({ program, apiserver, inner }) => {
    program.end('the whole request')
    assert.equal(await textOf(apiserver), 'the whole request')
    const heard = textOf(program)
    apiserver.write('the answer, ')
    await until(() => inner.program.bytesWritten > 0)
    apiserver.end('later')
    assert.equal(await heard, 'the answer, later')
    await until(() => inner.program.destroyed && inner.apiserver.destroyed)
  }))

  for (const [from, to] of [['program', 'apiserver'], ['apiserver', 'program']] as const) {
    it(`passes a reset of the ${from} on to the ${to}`, () => joined(async (all) => {
      all[from].write('begun')
      await once(all[to], 'data')
      const closed = closeOf(all[to])
      all[from].resetAndDestroy()
      await closed
      assert.equal(codeOf(all[to].errored), 'ECONNRESET')
    }))

    it(`does not read the ${from} faster than the ${to} does`, () => joined(async (all) => {
      const chunk = Buffer.alloc(65_536, 'x')
      const source = all[from]
      const write = (): void => {
        while (!source.destroyed && source.write(chunk));
      }
      source.on('drain', write)
      write()
      // The kernel's own buffers take what they can; then nothing moves, and little waits here.
      let [before, still] = [-1, 0]
      while (still < 20) {
        await new Promise((resolve) => setTimeout(resolve, 10))
        still = all.inner[from].bytesRead === before ? still + 1 : 0
        before = all.inner[from].bytesRead
      }
      const waiting = all.inner[from].readableLength + all.inner[to].writableLength
      assert.ok(waiting <= 4 * 65_536, `${waiting} bytes are waiting`)
      assert.ok(before < 64 * 1_048_576)
      // When it reads after all, the rest comes.
      let read = 0
      all[to].on('data', (bytes: Buffer) => { read += bytes.length })
      await until(() => read > before + 10 * 65_536)
    }))
  }

  it('a severed apiserver connection resets the program, which need not wait', () => joined(async ({ program, inner }) => {
    const closed = closeOf(program)
    inner.apiserver.destroy(new Error('severed'))
    program.resume()
    await closed
    assert.equal(codeOf(program.errored), 'ECONNRESET')
  }))

  it('one that is ending when it is reset is closed, too', () => withoutLeaks(async () => {
    const [outer, inner] = await pair()
    inner.write(Buffer.alloc(8 * 1_048_576))
    inner.end()
    const closed = once(inner, 'close')
    reset(inner)
    await closed
    outer.destroy()
  }))
})
