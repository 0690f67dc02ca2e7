// What a response comes to: the parser fed with one split of its bytes, and everything an owner would learn from it.
//
// An outcome must not depend on the split. So it holds what is decided by the end of the bytes: the response or the
// reason, and whether the connection may be used again, with bytes after the end counted against it.

import { ResponseParser } from '../../lib/discovery/http1.ts'
import type { Verdict } from '../../lib/discovery/http1.ts'
import type { Random } from './grammar.ts'

export type Outcome =
  | { readonly kind: 'more' }
  | { readonly kind: 'malformed'; readonly reason: string }
  | {
      readonly kind: 'response'
      readonly status: number
      readonly headers: readonly (readonly [string, string])[]
      readonly body: string
      readonly reusable: boolean
    }

/** Feeds the chunks. */
export function outcomeOf(chunks: Iterable<Uint8Array>): Outcome {
  const parser = new ResponseParser()
  let outcome: Outcome = { kind: 'more' }
  for (const chunk of chunks) outcome = after(outcome, parser.push(chunk))
  return outcome
}

function after(outcome: Outcome, verdict: Verdict): Outcome {
  switch (verdict.kind) {
    case 'more':
      return verdict
    case 'malformed':
      return outcome.kind === 'response' ? { ...outcome, reusable: false } : verdict
    case 'response':
      return outcome.kind === 'response' ? outcome : flat(verdict.response)
  }
}

function flat(response: Extract<Verdict, { kind: 'response' }>['response']): Outcome {
  return { kind: 'response', ...response, headers: [...response.headers] }
}

export function* byteByByte(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) yield bytes.subarray(at, at + 1)
}

/** Pieces of random lengths: mostly a few bytes, now and then a long one or none. */
export function* atRandom(bytes: Uint8Array, random: Random): Generator<Uint8Array> {
  let at = 0
  while (at < bytes.length) {
    const length = random.below(random.pick([2, 4, 16, 64, 1_024]))
    yield bytes.subarray(at, at + length)
    at += length
  }
}
