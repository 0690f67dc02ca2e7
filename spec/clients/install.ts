/** The packages of the real clients: a package of their own, installed where and when they are needed. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))

/** Installs them if they are not there. False: they are not, and cannot be. */
export function installClients(): boolean {
  if (existsSync(join(HERE, 'node_modules'))) return true
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  return spawnSync('npm', args, { cwd: HERE, stdio: 'inherit' }).status === 0
}
