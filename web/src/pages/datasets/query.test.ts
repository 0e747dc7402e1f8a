import { describe, expect, test } from 'vitest'

import { parseSearch } from '../../lib/search'
import { addressOf, chosen, datasetsQuery, keepView, moment, readViews, searchOf, sizeOf } from './query'
import { datasetsSearch } from './search'

const NOW = Date.parse('2026-11-27T12:00:00.000Z')

describe('times and sizes', () => {
  test('relative times count back from now, others stand', () => {
    expect(moment('24h', NOW)).toBe('2026-11-26T12:00:00.000Z')
    expect(moment('30m', NOW)).toBe('2026-11-27T11:30:00.000Z')
    expect(moment('2026-11-01T00:00:00Z', NOW)).toBe('2026-11-01T00:00:00.000Z')
    expect(moment('yesterday', NOW)).toBeUndefined()
    expect(moment(undefined, NOW)).toBeUndefined()
  })

  test('sizes as people write them', () => {
    expect(['12', '1.5 MB', '2kb', ' 3 GB '].map(sizeOf)).toEqual([12, 1_500_000, 2000, 3_000_000_000])
    expect(['', 'big', '-1', '1 MiB'].map(sizeOf)).toEqual([undefined, undefined, undefined, undefined])
  })
})

test('an address becomes a request, and what does not fit is dropped', () => {
  const search = datasetsSearch(parseSearch('?q=kelp&sort=-size&since=24h&min_size=100&export=nonsense&foo=1&run=x'))
  expect(search).toEqual({ q: 'kelp', sort: '-size', since: '24h', min_size: 100 })
  expect(datasetsQuery(search, NOW)).toEqual({
    q: 'kelp', sort: '-size', min_size: 100, since: '2026-11-26T12:00:00.000Z', until: undefined,
  })
  expect(datasetsQuery({}, NOW)).toMatchObject({ sort: '-committed' })
  expect(datasetsSearch(parseSearch(addressOf(search)))).toEqual(search)
})

test('filters in words', () => {
  const search = datasetsSearch(parseSearch('?collection=Penguins&since=7d&min_size=1500&export=none&sort=name'))
  expect(chosen(search).map((filter) => filter.words)).toEqual([
    'in Penguins', 'since 7 days ago', 'at least 1.5 kB', 'export not asked for',
  ])
})

test('views are kept by name, and what is broken in the browser’s store is left out', () => {
  const views = keepView(keepView([], 'Large', { min_size: 1000 }), 'All of it', {})
  expect(views).toEqual([{ name: 'All of it', search: '' }, { name: 'Large', search: '?min_size=1000' }])
  expect(keepView(views, 'Large', { q: 'x' })).toHaveLength(2)
  expect(readViews(JSON.stringify(views)).map(searchOf)).toEqual([{}, { min_size: 1000 }])
  expect(readViews('{"no": "list"}')).toEqual([])
  expect(readViews('[null, 3, {"name": 1}]')).toEqual([])
  expect(readViews('broken')).toEqual([])
})
