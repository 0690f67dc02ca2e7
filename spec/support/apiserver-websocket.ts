/**
 * Exec, attach and port-forward of the stand-in apiserver: as much of RFC 6455 and of Kubernetes' channel protocol as
 * an echo needs. Server side only; frames are not fragmented on the way out and may not be on the way in.
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io']
const BINARY = 0x2
const CLOSE = 0x8
const PING = 0x9
const PONG = 0xa
const STDIN = 0
const STDOUT = 1
const ERROR = 3
const CLOSED_CHANNEL = 255     // v5: the client closes one channel

/** Answers the upgrade of an exec, attach or port-forward request. */
export function acceptWebSocket(
  request: IncomingMessage, url: URL, socket: Duplex, head: Buffer, server: string,
): void {
  const key = request.headers['sec-websocket-key']
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
  const protocol = PROTOCOLS.find((name) => offered.includes(name))
  const forward = url.pathname.endsWith('/portforward')
  if (key === undefined || (protocol === undefined && !forward)) {
    socket.end(`HTTP/1.1 400 Bad Request\r\nx-served-by: ${server}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
    return
  }
  const accept = createHash('sha1').update(key + GUID).digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n'
    + `x-served-by: ${server}\r\nsec-websocket-accept: ${accept}\r\n`
    + (protocol === undefined ? '' : `sec-websocket-protocol: ${protocol}\r\n`) + '\r\n')
  const session = forward ? portForward(socket, url) : exec(socket, url)
  const parse = frames((opcode, payload) => {
    if (opcode === CLOSE) socket.end(frame(CLOSE, payload))
    else if (opcode === PING) socket.write(frame(PONG, payload))
    else if (opcode !== PONG) session(payload)
  })
  socket.on('error', () => socket.destroy())
  socket.on('end', () => socket.end())
  socket.on('data', parse)
  parse(head)
}

/** Echoes stdin to stdout; ends with success when told `exit`; without stdin it prints its command line and ends. */
function exec(socket: Duplex, url: URL): (message: Buffer) => void {
  const send = (channel: number, data: Buffer | string): void => {
    socket.write(frame(BINARY, Buffer.concat([Buffer.from([channel]), Buffer.from(data)])))
  }
  const end = (): void => {
    send(ERROR, JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' }))
    socket.end(frame(CLOSE, Buffer.from([0x03, 0xe8])))
  }
  if (url.searchParams.get('stdin') !== 'true' && !url.pathname.endsWith('/attach')) {
    send(STDOUT, url.searchParams.getAll('command').join(' ') + '\n')
    end()
    return () => undefined
  }
  return (message) => {
    const channel = message[0]
    const data = message.subarray(1)
    if (channel === CLOSED_CHANNEL && data[0] === STDIN) end()
    else if (channel !== STDIN) return
    else if (data.toString().trim() === 'exit') end()
    else if (data.length > 0) send(STDOUT, data)
  }
}

/** Says on each port's two channels which port they are for, as the kubelet does, then echoes. */
function portForward(socket: Duplex, url: URL): (message: Buffer) => void {
  url.searchParams.getAll('ports').flatMap((list) => list.split(',')).forEach((port, index) => {
    const number = Buffer.alloc(2)
    number.writeUInt16LE(Number(port) & 0xffff)
    socket.write(frame(BINARY, Buffer.concat([Buffer.from([index * 2]), number])))
    socket.write(frame(BINARY, Buffer.concat([Buffer.from([index * 2 + 1]), number])))
  })
  return (message) => {
    if (message.length > 1 && (message[0] ?? 1) % 2 === 0) socket.write(frame(BINARY, message))
  }
}

function frame(opcode: number, payload: Buffer): Buffer {
  const length = payload.length
  if (length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, length]), payload])
  const head = Buffer.alloc(length < 65_536 ? 4 : 10)
  head[0] = 0x80 | opcode
  head[1] = length < 65_536 ? 126 : 127
  if (length < 65_536) head.writeUInt16BE(length, 2)
  else head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, payload])
}

/** Gives each whole, masked frame that has come in to `onFrame`. */
function frames(onFrame: (opcode: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let pending = Buffer.alloc(0)
  return (chunk) => {
    pending = Buffer.concat([pending, chunk])
    for (;;) {
      const short = (pending[1] ?? 0) & 0x7f
      const start = short === 127 ? 10 : short === 126 ? 4 : 2
      if (pending.length < start + 4) return
      const length = short === 127
        ? Number(pending.readBigUInt64BE(2))
        : short === 126 ? pending.readUInt16BE(2) : short
      if (pending.length < start + 4 + length) return
      const mask = pending.subarray(start, start + 4)
      const payload = Buffer.from(pending.subarray(start + 4, start + 4 + length))
      for (let i = 0; i < length; i += 1) payload[i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0)
      const opcode = (pending[0] ?? 0) & 0x0f
      pending = pending.subarray(start + 4 + length)
      onFrame(opcode, payload)
    }
  }
}
