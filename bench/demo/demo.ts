/** `npm start`: the command line of the demo, and its exit status. */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { CONNECTION_FLAGS, CONNECTION_HELP, connectionOptions } from '../../lib/cli/connection.ts'
import { printable } from '../../lib/cli/text.ts'
import { UsageError } from '../../lib/cli/usage.ts'
import { showCluster } from './cluster.ts'
import { FAULTS, type FaultName, showFaults } from './faults.ts'

const HELP = `usage: npm start -- [options]

Shows what a client of one MultidialerAgent feels when apiservers fail: it makes a request every 50 ms, and watches.

Without --server it starts three apiservers of its own behind a balancer, stand-ins on loopback addresses, each a
process with real TLS, and breaks them one after another, in less than 30 s. Beside the client, a stock https.Agent
suffers the same. The exit status is 0 if every promise was kept, and 1 if one was broken; a busy machine breaks none.

  --only FAULT        one of the faults alone: ${FAULTS.join(', ')}
  --heartbeat-timeout MS
                      how long the dialer waits for a heartbeat's answer (2000). A hung apiserver is noticed
                      so much later that 60000 breaks promises, and the demo says so

With --server or --kubeconfig it uses a cluster that is there already, and breaks nothing: it prints the apiservers it
learned of, then failovers, failures, warnings and changes of the list as they happen, until Ctrl-C. It reads /version
and watches the leases of kube-system, with the token if there is one. The flags are those of the program
kube-multidialer:

${CONNECTION_HELP}
  --help              this text
`

const OPTIONS = {
  ...CONNECTION_FLAGS,
  only: { type: 'string' },
  'heartbeat-timeout': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  const text = error instanceof Error ? error.message : String(error)
  const usage = error instanceof UsageError
  console.error(usage
    ? `${printable(text)}\nnpm start -- --help shows what there is`
    : error instanceof Error ? error.stack ?? text : text)
  return usage ? 2 : 1
})

async function main(args: string[]): Promise<number> {
  const print = (line: string): void => console.log(line)
  const values = parsed(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const { server, kubeconfig, only, 'heartbeat-timeout': timeout } = values
  const own = ['only', 'heartbeat-timeout']
  if (server === undefined && kubeconfig === undefined) {
    const needless = Object.keys(values).find((name) => !own.includes(name))
    if (needless !== undefined) throw new UsageError(`--${needless} needs --server or --kubeconfig`)
    const kept = await showFaults(print, {
      faults: only === undefined ? FAULTS : [faultOf(only)],
      dialer: timeout === undefined ? {} : { heartbeatTimeout: milliseconds('heartbeat-timeout', timeout) },
    })
    return kept ? 0 : 1
  }
  const useless = own.find((name) => Object.hasOwn(values, name))
  if (useless !== undefined) throw new UsageError(`--${useless} is for the demo without --server and --kubeconfig`)
  await showCluster(connectionOptions(values, { env: process.env, readInput: () => readFileSync(0, 'utf8') }), print)
  return 0
}

function parsed(args: string[]): ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'] {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: false }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

function milliseconds(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) {
    throw new UsageError(`--${name} must be a positive whole number of milliseconds. Received '${text}'`)
  }
  return Number(text)
}

function faultOf(text: string): FaultName {
  const fault = FAULTS.find((name) => name === text)
  if (fault === undefined) throw new UsageError(`--only must be one of ${FAULTS.join(', ')}. Received '${text}'`)
  return fault
}
