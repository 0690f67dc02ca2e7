/**
 * A TLS server in a process of its own that answers every request with the same bytes, as cheaply as Node can: the
 * client is what is measured, so the server must not be what is waited for. It knows one thing of Kubernetes, the list
 * of endpoints, in which it stands alone.
 */
import tls from 'node:tls'
import { endpointsBody, pem, response } from '../../spec/support/tls-servers.ts'
import { answerAll } from './worker.ts'

export interface ServerQuestion {
  readonly what: 'address' | 'counts'
}

export interface ServerAnswer {
  readonly port: number
  readonly connections: number
  readonly resumed: number
  readonly requests: number
}

const HOST = '127.0.0.1'
const ANSWER = Buffer.from(response(200, '{"major":"1"}\r\n'))

const counts = { connections: 0, resumed: 0, requests: 0 }
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
    if (chunk.includes('/endpoints/kubernetes')) socket.write(response(200, endpointsBody([`${HOST}:${port}`])))
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
