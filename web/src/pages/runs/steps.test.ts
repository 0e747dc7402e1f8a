import { describe, expect, test } from 'vitest'

import { barsOf, rowsOf, type RunStep, ticks, treeOf } from './steps'

const item = (id: string) => ({ id, name: `${id}.csv`, size: 1 })

function step(processor: string, input: string, children: string[], more: Partial<RunStep> = {}): RunStep {
  return {
    processor, kind: 'script', result: 'emitted', started: '2026-11-27T10:00:00.000Z', committed: '2026-11-27T10:00:01.000Z',
    took_us: 1000, input: item(input), children: children.map(item), ...more,
  }
}

const steps = [
  step('inbox', 'a', ['a'], { result: 'arrived' }),
  step('inbox', 'b', [], { result: 'arrived' }),
  step('clean', 'a', ['a1', 'a2']),
  step('shelf', 'a1', [], { result: 'collected' }),
  step('clean', 'b', [], { result: 'dead' }),
]

describe('the tree of a run', () => {
  test('what came of something stands below it', () => {
    const tree = treeOf(steps)
    expect(tree.roots).toEqual(['a', 'b'])
    expect(tree.places.get('a')).toMatchObject({ made: { processor: 'inbox' }, took: [{ processor: 'clean' }] })
    expect(tree.places.get('a1')).toMatchObject({ made: { processor: 'clean' }, took: [{ result: 'collected' }] })
    expect(rowsOf(tree, new Set()).map((row) => [row.place.item.id, row.level, row.parent])).toEqual([
      ['a', 1, true], ['a1', 2, false], ['a2', 2, false], ['b', 1, false],
    ])
    expect(rowsOf(tree, new Set(['/a'])).map((row) => row.place.item.id)).toEqual(['a', 'b'])
  })

  test('the order in which steps are told does not matter', () => {
    const tree = treeOf([...steps].reverse())
    expect(tree.roots.toSorted()).toEqual(['a', 'b'])
    expect(rowsOf(tree, new Set())).toHaveLength(4)
  })

  test('a part of a run without its beginning begins where it is known', () => {
    expect(treeOf(steps.slice(2)).roots).toEqual(['a', 'b'])
  })

  test('what was joined of several stands below each', () => {
    const tree = treeOf([step('join', 'a', ['j'], { result: 'joined' }), step('join', 'b', ['j'], { result: 'joined' })])
    expect(rowsOf(tree, new Set()).map((row) => row.key)).toEqual(['/a', '/a/j', '/b', '/b/j'])
  })
})

test('steps as bars in the time that they cover', () => {
  const { bars, begin, end } = barsOf([
    step('b', 'x', [], { started: '2026-11-27T10:00:00.500Z', took_us: 500_000 }),
    step('a', 'x', [], { started: '2026-11-27T10:00:00.000Z', took_us: 250_000 }),
  ])
  expect(end - begin).toBe(1000)
  expect(bars.map((bar) => [bar.step.processor, bar.from, bar.to])).toEqual([['a', 0, 0.25], ['b', 0.5, 1]])
  expect(barsOf([]).bars).toEqual([])
})

test('round times', () => {
  expect(ticks(1000)).toEqual([0, 200, 400, 600, 800, 1000])
  expect(ticks(7)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  expect(ticks(90_000)).toEqual([0, 20_000, 40_000, 60_000, 80_000])
})
