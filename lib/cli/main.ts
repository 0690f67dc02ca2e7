/**
 * The command line from its arguments to its exit status. All that is of the process (streams, signals, environment) is
 * handed in, so that bin.ts is the only file that touches it.
 */
import { readFileSync } from 'node:fs'
import { HELP, parseCommand } from './args.ts'
import { runCheck } from './check-command.ts'
import { connectionOptions } from './connection.ts'
import { runForward } from './forward-command.ts'
import { messageOf, painter, printable } from './text.ts'
import { UsageError } from './usage.ts'

export interface Terminal {
  /** Writes text to standard output. */
  readonly print: (text: string) => void
  /** Writes text to standard error. */
  readonly complain: (text: string) => void
  /** Standard output is a terminal. */
  readonly isTerminal: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** Reads standard input to its end. */
  readonly readInput: () => string
  readonly onSignal: (listener: (signal: 'SIGINT' | 'SIGTERM') => void) => () => void
}

/** Runs the command that the arguments name, and resolves with the exit status. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const { complain } = terminal
  try {
    return await run(args, terminal)
  } catch (error) {
    if (error instanceof UsageError) {
      complain(`kube-multidialer: ${printable(error.message)}\nkube-multidialer --help shows what there is\n`)
      return 2
    }
    complain(`kube-multidialer: ${printable(messageOf(error))}\n`)
    return 2
  }
}

async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { print, complain, isTerminal, env, readInput, onSignal } = terminal
  const command = parseCommand(args)
  switch (command.command) {
    case 'help':
      print(HELP)
      return 0
    case 'version':
      print(`${versionOf()}\n`)
      return 0
    case 'check': {
      const { connection, json, timeout } = command
      const options = connectionOptions(connection, { env, readInput })
      return runCheck({ options, timeout, json, paint: painter(isTerminal, env), print })
    }
    case 'forward': {
      const { connection, listen, maxConnections } = command
      const options = connectionOptions(connection, { env, readInput })
      const line = (text: string): string => `${new Date().toISOString()} ${printable(text)}\n`
      const say = (text: string): void => print(line(text))
      return runForward({ options, listen, maxConnections, say, complain: (text) => complain(line(text)), onSignal })
    }
  }
}

/** That of the package, two folders up from lib/cli and one from dist. */
function versionOf(): string {
  for (const folder of ['../', '../../']) {
    try {
      const manifest: unknown = JSON.parse(readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8'))
      if (typeof manifest !== 'object' || manifest === null || !('version' in manifest)) continue
      if ('name' in manifest && manifest.name === 'kube-multidialer') return String(manifest.version)
    } catch {
      // Not there: the next.
    }
  }
  return 'unknown'
}
