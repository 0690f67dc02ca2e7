/**
 * One pipe: a program's connection and one to an apiserver, joined byte for byte. What one side says the other hears, its
 * end and its reset included; neither is read faster than the other takes it. What the bytes are is nobody's business.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/** Joins them until both are closed. Both must have `allowHalfOpen`, so that one side may end before the other. */
export function join(program: Socket, apiserver: Socket): void {
  program.pipe(apiserver)
  apiserver.pipe(program)
  follow(program, apiserver)
  follow(apiserver, program)
}

/** Closes it so that its other end sees a reset, and not an end that looks like one that was meant. */
export function reset(socket: Socket): void {
  socket.on('error', ignored)
  // libuv resets no socket whose end is on its way, and Node then never closes it (measured on Node 20). Through a proxy
  // that is spoken to by TLS, nothing but an end can be sent.
  const isEnding = socket.writableEnded && !socket.writableFinished
  if (socket.destroyed || isEnding || socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

/**
 * The end of a side has been passed on by then; anything else but an end on both sides is passed on as a reset.
 *
 * It listens by `on` to what comes once: `once` keeps a wrapper of 250 bytes for as long as it waits, here for as long as
 * there is the pipe.
 */
function follow(one: Socket, other: Socket): void {
  one.on('error', ignored)
  one.on('close', () => {
    const isDone = one.errored === null && one.readableEnded && one.writableFinished
    if (!isDone && !other.destroyed) reset(other)
  })
}

/** What is to be said of an error, 'close' says. */
function ignored(): void {}
