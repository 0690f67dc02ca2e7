/**
 * Module hooks: a file of this repository that is TypeScript is loaded as it was compiled, under its own URL, so that
 * what it finds by `import.meta.url` is where it was. What was not compiled is left to Node.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const ROOT = new URL('../../../', import.meta.url)
const COMPILED = new URL('node_modules/.cache/compiled/', ROOT)

export function resolve(specifier, context, next) {
  // The compiler has made .js of the relative specifiers that end with .ts.
  const isOurs = /^\.\.?\/.*\.js$/.test(specifier) && context.parentURL?.startsWith(ROOT.href) === true
  const source = isOurs ? new URL(specifier.replace(/js$/, 'ts'), context.parentURL) : undefined
  return next(source !== undefined && existsSync(source) ? source.href : specifier, context)
}

export function load(url, context, next) {
  const file = compiledFile(url)
  if (file === undefined || !existsSync(file)) return next(url, context)
  if (statSync(file).mtimeMs < statSync(new URL(url)).mtimeMs) {
    throw new Error(`${url} has changed since it was compiled: run it by npm test`)
  }
  return { format: 'module', shortCircuit: true, source: readFileSync(file, 'utf8') }
}

function compiledFile(url) {
  if (!url.startsWith(ROOT.href) || !url.endsWith('.ts')) return undefined
  return fileURLToPath(new URL(url.slice(ROOT.href.length).replace(/ts$/, 'js'), COMPILED))
}
