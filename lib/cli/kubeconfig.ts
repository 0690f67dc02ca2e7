/**
 * A kubeconfig in JSON, as `kubectl config view --raw --minify -o json` prints it, in the words of a dialer. YAML is
 * not read here: that would need a parser that this package has not. No error quotes what is in the file.
 */
import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { throughProxy } from '../adapters/proxy.ts'
import { codeOf } from '../errors.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { isRecord } from '../options.ts'
import { shownFile } from '../secrets.ts'
import { UsageError } from './usage.ts'

const COMMAND = 'kubectl config view --raw --minify -o json'
/** The most that is read: a kubeconfig with every CA of a large company has a tenth of it. */
const MAX_BYTES = 4 * 1024 * 1024

type Fields = Readonly<Record<string, unknown>>

/**
 * The options of a dialer for the current context.
 *
 * @param file its path, or '-' for standard input
 * @throws UsageError that says what is wrong and what to do
 */
export function readKubeConfig(file: string, readInput: () => string): MultidialerOptions {
  const isInput = file === '-'
  const name = isInput ? 'standard input' : shownFile(file)
  const config = parsed(isInput ? readInput() : readWhole(file, name), name)
  const folder = isInput ? process.cwd() : dirname(resolve(file))
  const { cluster, user } = contextOf(config, name)
  return { ...clusterOptions(cluster, folder, name), ...userOptions(user, folder, name) }
}

function readWhole(file: string, name: string): string {
  try {
    const { size } = statSync(file)
    if (size <= MAX_BYTES) return readFileSync(file, 'utf8')
  } catch (error) {
    throw wrong(name, `cannot be read (${codeOf(error) ?? 'unknown error'})`)
  }
  throw wrong(name, `is larger than ${MAX_BYTES} bytes`)
}

function parsed(text: string, name: string): Fields {
  if (text.trim() === '') throw wrong(name, `is empty. Give it what '${COMMAND}' prints`)
  try {
    const config: unknown = JSON.parse(text)
    if (isRecord(config)) return config
  } catch {
    // The message of JSON.parse would quote what is there, and that may be a key.
  }
  throw wrong(name, `is not JSON. If it is YAML: ${COMMAND} | kube-multidialer ... --kubeconfig -`)
}

// ---- which cluster, which user

function contextOf(config: Fields, name: string): { cluster: Fields; user: Fields } {
  const context = currentOf(config, name)
  const cluster = named(config['clusters'], textOf(context, 'cluster'), 'cluster')
  if (cluster === undefined) throw wrong(name, `has no cluster for its current context. Print it with '${COMMAND}'`)
  return { cluster, user: named(config['users'], textOf(context, 'user'), 'user') ?? {} }
}

function currentOf(config: Fields, name: string): Fields {
  const contexts = listOf(config['contexts'])
  const current = textOf(config, 'current-context')
  const only = contexts.length === 1 ? textOf(contexts[0], 'name') : undefined
  const context = named(contexts, current ?? only, 'context')
  if (context !== undefined) return context
  throw wrong(name, `has no current context. Choose one: 'kubectl config use-context NAME', or ` +
    `${COMMAND} --context NAME`)
}

/** kubeconfig's lists have a name beside each thing: `{ name, cluster: { ... } }`. */
function named(list: unknown, name: string | undefined, kind: string): Fields | undefined {
  const found = name === undefined ? undefined : listOf(list).find((each) => textOf(each, 'name') === name)
  const value = found?.[kind]
  return isRecord(value) ? value : undefined
}

// ---- what they say

function clusterOptions(cluster: Fields, folder: string, name: string): MultidialerOptions {
  const server = textOf(cluster, 'server')
  if (server === undefined) throw wrong(name, `has a cluster without a server. Print it with '${COMMAND}'`)
  const servername = textOf(cluster, 'tls-server-name')
  const proxy = textOf(cluster, 'proxy-url')
  return {
    server,
    ...pem(cluster, 'certificate-authority', 'ca', 'caFile', folder, name),
    ...(servername === undefined ? {} : { servername }),
    ...(cluster['insecure-skip-tls-verify'] === true ? { rejectUnauthorized: false } : {}),
    ...(proxy === undefined ? {} : { connectSocket: throughProxyOf(proxy, name) }),
  }
}

function userOptions(user: Fields, folder: string, name: string): Partial<MultidialerOptions> {
  const instead = 'Give a token of a service account: kubectl create token ACCOUNT > token, and --server, --ca and ' +
    '--token-file in place of --kubeconfig. It must be allowed to get the endpoints "kubernetes" in "default"'
  if (isRecord(user['exec'])) {
    throw wrong(name, `has a user whose credentials a command gives (exec), which is not run here. ${instead}`)
  }
  if (isRecord(user['auth-provider'])) {
    throw wrong(name, `has a user with an auth-provider, which is not supported here. ${instead}`)
  }
  if (textOf(user, 'username') !== undefined) {
    throw wrong(name, `has a user with a password, which apiservers no longer take. ${instead}`)
  }
  const token = textOf(user, 'token')
  if (token !== undefined && isOmitted(token)) {
    throw wrong(name, `has its secrets left out. Print it with --raw: ${COMMAND}`)
  }
  const tokenFile = textOf(user, 'tokenFile')
  return {
    ...pem(user, 'client-certificate', 'cert', 'certFile', folder, name),
    ...pem(user, 'client-key', 'key', 'keyFile', folder, name),
    // As in client-go, the file goes before the value.
    ...(tokenFile === undefined ? {} : { tokenFile: resolve(folder, tokenFile) }),
    ...(token === undefined || tokenFile !== undefined ? {} : { token }),
  }
}

/** Data goes before a file, as in client-go. */
function pem(
  fields: Fields,
  field: string,
  option: 'ca' | 'cert' | 'key',
  fileOption: 'caFile' | 'certFile' | 'keyFile',
  folder: string,
  name: string,
): Partial<MultidialerOptions> {
  const data = textOf(fields, `${field}-data`)
  const file = textOf(fields, field)
  if (data === undefined) return file === undefined ? {} : { [fileOption]: resolve(folder, file) }
  if (isOmitted(data)) throw wrong(name, `has its secrets left out. Print it with --raw: ${COMMAND}`)
  return { [option]: Buffer.from(data, 'base64') }
}

/** What kubectl prints without --raw. */
function isOmitted(value: string): boolean {
  return value === 'DATA+OMITTED' || value === 'REDACTED'
}

function throughProxyOf(url: string, name: string): MultidialerOptions['connectSocket'] {
  try {
    return throughProxy(url)
  } catch {
    throw wrong(name, "has a proxy-url that is no HTTP proxy's, 'http://host:port'. Give --proxy and --server instead")
  }
}

function textOf(value: unknown, field: string): string | undefined {
  const text = isRecord(value) ? value[field] : undefined
  return typeof text === 'string' && text !== '' ? text : undefined
}

function listOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.filter(isRecord) : []
}

function wrong(name: string, what: string): UsageError {
  return new UsageError(`--kubeconfig: ${name} ${what}`)
}
