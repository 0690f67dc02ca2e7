/**
 * The events of virtual time, in order: a binary heap over typed arrays. Events of the same time come in the order in
 * which they were put in, so that a run is the same for the same seed. An event is a few numbers and leaves no garbage.
 */

export interface Entry {
  at: number
  kind: number
  client: number
  a: number
  b: number
}

export class EventQueue {
  #at = new Float64Array(1_024)
  #order = new Float64Array(1_024)
  #kind = new Uint8Array(1_024)
  #client = new Uint32Array(1_024)
  #a = new Float64Array(1_024)
  #b = new Float64Array(1_024)
  /** The heap: numbers of slots in the arrays above. */
  #heap = new Uint32Array(1_024)
  #size = 0
  #lastOrder = 0
  #free: number[] = []
  #slots = 0

  push(at: number, kind: number, client: number, a = 0, b = 0): void {
    const slot = this.#free.pop() ?? this.#newSlot()
    this.#at[slot] = at
    this.#order[slot] = ++this.#lastOrder
    this.#kind[slot] = kind
    this.#client[slot] = client
    this.#a[slot] = a
    this.#b[slot] = b
    let place = this.#size++
    while (place > 0) {
      const parent = (place - 1) >> 1
      const above = this.#heap[parent] ?? 0
      if (this.#before(above, slot)) break
      this.#heap[place] = above
      place = parent
    }
    this.#heap[place] = slot
  }

  /** Takes out the next event and writes it into `entry`; false where there is none up to `until`. */
  pop(entry: Entry, until: number): boolean {
    const slot = this.#heap[0] ?? 0
    if (this.#size === 0 || (this.#at[slot] ?? 0) > until) return false
    entry.at = this.#at[slot] ?? 0
    entry.kind = this.#kind[slot] ?? 0
    entry.client = this.#client[slot] ?? 0
    entry.a = this.#a[slot] ?? 0
    entry.b = this.#b[slot] ?? 0
    this.#free.push(slot)
    const last = this.#heap[--this.#size] ?? 0
    let place = 0
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#before(this.#heap[child + 1] ?? 0, this.#heap[child] ?? 0)) child += 1
      const below = this.#heap[child] ?? 0
      if (this.#before(last, below)) break
      this.#heap[place] = below
      place = child
    }
    this.#heap[place] = last
    return true
  }

  #before(one: number, other: number): boolean {
    const difference = (this.#at[one] ?? 0) - (this.#at[other] ?? 0)
    return difference < 0 || (difference === 0 && (this.#order[one] ?? 0) < (this.#order[other] ?? 0))
  }

  #newSlot(): number {
    if (this.#slots === this.#at.length) this.#grow()
    return this.#slots++
  }

  #grow(): void {
    const length = 2 * this.#at.length
    const doubled = (array: Float64Array): Float64Array<ArrayBuffer> => {
      const longer = new Float64Array(length)
      longer.set(array)
      return longer
    }
    this.#at = doubled(this.#at)
    this.#order = doubled(this.#order)
    this.#a = doubled(this.#a)
    this.#b = doubled(this.#b)
    const kind = new Uint8Array(length)
    kind.set(this.#kind)
    this.#kind = kind
    const client = new Uint32Array(length)
    client.set(this.#client)
    this.#client = client
    const heap = new Uint32Array(length)
    heap.set(this.#heap)
    this.#heap = heap
  }
}
