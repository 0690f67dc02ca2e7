/** `kube-multidialer check`: a table for people, JSON for machines, and an exit status for scripts. */
import type { Check, EndpointCheck } from '../check/facts.ts'
import type { MultidialerOptions } from '../multidialer.ts'
import { Multidialer } from '../multidialer.ts'
import { usable } from './connection.ts'
import type { Cell, Paint } from './text.ts'
import { printable, table } from './text.ts'

export interface CheckCommand {
  readonly options: MultidialerOptions
  readonly timeout: number | undefined
  readonly json: boolean
  readonly paint: Paint
  readonly print: (text: string) => void
}

/** Resolves with the exit status: 0 every loss is survived, 1 some is not, 2 nothing was reached. */
export async function runCheck({ options, timeout, json, paint, print }: CheckCommand): Promise<0 | 1 | 2> {
  const dialer = usable(() => new Multidialer(options))
  try {
    const check = await dialer.check({ timeout })
    print(json ? `${JSON.stringify(check, undefined, 2)}\n` : `${tableOf(check, paint).join('\n')}\n`)
    return statusOf(check)
  } finally {
    dialer.close()
  }
}

export function statusOf({ endpoints, survives }: Check): 0 | 1 | 2 {
  if (!endpoints.some(({ reached }) => reached === 'answer')) return 2
  return survives.every(({ survived }) => survived) ? 0 : 1
}

/** The lines that people read. */
export function tableOf(check: Check, paint: Paint): string[] {
  const { endpoints, survives, discovery, front, advice } = check
  const via = discovery.via === undefined ? '' : `, via ${discovery.via}`
  return [
    ...table([HEADINGS, ...endpoints.map((endpoint) => rowOf(endpoint, front !== undefined))], paint),
    '',
    `discovery: ${discovery.status}${via}${front === true ? '; the server given is a front' : ''}`,
    '',
    ...table(survives.map(({ lost, survived, by }): Cell[] => [
      { text: `without ${lost}` },
      survived ? { text: 'served by', colour: 'good' } : { text: 'NOBODY', colour: 'bad' },
      { text: by.join(', ') },
    ]), paint),
    ...(advice.length === 0 ? [] : ['']),
    ...advice.map((sentence) => `- ${printable(sentence)}`),
  ]
}

const HEADINGS: readonly Cell[] =
  ['address', 'origin', 'listed', 'came to', 'route', 'tls', 'answer', 'certificate', 'error']
  .map((text) => ({ text: text === 'error' ? '' : text, colour: 'bold' }))

function rowOf(
  { address, origin, listed, front, reached, ms, certificate, status, error }: EndpointCheck, hasList: boolean,
): Cell[] {
  const isGood = reached === 'answer' && error === undefined
  const came = reached === 'answer' && status !== undefined ? `answer ${status}` : reached
  return [
    { text: address },
    { text: origin },
    { text: !hasList ? '-' : listed ? 'yes' : front ? 'front' : 'no' },
    { text: came, colour: isGood ? 'good' : 'bad' },
    { text: time(ms.route) },
    { text: time(ms.tls) },
    { text: time(ms.answer) },
    { text: certificate === undefined ? '-' : `${certificate.daysLeft} days` },
    { text: error?.message ?? '', colour: 'bad' },
  ]
}

function time(ms: number | undefined): string {
  return ms === undefined ? '-' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
}
