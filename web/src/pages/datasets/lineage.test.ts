import { expect, test } from 'vitest'

import { list, place, remarks } from './lineage'
import type { Lineage } from './types'

const lineage: Lineage = {
  nodes: [
    { id: 'd', kind: 'dataset', label: 'joined.csv' },
    { id: 's1', kind: 'source', label: 'a.csv' },
    { id: 's2', kind: 'source', label: 'b.csv' },
    { id: 'i', kind: 'item', label: 'joined.csv', processor: 'join' },
  ],
  edges: [
    { from: 's1', to: 'i', processor: 'join' },
    { from: 's2', to: 'i', processor: 'join' },
    { from: 'i', to: 'd', processor: 'shelf' },
    { from: 'elsewhere', to: 'd', processor: 'shelf' },
  ],
  cut: false,
}

test('what comes of something stands right of it and after it', () => {
  const at = new Map(place(lineage).map((node) => [node.id, node]))
  expect(at.get('s1')?.x).toBeLessThan(at.get('i')?.x ?? 0)
  expect(at.get('i')?.x).toBeLessThan(at.get('d')?.x ?? 0)
  expect(at.get('s1')?.y).not.toBe(at.get('s2')?.y)
  const listed = list(lineage)
  expect(listed.map((one) => one.node.id)).toEqual(['s1', 's2', 'i', 'd'])
  expect(listed[2]?.from).toEqual([{ label: 'a.csv', processor: 'join' }, { label: 'b.csv', processor: 'join' }])
  // An edge to what is not told of counts for nothing.
  expect(listed[3]?.from).toEqual([{ label: 'joined.csv', processor: 'shelf' }])
})

test('nothing that was told is left out, even in a circle', () => {
  const circle: Lineage = { cut: false, nodes: lineage.nodes.slice(0, 2), edges: [{ from: 'd', to: 's1', processor: 'x' }, { from: 's1', to: 'd', processor: 'y' }] }
  expect(list(circle)).toHaveLength(2)
})

test('remarks of a node', () => {
  expect(remarks({ id: 'd@1', kind: 'dataset', label: 'x', revision: 1, present: false, processor: 'shelf' })).toEqual(['shelf', 'revision 1', 'there is a newer one'])
  expect(remarks({ id: 'i', kind: 'item', label: 'x', ended: 'dead' })).toEqual(['failed'])
  expect(remarks({ id: 'i', kind: 'item', label: 'x', ended: 'emitted' })).toEqual(['dropped'])
})
