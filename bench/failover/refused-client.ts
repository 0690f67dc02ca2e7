/**
 * Measures a dial whose server was killed, beside a handshake with one that lives. One process does both, in turn and
 * back to back. Neither has a TLS session to resume.
 */
import { readFileSync } from 'node:fs'
import tls, { type TLSSocket } from 'node:tls'
import type * as Library from '../../lib/index.ts'
import type { Target } from '../support/client-node.ts'
import { moduleOf } from '../support/dist.ts'
import { secured } from '../support/secured.ts'
import type { Address } from './stage.ts'
import { answerAll } from '../support/worker.ts'

export type RefusedQuestion =
  /** While `target` lives: so many dialers that know it and one other, and one that has been used. */
  | {
      readonly what: 'prepare'
      readonly target: Target
      readonly other: Address
      readonly dist: string
      readonly turns: number
    }
  /** Once it refuses. */
  | { readonly what: 'measure' }

/** In ms. */
export interface Refused {
  /** The dial of the dialer in use: the list is known, and its code for failures may never have run before. */
  readonly first: number
  /** The first dial of each of the others. */
  readonly refused: readonly number[]
  readonly fresh: readonly number[]
}

let measure: (() => Promise<Refused>) | undefined

answerAll<RefusedQuestion, Refused | undefined>(async (question) => {
  if (question.what === 'measure') return measure?.()
  measure = await prepare(question)
  return undefined
})

async function prepare(
  { target, other, dist, turns }: RefusedQuestion & { what: 'prepare' },
): Promise<() => Promise<Refused>> {
  const { Multidialer }: typeof Library = await import(moduleOf(dist, 'index'))
  const { url, caFile, token } = target
  const used = new Multidialer({ server: url, caFile, token })
  await used.refresh()
  for (let dial = 0; dial < 20; dial += 1) (await used.connect()).destroy()
  const options = { server: url, caFile, alternates: [`${other.host}:${other.port}`], refreshInterval: 0 }
  const dialers = Array.from({ length: turns }, () => new Multidialer(options))
  const secureContext = tls.createSecureContext({ ca: readFileSync(caFile) })
  const handshake = (): Promise<TLSSocket> => secured(tls.connect({ ...other, secureContext }))
  return async () => {
    const first = await timed(() => used.connect())
    used.close()
    const refused: number[] = []
    const fresh: number[] = []
    for (const [turn, dialer] of dialers.entries()) {
      if (turn % 2 === 1) fresh.push(await timed(handshake))
      refused.push(await timed(() => dialer.connect()))
      dialer.close()
      if (turn % 2 === 0) fresh.push(await timed(handshake))
    }
    return { first, refused, fresh }
  }
}

async function timed(connect: () => Promise<TLSSocket>): Promise<number> {
  const from = performance.now()
  const socket = await connect()
  const took = performance.now() - from
  socket.destroy()
  // Closing it must not be part of what is timed next.
  await new Promise((resolve) => { socket.once('close', resolve) })
  return took
}
