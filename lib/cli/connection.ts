/**
 * The flags that say which cluster is meant and who asks: from the command line, from a kubeconfig, or from the pod
 * that this runs in. All commands have them, and `npm start`.
 */
import { inClusterOptions } from '../adapters/in-cluster.ts'
import { throughProxy } from '../adapters/proxy.ts'
import { codeOf } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { readKubeConfig } from './kubeconfig.ts'
import { messageOf } from './text.ts'
import { inFlags, UsageError } from './usage.ts'

/** For parseArgs of node:util. */
export const CONNECTION_FLAGS = {
  server: { type: 'string', multiple: true },
  ca: { type: 'string' },
  'token-file': { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  servername: { type: 'string' },
  proxy: { type: 'string' },
  kubeconfig: { type: 'string' },
} as const

export const CONNECTION_HELP = `  --server URL        an apiserver, https://host:port; may be given again
  --ca FILE           the cluster's certificate authority, PEM
  --token-file FILE   a bearer token, for the list of apiservers alone
  --cert, --key FILE  a client certificate and its key, PEM
  --servername NAME   the name that every apiserver must prove
  --proxy URL         an HTTP proxy on the way: http://user:password@host:port
  --kubeconfig FILE   a kubeconfig in JSON instead; '-': standard input.
                      kubectl config view --raw --minify -o json prints it
`

export interface ConnectionValues {
  readonly server?: string[] | undefined
  readonly ca?: string | undefined
  readonly 'token-file'?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
  readonly servername?: string | undefined
  readonly proxy?: string | undefined
  readonly kubeconfig?: string | undefined
}

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Reads standard input to its end. */
  readonly readInput: () => string
}

const OWN = ['server', 'ca', 'token-file', 'cert', 'key'] as const

/**
 * The options of the dialer that the flags ask for. Without any that names a cluster: those of the pod.
 *
 * @throws UsageError that says which flag is wrong, and what to do
 */
export function connectionOptions(values: ConnectionValues, surroundings: Surroundings): MultidialerOptions {
  const { servername, proxy } = values
  const options = clusterOptions(values, surroundings)
  if (servername !== undefined) options.servername = servername
  if (proxy !== undefined) options.connectSocket = usable(() => throughProxy(proxy))
  return options
}

/** What the flags make, where an option that is wrong is the user's mistake and not this program's. */
export function usable<Value>(make: () => Value): Value {
  try {
    return make()
  } catch (error) {
    if (codeOf(error) !== 'ERR_INVALID_ARG_VALUE') throw error
    throw new UsageError(inFlags(messageOf(error)))
  }
}

function clusterOptions(values: ConnectionValues, { env, readInput }: Surroundings): MultidialerOptions {
  const { kubeconfig, server, ca, cert, key } = values
  const given = OWN.find((flag) => values[flag] !== undefined)
  if (kubeconfig !== undefined) {
    if (given !== undefined) {
      throw new UsageError(`--kubeconfig and --${given} exclude each other: the kubeconfig says it all`)
    }
    return readKubeConfig(kubeconfig, readInput)
  }
  if (server !== undefined) {
    return { server, caFile: ca, tokenFile: values['token-file'], certFile: cert, keyFile: key }
  }
  if (given !== undefined) throw new UsageError(`--${given} needs --server`)
  try {
    return inClusterOptions({ env })
  } catch (error) {
    throw new UsageError(`--server or --kubeconfig must be given where this is not a pod. ${messageOf(error)}`)
  }
}
