/**
 * Every rule of lib/core/RULES.md is decided by code that names it and shown by a row that names it, and no comment
 * and no row names a rule that the file does not know.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { faultsOf, type Source } from '../support/rules.ts'

const ROOT = new URL('../../', import.meta.url)

function sourcesIn(folder: string, extension: string): Source[] {
  return readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(extension) && !name.includes('node_modules'))
    .map((name) => ({ path: folder + name, text: readFileSync(new URL(folder + name, ROOT), 'utf8') }))
}

describe('lib/core/RULES.md', () => {
  it('has each rule once; code decides each, rows show each, and no other is named', () => {
    const rules = readFileSync(new URL('lib/core/RULES.md', ROOT), 'utf8')
    const specs = sourcesIn('spec/', '.spec.ts').filter(({ path }) => path !== 'spec/core/rules.spec.ts')
    assert.deepEqual(faultsOf({ rules, code: sourcesIn('lib/', '.ts'), specs }), [])
  })
})

describe('the check of the rules', () => {
  const decides = (ids: string, path = 'lib/core/a.ts'): Source => (
    { path, text: `/** ${ids}: Starts the next one. */\nfunction start(): void {}` }
  )
  const shows = (ids: string, path = 'spec/core/a.spec.ts'): Source => (
    { path, text: `const rows = [{ name: '${ids} the next one is started', given }]` }
  )
  const rows: {
    readonly name: string
    readonly rules: string
    readonly code: readonly Source[]
    readonly specs: readonly Source[]
    readonly faults: readonly string[]
  }[] = [
    {
      name: 'a rule that is decided and shown is in order',
      rules: '# Rules\n\n- **D3** The next one is started.\n',
      code: [decides('D3')], specs: [shows('D3')], faults: [],
    },
    {
      name: 'a comment and a row may name several rules',
      rules: '- **D3** One.\n- **D4** Two.\n- **H12** Three.\n',
      code: [decides('D3, D4 and H12')], specs: [shows('D3, D4'), shows('H12')], faults: [],
    },
    {
      name: 'a comment of several lines begins with its rules, too',
      rules: '- **D3** One.\n',
      code: [{ path: 'lib/core/a.ts', text: '  /**\n   * D3: Starts the next one.\n   */\n  start(): void {}' }],
      specs: [shows('D3')], faults: [],
    },
    {
      name: 'a rule that no code decides is a fault, even if a comment mentions it',
      rules: '- **D3** One.\n',
      code: [{ path: 'lib/core/a.ts', text: '/** Starts the next one (D3). */\n// D3: as above' }],
      specs: [shows('D3')],
      faults: ['No function of lib/ says in its comment that it decides D3'],
    },
    {
      name: 'a rule that no row shows is a fault, even if a row mentions it',
      rules: '- **D3** One.\n',
      code: [decides('D3')],
      specs: [{ path: 'spec/core/a.spec.ts', text: "const rows = [{ name: 'it starts (D3)' }]" }],
      faults: ['No row of spec/core/ begins its name with D3'],
    },
    {
      name: 'a rule that core decides is not shown by a spec of something else',
      rules: '- **D3** One.\n',
      code: [decides('D3')], specs: [shows('D3', 'spec/agent/agent.spec.ts')],
      faults: ['No row of spec/core/ begins its name with D3'],
    },
    {
      name: 'a rule that something else decides is shown where that is specified, by the title of a test',
      rules: '- **I2** One.\n',
      code: [decides('I2', 'lib/connect/identity.ts')],
      specs: [{ path: 'spec/connect/identity.spec.ts', text: "it('I2 proves the host of the seed', () => {})" }],
      faults: [],
    },
    {
      name: 'a rule that something else decides and nothing shows is a fault',
      rules: '- **I2** One.\n',
      code: [decides('I2', 'lib/connect/identity.ts')], specs: [],
      faults: ['No row of spec/ begins its name with I2'],
    },
    {
      name: 'an id that the file does not know is a fault in any comment and in the name of a row',
      rules: '- **D3** One.\n',
      code: [decides('D3'), { path: 'lib/core/b.ts', text: 'start() // at once (H99)\n/* R7 */' }],
      specs: [shows('D3'), shows('F8', 'spec/core/b.spec.ts')],
      faults: [
        'lib/core/b.ts: RULES.md does not know H99', 'lib/core/b.ts: RULES.md does not know R7',
        'spec/core/b.spec.ts: RULES.md does not know F8',
      ],
    },
    {
      name: 'a rule that is written twice is a fault',
      rules: '- **D3** One.\n- **D3** Two.\n',
      code: [decides('D3')], specs: [shows('D3')],
      faults: ['RULES.md has D3 twice'],
    },
    {
      name: 'what only looks like an id is none: strings of code, HTTP/2, a longer word, a URL',
      rules: '- **D3** One.\n',
      code: [decides('D3'), {
        path: 'lib/b.ts',
        text: "const url = 'https://H9/R9' // h2, HTTP/2 and SHA256 of H2O, F16.5, U+D800, rfc-D9-x\n",
      }],
      specs: [shows('D3')], faults: [],
    },
  ]
  for (const { name, faults, ...sources } of rows) {
    it(name, () => assert.deepEqual(faultsOf(sources), faults))
  }
})
