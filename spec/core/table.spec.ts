// The table of rows by number, against a plain Map that is taught the same.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { draw } from '../../lib/core/turn.ts'
import { dueRows, earliestOf, emptyTable, rowOf, rowsOf, withoutRow, withRow, withRows } from '../../lib/core/table.ts'
import type { Row, Table } from '../../lib/core/table.ts'
import { deepFreeze } from '../support/core-freeze.ts'

const row = (id: number, wakeAt = Infinity): Row => ({ id, wakeAt })
const tableOf = (...rows: readonly Row[]): Table<Row> =>
  rows.reduce((table, each) => withRow(table, each), emptyTable<Row>())

describe('a table', () => {
  it('is empty at first, and waits for nothing', () => {
    const table = emptyTable<Row>()
    assert.equal(table.size, 0)
    assert.equal(rowOf(table, 1), undefined)
    assert.equal(earliestOf(table), Infinity)
    assert.deepEqual([...rowsOf(table)], [])
    assert.deepEqual(dueRows(table, Infinity), [])
  })

  it('takes another row of the same id in its place', () => {
    const table = tableOf(row(1, 5), row(1, 9))
    assert.equal(table.size, 1)
    assert.equal(earliestOf(table), 9)
  })

  it('takes many rows at once, new ones and others of the same id', () => {
    const table = withRows(tableOf(row(1, 5), row(2)), [row(1, 9), row(3, 7), row(1_000, 8)])
    assert.deepEqual(table, tableOf(row(1, 9), row(2), row(3, 7), row(1_000, 8)))
  })

  it('is the very same without a row that it does not have', () => {
    const table = tableOf(row(1))
    assert.equal(withoutRow(table, 2), table)
    assert.equal(withoutRow(table, 1_000), table)
    assert.equal(withoutRow(table, -1), table)
  })

  it('leaves nothing behind of rows that are gone', () => {
    const table = withoutRow(tableOf(row(1, 5)), 1)
    assert.deepEqual(table, emptyTable())
  })

  it('gives the due rows of each chunk, and none whose time has not come', () => {
    const table = tableOf(row(1, 10), row(2, 11), row(70, 10), row(140, 99))
    assert.deepEqual(dueRows(table, 10).map(({ id }) => id), [1, 70])
    assert.deepEqual(dueRows(table, 9), [])
  })

  it('is the same as a Map after 20,000 random changes, and never changes one that was given', () => {
    let seed = 7
    const random = (below: number): number => {
      const [value, next] = draw(seed)
      seed = next
      return Math.floor(value * below)
    }
    const model = new Map<number, Row>()
    let table = emptyTable<Row>()
    for (let turn = 0; turn < 20_000; turn += 1) {
      deepFreeze(table)
      const id = random(400)
      if (random(3) === 0) {
        model.delete(id)
        table = withoutRow(table, id)
      } else {
        const each = row(id, random(4) === 0 ? Infinity : random(1_000))
        model.set(id, each)
        table = withRow(table, each)
      }
      assert.equal(table.size, model.size)
      assert.equal(rowOf(table, id), model.get(id))
      assert.equal(earliestOf(table), Math.min(Infinity, ...[...model.values()].map(({ wakeAt }) => wakeAt)))
      if (turn % 100 !== 0) continue
      const byId = (one: Row, other: Row): number => one.id - other.id
      assert.deepEqual([...rowsOf(table)].sort(byId), [...model.values()].sort(byId))
      const due = [...model.values()].filter(({ wakeAt }) => wakeAt <= 500)
      assert.deepEqual(dueRows(table, 500).sort(byId), due.sort(byId))
    }
  })
})
