/** Programs at the other end of pipes, in a process of their own: what comes through, and how long a small answer takes. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { answerAll } from '../support/worker.ts'

export type ClientQuestion =
  | { readonly what: 'bytes'; readonly port: number; readonly pipes: number; readonly ms: number }
  | { readonly what: 'echo'; readonly port: number; readonly ms: number }
  /** Opens so many, each with a word through it, and holds them; 0 closes them. */
  | { readonly what: 'hold'; readonly port: number; readonly pipes: number }

export interface ClientAnswer {
  /** Bytes a second, or ms of each small request, or how many are held. */
  readonly rate: number
  readonly times: readonly number[]
}

const MESSAGE = Buffer.from(`E${'m'.repeat(255)}`)
let held: Socket[] = []

async function connected(port: number): Promise<Socket> {
  const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

async function bytes(port: number, pipes: number, ms: number): Promise<ClientAnswer> {
  let read = 0
  const sockets = await Promise.all(Array.from({ length: pipes }, async () => {
    const socket = await connected(port)
    socket.write('B')
    socket.on('data', (chunk: Buffer) => { read += chunk.length })
    return socket
  }))
  await new Promise((resolve) => setTimeout(resolve, ms / 4))
  const [before, from] = [read, performance.now()]
  await new Promise((resolve) => setTimeout(resolve, ms))
  const rate = (read - before) / (performance.now() - from) * 1_000
  for (const socket of sockets) socket.destroy()
  return { rate, times: [] }
}

async function echo(port: number, ms: number): Promise<ClientAnswer> {
  const socket = await connected(port)
  const until = performance.now() + ms
  const times: number[] = []
  while (performance.now() < until) {
    const from = performance.now()
    socket.write(MESSAGE)
    await once(socket, 'data')
    times.push(performance.now() - from)
  }
  socket.destroy()
  return { rate: times.length / ms * 1_000, times }
}

async function hold(port: number, pipes: number): Promise<ClientAnswer> {
  for (const socket of held) socket.destroy()
  held = []
  for (let left = pipes; left > 0; left -= 100) {
    held.push(...await Promise.all(Array.from({ length: Math.min(100, left) }, async () => {
      const socket = await connected(port)
      socket.write(MESSAGE)
      await once(socket, 'data')
      return socket
    })))
  }
  return { rate: held.length, times: [] }
}

answerAll<ClientQuestion, ClientAnswer>((question) => {
  switch (question.what) {
    case 'bytes': return bytes(question.port, question.pipes, question.ms)
    case 'echo': return echo(question.port, question.ms)
    case 'hold': return hold(question.port, question.pipes)
  }
})
