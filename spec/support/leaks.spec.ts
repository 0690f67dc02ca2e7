/**
 * The check for what is left behind finds what is, and only that: the specs that rely on it prove nothing otherwise.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { it } from 'node:test'
import { apart, withoutLeaks } from './leaks.ts'

const SOON = 100

it('a timer that is left, unref\'d too, is found, and where it was made', async () => {
  let timer: NodeJS.Timeout | undefined
  const left = withoutLeaks(async () => { timer = setTimeout(() => {}, 60_000).unref() }, SOON)
  await assert.rejects(left, /1 left behind: Timeout\n[^]*leaks\.spec\.ts/)
  clearTimeout(timer)
})

it('a socket that is left is found, in what the piece set going too', async () => {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const { port } = address
  let socket: net.Socket | undefined
  const left = withoutLeaks(async () => {
    await new Promise((resolve) => setImmediate(resolve))
    socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
  }, SOON)
  await assert.rejects(left, /left behind: TCPWRAP/)
  socket?.destroy()
  server.close()
})

it('what has ended, and what belongs to another or to nobody, is not', async () => {
  const other = setTimeout(() => {}, 60_000)
  let nobodys: NodeJS.Timeout | undefined
  await withoutLeaks(async () => {
    clearTimeout(setTimeout(() => {}, 60_000))
    await new Promise((resolve) => setTimeout(resolve, 1))
    nobodys = apart(() => setTimeout(() => {}, 60_000))
  }, SOON)
  clearTimeout(other)
  clearTimeout(nobodys)
})
