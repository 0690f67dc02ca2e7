/**
 * The index of rules: which are written down in lib/core/RULES.md, where each is decided, and which rows show it. All
 * of it is read from the text of the files, so that a search for an id finds what this finds.
 */

/** A file by its path in the repository, and its text. */
export interface Source {
  readonly path: string
  readonly text: string
}

export interface Sources {
  /** RULES.md: each rule begins a line with `- **D1** `. */
  readonly rules: string
  /** lib/: a doc comment begins with the rules that its function decides, `/** D3, D4: Starts ... `. */
  readonly code: readonly Source[]
  /** Specs: the name of a row, or the title of a test, begins with the rules that it shows, `D3 the next ...`. */
  readonly specs: readonly Source[]
}

const ID = '[DFHRI][1-9][0-9]?'
const IDS = `${ID}(?:(?:, | and )${ID})*`
/** The machine's own rules are shown by its own rows. */
const CORE = { code: 'lib/core/', specs: 'spec/core/' }

/** What is wrong with the index, a sentence each; nothing where every rule is decided and shown. */
export function faultsOf({ rules, code, specs }: Sources): string[] {
  const written = idsIn(rules, new RegExp(`^- \\*\\*(${ID})\\*\\* `, 'gm'))
  const known = new Set(written)
  const decided = mapOf(code, decidedIn)
  const shown = mapOf(specs, shownIn)
  const mentioned = mapOf(code, mentionedIn)
  return [
    ...written.filter((id, place) => written.indexOf(id) !== place).map((id) => `RULES.md has ${id} twice`),
    ...[...known].flatMap((id) => faultsOfRule(id, decided.get(id) ?? [], shown.get(id) ?? [])),
    ...[...mentioned, ...shown].filter(([id]) => !known.has(id))
      .map(([id, paths]) => `${paths.join(', ')}: RULES.md does not know ${id}`),
  ]
}

function faultsOfRule(id: string, decidedAt: readonly string[], shownAt: readonly string[]): string[] {
  if (decidedAt.length === 0) return [`No function of lib/ says in its comment that it decides ${id}`]
  const isCores = decidedAt.some((path) => path.startsWith(CORE.code))
  const rows = isCores ? shownAt.filter((path) => path.startsWith(CORE.specs)) : shownAt
  return rows.length > 0 ? [] : [`No row of ${isCores ? CORE.specs : 'spec/'} begins its name with ${id}`]
}

/** The rules that doc comments begin with. */
function decidedIn(text: string): string[] {
  return idsIn(text, new RegExp(`/\\*\\*\\s+(?:\\* )?(${IDS}): `, 'g'))
}

/** Every rule that a comment names, wherever it does. */
function mentionedIn(text: string): string[] {
  return (text.match(/\/\*[^]*?\*\/|(?<=^|\s)\/\/.*$/gm) ?? [])
    .flatMap((comment) => idsIn(comment, new RegExp(`(?<![\\w.-])(${ID})(?![\\w.-]*\\w)`, 'g')))
}

/** The rules that the names of rows and the titles of tests begin with. */
function shownIn(text: string): string[] {
  return idsIn(text, new RegExp(`(?:\\bname: |\\b(?:it|test|describe|runRows)\\()['"\`](${IDS})[: ]`, 'g'))
}

function idsIn(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].flatMap(([, ids]) => ids?.match(new RegExp(ID, 'g')) ?? [])
}

/** For each id the files in which it was found. */
function mapOf(sources: readonly Source[], find: (text: string) => readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const { path, text } of sources) {
    for (const id of new Set(find(text))) found.set(id, [...(found.get(id) ?? []), path])
  }
  return found
}
