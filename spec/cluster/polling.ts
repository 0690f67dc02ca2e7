/**
 * The program of a client that lives on: what the README's first snippet does, again and again with one agent, a request
 * 200 ms after the end of the last, and a line of JSON for each, which snippet.spec.ts reads. It ends with its stdin.
 */
import { readFileSync } from 'node:fs'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { text } from 'node:stream/consumers'
import { MultidialerAgent } from '../../lib/index.ts'

/** What became of one request. */
export interface Polled {
  /** Of HTTP, or the code of the error. */
  readonly outcome: number | string
  /** The IP address of who answered; '' where nobody did. */
  readonly host: string
  /** From the call to the end of the answer, in ms. */
  readonly ms: number
  /** When that was, in ms since the epoch. */
  readonly at: number
}

const { APISERVER = '', CA_FILE = '', TOKEN_FILE = '' } = process.env
const agent = new MultidialerAgent({ server: APISERVER, caFile: CA_FILE, tokenFile: TOKEN_FILE, keepAlive: true })
const headers = { authorization: `Bearer ${readFileSync(TOKEN_FILE, 'utf8').trim()}` }

function get(): Promise<Pick<Polled, 'outcome' | 'host'>> {
  return new Promise((resolve) => {
    const failed = ({ code, message }: NodeJS.ErrnoException): void => resolve({ outcome: code ?? message, host: '' })
    https.get(`${APISERVER}/version`, { agent, headers }, (response) => {
      const host = response.socket.remoteAddress ?? ''
      text(response).then(() => resolve({ outcome: response.statusCode ?? 0, host }), failed)
    }).on('error', failed)
  })
}

process.stdin.resume().on('end', () => process.exit())
for (;;) {
  const begun = performance.now()
  const answer = await get()
  const polled: Polled = { ...answer, ms: performance.now() - begun, at: Date.now() }
  console.log(JSON.stringify(polled))
  await delay(200)
}
