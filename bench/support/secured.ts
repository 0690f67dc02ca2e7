import type { TLSSocket } from 'node:tls'

/** The socket, once its handshake is over. */
export function secured(socket: TLSSocket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', () => resolve(socket))
    socket.once('error', reject)
  })
}
