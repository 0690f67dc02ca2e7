/**
 * One HTTP/1.1 exchange, seen from the client: the head of a GET, and a parser for the response to it.
 *
 * The parser is a pure object: bytes in, a verdict out. No socket, no clock and no retry lives here; the owner of the
 * connection ends a response that takes too long. It is strict where RFC 9112 lets a recipient be lenient, as every
 * leniency is one more way for two parsers to see two different responses, and no apiserver needs any. A body that only
 * the end of the connection delimits never becomes a response: node:tls does not say whether close_notify came.
 *
 * The verdict is a function of the bytes, not of how they were split into chunks. Each error is decided by one certain
 * byte, and the first one wins. A response is given by its last byte. Bytes after it do not take it back, but the owner
 * must discard the connection: `reusable` is false if they came in the same chunk; if they come later, `push` says so.
 *
 * Everything is bounded. Status lines, headers (also those of interim responses), chunk extensions and trailers share
 * 16 KiB and 100 headers; the body has 1 MiB; a chunk size has 16 digits, and a chunk at least one byte of body. So no
 * response is longer than 22 MiB on the wire, memory stays below 4 MiB, and the work is linear in the bytes.
 *
 * A reason never quotes the response: a server may echo the request, and with it a token.
 */
import { isUtf8 } from 'node:buffer'

/** A complete response. Header names are lower case; the values of a repeated header are joined with ', '. */
export interface Response {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  /** Whether the connection may carry another request. */
  readonly reusable: boolean
}

export type Malformed =
  | 'a TLS record, not HTTP' | 'not HTTP' | 'HTTP version not supported'
  | 'status line malformed' | 'status code out of range'
  | 'protocol switched unasked' | 'too many interim responses' | 'interim response with a body'
  | 'NUL' | 'control character' | 'bare CR' | 'bare LF' | 'head too long' | 'too many headers'
  | 'space before the first header' | 'folded header' | 'header without a colon' | 'header without a name'
  | 'space before the colon' | 'header name malformed'
  | 'Content-Length malformed' | 'Content-Length given twice' | 'Content-Length with Transfer-Encoding'
  | 'Transfer-Encoding not supported' | 'Transfer-Encoding in HTTP/1.0' | 'Content-Encoding not supported'
  | 'chunk size malformed' | 'chunk extension malformed' | 'chunk extensions too long' | 'chunk without its end'
  | 'trailer too long' | 'body too long' | 'body not UTF-8' | 'bytes after the end'

/** 'more': no verdict yet. The other two are final. */
export type Verdict =
  | { readonly kind: 'more' }
  | { readonly kind: 'response'; readonly response: Response }
  | { readonly kind: 'malformed'; readonly reason: Malformed }

const HEAD_LIMIT = 16_384 // bytes of all that is not body: Node's own default for a head (--max-http-header-size)
const FIELD_LIMIT = 100 // headers and trailers: as h11, Apache and nginx; Go has no such limit, Node has 2,000
const BODY_LIMIT = 1_048_576 // bytes: a list of 64 apiservers is under 20 KiB
const INTERIM_LIMIT = 5 // interim responses: as Go's net/http client
const SIZE_DIGITS = 16 // hexadecimal digits of a chunk size: 64 bits, as llhttp

const HTAB = 0x09, LF = 0x0a, CR = 0x0d, SPACE = 0x20, SEMICOLON = 0x3b, DEL = 0x7f

const NOTHING = Buffer.alloc(0)
const START = 'HTTP/1.'
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const EXTENSIONS = /^(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*"))?)*$/
/** What is left without spaces and tabs at the ends: `trim` would take 0xa0 too. Linear, whatever is in between. */
const TRIMMED = /[^ \t](?:.*[^ \t])?/
const CLOSE = /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i
const KEEP_ALIVE = /(?:^|,)[ \t]*keep-alive[ \t]*(?:,|$)/i

type Line = 'status' | 'header' | 'chunk size' | 'chunk end' | 'trailer'

/** Parses one response to a GET. Give it the bytes as they come; stop at the first verdict that is not 'more'. */
export class ResponseParser {
  #verdict: Verdict = { kind: 'more' }
  #next: Line | 'body' = 'status'

  /** The line that is being read, in Latin-1, as header values have always been read. */
  #line = ''
  #afterCR = false
  #inExtension = false
  #headBytes = 0

  #interims = 0
  #minor = '1'
  #status = 0
  #fields = 0
  #headers = new Map<string, string>()

  #body: Buffer = NOTHING
  #bodyLength = 0
  /** Bytes until the end of the body or chunk; Infinity where only the end of the connection delimits it. */
  #remaining = 0

  /** Takes the next bytes. After a response, any further byte is `malformed`; after `malformed`, bytes are ignored. */
  push(chunk: Uint8Array): Verdict {
    if (chunk.length > 0 && this.#verdict.kind === 'response') this.#fail('bytes after the end')
    let at = 0
    while (at < chunk.length && this.#verdict.kind === 'more') {
      at = this.#next === 'body' ? this.#readBody(chunk, at) : this.#readLine(this.#next, chunk, at)
    }
    if (at < chunk.length && this.#verdict.kind === 'response') {
      this.#verdict = { kind: 'response', response: { ...this.#verdict.response, reusable: false } }
    }
    return this.#verdict
  }

  #fail(reason: Malformed): void {
    this.#verdict = { kind: 'malformed', reason }
  }

  /** Reads from `from` on, up to the end of the line or of the chunk; returns where it stopped. */
  #readLine(kind: Line, chunk: Uint8Array, from: number): number {
    let at = from
    for (const byte of chunk.subarray(from)) {
      at++
      const error = this.#errorAt(kind, byte)
      if (error !== undefined) this.#fail(error)
      else if (byte === LF) this.#endLine(kind)
      else if (byte === CR) this.#afterCR = true
      else this.#line += String.fromCharCode(byte)
      if (error !== undefined || byte === LF) break
    }
    return at
  }

  /** What is wrong with this byte at this place of a line; counts it against the limit of the head. */
  #errorAt(kind: Line, byte: number): Malformed | undefined {
    const { length } = this.#line
    if (kind === 'status' && length < START.length && byte !== START.charCodeAt(length)) return notHTTP(length, byte)
    if (kind === 'chunk size' && byte === SEMICOLON && length > 0) this.#inExtension = true
    const isFree = kind === 'chunk end' || kind === 'chunk size' && !this.#inExtension
    if (!isFree && ++this.#headBytes > HEAD_LIMIT) return tooLong(kind)
    if (byte === LF) return this.#afterCR ? undefined : 'bare LF'
    if (this.#afterCR) return 'bare CR'
    if (byte === CR || byte === HTAB && !isFree) return undefined
    if (byte === 0) return 'NUL'
    if (byte < SPACE || byte === DEL) return 'control character'
    if (kind === 'chunk end') return 'chunk without its end'
    const isDigit = length < SIZE_DIGITS && /[0-9a-f]/i.test(String.fromCharCode(byte))
    return isFree && !isDigit ? 'chunk size malformed' : undefined
  }

  #endLine(kind: Line): void {
    const line = this.#line
    this.#line = ''
    this.#afterCR = false
    this.#inExtension = false
    if (kind === 'status') this.#endStatus(line)
    else if (kind === 'chunk size') this.#endChunkSize(line)
    else if (kind === 'chunk end') this.#next = 'chunk size'
    else if (line !== '') this.#endField(kind, line)
    else if (kind === 'header') this.#endHead()
    else this.#complete(true)
  }

  #endStatus(line: string): void {
    this.#minor = line.charAt(START.length)
    if (this.#minor !== '0' && this.#minor !== '1') return this.#fail('HTTP version not supported')
    // The space after the code is due even where no reason follows, but many servers leave it out.
    if (!/^ [0-9]{3}(?: |$)/.test(line.slice(8))) return this.#fail('status line malformed')
    this.#status = Number(line.slice(9, 12))
    if (this.#status < 100 || this.#status > 599) return this.#fail('status code out of range')
    if (this.#status === 101) return this.#fail('protocol switched unasked')
    if (this.#status < 200 && ++this.#interims > INTERIM_LIMIT) return this.#fail('too many interim responses')
    this.#headers = new Map()
    this.#next = 'header'
  }

  /** Keeps a header. A trailer must be well-formed too, and is dropped. */
  #endField(kind: 'header' | 'trailer', line: string): void {
    const headers = this.#headers
    const error = errorOfField(line, kind === 'header' && headers.size === 0)
    if (error !== undefined) return this.#fail(error)
    if (++this.#fields > FIELD_LIMIT) return this.#fail('too many headers')
    if (kind === 'trailer') return
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = TRIMMED.exec(line.slice(colon + 1))?.[0] ?? ''
    // Parsers differ in whether `chunked` and a tab is `chunked`: llhttp would read such a body until the close.
    if (name === 'transfer-encoding' && line.includes('\t')) return this.#fail('Transfer-Encoding not supported')
    const before = headers.get(name)
    if (before !== undefined && name === 'content-length') return this.#fail('Content-Length given twice')
    headers.set(name, before === undefined ? value : `${before}, ${value}`)
  }

  #endHead(): void {
    const error = errorOfHead(this.#headers, this.#minor)
    if (error !== undefined) return this.#fail(error)
    const length = this.#headers.get('content-length')
    const isChunked = this.#headers.has('transfer-encoding')
    if (this.#status < 200) {
      if (length !== undefined || isChunked) return this.#fail('interim response with a body')
      this.#next = 'status'
      return
    }
    if (this.#status === 304) return this.#complete(true) // its Content-Length is that of the body not sent
    if (this.#status === 204) return this.#complete(!isChunked && Number(length ?? 0) === 0)
    if (isChunked) this.#next = 'chunk size'
    else if (Number(length) === 0) this.#complete(true)
    else this.#expectBody(length === undefined ? Infinity : Number(length))
  }

  #endChunkSize(line: string): void {
    const [digits = ''] = line.split(';', 1)
    if (digits === '') return this.#fail('chunk size malformed')
    if (!EXTENSIONS.test(line.slice(digits.length))) return this.#fail('chunk extension malformed')
    const size = Number.parseInt(digits, 16)
    if (size === 0) this.#next = 'trailer'
    else this.#expectBody(size)
  }

  #expectBody(length: number): void {
    if (length !== Infinity && this.#bodyLength + length > BODY_LIMIT) return this.#fail('body too long')
    this.#next = 'body'
    this.#remaining = length
  }

  /** Reads from `from` on, up to the end of the body or of the chunk; returns where it stopped. */
  #readBody(chunk: Uint8Array, from: number): number {
    const piece = chunk.subarray(from, from + this.#remaining)
    const length = this.#bodyLength + piece.length
    if (length > BODY_LIMIT) {
      this.#fail('body too long')
      return chunk.length
    }
    // Grown by what has come, not by what was announced: a Content-Length alone costs the peer nothing.
    if (length > this.#body.length) {
      const larger = Buffer.alloc(Math.min(Math.max(length, this.#bodyLength * 2, 1_024), BODY_LIMIT))
      larger.set(this.#body)
      this.#body = larger
    }
    this.#body.set(piece, this.#bodyLength)
    this.#bodyLength = length
    this.#remaining -= piece.length
    if (this.#remaining === 0 && this.#headers.has('transfer-encoding')) this.#next = 'chunk end'
    else if (this.#remaining === 0) this.#complete(true)
    return from + piece.length
  }

  /** Gives the response. Where it should have a body by its head and has none, the connection is of no more use. */
  #complete(isDelimited: boolean): void {
    const bytes = this.#body.subarray(0, this.#bodyLength)
    if (!isUtf8(bytes)) return this.#fail('body not UTF-8')
    const connection = this.#headers.get('connection') ?? ''
    // RFC 9112, 9.3: HTTP/1.1 persists unless told to close, HTTP/1.0 only if told to keep alive.
    const persists = !CLOSE.test(connection) && (this.#minor === '1' || KEEP_ALIVE.test(connection))
    const reusable = isDelimited && persists
    const response = { status: this.#status, headers: this.#headers, body: bytes.toString(), reusable }
    this.#verdict = { kind: 'response', response }
  }
}

/**
 * The head of a GET, in full, with the blank line at its end. Nothing is added: `host` and `accept-encoding: identity`
 * are for the caller to give. Throws TypeError for a path that is not visible ASCII from its `/` on, a name that is no
 * token, a value with anything but visible ASCII and single spaces or tabs inside; its message never has the value.
 */
export function requestHead(path: string, headers: readonly (readonly [string, string])[]): string {
  if (!/^\/[\x21-\x7e]*$/.test(path)) throw new TypeError('The path must start with / and be visible ASCII')
  const lines = [`GET ${path} HTTP/1.1`]
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw new TypeError('A header name must be a token')
    if (!/^[\x21-\x7e]+(?:[ \t][\x21-\x7e]+)*$/.test(value)) {
      throw new TypeError(`The value of the header ${name} must be visible ASCII`)
    }
    lines.push(`${name}: ${value}`)
  }
  return `${lines.join('\r\n')}\r\n\r\n`
}

function notHTTP(index: number, byte: number): Malformed {
  // Content types of TLS records: change_cipher_spec, alert, handshake, application_data.
  if (index === 0 && byte >= 0x14 && byte <= 0x17) return 'a TLS record, not HTTP'
  return index >= 'HTTP/'.length ? 'HTTP version not supported' : 'not HTTP'
}

function tooLong(kind: Line): Malformed {
  if (kind === 'trailer') return 'trailer too long'
  return kind === 'chunk size' ? 'chunk extensions too long' : 'head too long'
}

function errorOfField(line: string, isFirst: boolean): Malformed | undefined {
  if (/^[ \t]/.test(line)) return isFirst ? 'space before the first header' : 'folded header'
  const colon = line.indexOf(':')
  if (colon === -1) return 'header without a colon'
  if (colon === 0) return 'header without a name'
  const name = line.slice(0, colon)
  if (TOKEN.test(name)) return undefined
  return /[ \t]$/.test(name) ? 'space before the colon' : 'header name malformed'
}

function errorOfHead(headers: ReadonlyMap<string, string>, minor: string): Malformed | undefined {
  const length = headers.get('content-length')
  const transfer = headers.get('transfer-encoding')
  const content = headers.get('content-encoding')
  if (transfer !== undefined) {
    if (length !== undefined) return 'Content-Length with Transfer-Encoding'
    if (minor === '0') return 'Transfer-Encoding in HTTP/1.0'
    if (transfer.toLowerCase() !== 'chunked') return 'Transfer-Encoding not supported'
  }
  // 15 digits are exact in a double; what is longer is longer than any body, or a puzzle of leading zeros.
  if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) return 'Content-Length malformed'
  if (content !== undefined && content.toLowerCase() !== 'identity') return 'Content-Encoding not supported'
  return undefined
}
