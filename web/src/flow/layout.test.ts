import { describe, expect, it } from 'vitest'
import { dots, dropBefore, laneAt, laneX, layout, LANE_WIDTH, passes } from './layout'
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

describe('the ways of connections', () => {
  const full = Array.from({ length: 6 }, (_, at) => `  - { id: m${at}, type: script, phase: 2, inputs: [a] }\n  - { id: n${at}, type: script, phase: 3, inputs: [m${at}] }\n`).join('')
  const ends = Array.from({ length: 4 }, (_, at) => `  - { id: z${at}, type: collect, phase: 4, inputs: [a, n0] }\n`).join('')
  const flow = model(`name: A\nprocessors:\n  - { id: a, type: ingest, phase: 1 }\n${full}${ends}`)
  const placed = layout(flow)
  const ways = passes(flow, placed)

  it('lead around the cards of the lanes that they pass, and apart from each other', () => {
    const long = flow.edges.filter((edge) => edge.from === 'a' && edge.to.startsWith('z'))
    expect(long).toHaveLength(4)
    const seen = new Set<string>()
    for (const edge of long) {
      const way = ways.get(edge.id)
      expect(way).toHaveLength(2)
      way?.forEach((pass, at) => {
        const lane = placed.lanes[at + 1]
        expect([pass.x1, pass.x2].map(laneAt)).toEqual([at + 1, at + 1])
        expect(pass.x2 - pass.x1).toBeGreaterThan(LANE_WIDTH / 2)
        for (const id of lane?.cards ?? []) {
          const card = placed.cards.get(id)
          expect(pass.y < (card?.y ?? 0) || pass.y > (card?.y ?? 0) + (card?.height ?? 0)).toBe(true)
        }
        expect(pass.y).toBeLessThan(lane?.height ?? 0)
        expect(seen.has(`${at} ${pass.y}`)).toBe(false)
        seen.add(`${at} ${pass.y}`)
      })
    }
  })

  it('are none of their own from one lane to the next', () => {
    expect(flow.edges.filter((edge) => ways.has(edge.id)).every((edge) => edge.from === 'a' && edge.to.startsWith('z'))).toBe(true)
  })

  it('begin and end at the dots of the cards', () => {
    const card = { outputs: ['x', 'y'], type: 'route' }
    expect(dots(card).map((dot) => dot.id)).toEqual(['in', 'x', 'y'])
    expect(new Set(dots(card).map((dot) => dot.y)).size).toBe(3)
    expect(dots({ outputs: ['out'], type: 'ingest' }).map((dot) => dot.type)).toEqual(['source'])
  })
})
