import { afterEach, expect, test, vi } from 'vitest'

import { readPart } from './content'

const text = async (url: string, start: number, end: number): Promise<string> =>
  new TextDecoder().decode(await readPart(url, start, end))

/** A server with one content; `parts` says whether it answers ranges. */
function serve(content: string, parts: boolean): { asked: string[]; broken: () => boolean } {
  const bytes = new TextEncoder().encode(content)
  const asked: string[] = []
  let broken = false
  vi.stubGlobal('fetch', (_: string, init: RequestInit) => {
    const range = new Headers(init.headers).get('range') ?? ''
    asked.push(range)
    const [from = 0, to = 0] = (/bytes=(\d+)-(\d+)/.exec(range) ?? []).slice(1).map(Number)
    if (parts && from >= bytes.length) return Promise.resolve(new Response(null, { status: 416 }))
    if (parts) return Promise.resolve(new Response(bytes.slice(from, to + 1), { status: 206 }))
    let at = 0
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= bytes.length) controller.close()
        else controller.enqueue(bytes.slice(at, (at += 3)))
      },
      cancel() {
        broken = true
      },
    })
    return Promise.resolve(new Response(stream, { status: 200 }))
  })
  return { asked, broken: () => broken }
}

afterEach(() => vi.unstubAllGlobals())

test('a part is asked for by its range', async () => {
  const server = serve('0123456789', true)
  expect(await text('/x', 2, 6)).toBe('2345')
  expect(server.asked).toEqual(['bytes=2-5'])
  expect(await text('/x', 8, 100)).toBe('89')
  expect(await text('/x', 50, 100)).toBe('')
})

test('nothing is asked for where nothing is wanted', async () => {
  const server = serve('0123456789', true)
  expect(await text('/x', 5, 5)).toBe('')
  expect(server.asked).toEqual([])
})

test('a server that sends everything is read only as far as needed', async () => {
  const server = serve('0123456789abcdefghijklmnopqrstuvwxyz', false)
  expect(await text('/x', 2, 6)).toBe('2345')
  expect(server.broken()).toBe(true)
  expect(await text('/x', 30, 99)).toBe('uvwxyz')
})

test('a refusal is thrown in the words of the server', async () => {
  const problem = { status: 404, code: 'not-found', detail: 'its bytes were let go', hint: 'reprocess its arrival' }
  vi.stubGlobal('fetch', () => Promise.resolve(Response.json(problem, { status: 404 })))
  await expect(readPart('/x', 0, 10)).rejects.toMatchObject({ message: 'its bytes were let go', hint: 'reprocess its arrival' })
})
