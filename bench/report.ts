/**
 * What a bench returns, and how it is shown: tables, and figures with the bound that is promised. A verdict is computed
 * here from the two, and nowhere written by hand. Nothing is measured here.
 */
import { readFileSync } from 'node:fs'
import os from 'node:os'

export interface Figure {
  /** A sentence that names what was promised. */
  readonly name: string
  readonly value: number
  /** '×', 'ms', 'µs', 'kB', ... */
  readonly unit: string
  /** The bound. A figure without one is shown and not judged. */
  readonly most?: number
  readonly least?: number
  /**
   * What two of the same differ by, as a ratio: 1 where they do not. A bound that is missed by less is not judged.
   */
  readonly noise?: number
}

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly Cell[])[]
}

/** NaN is shown as a dash: it was not measured. */
export type Cell = string | number

export interface Report {
  readonly bench: string
  readonly tables: readonly Table[]
  readonly figures: readonly Figure[]
  /** What else a reader must know, such as what was skipped and why. */
  readonly notes: readonly string[]
}

export interface Options {
  /** Short runs, for a look or a spec. Their verdicts mean little. */
  readonly quick: boolean
  /** Also what takes minutes. */
  readonly long: boolean
  /** The seed of the simulation, so that a run can be repeated. */
  readonly seed: number
  /** Clients of the fleet in all its scenarios; undefined: as many as each needs. */
  readonly clients: number | undefined
  /** On the real control plane. */
  readonly cluster: boolean
  /** The folder of the compiled package. */
  readonly dist: string
  /**
   * For each major version of @kubernetes/client-node the path of a Node that runs it; undefined where there is none.
   */
  readonly nodes: Readonly<Record<'1' | '2', string | undefined>>
  /** Only the rows whose name holds it. */
  readonly only: string
}

export type Verdict = 'met' | 'NOT MET' | 'noise' | ''

export function verdictOf(figure: Figure): Verdict {
  const { value, most, least } = figure
  if (most === undefined && least === undefined) return ''
  if (isWithin(value, most, least)) return 'met'
  const noise = noiseOf(figure)
  return isWithin(value, most === undefined ? most : most * noise, least === undefined ? least : least / noise)
    ? 'noise'
    : 'NOT MET'
}

/** Written so that NaN, which compares as false, is not within. */
function isWithin(value: number, most: number | undefined, least: number | undefined): boolean {
  return (most === undefined || value <= most) && (least === undefined || value >= least)
}

/** What two of the same differ by, whichever of them is ahead: 1 or more. */
function noiseOf({ noise = 1 }: Figure): number {
  return Number.isFinite(noise) && noise > 0 ? Math.max(noise, 1 / noise) : 1
}

/** The verdict, as it is read. */
function verdictText(figure: Figure): string {
  const verdict = verdictOf(figure)
  return verdict === 'noise' ? `noise: two of the same differ by ${show(noiseOf(figure))} ×` : verdict
}

export interface Machine {
  readonly node: string
  readonly openssl: string
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  readonly version: string
  /** Runnable processes per core at the beginning. The more there are, the less ratios say. */
  readonly load: number
}

export function machine(): Machine {
  const cpus = os.cpus()
  const { version }: { version: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return {
    node: process.version,
    openssl: process.versions.openssl,
    cpu: cpus[0]?.model ?? 'unknown',
    cores: cpus.length,
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    version,
    load: Math.round((os.loadavg()[0] ?? 0) / Math.max(1, cpus.length) * 100) / 100,
  }
}

export function machineText(its: Machine): string {
  return `kube-multidialer ${its.version}, Node ${its.node}, OpenSSL ${its.openssl}\n` +
    `${its.cores} × ${its.cpu}, ${its.memory}, ${its.system}, load ${its.load} a core`
}

export function reportText({ bench, tables, figures, notes }: Report): string {
  const parts = tables.map(tableText)
  if (figures.length > 0) parts.push(tableText(figuresTable(bench, figures)))
  if (notes.length > 0) parts.push(notes.map((note) => `  note: ${note}`).join('\n'))
  return parts.join('\n\n')
}

export function figuresTable(bench: string, figures: readonly Figure[]): Table {
  const rows = figures.map((figure) => {
    const { name, value, unit, most, least } = figure
    const bound = most !== undefined ? `≤ ${show(most)}` : least !== undefined ? `≥ ${show(least)}` : ''
    return [name, `${show(value)} ${unit}`.trim(), bound, verdictText(figure)]
  })
  return { title: `${bench}: figures`, columns: ['figure', 'measured', 'promised', 'verdict'], rows }
}

export function tableText({ title, columns, rows }: Table): string {
  const cells = [columns, ...rows].map((row) => row.map(show))
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  // A column with any number is aligned to the right, one of words to the left.
  const numeric = columns.map((_, column) => rows.some((row) => typeof row[column] === 'number'))
  const lines = cells.map((row) => '  ' + row.map((cell, column) => {
    const width = widths[column] ?? 0
    return numeric[column] === true ? cell.padStart(width) : cell.padEnd(width)
  }).join('  ').trimEnd())
  const [head = '', ...body] = lines
  return [title, head, '  ' + widths.map((width) => '-'.repeat(width)).join('  '), ...body].join('\n')
}

/** Shows three significant digits: what is behind them is noise. */
function show(cell: Cell): string {
  if (typeof cell === 'string') return cell
  if (Number.isNaN(cell)) return '-'
  if (!Number.isFinite(cell)) return cell > 0 ? 'never' : '-never'
  if (Number.isInteger(cell) || Math.abs(cell) >= 1_000) return String(Math.round(cell))
  return Math.abs(cell) >= 100
    ? cell.toFixed(0)
    : Math.abs(cell) >= 10 ? cell.toFixed(1) : cell.toFixed(Math.abs(cell) >= 0.1 ? 2 : 4)
}
