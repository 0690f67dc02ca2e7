/**
 * A store of hints in one file: the apiservers known when the process ended, for the start when the seed is down.
 *
 * Only addresses are written, never a credential. What is read back is a hint and no more: an endpoint from here must
 * prove its identity as every other one. Whether a file that cannot be read matters is not decided here: load()
 * throws, and the dialer makes that a warning and an empty list.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, promises as fs, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Endpoint } from '../core/endpoint.ts'
import { causeText, codeOf, invalidOption } from '../errors.ts'
import { isRecord, toEndpoint } from '../options.ts'
import { shownFile } from '../secrets.ts'

/** Says whose file it is and how to read it, lest another program's be taken for a list, or overwritten. */
const KIND = 'kube-multidialer/endpoints'
const VERSION = 1

/** As many as a list from an apiserver may have (R4). */
const MAX_ENDPOINTS = 64

/** 64 endpoints with the longest names there are take less; a device or a log by mistake must not be read whole. */
const MAX_BYTES = 64 * 1024

export interface FileStore {
  load(): Endpoint[]
  save(endpoints: readonly Endpoint[]): Promise<void>
}

/**
 * Keeps the list of endpoints in the file `path`, for the option `store`.
 *
 * `load()` gives an empty list if there is no such file yet, and throws an Error that names the file if it is damaged,
 * not one of ours, or not readable. `save()` replaces the file as a whole (mode 0600, never half of it to be seen) and
 * rejects if that fails, or if there is anything else than a file of ours, as a mistaken path must not cost anyone a
 * file or a device; an empty file and a damaged one of ours are replaced. A symbolic link stays, and what it leads to
 * is judged in the same way. Of several saves at once the newest wins. The folder must exist.
 *
 * @throws TypeError with code ERR_INVALID_ARG_VALUE if `path` is not the path of a file
 */
export function fileStore(path: string): FileStore {
  if (typeof path !== 'string' || path === '' || /[\0/\\]$|\0/.test(path)) {
    throw invalidOption('path', path, 'the path of a file')
  }
  const file = resolve(path)
  const name = shownFile(path, file)
  let running: Promise<void> | undefined
  let next: { text: string; readonly done: Promise<void> } | undefined

  function write(text: string): Promise<void> {
    running = save(file, name, text).finally(() => {
      running = undefined
    })
    return running
  }

  return {
    load: () => load(file, name),
    save(endpoints) {
      const text = serialise(endpoints)
      if (next !== undefined) {
        // The newest takes the place of what waits, and that one's caller learns how the newest ended.
        next.text = text
      } else if (running === undefined) {
        return write(text)
      } else {
        next = { text, done: running.catch(() => {}).then(writeNext) }
      }
      return next.done
    },
  }

  function writeNext(): Promise<void> {
    const text = next?.text
    next = undefined
    return text === undefined ? Promise.resolve() : write(text)
  }
}

function serialise(endpoints: readonly Endpoint[]): string {
  const list = endpoints.slice(0, MAX_ENDPOINTS).map(({ host, port }) => ({ host, port }))
  return `${JSON.stringify({ kind: KIND, version: VERSION, endpoints: list }, undefined, 2)}\n`
}

function load(file: string, name: string): Endpoint[] {
  try {
    return parse(read(file))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw storeError(`the stored endpoints in ${name} cannot be used`, error)
  }
}

/** Without waiting: to open a pipe that nobody writes to would stop the process. Windows has neither. */
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
const NO_FILE = 'it is not a regular file'

/** By one descriptor, so that what was measured is what is read. Not opened to measure: that rewinds some devices. */
function read(file: string): string {
  if (!statSync(file).isFile()) throw new Error(NO_FILE)
  const fd = openSync(file, READ)
  try {
    const { size } = fstatSync(fd)
    if (size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`)
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

function parse(text: string): Endpoint[] {
  const content = parseJSON(text)
  if (!isRecord(content) || content['kind'] !== KIND) throw new Error('it is not a list of endpoints of this package')
  if (content['version'] !== VERSION) throw new Error(`its version is not ${VERSION}`)
  const list: unknown = content['endpoints']
  if (!Array.isArray(list) || list.length > MAX_ENDPOINTS) {
    throw new Error(`it has no list of at most ${MAX_ENDPOINTS} endpoints`)
  }
  return list.map((one: unknown, i) => {
    const endpoint = toEndpoint(one)
    if (endpoint === undefined) throw new Error(`its entry ${i} is no endpoint`)
    return endpoint
  })
}

function parseJSON(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not the parser's own message, which quotes the file: it may be somebody's secret, named here by mistake.
    throw new Error('it is not JSON')
  }
}

async function save(file: string, name: string, text: string): Promise<void> {
  try {
    await replace(await targetOf(file), text)
  } catch (error) {
    throw storeError(`the endpoints cannot be stored in ${name}`, error)
  }
}

/** Where the file is or is to be, behind any links. Throws if there is something else than a file of ours. */
async function targetOf(file: string): Promise<string> {
  const target = await fs.realpath(file).catch(async (error: unknown) => {
    // A link that leads nowhere is no missing file.
    if (codeOf(error) === 'ENOENT' && await isMissing(file)) return undefined
    throw error
  })
  if (target === undefined) return file
  if (!(await fs.stat(target)).isFile()) throw new Error(NO_FILE)
  await refuseForeign(target)
  return target
}

async function isMissing(file: string): Promise<boolean> {
  return fs.lstat(file).then(() => false, (error: unknown) => codeOf(error) === 'ENOENT')
}

/** How every file of ours begins, and a damaged one as far as it goes: what is shorter than this could be anyone's. */
const BEGINNING = `{\n  "kind": "${KIND}"`
const LEAST = '{\n  "kind"'.length

async function refuseForeign(file: string): Promise<void> {
  const handle = await fs.open(file, READ)
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(BEGINNING.length), 0, BEGINNING.length, 0)
    const isOurs = bytesRead >= LEAST && BEGINNING.startsWith(buffer.toString('latin1', 0, bytesRead))
    if (isOurs || bytesRead === 0) return
    throw new Error('it holds something else; remove it, or choose another file')
  } finally {
    await handle.close()
  }
}

/**
 * Writes beside the file and renames over it. Synced before that: after a power failure the name must not lead to an
 * empty file. The folder is not synced, as then the older list is found, which serves as well.
 */
async function replace(file: string, text: string): Promise<void> {
  // Not after the file's own name, which may be as long as a name can be.
  const temporary = join(dirname(file), `.multidialer-${randomBytes(6).toString('hex')}.tmp`)
  try {
    const handle = await fs.open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await fs.rename(temporary, file)
  } catch (error) {
    await fs.unlink(temporary).catch(() => {})
    throw error
  }
}

/** Has the code of its cause, but not the cause: Node's errors repeat the path, which may not always be shown. */
function storeError(what: string, error: unknown): Error {
  const code = codeOf(error)
  const cause = code === undefined ? causeText(error) : causeText(error).replace(/, \w+ '.*$/, '')
  return Object.assign(new Error(`${what}: ${cause}`), code === undefined ? {} : { code })
}
