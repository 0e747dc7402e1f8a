import { afterEach, expect, test, vi } from 'vitest'

import type { Run } from '../../api/types'
import { listRuns } from './data'

const NOW = Date.parse('2026-11-27T12:00:00.000Z')

const run = (number: number): Run => ({
  run: number, flow: 'penguins', version: 'baa0fb', mode: 'live', trigger: '3 items in `inbox`', state: 'done',
  started: new Date(NOW).toISOString(), finished: null, took_ms: 1, arrivals: 3, outstanding: 0,
  revisions: 1, unchanged: 0, dead_letters: 0, exported: 0,
})

afterEach(() => vi.unstubAllGlobals())

/** A server that looks through 1000 runs for a page, of which one in 3000 is meant. */
function serve(): URLSearchParams[] {
  const asked: URLSearchParams[] = []
  vi.stubGlobal('fetch', (url: string) => {
    const search = new URL(url, 'http://x').searchParams
    asked.push(search)
    const after = Number(search.get('after') ?? 10_000)
    const rows = after % 3000 === 0 ? [run(after)] : []
    return Promise.resolve(Response.json({ rows, next: after > 1000 ? String(after - 1000) : null }))
  })
  return asked
}

test('the server is asked on until it finds some', async () => {
  const asked = serve()
  const first = await listRuns({ state: 'failures' }, NOW, undefined, new AbortController().signal)
  expect([first.rows.map((one) => one.run), first.next]).toEqual([[9000], '8000'])
  expect(asked).toHaveLength(2)
  const rest = await listRuns({ state: 'failures' }, NOW, '2000', new AbortController().signal)
  expect(rest).toEqual({ rows: [], next: null })
})

test('the server is told what is looked for', async () => {
  const asked = serve()
  await listRuns({ q: 'inbox 9', flow: 'penguins', state: 'running', since: '60m', until: '2026-11-27' }, NOW, '9000', new AbortController().signal)
  expect(Object.fromEntries(asked[0] ?? [])).toEqual({
    q: 'inbox 9', flow: 'penguins', state: 'running', since: '2026-11-27T11:00:00.000Z', until: '2026-11-27T00:00:00.000Z', limit: '100', after: '9000',
  })
})
