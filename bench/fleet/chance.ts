/** The chance of a simulation: numbers drawn from one seed (mulberry32), so that a run can be repeated. */

export class Chance {
  #seed: number

  constructor(seed: number) {
    this.#seed = seed >>> 0
  }

  /** From 0 (inclusive) to 1 (exclusive). */
  draw(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) >>> 0
    let mixed = this.#seed
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  between(least: number, most: number): number {
    return least + this.draw() * (most - least)
  }

  /** At least `base`, and less than twice as much. */
  upTo(base: number): number {
    return base * (1 + this.draw())
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.draw())
  }
}
