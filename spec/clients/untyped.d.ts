/** As much as the specs use of clients that bring no types. */
declare module 'ws' {
  import type { EventEmitter } from 'node:events'
  import type { ClientRequestArgs, IncomingMessage } from 'node:http'
  export default class WebSocket extends EventEmitter {
    constructor(url: string, protocols: readonly string[], options: ClientRequestArgs)
    on(event: 'upgrade', listener: (response: IncomingMessage) => void): this
    on(event: 'error', listener: (error: Error) => void): this
    on(event: 'open' | 'close', listener: () => void): this
    on(event: 'message', listener: (data: Buffer) => void): this
    send(data: Buffer): void
    terminate(): void
  }
}

declare module 'superagent' {
  import type { Agent } from 'node:https'
  interface SuperagentRequest extends Promise<{ headers: Record<string, string>; text: string }> {
    agent(agent: Agent): this
    set(headers: Record<string, string>): this
    abort(): this
    on(event: 'abort', listener: () => void): this
  }
  const superagent: { get(url: string): SuperagentRequest }
  export default superagent
}

declare module 'node-fetch-2' {
  import type { Agent } from 'node:https'
  export default function fetch(url: string, options: {
    agent: Agent; headers: Record<string, string>; signal?: AbortSignal | undefined
  }): Promise<{ headers: { get(name: string): string | null }; text(): Promise<string> }>
}

declare module 'http-proxy' {
  import type { IncomingMessage, ServerResponse } from 'node:http'
  import type { Agent } from 'node:https'
  import type { Duplex } from 'node:stream'
  interface Proxy {
    web(request: IncomingMessage, response: ServerResponse, options: object, failed: (error: Error) => void): void
    ws(request: IncomingMessage, socket: Duplex, head: Buffer, options: object, failed: (error: Error) => void): void
    close(): void
  }
  const httpProxy: { createProxyServer(options: { target: string; agent: Agent; ws: boolean }): Proxy }
  export default httpProxy
}
