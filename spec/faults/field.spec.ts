/**
 * What FAULTS.md promises in the field, on the embedded control plane: each row of it, and the bad input of balancers
 * and lists. One file for all themes, so that rows that wait wait together: each lane has a control plane of its own.
 * Rows of half a minute and more play with MULTIDIALER_LONG=1.
 */
import { describe } from 'node:test'
import { aliveNotUseful } from './field-alive-not-useful.ts'
import { badInput } from './field-bad-input.ts'
import { discovery } from './field-discovery.ts'
import { fronts } from './field-fronts.ts'
import { givenUp } from './field-given-up.ts'
import { refusing } from './field-refusing.ts'
import { unreachable } from './field-unreachable.ts'
import { unused } from './field-unused.ts'

describe('In the field', { concurrency: true }, () => {
  fronts()
  refusing()
  aliveNotUseful()
  givenUp()
  discovery()
  unreachable()
  unused()
  badInput()
})
