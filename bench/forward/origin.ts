/**
 * An apiserver as far as a pipe can tell, in a process of its own. To TLS it answers as one that lists itself, so that
 * it is verified. To anything else it is as fast as Node can be, so that what is in between is what is measured: a
 * connection that begins with 'B' gets bytes without end, one that begins with 'E' gets each message back.
 */
import net, { type Socket } from 'node:net'
import tls from 'node:tls'
import { endpointsBody, pem, response } from '../../spec/support/tls-servers.ts'
import { answerAll } from '../support/worker.ts'

const HOST = '127.0.0.1'
const HANDSHAKE = 0x16
const BYTES = Buffer.alloc(262_144, 'x')

const secure = tls.createServer({ cert: pem('kubeadm-1.crt'), key: pem('server.key'), ALPNProtocols: ['http/1.1'] }, (socket) => {
  socket.on('error', () => {}).on('data', (chunk: Buffer) => {
    if (chunk.subarray(-4).toString('latin1') !== '\r\n\r\n') return
    socket.write(response(200, chunk.includes('/endpoints/kubernetes') ? endpointsBody([`${HOST}:${port}`]) : 'ok'))
  })
})

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {}).once('data', (chunk: Buffer) => {
    if (chunk[0] === HANDSHAKE) {
      socket.pause().unshift(chunk)
      secure.emit('connection', socket)
    } else if (chunk.toString('latin1', 0, 1) === 'B') flood(socket)
    else {
      socket.write(chunk)
      socket.on('data', (message: Buffer) => socket.write(message))
    }
  })
})

function flood(socket: Socket): void {
  const write = (): void => {
    while (!socket.destroyed && socket.write(BYTES));
  }
  socket.on('drain', write)
  write()
}

const port = await new Promise<number>((resolve) => {
  server.listen({ host: HOST, port: 0, backlog: 4_096 }, () => {
    const address = server.address()
    resolve(typeof address === 'object' && address !== null ? address.port : 0)
  })
})

answerAll<'port', number>(() => port)
