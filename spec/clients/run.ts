/**
 * `npm run test:clients`: installs the nested package if it is not there, runs its specs one after another, and shows
 * what was verified. Spec files among the arguments are run instead of all; other arguments are for `node --test`.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installClients } from './install.ts'
import { readEntries, tables } from './matrix.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'clients-'))
const matrix = join(folder, 'matrix.jsonl')

if (!installClients()) throw new Error('npm ci failed in spec/clients')
const given = process.argv.slice(2)
const files = given.filter((argument) => argument.endsWith('.spec.ts'))
const all = readdirSync(HERE).filter((name) => name.endsWith('.spec.ts')).map((name) => join(HERE, name))
const { status } = spawnSync(process.execPath, [
  '--import', 'tsx', '--test', '--test-concurrency=1', '--test-timeout=300000',
  ...(given.some((argument) => argument.startsWith('--test-reporter')) ? [] : ['--test-reporter=spec']),
  ...given.filter((argument) => !files.includes(argument)), ...(files.length > 0 ? files : all),
], { stdio: 'inherit', env: { ...process.env, MATRIX: matrix } })
if (existsSync(matrix)) console.log(`\n${tables(readEntries(matrix))}\n`)
rmSync(folder, { recursive: true })
process.exitCode = status ?? 1
