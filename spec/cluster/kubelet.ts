/**
 * A stand-in for a kubelet, as a program: HTTPS that apiservers dial for exec, port-forward and logs, with a pod whose
 * only command is `cat`, whose only port echoes, and whose log goes on for as long as it is followed.
 *
 * node kubelet.ts HOST PORT CERT KEY
 */
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { serveSpdy, type SpdyStream } from './spdy.ts'

const [host = '', port = '', certFile = '', keyFile = ''] = process.argv.slice(2)
const SUCCESS = JSON.stringify({ metadata: {}, status: 'Success' })

const server = https.createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'https://kubelet')
  const [, what, , pod = ''] = pathname.split('/')
  if (what !== 'containerLogs') return void response.writeHead(404).end()
  response.writeHead(200, { 'content-type': 'text/plain' })
  response.write(`log of ${pod}\n`)
  if (searchParams.get('follow') !== 'true') response.end()
})

server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
  socket.on('error', () => {})
  const { pathname } = new URL(request.url ?? '/', 'https://kubelet')
  const offered = String(request.headers['x-stream-protocol-version'] ?? '').split(',').map((each) => each.trim())
  const isExec = pathname.startsWith('/exec/')
  const protocol = isExec ? 'v4.channel.k8s.io' : 'portforward.k8s.io'
  if (request.headers.upgrade !== 'SPDY/3.1' || !offered.includes(protocol)) {
    return void socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  }
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n' +
    `X-Stream-Protocol-Version: ${protocol}\r\n\r\n`)
  if (head.length > 0) socket.unshift(head)
  serveSpdy(socket, isExec ? runCat() : echo)
})

/** What comes on stdin goes to stdout; when it ends, so does the command, with success. */
function runCat(): (opened: SpdyStream) => void {
  const streams = new Map<string, Duplex>()
  return ({ headers, stream }) => {
    streams.set(headers.get('streamtype') ?? '', stream)
    const [error, stdin, stdout, stderr] = ['error', 'stdin', 'stdout', 'stderr'].map((type) => streams.get(type))
    if (error === undefined || stdin === undefined || stdout === undefined || stderr === undefined) return
    stdin.pipe(stdout)
    stdin.once('end', () => {
      stderr.end()
      error.end(SUCCESS)
    })
  }
}

/** Each connection is two streams; that of errors has nothing to tell. */
function echo({ headers, stream }: SpdyStream): void {
  if (headers.get('streamtype') === 'data') stream.pipe(stream)
  else stream.resume().end()
}

server.listen({ host, port: Number(port) })
