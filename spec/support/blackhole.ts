/**
 * An address whose packets are dropped, without a firewall or a right to one: a listening socket of a stopped process
 * whose accept queue is full. Linux drops every SYN that comes then, so that a connect stays pending and is sent again.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { stopProcess } from './stopped-process.ts'

export interface Blackhole {
  readonly host: string
  readonly port: number
  /** Resolves when the address refuses again. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Only Linux drops the SYN; others refuse it or have no way to see that the queue is full. */
export const canBlackhole: boolean = process.platform === 'linux'

const PROGRAM = `
  process.on('disconnect', () => process.exit())
  const [, host, port] = process.argv
  require('net').createServer().listen({ host, port: Number(port), backlog: 1 }, function () {
    process.send(this.address().port)
  })`

/**
 * Drops what is sent to `host:port`, 127.0.0.1 and any free port by default; a server killed before may have been
 * there.
 */
export async function blackhole(host = '127.0.0.1', port = 0): Promise<Blackhole> {
  if (!canBlackhole) throw new Error('a blackhole needs Linux')
  const child = spawn(process.execPath, ['-e', PROGRAM, host, String(port)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const listening = await Promise.race([
    once(child, 'message'), exited.then(() => { throw new Error(`cannot listen at ${host}:${port}`) }),
  ])
  const taken = Number(listening[0])
  const unwatch = await stopProcess(child.pid ?? 0)
  const fillers: net.Socket[] = []
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= ended(child, exited).finally(() => {
      unwatch()
      for (const socket of fillers) socket.destroy()
    })
    return closed
  }
  try {
    while (queued(host, taken) < 2) fillers.push(await connected(host, taken))
  } catch (error) {
    await close()
    throw error
  }
  child.unref()
  child.channel?.unref()
  return { host, port: taken, close, [Symbol.asyncDispose]: close }
}

async function ended(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  child.ref()
  child.kill('SIGKILL')
  await exited
}

async function connected(host: string, port: number): Promise<net.Socket> {
  const socket = net.connect({ host, port })
  await once(socket, 'connect')
  socket.on('error', () => undefined)
  socket.unref()
  return socket
}

/** How many connections wait to be accepted there: what the kernel shows as the receive queue of a listening socket. */
function queued(host: string, port: number): number {
  const LISTEN = '0A'
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const table = readFileSync(host.includes(':') ? '/proc/net/tcp6' : '/proc/net/tcp', 'utf8')
  const wanted = host.includes(':') ? undefined : host.split('.').reverse()
    .map((part) => Number(part).toString(16).toUpperCase().padStart(2, '0')).join('')
  for (const line of table.split('\n')) {
    const [, address = '', , state, queues = ''] = line.trim().split(/\s+/)
    if (state !== LISTEN || !address.endsWith(local)) continue
    if (wanted === undefined || address === wanted + local) return Number.parseInt(queues.split(':')[1] ?? '0', 16)
  }
  throw new Error(`nothing listens at ${host}:${port}`)
}
