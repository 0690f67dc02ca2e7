/**
 * The README tells the truth where a program can check it: its examples are those that are run, its defaults those that
 * hold, its links lead somewhere.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { DEFAULTS } from '../../lib/options.ts'

const ROOT = new URL('../../', import.meta.url)
const EXAMPLES = 'spec/clients/examples/'
const readme = readFileSync(new URL('README.md', ROOT), 'utf8')

describe('README.md', () => {
  for (const name of readdirSync(new URL(EXAMPLES, ROOT))) {
    it(`shows ${name} as it is run, or leads to it`, () => {
      const shown = readme.split(`<!-- ${EXAMPLES}${name} -->\n\`\`\`js\n`)[1]?.split('\n```')[0]
      if (shown === undefined) return assert.ok(readme.includes(`[${name}](${EXAMPLES}${name})`))
      assert.equal(shown, readFileSync(new URL(EXAMPLES + name, ROOT), 'utf8').trimEnd())
    })
  }

  it('shows no program but those that are run', () => {
    const programs = readme.match(/^```(js|ts|mjs)$/gm) ?? []
    assert.ok(programs.length > 0)
    assert.equal(programs.length, readme.split(`<!-- ${EXAMPLES}`).length - 1)
  })

  for (const [name, value] of Object.entries(DEFAULTS)) {
    it(`gives the default of ${name}`, () => {
      const row = readme.split('\n').find((line) => line.startsWith(`| \`${name}\` |`))
      assert.equal(row?.split('|')[2]?.trim(),
        typeof value === 'string' ? `\`'${value}'\`` : (value?.toLocaleString('en') ?? 'off'))
    })
  }

  it('names every event, and only scripts that there are', () => {
    for (const event of ['endpoints', 'failover', 'failed', 'warning']) {
      assert.match(readme, new RegExp(`\\| \`${event}\` \\|`))
    }
    const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8'))
    const named = [...readme.matchAll(/npm run ([\w:]+)/g)].map(([, script]) => script ?? '')
    assert.ok(named.length > 0)
    for (const script of named) assert.ok(script in scripts, script)
  })

  it('leads to files that there are, and runs only such', () => {
    const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path ?? '')
    const programs = [...readme.matchAll(/--import tsx (\S+\.ts)/g)].map(([, path]) => path ?? '')
    assert.ok(links.length > 0 && programs.length > 0)
    for (const path of [...links, ...programs]) assert.ok(existsSync(new URL(path, ROOT)), path)
  })

  it('can be read in one go: 250 lines at most', () => {
    assert.ok(readme.trimEnd().split('\n').length <= 250)
  })
})
