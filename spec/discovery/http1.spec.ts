// "The response" of FAULTS.md, row by row: each run whole, byte by byte and at seeded random splits.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { requestHead, ResponseParser } from '../../lib/discovery/http1.ts'
import { bytesOf, Random } from '../support/grammar.ts'
import { fuzz } from '../support/http1-fuzz.ts'
import { atRandom, byteByByte, outcomeOf } from '../support/http1-outcome.ts'
import type { Outcome } from '../support/http1-outcome.ts'

/** The name, the bytes (one character each), and the reason, or what of the response is told, or that it has no end. */
type Row = readonly [name: string, bytes: string, expected: string | Expected | typeof OPEN]
interface Expected {
  readonly status?: number
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string
  readonly reusable?: boolean
}

/** No verdict, for the owner to give when the connection ends. */
const OPEN: unique symbol = Symbol('no verdict')
const OK = 'HTTP/1.1 200 OK\r\n'
const EMPTY = 'Content-Length: 0\r\n\r\n'
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`
const MIB = 1_048_576

const STATUS_LINES: readonly Row[] = [
  ['a full status line', `${OK}${EMPTY}`, { status: 200, headers: [['content-length', '0']], body: '',
    reusable: true }],
  ['no reason phrase', `HTTP/1.1 200 \r\n${EMPTY}`, { status: 200 }],
  ['no reason phrase, nor the space before it', `HTTP/1.1 200\r\n${EMPTY}`, { status: 200 }],
  ['a reason phrase beyond ASCII', `HTTP/1.1 200 caf\xe9\t!\r\n${EMPTY}`, { status: 200 }],
  ['a reason phrase that begins with a space', `HTTP/1.1 200  OK\r\n${EMPTY}`, { status: 200 }],
  ['status 201', `HTTP/1.1 201 Created\r\n${EMPTY}`, { status: 201 }],
  ['the highest status', `HTTP/1.1 599 ?\r\n${EMPTY}`, { status: 599 }],
  ['HTP/1.1', `HTP/1.1 200 OK\r\n${EMPTY}`, 'not HTTP'],
  ['http/1.1', `http/1.1 200 OK\r\n${EMPTY}`, 'not HTTP'],
  ['HTTP/01.1', `HTTP/01.1 200 OK\r\n${EMPTY}`, 'HTTP version not supported'],
  ['HTTP/2.0', `HTTP/2.0 200 OK\r\n${EMPTY}`, 'HTTP version not supported'],
  ['HTTP/1.2', `HTTP/1.2 200 OK\r\n${EMPTY}`, 'HTTP version not supported'],
  ['HTTP/1.10', `HTTP/1.10 200 OK\r\n${EMPTY}`, 'status line malformed'],
  ['HTTP/1. and no more', `HTTP/1.\r\n${EMPTY}`, 'HTTP version not supported'],
  ['0.9: a page without any head', '<html>hello</html>', 'not HTTP'],
  ['a tab before the status', `HTTP/1.1\t200 OK\r\n${EMPTY}`, 'status line malformed'],
  ['two spaces before the status', `HTTP/1.1  200 OK\r\n${EMPTY}`, 'status line malformed'],
  ['a tab after the status', `HTTP/1.1 200\tOK\r\n${EMPTY}`, 'status line malformed'],
  ['status 2', `HTTP/1.1 2 OK\r\n${EMPTY}`, 'status line malformed'],
  ['status 20', `HTTP/1.1 20 OK\r\n${EMPTY}`, 'status line malformed'],
  ['status 2000', `HTTP/1.1 2000 OK\r\n${EMPTY}`, 'status line malformed'],
  ['status +20', `HTTP/1.1 +20 OK\r\n${EMPTY}`, 'status line malformed'],
  ['status 099', `HTTP/1.1 099 OK\r\n${EMPTY}`, 'status code out of range'],
  ['status 600', `HTTP/1.1 600 OK\r\n${EMPTY}`, 'status code out of range'],
  ['NUL in the reason', `HTTP/1.1 200 O\0K\r\n${EMPTY}`, 'NUL'],
  ['another control character in the reason', `HTTP/1.1 200 O\x1bK\r\n${EMPTY}`, 'control character'],
  ['DEL in the reason', `HTTP/1.1 200 O\x7fK\r\n${EMPTY}`, 'control character'],
  ['LF only', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n', 'bare LF'],
  ['a bare CR in the reason', `HTTP/1.1 200 O\rK\r\n${EMPTY}`, 'bare CR'],
  ['CR only', 'HTTP/1.1 200 OK\rContent-Length: 0\r\r', 'bare CR'],
  ['CR twice before LF', `HTTP/1.1 200 OK\r\r\n${EMPTY}`, 'bare CR'],
  ['a leading space', ` ${OK}${EMPTY}`, 'not HTTP'],
  ['a leading blank line', `\r\n${OK}${EMPTY}`, 'not HTTP'],
  ['a status line of 65 KiB', `HTTP/1.1 200 ${'O'.repeat(65 * 1_024)}\r\n${EMPTY}`, 'head too long'],
  ['a TLS alert in plain', '\x15\x03\x03\x00\x02\x02\x28', 'a TLS record, not HTTP'],
  ['a TLS handshake in plain', '\x16\x03\x01\x02\x00', 'a TLS record, not HTTP'],
  ['the first content type of TLS', '\x14\x03\x03', 'a TLS record, not HTTP'],
  ['the last content type of TLS', '\x17\x03\x03', 'a TLS record, not HTTP'],
  ['a control character below the content types of TLS', '\x13', 'not HTTP'],
  ['a control character above the content types of TLS', '\x18', 'not HTTP'],
  ['an SSH banner', 'SSH-2.0-OpenSSH_9.7\r\n', 'not HTTP'],
]

const HEADERS: readonly Row[] = [
  ['names in any case, values trimmed of spaces and tabs', `${OK}X-ONE: \t a b \t \r\nContent-Length:0\r\n\r\n`,
    { headers: [['x-one', 'a b'], ['content-length', '0']] }],
  ['an empty value', `${OK}X:\r\n${EMPTY}`, { headers: [['x', ''], ['content-length', '0']] }],
  ['a value of blanks', `${OK}X: \t \r\n${EMPTY}`, { headers: [['x', ''], ['content-length', '0']] }],
  ['a value beyond ASCII, its no-break spaces kept', `${OK}X: \xa0caf\xe9\xa0\r\n${EMPTY}`,
    { headers: [['x', '\xa0caf\xe9\xa0'], ['content-length', '0']] }],
  ['a colon in the value', `${OK}X: a:b\r\n${EMPTY}`, { headers: [['x', 'a:b'], ['content-length', '0']] }],
  ['a repeated header is joined', `${OK}X: a\r\nY: b\r\nx: c\r\n${EMPTY}`,
    { headers: [['x', 'a, c'], ['y', 'b'], ['content-length', '0']] }],
  ['a header named __proto__ is a header', `${OK}__proto__: x\r\nconstructor: y\r\n${EMPTY}`,
    { headers: [['__proto__', 'x'], ['constructor', 'y'], ['content-length', '0']] }],
  ['a space before the colon', `${OK}X : y\r\n${EMPTY}`, 'space before the colon'],
  ['a tab before the colon', `${OK}X\t: y\r\n${EMPTY}`, 'space before the colon'],
  ['a space in a name', `${OK}X Y: z\r\n${EMPTY}`, 'header name malformed'],
  ['a name beyond ASCII', `${OK}X\xe9: z\r\n${EMPTY}`, 'header name malformed'],
  ['an empty name', `${OK}: y\r\n${EMPTY}`, 'header without a name'],
  ['no colon', `${OK}X\r\n${EMPTY}`, 'header without a colon'],
  ['NUL in a name', `${OK}X\0Y: z\r\n${EMPTY}`, 'NUL'],
  ['NUL in a value', `${OK}X: y\0z\r\n${EMPTY}`, 'NUL'],
  ['a control character in a value', `${OK}X: y\x01z\r\n${EMPTY}`, 'control character'],
  ['CR in a value', `${OK}X: y\rContent-Length: 5\r\n${EMPTY}`, 'bare CR'],
  ['LF in a value', `${OK}X: y\nContent-Length: 5\r\n${EMPTY}`, 'bare LF'],
  ['LF only at the end of the head', `${OK}X: y\r\n\n`, 'bare LF'],
  ['a folded header', `${OK}X: y\r\n z\r\n${EMPTY}`, 'folded header'],
  ['a header folded by a tab', `${OK}X: y\r\n\tContent-Length: 5\r\n${EMPTY}`, 'folded header'],
  ['the first line folded', `${OK} X: y\r\n${EMPTY}`, 'space before the first header'],
  ['a line of one space at the end of the head', `${OK}X: y\r\n \r\n\r\n`, 'folded header'],
  ['100 headers', `${OK}${'X: y\r\n'.repeat(99)}${EMPTY}`, { body: '' }],
  ['101 headers', `${OK}${'X: y\r\n'.repeat(100)}${EMPTY}`, 'too many headers'],
  ['101 headers, some of them of interim responses',
    `HTTP/1.1 103 Hints\r\n${'X: y\r\n'.repeat(60)}\r\n${OK}${'X: y\r\n'.repeat(40)}${EMPTY}`, 'too many headers'],
  ['a value of 17 KiB', `${OK}X: ${'y'.repeat(17 * 1_024)}\r\n${EMPTY}`, 'head too long'],
  ['a name of 17 KiB', `${OK}${'X'.repeat(17 * 1_024)}: y\r\n${EMPTY}`, 'head too long'],
  ['a head of 16 KiB', padded(16_384), { body: '' }],
  ['a head of 16 KiB and a byte', padded(16_385), 'head too long'],
]

function padded(length: number): string {
  const rest = `${OK}X: \r\n${EMPTY}`
  return `${OK}X: ${'y'.repeat(length - rest.length)}\r\n${EMPTY}`
}

const LENGTHS: readonly Row[] = [
  ['a length', `${OK}Content-Length: 5\r\n\r\nhello`, { body: 'hello', reusable: true }],
  ['a length with zeros before it', `${OK}Content-Length: 005\r\n\r\nhello`, { body: 'hello' }],
  ['a length of 1 MiB', `${OK}Content-Length: ${MIB}\r\n\r\n${'x'.repeat(MIB)}`, { body: 'x'.repeat(MIB) }],
  ['a length of 1 MiB and a byte is refused before the body', `${OK}Content-Length: ${MIB + 1}\r\n\r\n`,
    'body too long'],
  ['-1', `${OK}Content-Length: -1\r\n\r\nhello`, 'Content-Length malformed'],
  ['+5', `${OK}Content-Length: +5\r\n\r\nhello`, 'Content-Length malformed'],
  ['0x5', `${OK}Content-Length: 0x5\r\n\r\nhello`, 'Content-Length malformed'],
  ['1 2', `${OK}Content-Length: 1 2\r\n\r\nhello`, 'Content-Length malformed'],
  ['5,6', `${OK}Content-Length: 5,6\r\n\r\nhello`, 'Content-Length malformed'],
  ['5, 5', `${OK}Content-Length: 5, 5\r\n\r\nhello`, 'Content-Length malformed'],
  ['two that differ', `${OK}Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello`, 'Content-Length given twice'],
  ['two that agree', `${OK}Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello`, 'Content-Length given twice'],
  ['21 digits', `${OK}Content-Length: 123456789012345678901\r\n\r\n`, 'Content-Length malformed'],
  ['21 digits, most of them zeros', `${OK}Content-Length: 000000000000000000005\r\n\r\n`, 'Content-Length malformed'],
  ['2^53', `${OK}Content-Length: 9007199254740992\r\n\r\n`, 'Content-Length malformed'],
  ['15 digits', `${OK}Content-Length: 999999999999999\r\n\r\n`, 'body too long'],
  ['empty', `${OK}Content-Length:\r\n\r\n`, 'Content-Length malformed'],
  ['digits beyond ASCII', `${OK}Content-Length: \xb2\r\n\r\n`, 'Content-Length malformed'],
  ['malformed on a status that has no body', 'HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n',
    'Content-Length malformed'],
  ['with Transfer-Encoding', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'Content-Length with Transfer-Encoding'],
  ['Transfer-Encoding in any case', `${OK}TRANSFER-ENCODING:  ChunKed \r\n\r\n0\r\n\r\n`, { body: '', reusable: true }],
  ['chunked and a tab, which parsers read in two ways', `${OK}Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding not supported'],
  ['chunked, gzip', `${OK}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`, 'Transfer-Encoding not supported'],
  ['gzip, chunked', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 'Transfer-Encoding not supported'],
  ['chunkedchunked', `${OK}Transfer-Encoding: chunkedchunked\r\n\r\n0\r\n\r\n`, 'Transfer-Encoding not supported'],
  ['chunked twice', `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding not supported'],
  ['Transfer-Encoding: identity', `${OK}Transfer-Encoding: identity\r\n\r\n`, 'Transfer-Encoding not supported'],
  ['Transfer-Encoding without a value', `${OK}Transfer-Encoding:\r\n\r\n`, 'Transfer-Encoding not supported'],
  ['HTTP/1.0 with Transfer-Encoding', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'Transfer-Encoding in HTTP/1.0'],
]

const CHUNKS: readonly Row[] = [
  ['chunks', `${CHUNKED}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`, { body: 'hello world', reusable: true }],
  ['sizes in any case, with zeros before them', `${CHUNKED}000A\r\n0123456789\r\n0b\r\n01234567890\r\n000\r\n\r\n`,
    { body: '012345678901234567890' }],
  ['every hexadecimal digit', ...everyDigit()],
  ...['/', ':', '@', '`'].map((digit): Row =>
    [`size ${digit}, next to a digit`, `${CHUNKED}${digit}\r\n`, 'chunk size malformed']),
  ['16 digits', `${CHUNKED}0000000000000001\r\nx\r\n0000000000000000\r\n\r\n`, { body: 'x' }],
  ['17 digits', `${CHUNKED}00000000000000001\r\nx\r\n0\r\n\r\n`, 'chunk size malformed'],
  ['16 digits that are too many bytes', `${CHUNKED}ffffffffffffffff\r\n`, 'body too long'],
  ['chunks of 1 MiB and a byte together', `${CHUNKED}100000\r\n${'x'.repeat(MIB)}\r\n1\r\n`, 'body too long'],
  ['CR and LF are data in a chunk', `${CHUNKED}4\r\n\r\n\r\n\r\n0\r\n\r\n`, { body: '\r\n\r\n' }],
  ['size X', `${CHUNKED}X\r\n`, 'chunk size malformed'],
  ['size G', `${CHUNKED}G\r\n`, 'chunk size malformed'],
  ['size g', `${CHUNKED}g\r\n`, 'chunk size malformed'],
  ['size -1', `${CHUNKED}-1\r\n`, 'chunk size malformed'],
  ['size 0x5', `${CHUNKED}0x5\r\nhello\r\n`, 'chunk size malformed'],
  ['size 1 A', `${CHUNKED}1 A\r\nx\r\n`, 'chunk size malformed'],
  ['a space after the size', `${CHUNKED}5 \r\nhello\r\n0\r\n\r\n`, 'chunk size malformed'],
  ['a tab after the size', `${CHUNKED}5\t\r\nhello\r\n0\r\n\r\n`, 'control character'],
  ['an empty size', `${CHUNKED}\r\nhello\r\n`, 'chunk size malformed'],
  ['an extension without a size', `${CHUNKED};a=b\r\nhello\r\n`, 'chunk size malformed'],
  ['NUL in a size', `${CHUNKED}5\0\r\nhello\r\n`, 'NUL'],
  ['LF only after the size', `${CHUNKED}5\nhello\r\n0\r\n\r\n`, 'bare LF'],
  ['CR only after the size', `${CHUNKED}5\rhello\r\n0\r\n\r\n`, 'bare CR'],
  ['LF only after the data', `${CHUNKED}5\r\nhello\n0\r\n\r\n`, 'bare LF'],
  ['CR only after the data', `${CHUNKED}5\r\nhello\r0\r\n\r\n`, 'bare CR'],
  ['a wrong footer', `${CHUNKED}5\r\nhelloXY0\r\n\r\n`, 'chunk without its end'],
  ['a tab for a footer', `${CHUNKED}5\r\nhello\t\r\n0\r\n\r\n`, 'control character'],
  ['NUL for a footer', `${CHUNKED}5\r\nhello\0\r\n0\r\n\r\n`, 'NUL'],
  ['no last chunk', `${CHUNKED}5\r\nhello\r\n`, OPEN],
  ['a last chunk without its blank line', `${CHUNKED}5\r\nhello\r\n0\r\n`, OPEN],
  ['extensions', `${CHUNKED}5;a;b=c;d="e;\\"\tf"\r\nhello\r\n0;last\r\n\r\n`, { body: 'hello' }],
  ['an extension without a name', `${CHUNKED}5;=a\r\nhello\r\n0\r\n\r\n`, 'chunk extension malformed'],
  ['an extension whose quote does not end', `${CHUNKED}5;a="b\r\nhello\r\n0\r\n\r\n`, 'chunk extension malformed'],
  ['NUL in an extension', `${CHUNKED}5;a=\0\r\nhello\r\n0\r\n\r\n`, 'NUL'],
  ['LF only after an extension', `${CHUNKED}5;a\nhello\r\n0\r\n\r\n`, 'bare LF'],
  ['an extension of 16 KiB', `${CHUNKED}5;a=${'b'.repeat(16 * 1_024)}\r\nhello\r\n0\r\n\r\n`,
    'chunk extensions too long'],
  ['endless one-byte chunks with extensions', CHUNKED + '1;a=b\r\nx\r\n'.repeat(4_000), 'chunk extensions too long'],
  ['a trailer is dropped', `${CHUNKED}0\r\nX: y\r\nContent-Length: 5\r\n\r\n`,
    { headers: [['transfer-encoding', 'chunked']], body: '', reusable: true }],
  ['a malformed trailer', `${CHUNKED}0\r\nX : y\r\n\r\n`, 'space before the colon'],
  ['a folded trailer', `${CHUNKED}0\r\n X: y\r\n\r\n`, 'folded header'],
  ['a huge trailer', `${CHUNKED}0\r\nX: ${'y'.repeat(16 * 1_024)}\r\n\r\n`, 'trailer too long'],
  ['trailers count as headers', `${CHUNKED}0\r\n${'X: y\r\n'.repeat(100)}\r\n`, 'too many headers'],
]

function everyDigit(): [string, Expected] {
  const sizes = [...'123456789abcdefABCDEF'].map((digit) => Number.parseInt(digit, 16))
  const chunks = [...'123456789abcdefABCDEF'].map((digit, at) => `${digit}\r\n${'x'.repeat(sizes[at] ?? 0)}\r\n`)
  return [`${CHUNKED}${chunks.join('')}0\r\n\r\n`, { body: 'x'.repeat(sizes.reduce((sum, size) => sum + size, 0)) }]
}

const INTERIM = 'HTTP/1.1 100 Continue\r\n\r\n'

const FLOW: readonly Row[] = [
  ['five interim responses',
    `${INTERIM.repeat(4)}HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    { status: 200, headers: [['content-length', '2']], body: 'ok', reusable: true }],
  ['six interim responses', `${INTERIM.repeat(6)}${OK}${EMPTY}`, 'too many interim responses'],
  ['an interim response with a length', `HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n${OK}${EMPTY}`,
    'interim response with a body'],
  ['a chunked interim response', `HTTP/1.1 102 P\r\nTransfer-Encoding: chunked\r\n\r\n${OK}${EMPTY}`,
    'interim response with a body'],
  ['an unsolicited 101', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
    'protocol switched unasked'],
  ['a redirect is a response like others',
    'HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n',
    { status: 302, headers: [['location', 'http://169.254.169.254/'], ['content-length', '0']], body: '' }],
  ['204 has no body', 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, body: '', reusable: true }],
  ['204 with a length of zero', `HTTP/1.1 204 No Content\r\n${EMPTY}`, { status: 204, body: '', reusable: true }],
  ['204 with a length is not trusted to have no body', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
    { status: 204, body: '', reusable: false }],
  ['a chunked 204 is not trusted either', 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    { status: 204, body: '', reusable: false }],
  ['304 has no body, whatever its length', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    { status: 304, body: '', reusable: true }],
  ['gzip', `${OK}Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello`, 'Content-Encoding not supported'],
  ['Content-Encoding: identity', `${OK}Content-Encoding: Identity\r\nContent-Length: 5\r\n\r\nhello`,
    { body: 'hello' }],
  ['EOF before anything', '', OPEN],
  ['EOF in the status line', 'HTTP/1.1 200', OPEN],
  ['EOF in the head', `${OK}Content-Length: 0\r\n`, OPEN],
  ['EOF after an interim response', INTERIM, OPEN],
  ['EOF in the body', `${OK}Content-Length: 5\r\n\r\nhell`, OPEN],
  ['EOF in a chunk', `${CHUNKED}5\r\nhell`, OPEN],
  ['EOF in a chunk size', `${CHUNKED}5`, OPEN],
  ['EOF after the end', `${OK}Content-Length: 5\r\n\r\nhello`, { body: 'hello' }],
  ['a close-delimited body', `${OK}\r\nhello`, OPEN],
  ['a close-delimited body of nothing', `${OK}\r\n`, OPEN],
  ['a close-delimited body of 1 MiB', `${OK}\r\n${'x'.repeat(MIB)}`, OPEN],
  ['a close-delimited body of 1 MiB and a byte', `${OK}\r\n${'x'.repeat(MIB + 1)}`, 'body too long'],
  ['a byte after the end', `${OK}Content-Length: 5\r\n\r\nhello!`, { body: 'hello', reusable: false }],
  ['a blank line after the end', `${OK}Content-Length: 5\r\n\r\nhello\r\n`, { body: 'hello', reusable: false }],
  ['a byte after the last chunk', `${CHUNKED}5\r\nhello\r\n0\r\n\r\n!`, { body: 'hello', reusable: false }],
  ['two responses', `${OK}Content-Length: 1\r\n\r\na${OK}Content-Length: 1\r\n\r\nb`, { body: 'a', reusable: false }],
  ['bytes after a malformed response change nothing', `HTP/1.1 200 OK\r\n${OK}${EMPTY}`, 'not HTTP'],
  ['a body in UTF-8', `${OK}Content-Length: 5\r\n\r\ncaf\xc3\xa9`, { body: 'café' }],
  ['a byte order mark is part of the body', `${OK}Content-Length: 5\r\n\r\n\xef\xbb\xbf{}`, { body: '\ufeff{}' }],
  ['a body that is not UTF-8', `${OK}Content-Length: 4\r\n\r\ncaf\xe9`, 'body not UTF-8'],
  ['a body whose last character is cut', `${OK}Content-Length: 4\r\n\r\ncaf\xc3`, 'body not UTF-8'],
  ['Connection: close', `${OK}Connection: Close\r\n${EMPTY}`, { reusable: false }],
  ['Connection: close among others', `${OK}Connection: keep-alive ,\tCLOSE\r\nConnection: x\r\n${EMPTY}`,
    { reusable: false }],
  ['Connection: closed is not close', `${OK}Connection: closed\r\n${EMPTY}`, { reusable: true }],
  ['HTTP/1.0', `HTTP/1.0 200 OK\r\n${EMPTY}`, { reusable: false }],
  ['HTTP/1.0 that keeps the connection', `HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n${EMPTY}`, { reusable: true }],
  ['HTTP/1.0 until the connection closes', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello',
    OPEN],
]

const SECTIONS = { 'Status line': STATUS_LINES, Headers: HEADERS, Length: LENGTHS, Chunks: CHUNKS, Flow: FLOW }

for (const [section, rows] of Object.entries(SECTIONS)) {
  describe(`The response: ${section}`, () => {
    for (const [name, text, expected] of rows) {
      it(`${name}: ${titleOf(expected)}, however it is split`, () => {
        const bytes = bytesOf(text)
        const whole = outcomeOf([bytes])
        assert.deepEqual(whole, { ...whole, ...asOutcome(expected) })
        assertSame(outcomeOf(byteByByte(bytes)), whole, 'byte by byte')
        for (let seed = 1; seed <= 10; seed++) {
          assertSame(outcomeOf(atRandom(bytes, new Random(seed))), whole, `split by seed ${seed}`)
        }
      })
    }
  })
}

function titleOf(expected: Row[2]): string {
  if (expected === OPEN) return 'no verdict'
  return typeof expected === 'string' ? expected : 'a response'
}

function asOutcome(expected: Row[2]): object {
  if (expected === OPEN) return { kind: 'more' }
  return typeof expected === 'string' ? { kind: 'malformed', reason: expected } : { kind: 'response', ...expected }
}

function assertSame(actual: Outcome, expected: Outcome, message: string): void {
  assert.deepEqual(actual, expected, message)
}

describe('The response: time and the connection', () => {
  it('gives every prefix of a response no verdict but the last', () => {
    for (const text of [`${OK}Content-Length: 5\r\n\r\nhello`, `${CHUNKED}5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n`]) {
      const parser = new ResponseParser()
      const kinds = [...byteByByte(bytesOf(text))].map((byte) => parser.push(byte).kind)
      assert.deepEqual(kinds, [...Array<string>(text.length - 1).fill('more'), 'response'])
    }
  })

  it('leaves one byte a second, and a close-delimited body without close_notify, to the owner: more, never a response',
    () => {
    assert.deepEqual(outcomeOf(byteByByte(bytesOf(`${OK}\r\nhello`))), { kind: 'more' })
    assert.deepEqual(outcomeOf(byteByByte(bytesOf(`${OK}X: y\r\n`))), { kind: 'more' })
  })

  it('says malformed of bytes that come after the response was given, and of the same bytes at once: not reusable',
    () => {
    const parser = new ResponseParser()
    const given = parser.push(bytesOf(`${OK}${EMPTY}`))
    assert.equal(given.kind === 'response' && given.response.reusable, true)
    assert.equal(parser.push(new Uint8Array(0)), given)
    assert.deepEqual(parser.push(bytesOf('x')), { kind: 'malformed', reason: 'bytes after the end' })
    assert.deepEqual(parser.push(bytesOf(OK)), { kind: 'malformed', reason: 'bytes after the end' })
    const atOnce = new ResponseParser().push(bytesOf(`${OK}${EMPTY}x`))
    assert.equal(atOnce.kind === 'response' && atOnce.response.reusable, false)
  })

  it('stays malformed, whatever comes', () => {
    const parser = new ResponseParser()
    const verdict = parser.push(bytesOf('x'))
    assert.deepEqual(verdict, { kind: 'malformed', reason: 'not HTTP' })
    assert.equal(parser.push(bytesOf(`${OK}${EMPTY}`)), verdict)
  })

  it('keeps no view of a chunk: its owner may reuse the buffer', () => {
    const parser = new ResponseParser()
    const chunk = bytesOf(`${OK}X: abc\r\nContent-Length: 5\r\n\r\nhel`)
    parser.push(chunk)
    chunk.fill(0)
    const verdict = parser.push(bytesOf('lo'))
    assert.equal(verdict.kind === 'response' && verdict.response.body, 'hello')
    assert.equal(verdict.kind === 'response' && verdict.response.headers.get('x'), 'abc')
  })

  it('ends 1 GiB after 1 MiB, and holds no more than that', () => {
    const parser = new ResponseParser()
    const chunk = new Uint8Array(65_536).fill(0x78)
    parser.push(bytesOf(`${OK}\r\n`))
    let sent = 0
    while (sent < 1_024 * MIB && parser.push(chunk).kind === 'more') sent += chunk.length
    assert.equal(sent, MIB)
    assert.deepEqual(parser.push(chunk), { kind: 'malformed', reason: 'body too long' })
  })

  it('ends one-byte chunks of the longest sizes within 24 MiB of wire', () => {
    const parser = new ResponseParser()
    const chunk = bytesOf('0000000000000001\r\nx\r\n'.repeat(1_000))
    parser.push(bytesOf(CHUNKED))
    let sent = 0
    while (parser.push(chunk).kind === 'more') sent += chunk.length
    assert.ok(sent < 24 * MIB, `${sent} bytes`)
    assert.deepEqual(parser.push(chunk), { kind: 'malformed', reason: 'body too long' })
  })

  it('quotes nothing of a response in a reason', () => {
    const canary = 'canary-7f3a'
    const everyRow = Object.values(SECTIONS).flat()
    for (const [, text] of everyRow) {
      const outcome = outcomeOf([bytesOf(text.replaceAll(/[a-z]{3,}/g, canary))])
      assert.ok(outcome.kind !== 'malformed' || !outcome.reason.includes(canary))
    }
  })
})

describe('The request', () => {
  it('is a GET with the headers given, in their order, and a blank line', () => {
    assert.equal(requestHead('/api?a=b', [['host', '[::1]:6443'], ['authorization', 'Bearer a.b-c']]),
      'GET /api?a=b HTTP/1.1\r\nhost: [::1]:6443\r\nauthorization: Bearer a.b-c\r\n\r\n')
    assert.equal(requestHead('/', []), 'GET / HTTP/1.1\r\n\r\n')
  })

  for (const path of ['', 'api', '/a b', '/a\r\nX: y', '/a\nb', '/\0', '/é', '/a\x7f', 'http://a/', '*']) {
    it(`refuses the path ${JSON.stringify(path)}`, () => {
      assert.throws(() => requestHead(path, []), TypeError)
    })
  }

  for (const name of ['', 'a b', 'a:', 'a\r', 'a\n', 'a\0', 'é', ' a', 'a ']) {
    it(`refuses the header name ${JSON.stringify(name)}`, () => {
      assert.throws(() => requestHead('/', [[name, 'x']]), TypeError)
    })
  }

  for (const value of ['', ' ', 'a\r\nx: y', 'a\r', 'a\n', 'a\0b', 'é', ' a', 'a ', 'a\x7f', 'a\u2028b', 'a\x1b']) {
    it(`refuses the header value ${JSON.stringify(value)}, and does not repeat it`, () => {
      const secret = `canary${value === '' ? '\n' : value}`
      assert.throws(() => requestHead('/', [['authorization', value]]), TypeError)
      assert.throws(() => requestHead('/', [['authorization', `${secret}\n`]]),
        (error) => error instanceof TypeError && /authorization/.test(error.message) && !/canary/.test(error.message))
    })
  }
})

describe('The fuzzer', () => {
  it('runs 20,000 cases and breaks no promise', (t) => {
    const seed = Date.now() % 0x1_0000_0000
    t.diagnostic(`seed ${seed}`)
    const { cases, verdicts } = fuzz({ cases: 20_000, seed })
    assert.equal(cases, 20_000)
    // A generator that no longer reaches the parser's depths would pass for a parser without faults.
    for (const verdict of ['response', 'list taken', 'list taken in part', 'malformed: chunk size malformed']) {
      assert.ok((verdicts.get(verdict) ?? 0) > 0, `no case came to "${verdict}" with seed ${seed}`)
    }
  })
})
