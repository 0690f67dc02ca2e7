/** The command line: which command, with which flags, and the help. Every mistake in it is a UsageError. */
import { parseArgs } from 'node:util'
import { parseAddress } from '../address.ts'
import type { Endpoint } from '../core/endpoint.ts'
import { MAX_MS } from '../options.ts'
import { CONNECTION_FLAGS, CONNECTION_HELP } from './connection.ts'
import type { ConnectionValues } from './connection.ts'
import { printable } from './text.ts'
import { UsageError } from './usage.ts'

export const HELP: string = `usage: kube-multidialer check [--json] [--timeout MS] CONNECTION
       kube-multidialer forward [--listen HOST:PORT] CONNECTION
check    Would this client survive the loss of each apiserver? Exit status:
         0 each loss is survived, 1 one is not, 2 wrong usage, nothing reached.
forward  Pipes programs to an apiserver that works. TLS stays end to end:
           kubectl --server https://127.0.0.1:6443 --tls-server-name kubernetes
         SIGTERM ends it when its pipes end, or after 10 s; SIGINT at once.
         Exit status: 0 ended so, 1 it cannot listen, 2 wrong usage.

  --json              check: JSON for machines
  --timeout MS        check: how long all of it may take (15000)
  --listen HOST:PORT  forward: where programs connect (127.0.0.1:6443)
  --max-connections N forward: further ones are closed at once (4000)
CONNECTION (none is needed in a pod):
${CONNECTION_HELP}  --help, --version
`

const FLAGS = {
  ...CONNECTION_FLAGS,
  json: { type: 'boolean' },
  timeout: { type: 'string' },
  listen: { type: 'string' },
  'max-connections': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const

/** The flags that are for one command alone. */
const ONLY: ReadonlyMap<string, Command['command']> = new Map([
  ['json', 'check'], ['timeout', 'check'], ['listen', 'forward'], ['max-connections', 'forward'],
])

const MAX_CONNECTIONS = 4_000
const LISTEN: Endpoint = { host: '127.0.0.1', port: 6_443 }

export type Command =
  | { readonly command: 'help' | 'version' }
  | {
      readonly command: 'check'
      readonly connection: ConnectionValues
      readonly json: boolean
      readonly timeout: number | undefined
    }
  | {
      readonly command: 'forward'
      readonly connection: ConnectionValues
      readonly listen: Endpoint
      readonly maxConnections: number
    }

/** @throws UsageError that says what is wrong */
export function parseCommand(args: readonly string[]): Command {
  const { values, positionals } = parsed(args)
  if (values.help === true) return { command: 'help' }
  if (values.version === true) return { command: 'version' }
  const [command, ...surplus] = positionals
  if (command === undefined) throw new UsageError('a command is missing: check or forward')
  if (command !== 'check' && command !== 'forward') {
    throw new UsageError(`'${printable(command)}' is no command: check and forward are`)
  }
  if (surplus.length > 0) {
    throw new UsageError(`'${printable(surplus.join(' '))}' is too much: ${command} takes flags alone`)
  }
  for (const flag of Object.keys(values)) {
    const owner = ONLY.get(flag)
    if (owner !== undefined && owner !== command) throw new UsageError(`--${flag} is for ${owner}`)
  }
  if (command === 'check') {
    const timeout = values.timeout === undefined
      ? undefined
      : wholeNumber('timeout', values.timeout, MAX_MS, 'milliseconds')
    return { command, connection: values, json: values.json === true, timeout }
  }
  const { listen, 'max-connections': most } = values
  return {
    command,
    connection: values,
    listen: listen === undefined ? LISTEN : listenAddress(listen),
    maxConnections: most === undefined
      ? MAX_CONNECTIONS
      : wholeNumber('max-connections', most, 1_000_000, 'connections'),
  }
}

type Parsed = ReturnType<typeof parseArgs<{ options: typeof FLAGS; allowPositionals: true; tokens: true }>>

function parsed(args: readonly string[]): Parsed {
  let result: Parsed
  try {
    result = parseArgs({ args: [...args], options: FLAGS, allowPositionals: true, tokens: true })
  } catch (error) {
    // Its messages hold the name of a flag, and nothing of what was given to one.
    throw new UsageError(error instanceof Error ? printable(error.message) : String(error))
  }
  const seen = new Set<string>()
  for (const token of result.tokens) {
    if (token.kind !== 'option' || token.name === 'server') continue
    if (seen.has(token.name)) throw new UsageError(`--${token.name} is given twice`)
    seen.add(token.name)
  }
  return result
}

function wholeNumber(flag: string, text: string, most: number, unit: string): number {
  const number = /^[0-9]{1,10}$/.test(text) ? Number(text) : 0
  if (number >= 1 && number <= most) return number
  throw new UsageError(`--${flag} must be a whole number of ${unit} from 1 to ${most}`)
}

/** 'host:port', an IPv6 host in brackets; port 0 is any that is free. */
function listenAddress(text: string): Endpoint {
  const isAny = /:0$/.test(text)
  const endpoint = parseAddress(isAny ? text.replace(/0$/, '1') : text)
  if (endpoint === undefined) {
    throw new UsageError("--listen must be 'host:port', with an IPv6 address in brackets, such as 127.0.0.1:6443")
  }
  return isAny ? { ...endpoint, port: 0 } : endpoint
}
