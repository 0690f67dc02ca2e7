/** What the specs of the embedded control plane ask of it: requests of their own, with nothing of lib/ involved. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import https from 'node:https'
import type { TestContext } from 'node:test'
import { ControlPlane, type ApiServer, type ControlPlaneOptions } from './control-plane.ts'

export const ENDPOINTS = '/api/v1/namespaces/default/endpoints/kubernetes'
export const SLICES = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
export const CONFIGMAPS = '/api/v1/namespaces/default/configmaps'

export interface Answer { status: number; server: string | undefined; body: string }

/** One request on a connection of its own. */
export function ask(
  plane: ControlPlane, server: ApiServer, path: string, options: https.RequestOptions & { body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { body: sent, ...rest } = options
    const headers = { authorization: `Bearer ${plane.token}` }
    const request = https.request(server.url + path, { agent: false, ca: plane.ca, headers, ...rest }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { body += chunk })
      response.once('end', () => resolve({
        status: response.statusCode ?? 0, server: String(response.headers['x-served-by']), body,
      }))
      response.once('error', reject)
    })
    request.once('error', reject)
    request.end(sent)
  })
}

export async function json(plane: ControlPlane, server: ApiServer, path: string): Promise<Record<string, unknown>> {
  const body: unknown = JSON.parse((await ask(plane, server, path)).body)
  assert.ok(isRecord(body))
  return body
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null

/** The lines of a streamed answer, as they come. */
export async function* lines(
  plane: ControlPlane, server: ApiServer, path: string,
): AsyncGenerator<Record<string, unknown>> {
  const headers = { authorization: `Bearer ${plane.token}` }
  const request = https.get(server.url + path, { agent: false, ca: plane.ca, headers })
  request.on('error', () => undefined)
  try {
    const [response] = await once(request, 'response')
    let rest = ''
    for await (const chunk of response) {
      rest += String(chunk)
      const whole = rest.split('\n')
      rest = whole.pop() ?? ''
      for (const line of whole) {
        const value: unknown = JSON.parse(line)
        if (isRecord(value)) yield value
      }
    }
  } finally {
    request.destroy()
  }
}

export async function write(plane: ControlPlane, server: ApiServer, name: string): Promise<void> {
  const { status } = await ask(plane, server, CONFIGMAPS, {
    method: 'POST', body: JSON.stringify({ metadata: { name } }),
  })
  assert.equal(status, 201)
}

export const nameOf = (event: Record<string, unknown>): unknown => {
  const object = event['object']
  return isRecord(object) && isRecord(object['metadata']) ? object['metadata']['name'] : undefined
}

export const versionOf = (event: Record<string, unknown>): unknown => {
  const object = event['object']
  return isRecord(object) && isRecord(object['metadata']) ? object['metadata']['resourceVersion'] : undefined
}

export async function take<T>(source: AsyncGenerator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) {
    const { value, done } = await source.next()
    if (done === true) break
    taken.push(value)
  }
  return taken
}

export const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined)

/** A control plane that ends with its test. */
export async function started(t: TestContext, options: ControlPlaneOptions): Promise<ControlPlane> {
  const plane = await ControlPlane.start(options)
  t.after(() => plane.stop())
  return plane
}

export function first(plane: ControlPlane): ApiServer {
  const server = plane.servers[0]
  assert.ok(server)
  return server
}
