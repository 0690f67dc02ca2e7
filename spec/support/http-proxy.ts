/**
 * An HTTP proxy in the spec's own process, in plain text or TLS. It opens the way that CONNECT asks for, or answers as
 * it is told to; what it was asked is written down. Nothing here knows what is right.
 */
import { once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import { pem } from './tls-servers.ts'

/** What it does when it is asked: opens the way, or does something of its own with the connection. */
export type ProxyAnswer = 'tunnel' | ((socket: Socket, head: string) => void)

export class HTTPProxy {
  readonly #server: net.Server
  readonly #sockets = new Set<Socket>()
  /** Heads of the requests that came, in their order. */
  readonly heads: string[] = []
  /** Where the ways lead that are opened: to what is asked for, unless a spec makes addresses up. */
  route: (target: string) => { host: string; port: number } = (target) => {
    const colon = target.lastIndexOf(':')
    return { host: target.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(target.slice(colon + 1)) }
  }

  answer: ProxyAnswer = 'tunnel'

  private constructor(certificate: string | undefined) {
    this.#server = certificate === undefined
      ? net.createServer({ allowHalfOpen: false })
      : tls.createServer({ cert: pem(`${certificate}.crt`), key: pem('server.key') })
    this.#server.on('connection', (socket: Socket) => this.#keep(socket))
    this.#server.on(certificate === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
      this.#serve(socket)
    })
    this.#server.on('tlsClientError', () => {})
  }

  /** @param certificate of the spec's certificates, for TLS to the proxy */
  static async start(certificate?: string): Promise<HTTPProxy> {
    const proxy = new HTTPProxy(certificate)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
    return address.port
  }

  /** TCP connections open now, both those to it and those that it made. */
  get open(): number {
    return this.#sockets.size
  }

  /** Resolves when a connection has come. */
  async connected(): Promise<void> {
    await once(this.#server, 'connection')
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket))
  }

  #serve(socket: Socket): void {
    let head = ''
    socket.on('error', () => {})
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) return
      socket.off('data', onData).pause()
      this.heads.push(head.slice(0, end + 4))
      if (this.answer === 'tunnel') this.#tunnel(socket, head)
      else this.answer(socket, head)
    }
    socket.on('data', onData)
  }

  #tunnel(socket: Socket, head: string): void {
    const [, target = ''] = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head) ?? []
    const upstream = net.connect(this.route(target))
    this.#keep(upstream)
    upstream.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'))
    upstream.once('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
      socket.once('close', () => upstream.destroy())
      upstream.once('close', () => socket.destroy())
    })
  }
}
