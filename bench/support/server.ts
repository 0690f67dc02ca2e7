/**
 * A TLS server in a process of its own that answers every request with the same bytes, as cheaply as Node can. The
 * client is what is measured, so the server must not be what it waits for. Of Kubernetes it knows a list of endpoints,
 * in which it stands alone until it is told otherwise, and watches of an event a second, once it is told to send them.
 */
import tls, { type TLSSocket } from 'node:tls'
import { endpointsBody, pem, response } from '../../spec/support/tls-servers.ts'
import { answerAll } from './worker.ts'

export type ServerQuestion =
  | { readonly what: 'address' | 'counts' }
  /** From now on the list holds these, each 'host:port'. */
  | { readonly what: 'list'; readonly addresses: readonly string[] }
  /**
   * From now on events are sent: each part of them at this share of its time, from 0 to 1, by the clock of the machine.
   * Servers of different shares never send at the same moment.
   */
  | { readonly what: 'send'; readonly share: number }

export interface ServerAnswer {
  readonly port: number
  readonly connections: number
  readonly resumed: number
  readonly requests: number
}

const HOST = '127.0.0.1'
const ANSWER = Buffer.from(response(200, '{"major":"1"}\r\n'))
const WATCH_BEGINS = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
/** What a change of a small object looks like. */
const EVENT_BODY = `${JSON.stringify({
  type: 'MODIFIED', object: { kind: 'Pod', metadata: { name: 'pod', resourceVersion: '1' }, status: { phase: 'x' } },
})}\n`
const EVENT = `${EVENT_BODY.length.toString(16)}\r\n${EVENT_BODY}\r\n`
/** Events of one second are sent in so many parts, so that neither side has a rush and a rest. */
const PARTS = 50
/** ms */
const PART = 1_000 / PARTS

const counts = { connections: 0, resumed: 0, requests: 0 }
/** A watch stands in one part for its life. */
const watches = Array.from({ length: PARTS }, () => new Set<TLSSocket>())
let opened = 0

const server = tls.createServer({
  cert: pem('kubeadm-1.crt'), key: pem('server.key'), ALPNProtocols: ['http/1.1'],
}, (socket) => {
  counts.connections += 1
  if (socket.isSessionReused()) counts.resumed += 1
  socket.setNoDelay(true)
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    // Requests of these clients have no body and are not split: each chunk that ends a head is one.
    if (chunk.subarray(-4).toString('latin1') !== '\r\n\r\n') return
    counts.requests += 1
    if (chunk.includes('/endpoints/kubernetes')) socket.write(response(200, endpointsBody(listed)))
    else if (chunk.includes('watch=1')) watch(socket)
    else socket.write(ANSWER)
    if (chunk.includes('onnection: close')) socket.end()
  })
})

function watch(socket: TLSSocket): void {
  opened += 1
  const part = watches[opened % PARTS]
  part?.add(socket)
  socket.once('close', () => part?.delete(socket))
  socket.write(WATCH_BEGINS)
}

/** Sends the parts from `next` on that are due, and the others in their time. Parts are counted since 1970. */
function send(next: number, share: number): void {
  const due = partAt(Date.now(), share) + 1
  // One that was late does not send the same part twice at once.
  for (let part = Math.max(next, due - PARTS); part < due; part += 1) {
    for (const socket of watches[part % PARTS] ?? []) socket.write(EVENT)
  }
  setTimeout(send, (due + share) * PART - Date.now(), due, share)
}

function partAt(time: number, share: number): number {
  return Math.floor(time / PART - share)
}

const port = await new Promise<number>((resolve) => {
  // A thousand connections at once must not be told to come again in a second.
  server.listen({ host: HOST, port: 0, backlog: 4_096 }, () => {
    const address = server.address()
    resolve(typeof address === 'object' && address !== null ? address.port : 0)
  })
})
let listed: readonly string[] = [`${HOST}:${port}`]

answerAll<ServerQuestion, ServerAnswer>((question) => {
  if (question.what === 'list') listed = question.addresses
  if (question.what === 'send') send(partAt(Date.now(), question.share) + 1, question.share)
  return { port, ...counts }
})
