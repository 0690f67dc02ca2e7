/**
 * The proxies that Node people put in front of an apiserver, each as its documentation shows it, on a dialer: asked by
 * a plain client over loopback, they ask an apiserver over the dialer. What is expected of them is interop.spec.ts's.
 */
import { once } from 'node:events'
import http from 'node:http'
import type { Server } from 'node:http'
import { MultidialerAgent } from '../../lib/index.ts'
import type { Client, Target, Use } from './clients.ts'
import { ATTACH, EXEC, headersOf, own, PODS } from './clients.ts'

/** One that listens on loopback, and passes on what it is asked. */
interface Proxy {
  readonly server: Server
  close(): Promise<unknown>
}

type MakeProxy = (target: Target, agent: MultidialerAgent) => Promise<Proxy>

const httpProxy: MakeProxy = async ({ server: url }, agent) => {
  const { default: { createProxyServer } } = await import('http-proxy')
  const proxy = createProxyServer({ target: url, agent, ws: true })
  const server = http.createServer((request, response) => {
    proxy.web(request, response, {}, (error) => refuse(response, error))
  })
  server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head, {}, () => socket.destroy()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, close: async () => { proxy.close(); server.close() } }
}

const fastifyProxy: MakeProxy = async (target, agent) => {
  const { server: upstream } = target
  const [{ default: fastify }, { default: proxy }] =
    await Promise.all([import('fastify'), import('@fastify/http-proxy')])
  const app = fastify()
  await app.register(proxy, {
    upstream, websocket: true, wsClientOptions: { agent, headers: headersOf(target) },
    http: { agents: { 'http:': http.globalAgent, 'https:': agent } },
    replyOptions: { onError: (reply, { error }) => refuse(reply.raw, error.cause ?? error) },
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { server: app.server, close: () => app.close() }
}

interface Response {
  statusCode: number
  setHeader(name: string, value: string): unknown
  end(): unknown
}

/** What a proxy answers when its own request has failed. */
function refuse(response: Response, error: unknown): void {
  response.statusCode = 502
  response.setHeader('x-code', String(own(error)))
  response.end()
}

async function opened(make: MakeProxy, target: Target): Promise<{
  agent: MultidialerAgent; url: string; close: () => Promise<unknown>
}> {
  const agent = new MultidialerAgent(target)
  const { server, close } = await make(target, agent)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy does not listen')
  return {
    agent,
    url: `127.0.0.1:${address.port}`,
    close: () => {
      agent.destroy()
      server.closeAllConnections()
      return close()
    },
  }
}

function requests(name: string, make: MakeProxy): Client {
  return {
    name, reuse: 1, abort: 'request ended', codeOf: own,
    open: async (target) => {
      const { agent, url, close } = await opened(make, target)
      const headers = headersOf(target)
      return {
        dialer: agent.dialer,
        get: (signal) => new Promise((resolve, reject) => {
          http.get(`http://${url}${PODS}`, { headers, ...(signal && { signal }) }, (response) => {
            const code = response.headers['x-code']
            if (code !== undefined) reject(Object.assign(new Error('Bad Gateway'), { code }))
            response.on('error', reject).on('end', () => resolve(String(response.headers['x-served-by']))).resume()
          }).on('error', reject)
        }),
        close,
      }
    },
  }
}

/** WebSockets through it: each is a connection of its own. */
function webSockets(name: string, make: MakeProxy): Client {
  return {
    // What fails on the proxy's own side is not told to its client, which is hung up.
    name: `${name} WebSocket`, abort: 'request ended', codeOf: own, refused: 'ECONNRESET',
    open: async (target) => {
      const { default: WebSocket } = await import('ws')
      const { agent, url, close } = await opened(make, target)
      const open = (path: string): InstanceType<typeof WebSocket> =>
        new WebSocket(`ws://${url}${path}`, ['v5.channel.k8s.io'], { headers: headersOf(target) })
      const use: Use = {
        dialer: agent.dialer,
        get: (signal) => new Promise((resolve, reject) => {
          const socket = open(EXEC)
          let messages = 0
          signal?.addEventListener('abort', () => socket.terminate())
          socket.on('message', () => { messages += 1 })
          socket.on('error', (error) => reject(signal?.aborted ? signal.reason : error))
          socket.on('close', () => {
            if (messages > 0) resolve(inUse(agent))
            else reject(Object.assign(new Error('closed without a message'), { code: 'ECONNRESET' }))
          })
        }),
        hold: () => new Promise((resolve, reject) => {
          const socket = open(ATTACH)
          const ended = new Promise<void>((end) => { socket.on('close', end) })
          // A proxy may open its client's side before its own: an echo has been both ways.
          socket.on('open', () => socket.send(Buffer.from('\0ping')))
          socket.on('message', () => resolve({ servedBy: inUse(agent), ended }))
          socket.on('error', reject)
        }),
        close,
      }
      return use
    },
  }
}

/** The address that serves now: a proxy tells its client nothing of the answer to an upgrade. */
function inUse({ dialer }: MultidialerAgent): string {
  return dialer.snapshot().current ?? ''
}

export const proxies: readonly Client[] = [
  requests('http-proxy', httpProxy),
  webSockets('http-proxy', httpProxy),
  requests('@fastify/http-proxy', fastifyProxy),
  webSockets('@fastify/http-proxy', fastifyProxy),
]
