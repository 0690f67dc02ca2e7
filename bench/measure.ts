/** The statistics of the benches: medians of repetitions that take turns, so that a drift meets all alike. */

/** NaN where there is no value. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Interpolated between the two nearest values. NaN where there is no value. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? NaN
  const above = sorted[Math.ceil(place)] ?? NaN
  // Infinity minus itself is no number.
  return below === above ? below : below + (above - below) * (place - Math.floor(place))
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** The median of `ones` over the median of `others`. */
export function ratio(ones: readonly number[], others: readonly number[]): number {
  return median(ones) / median(others)
}

/** The median of the ratios of pairs: of what was measured one right after the other. */
export function pairedRatio(ones: readonly number[], others: readonly number[]): number {
  return median(ratios(ones, others))
}

/** What the two of a pair differ by, whichever is ahead: the median of that, 1 or more. */
export function apart(ones: readonly number[], others: readonly number[]): number {
  return median(ratios(ones, others).map((each) => Math.max(each, 1 / each)))
}

function ratios(ones: readonly number[], others: readonly number[]): number[] {
  return ones.map((one, index) => one / (others[index] ?? NaN))
}

/**
 * Runs each contender once in each repetition, in turn: ABAB, and BABA every second time, so that none is always the
 * first. The results are in the order of the contenders, one list each.
 */
export async function interleaved<C, R>(
  contenders: readonly C[],
  repetitions: number,
  run: (contender: C) => Promise<R> | R,
): Promise<R[][]> {
  const results: R[][] = contenders.map(() => [])
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    const order = [...contenders.entries()]
    if (repetition % 2 === 1) order.reverse()
    for (const [index, contender] of order) results[index]?.push(await run(contender))
  }
  return results
}
