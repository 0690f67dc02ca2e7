/**
 * The README tells the truth where a program can check it: its examples are those that are run, its defaults those that
 * hold.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { DEFAULTS } from '../../lib/options.ts'

const ROOT = new URL('../../', import.meta.url)
const EXAMPLES = 'spec/clients/examples/'
const readme = readFileSync(new URL('README.md', ROOT), 'utf8')

describe('README.md', () => {
  for (const name of readdirSync(new URL(EXAMPLES, ROOT))) {
    it(`shows ${name} as it is run`, () => {
      const shown = readme.split(`<!-- ${EXAMPLES}${name} -->\n\`\`\`js\n`)[1]?.split('\n```')[0]
      assert.equal(shown, readFileSync(new URL(EXAMPLES + name, ROOT), 'utf8').trimEnd())
    })
  }

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
})
