/**
 * Randomness as state: a draw takes a seed and returns the next one, so that the same state and events
 * give the same effects. Nothing here is, or may be used as, a secret.
 */

/** A 32-bit unsigned seed. */
export type Seed = number

/** Draws a number from 0 (inclusive) to 1 (exclusive) and the seed of the next draw (mulberry32). */
export function draw(seed: Seed): readonly [value: number, next: Seed] {
  const next = (seed + 0x6d2b79f5) >>> 0
  let mixed = next
  mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
  return [((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296, next]
}
