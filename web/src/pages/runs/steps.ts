// The steps of a run as a tree of its items, and as bars in time. Pure; what it looks like stands in the views.
import type { StepResult } from '../datasets/types'

/** An item, as far as a step tells of it. */
export interface StepItem {
  id: string
  name: string
  size: number
  /** The output it left by, where it is not the default one. */
  port?: string | null
}

/** One processor's work on one item. */
export interface RunStep {
  processor: string
  kind: string
  result: StepResult
  started: string
  committed: string
  took_us: number
  note?: string | null
  input: StepItem
  /** The first of what came out. */
  children: StepItem[]
  /** How many more came out. */
  more?: number
  dataset?: { id: string; revision: number } | null
  dead_letter?: string | null
}

/** An item with what made it and what took it. */
export interface Place {
  item: StepItem
  made: RunStep | null
  took: RunStep[]
}

export interface Tree {
  /** Items that nothing in this run made, in the order in which they came. */
  roots: string[]
  places: Map<string, Place>
}

/** Puts steps together by the ids of their items. An arrival is the step that makes the item that it is told of. */
export function treeOf(steps: readonly RunStep[]): Tree {
  const places = new Map<string, Place>()
  const made = new Set<string>()
  const at = (item: StepItem): Place => {
    const known = places.get(item.id)
    if (known) return known
    const place: Place = { item, made: null, took: [] }
    places.set(item.id, place)
    return place
  }
  for (const step of steps) {
    const arrival = step.result === 'arrived' || step.result === 'reentered'
    const input = at(step.input)
    if (arrival) input.made = step
    else input.took.push(step)
    for (const child of step.children) {
      if (child.id === step.input.id) continue
      const place = at(child)
      // What is known of it as a child is more than as an input: its port.
      place.item = { ...place.item, ...child }
      place.made = step
      made.add(child.id)
    }
  }
  return { roots: [...places.keys()].filter((id) => !made.has(id)), places }
}

/** The ids of what came of an item, in the order in which it came. */
export const childrenOf = (place: Place): string[] =>
  place.took.flatMap((step) => step.children.map((child) => child.id)).filter((id) => id !== place.item.id)

export interface TreeRow {
  place: Place
  level: number
  open: boolean
  /** Whether something came of it. */
  parent: boolean
  position: number
  siblings: number
}

/** The rows that are seen, those below closed items left out. An item that several others were joined into stands below each. */
export function rowsOf(tree: Tree, closed: ReadonlySet<string>): (TreeRow & { key: string })[] {
  const rows: (TreeRow & { key: string })[] = []
  const add = (id: string, level: number, position: number, siblings: number, above: string): void => {
    const place = tree.places.get(id)
    if (!place || level > 200) return
    const key = `${above}/${id}`
    const below = childrenOf(place)
    const open = below.length > 0 && !closed.has(key)
    rows.push({ key, place, level, open, parent: below.length > 0, position, siblings })
    if (open) below.forEach((child, index) => add(child, level + 1, index + 1, below.length, key))
  }
  tree.roots.forEach((id, index) => add(id, 1, index + 1, tree.roots.length, ''))
  return rows
}

/** A step as a bar, from 0 to 1 of the time that is shown. */
export interface Bar {
  step: RunStep
  from: number
  to: number
}

/** Bars in the order in which the steps began, and the time that they cover, in milliseconds since 1970. */
export function barsOf(steps: readonly RunStep[]): { bars: Bar[]; begin: number; end: number } {
  const timed = steps.map((step) => {
    const from = Date.parse(step.started)
    return { step, from, to: from + step.took_us / 1000 }
  })
  const begin = Math.min(...timed.map((one) => one.from))
  const end = Math.max(...timed.map((one) => one.to), begin + 1)
  if (!Number.isFinite(begin)) return { bars: [], begin: 0, end: 1 }
  const scale = (time: number): number => (time - begin) / (end - begin)
  const bars = timed.map(({ step, from, to }) => ({ step, from: scale(from), to: scale(to) }))
  return { bars: bars.sort((a, b) => a.from - b.from || a.to - b.to), begin, end }
}

/** Times at which a line is drawn: round ones, some four to eight of them, in milliseconds from the beginning. */
export function ticks(length: number): number[] {
  const steps = [1, 2, 5].flatMap((digit) => [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000].map((power) => digit * power))
  const step = steps.sort((a, b) => a - b).find((one) => length / one <= 8) ?? length
  const list: number[] = []
  for (let at = 0; at <= length; at += step) list.push(at)
  return list
}
