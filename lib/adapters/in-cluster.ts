/**
 * The options of a dialer that runs in a pod: where Kubernetes says the apiserver is, and the service account's files.
 *
 * Here the environment is read, and nowhere else. The files are named, not read: they rotate, so that the credentials
 * of the dialer read them again when they change. But that they exist is checked, as that tells where the code runs.
 */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { addressOf } from '../core/endpoint.ts'
import { toEndpoint } from '../options.ts'
import type { CodedError } from '../errors.ts'
import { coded, codeOf } from '../errors.ts'

/** Where the kubelet mounts the service account of a pod. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** What a dialer needs in a pod, to be extended as wanted: `{ ...inClusterOptions(), balance: 'spread' }`. */
export interface InClusterOptions {
  server: string
  tokenFile: string
  caFile: string
}

export interface InClusterSources {
  /** The folder with `token` and `ca.crt`; the kubelet's by default. For a projected volume mounted elsewhere. */
  readonly root?: string | undefined
  /** process.env by default. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

/**
 * Gives the options for a process in a pod, as client-go's rest.InClusterConfig does: the server from
 * KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, the token and the CA of the service account.
 *
 * @throws Error with code ERR_MULTIDIALER_NOT_IN_CLUSTER where a variable or a file is missing or of no use
 */
export function inClusterOptions(sources: InClusterSources = {}): InClusterOptions {
  const { root = SERVICE_ACCOUNT, env = process.env } = sources
  return { server: serverOf(env), tokenFile: fileIn(root, 'token'), caFile: fileIn(root, 'ca.crt') }
}

function serverOf(env: Readonly<Record<string, string | undefined>>): string {
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = env['KUBERNETES_SERVICE_PORT']
  if (!host || !port) {
    throw notInCluster('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be set, as they are in every pod. ' +
      "Elsewhere, give 'server' and credentials")
  }
  const endpoint = /^\d{1,5}$/.test(port) ? toEndpoint({ host, port: Number(port) }) : undefined
  if (endpoint === undefined) {
    throw notInCluster('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no host and port')
  }
  return `https://${addressOf(endpoint)}`
}

function fileIn(root: string, name: string): string {
  const file = join(root, name)
  try {
    accessSync(file, constants.R_OK)
    return file
  } catch (error) {
    throw notInCluster(`'${file}' cannot be read (${codeOf(error) ?? 'unknown error'}). ` +
      "Is automountServiceAccountToken false, or the volume mounted elsewhere?")
  }
}

function notInCluster(why: string): CodedError<'ERR_MULTIDIALER_NOT_IN_CLUSTER'> {
  return coded('ERR_MULTIDIALER_NOT_IN_CLUSTER', `The in-cluster configuration cannot be loaded: ${why}`)
}
