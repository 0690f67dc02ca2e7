/**
 * A TypeScript program of this folder as a child process that is talked to over IPC. It keeps nobody alive who does not
 * wait for it, and ends with this process, however that ends: the program itself exits on 'disconnect'.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

const TSX = fileURLToPath(import.meta.resolve('tsx/cjs'))

const children = new Set<ChildProcess>()
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')))

/** Starts a program, unreferenced; its exit and its errors are the caller's to listen for. */
export function startChild(program: URL): ChildProcess {
  const { NODE_V8_COVERAGE, NODE_OPTIONS, NODE_TEST_CONTEXT, ...env } = process.env
  // Required rather than imported: tsx starts in half the time, and a spec may start dozens of these.
  const loader = process.features.typescript ? [] : ['--require', TSX, '-e', 'require(process.argv[1])']
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...loader, fileURLToPath(program)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env,
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  child.unref()
  child.channel?.unref()
  return child
}

const AT_ONCE = 2 * availableParallelism()
const waiting: (() => void)[] = []
let starting = 0

/** Runs what starts a program when few others are starting: dozens at once are slower than anybody's patience. */
export async function inTurn(start: () => Promise<void>): Promise<void> {
  if (starting >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve))
  else starting += 1
  try {
    await start()
  } finally {
    // Whoever waits takes the place over.
    const next = waiting.shift()
    if (next === undefined) starting -= 1
    else next()
  }
}
