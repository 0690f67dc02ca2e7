/** Counts of each second of virtual time, and what is read off them. */

export function count(counts: number[], now: number): void {
  const second = Math.floor(now / 1_000)
  // An array with holes is slow to read.
  while (counts.length <= second) counts.push(0)
  counts[second] = (counts[second] ?? 0) + 1
}

/** The count of the fullest second between two times in ms. */
export function peak(counts: readonly number[], from: number, to: number): number {
  let most = 0
  for (let second = Math.floor(from / 1_000); second < to / 1_000; second += 1) {
    most = Math.max(most, counts[second] ?? 0)
  }
  return most
}

/** The mean count of a second between two times in ms. */
export function mean(counts: readonly number[], from: number, to: number): number {
  let total = 0
  for (let second = Math.floor(from / 1_000); second < to / 1_000; second += 1) total += counts[second] ?? 0
  return total / ((to - from) / 1_000)
}
