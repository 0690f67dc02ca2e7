/**
 * The bearer token: from a value, a file that changes, or a function. It is for discovery alone, and where it is sent
 * is decided elsewhere. No error has it in its text.
 */
import { causeText } from '../errors.ts'
import { isToken, TOKEN } from '../options.ts'
import { withoutSecrets } from '../secrets.ts'
import { fileError, KeptValue, readWatched, watchedFile } from './watched-file.ts'
import type { Notices, WatchedFile } from './watched-file.ts'

/** As long as client-go keeps a token that it read from a file; bound service-account tokens live for an hour. */
const TOKEN_LIFETIME = 60_000

/** Longer than any signing or exec plugin that still is of use takes. Without a limit, one that hangs hangs all. */
const TOKEN_TIMEOUT = 10_000

/** The options that hold a token. */
export interface TokenOptions {
  /** For discovery alone. A function is asked again after a minute, and when a server refused what it gave. */
  token?: string | (() => string | Promise<string>) | undefined
  tokenFile?: string | undefined
}

/** @param fresh true asks the function or the file again, even if what it gave last is young */
export type TokenSource = (fresh: boolean) => string | undefined | Promise<string | undefined>

/** Where the token comes from; undefined where none was given. @throws TypeError for a file that holds none */
export function tokenSource({ token, tokenFile }: TokenOptions, notices: Notices): TokenSource | undefined {
  if (tokenFile !== undefined) {
    const file = watchedFile('tokenFile', tokenFile)
    const kept = new KeptValue([file], () => readToken(file), notices)
    return (fresh) => kept.current(fresh)
  }
  if (typeof token === 'function') return functionToken(token)
  return token === undefined ? undefined : () => token
}

function readToken(file: WatchedFile): string {
  const token = readWatched(file).toString('utf8').trim()
  if (!isToken(token)) throw fileError(file, `must hold ${TOKEN}`)
  return token
}

/** The token of a function: kept for a minute, asked for once however many want it, given up when it hangs. */
function functionToken(ask: () => unknown): TokenSource {
  let last: { readonly token: string; readonly at: number } | undefined
  let asking: Promise<string | undefined> | undefined
  return (fresh) => {
    if (last !== undefined && !fresh && performance.now() - last.at < TOKEN_LIFETIME) return last.token
    asking ??= inTime(ask).then((token) => {
      if (!isToken(token)) throw new TokenError(`gave something else than ${TOKEN}`)
      last = { token, at: performance.now() }
      return token
    }).catch((error: unknown) => {
      if (error instanceof NoToken) return undefined
      if (error instanceof TokenError) throw error
      throw new TokenError(`failed: ${withoutSecrets(causeText(error), last?.token)}`)
    }).finally(() => {
      asking = undefined
    })
    return asking
  }
}

/** What the function gives, if it does so in time. The timer keeps no process alive. */
async function inTime(ask: () => unknown): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const giveUp = (): void => reject(new TokenError(`gave no answer within ${TOKEN_TIMEOUT} ms`))
    timer = setTimeout(giveUp, TOKEN_TIMEOUT).unref()
  })
  try {
    return await Promise.race([late, new Promise((settle) => settle(ask()))])
  } finally {
    clearTimeout(timer)
  }
}

/** Thrown by a function of this package that has no token for now: something else tells who the user is, or nothing. */
export class NoToken extends Error {}

class TokenError extends Error {
  readonly code = 'ERR_MULTIDIALER_TOKEN'

  constructor(what: string) {
    super(`The function given as the option 'token' ${what}`)
    this.name = 'Error'
  }
}
