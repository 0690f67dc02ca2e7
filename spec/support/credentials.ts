// What specs of credentials share: a folder for each row, and credentials whose warnings are written down.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach } from 'node:test'
import { inspect } from 'node:util'
import { Credentials } from '../../lib/credentials/credentials.ts'
import type { CredentialOptions } from '../../lib/credentials/credentials.ts'

export const CANARY = 'canary-7f3a'

export interface Watched {
  readonly credentials: Credentials
  readonly warnings: string[]
  /** How often it was said that what was warned of has passed. */
  readonly passed: () => number
}

export function watched(options: CredentialOptions): Watched {
  const warnings: string[] = []
  let passed = 0
  const onWarning = (warning: Error): void => {
    assert.ok(!inspect(warning).includes(CANARY), inspect(warning))
    warnings.push(warning.message)
  }
  const onPassed = (): void => { passed += 1 }
  return { credentials: new Credentials(options, { onWarning, onPassed }), warnings, passed: () => passed }
}

/** A folder of its own for each row of this spec file; `put` writes a file into it and gives its path. */
export function folderOfRow(): { path: () => string; put: (name: string, text: string | Buffer) => string } {
  const root = mkdtempSync(join(tmpdir(), 'multidialer-credentials-'))
  after(() => rmSync(root, { recursive: true }))
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(root, 'row-'))
  })
  const put = (name: string, text: string | Buffer): string => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  return { path: () => folder, put }
}
