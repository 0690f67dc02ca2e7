/**
 * What a message may show of what was given or received: one place decides it.
 *
 * Only what is known to be harmless is shown: words as people and programs write them, host names, the path of a file.
 * What tokens, keys and passwords look like, nobody can list; what is not known to be harmless is therefore left out.
 * Here is text alone: no option is checked, no error is made and no file is read. This file imports nothing.
 */

const HIDDEN = '(not shown)'

/** Options that hold a secret: their values are never shown, whatever they look like. */
const SECRETS: ReadonlySet<string> = new Set(['token', 'key', 'passphrase', 'pfx', 'cert', 'ticketKeys'])

/** The most that is shown of a value that was given. */
const SHOWN = 60

/** A line break, a PEM, or the beginning of a JWT: what holds one of these is not harmless as a whole. */
const TELLING = /[\r\n]|-----|eyJ\w/

/** A host name of three labels or more: a label may be as long as a key (EKS), but nobody writes keys so. */
const HOST = /(?<=^|\/\/|:)(?:[a-z0-9-]{1,63}\.){2,}[a-z]{2,24}(?=[:/]|$)/gi

/** What stands between two words. Tokens and passwords hold the other signs: + = ~ and, in URLs, @ ? # & %. */
const BETWEEN = /[^\w+=~@?#&%-]+/

/** A word without a digit is hardly a key; with digits it must be shorter than any key is. */
const WORD = /^(?:[a-z_-]{0,39}|[\w-]{0,15})$/i

/** Whether a text is known to hold no secret. */
export function isHarmless(text: string): boolean {
  return !TELLING.test(text) && text.replace(HOST, '').split(BETWEEN).every((word) => WORD.test(word))
}

/** The value of an option, to be read after "Received". */
export function shownValue(option: string, value: unknown): string {
  const isSecret = SECRETS.has(option.replace(/[[.].*$/, ''))
  switch (typeof value) {
    case 'undefined':
      return 'undefined'
    case 'function':
      return 'a function'
    case 'object':
      return shownObject(value)
    case 'string':
      return value === '' ? 'an empty string' : shownString(value, isSecret)
    case 'number':
    case 'bigint':
    case 'boolean':
    case 'symbol': {
      const text = String(value)
      return isSecret || !isHarmless(text) ? `a ${typeof value}` : text.slice(0, SHOWN)
    }
  }
}

function shownObject(value: object | null): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  return 'an object'
}

function shownString(text: string, isSecret: boolean): string {
  if (isSecret || !isHarmless(text)) return `a string of ${text.length} characters ${HIDDEN}`
  const visible = text.replace(/[^\x20-\x7e]/g, '?')
  return visible.length > SHOWN ? `'${visible.slice(0, SHOWN)}...'` : `'${visible}'`
}

/**
 * The name of a file as it was given, in quotes, if it can only be one: it begins with a folder, or is short. A token
 * or a PEM that was passed as a file name by mistake is not shown. `full` is shown in its place where it may be.
 */
export function shownFile(name: string, full: string = name): string {
  const isPath = /^(?:\.{0,2}[/\\]|[A-Za-z]:[/\\])/.test(name)
  const isPrintable = !/[^\x20-\x7e\u00a0-\uffff]/.test(name)
  if (isPrintable && (isPath || (name.length <= 20 && isHarmless(name)))) return `'${full}'`
  return 'a file whose name is not shown, as it could be a secret,'
}

/** The words of somebody else's error, without those that could be a secret or are a part of the one that is known. */
export function withoutSecrets(text: string, known?: string): string {
  const shown = known === undefined || known === '' ? text : text.replaceAll(known, HIDDEN)
  const words = withoutCredentials(shown).replace(/[^\s'"(),;<>[\]{}]+/g, (word) => isHarmless(word) ? word : HIDDEN)
  return withoutSecret(words, known)
}

/** A PEM; a JWT; what follows Bearer, if it is more than a word of a sentence; the user and the password in a URL. */
const CREDENTIALS: readonly (readonly [found: RegExp, instead: string])[] = [
  [/-----BEGIN [^]*/, HIDDEN],
  [/eyJ[\w-]+(?:\.[\w.-]*)?/g, HIDDEN],
  [/\b(bearer)\s+(?!\(not shown\))(?=\S*[^a-z\s]|\S{16})\S+/gi, `$1 ${HIDDEN}`],
  [/\/\/[^\s/]*@/g, '//'],
]

/** The text without what is certainly a secret, whoever's it is. */
export function withoutCredentials(text: string): string {
  return CREDENTIALS.reduce((shown, [found, instead]) => shown.replace(found, instead), text)
}

/** How much of a secret says too much: less is found in many a text by chance. */
const TELLTALE = 8

/** The text, unless it has a part of this secret in it. For what quotes a server that was given the secret. */
export function withoutSecret(text: string, secret: string | undefined): string {
  if (secret === undefined || secret === '') return text
  const plain = text.replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  for (let at = 0; at === 0 || at + TELLTALE <= secret.length; at += 1) {
    if (plain.includes(secret.slice(at, at + TELLTALE))) return '(not shown, as it has the token in it)'
  }
  return text
}

/** A message of Node's about a value of the wrong type, without the value, which it repeats. */
export function withoutReceived(message: string): string {
  return message.replace(/\.? Received [^]*$/, '')
}
