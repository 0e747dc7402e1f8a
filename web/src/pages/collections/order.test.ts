import { expect, test } from 'vitest'

import { found } from './order'

const rows = [
  { name: 'Penguins', datasets: 9, revisions: 9, bytes: 500, changed: '2026-11-27T10:00:00.000Z' },
  { name: 'Daily means', datasets: 4, revisions: 4, bytes: 500, changed: '2026-11-27T12:00:00.000Z' },
  { name: 'Penguins elsewhere', datasets: 1, revisions: 3, bytes: 9000, changed: '2026-11-26T10:00:00.000Z' },
]
const names = (search: Parameters<typeof found>[1]): string[] => found(rows, search).map((row) => row.name)

test('collections are found by all words and put in order', () => {
  expect(names({})).toEqual(['Daily means', 'Penguins', 'Penguins elsewhere'])
  expect(names({ q: 'else PENG' })).toEqual(['Penguins elsewhere'])
  expect(names({ sort: '-datasets' })).toEqual(['Penguins', 'Daily means', 'Penguins elsewhere'])
  expect(names({ sort: '-changed' })[0]).toBe('Daily means')
  // What is equal stays in the order of names.
  expect(names({ sort: 'bytes' })).toEqual(['Daily means', 'Penguins', 'Penguins elsewhere'])
})
