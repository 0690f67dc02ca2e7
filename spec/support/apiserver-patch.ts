/**
 * PATCH of an object: JSON merge patch (strategic merge is taken for one, too), and the JSON Patch that clients send.
 */
import type { KubeObject } from './apiserver-protocol.ts'

/** The patched object; undefined when the patch is malformed, or does not fit. */
export function patched(object: KubeObject, body: string): KubeObject | undefined {
  try {
    const patch: unknown = JSON.parse(body)
    const result = Array.isArray(patch) ? patch.reduce(operated, structuredClone(object)) : merged(object, patch)
    const { name, namespace, resourceVersion } = object.metadata
    if (!isRecord(result) || !isRecord(result['metadata'])) return undefined
    const kept = {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    }
    return { ...result, metadata: { ...result['metadata'], ...kept } }
  } catch {
    return undefined
  }
}

function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = merged(result[key], value)
  }
  return result
}

/** One operation of RFC 6902 on objects: add, replace, remove and test. */
function operated(target: unknown, operation: unknown): unknown {
  if (!isRecord(operation) || typeof operation['path'] !== 'string') throw new Error('no operation')
  const path = operation['path'].split('/').slice(1).map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const last = path.pop()
  const parent = path.reduce<unknown>((node, step) => (isRecord(node) ? node[step] : undefined), target)
  if (last === undefined || !isRecord(parent)) throw new Error('no such path')
  switch (operation['op']) {
    case 'add':
    case 'replace':
      parent[last] = operation['value']
      return target
    case 'remove':
      delete parent[last]
      return target
    case 'test':
      if (JSON.stringify(parent[last]) !== JSON.stringify(operation['value'])) throw new Error('test failed')
      return target
  }
  throw new Error('unknown operation')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
