/**
 * What was verified of which client, collected across processes: each spec adds lines to the file that MATRIX names,
 * and run.ts shows them as a table. Without MATRIX nothing is kept.
 */
import { appendFileSync, readFileSync } from 'node:fs'

export interface Entry {
  readonly node: string
  readonly client: string
  readonly what: string
  readonly result: string
}

export function record(client: string, what: string, result: string): void {
  const file = process.env['MATRIX']
  const entry: Entry = { node: process.versions.node, client, what, result }
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(entry)}\n`)
}

export function readEntries(file: string): Entry[] {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line): Entry => JSON.parse(line))
}

/**
 * A table in Markdown for each group of columns that belong together; a cell that nothing was recorded for is FAILED.
 */
export function tables(entries: readonly Entry[]): string {
  const groups = new Map<string, string[]>()
  for (const client of unique(entries.map((entry) => entry.client))) {
    const columns = unique(entries.filter((entry) => entry.client === client).map((entry) => entry.what)).join('|')
    groups.set(columns, [...(groups.get(columns) ?? []), client])
  }
  return [...merged(groups)].map(([columns, names]) => table(columns.split('|'), names, entries)).join('\n\n')
}

/** One that lacks columns of another's, because a row failed, is shown with it. */
function merged(groups: Map<string, string[]>): Map<string, string[]> {
  const result = new Map<string, string[]>()
  for (const [columns, names] of [...groups].sort(([a], [b]) => b.length - a.length)) {
    const wider = [...result.keys()].find((known) =>
      columns.split('|').every((column) => known.split('|').includes(column)))
    const key = wider ?? columns
    result.set(key, [...(result.get(key) ?? []), ...names])
  }
  return result
}

function table(columns: readonly string[], names: readonly string[], entries: readonly Entry[]): string {
  const nodes = unique(entries.map(({ node }) => node))
  const cell = (client: string, node: string, what: string): string =>
    entries.find((entry) => entry.client === client && entry.node === node && entry.what === what)?.result ?? 'FAILED'
  const ran = (client: string, node: string): boolean =>
    entries.some((entry) => entry.client === client && entry.node === node)
  const rows = names.flatMap((client) => nodes.filter((node) => ran(client, node))
    .map((node) => [client, node, ...columns.map((what) => cell(client, node, what))]))
  const all = [['client', 'Node', ...columns], ...rows]
  const widths = all[0]?.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0))) ?? []
  const lines = all.map((row) => `| ${row.map((text, i) => text.padEnd(widths[i] ?? 0)).join(' | ')} |`)
  lines.splice(1, 0, `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`)
  return lines.join('\n')
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)]
}
