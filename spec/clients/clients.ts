/**
 * The clients that Node people use, each as its documentation shows it, on a dialer: one way to ask them all. What is
 * expected of them is interop.spec.ts's.
 */
import http2 from 'node:http2'
import https from 'node:https'
import type { ObservableMiddleware } from 'client-node-2'
import type { MultidialerOptions } from '../../lib/index.ts'
import { Multidialer, MultidialerAgent } from '../../lib/index.ts'
import type { UndiciConnector } from '../../lib/adapters/undici.ts'
import { undiciConnector } from '../../lib/adapters/undici.ts'
import { withMultidialer } from '../../lib/adapters/client-node.ts'

export interface Target extends MultidialerOptions {
  readonly server: string
  readonly ca: string
  readonly token: string
}

/** One client on one dialer. */
export interface Use {
  readonly dialer: Multidialer
  /** One request; resolves with the name of the server that answered, when the whole answer was read. */
  get(signal?: AbortSignal): Promise<string>
  close(): Promise<unknown> | void
  /** For one whose connections serve no second request: opens one and holds it. */
  hold?(): Promise<{ readonly servedBy: string; readonly ended: Promise<unknown> }>
}

export interface Client {
  readonly name: string
  /** The oldest Node that the package runs on, where it is newer than 20.19. */
  readonly needs?: string
  /** Connections that five requests one after another may take; undefined where each is one by its nature. */
  readonly reuse?: number
  /**
   * What an abort ends at once while a dial is pending: the dial too, the request alone, or neither, as undici's
   * request(). Undefined where the client has no way to abort.
   */
  readonly abort: 'dial ended' | 'request ended' | 'waits for the dial' | undefined
  /** The code that its users see when every server refuses: ECONNREFUSED, unless it is a proxy that tells them less. */
  readonly refused?: string
  /** The code of an error as the client's users see it. */
  readonly codeOf: (error: unknown) => unknown
  readonly open: (target: Target) => Promise<Use>
}

/** Where silence is waited for: sooner than by default, yet no server of a busy machine is silent for so long. */
export const QUICK = { heartbeatInterval: 500, heartbeatTimeout: 1_500 }

export const PODS = '/api/v1/namespaces/default/pods'
export const EXEC: string = `${PODS}/echo/exec?command=true&stdout=true`
export const ATTACH: string = `${PODS}/echo/attach?stdin=true&stdout=true`

/** The code of the error itself. */
export const own = (error: unknown): unknown => fieldOf(error, 'code')
const ofCause = (error: unknown): unknown => fieldOf(fieldOf(error, 'cause'), 'code')
/** That of the first that has one, the error or a cause of it. */
const ofAny = (error: unknown): unknown =>
  typeof error === 'object' && error !== null ? own(error) ?? ofAny(fieldOf(error, 'cause')) : undefined

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}

export const headersOf = ({ token }: Target): { authorization: string } => ({ authorization: `Bearer ${token}` })
const name = (value: unknown): string => String(value ?? '')

type GetWithAgent = (
  url: string, agent: https.Agent, headers: Record<string, string>, signal: AbortSignal | undefined,
) => Promise<string>

/** One that takes an https.Agent. */
function agentClient(name: string, load: () => Promise<GetWithAgent>, more: Partial<Client> = {}): Client {
  return {
    name, reuse: 1, abort: 'dial ended', codeOf: own, ...more,
    open: async (target) => {
      const get = await load()
      const agent = new MultidialerAgent({ ...target, keepAlive: true })
      return {
        dialer: agent.dialer,
        get: (signal) => get(target.server + PODS, agent, headersOf(target), signal),
        close: () => agent.destroy(),
      }
    },
  }
}

interface UndiciModule {
  Agent: new (options: { connect: UndiciConnector }) => { close(): Promise<void>; destroy(): Promise<void> }
  request(url: string, options: object): Promise<{ headers: Record<string, unknown>; body: { dump(): Promise<void> } }>
}

async function undici(major: string): Promise<UndiciModule> {
  return await import(`undici-${major}`) as UndiciModule
}

function undiciClient(major: '6' | '7' | '8', more: Partial<Client> = {}): Client {
  return {
    name: `undici ${major}`, reuse: 2, abort: 'waits for the dial', codeOf: own, ...more,
    open: async (target) => {
      const { Agent, request } = await undici(major)
      const dialer = new Multidialer(target)
      const dispatcher = new Agent({ connect: undiciConnector(dialer) })
      return {
        dialer,
        get: async (signal) => {
          const { headers, body } = await request(target.server + PODS, {
            dispatcher, headers: headersOf(target), ...(signal && { signal }),
          })
          await body.dump()
          return name(headers['x-served-by'])
        },
        close: () => { dialer.close(); return dispatcher.destroy() },
      }
    },
  }
}

const builtInFetch: Client = {
  // A dispatcher must be of the undici that Node's own fetch is of. Two connections: undici takes one back a turn of
  // the loop after the body was read.
  name: 'fetch', reuse: 2, abort: 'request ended', codeOf: ofCause,
  open: async (target) => {
    const { Agent } = await undici((process.versions['undici'] ?? '').split('.')[0] ?? '')
    const dialer = new Multidialer(target)
    const dispatcher = new Agent({ connect: undiciConnector(dialer) })
    return {
      dialer,
      get: async (signal) => {
        const init: object = { dispatcher, headers: headersOf(target), signal }
        const response = await fetch(target.server + PODS, init)
        await response.text()
        return name(response.headers.get('x-served-by'))
      },
      close: () => { dialer.close(); return dispatcher.destroy() },
    }
  },
}

const ky: Client = {
  // On the fetch that is part of Node, as that above. It asks again by itself.
  name: 'ky', reuse: 2, abort: 'request ended', codeOf: ofAny,
  open: async (target) => {
    const [{ Agent }, { default: ky }] =
      await Promise.all([undici((process.versions['undici'] ?? '').split('.')[0] ?? ''), import('ky')])
    const dialer = new Multidialer(target)
    const dispatcher = new Agent({ connect: undiciConnector(dialer) })
    const dialled: typeof fetch = (input, init) => fetch(input, Object.assign({ ...init }, { dispatcher }))
    return {
      dialer,
      get: async (signal) => {
        const options = { fetch: dialled, headers: headersOf(target), retry: { limit: 2, delay: () => 50 } }
        const response = await ky.get(target.server + PODS, { ...options, ...(signal && { signal }) })
        await response.text()
        return name(response.headers.get('x-served-by'))
      },
      close: () => { dialer.close(); return dispatcher.destroy() },
    }
  },
}

/** What is used of both versions of client-node, whose types are almost the same. */
export type ClientNode = typeof import('client-node-2')

export async function clientNode(major: '1' | '2'): Promise<ClientNode> {
  return await import(`client-node-${major}`) as ClientNode
}

/** A KubeConfig as from a file. */
export function kubeConfigOf(
  { KubeConfig }: ClientNode, target: Pick<Target, 'server' | 'ca' | 'token'>,
): InstanceType<ClientNode['KubeConfig']> {
  const config = new KubeConfig()
  config.loadFromClusterAndUser(...clusterAndUserOf(target))
  return config
}

interface Cluster {
  name: string
  server: string
  caData: string
  skipTLSVerify: boolean
}

function clusterAndUserOf(
  { server, ca, token }: Pick<Target, 'server' | 'ca' | 'token'>,
): [Cluster, { name: string; token: string }] {
  const caData = Buffer.from(ca).toString('base64')
  return [{ name: 'c', server, caData, skipTLSVerify: false }, { name: 'u', token }]
}

function clientNodeClient(major: '1' | '2', version: string, more: Partial<Client>): Client {
  return {
    name: `@kubernetes/client-node ${version}`, reuse: 1, abort: 'request ended', codeOf: own, ...more,
    open: async (target) => {
      const k8s = await clientNode(major)
      const config = kubeConfigOf(k8s, target)
      const { server: _server, ca: _ca, token: _token, ...options } = target
      const dialer = withMultidialer(config, options)
      const api = config.makeApiClient(k8s.CoreV1Api)
      return {
        dialer,
        get: async (signal) => {
          const abortable: ObservableMiddleware = {
            pre: (request) => {
              if (signal !== undefined) request.setSignal(signal)
              return new k8s.Observable(Promise.resolve(request))
            },
            post: (response) => new k8s.Observable(Promise.resolve(response)),
          }
          const { headers } = await api.listNamespacedPodWithHttpInfo({ namespace: 'default' },
            { middleware: [abortable], middlewareMergeStrategy: 'append' })
          return name(headers['x-served-by'])
        },
        close: () => dialer.close(),
      }
    },
  }
}

/** 0.2x is on the package `request`, which knows no AbortSignal. */
const clientNode0: Client = {
  name: '@kubernetes/client-node 0.22.3', reuse: 1, abort: undefined, codeOf: own,
  open: async (target) => {
    const k8s = await import('client-node-0')
    const config = new k8s.KubeConfig()
    config.loadFromClusterAndUser(...clusterAndUserOf(target))
    const { server: _server, ca: _ca, token: _token, ...options } = target
    const dialer = withMultidialer(config, options)
    const api = config.makeApiClient(k8s.CoreV1Api)
    return {
      dialer,
      get: async () => name((await api.listNamespacedPod('default')).response.headers['x-served-by']),
      close: () => dialer.close(),
    }
  },
}

const ws: Client = {
  // Each is a connection of its own.
  name: 'ws', abort: 'dial ended', codeOf: own,
  open: async (target) => {
    const { default: WebSocket } = await import('ws')
    const agent = new MultidialerAgent(target)
    return {
      dialer: agent.dialer,
      get: (signal) => new Promise((resolve, reject) => {
        const url = target.server.replace('https:', 'wss:') + EXEC
        const socket = new WebSocket(url, ['v5.channel.k8s.io'], { agent, headers: headersOf(target) })
        let server = ''
        signal?.addEventListener('abort', () => socket.terminate())
        socket.on('upgrade', (response) => { server = name(response.headers['x-served-by']) })
        socket.on('error', (error) => reject(signal?.aborted ? signal.reason : error))
        socket.on('close', () => resolve(server))
      }),
      hold: () => new Promise((resolve, reject) => {
        const url = `${target.server.replace('https:', 'wss:')}${ATTACH}`
        const socket = new WebSocket(url, ['v5.channel.k8s.io'], { agent, headers: headersOf(target) })
        const ended = new Promise<void>((end) => { socket.on('close', end) })
        let server = ''
        socket.on('upgrade', (response) => { server = name(response.headers['x-served-by']) })
        socket.on('open', () => resolve({ servedBy: server, ended }))
        socket.on('error', reject)
      }),
      close: () => agent.destroy(),
    }
  },
}

const http2Client: Client = {
  name: 'http2', reuse: 1, abort: 'dial ended', codeOf: own,
  open: async (target) => {
    const dialer = new Multidialer(target)
    let session: http2.ClientHttp2Session | undefined
    const connected = async (signal: AbortSignal | undefined): Promise<http2.ClientHttp2Session> => {
      if (session !== undefined && !session.closed && !session.destroyed) return session
      const socket = await dialer.connect({ ALPNProtocols: ['h2'], ...(signal && { signal }) })
      session = http2.connect(target.server, { createConnection: () => socket })
      session.on('error', () => {})     // each stream has it as well
      return session
    }
    return {
      dialer,
      get: async (signal) => {
        const stream = (await connected(signal))
          .request({ ':path': PODS, ...headersOf(target) }, signal && { signal })
        return new Promise((resolve, reject) => {
          let server = ''
          stream.on('response', (headers) => { server = name(headers['x-served-by']) })
          stream.on('error', reject).on('end', () => resolve(server))
            .on('close', () => reject(new Error('closed before the answer')))
          stream.resume()
        })
      },
      close: () => { dialer.close(); session?.destroy() },
    }
  },
}

export const clients: readonly Client[] = [
  agentClient('https', async () => (url, agent, headers, signal) => new Promise((resolve, reject) => {
    https.get(url, { agent, headers, ...(signal && { signal }) }, (response) => {
      response.on('error', reject).on('end', () => resolve(name(response.headers['x-served-by']))).resume()
    }).on('error', reject)
  })),
  http2Client,
  builtInFetch,
  undiciClient('6'),
  undiciClient('7'),
  undiciClient('8', { needs: '22.19.0' }),
  agentClient('axios', async () => {
    const { default: axios } = await import('axios')
    return async (url, httpsAgent, headers, signal) => {
      const response = await axios.get(url, { httpsAgent, headers, proxy: false, ...(signal && { signal }) })
      return name(response.headers['x-served-by'])
    }
  }),
  agentClient('got', async () => {
    const { default: got } = await import('got')
    return async (url, agent, headers, signal) =>
      name((await got(url, { agent: { https: agent }, headers, ...(signal && { signal }) })).headers['x-served-by'])
  }),
  agentClient('node-fetch 2', async () => {
    const { default: fetch } = await import('node-fetch-2')
    return async (url, agent, headers, signal) => {
      const response = await fetch(url, { agent, headers, signal })
      await response.text()
      return name(response.headers.get('x-served-by'))
    }
  }),
  agentClient('node-fetch 3', async () => {
    const { default: fetch } = await import('node-fetch-3')
    return async (url, agent, headers, signal) => {
      const response = await fetch(url, { agent, headers, ...(signal && { signal }) })
      await response.text()
      return name(response.headers.get('x-served-by'))
    }
  }),
  agentClient('superagent', async () => {
    const { default: superagent } = await import('superagent')
    return (url, agent, headers, signal) => new Promise((resolve, reject) => {
      const request = superagent.get(url).agent(agent).set(headers)
      signal?.addEventListener('abort', () => {
        request.abort()
        reject(signal.reason)     // superagent leaves the promise of an aborted request pending
      })
      request.then((response) => resolve(name(response.headers['x-served-by'])), reject)
    })
  }),
  ky,
  ws,
  clientNode0,
  clientNodeClient('1', '1.4.0', { abort: 'dial ended' }),
  clientNodeClient('2', '2.0.1', { needs: '22.19.0', codeOf: ofCause }),
]

/** Whether this Node is new enough. */
export function runsHere({ needs }: Pick<Client, 'needs'>, version: string = process.versions.node): boolean {
  if (needs === undefined) return true
  const [wanted, had] = [needs, version].map((text) => text.split('.').map(Number))
  for (let i = 0; i < 3; i += 1) {
    const difference = (had?.[i] ?? 0) - (wanted?.[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}
