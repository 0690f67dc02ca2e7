/** `npm start`: the command line of the demo, and its exit status. */
import { parseArgs } from 'node:util'
import { codeOf } from '../../lib/errors.ts'
import { showCluster } from './cluster.ts'
import { showFaults } from './faults.ts'

const HELP = `usage: npm start -- [options]

Shows what one MultidialerAgent makes of apiservers that fail: requests every 20 ms and a watch through it, and what
each fault costs them.

Without --server it starts three apiservers of its own, stand-ins on loopback addresses, each a process with real TLS,
and breaks them one after another: killed, killed while another is down, back again, renumbered, hung by SIGSTOP, and
cut off. Under 30 s in all. The exit status is 0 if every promise held, 1 if one was broken.

  --slack MS          added to every time promised, on a machine that is busy with other things (0)

With --server it uses a cluster that is there already, and breaks nothing: it prints the apiservers it learned of, then
failovers, failures, warnings and changes of the list as they happen, until Ctrl-C. It reads /version and watches the
leases of kube-system.

  --server URL        one apiserver of the cluster, such as https://10.77.0.1:6443
  --ca FILE           its certificate authority, PEM; those of Node without it
  --token-file FILE   a bearer token, read again when it changes
  --cert FILE         a client certificate, PEM
  --key FILE          its key, PEM
  --servername NAME   the name that every apiserver must prove, kubeconfig's tls-server-name

  --help              this text
`

const OPTIONS = {
  slack: { type: 'string' },
  server: { type: 'string' },
  ca: { type: 'string' },
  'token-file': { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  servername: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

/** What the command line asks for that it cannot have. */
class UsageError extends Error {}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  const text = error instanceof Error ? error.message : String(error)
  const usage = error instanceof UsageError
  console.error(usage
    ? `${text}\nnpm start -- --help shows what there is`
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
  const { server, slack, ca, cert, key, servername } = values
  if (server === undefined) {
    const needless = Object.keys(values).find((name) => name !== 'slack')
    if (needless !== undefined) throw new UsageError(`--${needless} needs --server`)
    return (await showFaults(milliseconds('slack', slack ?? '0'), print)) ? 0 : 1
  }
  if (slack !== undefined) throw new UsageError('--slack is for the demo without --server')
  try {
    await showCluster({ server, ca, tokenFile: values['token-file'], cert, key, servername }, print)
  } catch (error) {
    throw codeOf(error) === 'ERR_INVALID_ARG_VALUE' ? new UsageError(asOptions(error)) : error
  }
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
  if (!/^[0-9]{1,6}$/.test(text)) {
    throw new UsageError(`--${name} must be a whole number of milliseconds. Received '${text}'`)
  }
  return Number(text)
}

/** The dialer's words for an option that is wrong, with the names that the command line has for them. */
function asOptions(error: unknown): string {
  const names: Record<string, string> = { caFile: 'ca', tokenFile: 'token-file', certFile: 'cert', keyFile: 'key' }
  const text = error instanceof Error ? error.message : String(error)
  return text.replace(/[Tt]he option '(\w+)'/g, (_, name: string) => `--${names[name] ?? name}`)
}
