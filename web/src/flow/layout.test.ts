import { describe, expect, it } from 'vitest'
import { dropBefore, laneAt, laneX, layout } from './layout'
import { readModel } from './model'

const model = (text: string) => {
  const { model: found } = readModel(text)
  if (!found) throw new Error('broken')
  return found
}

describe('the layout', () => {
  const flow = model(`name: A
processors:
  - { id: a, type: ingest, phase: 1 }
  - { id: b, type: ingest, phase: 1 }
  - { id: c, type: route, phase: 2, inputs: [b], routes: [{ port: x, when: 'true' }] }
  - { id: d, type: collect, phase: 3, inputs: [a, b] }
`)
  const placed = layout(flow)

  it('lets no cards overlap, and keeps each in its lane', () => {
    for (const lane of placed.lanes) {
      let bottom = 0
      for (const id of lane.cards) {
        const card = placed.cards.get(id)
        expect(card?.y).toBeGreaterThanOrEqual(bottom)
        bottom = (card?.y ?? 0) + (card?.height ?? 0)
        expect(bottom).toBeLessThan(lane.height)
        expect(laneAt((card?.x ?? 0) + 50)).toBe(placed.lanes.indexOf(lane))
      }
    }
  })

  it('puts what reads two between them', () => {
    const [a, b, d] = ['a', 'b', 'd'].map((id) => (placed.cards.get(id)?.y ?? 0) + (placed.cards.get(id)?.height ?? 0) / 2)
    expect(d).toBe(((a ?? 0) + (b ?? 0)) / 2)
  })

  it('knows where a dropped card goes in the document', () => {
    expect(dropBefore(flow, placed, 'c', 0, 0)).toBe('a')
    expect(dropBefore(flow, placed, 'c', 0, 9999)).toBe('c')
    expect(dropBefore(flow, placed, 'a', 2, 9999)).toBeNull()
    expect(dropBefore(flow, placed, 'a', 5, 0)).toBeUndefined()
    expect(laneAt(laneX(4) + 1)).toBe(4)
  })

  it('has three lanes where there is nothing', () => {
    expect(layout(model('name: A')).lanes).toHaveLength(3)
  })
})
