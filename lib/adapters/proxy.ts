/**
 * throughProxy: a `connectSocket` that goes through an HTTP proxy by CONNECT, in plain text or TLS to the proxy. One
 * stream to one endpoint is made here, and what the proxy answers is judged; which endpoint is dialled, and what a
 * failure means for it, is the dialer's business. The user and the password of the proxy are written to the proxy
 * alone: they are part of no error, and no object that is handed out holds them.
 */
import net from 'node:net'
import type { Socket } from 'node:net'
import tls from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { isIP } from '../address.ts'
import type { ConnectSocket } from '../connect/attempt.ts'
import { CONTEXT_OPTIONS } from '../connect/tls-options.ts'
import type { Endpoint } from '../core/endpoint.ts'
import { addressOf } from '../core/endpoint.ts'
import { abortError, causeText, coded, codeOf, optionError } from '../errors.ts'
import { MAX_MS } from '../options.ts'

/** TLS options for the connection to a proxy with `https:`: `ca`, `cert`, `key`, ..., as node:tls takes them. */
export interface ProxyOptions extends tls.SecureContextOptions {
  /** The name that the proxy's certificate must prove: by default the host of the URL. */
  servername?: string | undefined
  /** Whether the proxy's certificate is verified. True unless explicitly false. */
  rejectUnauthorized?: boolean | undefined
  /**
   * How long the proxy may take to open the way, in milliseconds: 4,500. It is less than the 5,000 of the dialer's
   * `attemptTimeout`, so that the error is the one that names the proxy; where that is changed, change both.
   */
  timeout?: number | undefined
}

/** As much of an answer's head as is read: that of HTTP/1.1 elsewhere in this package, and of Node's own parser. */
const MAX_HEAD = 16 * 1024
const TIMEOUT = 4_500

/** Not as a whole URL: of one, no message shows the user and the password, not even these. */
const HOW_TO_AUTHORIZE = "before the host: 'user:password@host:port'"

/** What to do where a proxy speaks SOCKS. */
export const SOCKS_ADVICE: string = "Give the option 'connectSocket' a function that connects through it. With the " +
  "package 'socks': ({ host, port }) => SocksClient.createConnection({ proxy, command: 'connect', destination: " +
  '{ host, port } }).then(({ socket }) => socket)'

interface Proxy {
  /** 'host:port', for messages. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly secure: boolean
  /** The value of Proxy-Authorization. */
  readonly authorization: string | undefined
  readonly tls: ConnectionOptions
  readonly timeout: number
}

/**
 * Makes a `connectSocket` of the URL of an HTTP proxy: `http://user:password@proxy:3128`, or `https://...` for TLS to
 * the proxy. Each stream is asked for by CONNECT, with basic authorization where the URL has a user. Its errors name
 * the proxy, the endpoint and the proxy's status (`status`), and have the code ERR_MULTIDIALER_PROXY, or that of the
 * cause where the proxy cannot be reached.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE for anything but the URL of an HTTP proxy. No error holds the URL.
 */
export function throughProxy(url: string | URL, options: ProxyOptions = {}): ConnectSocket {
  const proxy = proxyOf(url, options)
  return (endpoint, { signal }) => connect(proxy, endpoint, signal)
}

// ---- one stream

function connect(proxy: Proxy, endpoint: Endpoint, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const to = targetOf(endpoint)
    if (signal.aborted) throw abortError(signal.reason)
    const socket = proxy.secure ? tls.connect(proxy.tls) : net.connect({ host: proxy.host, port: proxy.port })
    // Until the way is open nobody depends on it but the dial, which keeps the process alive itself.
    socket.unref()
    let asked = false
    let head = Buffer.alloc(0)
    const settle = (error: Error | undefined): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.off('error', onError).off('end', onEnd).off('close', onEnd).off('readable', onReadable)
      if (error !== undefined) {
        // What it still says is of no interest.
        socket.on('error', () => {}).destroy()
        return reject(error)
      }
      socket.ref()
      resolve(socket)
    }
    const fail = (what: string): void => settle(proxyError(proxy, to, what))
    const onAbort = (): void => settle(abortError(signal.reason))
    const onError = (error: Error): void => settle(asked
      ? coded(codeOf(error) ?? 'ECONNRESET', `The proxy ${proxy.name} was asked for ${to}: ${causeText(error)}`)
      : unreachable(proxy, error))
    const onEnd = (): void => fail(asked ? 'it closed the connection and answered nothing'
      : 'it closed the connection before it was asked')
    const onReadable = (): void => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        head = Buffer.concat([head, chunk])
        const end = endOfHead(head)
        if (end === undefined && head.length <= MAX_HEAD && mayBeHead(head)) continue
        const fault = end === undefined || end > MAX_HEAD ? garbage(proxy, head) : faultOf(proxy, head.subarray(0, end))
        if (fault !== undefined) return settle(Object.assign(proxyError(proxy, to, fault.what), fault.status))
        settle(undefined)
        // A server that speaks first may have been heard already. What is left is the next one's to read.
        const rest = head.subarray(end)
        if (rest.length > 0) socket.unshift(rest)
        return
      }
    }
    const timer = setTimeout(() => settle(coded('ETIMEDOUT', `The proxy ${proxy.name} ` +
      `${asked ? 'answered nothing when it was asked for' : 'could not be reached to ask it for'} ${to} within ` +
      `${proxy.timeout} ms`)), proxy.timeout).unref()
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('error', onError).on('end', onEnd).on('close', onEnd).on('readable', onReadable)
    // Written no sooner: a socket that is connecting shows to whoever inspects it what waits to be written.
    socket.once(proxy.secure ? 'secureConnect' : 'connect', () => {
      asked = true
      socket.setNoDelay(true)
      socket.setKeepAlive(true, 5_000)
      socket.write(requestOf(proxy, to))
    })
  })
}

function requestOf({ authorization }: Proxy, to: string): string {
  const credentials = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`
  return `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n${credentials}\r\n`
}

/** 'host:port', an IPv6 address in brackets. Whatever could begin another line is refused. */
function targetOf(endpoint: Endpoint): string {
  const target = addressOf(endpoint)
  if (!/^[\x21-\x7e]+$/.test(target)) throw new TypeError('the endpoint has a host that no proxy can be asked for')
  return target
}

/** Where the head ends, the empty line included. A line may end with LF alone (RFC 9112, 2.2). */
function endOfHead(bytes: Buffer): number | undefined {
  const found = /\r?\n\r?\n/.exec(bytes.toString('latin1'))
  return found === null ? undefined : found.index + found[0].length
}

/** Whether it begins as an answer does: the rest of what does not is not waited for. */
function mayBeHead(bytes: Buffer): boolean {
  const begun = bytes.subarray(0, 5).toString('latin1')
  return 'HTTP/'.startsWith(begun)
}

interface Fault {
  readonly what: string
  readonly status?: { readonly status: number }
}

function garbage(proxy: Proxy, bytes: Buffer): Fault {
  if (mayBeHead(bytes)) return { what: `its answer has a head of more than ${MAX_HEAD} bytes, or one without an end` }
  // A record of TLS, an alert for one, begins so.
  const isTLS = !proxy.secure && (bytes[0] === 0x15 || bytes[0] === 0x16)
  return { what: `its answer is not HTTP${isTLS ? ", but TLS: its URL may have to begin with 'https:'" : ''}` }
}

/** Why the way is not open; undefined where it is. The words of the proxy are not repeated: it knows the password. */
function faultOf({ authorization }: Proxy, head: Buffer): Fault | undefined {
  const [line = ''] = head.toString('latin1').split(/\r?\n/, 1)
  const code = /^HTTP\/1\.[01] ([1-9][0-9]{2})(?: |$)/.exec(line)?.[1]
  if (code === undefined) return { what: 'its answer is not HTTP/1.1' }
  const status = Number(code)
  if (status >= 200 && status <= 299) return undefined
  return { what: `it answered ${status}${adviceFor(status, authorization !== undefined)}`, status: { status } }
}

function adviceFor(status: number, authorized: boolean): string {
  switch (status) {
    case 407:
      return authorized
        ? ': it does not take this user and password, or wants another kind of authorization than basic'
        : `: it asks for authorization. Give it in its URL, ${HOW_TO_AUTHORIZE}`
    case 403:
    case 405:
    case 501:
      return ': it does not let connections to this host and port through'
    case 502:
    case 503:
    case 504:
      return ': it cannot reach that host and port'
    default:
      return status < 200 ? ', which answers no CONNECT' : ''
  }
}

function proxyError({ name }: Proxy, to: string, what: string): Error {
  return coded('ERR_MULTIDIALER_PROXY', `The proxy ${name} was asked for ${to}: ${what}`)
}

function unreachable({ name, secure }: Proxy, error: Error): Error {
  const how = secure ? 'cannot be reached by TLS' : 'cannot be reached'
  const hint = /wrong version number|packet length too long|record layer failure/i.test(error.message)
    ? ". It does not answer in TLS: its URL may have to begin with 'http:'" : ''
  return coded(codeOf(error) ?? 'ECONNREFUSED', `The proxy ${name} ${how}: ${causeText(error)}${hint}`)
}

// ---- the URL

function proxyOf(url: unknown, options: ProxyOptions): Proxy {
  const { protocol, username, password, hostname, port, pathname, search, hash } = parsed(url)
  if (/^socks/i.test(protocol)) {
    throw optionError(`throughProxy() is for HTTP proxies, not for SOCKS. ${SOCKS_ADVICE}`)
  }
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw optionError("throughProxy() must be given a URL that begins with 'http:' or 'https:'")
  }
  if ((pathname !== '/' && pathname !== '') || search !== '' || hash !== '') {
    throw optionError("throughProxy() must be given the URL of a proxy, 'http://host:port': it has no path, query or " +
      'fragment')
  }
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const secure = protocol === 'https:'
  const number = port === '' ? (secure ? 443 : 80) : Number(port)
  if (host === '' || number === 0) {
    throw optionError('throughProxy() must be given a URL with a host, and a port that is not 0')
  }
  return {
    name: `${hostname}:${number}`,
    host,
    port: number,
    secure,
    authorization: authorizationOf(username, password),
    tls: secure ? { host, port: number, ...tlsOptionsOf(host, options) } : {},
    timeout: timeoutOf(options),
  }
}

function parsed(url: unknown): URL {
  if (url instanceof URL) return url
  if (typeof url !== 'string') throw optionError("throughProxy() must be given the URL of a proxy, 'http://host:port'")
  // 'proxy:3128' is a URL as well, of the scheme 'proxy:'.
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(url) || !URL.canParse(url)) {
    throw optionError("throughProxy() must be given a whole URL, 'http://host:port'. A user and a password go " +
      `${HOW_TO_AUTHORIZE}, each as encodeURIComponent() gives it`)
  }
  return new URL(url)
}

function authorizationOf(username: string, password: string): string | undefined {
  if (username === '' && password === '') return undefined
  const [user, secret] = [decoded(username), decoded(password)]
  if (user.includes(':')) {
    throw optionError("throughProxy() cannot use a user with ':' in it: basic authorization has no way to write it")
  }
  return `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw optionError("throughProxy() must be given a URL whose user and password are written as " +
      "encodeURIComponent() gives them: a '%' is '%25'")
  }
}

function tlsOptionsOf(host: string, options: ProxyOptions): ConnectionOptions {
  // SNI carries no IP address.
  const servername = options.servername ?? (isIP(host) === 0 ? host : '')
  return {
    secureContext: contextOf(options),
    ...(servername === '' ? {} : { servername }),
    ALPNProtocols: ['http/1.1'],
    // Always given, so that no variable of the environment has a say.
    rejectUnauthorized: options.rejectUnauthorized !== false,
  }
}

function contextOf(options: ProxyOptions): tls.SecureContext {
  const given = CONTEXT_OPTIONS.map((name): [string, unknown] => [name, Reflect.get(options, name)])
  try {
    return tls.createSecureContext(
      Object.fromEntries(given.filter(([, value]) => value !== undefined && value !== null)))
  } catch (error) {
    // Node's message of a wrong type repeats the value, which may be a key.
    const cause = causeText(error).replace(/\.? Received .*$/, '')
    throw optionError(`The TLS options given to throughProxy() cannot be used: ${cause}`)
  }
}

function timeoutOf({ timeout = TIMEOUT }: ProxyOptions): number {
  if (typeof timeout === 'number' && timeout > 0 && timeout <= MAX_MS) return timeout
  throw optionError(`The option 'timeout' of throughProxy() must be a number of milliseconds up to ${MAX_MS}`)
}
