/**
 * Files that change while they are used, and what is made of them.
 *
 * Here files are read, and nothing is known of what is in them. A file is looked at when it is needed, by one stat:
 * watching would keep the process alive, and misses the symlink swap by which Kubernetes renews mounted secrets.
 *
 * What changes on disk is replaced in steps that a reader can fall between: a certificate is new while its key is
 * old, a file is empty while it is written. At construction that is an error, as a person is there to read it; later
 * the last good value stays, with one warning for each time that this begins.
 */
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { causeText, codeOf, optionError } from '../errors.ts'
import { shownFile } from '../secrets.ts'

/** All of Mozilla's CAs are 0.2 MB. A device or a log by mistake must not be read into memory. */
const MAX_FILE_BYTES = 4 * 1024 * 1024

/** In words of our own, as Node's message repeats the path, which must not always be shown. */
const FILE_CAUSES: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'ENOENT, no such file'],
  ['EACCES', 'EACCES, permission denied'],
  ['ENOTDIR', 'ENOTDIR, a part of its path is not a folder'],
])

export interface WatchedFile<Option extends string = string> {
  /** The option that named it. */
  readonly option: Option
  /** As it was given, for messages. */
  readonly name: string
  /** Absolute: a process that changes its folder later must not lose its credentials. */
  readonly path: string
}

/** How a fault comes to a person's notice. */
export interface Notices {
  /** Called when a file can no longer be used, and what was made of it before is kept; once until that has passed. */
  readonly onWarning?: ((warning: Error) => void) | undefined
  /** Called when what was warned of has passed, so that it is news when it comes back. */
  readonly onPassed?: (() => void) | undefined
}

export function watchedFile<Option extends string>(option: Option, name: string): WatchedFile<Option> {
  return { option, name, path: resolve(name) }
}

/** Reads a file whole. @throws TypeError with code ERR_INVALID_ARG_VALUE, naming the option and the cause */
export function readWatched(file: WatchedFile): Buffer {
  let cause
  try {
    const stat = statSync(file.path)
    if (stat.isFile() && stat.size <= MAX_FILE_BYTES) return readFileSync(file.path)
    cause = stat.isFile() ? `it is larger than ${MAX_FILE_BYTES} bytes` : 'it is not a regular file'
  } catch (error) {
    cause = FILE_CAUSES.get(codeOf(error) ?? '') ?? codeOf(error) ?? 'unreadable'
  }
  throw fileError(file, `cannot be read: ${cause}`)
}

export function fileError({ option, name }: WatchedFile, cause: string): Error {
  return optionError(`The option '${option}' must be the path of a file that can be used: ${shownFile(name)} ${cause}`)
}

/** What is made of files: made anew when one of them is another than before; where that fails, the last good stays. */
export class KeptValue<Value> {
  readonly #files: readonly WatchedFile[]
  readonly #make: (before: Value | undefined) => Value
  readonly #notices: Notices
  #seen: string
  #value: Value
  #isFailing = false

  /** @throws whatever `make` throws */
  constructor(files: readonly WatchedFile[], make: (before: Value | undefined) => Value, notices: Notices) {
    this.#files = files
    this.#make = make
    this.#notices = notices
    this.#seen = stampOf(files)
    this.#value = make(undefined)
  }

  /** What was last made, without a look at the files. */
  get last(): Value {
    return this.#value
  }

  /** What the files make now. @param again true makes it anew, even if no file has changed */
  current(again = false): Value {
    const stamp = stampOf(this.#files)
    if (stamp === this.#seen && !again) return this.#value
    this.#seen = stamp
    try {
      this.#value = this.#make(this.#value)
      if (this.#isFailing) this.#notices.onPassed?.()
      this.#isFailing = false
    } catch (error) {
      const warning = new Error(`${causeText(error)}. The credentials read before are kept`)
      if (!this.#isFailing) this.#notices.onWarning?.(warning)
      this.#isFailing = true
    }
    return this.#value
  }
}

/**
 * Tells whether any of the files is another one than before. stat follows symlinks, so the new file behind a swapped
 * link has another inode; ctime finds what was rewritten in place within the granularity of mtime.
 */
function stampOf(files: readonly WatchedFile[]): string {
  return files.map(({ path }) => {
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path)
      return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`
    } catch (error) {
      return codeOf(error) ?? 'gone'
    }
  }).join('|')
}
