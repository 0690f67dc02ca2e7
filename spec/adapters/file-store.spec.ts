// The store of hints, on real files.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { after, beforeEach, describe, it } from 'node:test'
import { inspect } from 'node:util'
import { fileStore } from '../../lib/adapters/file-store.ts'

const windows = process.platform === 'win32' && 'Windows has neither modes nor pipes in its file system'
const CANARY = 'canary-7f3a'
const root = mkdtempSync(join(tmpdir(), 'multidialer-file-store-'))
after(() => rmSync(root, { recursive: true }))

const three = [
  { host: '10.77.0.1', port: 6443 }, { host: '2001:db8::1', port: 1 }, { host: 'api.example.com', port: 443 },
]
const many = (count: number): { host: string; port: number }[] =>
  Array.from({ length: count }, (_, i) => ({ host: `10.1.${i >> 8}.${i & 255}`, port: 6443 }))

let folder = ''
let file = ''
beforeEach(() => {
  folder = mkdtempSync(join(root, 'row-'))
  file = join(folder, 'hints.json')
})

function content(endpoints: unknown, more: object = {}): string {
  return JSON.stringify({ kind: 'kube-multidialer/endpoints', version: 1, endpoints, ...more })
}

describe('fileStore: save and load', () => {
  it('gives back what was saved, in its order', async () => {
    await fileStore(file).save(three)
    assert.deepEqual(fileStore(file).load(), three)
  })
  it('a missing file is an empty list', () => assert.deepEqual(fileStore(file).load(), []))
  it('an empty list can be saved', async () => {
    await fileStore(file).save([])
    assert.deepEqual(fileStore(file).load(), [])
  })
  it('writes host and port alone, under its kind and version', async () => {
    const saved = [{ host: 'h', port: 1, token: CANARY }]
    await fileStore(file).save(saved)
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')),
      { kind: 'kube-multidialer/endpoints', version: 1, endpoints: [{ host: 'h', port: 1 }] })
  })
  it('keeps 64 endpoints, the first ones', async () => {
    await fileStore(file).save(many(100))
    assert.deepEqual(fileStore(file).load(), many(64))
  })
  it('the file is for its owner alone, even where the one before was not', { skip: windows }, async () => {
    await fileStore(file).save(three)
    chmodSync(file, 0o666)
    await fileStore(file).save(three)
    assert.equal(statSync(file).mode & 0o777, 0o600)
  })
  it('replaces the file as a whole: another file each time, and nothing beside it', async () => {
    const store = fileStore(file)
    await store.save(three)
    const before = statSync(file).ino
    await store.save(many(2))
    assert.notEqual(statSync(file).ino, before)
    assert.deepEqual(readdirSync(folder), ['hints.json'])
  })
  it('a relative path is that of the folder at construction', async () => {
    const before = process.cwd()
    try {
      process.chdir(folder)
      const store = fileStore('hints.json')
      process.chdir(root)
      await store.save(three)
    } finally {
      process.chdir(before)
    }
    assert.deepEqual(fileStore(relative(process.cwd(), file)).load(), three)
  })
})

describe('fileStore: several saves at once', () => {
  it('the newest wins, and each is answered', async () => {
    const store = fileStore(file)
    await Promise.all([1, 2, 3, 4, 5].map((count) => store.save(many(count))))
    assert.deepEqual(store.load(), many(5))
    assert.deepEqual(readdirSync(folder), ['hints.json'])
  })
  it('one that is called as the one before ends is the newest, though another still waits', async () => {
    const store = fileStore(file)
    const last = store.save(many(1)).then(() => store.save(many(3)))
    await Promise.all([last, store.save(many(2))])
    assert.deepEqual(store.load(), many(3))
  })
  it('a list is taken as it is when save is called', async () => {
    const store = fileStore(file)
    const list = many(2)
    const saved = store.save(list)
    list.length = 0
    await saved
    assert.deepEqual(store.load(), many(2))
  })
  it('one that waits is saved even if the one before it fails', async () => {
    const store = fileStore(join(folder, 'later', 'hints.json'))
    const first = store.save(many(1))
    const second = store.save(many(2))
    await assert.rejects(first, /ENOENT/)
    await assert.rejects(second, /ENOENT/)
    mkdirSync(join(folder, 'later'))
    await store.save(many(3))
    assert.deepEqual(store.load(), many(3))
  })
})

describe('fileStore: a file that cannot be used', () => {
  const rows: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ['is empty', '', /it is not JSON/],
    ['is no JSON', `{"token": "${CANARY}"`, /it is not JSON/],
    ['is binary', Buffer.from([0, 255, 1]), /it is not JSON/],
    ['is cut off', content(three).slice(0, -9), /it is not JSON/],
    ['is null', 'null', /not a list of endpoints of this package/],
    ['is a string', `"${CANARY}"`, /not a list of endpoints of this package/],
    ["is another program's", `{"kind": "Config", "token": "${CANARY}"}`, /not a list of endpoints of this package/],
    ['is of a later version', content([], { version: 2 }), /its version is not 1/],
    ['has no list', content(undefined), /no list of at most 64 endpoints/],
    ['has an object for a list', content({ length: 0 }), /no list of at most 64 endpoints/],
    ['has too long a list', content(many(65)), /no list of at most 64 endpoints/],
    ['has a port that is none', content([three[0], { host: '10.0.0.1', port: 0 }]), /its entry 1 is no endpoint/],
    ['has a host that is none', content([{ host: '10.0.0.256', port: 1 }]), /its entry 0 is no endpoint/],
    ['has a host with a zone', content([{ host: 'fe80::1%eth0', port: 1 }]), /its entry 0 is no endpoint/],
    ['has a string for an endpoint', content([`${CANARY}:1`]), /its entry 0 is no endpoint/],
    ['is too large', content(three) + ' '.repeat(70_000), /it is larger than 65536 bytes/],
  ]
  for (const [name, text, message] of rows) {
    it(`load throws when it ${name}, names it, and quotes nothing`, () => {
      writeFileSync(file, text)
      assert.throws(() => fileStore(file).load(), (error: unknown) => {
        assert.ok(error instanceof Error)
        assert.match(error.message, message)
        assert.ok(error.message.includes(file))
        assert.ok(!`${error.stack} ${String(error.cause)}`.includes(CANARY))
        return true
      })
    })
  }
  it('load throws when it is a folder', () => assert.throws(() => fileStore(folder).load(), /not a regular file/))
  it('load throws when it is a device, or leads to one', { skip: windows }, () => {
    symlinkSync('/dev/zero', file)
    for (const path of ['/dev/zero', '/dev/null', file]) {
      assert.throws(() => fileStore(path).load(), /not a regular file/)
    }
  })
  it('load throws when it is a pipe, and does not wait for a writer', { skip: windows }, () => {
    execFileSync('mkfifo', [file])
    assert.throws(() => fileStore(file).load(), /not a regular file/)
  })
})

describe('fileStore: a save that fails', () => {
  it('rejects with the name of the file when its folder is missing', async () => {
    const missing = join(folder, 'none', 'hints.json')
    await assert.rejects(fileStore(missing).save(three), (error: unknown) => {
      assert.ok(error instanceof Error)
      assert.match(error.message, /^the endpoints cannot be stored in '.*none.*hints\.json': ENOENT/)
      return true
    })
  })
  it('leaves nothing beside the file', async () => {
    mkdirSync(file)
    await assert.rejects(fileStore(file).save(three))
    assert.deepEqual(readdirSync(folder), ['hints.json'])
  })
  it('leaves a file that holds something else as it was', async () => {
    writeFileSync(file, 'precious')
    await assert.rejects(fileStore(file).save(three), /it holds something else; remove it, or choose another file/)
    assert.equal(readFileSync(file, 'utf8'), 'precious')
  })
  it('but replaces a damaged file of its own, and an empty one', async () => {
    const store = fileStore(file)
    await store.save(three)
    const whole = readFileSync(file, 'utf8')
    for (const length of [0, 10, 60, whole.length - 3]) {
      writeFileSync(file, whole.slice(0, length))
      assert.throws(() => store.load())
      await store.save(three)
      assert.deepEqual(store.load(), three)
    }
  })
})

describe('fileStore: what is no file of its own is refused, and stays as it was', () => {
  const foreign = /it holds something else; remove it, or choose another file$/
  const noFile = /it is not a regular file$/
  const kindOf = (path: string): string => {
    const stat = lstatSync(path)
    return [stat.isFile(), stat.isDirectory(), stat.isFIFO(), stat.isSymbolicLink(), stat.isCharacterDevice(), stat.ino]
      .join()
  }
  const contentOf = (path: string): string | undefined =>
    existsSync(path) && statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined
  const rows: readonly (readonly [name: string, make: () => void, words: RegExp])[] = [
    ['a folder', () => mkdirSync(file), noFile],
    ['a FIFO', () => execFileSync('mkfifo', [file]), noFile],
    ['a link to a device', () => symlinkSync('/dev/null', file), noFile],
    ['a link to a folder', () => symlinkSync(root, file), noFile],
    ['a link that leads nowhere', () => symlinkSync(join(folder, 'nowhere'), file), /ENOENT/],
    ['a link to itself', () => symlinkSync(file, file), /ELOOP/],
    ["a link to somebody's file", () => {
      writeFileSync(join(folder, 'target'), 'precious')
      symlinkSync(join(folder, 'target'), file)
    }, foreign],
    ["somebody's file", () => writeFileSync(file, 'precious'), foreign],
    ["somebody's file of one brace", () => writeFileSync(file, '{'), foreign],
    ["somebody's JSON", () => writeFileSync(file, '{\n'), foreign],
    ["somebody's JSON with a kind", () => writeFileSync(file, '{\n  "kind": "Config"'), foreign],
    ['a file that only names ours', () => writeFileSync(file, '# kube-multidialer/endpoints\n'), foreign],
  ]
  for (const [name, make, words] of rows) {
    it(name, { skip: windows }, async () => {
      make()
      const before = kindOf(file)
      const text = contentOf(file)
      await assert.rejects(fileStore(file).save(three), words)
      assert.equal(kindOf(file), before)
      assert.equal(readdirSync(folder).filter((one) => one.endsWith('.tmp')).length, 0)
      assert.equal(contentOf(file), text)
    })
  }
  it('a device, where one can be made', { skip: windows }, async (t) => {
    if (spawnSync('mknod', [file, 'c', '1', '3']).status !== 0) return t.skip('mknod needs a privilege')
    const before = kindOf(file)
    await assert.rejects(fileStore(file).save(three), noFile)
    assert.throws(() => fileStore(file).load(), noFile)
    assert.equal(kindOf(file), before)
  })
  it('but a link to a file of its own stays, and what it leads to is replaced', { skip: windows }, async () => {
    const target = join(folder, 'target')
    await fileStore(target).save(three)
    symlinkSync(target, file)
    await fileStore(file).save(many(2))
    assert.ok(lstatSync(file).isSymbolicLink())
    assert.deepEqual(fileStore(target).load(), many(2))
    assert.deepEqual(fileStore(file).load(), many(2))
  })
  it('a name as long as a name can be is written beside itself', { skip: windows }, async () => {
    const long = fileStore(join(folder, 'n'.repeat(255)))
    await long.save(three)
    assert.deepEqual(long.load(), three)
  })
})

describe('fileStore: the path', () => {
  it('is not shown where it could be a secret, nor is it in what is thrown', async () => {
    const store = fileStore(`${CANARY}-0123456789abcdef/x`)
    await assert.rejects(store.save(three), (error: unknown) => {
      assert.match(String(error), /cannot be stored in a file whose name is not shown.*: ENOENT: no such file/)
      assert.ok(!inspect(error).includes('0123456789abcdef'), inspect(error))
      assert.equal(error instanceof Error && 'code' in error && error.code, 'ENOENT')
      return true
    })
  })

  const paths: readonly unknown[] = ['', 'a\0b', 'folder/', undefined, null, 5, {}, new URL('file:///tmp/x')]
  for (const path of paths) {
    it(`is refused as ${JSON.stringify(path)}`, () => {
      assert.throws(() => Reflect.apply(fileStore, undefined, [path]),
        { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /The option 'path' must be the path of a file/ })
    })
  }
  it('construction touches no file', () => {
    fileStore(file)
    assert.equal(existsSync(file), false)
  })
})
