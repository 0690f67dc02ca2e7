/**
 * What a caller may ask for, and the checks of it.
 *
 * Here live the settings with their defaults and reasons, and one check for every option: a wrong one is found when
 * the dialer is constructed, not on the night an apiserver fails. Here is no file, no PEM and no TLS: whether a file
 * can be read and a key fits its certificate is for credentials/. The clock, the environment and the network are not
 * read. The error says what was received, as that saves a search, as far as secrets.ts lets it.
 */
import { canonicalIP, parseAddress } from './address.ts'
import type { Endpoint } from './core/endpoint.ts'
import type { Settings } from './core/state.ts'
import { invalidOption, optionError } from './errors.ts'

/** Everything checked that is not a credential, a function or a signal, in its one canonical form. */
export interface CheckedOptions {
  /** The servers to start from, in the order given, each once. At least one. */
  readonly seeds: readonly Endpoint[]
  readonly alternates: readonly Endpoint[]
  readonly servername: string | undefined
  readonly rejectUnauthorized: boolean
  readonly settings: Settings
}

export const DEFAULTS: Settings = Object.freeze({
  // How long one attempt may be silent before the next candidate is started beside it. RFC 8305 (Happy Eyeballs)
  // recommends 250 ms, gRPC's pick_first uses the same and Go's net.Dialer 300: longer than a healthy handshake
  // across a continent, and short enough that a person does not notice one dead server. Where connections are known to
  // take far less, one dial in a second goes on sooner (D8).
  attemptDelay: 250,

  // TCP and TLS of one attempt. client-go gives TCP alone 30 s and TLS another 10 s. Apiservers are few and near:
  // what has not finished both after 5 s, two lost SYNs (1 s + 2 s) included, is of no use to a caller.
  attemptTimeout: 5_000,

  // The whole dial, when no server fails outright but none answers either. Three attempts one after another;
  // client-go's 30 s for a dial is what its users see as "hung", HAProxy's usual connect timeout is 5 to 10 s.
  dialTimeout: 15_000,

  // Apiservers come and go with control-plane nodes, so a minute is early enough; a failure asks soon. The
  // apiserver's own lease reconciler renews that list every 10 s and lets an entry expire after 15 s.
  refreshInterval: 60_000,

  // Silence on a connection in use that calls for a question. client-go's HTTP/2 asks after 30 s and waits 15 s
  // more, which makes 45 s until a dead server is noticed; HAProxy beside the client takes 35 s. Here it is two
  // misses after 5 s: a silent watch is freed within 10 s, at one small cached request every 5 s.
  heartbeatInterval: 5_000,

  // The question is served from the apiserver's watch cache, in a few ms; a server that takes 2 s for it twice in a
  // row, the second time on a fresh connection, serves nobody. client-go waits 15 s, kubelet's probes 1 s.
  heartbeatTimeout: 2_000,

  // The last working one first: a warm TLS session, one apiserver's consistent watch cache, and no connection opened
  // that is not needed. So do client-go and gRPC's pick_first. 'spread' is for fleets of equal clients.
  balance: 'sticky',

  // Off: age harms no connection. A fleet that wants its load to even out after a restart sets it (gRPC's
  // MAX_CONNECTION_AGE is unlimited by default too; kube-apiserver's --goaway-chance is 0).
  maxConnectionAge: undefined,
})

/** setTimeout's limit: a longer one fires at once, which is the opposite of what was asked for. */
export const MAX_MS = 2_147_483_647

/**
 * Checks every option but the contents of credentials, and gives back those that the core goes by.
 *
 * Options it does not know are left alone: those of tls.SecureContextOptions and https.AgentOptions come in the same
 * object. `undefined` always means the default.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option
 */
export function checkOptions(options: unknown): CheckedOptions {
  if (!isRecord(options)) throw invalidOption('options', options, 'an object with at least a server')
  const checked: CheckedOptions = {
    seeds: checkServer(options['server']),
    alternates: checkAlternates(options['alternates']),
    servername: checkServername(options['servername']),
    rejectUnauthorized: checkRejectUnauthorized(options['rejectUnauthorized']),
    settings: {
      attemptDelay: checkMs(options, 'attemptDelay', 1) ?? DEFAULTS.attemptDelay,
      attemptTimeout: checkMs(options, 'attemptTimeout', 1) ?? DEFAULTS.attemptTimeout,
      dialTimeout: checkMs(options, 'dialTimeout', 1) ?? DEFAULTS.dialTimeout,
      refreshInterval: checkMs(options, 'refreshInterval', 0) ?? DEFAULTS.refreshInterval,
      heartbeatInterval: checkMs(options, 'heartbeatInterval', 0) ?? DEFAULTS.heartbeatInterval,
      heartbeatTimeout: checkMs(options, 'heartbeatTimeout', 1) ?? DEFAULTS.heartbeatTimeout,
      balance: checkBalance(options['balance']),
      maxConnectionAge: checkMs(options, 'maxConnectionAge', 1),
    },
  }
  checkUnsupported(options)
  checkCredentials(options)
  checkCollaborators(options)
  return checked
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const SERVER = "'https://host:port' without a path, a query or a user (an IPv6 address in brackets), or several of them"

function checkServer(server: unknown): readonly Endpoint[] {
  if (!Array.isArray(server)) return [seedOf('server', server)]
  const list: readonly unknown[] = server
  if (list.length === 0) throw invalidOption('server', server, SERVER)
  return unique(list.map((one, i) => seedOf(`server[${i}]`, one)))
}

function seedOf(name: string, value: unknown): Endpoint {
  const text = isRecord(value) ? value['href'] : value   // a URL, whichever realm or polyfill it is from
  const seed = typeof text === 'string' ? parseServer(text) : undefined
  if (seed === undefined) throw invalidOption(name, typeof text === 'string' ? text : value, SERVER)
  return seed
}

/**
 * Reads 'https://host:port'. Not by `new URL`, which forgives what is more likely a mistake: it takes 'https:host'
 * and backslashes, drops line breaks in the middle, and reads 0x7f.1 as 127.0.0.1.
 */
function parseServer(text: string): Endpoint | undefined {
  const authority = /^https:\/\/([^/?#@\\\s]+)\/?$/i.exec(text)?.[1]
  if (authority === undefined) return undefined
  return hostAndPort(authority) ?? hostAndPort(`${authority}:443`)
}

function checkAlternates(alternates: unknown): readonly Endpoint[] {
  if (alternates === undefined) return []
  const expected = "'host:port' (an IPv6 address in brackets)"
  if (!Array.isArray(alternates)) throw invalidOption('alternates', alternates, `an array of ${expected}`)
  const list: readonly unknown[] = alternates
  return unique(list.map((one, i) => {
    const endpoint = typeof one === 'string' ? hostAndPort(one) : undefined
    if (endpoint === undefined) throw invalidOption(`alternates[${i}]`, one, expected)
    return endpoint
  }))
}

function hostAndPort(text: string): Endpoint | undefined {
  const parsed = parseAddress(text)
  return parsed === undefined ? undefined : toEndpoint(parsed)
}

/**
 * An endpoint in its canonical form, or undefined where the value is none: a host that is an IP literal without
 * brackets or a DNS name, and a port from 1 to 65535. For endpoints that come from a caller's function or a file.
 */
export function toEndpoint(value: unknown): Endpoint | undefined {
  if (!isRecord(value)) return undefined
  const host = value['host']
  const port = value['port']
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined
  const canonical = typeof host === 'string' ? toHost(host) : undefined
  return canonical === undefined ? undefined : { host: canonical, port }
}

/**
 * A host in its canonical form, or undefined: an IP as canonicalIP writes it, a name in lower case and without the
 * dot at its end, as that one is neither in certificates nor in SNI, and the same server must not count twice.
 */
export function toHost(text: string): string | undefined {
  if (text.startsWith('[')) return undefined
  return canonicalIP(text) ?? parseAddress(`${text}:1`)?.host.replace(/\.$/, '')
}

function unique(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  return endpoints.filter((one, i) =>
    endpoints.findIndex((other) => other.host === one.host && other.port === one.port) === i)
}

function checkServername(servername: unknown): string | undefined {
  if (servername === undefined) return undefined
  const name = typeof servername === 'string' ? toHost(servername) : undefined
  if (name === undefined) throw invalidOption('servername', servername, 'a host name or an IP address, without a port')
  return name
}

function checkRejectUnauthorized(value: unknown): boolean {
  if (value === undefined) return true
  // Not even 0 or null turns verification off: whoever wants that must say exactly so.
  if (typeof value !== 'boolean') throw invalidOption('rejectUnauthorized', value, 'a boolean')
  return value
}

function checkMs(options: Readonly<Record<string, unknown>>, name: string, least: 0 | 1): number | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  const inRange = typeof value === 'number' && ((value >= 1 && value <= MAX_MS) || value === least)
  if (inRange) return value
  throw invalidOption(name, value,
    `a number of milliseconds from 1 to ${MAX_MS}${least === 0 ? ', or 0 to turn it off' : ''}`)
}

function checkBalance(value: unknown): 'sticky' | 'spread' {
  if (value === undefined) return DEFAULTS.balance
  if (value !== 'sticky' && value !== 'spread') throw invalidOption('balance', value, "'sticky' or 'spread'")
  return value
}

const PAIRS: readonly (readonly [string, string])[] = [
  ['token', 'tokenFile'], ['ca', 'caFile'], ['cert', 'certFile'], ['key', 'keyFile'],
]
const CERTS = ['cert', 'certFile']
const KEYS = ['key', 'keyFile', 'privateKeyIdentifier']

function checkCredentials(options: Readonly<Record<string, unknown>>): void {
  const { token } = options
  if (token !== undefined && typeof token !== 'function' && !isToken(token)) {
    throw invalidOption('token', token, `${TOKEN}, or a function that gives one`)
  }
  for (const name of ['tokenFile', 'caFile', 'certFile', 'keyFile']) {
    const file = options[name]
    if (file === undefined || (typeof file === 'string' && file !== '' && !file.includes('\0'))) continue
    throw invalidOption(name, file, 'the path of a file')
  }
  for (const [value, file] of PAIRS) {
    if (given(options, value) && given(options, file)) {
      throw optionError(`The options '${value}' and '${file}' exclude each other: give one of them`)
    }
  }
  checkTogether(options, CERTS, [...KEYS, 'pfx'], 'a certificate proves nothing without its key')
  checkTogether(options, ['key', 'keyFile'], [...CERTS, 'pfx'], 'a key proves nothing without its certificate')
}

function checkTogether(
  options: Readonly<Record<string, unknown>>,
  these: readonly string[],
  need: readonly string[],
  why: string,
): void {
  const present = these.find((name) => given(options, name))
  if (present === undefined || need.some((name) => given(options, name))) return
  throw optionError(`The option '${present}' needs '${need[0]}' or '${need[1]}': ${why}`)
}

/** Options of node:tls and node:http whose silent loss would trust more, or go another way, than was asked for. */
const UNSUPPORTED: readonly (readonly [string, string])[] = [
  ['checkServerIdentity', "give 'servername', or give it with the request it is for"],
  ['secureContext', "give what it was made of ('ca', 'cert', 'key', ...), or give it with the request it is for"],
  ['proxyEnv', "give 'connectSocket: throughProxy(url)' to go through a proxy"],
]

function checkUnsupported(options: Readonly<Record<string, unknown>>): void {
  for (const [name, instead] of UNSUPPORTED) {
    if (given(options, name)) throw optionError(`The option '${name}' is not supported here: ${instead}`)
  }
}

/** As node:tls sees it, null and the empty string are no certificate and no key. */
function given(options: Readonly<Record<string, unknown>>, name: string): boolean {
  const value = options[name]
  return value !== undefined && value !== null && value !== ''
}

/** What a token must be, for messages. */
export const TOKEN = 'a non-empty string of visible ASCII characters, without spaces or line breaks'

/** Whether the value can be sent as a bearer token: nothing in it can end or split the header that it is put into. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]+$/.test(value)
}

function checkCollaborators(options: Readonly<Record<string, unknown>>): void {
  for (const name of ['connectSocket', 'mapEndpoint']) {
    const value = options[name]
    if (value !== undefined && typeof value !== 'function') throw invalidOption(name, value, 'a function')
  }
  const { signal, store } = options
  if (signal !== undefined && !isSignal(signal)) throw invalidOption('signal', signal, 'an AbortSignal')
  if (store !== undefined && !isStore(store)) {
    throw invalidOption('store', store, "an object with the methods 'load' and 'save', as fileStore(path) gives")
  }
}

function isSignal(value: unknown): boolean {
  return isRecord(value) && typeof value['aborted'] === 'boolean' && typeof value['addEventListener'] === 'function'
}

function isStore(value: unknown): boolean {
  return isRecord(value) && typeof value['load'] === 'function' && typeof value['save'] === 'function'
}
