/**
 * Text for a terminal or a log: tables, colours where they are wanted, and nothing that could be taken for an order to
 * the terminal, whoever wrote it: servers' names and messages are shown here.
 */
import { causeText } from '../errors.ts'

/** The whole of an error's message, in one line: those of a dialer name every endpoint. */
export function messageOf(error: unknown): string {
  return error instanceof Error && error.message !== '' ? error.message.replace(/\s+/g, ' ').trim() : causeText(error)
}

/** The text without control characters; those that end lines, too. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?')
}

export type Colour = 'plain' | 'good' | 'bad' | 'dim' | 'bold'

const CODES: Readonly<Record<Exclude<Colour, 'plain'>, readonly [begin: number, end: number]>> = {
  good: [32, 39], bad: [31, 39], dim: [2, 22], bold: [1, 22],
}

/** Gives the text its colour. */
export type Paint = (text: string, colour: Colour) => string

/** Colours are for terminals alone, and not for those whose user wants none (https://no-color.org). */
export function painter(isTerminal: boolean, env: Readonly<Record<string, string | undefined>>): Paint {
  const isPlain = !isTerminal || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb'
  return (text, colour) => {
    if (isPlain || colour === 'plain') return text
    const [begin, end] = CODES[colour]
    return `\u001b[${begin}m${text}\u001b[${end}m`
  }
}

export interface Cell {
  readonly text: string
  readonly colour?: Colour
}

/** Lines of a table whose columns are as wide as they have to be, two spaces apart. */
export function table(rows: readonly (readonly Cell[])[], paint: Paint): string[] {
  const shown = rows.map((row) => row.map(({ text, colour = 'plain' }) => ({ text: printable(text), colour })))
  const widths: number[] = []
  for (const row of shown) {
    row.forEach(({ text }, column) => { widths[column] = Math.max(widths[column] ?? 0, text.length) })
  }
  return shown.map((row) => row.map(({ text, colour }, column) => {
    const isLast = column === row.length - 1
    return paint(text, colour) + (isLast ? '' : ' '.repeat((widths[column] ?? 0) - text.length + 2))
  }).join('').trimEnd())
}
