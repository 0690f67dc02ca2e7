/**
 * One HTTP/1.1 exchange, seen from the client: the head of a GET, and a parser for the response to it.
 *
 * The parser is a pure object: bytes in, a verdict out. No socket, no clock and no retry lives here; a response that
 * takes too long is ended by whoever owns the connection. It is strict where RFC 9112 lets a recipient be lenient,
 * for every leniency is one more way for two parsers to see two different responses, and no apiserver needs any:
 * no bare LF or CR, no folded header, no whitespace round chunk sizes, one Content-Length, no transfer coding but
 * `chunked`, no content coding, nothing but UTF-8 in the body, no switch of protocols.
 *
 * The verdict is a function of the bytes, not of how they were split into chunks. Each error is decided by one certain
 * byte, and the first one wins. A response is given by its last byte, without waiting for what may follow. Bytes after
 * it do not take it back, but the connection must not carry another request: if they came in the same chunk,
 * `reusable` is false; if they come later, `push` says `malformed`, 'bytes after the end', and the owner discards the
 * connection. Response and fate of the connection are thus the same in both cases. An owner that keeps a connection
 * for the next request has no parser for it meanwhile; any byte that arrives then is a response before its request,
 * and the owner discards the connection as well.
 *
 * Everything is bounded. Status lines, headers (also those of interim responses), chunk extensions and trailers share
 * 16 KiB and 100 headers; the body has 1 MiB; a chunk size has 16 digits, and a chunk at least one byte of body. So no
 * response is longer than some 22 MiB on the wire, memory stays below 4 MiB, and the work is linear in the bytes.
 *
 * A reason never quotes the response: a server may echo the request, and with it a token.
 */

/** A complete response. Header names are lower case; the values of a repeated header are joined with ', '. */
export interface Response {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  /** Whether the connection may carry another request. */
  readonly reusable: boolean
}

export type Malformed =
  | 'a TLS record, not HTTP'
  | 'not HTTP'
  | 'HTTP version not supported'
  | 'status line malformed'
  | 'status code out of range'
  | 'protocol switched unasked'
  | 'too many interim responses'
  | 'interim response with a body'
  | 'NUL'
  | 'control character'
  | 'bare CR'
  | 'bare LF'
  | 'head too long'
  | 'too many headers'
  | 'space before the first header'
  | 'folded header'
  | 'header without a colon'
  | 'header without a name'
  | 'space before the colon'
  | 'header name malformed'
  | 'Content-Length malformed'
  | 'Content-Length given twice'
  | 'Content-Length with Transfer-Encoding'
  | 'Transfer-Encoding not supported'
  | 'Transfer-Encoding in HTTP/1.0'
  | 'Content-Encoding not supported'
  | 'chunk size malformed'
  | 'chunk extension malformed'
  | 'chunk extensions too long'
  | 'chunk without its end'
  | 'trailer too long'
  | 'body too long'
  | 'body not UTF-8'
  | 'closed before the response'
  | 'closed in the head'
  | 'closed in the body'
  | 'bytes after the end'

/** 'more': no verdict yet. The other two are final. */
export type Verdict =
  | { readonly kind: 'more' }
  | { readonly kind: 'response'; readonly response: Response }
  | { readonly kind: 'malformed'; readonly reason: Malformed }

/** Bytes of all that is not body: as Node's own default for a head (--max-http-header-size). */
const HEAD_LIMIT = 16_384
/** Headers and trailers: as h11, Apache and nginx; Go has no such limit, Node has 2,000. */
const FIELD_LIMIT = 100
/** Bytes of body: a list of 64 apiservers is under 20 KiB. */
const BODY_LIMIT = 1_048_576
/** Interim responses: as Go's net/http client. */
const INTERIM_LIMIT = 5
/** Hexadecimal digits of a chunk size: 64 bits, as llhttp. */
const SIZE_DIGITS = 16

const HTAB = 0x09, LF = 0x0a, CR = 0x0d, SPACE = 0x20, SEMICOLON = 0x3b, DEL = 0x7f

const MORE: Verdict = Object.freeze({ kind: 'more' })
const NOTHING = new Uint8Array(0)
const START = 'HTTP/1.'
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const EXTENSIONS = /^(?:;[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*"))?)+$/

type Line = 'status' | 'header' | 'chunk size' | 'chunk end' | 'trailer'
type Body = 'sized' | 'chunk' | 'until close'

/** Parses one response to a GET. Give it the bytes as they come; stop at the first verdict that is not 'more'. */
export class ResponseParser {
  #verdict: Verdict = MORE
  #next: Line | Body = 'status'

  #line: Uint8Array = new Uint8Array(256)
  #lineLength = 0
  #afterCR = false
  #inExtension = false
  #headBytes = 0

  #interims = 0
  #minor = '1'
  #status = 0
  #fields = 0
  #headers = new Map<string, string>()

  #body: Uint8Array = NOTHING
  #bodyLength = 0
  #remaining = 0

  /** Takes the next bytes. After a response, any further byte is `malformed`; after `malformed`, bytes are ignored. */
  push(chunk: Uint8Array): Verdict {
    if (this.#isSettled()) {
      if (chunk.length > 0 && this.#verdict.kind === 'response') this.#fail('bytes after the end')
      return this.#verdict
    }
    let at = 0
    while (at < chunk.length && !this.#isSettled()) at = this.#read(chunk, at)
    if (at < chunk.length) this.#discardConnection()
    return this.#verdict
  }

  /**
   * The peer has closed its side cleanly (over TLS: with close_notify). Without that, do not call it: a body that ends
   * with the connection could have been cut short by anybody.
   */
  end(): Verdict {
    if (this.#isSettled()) return this.#verdict
    if (this.#next === 'until close') this.#complete(false)
    else if (this.#next === 'status' && this.#headBytes === 0) this.#fail('closed before the response')
    else if (this.#next === 'status' || this.#next === 'header') this.#fail('closed in the head')
    else this.#fail('closed in the body')
    return this.#verdict
  }

  #isSettled(): boolean {
    return this.#verdict.kind !== 'more'
  }

  #fail(reason: Malformed): void {
    this.#settle({ kind: 'malformed', reason })
  }

  #settle(verdict: Verdict): void {
    this.#verdict = verdict
    this.#line = NOTHING
    this.#body = NOTHING
  }

  #discardConnection(): void {
    if (this.#verdict.kind !== 'response') return
    this.#verdict = { kind: 'response', response: { ...this.#verdict.response, reusable: false } }
  }

  /** Reads from `at` on, up to the end of a line or of a piece of body; returns where it stopped. */
  #read(chunk: Uint8Array, at: number): number {
    switch (this.#next) {
      case 'sized':
      case 'chunk':
        return this.#readBody(chunk.subarray(at, at + this.#remaining), at)
      case 'until close':
        return this.#readBody(chunk.subarray(at), at)
      case 'status':
      case 'header':
      case 'chunk size':
      case 'chunk end':
      case 'trailer':
        return this.#readLine(this.#next, chunk, at)
    }
  }

  #readLine(kind: Line, chunk: Uint8Array, at: number): number {
    let next = at
    for (const byte of chunk.subarray(at)) {
      next++
      const error = this.#errorAt(kind, byte)
      if (error !== undefined) {
        this.#fail(error)
        return next
      }
      if (byte === LF) {
        this.#endLine(kind)
        return next
      }
      if (byte === CR) this.#afterCR = true
      else this.#keep(byte)
    }
    return next
  }

  /** What is wrong with this byte at this place of a line; counts it against the limit of the head. */
  #errorAt(kind: Line, byte: number): Malformed | undefined {
    if (kind === 'status' && this.#lineLength < START.length) {
      if (byte !== START.charCodeAt(this.#lineLength)) return notHTTP(this.#lineLength, byte)
    }
    if (kind === 'chunk size' && byte === SEMICOLON && this.#lineLength > 0) this.#inExtension = true
    const isFree = kind === 'chunk end' || kind === 'chunk size' && !this.#inExtension
    if (!isFree && ++this.#headBytes > HEAD_LIMIT) return tooLong(kind)
    if (byte === LF) return this.#afterCR ? undefined : 'bare LF'
    if (this.#afterCR) return 'bare CR'
    if (byte === CR || byte === HTAB && !isFree) return undefined
    if (byte === 0) return 'NUL'
    if (byte < SPACE || byte === DEL) return 'control character'
    if (kind === 'chunk end') return 'chunk without its end'
    if (isFree && (this.#lineLength === SIZE_DIGITS || !isHexDigit(byte))) return 'chunk size malformed'
    return undefined
  }

  #keep(byte: number): void {
    if (this.#lineLength === this.#line.length) this.#line = grown(this.#line, this.#lineLength * 2)
    this.#line[this.#lineLength++] = byte
  }

  #endLine(kind: Line): void {
    // Latin-1, as header values have always been read; TextDecoder's 'latin1' is windows-1252 and will not do.
    const line: string = Reflect.apply(String.fromCharCode, undefined, this.#line.subarray(0, this.#lineLength))
    this.#lineLength = 0
    this.#afterCR = false
    this.#inExtension = false
    switch (kind) {
      case 'status':
        return this.#endStatus(line)
      case 'header':
        return line === '' ? this.#endHead() : this.#endField(line, this.#headers)
      case 'chunk size':
        return this.#endChunkSize(line)
      case 'chunk end':
        this.#next = 'chunk size'
        return
      case 'trailer':
        return line === '' ? this.#complete(true) : this.#endField(line)
    }
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

  /** A header is kept; a trailer, without `headers`, must be well-formed too, and is dropped. */
  #endField(line: string, headers?: Map<string, string>): void {
    const error = errorOfField(line, headers?.size === 0)
    if (error !== undefined) return this.#fail(error)
    if (++this.#fields > FIELD_LIMIT) return this.#fail('too many headers')
    if (headers === undefined) return
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = trimmed(line.slice(colon + 1))
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
    else if (length === undefined) this.#next = 'until close'
    else this.#expectBody('sized', Number(length))
  }

  #endChunkSize(line: string): void {
    const semicolon = line.indexOf(';')
    const digits = semicolon === -1 ? line : line.slice(0, semicolon)
    if (digits === '') return this.#fail('chunk size malformed')
    if (semicolon !== -1 && !EXTENSIONS.test(line.slice(semicolon))) return this.#fail('chunk extension malformed')
    const size = Number.parseInt(digits, 16)
    if (size === 0) this.#next = 'trailer'
    else this.#expectBody('chunk', size)
  }

  #expectBody(kind: Body, length: number): void {
    if (this.#bodyLength + length > BODY_LIMIT) return this.#fail('body too long')
    if (length === 0) return this.#complete(true)
    this.#next = kind
    this.#remaining = length
  }

  #readBody(piece: Uint8Array, at: number): number {
    const length = this.#bodyLength + piece.length
    if (length > BODY_LIMIT) this.#fail('body too long')
    else this.#append(piece, length)
    return at + piece.length
  }

  #append(piece: Uint8Array, length: number): void {
    // Grown by what has come, not by what was announced: a Content-Length alone costs the peer nothing.
    if (length > this.#body.length) {
      this.#body = grown(this.#body, Math.min(Math.max(length, this.#bodyLength * 2, 1_024), BODY_LIMIT))
    }
    this.#body.set(piece, this.#bodyLength)
    this.#bodyLength = length
    if (this.#next === 'until close') return
    this.#remaining -= piece.length
    if (this.#remaining > 0) return
    if (this.#next === 'sized') this.#complete(true)
    else this.#next = 'chunk end'
  }

  #complete(isDelimited: boolean): void {
    const body = decoded(this.#body.subarray(0, this.#bodyLength))
    if (body === undefined) return this.#fail('body not UTF-8')
    const headers = this.#headers
    const reusable = isDelimited && isPersistent(headers.get('connection'), this.#minor)
    this.#settle({ kind: 'response', response: { status: this.#status, headers, body, reusable } })
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

function isHexDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39 || byte >= 0x41 && byte <= 0x46 || byte >= 0x61 && byte <= 0x66
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

/** RFC 9112, 9.3: HTTP/1.1 persists unless told to close, HTTP/1.0 only if told to keep alive. */
function isPersistent(connection: string | undefined, minor: string): boolean {
  const options = connection === undefined ? [] : connection.toLowerCase().split(',').map(trimmed)
  if (options.includes('close')) return false
  return minor === '1' || options.includes('keep-alive')
}

/** Without spaces and tabs at its ends. `trim` would take more (0xa0), and a regular expression quadratic time. */
function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (start < end && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === SPACE || code === HTAB
}

function grown(bytes: Uint8Array, length: number): Uint8Array {
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
