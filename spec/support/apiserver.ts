/**
 * The program of one stand-in apiserver, a process of its own so that SIGKILL and SIGSTOP are real. It wires the other
 * apiserver-*.ts together and talks to its parent, a ControlPlane, over IPC; it ends with the parent, however that
 * ends.
 */
import { behaviourOf, GOOD, type Behaviour } from './apiserver-behaviour.ts'
import { urlOf } from './apiserver-exchange.ts'
import { Front } from './apiserver-front.ts'
import type {
  ClusterState, Command, FromServer, ServerConfig, ServerStats, StoreReply, StoreRequest, ToServer,
} from './apiserver-protocol.ts'
import { Routes } from './apiserver-routes.ts'
import { Watches } from './apiserver-watch.ts'
import { acceptWebSocket } from './apiserver-websocket.ts'

const waiting = new Map<number, (reply: StoreReply) => void>()
let lastRequest = 0
let server: ApiServerProcess | undefined

process.on('disconnect', () => process.exit())
process.on('SIGTERM', () => { void (server?.terminate() ?? Promise.resolve()).then(() => process.exit()) })
// What a terminal sends to its whole group is the parent's to act on.
process.on('SIGINT', () => undefined)
process.on('message', (message: ToServer) => {
  switch (message.type) {
    case 'start':
      server = new ApiServerProcess(message.config)
      void server.start()
      return
    case 'command':
      void server?.obey(message.id, message.command)
      return
    case 'stored':
      waiting.get(message.id)?.(message.reply)
      waiting.delete(message.id)
      return
    case 'event':
      server?.watches.publish(message.event)
      return
  }
})
function tell(message: FromServer): void {
  if (process.connected) process.send?.(message)
}

function ask(request: StoreRequest): Promise<StoreReply> {
  lastRequest += 1
  const id = lastRequest
  return new Promise((resolve) => {
    waiting.set(id, resolve)
    tell({ type: 'store', id, request })
  })
}

class ApiServerProcess {
  readonly watches: Watches
  readonly #front: Front
  #cluster: ClusterState
  #behaviour: Behaviour = GOOD
  #ending = false
  #heard: (() => void)[] = []

  constructor(config: ServerConfig) {
    const { name } = config
    this.#cluster = config.cluster
    this.watches = new Watches(name, ask)
    const routes = new Routes({
      name, ask,
      watches: this.watches,
      cluster: () => this.#cluster,
      behaviour: () => this.#behaviour,
      ending: () => this.#ending,
      hearing: () => this.#hearing(),
      reset: (exchange) => this.#front.reset(exchange.socket),
    })
    this.#front = new Front(config, {
      request: (exchange) => { routes.answer(exchange).catch((error: unknown) => routes.fail(exchange, error)) },
      upgrade: (request, socket, head) => {
        const url = urlOf(request.url)
        const certified = 'authorized' in socket && socket.authorized === true &&
          request.headers.authorization === undefined
        const refusal = routes.refusalOf(request.headers.authorization, certified)
        this.#front.noteUpgrade(request, url.pathname)
        if (refusal === undefined) acceptWebSocket(request, url, socket, head, name)
        else socket.end(`HTTP/1.1 ${refusal} Refused\r\nx-served-by: ${name}\r\nconnection: close\r\n` +
          'content-length: 0\r\n\r\n')
      },
    })
  }

  async start(): Promise<void> {
    try {
      tell({ type: 'listening', port: await this.#front.listen() })
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
      tell({ type: 'notListening', code, message: String(error) })
    }
  }

  async obey(id: number, command: Command): Promise<void> {
    try {
      tell({ type: 'done', id, ...await this.#obeyed(command) })
    } catch (error) {
      tell({ type: 'refused', id, message: String(error) })
    }
  }

  /** As kube-apiserver on SIGTERM: not ready, no new connections, watches ended, requests under way finished. */
  terminate(): Promise<void> {
    this.#ending = true
    this.watches.end()
    return this.#front.drain()
  }

  async #obeyed(command: Command): Promise<{ stats?: ServerStats }> {
    switch (command.command) {
      case 'stats': return { stats: { ...this.#front.stats, watches: this.watches.size } }
      case 'resetStats':
        this.#front.resetStats()
        return {}
      case 'cluster':
        this.#cluster = command.cluster
        return {}
      case 'misbehave': {
        const behaviour = behaviourOf(command.misbehaviours)
        await this.#front.behave(behaviour)
        this.#behaviour = behaviour
        this.watches.lose(behaviour.etcd !== undefined)
        if (behaviour.silence === undefined) this.#heard.splice(0).forEach((resolve) => resolve())
        return {}
      }
    }
  }

  #hearing(): Promise<void> {
    return this.#behaviour.silence === undefined
      ? Promise.resolve()
      : new Promise((resolve) => this.#heard.push(resolve))
  }
}

tell({ type: 'loaded' })
