/** An answer byte for byte as a spec wrote it, past Node's HTTP server: for clients that parse by hand. */
import type { Socket } from 'node:net'
import type { RawAnswer } from './apiserver-behaviour.ts'

/** Writes the bytes, whole or in pieces, then closes (the default), keeps or resets the connection. */
export function sendRaw(
  socket: Socket, { answer, then = 'close', split, pace = 0 }: RawAnswer, reset: () => void,
): void {
  const bytes = Buffer.from(answer, 'base64')
  const piece = split ?? Math.max(1, bytes.length)
  const from = (offset: number): void => {
    if (socket.destroyed) return
    if (offset >= bytes.length) {
      if (then === 'close') socket.end()
      else if (then === 'reset') reset()
      return
    }
    // Each piece leaves before the next is written, so that it is a TLS record of its own.
    socket.write(bytes.subarray(offset, offset + piece), () => setTimeout(from, pace, offset + piece))
  }
  from(0)
}
