/**
 * Freezes a state to its depth, so that a step that changes what it was given throws. Object.freeze does not reach
 * into a Map or a Set: their changing methods are made to throw. What was frozen once is not looked at again, as
 * states share nearly everything with the states before them.
 */

const frozen = new WeakSet<object>()

function refuse(): never {
  throw new TypeError('a state is replaced, never changed')
}

export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || frozen.has(value)) return value
  frozen.add(value)
  if (value instanceof Map || value instanceof Set) {
    for (const method of ['set', 'add', 'delete', 'clear']) {
      if (method in value) Object.defineProperty(value, method, { value: refuse, enumerable: false })
    }
    for (const each of value instanceof Map ? value.values() : value) deepFreeze(each)
  } else {
    for (const each of Object.values(value)) deepFreeze(each)
  }
  return Object.freeze(value)
}
