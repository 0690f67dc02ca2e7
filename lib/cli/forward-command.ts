/** `kube-multidialer forward`: from the flags to a listener, and from a signal to its end. */
import { scopeOf } from '../address.ts'
import type { Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import { codeOf } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { Multidialer } from '../multidialer.ts'
import { usable } from './connection.ts'
import { Forwarder, narrate } from './forwarder.ts'
import { messageOf } from './text.ts'

/** As long as a pod has by default, less what its supervisor needs to notice. */
const DRAIN = 10_000

export interface ForwardCommand {
  readonly options: MultidialerOptions
  readonly listen: Endpoint
  readonly maxConnections: number
  readonly say: (line: string) => void
  readonly complain: (line: string) => void
  /** Has the listener called for each of these signals; returns what stops that. */
  readonly onSignal: (listener: (signal: 'SIGINT' | 'SIGTERM') => void) => () => void
}

/** Resolves with the exit status when it has ended: 0 by a signal, 1 where it cannot listen. */
export async function runForward(command: ForwardCommand): Promise<0 | 1> {
  const dialer = usable(() => new Multidialer(command.options))
  try {
    return await forward(dialer, command)
  } finally {
    dialer.close()
  }
}

async function forward(dialer: Multidialer, command: ForwardCommand): Promise<0 | 1> {
  const { listen, maxConnections, say, complain, onSignal } = command
  narrate(dialer, say)
  const forwarder = new Forwarder({ dialer, listen, maxConnections, say })
  // Before it says that it listens: whoever starts it may end it as soon as it reads that.
  const ended = endedBySignal(forwarder, say, onSignal)
  let at: Endpoint
  try {
    at = await forwarder.listen()
  } catch (error) {
    complain(`${addressOf(listen)} cannot be listened at: ${adviceOn(error)}`)
    return 1
  }
  if (!isLoopback(listen.host)) {
    say(`warning: ${addressOf(at)} can be reached from other machines, and so can the apiservers through it. ` +
      'Programs still need credentials of their own')
  }
  say(`forwarding from ${addressOf(at)}`)
  // The list and a first verified connection are had before the first program wants one.
  dialer.refresh().catch((error: unknown) => say(`no apiserver yet: ${messageOf(error)}`))
  await ended
  return 0
}

/** Resolves when a signal has ended it: SIGINT at once, SIGTERM when its pipes have ended; a second signal at once. */
function endedBySignal(
  forwarder: Forwarder,
  say: ForwardCommand['say'],
  onSignal: ForwardCommand['onSignal'],
): Promise<void> {
  return new Promise((resolve) => {
    let isDraining = false
    const stop = onSignal((signal) => {
      if (signal === 'SIGTERM' && !isDraining) {
        isDraining = true
        const count = forwarder.connections
        const who = count === 1 ? '1 connection has' : `${count} connections have`
        say(`SIGTERM: listening no longer; ${who} ${DRAIN / 1_000} s to end`)
        void forwarder.drain(DRAIN).then(end)
        return
      }
      forwarder.end()
      end()
    })
    const end = (): void => {
      stop()
      resolve()
    }
  })
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || scopeOf(host) === 'loopback'
}

function adviceOn(error: unknown): string {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return 'another program listens there. Give another --listen'
    case 'EADDRNOTAVAIL':
      return 'it is no address of this machine. Give another --listen'
    case 'EACCES':
      return 'ports below 1024 are for root. Give another --listen'
    default:
      return messageOf(error)
  }
}
