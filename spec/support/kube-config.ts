/**
 * A KubeConfig that does as those of @kubernetes/client-node do, in few lines, and what is made of it. The packages
 * themselves are in spec/clients. Nothing here knows what is right.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { ControlPlane } from './control-plane.ts'
import { nodesDispatcher } from './nodes-fetch.ts'

export interface Cluster {
  name: string
  server: string
  caData?: string
  caFile?: string
  skipTLSVerify?: boolean
  tlsServerName?: string
  proxyUrl?: string
}
export interface User {
  name: string
  token?: string
  certFile?: string
  keyFile?: string
  certData?: string
  keyData?: string
  exec?: () => { token?: string; cert?: string; key?: string }
}
export interface Applied {
  headers?: Record<string, string>
  agent?: https.Agent
  ca?: Buffer | string
  cert?: Buffer | string
  key?: Buffer | string
  rejectUnauthorized?: boolean
  servername?: string
}

export interface Answer {
  status: number
  servedBy: string
}

/** What an API call of 1.x carries. */
export class AgentContext {
  readonly headers: Record<string, string> = {}
  agent: https.Agent | undefined
  setHeaderParam(name: string, value: string): void { this.headers[name] = value }
  setAgent(agent: https.Agent): void { this.agent = agent }
  getAgent(): https.Agent | undefined { return this.agent }
}

/** What an API call of 2.x carries. */
export class DispatcherContext {
  readonly headers: Record<string, string> = {}
  dispatcher: object | undefined
  setHeaderParam(name: string, value: string): void { this.headers[name] = value }
  setDispatcher(dispatcher: object): void { this.dispatcher = dispatcher }
}

export class FakeKubeConfig {
  cluster: Cluster | null
  user: User | null
  asked = 0

  constructor(cluster: Cluster | null, user: User | null) {
    this.cluster = cluster
    this.user = user
  }

  getCurrentCluster(): Cluster | null { return this.cluster }
  getCurrentUser(): User | null { return this.user }

  async applyToHTTPSOptions(options: Applied): Promise<void> {
    this.fill(options)
    options.agent = new https.Agent(agentOptionsOf(options))
  }

  async applySecurityAuthentication(context: AgentContext | DispatcherContext): Promise<void> {
    const options: Applied = {}
    this.fill(options)
    for (const [name, value] of Object.entries(options.headers ?? {})) context.setHeaderParam(name, value)
    if ('setAgent' in context) context.setAgent(new https.Agent(agentOptionsOf(options)))
    else context.setDispatcher(newDispatcher())
  }

  /** As theirs, this runs the user's plugin. */
  fill(options: Applied): void {
    this.asked += 1
    const [cluster, user] = [this.getCurrentCluster(), this.getCurrentUser()]
    const ca = fileOrData(cluster?.caFile, cluster?.caData)
    if (ca) options.ca = ca
    if (cluster?.skipTLSVerify) options.rejectUnauthorized = false
    if (cluster?.tlsServerName) options.servername = cluster.tlsServerName
    const given = user?.exec?.() ?? {}
    const cert = given.cert ?? fileOrData(user?.certFile, user?.certData)
    const key = given.key ?? fileOrData(user?.keyFile, user?.keyData)
    if (cert) options.cert = cert
    if (key) options.key = key
    const token = given.token ?? user?.token
    options.headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) }
  }
}

function fileOrData(file: string | undefined, data: string | undefined): Buffer | undefined {
  if (file) return readFileSync(file)
  return data ? Buffer.from(data, 'base64') : undefined
}

function agentOptionsOf({ headers: _headers, agent: _agent, ...tls }: Applied): https.AgentOptions {
  return { ...tls }
}

/** A new dispatcher of the undici that is part of Node. */
function newDispatcher(): object {
  const Agent: unknown = nodesDispatcher().constructor
  assert.ok(typeof Agent === 'function')
  return Reflect.construct(Agent, [])
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

export function kubeConfigOf(
  plane: ControlPlane, user: Partial<User> = {}, cluster: Partial<Cluster> = {},
): FakeKubeConfig {
  const server = plane.servers[0]?.url ?? ''
  return new FakeKubeConfig({ name: 'c', server, caData: base64(plane.ca), ...cluster }, { name: 'u', ...user })
}

export function request(url: string, options: https.RequestOptions): Promise<Answer> {
  return new Promise((resolve, reject) => {
    https.get(url, options, (response) => {
      response.resume().on('end', () => resolve({
        status: response.statusCode ?? 0, servedBy: String(response.headers['x-served-by']),
      }))
    }).on('error', reject)
  })
}

/** A request with all that was filled in, as many a program makes it. */
export async function call(config: FakeKubeConfig, path = '/version'): Promise<Answer> {
  const options: Applied = {}
  await config.applyToHTTPSOptions(options)
  return request(`${config.cluster?.server}${path}`, options)
}
