/**
 * The program of a TCP balancer, a process of its own so that what it forwards does not wait for a spec's event loop.
 * It knows nothing of TLS or HTTP, but for the answers that it can be told to give itself. It ends with its parent.
 */
import { readFileSync } from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import {
  LOADED, type BalancerConfig, type BalancerStats, type FromBalancer, type ToBalancer, type Treatment,
} from './balancer-protocol.ts'

const BAD_GATEWAY = 'HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n' +
  '<h1>502 Bad Gateway</h1>'
const LOGIN_PAGE = '<!doctype html><title>Sign in</title>'

interface Pair {
  readonly client: net.Socket
  readonly back: net.Socket
  readonly backend: string
  /** Nothing passes any more, in either direction, nor does the end of one side reach the other. */
  deaf: boolean
}

class BalancerProcess {
  readonly #pairs = new Set<Pair>()
  readonly #clients = new Set<net.Socket>()
  readonly #server: net.Server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    this.#accept(client)
  })
  readonly #login: https.Server = https.createServer({ cert: pem('from-other-ca.crt'), key: pem('server.key') },
    (_request, response) => { response.writeHead(200, { 'content-type': 'text/html' }).end(LOGIN_PAGE) })
  #config: BalancerConfig
  #treatment: Treatment = 'forward'
  #turn = 0
  #accepted = 0
  #made = new Map<string, number>()

  constructor(config: BalancerConfig) {
    this.#config = config
    this.#login.on('tlsClientError', () => undefined)
  }

  /** Listens; resolves with the port, which stays the same when it listens again. */
  listen(): Promise<number> {
    const { host, port } = this.#config
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port, backlog: 511 }, () => {
        this.#server.off('error', reject)
        const address = this.#server.address()
        this.#config = { ...this.#config, port: typeof address === 'object' && address !== null ? address.port : port }
        resolve(this.#config.port)
      })
    })
  }

  configure(change: Partial<BalancerConfig>): void {
    this.#config = { ...this.#config, ...change }
  }

  async treat(treatment: Treatment): Promise<void> {
    this.#treatment = treatment
    // The callback of close() waits for the last connection; the port is free at once.
    if (treatment === 'refuse') this.#server.close()
    else if (!this.#server.listening) await this.listen()
  }

  deafen(): void {
    for (const pair of this.#pairs) stifle(pair)
  }

  reset(backend: string | undefined): void {
    for (const pair of this.#pairs) {
      if (backend !== undefined && pair.backend !== backend) continue
      pair.client.resetAndDestroy()
      pair.back.resetAndDestroy()
    }
  }

  get stats(): BalancerStats {
    const addresses = new Set([...this.#config.backends, ...this.#made.keys()])
    const backends = [...addresses].map((address) => [address, {
      made: this.#made.get(address) ?? 0,
      open: [...this.#pairs].filter(({ backend, back }) => backend === address && !back.destroyed).length,
    }] as const)
    return { accepted: this.#accepted, open: this.#clients.size, backends: Object.fromEntries(backends) }
  }

  resetStats(): void {
    this.#accepted = 0
    this.#made = new Map()
  }

  #accept(client: net.Socket): void {
    this.#accepted += 1
    this.#clients.add(client)
    client.on('error', () => undefined)
    client.once('close', () => this.#clients.delete(client))
    switch (this.#treatment) {
      case 'refuse':        // it came before the listener was closed
        client.resetAndDestroy()
        return
      case 'swallow':
        client.resume().once('end', () => client.destroy())
        return
      case 'close':
        client.once('data', () => client.destroy())
        return
      case 'bad-gateway':
        client.once('data', () => client.end(BAD_GATEWAY))
        return
      case 'login-page':
        this.#login.emit('connection', client)
        return
      case 'forward':
        this.#forward(client)
    }
  }

  #forward(client: net.Socket): void {
    const { backends } = this.#config
    const backend = backends[this.#turn % backends.length]
    this.#turn += 1
    if (backend === undefined) {
      client.resetAndDestroy()
      return
    }
    const colon = backend.lastIndexOf(':')
    const host = backend.slice(0, colon).replace(/^\[|\]$/g, '')
    const back = net.connect({ host, port: Number(backend.slice(colon + 1)), allowHalfOpen: true, noDelay: true })
    const pair: Pair = { client, back, backend, deaf: false }
    this.#made.set(backend, (this.#made.get(backend) ?? 0) + 1)
    this.#pairs.add(pair)
    client.once('close', () => {
      this.#pairs.delete(pair)
      // A client's end does not arrive through a way that is deaf, but the back end's socket is ours to let go.
      back.destroy()
    })
    back.on('error', () => undefined)
    back.once('close', () => {
      if (this.#config.keepsClient) stifle(pair)
      if (pair.deaf) return
      // What was written to the client arrives before the end does; after an error there is no good end.
      if (back.errored === null) client.end()
      else client.resetAndDestroy()
    })
    this.#pipe(pair, client, back)
    this.#pipe(pair, back, client)
  }

  #pipe(pair: Pair, from: net.Socket, to: net.Socket): void {
    from.on('data', (chunk: Buffer) => {
      if (!pair.deaf && !to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.once('end', () => {
      if (from === pair.back && this.#config.keepsClient) stifle(pair)
      if (pair.deaf) from.destroy()
      else to.end()
    })
  }
}

function stifle(pair: Pair): void {
  pair.deaf = true
  pair.client.resume()
  pair.back.resume()
}

function pem(file: string): string {
  return readFileSync(new URL(`certificates/${file}`, import.meta.url), 'utf8')
}

let balancer: BalancerProcess | undefined

async function obeyed(message: ToBalancer): Promise<Omit<FromBalancer, 'id'>> {
  if (message.command === 'start') {
    balancer = new BalancerProcess(message.config)
    return { port: await balancer.listen() }
  }
  if (balancer === undefined) throw new Error('not started')
  switch (message.command) {
    case 'stats': return { stats: balancer.stats }
    case 'resetStats':
      balancer.resetStats()
      return {}
    case 'backends':
      balancer.configure({ backends: message.backends })
      return {}
    case 'keepsClient':
      balancer.configure({ keepsClient: message.keepsClient })
      return {}
    case 'treat':
      await balancer.treat(message.treatment)
      return {}
    case 'deafen':
      balancer.deafen()
      return {}
    case 'reset':
      balancer.reset(message.backend)
      return {}
  }
}

process.on('disconnect', () => process.exit())
// What a terminal sends to its whole group is the parent's to act on.
process.on('SIGINT', () => undefined)
process.on('message', (message: ToBalancer) => {
  const { id } = message
  obeyed(message).then((reply) => tell({ id, ...reply }), (error: unknown) => tell({ id, error: String(error) }))
})

function tell(reply: FromBalancer): void {
  if (process.connected) process.send?.(reply)
}

tell({ id: LOADED })
