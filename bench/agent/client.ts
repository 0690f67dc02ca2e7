/**
 * One client of bench/agent, in a process of its own: the module's agent or Node's. It makes requests or connections
 * for a while, and says how many, how long each took, and how much CPU that was.
 */
import https from 'node:https'
import tls, { type TLSSocket } from 'node:tls'
import type * as Library from '../../lib/index.ts'
import { pem } from '../../spec/support/tls-servers.ts'
import { moduleOf } from '../support/dist.ts'
import { secured } from '../support/secured.ts'
import { answerAll } from '../support/worker.ts'

/** 'mine' is this module; 'stock' is `https.Agent`, and `tls.connect` with a kept context and session. */
export type Side = 'mine' | 'stock'

export type ClientQuestion =
  | { readonly what: 'start'; readonly side: Side; readonly port: number; readonly dist: string }
  | Work

export type Work =
  /** Requests over kept connections, so many at a time. */
  | { readonly what: 'requests'; readonly concurrency: number; readonly ms: number }
  /** One request on a connection of its own, one after another, by an agent with `keepAlive: false`. */
  | { readonly what: 'connections'; readonly ms: number }
  /** Sockets without a request: `connect()` and `tls.connect`; 'plain' is the latter as one would write it. */
  | { readonly what: 'dials' | 'plain'; readonly ms: number }

export interface Slice {
  readonly count: number
  /** Of the clock, and of this process's CPU, in ms. */
  readonly took: number
  readonly cpu: number
  /** Of each, in ms. */
  readonly times: Float64Array
}

const HOST = '127.0.0.1'
/** As in a kubeconfig that kubeadm writes. */
const credentials = { ca: pem('ca.crt'), cert: pem('client-a.crt'), key: pem('client-a.key') }

interface Contender {
  readonly kept: https.Agent
  readonly unkept: https.Agent
  readonly dial: () => Promise<TLSSocket>
  readonly port: number
}

let contender: Contender | undefined

answerAll<ClientQuestion, Slice | undefined>(async (question) => {
  if (question.what === 'start') {
    contender = await start(question.side, question.port, question.dist)
    return undefined
  }
  const started = contender
  if (started === undefined) throw new Error('not started')
  switch (question.what) {
    case 'requests':
      return measured(question.ms, question.concurrency, () => request(started.kept, started.port))
    case 'connections':
      return measured(question.ms, 1, () => request(started.unkept, started.port))
    case 'dials':
      return measured(question.ms, 1, async () => { (await started.dial()).destroy() })
    case 'plain':
      return measured(question.ms, 1, async () => {
        (await secured(tls.connect({ host: HOST, port: started.port, ...credentials }))).destroy()
      })
  }
})

async function start(side: Side, port: number, dist: string): Promise<Contender> {
  if (side === 'stock') {
    const secureContext = tls.createSecureContext(credentials)
    let session: Buffer | undefined
    const dial = (): Promise<TLSSocket> => {
      const socket = tls.connect({
        host: HOST, port, secureContext, ALPNProtocols: ['http/1.1'], ...(session && { session }),
      })
      socket.on('session', (ticket: Buffer) => { session = ticket })
      return secured(socket)
    }
    return {
      kept: new https.Agent({ ...credentials, keepAlive: true }),
      unkept: new https.Agent({ ...credentials, keepAlive: false }),
      dial,
      port,
    }
  }
  const { MultidialerAgent, Multidialer }: typeof Library = await import(moduleOf(dist, 'index'))
  const options = { server: `https://${HOST}:${port}`, ...credentials }
  const dialer = new Multidialer(options)
  const kept = new MultidialerAgent({ ...options, keepAlive: true })
  const unkept = new MultidialerAgent({ ...options, keepAlive: false })
  return { kept, unkept, dial: () => dialer.connect(), port }
}

async function measured(ms: number, concurrency: number, operate: () => Promise<void>): Promise<Slice> {
  const times: number[] = []
  const cpuBefore = process.cpuUsage()
  const from = performance.now()
  const one = async (): Promise<void> => {
    for (let now = performance.now(); now - from < ms;) {
      await operate()
      const then = performance.now()
      times.push(then - now)
      now = then
    }
  }
  await Promise.all(Array.from({ length: concurrency }, one))
  const took = performance.now() - from
  const { user, system } = process.cpuUsage(cpuBefore)
  return { count: times.length, took, cpu: (user + system) / 1_000, times: Float64Array.from(times) }
}

function request(agent: https.Agent, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = https.request({
      host: HOST, port, path: '/version', agent, headers: { authorization: 'Bearer bench' },
    }, (response) => {
      response.resume()
      response.once('end', resolve)
      response.once('error', reject)
    })
    asked.once('error', reject)
    asked.end()
  })
}
