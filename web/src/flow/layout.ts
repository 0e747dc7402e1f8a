// Where cards stand: a column for each phase, in the document's order from top to bottom, each as near as that allows to
// the height of what it reads. Pure.
import type { FlowModel, Step } from './model'

export const LANE_WIDTH = 248
export const LANE_GAP = 64
export const CARD_WIDTH = 216
export const LANE_HEAD = 44
export const CARD_GAP = 20
export const CARD_HEIGHT = 94
/** What is above the ports of a card, and each of them. */
export const HEAD_HEIGHT = 42
export const PORT_HEIGHT = 22
const PORTS_TOP = 1 + HEAD_HEIGHT + 4
const LANE_FOOT = 56
/** Lanes that are there even where nothing is in them. */
export const LEAST_LANES = 3

export interface Placed {
  x: number
  y: number
  height: number
}

export interface Layout {
  cards: Map<string, Placed>
  lanes: { x: number; height: number; cards: string[] }[]
}

/** A card with one port has it at its side; with several, each has a line. */
export const showsPorts = (step: Pick<Step, 'outputs'>) => step.outputs.length > 1

export const cardHeight = (step: Pick<Step, 'outputs'>) => CARD_HEIGHT + (showsPorts(step) ? step.outputs.length * PORT_HEIGHT + 8 : 0)

/** Where connections leave a card and come in: the middles of its dots, from its upper left corner. */
export function dots(step: Pick<Step, 'outputs' | 'type'>): { type: 'source' | 'target'; id: string; x: number; y: number }[] {
  const middle = cardHeight(step) / 2
  return [
    ...(step.type === 'ingest' ? [] : [{ type: 'target' as const, id: 'in', x: 1, y: middle }]),
    ...step.outputs.map((id, at) => ({ type: 'source' as const, id, x: CARD_WIDTH - 1, y: showsPorts(step) ? PORTS_TOP + PORT_HEIGHT * (at + 0.5) : middle })),
  ]
}

export const laneX = (lane: number) => lane * (LANE_WIDTH + LANE_GAP)

/** The lane at a place, also one that is not there yet. */
export const laneAt = (x: number) => Math.max(0, Math.floor((x + LANE_GAP / 2) / (LANE_WIDTH + LANE_GAP)))

export function layout(model: FlowModel): Layout {
  const count = Math.max(model.lanes, LEAST_LANES)
  const columns: Step[][] = Array.from({ length: count }, () => [])
  for (const step of model.steps) columns[step.lane]?.push(step)
  const heights = columns.map((column) => column.reduce((sum, step) => sum + cardHeight(step) + CARD_GAP, 0))
  const bottom = LANE_HEAD + 16 + Math.max(...heights, 0)
  const cards = new Map<string, Placed>()
  columns.forEach((column, lane) => {
    let y = LANE_HEAD + 16
    let rest = heights[lane] ?? 0
    for (const step of column) {
      const height = cardHeight(step)
      const middles = step.inputs.flatMap((input) => {
        const read = cards.get(input.from)
        return read ? [read.y + read.height / 2] : []
      })
      const wish = middles.length > 0 ? middles.reduce((sum, one) => sum + one, 0) / middles.length - height / 2 : y
      y = Math.max(y, Math.min(wish, bottom - rest))
      cards.set(step.id, { x: laneX(lane) + (LANE_WIDTH - CARD_WIDTH) / 2, y: Math.round(y), height })
      y += height + CARD_GAP
      rest -= height + CARD_GAP
    }
  })
  const height = Math.max(bottom + LANE_FOOT - CARD_GAP, 320)
  return { cards, lanes: columns.map((column, lane) => ({ x: laneX(lane), height, cards: column.map((step) => step.id) })) }
}

/**
 * Before which processor of the document a card is put that is dropped in a lane with its middle at `y`: an id, `null` for
 * the end of the document, `undefined` where the order stays.
 */
export function dropBefore(model: FlowModel, placed: Layout, id: string, lane: number, y: number): string | null | undefined {
  const others = (placed.lanes[lane]?.cards ?? []).filter((one) => one !== id)
  if (others.length === 0) return undefined
  const below = others.find((one) => {
    const card = placed.cards.get(one)
    return card !== undefined && card.y + card.height / 2 > y
  })
  if (below !== undefined) return below
  const last = model.steps.findIndex((step) => step.id === others.at(-1))
  return model.steps[last + 1]?.id ?? null
}

/** A connection's way through a lane that it only passes: level, at this height. */
export interface Pass {
  x1: number
  x2: number
  y: number
}

/** Between a line and a card, and between two lines in the same gap. */
const CLEAR = 5
/** Where the button of a lane begins, from its foot. */
const BUTTON = 46

/**
 * How connections get through the lanes that lie between their ends: between the cards, each through the gap nearest to its
 * straight way, and beside the lines that are there already. Those from one lane to the next have nothing to pass.
 */
export function passes(model: FlowModel, placed: Layout): Map<string, Pass[]> {
  const steps = new Map(model.steps.map((step) => [step.id, step]))
  const end = (id: string, type: 'source' | 'target', port: string) => {
    const [step, card] = [steps.get(id), placed.cards.get(id)]
    const dot = step && dots(step).find((one) => one.type === type && one.id === port)
    return step && card && dot && { lane: step.lane, y: card.y + dot.y }
  }
  const free = placed.lanes.map((lane) => gaps(lane, placed))
  const taken = new Map<string, number[]>()
  const found = new Map<string, Pass[]>()
  for (const edge of model.edges) {
    const [from, to] = [end(edge.from, 'source', edge.port), end(edge.to, 'target', 'in')]
    if (!from || !to || to.lane - from.lane < 2) continue
    const way: Pass[] = []
    for (let at = from.lane + 1; at < to.lane; at += 1) {
      const straight = from.y + ((to.y - from.y) * (at - from.lane)) / (to.lane - from.lane)
      const within = (gap: { top: number; bottom: number }) => Math.max(gap.top + CLEAR, Math.min(gap.bottom - CLEAR, straight))
      const [nearest] = (free[at] ?? []).toSorted((a, b) => Math.abs(within(a) - straight) - Math.abs(within(b) - straight))
      if (!nearest) continue
      const key = `${at} ${nearest.top}`
      const others = taken.get(key) ?? []
      const y = beside(within(nearest), others, nearest)
      taken.set(key, [...others, y])
      way.push({ x1: laneX(at) + 8, x2: laneX(at) + LANE_WIDTH - 8, y })
    }
    if (way.length > 0) found.set(edge.id, way)
  }
  return found
}

/** Where a lane has no card, from below its name to above its button. */
function gaps(lane: Layout['lanes'][number], placed: Layout): { top: number; bottom: number }[] {
  const cards = lane.cards.flatMap((id) => placed.cards.get(id) ?? []).toSorted((a, b) => a.y - b.y)
  const tops = [LANE_HEAD, ...cards.map((card) => card.y + card.height)]
  const bottoms = [...cards.map((card) => card.y), lane.height - BUTTON]
  return tops.map((top, at) => ({ top, bottom: bottoms[at] ?? top })).filter((gap) => gap.bottom - gap.top >= 2 * CLEAR)
}

/** The place nearest to `y` in a gap that is clear of the lines there; `y` itself where there is none. */
function beside(y: number, others: number[], gap: { top: number; bottom: number }): number {
  for (let away = 0; away <= gap.bottom - gap.top; away += CLEAR) {
    const place = [y + away, y - away].find((one) => one >= gap.top + CLEAR && one <= gap.bottom - CLEAR && others.every((other) => Math.abs(other - one) >= CLEAR))
    if (place !== undefined) return place
  }
  return y
}
