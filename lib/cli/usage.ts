/** What is wrong with a command line: told in one line, with a way to the help, and exit status 2. */

export class UsageError extends Error {}

/** The dialer's words for an option that is wrong, with the names that the command line has for them. */
export function inFlags(message: string): string {
  const flags: Readonly<Record<string, string>> = {
    caFile: 'ca', ca: 'ca', tokenFile: 'token-file', certFile: 'cert', cert: 'cert', keyFile: 'key', key: 'key',
  }
  return message
    .replace(/\b[Tt]he options? '(\w+)(\[\d+\])?'/g, (_, name: string) => `--${flags[name] ?? name}`)
    // Here a value and a file are one flag.
    .replace(/'(\w+)' or '\1File'/g, (_, name: string) => `--${name}`)
    .replace(/'(caFile|tokenFile|certFile|keyFile|servername)'/g, (_, name: string) => `--${flags[name] ?? name}`)
    .replace(/\bthroughProxy\(\)/g, '--proxy')
}
