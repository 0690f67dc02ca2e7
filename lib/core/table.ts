/**
 * A persistent table of rows by number. Ten thousand dials may be under way at once, so that copying a
 * whole Map for each event would cost more than their handshakes: rows live in chunks, a change copies
 * one chunk, and each chunk knows its earliest deadline.
 */

export interface Row {
  readonly id: number
  /** When the row wants to be looked at, in ms; Infinity for never. */
  readonly wakeAt: number
}

interface Chunk<R extends Row> {
  readonly rows: ReadonlyMap<number, R>
  readonly wakeAt: number
}

export interface Table<R extends Row> {
  readonly chunks: ReadonlyMap<number, Chunk<R>>
  readonly size: number
}

const CHUNK = 64

export function emptyTable<R extends Row>(): Table<R> {
  return { chunks: new Map(), size: 0 }
}

export function rowOf<R extends Row>(table: Table<R>, id: number): R | undefined {
  return table.chunks.get(Math.floor(id / CHUNK))?.rows.get(id)
}

/** The table with this row in the place of the one of the same id, or added. */
export function withRow<R extends Row>(table: Table<R>, row: R): Table<R> {
  const key = Math.floor(row.id / CHUNK)
  const rows = new Map(table.chunks.get(key)?.rows)
  const size = rows.has(row.id) ? table.size : table.size + 1
  return withChunk(table, key, rows.set(row.id, row), size)
}

/** The table with all these rows: each chunk is copied once. */
export function withRows<R extends Row>(table: Table<R>, rows: readonly R[]): Table<R> {
  const chunks = new Map(table.chunks)
  const changed = new Map<number, Map<number, R>>()
  let { size } = table
  for (const row of rows) {
    const key = Math.floor(row.id / CHUNK)
    const copy = changed.get(key) ?? new Map(chunks.get(key)?.rows)
    if (!copy.has(row.id)) size += 1
    changed.set(key, copy.set(row.id, row))
  }
  for (const [key, copy] of changed) chunks.set(key, chunkOf(copy))
  return { chunks, size }
}

/** The table without that row; the same table where it has none. */
export function withoutRow<R extends Row>(table: Table<R>, id: number): Table<R> {
  const key = Math.floor(id / CHUNK)
  const chunk = table.chunks.get(key)
  if (chunk === undefined || !chunk.rows.has(id)) return table
  const rows = new Map(chunk.rows)
  rows.delete(id)
  return withChunk(table, key, rows, table.size - 1)
}

/** Every row, oldest chunk first. */
export function* rowsOf<R extends Row>(table: Table<R>): Generator<R> {
  for (const chunk of table.chunks.values()) yield* chunk.rows.values()
}

/** The rows whose time has come. */
export function dueRows<R extends Row>(table: Table<R>, now: number): R[] {
  const due: R[] = []
  for (const chunk of table.chunks.values()) {
    if (chunk.wakeAt > now) continue
    for (const row of chunk.rows.values()) if (row.wakeAt <= now) due.push(row)
  }
  return due
}

/** The earliest deadline of all rows; Infinity where there is none. */
export function earliestOf(table: Table<Row>): number {
  let earliest = Infinity
  for (const chunk of table.chunks.values()) earliest = Math.min(earliest, chunk.wakeAt)
  return earliest
}

function withChunk<R extends Row>(table: Table<R>, key: number, rows: ReadonlyMap<number, R>, size: number): Table<R> {
  const chunks = new Map(table.chunks)
  if (rows.size === 0) chunks.delete(key)
  else chunks.set(key, chunkOf(rows))
  return { chunks, size }
}

function chunkOf<R extends Row>(rows: ReadonlyMap<number, R>): Chunk<R> {
  let wakeAt = Infinity
  for (const row of rows.values()) wakeAt = Math.min(wakeAt, row.wakeAt)
  return { rows, wakeAt }
}
