/** Text in columns, and a little colour where it is wanted. Knows nothing of what it prints. */

/** One column: its heading, its width, and on which side its cells stand. */
export interface Column {
  readonly heading: string
  readonly width: number
  readonly side?: 'left' | 'right'
}

export type Paint = (text: string) => string

const coloured = process.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === ''

const sgr = (code: number): Paint => (text) => (coloured ? `\u001b[${code}m${text}\u001b[0m` : text)

export const bold: Paint = sgr(1)
export const dim: Paint = sgr(2)
export const red: Paint = sgr(31)
export const green: Paint = sgr(32)

/**
 * One line of a table, indented by two. The last cell is not padded: it may carry colour, and be as long as it likes.
 */
export function row(columns: readonly Column[], cells: readonly string[]): string {
  const last = columns.length - 1
  const text = columns.map(({ width, side = 'left' }, index) => {
    const cell = cells[index] ?? ''
    if (side === 'right') return cell.padStart(width)
    return index === last ? cell : cell.padEnd(width)
  })
  return `  ${text.join('  ')}`.trimEnd()
}

export function headings(columns: readonly Column[]): string {
  return dim(row(columns, columns.map(({ heading }) => heading)))
}

/** A time: '48 ms', '5.31 s'. */
export function time(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(2)} s`
}

/** A number and what is counted: '1 request', '3 requests'. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
