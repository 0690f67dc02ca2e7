/**
 * SIGSTOP, safely. A stopped process cannot notice that its parent is gone, and would outlive it for ever; so a small
 * shell watches over it and ends it as soon as the pipe from the parent closes, however the parent ended.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import net from 'node:net'

/**
 * Stops a process; resolves when it has really stopped. What it resolves with ends the watch: to be called when the
 * process runs again or is gone.
 */
export async function stopProcess(pid: number): Promise<() => void> {
  const child = spawn('/bin/sh', ['-c', 'read -r word || kill -KILL "$0"', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.on('error', () => undefined)
  child.stdin.on('error', () => undefined)
  child.unref()
  if (child.stdin instanceof net.Socket) child.stdin.unref()
  process.kill(pid, 'SIGSTOP')
  while (!isStopped(pid)) await new Promise((resolve) => setTimeout(resolve, 1))
  return () => { child.stdin.end('done\n') }
}

function isStopped(pid: number): boolean {
  try {
    // The state follows the command's name, which stands in parentheses and may hold any character.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return 'TtXZ'.includes(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '')
  } catch {
    return true     // gone, or a system without /proc, where kill(2) has done all there is to wait for
  }
}
