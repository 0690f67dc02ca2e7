/**
 * A stopped process cannot notice that its parent is gone, and would outlive it for ever. The guard is a small process
 * that can: it ends the stopped one as soon as the pipe from the parent closes, however the parent ended.
 */
import { spawn } from 'node:child_process'

/** Watches over a process that is about to be stopped; call what it returns when that runs again, or is gone. */
export function guard(pid: number): () => void {
  const child = spawn('/bin/sh', ['-c', 'read -r word || kill -KILL "$0"', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.on('error', () => undefined)
  child.stdin.on('error', () => undefined)
  child.unref()
  if ('unref' in child.stdin && typeof child.stdin.unref === 'function') child.stdin.unref()
  return () => { child.stdin.end('done\n') }
}
