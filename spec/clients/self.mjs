/**
 * For the examples, which import what their readers do: `node --import tsx --import ./self.mjs example.mjs`. The names of
 * this package are its sources, and those of clients are the newest versions that are installed.
 */
import { register } from 'node:module'

const lib = new URL('../../lib/', import.meta.url)
const names = {
  'kube-multidialer': new URL('index.ts', lib).href,
  'kube-multidialer/undici': new URL('adapters/undici.ts', lib).href,
  'kube-multidialer/client-node': new URL('adapters/client-node.ts', lib).href,
}
const aliases = { '@kubernetes/client-node': 'client-node-2', undici: process.env.UNDICI ?? 'undici-8' }
register(`data:text/javascript,${encodeURIComponent(`
  const names = ${JSON.stringify(names)}
  const aliases = ${JSON.stringify(aliases)}
  const examples = ${JSON.stringify(new URL('examples/', import.meta.url).href)}
  export function resolve(specifier, context, next) {
    if (!context.parentURL?.startsWith(examples)) return next(specifier, context)
    return next(names[specifier] ?? aliases[specifier] ?? specifier, context)
  }
`)}`)
