import { afterEach, expect, test, vi } from 'vitest'

import type { Run } from '../../api/types'
import { fits, listRuns } from './data'

const NOW = Date.parse('2026-11-27T12:00:00.000Z')

function run(number: number, more: Partial<Run> = {}): Run {
  return {
    run: number, flow: 'penguins', version: 'baa0fb', mode: 'live', trigger: '3 items in `inbox`', state: 'done',
    started: new Date(NOW - (10_000 - number) * 60_000).toISOString(), finished: null, took_ms: 1, arrivals: 3, outstanding: 0,
    revisions: 1, unchanged: 0, dead_letters: 0, exported: 0, ...more,
  }
}

afterEach(() => vi.unstubAllGlobals())

test('a run fits by words, state and time', () => {
  const one = run(9990, { dead_letters: 2 })
  expect(fits(one, {}, NOW)).toBe(true)
  expect(fits(one, { q: '9990 inbox' }, NOW)).toBe(true)
  expect(fits(one, { q: 'outbox' }, NOW)).toBe(false)
  expect(fits(one, { state: 'failures' }, NOW)).toBe(true)
  expect(fits(one, { state: 'running' }, NOW)).toBe(false)
  expect(fits(one, { since: '10m' }, NOW)).toBe(true)
  expect(fits(one, { since: '9m' }, NOW)).toBe(false)
  expect(fits(one, { until: '2026-11-27T11:00:00Z' }, NOW)).toBe(false)
})

/** A server with runs 1..10000, the newest first. */
function serve(): string[] {
  const asked: string[] = []
  vi.stubGlobal('fetch', (url: string) => {
    asked.push(url)
    const after = Number(new URL(url, 'http://x').searchParams.get('after') ?? 10_001)
    const rows = Array.from({ length: Math.min(500, after - 1) }, (_, at) => run(after - 1 - at, { dead_letters: (after - 1 - at) % 1000 === 0 ? 1 : 0 }))
    const last = rows.at(-1)?.run ?? 1
    return Promise.resolve(Response.json({ rows, next: last > 1 ? String(last) : null }))
  })
  return asked
}

test('the server is asked on until enough fit', async () => {
  const asked = serve()
  const page = await listRuns({ state: 'failures' }, NOW, undefined, new AbortController().signal)
  expect(page.rows.map((one) => one.run)).toEqual([10_000, 9000, 8000, 7000, 6000, 5000, 4000, 3000, 2000, 1000])
  expect(page.next).toBeNull()
  expect(asked).toHaveLength(20)
})

test('nothing older than what is asked for is fetched', async () => {
  const asked = serve()
  const page = await listRuns({ since: '60m' }, NOW, undefined, new AbortController().signal)
  expect(page.rows).toHaveLength(61)
  expect(page.next).toBeNull()
  expect(asked).toHaveLength(1)
})
