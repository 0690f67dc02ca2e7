/**
 * Random programs of requests, and how one is played with an agent: what its user sees, event for event, and the
 * accounts of its pool whenever all is at rest. The server answers when a program says so, and at rest means that
 * nothing more comes by itself: so that a trace does not depend on how fast the machine is. Nothing here knows what is
 * right.
 */
import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Duplex } from 'node:stream'

import { count } from './agent-harness.ts'
import { ProgramServer, type Answer } from './agent-program-server.ts'
import type { Random } from './random.ts'


type Moment =
  'at once' | 'tick' | 'immediate' | 'socket' | 'finish' | 'continue' | 'response' | 'data' | 'end' | 'timeout'
type How = 'destroy' | 'destroy(error)' | 'abort' | 'signal'

export interface Plan {
  readonly kind: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'CONNECT' | 'UPGRADE'
  readonly body: number
  readonly chunked: boolean
  /** The end of the body is a step of its own. */
  readonly stalled: boolean
  readonly expect: boolean
  readonly ownPool: boolean
  readonly timeout: 'none' | 'option' | 'setTimeout'
  /** What is done with a response, or the socket of an upgrade. */
  readonly reader: 'reads' | 'nobody' | 'destroys' | 'pauses'
  readonly giveUp: { readonly at: Moment; readonly how: How } | undefined
}

export type Step =
  | { readonly do: 'send'; readonly plan: Plan; readonly rest: boolean }
  | { readonly do: 'answer'; readonly which: number; readonly answer: Answer }
  | { readonly do: 'finish' | 'continue' | 'cut' | 'end body' | 'resume'; readonly which: number }
  | { readonly do: 'give up'; readonly which: number; readonly how: How }

export interface Program {
  readonly agent: https.AgentOptions
  readonly steps: readonly Step[]
  /** The agent is destroyed in the end, before or after all has come to rest. */
  readonly destroy: 'no' | 'at rest' | 'at once'
}

/** What came of one request. */
export interface Outcome {
  readonly request: readonly string[]
  readonly response: readonly string[]
  readonly reused: boolean
  readonly aborted: number
}

export interface Trace {
  /** What each step did, and what the pool was like when all was at rest again. */
  readonly steps: readonly unknown[]
  readonly outcomes: readonly Outcome[]
  /** What came of the requests after the agent was destroyed; `atServer` says which of them the server had by then. */
  readonly destroyed: readonly (Outcome & { readonly atServer: boolean })[]
}

// ---- programs

export function programOf(random: Random): Program {
  const one = <T>(...of: readonly T[]): T => of[random(of.length)] ?? programFault()
  const keepAlive = random(4) !== 0
  const sends = 2 + random(7)
  const steps: Step[] = []
  const how = (): How => one('destroy', 'destroy(error)', 'abort', 'signal')
  for (let sent = 0; sent < sends;) {
    if (random(5) < 3) {
      const plan = planOf(random, one, how, keepAlive)
      // The stock agent's request has its socket before it is connected: whose place one that ends there leaves is free
      // a turn later. Here it is when the connection is made; others that are sent in that turn would tell the two.
      steps.push({ do: 'send', plan, rest: random(3) === 0 || plan.giveUp?.at === 'socket' })
      sent++
    } else {
      steps.push(stepOf(random, one, how))
    }
  }
  for (let more = random(6); more > 0; more--) steps.push(stepOf(random, one, how))
  // 0: not given.
  const limits = {
    maxSockets: one(1, 1, 2, 3, Infinity), maxTotalSockets: one(0, 0, 1, 2, 4), maxFreeSockets: one(0, 1, 2),
    timeout: one(0, 0, 3_600_000),
  }
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== 0))
  return {
    agent: { keepAlive, scheduling: one('lifo', 'fifo'), ...given }, steps,
    destroy: one('no', 'no', 'at rest', 'at once'),
  }
}

/**
 * The stock agent makes a connection even for a request that was given up before it had one, and from Node 24 on it
 * keeps that connection in its pool. No dial is made or kept for such a request.
 */
const STOCK_KEEPS = Number.parseInt(process.versions.node, 10) >= 24

type One = <T>(...of: readonly T[]) => T

function planOf(random: Random, one: One, how: () => How, keepAlive: boolean): Plan {
  const kind = one('GET', 'GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT', 'DELETE', 'CONNECT', 'UPGRADE')
  const hasBody = kind === 'POST' || kind === 'PUT'
  const moments: Moment[] = ['socket', 'finish', 'continue', 'response', 'data', 'end']
  if (!keepAlive) moments.push('at once')
  if (!keepAlive || !STOCK_KEEPS) moments.push('tick', 'immediate')
  const timeout = one('none', 'none', 'none', 'none', 'option', 'setTimeout')
  // Which of the two comes first, the timeout or another moment, would be up to the machine.
  const at = timeout === 'none' ? one(...moments) : 'timeout'
  const expect = hasBody && random(3) === 0
  // When a client that does not read sees that its connection was closed would be up to the machine.
  const mayPause = keepAlive && !expect && kind !== 'CONNECT' && kind !== 'UPGRADE'
  return {
    kind,
    body: hasBody ? one(0, 5, 5_000, 300_000) : 0,
    chunked: random(2) === 0,
    stalled: hasBody && random(4) === 0,
    expect,
    ownPool: random(4) === 0,
    timeout,
    reader: one('reads', 'reads', 'reads', 'reads', 'nobody', 'destroys', mayPause ? 'pauses' : 'reads'),
    giveUp: random(4) === 0 ? { at, how: how() } : undefined,
  }
}

function stepOf(random: Random, one: One, how: () => How): Step {
  const which = random(8)
  const kind = one('answer', 'answer', 'answer', 'answer', 'finish', 'continue', 'cut', 'end body', 'resume', 'give up')
  if (kind === 'answer') return { do: kind, which, answer: answerOf(random, one) }
  if (kind === 'give up') return { do: kind, which, how: how() }
  return { do: kind, which }
}

function answerOf(random: Random, one: One): Answer {
  return {
    status: one(200, 200, 200, 204, 304, 404, 429, 503), body: one(0, 5, 20_000, 200_000), chunked: random(2) === 0,
    close: random(5) === 0, hint: one(0, 0, 1, 30), early: random(6) === 0, half: random(4) === 0,
  }
}

const PLAIN: Answer = {
  status: 200, body: 5, chunked: false, close: false, hint: 0, early: false, half: false,
}

function programFault(): never {
  throw new Error('nothing to choose from')
}

// ---- how one is played

/** A request, and what it has emitted so far. */
class Sent {
  readonly plan: Plan
  readonly request: ClientRequest
  readonly controller: AbortController = new AbortController()
  readonly events: string[] = []
  readonly responseEvents: string[] = []
  aborted = 0
  closed = false
  timedOut = false
  givenUp = false
  bodyEnded = false
  response: IncomingMessage | undefined
  responseClosed = false
  paused = false
  received = 0
  #giveUp: Plan['giveUp']

  constructor(id: number, plan: Plan, agent: https.Agent, port: number) {
    this.plan = plan
    this.#giveUp = plan.giveUp
    this.request = https.request({
      host: '127.0.0.1', port, agent, signal: this.controller.signal, ...optionsOf(id, plan),
    })
    this.#listen()
    if (plan.timeout === 'setTimeout') this.request.setTimeout(TIMEOUT)
    if (!plan.expect) this.write()
    this.#reached('at once')
    process.nextTick(() => this.#reached('tick'))
    setImmediate(() => this.#reached('immediate'))
  }

  get outcome(): Outcome {
    const { events, responseEvents, request, aborted } = this
    return { request: [...events], response: [...responseEvents], reused: request.reusedSocket, aborted }
  }

  write(): void {
    const { body, stalled } = this.plan
    if (body > 0) this.request.write(Buffer.alloc(body, 'x'))
    if (stalled) this.request.flushHeaders()
    else this.endBody()
  }

  endBody(): void {
    this.bodyEnded = true
    this.request.end()
  }

  giveUp(how: How): void {
    this.givenUp = true
    if (how === 'destroy') this.request.destroy()
    else if (how === 'abort') this.request.abort()
    else if (how === 'signal') this.controller.abort()
    else this.request.destroy(Object.assign(new Error('mine'), { code: 'EMINE' }))
  }

  resume(): void {
    this.paused = false
    this.response?.resume()
  }

  #reached(moment: Moment): void {
    if (this.#giveUp?.at !== moment || this.closed) return
    const { how } = this.#giveUp
    this.#giveUp = undefined
    this.giveUp(how)
  }

  #listen(): void {
    const { request, events, plan } = this
    request.on('abort', () => { this.aborted++ })
    request.on('timeout', () => {
      this.timedOut = true
      events.push('timeout')
      this.#reached('timeout')
    })
    request.on('error', (error) => events.push(`error ${codeOf(error)}`))
    request.on('close', () => {
      this.closed = true
      events.push('close')
    })
    request.on('information', ({ statusCode }) => events.push(`information ${statusCode}`))
    request.on('continue', () => {
      this.#reached('continue')
      if (!this.givenUp) this.write()
    })
    request.on('socket', () => this.#reached('socket'))
    request.on('finish', () => this.#reached('finish'))
    if (plan.reader === 'nobody') return
    for (const event of ['upgrade', 'connect'] as const) {
      request.on(event, (response: IncomingMessage, socket: Duplex) => {
        events.push(`${event} ${response.statusCode}`)
        socket.on('error', () => {}).destroy()
      })
    }
    request.on('response', (response) => this.#responded(response))
  }

  #responded(response: IncomingMessage): void {
    const { responseEvents, plan } = this
    this.response = response
    this.events.push(`response ${response.statusCode}`)
    response.on('aborted', () => responseEvents.push('aborted'))
    response.on('error', (error) => responseEvents.push(`error ${codeOf(error)}`))
    response.on('end', () => {
      responseEvents.push(`end ${this.received}`)
      this.#reached('end')
    })
    response.on('close', () => {
      this.responseClosed = true
      responseEvents.push('close')
    })
    if (plan.reader === 'pauses') {
      this.paused = true
      response.pause()
    }
    response.on('data', (chunk: Buffer) => {
      this.received += chunk.length
      this.#reached('data')
    })
    if (plan.reader === 'pauses') response.pause()
    if (plan.reader === 'destroys') response.destroy()
    this.#reached('response')
  }
}

/** ms, in which nobody answers. */
const TIMEOUT = 15

function optionsOf(id: number, plan: Plan): https.RequestOptions {
  const { kind, body, chunked, expect, ownPool, timeout } = plan
  // Said by itself, as later Nodes name the pool of a CONNECT after the host that it asks for.
  const headers: http.OutgoingHttpHeaders = { host: '127.0.0.1' }
  if (kind === 'UPGRADE') Object.assign(headers, { connection: 'Upgrade', upgrade: 'test' })
  if ((kind === 'POST' || kind === 'PUT') && !chunked) headers['content-length'] = body
  if (expect) headers['expect'] = '100-continue'
  return {
    method: kind === 'UPGRADE' ? 'GET' : kind, path: kind === 'CONNECT' ? `${id}:80` : `/${id}`, headers,
    ...(ownPool ? { servername: 'kubernetes' } : {}), ...(timeout === 'option' ? { timeout: TIMEOUT } : {}),
  }
}

/** How a cut connection is noticed, by a write or a read, is up to the kernel. */
function codeOf(error: Error): string {
  const code = 'code' in error ? String(error.code) : error.message
  return code === 'EPIPE' ? 'ECONNRESET' : code
}

/** How long all may take to come to rest, in ms. A trace says so where it does not. */
const PATIENCE = 20_000
/** The same for a request that was given up when all of its answer had come: some Nodes close it, others never do. */
const PATIENCE_IF_COMPLETE = 1_000
const COMPLETE = 'is given up when complete, and not closed'

/** What is done until nothing is left to do, the first that can be. */
const DRAINS = ['resume', 'end body', 'finish', 'answer'] as const

class Player {
  readonly #agent: https.Agent
  readonly #server: ProgramServer
  readonly #isStock: boolean
  readonly #sent: Sent[] = []
  readonly #steps: unknown[] = []

  constructor(agent: https.Agent, server: ProgramServer, isStock: boolean) {
    this.#agent = agent
    this.#server = server
    this.#isStock = isStock
  }

  async play({ steps, destroy }: Program): Promise<Trace> {
    for (const step of steps) await this.#step(step)
    let destroyed: Trace['destroyed'] = []
    if (destroy === 'no') await this.#drain()
    else destroyed = await this.#destroy(destroy === 'at rest')
    return { steps: this.#steps, outcomes: destroy === 'no' ? this.#outcomes() : [], destroyed }
  }

  /** Ends whatever is left, seen by nobody. */
  async end(): Promise<void> {
    for (const { request } of this.#sent) request.on('error', () => {}).destroy()
    const ended = (): boolean => count(this.#agent).total === 0
    for (const end = performance.now() + PATIENCE; !ended() && performance.now() < end;) {
      this.#agent.destroy()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #outcomes(): Outcome[] {
    return this.#sent.map(({ outcome }) => outcome)
  }

  async #step(step: Step): Promise<void> {
    if (step.do === 'send') {
      const sent = new Sent(this.#sent.length, step.plan, this.#agent, this.#server.port)
      this.#sent.push(sent)
      if (this.#isStock) sent.request.on('socket', (socket) => socket.on('error', () => {}).setMaxListeners(0))
      if (step.rest) await this.#rest('send')
      return
    }
    await this.#rest('before')
    const id = this.#candidate(step)
    if (id === undefined) return
    this.#do(step, id)
    await this.#rest(`${step.do} ${id}`)
  }

  #do(step: Exclude<Step, { do: 'send' }>, id: number): void {
    const sent = this.#sent[id]
    switch (step.do) {
      case 'answer': return this.#answer(id, step.answer)
      case 'finish': return this.#server.finish(id)
      case 'continue': return this.#server.proceed(id)
      case 'cut': return this.#server.cut(id)
      case 'end body': return sent?.endBody()
      case 'resume': return sent?.resume()
      case 'give up': return sent?.giveUp(step.how)
    }
  }

  #answer(id: number, answer: Answer): void {
    const pauses = this.#sent[id]?.plan.reader === 'pauses'
    this.#server.answer(id, pauses ? { ...answer, close: false } : answer)
  }

  /** Which request a step is about, of those that it can be about. */
  #candidate(step: Exclude<Step, { do: 'send' }>): number | undefined {
    const ids = this.#candidates(step.do)
    return ids[step.which % Math.max(1, ids.length)]
  }

  #candidates(what: Step['do']): number[] {
    const keepAlive = 'keepAlive' in this.#agent && this.#agent.keepAlive === true
    const live = this.#sent.flatMap((sent, id) => sent.closed || sent.givenUp ? [] : [id])
    return live.filter((id) => {
      const sent = this.#sent[id]
      if (sent === undefined) return false
      switch (what) {
        case 'answer': return this.#server.stateOf(id) === 'waits'
        case 'finish': return this.#server.stateOf(id) === 'half'
        case 'continue': return this.#server.isExpected(id)
        case 'cut': return this.#server.stateOf(id) !== undefined && !sent.paused
        case 'end body': return sent.plan.stalled && !sent.bodyEnded && this.#server.hasBegun(id)
        case 'resume': return sent.paused
        case 'give up': return !(keepAlive && STOCK_KEEPS) || this.#server.stateOf(id) !== undefined
        case 'send': return false
      }
    })
  }

  /** Until nothing is left that the server or the user could do; one thing at a time, or it would be a race. */
  async #drain(): Promise<void> {
    for (let round = 0; round < 100; round++) {
      if (!await this.#rest('drain')) return
      const what = DRAINS.find((each) => this.#candidates(each).length > 0)
      const [id] = what === undefined ? [] : this.#candidates(what)
      if (what === undefined || id === undefined) return
      this.#do(what === 'answer' ? { do: what, which: 0, answer: PLAIN } : { do: what, which: 0 }, id)
    }
  }

  async #destroy(atRest: boolean): Promise<Trace['destroyed']> {
    if (atRest) await this.#rest('before destroy()')
    const seen = this.#sent.map((_sent, id) => this.#server.stateOf(id) !== undefined)
    const open = this.#sent.map(({ closed }) => !closed)
    this.#agent.destroy()
    const over = performance.now() + PATIENCE
    // The stock agent goes on dialling for those that it has not dialled for.
    const isOver = (): boolean => this.#sent.every(({ closed }, id) => closed || !(!this.#isStock || seen[id]))
    while (!isOver() && performance.now() < over) await new Promise((resolve) => setImmediate(resolve))
    // What follows the end of a request in the same turn.
    await new Promise((resolve) => setImmediate(resolve))
    return this.#sent.flatMap((sent, id) => open[id] ? [{ ...sent.outcome, atServer: seen[id] === true }] : [])
  }

  /** Waits until nothing more comes by itself, and writes down what there is. False: that never was. */
  async #rest(what: string): Promise<boolean> {
    const from = performance.now()
    let unrest = this.#unrest()
    for (; unrest !== undefined; unrest = this.#unrest()) {
      if (performance.now() - from > (unrest.endsWith(COMPLETE) ? PATIENCE_IF_COMPLETE : PATIENCE)) break
      await new Promise((resolve) => setImmediate(resolve))
    }
    this.#steps.push([what, unrest ?? 'at rest', count(this.#agent), this.#queued(), this.#inUse()])
    return unrest === undefined
  }

  /**
   * The requests that the server has, and the timeouts of their sockets. In the stock agent, a request that brought no
   * timeout may have that of another, whose place it took.
   */
  #inUse(): unknown[] {
    return this.#sent.flatMap(({ closed, request, plan }, id) => {
      if (closed || this.#server.stateOf(id) === undefined) return []
      return [plan.timeout !== 'none' ? [id, request.socket?.timeout] : [id]]
    })
  }

  #queued(): number[][] {
    const queues = Object.values(this.#agent.requests).map((queue) => queue ?? [])
    return queues.map((queue) => queue.map((request) => this.#sent.findIndex((sent) => sent.request === request)))
  }

  #unrest(): string | undefined {
    const queued = new Set(this.#queued().flat())
    let inUse = 0
    for (const [id, sent] of this.#sent.entries()) {
      if (queued.has(id)) continue
      if (!sent.closed) inUse++
      const unrest = this.#unrestOf(sent, id)
      if (unrest !== undefined) return `${id} ${unrest}`
    }
    const { sockets, total } = count(this.#agent)
    if (sockets !== inUse) return `${sockets} sockets in use for ${inUse} requests`
    if (this.#server.open !== total) return `${this.#server.open} connections for ${total} sockets`
    return undefined
  }

  #unrestOf(sent: Sent, id: number): string | undefined {
    const { response, responseClosed, paused } = sent
    if (response !== undefined && !responseClosed && !paused && (sent.closed || response.complete)) {
      return 'has a response that is not closed'
    }
    if (sent.closed) return undefined
    if (sent.givenUp) return response?.complete && sent.request.writableFinished ? COMPLETE : 'is given up, and open'
    if (sent.plan.timeout !== 'none' && !sent.timedOut && sent.response === undefined) return 'has not timed out'
    if (paused) return undefined
    const state = this.#server.stateOf(id)
    if (state === undefined) return 'is not there'
    if (state === 'cut') return 'is cut, and open'
    if (state === 'half') {
      return sent.plan.reader === 'nobody' || sent.received === this.#server.halfOf(id) ? undefined : 'has not its half'
    }
    if (state === 'answered') return sent.bodyEnded || this.#server.closes(id) ? 'is answered' : undefined
    if (this.#server.isRead(id)) return undefined
    const stalled = sent.plan.stalled && !sent.bodyEnded
    return stalled && this.#server.bytesOf(id) === sent.plan.body ? undefined : 'is not read'
  }
}

/**
 * Plays the program with the agent that `make` gives, against a server of its own. For the stock agent two things are
 * else: its destroy() is not the end of every request, and its sockets have a moment without a listener for errors.
 */
export async function play(
  program: Program, make: (port: number) => https.Agent, isStock: boolean,
): Promise<Trace> {
  const server = await ProgramServer.start()
  const agent = make(server.port)
  const player = new Player(agent, server, isStock)
  try {
    return await player.play(program)
  } finally {
    await player.end()
    await server.stop()
  }
}
