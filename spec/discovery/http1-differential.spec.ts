// The parser against Node's own (llhttp), on generated responses: what both accept means the same to both, and what
// only one accepts is of a class that is listed here with its reason. A class that is not listed fails.
//
// Both get the same bytes and then a clean close, in one process and over no network: Node through http.request on a
// stream that answers as soon as the request is written.

import '../support/patient.ts'
import assert from 'node:assert/strict'
import http from 'node:http'
import { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import { ResponseParser } from '../../lib/discovery/http1.ts'
import { bytesOf, mutated, Random, responseText } from '../support/grammar.ts'
import { byteByByte, outcomeOf } from '../support/http1-outcome.ts'
import type { Outcome } from '../support/http1-outcome.ts'

const CASES = Number(process.env['DIFFERENTIAL_CASES'] ?? 4_000)
const SEED = Number(process.env['DIFFERENTIAL_SEED'] ?? 1)

/**
 * What only one of them accepts, by our reason or by the code of Node's error, and why that is as it should be.
 * Which of them come up depends on the version of Node: llhttp has become stricter over time.
 */
const CLASSES: Readonly<Record<string, string>> = {
  'only Node: more': 'a body that only the end of the connection delimits: it could have been cut short by anybody',
  'only Node: not HTTP': 'RFC 9112, 2.2 lets a server skip blank lines, not a client',
  'only Node: HTTP version not supported': 'llhttp reads 0.9 and 2.0 in a status line; neither has one',
  'only Node: status code out of range': 'RFC 9110, 15: 600 to 999 are invalid; a client would have to guess',
  'only Node: protocol switched unasked': 'a 101 without an Upgrade header is an ordinary response to llhttp',
  'only Node: too many interim responses': 'Node skips any number of them; here the number is bounded',
  'only Node: interim response with a body': 'RFC 9110, 8.6 and RFC 9112, 6.1 forbid it; Node ignores its framing',
  'only Node: too many headers': 'Node allows 2,000 headers, here it is 100',
  'only Node: NUL': 'RFC 9110, 5.5 forbids it; llhttp lets any byte but CR and LF pass in a reason phrase',
  'only Node: control character': 'RFC 9110, 5.5 forbids them in values; llhttp lets them pass in a reason phrase',
  'only Node: bare CR': 'llhttp takes CR CR LF, or CR alone, at some ends of lines',
  'only Node: Content-Length malformed': 'llhttp takes 16 digits and more if the number fits 64 bits',
  'only Node: Transfer-Encoding not supported': 'llhttp takes any body that ends with the connection',
  'only Node: Transfer-Encoding in HTTP/1.0': 'RFC 9112, 6.1: the framing of such a message is to be treated as faulty',
  'only Node: Content-Encoding not supported': 'Node leaves the coding to its user; nobody here decodes it',
  'only Node: chunk size malformed': 'llhttp takes blanks after a size, and more than 16 digits',
  'only Node: chunk extension malformed': 'llhttp does not look at extensions closely',
  'only Node: body not UTF-8': 'Node hands on bytes; here the body is text',
  'only ours: bytes after the end': 'here they cost the connection, with Node the response as well',
  'only ours: HPE_INVALID_CONTENT_LENGTH': 'a Content-Length in a trailer: trailers are dropped here',
  'only ours: HPE_CLOSED_CONNECTION': 'Connection: close in an interim response: here the final one decides',
}

type NodeOutcome =
  | { readonly kind: 'refused'; readonly code: string }
  | {
      readonly kind: 'response'
      readonly status: number
      readonly headers: readonly (readonly [string, string])[]
      readonly body: string
      readonly persists: boolean
    }

/** What a client of node:http gets to see. */
function outcomeOfNode(bytes: Uint8Array): Promise<NodeOutcome> {
  const socket = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      socket.push(bytes)
      socket.push(null)
      done()
    },
  })
  const request = http.get({ createConnection: () => socket, host: 'a', headers: { connection: 'keep-alive' } })
  return new Promise((resolve) => {
    const refuse = (code: string): void => resolve({ kind: 'refused', code })
    request.on('error', (error: NodeJS.ErrnoException) => refuse(error.code ?? error.message))
    request.on('upgrade', (_response, upgraded) => {
      upgraded.destroy()
      refuse('upgraded')
    })
    request.on('response', (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => pieces.push(piece))
      response.on('error', (error: NodeJS.ErrnoException) => refuse(error.code ?? error.message))
      response.on('end', () => resolve({
        kind: 'response',
        status: response.statusCode ?? 0,
        headers: joined(response.rawHeaders),
        body: Buffer.concat(pieces).toString(),
        persists: request.shouldKeepAlive,
      }))
    })
  })
}

function joined(raw: readonly string[]): readonly (readonly [string, string])[] {
  const headers = new Map<string, string>()
  for (let at = 0; at < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2)
    const before = headers.get(name.toLowerCase())
    headers.set(name.toLowerCase(), before === undefined ? value : `${before}, ${value}`)
  }
  return [...headers]
}

/** The class of the difference; undefined when both refuse, or accept and mean the same. */
function difference(bytes: Uint8Array, ours: Outcome, nodes: NodeOutcome): string | undefined {
  if (ours.kind === 'response' && nodes.kind === 'response') {
    const { reusable, ...same } = ours
    const { persists, ...alike } = nodes
    assert.deepEqual(same, alike)
    assert.ok(persists || !reusable, 'kept here, and closed by Node')
    return undefined
  }
  if (ours.kind === 'response' && nodes.kind === 'refused') {
    return lengthOf(bytes) < bytes.length ? 'only ours: bytes after the end' : `only ours: ${nodes.code}`
  }
  if (nodes.kind === 'refused') return undefined
  return `only Node: ${ours.kind === 'malformed' ? ours.reason : ours.kind}`
}

/** How many bytes it takes until there is a verdict. */
function lengthOf(bytes: Uint8Array): number {
  const parser = new ResponseParser()
  let length = 0
  for (const byte of byteByByte(bytes)) {
    length++
    if (parser.push(byte).kind !== 'more') return length
  }
  return length
}

describe('The parser and that of Node', () => {
  it('mean the same by what both accept, and differ in the classes listed alone', async (t) => {
    t.diagnostic(`seed ${SEED}, ${CASES} cases`)
    const random = new Random(SEED)
    const seen = new Map<string, number>()
    let both = 0
    for (let i = 0; i < CASES; i++) {
      const text = bytesOf(responseText(random, random.pick([0, 0.02, 0.1])))
      const bytes = random.chance(0.4) ? mutated(random, text) : text
      const ours = outcomeOf([bytes])
      const nodes = await outcomeOfNode(bytes)
      const shown = (): string => JSON.stringify(Buffer.from(bytes).toString('latin1'))
      let found: string | undefined
      try {
        found = difference(bytes, ours, nodes)
      } catch (cause) {
        throw new Error(`Both accept, and differ: ${shown()}`, { cause })
      }
      if (found === undefined && ours.kind === 'response') both++
      if (found === undefined) continue
      assert.ok(Object.hasOwn(CLASSES, found), `"${found}" is not listed: ${shown()}`)
      seen.set(found, (seen.get(found) ?? 0) + 1)
    }
    t.diagnostic(`both accept ${both}`)
    for (const [found, count] of seen) t.diagnostic(`${count} × ${found}: ${CLASSES[found]}`)
    assert.ok(both > CASES / 5, `only ${both} cases were accepted by both`)
  })
})
