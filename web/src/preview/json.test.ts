import { describe, expect, test } from 'vitest'

import { type JsonNode, readJson, readJsonLines, summary, treeRows } from './json'

const children = (node: JsonNode | null): readonly JsonNode[] => node?.children() ?? []

describe('JSON as a tree', () => {
  test('numbers stay as they are written', () => {
    const { root, problem } = readJson('{"id": 9007199254740993, "x": 1.0, "y": 1E400, "s": "a\\u00e9"}', false)
    expect(problem).toBeNull()
    expect(children(root).map((node) => [node.key, node.type, node.text])).toEqual([
      ['id', 'number', '9007199254740993'],
      ['x', 'number', '1.0'],
      ['y', 'number', '1E400'],
      ['s', 'string', 'aé'],
    ])
  })

  test('keys that stand twice are both shown', () => {
    expect(children(readJson('{"a":1,"a":2}', false).root).map((node) => node.text)).toEqual(['1', '2'])
  })

  test('text that was cut is shown as far as it goes, without blame', () => {
    const { root, problem } = readJson('{"a": [1, 2, {"b": tr', true)
    expect(problem).toBeNull()
    expect(children(children(root)[0] ?? null)).toHaveLength(3)
  })

  test('what is wrong is told with its line, and the rest is shown', () => {
    expect(readJson('{"a": 1,\n "b": }', false).problem).toBe('value expected on line 2')
    expect(readJson('{"a": 1,\n "b": nope,\n "c": 3}', false).problem).toContain('on line 2')
    expect(children(readJson('[1, 2', false).root)).toHaveLength(2)
    expect(readJson('', false)).toMatchObject({ root: null, problem: 'value expected on line 1' })
  })

  test('a mistake before a cut is still told', () => {
    expect(readJson('{"a" 1,\n "b": 2, "c', true).problem).toBe('colon expected on line 1')
  })

  test('nesting beyond the stack is told', () => {
    expect(readJson('['.repeat(500_000), false)).toMatchObject({ root: null })
  })
})

test('JSON lines: each a value; one that is not is shown as it stands', () => {
  const read = readJsonLines('{"a":1}\n\nnope\n{"a":3}\n', false, 100)
  expect(read.problem).toBe('line 3 is not JSON')
  expect(children(read.root).map((node) => node.type)).toEqual(['object', 'string', 'object'])
  expect(readJsonLines('1\n2\n3\n', false, 2)).toMatchObject({ more: true, root: { size: 2 } })
  expect(readJsonLines('1\n2\n{"a', true, 9)).toMatchObject({ more: true, problem: null, root: { size: 2 } })
})

test('only what is below open nodes becomes rows, a hundred at a time', () => {
  const { root } = readJson(`{"list": [${Array.from({ length: 250 }, (_, at) => at).join(',')}], "b": {"c": null}}`, false)
  if (root === null) throw new Error('no root')
  expect(treeRows(root, new Set(), new Map())).toHaveLength(1)
  expect(treeRows(root, new Set(['']), new Map()).map((row) => row.node?.key)).toEqual([null, 'list', 'b'])
  const rows = treeRows(root, new Set(['', '0']), new Map())
  expect(rows).toHaveLength(1 + 1 + 100 + 1 + 1)
  expect(rows[102]).toMatchObject({ id: '0.more', node: null, rest: 150, level: 3 })
  expect(treeRows(root, new Set(['', '0']), new Map([['0', 300]]))).toHaveLength(1 + 1 + 250 + 1)
  // An open child of a closed node is not seen.
  expect(treeRows(root, new Set(['0']), new Map())).toHaveLength(1)
})

test('what is closed says in one line what is in it', () => {
  const { root } = readJson('{"id": 7, "tags": ["a"], "o": {}, "name": "line\\none"}', false)
  if (root === null) throw new Error('no root')
  expect(summary(root)).toBe('id: 7, tags: […], o: {…}, name: "line one"')
  expect(summary(root, 5)).toBe('id: 7, tags: […], …')
})
