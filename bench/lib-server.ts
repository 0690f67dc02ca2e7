/**
 * A TLS server in a process of its own that answers every request with the same bytes, as cheaply as Node can: the
 * client is what is measured, so the server must not be what is waited for. It knows one thing of Kubernetes, the list
 * of endpoints, in which it stands alone.
 */
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { answerAll } from './lib-worker.ts'

export interface ServerQuestion {
  readonly what: 'address' | 'counts'
}

export interface ServerAnswer {
  readonly port: number
  readonly connections: number
  readonly resumed: number
  readonly requests: number
}

const FOLDER = new URL('../spec/support/certificates/', import.meta.url)
const HOST = '127.0.0.1'
const ANSWER = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n' +
  '{"major":"1"}\r\n')

const counts = { connections: 0, resumed: 0, requests: 0 }
const server = tls.createServer({
  cert: readFileSync(new URL('kubeadm-1.crt', FOLDER)), key: readFileSync(new URL('server.key', FOLDER)),
  ALPNProtocols: ['http/1.1'],
}, (socket) => {
  counts.connections += 1
  if (socket.isSessionReused()) counts.resumed += 1
  socket.setNoDelay(true)
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    // Requests of these clients have no body and are not split: each chunk that ends a head is one.
    if (chunk.subarray(-4).toString('latin1') !== '\r\n\r\n') return
    counts.requests += 1
    if (chunk.includes('/endpoints/kubernetes')) socket.write(endpoints())
    else socket.write(ANSWER)
    if (chunk.includes('onnection: close')) socket.end()
  })
})

const port = await new Promise<number>((resolve) => {
  server.listen({ host: HOST, port: 0, backlog: 511 }, () => {
    const address = server.address()
    resolve(typeof address === 'object' && address !== null ? address.port : 0)
  })
})

answerAll<ServerQuestion, ServerAnswer>(() => ({ port, ...counts }))

function endpoints(): string {
  const body = JSON.stringify({
    kind: 'Endpoints', apiVersion: 'v1', metadata: { name: 'kubernetes', namespace: 'default' },
    subsets: [{ addresses: [{ ip: HOST }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
  })
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n` +
    body
}
