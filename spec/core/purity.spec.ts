// The law of lib/core: it imports nothing but its neighbours, not even a type, and reads no clock, no random source and
// nothing of the process it runs in. Read from the tokens of the source, without comments and the text of strings.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

const FOLDER = new URL('../../lib/core/', import.meta.url)

/** Names that reach out of a pure function. `Math.random` is looked for as a pair. */
const FORBIDDEN = new Set([
  'Date',
  'performance',
  'process',
  'crypto',
  'globalThis',
  'global',
  'window',
  'self',
  'console',
  'require',
  'module',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'queueMicrotask',
  'structuredClone',
  'fetch',
  'Buffer',
  'URL',
  'WebSocket',
  'Worker',
  'MessageChannel',
  'AbortController',
  'AbortSignal',
  'Promise',
  'async',
  'await',
  'eval',
  'Function',
  'Atomics',
  'SharedArrayBuffer',
  'WeakRef',
  'FinalizationRegistry',
  'Intl',
  'Temporal',
  'NodeJS',
  'getRandomValues',
  'randomUUID',
  'now',
  'hrtime',
  'toLocaleString',
])
/** What a parameter may be called: as a name of its own it is an argument, and behind a point it is a clock... */
const ARGUMENTS = new Set(['now'])
/** ...but for the time of a turn, which was an argument of its. */
const TURNS = new Set(['turn', 'this'])

interface Token {
  readonly kind: 'name' | 'string' | 'mark'
  readonly text: string
}

/** Comments out, strings as one token each; of a template, what is between its braces is code. */
function tokensOf(source: string): Token[] {
  const tokens: Token[] = []
  const rules =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)"|`|[A-Za-z_$][\w$]*|[0-9][\w.]*|\s+|[^\s]/gy
  /** For each template that is open: how many braces are open in the code within it. */
  const templates: number[] = []
  let inText = false
  while (rules.lastIndex < source.length) {
    if (inText) {
      const rest = /(?:\\[\s\S]|\$(?!\{)|[^`$\\])*(`|\$\{)/y
      rest.lastIndex = rules.lastIndex
      const [, end] = rest.exec(source) ?? assert.fail('a template without an end')
      rules.lastIndex = rest.lastIndex
      inText = false
      if (end === '`') templates.pop()
      continue
    }
    const at = rules.lastIndex
    const previous = tokens.at(-1)
    const expression = regexAt(source, at, previous)
    if (expression !== undefined) {
      tokens.push({ kind: 'string', text: expression })
      rules.lastIndex = at + expression.length
      continue
    }
    const match = rules.exec(source) ?? assert.fail(`no token at ${at}`)
    const [text] = match
    const depth = templates.length - 1
    if (text === '`') {
      templates.push(0)
      inText = true
    } else if (text === '}' && templates[depth] === 0) inText = true
    else if (/^(\/\/|\/\*|\s)/.test(text)) continue
    else {
      if (depth >= 0 && text === '{') templates[depth] = (templates[depth] ?? 0) + 1
      if (depth >= 0 && text === '}') templates[depth] = (templates[depth] ?? 0) - 1
      const isDollar = text === '$' && source[at + 1] === '{'
      const kind = /^['"]/.test(text) ? 'string' : /^[A-Za-z_$]/.test(text) && !isDollar ? 'name' : 'mark'
      tokens.push({ kind, text: match[1] ?? match[2] ?? text })
    }
  }
  return tokens
}

/** A regular expression starts where an expression may; elsewhere the same sign divides. */
function regexAt(source: string, at: number, previous: Token | undefined): string | undefined {
  if (source[at] !== '/' || source[at + 1] === '/' || source[at + 1] === '*') return undefined
  const divides =
    previous !== undefined && (previous.kind === 'name' ? previous.text !== 'return' : /^[\w)\]]/.test(previous.text))
  if (divides) return undefined
  const expression = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*/y
  expression.lastIndex = at
  return expression.exec(source)?.[0]
}

/** What of this source breaks the law, in words. */
function breaches(source: string, neighbours: ReadonlySet<string>): string[] {
  const tokens = tokensOf(source)
  const found: string[] = []
  for (const [index, { kind, text }] of tokens.entries()) {
    if (kind !== 'name') continue
    const before = tokens[index - 1]
    const next = tokens[index + 1]
    const isMember = before?.kind === 'mark' && before.text === '.'
    const isOfTurn = isMember && TURNS.has(tokens[index - 2]?.text ?? '')
    const reachesOut = ARGUMENTS.has(text) ? isMember && !isOfTurn : !isMember || text.length > 8
    if (text === 'import' && (next?.text === '(' || next?.text === '.')) found.push(`import${next.text}`)
    else if (!isMember && (text === 'import' || text === 'export')) {
      const from = sourceOf(tokens, index)
      if (from !== undefined && !neighbours.has(from)) found.push(`imports ${from}`)
    } else if (text === 'random' && isMember) found.push('random')
    else if (FORBIDDEN.has(text) && reachesOut) found.push(text)
  }
  return found
}

/** What an import or a re-export at this token names; undefined where it is another kind of export. */
function sourceOf(tokens: readonly Token[], start: number): string | undefined {
  let index = start + 1
  if (tokens[index]?.kind === 'string') return tokens[index]?.text
  let depth = 0
  for (; index < tokens.length; index += 1) {
    const token = tokens[index]
    if (token === undefined) return undefined
    if (token.text === '{') depth += 1
    if (token.text === '}') depth -= 1
    if (token.kind === 'name' && token.text === 'from' && depth === 0) return tokens[index + 1]?.text
    const goesOn = depth > 0 || token.text === '}' || token.text === '*' || token.text === ',' || token.kind === 'name'
    const declares = ['const', 'let', 'function', 'class', 'interface', 'default', 'abstract'].includes(token.text)
    if (!goesOn || (declares && depth === 0)) return undefined
  }
  return undefined
}

const files = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
const neighbours = new Set(files.map((name) => `./${name}`))

describe('the law of lib/core', () => {
  it('has files to be looked at', () => {
    assert.ok(files.includes('step.ts') && files.includes('state.ts') && files.length >= 10, files.join())
  })

  for (const name of files) {
    it(`${name} imports nothing but its neighbours, and reads nothing but its arguments`, () => {
      assert.deepEqual(breaches(readFileSync(fileURLToPath(new URL(name, FOLDER)), 'utf8'), neighbours), [])
    })
  }
})

describe('the check itself', () => {
  const bad: readonly (readonly [source: string, ...found: readonly string[]])[] = [
    ["import { connect } from 'node:tls'", 'imports node:tls'],
    ["import type { TLSSocket } from 'node:tls'", 'imports node:tls'],
    ["import 'fs'", 'imports fs'],
    ["import * as fs from\n  'fs'", 'imports fs'],
    ["import fs, { a as from } from 'fs'", 'imports fs'],
    ["import {\n  type A,\n  b,\n} from '../errors.ts'", 'imports ../errors.ts'],
    ["import { step } from './step.js'", 'imports ./step.js'],
    ["export { a } from '../runtime.ts'", 'imports ../runtime.ts'],
    ["export * from 'undici'", 'imports undici'],
    ["export type { A } from 'undici'", 'imports undici'],
    ["export * as all from 'undici'", 'imports undici'],
    ["const a = await import('node:fs')", 'await', 'import('],
    ["type A = import('node:tls').TLSSocket", 'import('],
    ['const a = import.meta.url', 'import.'],
    ["const fs = require('fs')", 'require'],
    ['const at = Date.now()', 'Date', 'now'],
    ['const at = new Date()', 'Date'],
    ['const at = performance.now()', 'performance', 'now'],
    ['const { now } = performance', 'performance'],
    ['const a = clock.now', 'now'],
    ['const a = Math.random()', 'random'],
    ['const a = Math\n  .random', 'random'],
    ['const a = `${1 + Math.random()}`', 'random'],
    ['const a = `${`${Date}`}`', 'Date'],
    ['const a = `}${process.pid}`', 'process'],
    ["const a = 'it''s' + process.env", 'process'],
    ["const a = /[/']/.test(b) ? crypto : 1", 'crypto'],
    ['const a = b / c / crypto', 'crypto'],
    ['setTimeout(() => {}, 0)', 'setTimeout'],
    ['globalThis.setTimeout(f)', 'globalThis', 'setTimeout'],
    ['const f = async () => {}', 'async'],
    ["// nothing\nimport { a } from 'b' // import", 'imports b'],
  ]
  for (const [source, ...found] of bad) {
    it(`finds what is wrong with ${JSON.stringify(source)}`, () =>
      assert.deepEqual(breaches(source, neighbours), found))
  }

  const good: readonly string[] = [
    "import { step } from './step.ts'",
    "import type { State } from './state.ts'",
    "export { step } from './step.ts'",
    '// Date.now() and Math.random() are not for us',
    "/* import fs from 'fs' */ const a = 1",
    "const a = 'Date.now()' + \"process\" + `Math.random() ${'process'} setTimeout`",
    "export const from = 'fs'",
    "export function from(now: number): string { return 'fs' }",
    "export interface A { readonly from: 'x' }",
    'const a = (state: State, now: number) => now + state.at',
    'const a = turn.now + this.now',
    'const a = /Date|process/.test(b)',
  ]
  for (const source of good) {
    it(`finds nothing wrong with ${JSON.stringify(source)}`, () => assert.deepEqual(breaches(source, neighbours), []))
  }
})
