/**
 * H7's hint: a dialer is told which of its sockets brought a caller an answer that its endpoint may have for everyone.
 * Node and undici publish what they read to `node:diagnostics_channel`, before the caller sees it. To listen there
 * touches no request: one without a listener for 'response' must go on having its body thrown away by Node. What the
 * hint means is the dialer's business.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { Duplex } from 'node:stream'

import type { DialerPool } from '../pool.ts'

/** The sockets that dialers have made for callers, and whose they are. */
const dialers: WeakMap<object, DialerPool> = new WeakMap()
/** The sockets that requests of undici were written to. */
const sockets: WeakMap<object, Duplex> = new WeakMap()
const listening: Set<string> = new Set()

/** From now on answers that node:http reads from this socket are told to its dialer. */
export function tellAnswers(socket: Duplex, dialer: DialerPool): void {
  dialers.set(socket, dialer)
  listen('http.client.response.finish', (message) => {
    const response = part(message, 'response')
    tell(part(response, 'socket'), part(response, 'statusCode'))
  })
}

/** From now on answers that any undici reads from this socket are told to its dialer. */
export function tellUndiciAnswers(socket: Duplex, dialer: DialerPool): void {
  dialers.set(socket, dialer)
  listen('undici:client:sendHeaders', (message) => {
    const [request, socket] = [part(message, 'request'), part(message, 'socket')]
    if (isObject(request) && isDialled(socket)) sockets.set(request, socket)
  })
  listen('undici:request:headers', (message) => {
    const request = part(message, 'request')
    if (isObject(request)) tell(sockets.get(request), part(part(message, 'response'), 'statusCode'))
  })
}

/** Listens once for the whole process, and for good: what is listened for is found by its socket alone. */
function listen(channel: string, listener: (message: unknown) => void): void {
  if (listening.has(channel)) return
  listening.add(channel)
  subscribe(channel, listener)
}

function tell(socket: unknown, status: unknown): void {
  if (typeof status !== 'number' || (status !== 429 && status < 500)) return
  if (isDialled(socket)) dialers.get(socket)?.answered(socket, status)
}

function isDialled(socket: unknown): socket is Duplex {
  return isObject(socket) && dialers.has(socket)
}

function part(value: unknown, name: string): unknown {
  return isObject(value) ? Reflect.get(value, name) : undefined
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
