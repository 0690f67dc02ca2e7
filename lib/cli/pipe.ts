/**
 * One pipe: a program's connection and one to an apiserver, joined byte for byte. What one side says the other hears,
 * its end and its reset included; neither is read faster than the other takes it. What the bytes are is nobody's
 * business.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/**
 * The other side of each that is joined. With it the listeners are the same functions for all pipes: those that
 * `stream.pipe()` makes for each way weigh as much again as the sockets do.
 */
const others = new WeakMap<Socket, Socket>()

/** Joins them until both are closed. Both must have `allowHalfOpen`, so that one side may end before the other. */
export function join(program: Socket, apiserver: Socket): void {
  others.set(program, apiserver).set(apiserver, program)
  carry(program)
  carry(apiserver)
}

/** Passes on what comes, waits where the other side does not take it, and goes on when it does. */
function carry(socket: Socket): void {
  // `once` would keep a wrapper of 250 bytes for as long as it waits: as long as there is the pipe.
  socket.on('data', passOn).on('drain', goOn).on('end', passEnd).on('error', ignored).on('close', passClose)
  socket.resume()
}

function passOn(this: Socket, bytes: Buffer): void {
  if (others.get(this)?.write(bytes) === false) this.pause()
}

function goOn(this: Socket): void {
  others.get(this)?.resume()
}

function passEnd(this: Socket): void {
  others.get(this)?.end()
}

/** The end of a side has been passed on by then; anything else but an end on both sides is passed on as a reset. */
function passClose(this: Socket): void {
  const other = others.get(this)
  const isDone = this.errored === null && this.readableEnded && this.writableFinished
  if (!isDone && other?.destroyed === false) reset(other)
}

/** Closes it so that its other end sees a reset, and not an end that looks like one that was meant. */
export function reset(socket: Socket): void {
  socket.on('error', ignored)
  // libuv resets no socket whose end is on its way, and Node then never closes it (measured on Node 20). Through a
  // proxy that is spoken to by TLS, nothing but an end can be sent.
  const isEnding = socket.writableEnded && !socket.writableFinished
  if (socket.destroyed || isEnding || socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

/** What is to be said of an error, 'close' says. */
function ignored(): void {}
