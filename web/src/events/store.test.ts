import { describe, expect, it, vi } from 'vitest'
import { EventStore, type FlowNumbers, type Recent } from './store'

const numbers = (out: number, more: Partial<FlowNumbers> = {}): FlowNumbers => ({
  state: 'enabled', version: 'v', outstanding: 0, held: 0, dead_letters: 0,
  processors: { inbox: { in: 0, out: 5, failed: 0, retried: 0, waiting: 0, took_us: 10 }, clean: { in: out, out, failed: 0, retried: 0, waiting: 5 - out, took_us: 10 } },
  ...more,
})
const at = (seconds: number) => new Date(1_800_000_000_000 + seconds * 1000).toISOString()
const ms = (seconds: number) => 1_800_000_000_000 + seconds * 1000
const recent = (item: string, seconds: number): Recent => ({ flow: 'a', item, name: item, arrival: 1, at: ms(seconds), result: 'collected', processor: 'shelf', size: 1, steps: [] })

describe('the event store', () => {
  it('tells only those whose numbers changed', () => {
    const store = new EventStore()
    const heard = { inbox: vi.fn(), clean: vi.fn(), flow: vi.fn(), other: vi.fn() }
    store.subscribe('processor:a/inbox', heard.inbox)
    store.subscribe('processor:a/clean', heard.clean)
    store.subscribe('flow:a', heard.flow)
    const off = store.subscribe('flow:b', heard.other)
    store.snapshot({ seq: 1, time: at(0), flows: { a: numbers(1), b: numbers(0) } })
    const before = store.processor('a', 'inbox')
    store.facts({ seq: 2, time: at(1), flows: { a: numbers(2) } })
    expect(heard.inbox).toHaveBeenCalledTimes(1)
    expect(store.processor('a', 'inbox')).toBe(before)
    expect(heard.clean).toHaveBeenCalledTimes(2)
    expect(heard.other).toHaveBeenCalledTimes(1)
    off()
    store.snapshot({ seq: 3, time: at(2), flows: { a: numbers(2) } })
    expect(heard.other).toHaveBeenCalledTimes(1)
    expect(store.flow('b')).toBeUndefined()
    expect(store.slugs()).toEqual(['a'])
    store.facts({ seq: 4, time: at(3), flows: { a: null } })
    expect(store.slugs()).toEqual([])
  })

  it('keeps the newest items first, each once', () => {
    const store = new EventStore()
    const facts = (list: Recent[]) => store.facts({ seq: 1, time: at(9), flows: {}, recent: list })
    facts([recent('x', 1), recent('y', 3)])
    facts([recent('z', 2), recent('y', 3)])
    expect(store.recent('a').map((one) => one.item)).toEqual(['y', 'z', 'x'])
    facts(Array.from({ length: 300 }, (_, n) => recent(`n${n}`, 10 + n)))
    expect(store.recent('a')).toHaveLength(200)
    expect(store.recent().length).toBe(200)
    expect(store.recent('b')).toBe(store.recent('c'))
  })

  it('says from when its data is when the stream breaks', () => {
    const store = new EventStore()
    store.stream('live')
    store.snapshot({ seq: 1, time: at(5), flows: {} })
    store.stream('broken')
    expect(store.streamState()).toEqual({ state: 'broken', since: at(5) })
    store.stream('live')
    expect(store.streamState()).toEqual({ state: 'live' })
  })

  it('counts rates, and begins anew when the server does', () => {
    const store = new EventStore()
    for (let second = 0; second <= 4; second += 1) store.facts({ seq: second, time: at(second), flows: { a: numbers(second * 3) } })
    // Twelve items, of which nothing was known ten seconds ago.
    expect(store.rate('a', 'clean', ms(4))).toBe(2.4)
    expect(store.rate('a', 'clean', ms(12))).toBe(0.6)
    expect(store.rate('a', 'clean', ms(60))).toBe(0)
    expect(store.steps('a', 'clean', ms(600)).every((one) => one === 0)).toBe(true)
    expect(store.steps('a', 'clean', ms(4)).reduce((sum, one) => sum + one, 0)).toBe(12)
    store.facts({ seq: 0, time: at(6), flows: { a: numbers(1) } })
    expect(store.rate('a', 'clean', ms(6))).toBe(0)
  })

  it('counts the same however often it is told', () => {
    const store = new EventStore()
    // Ten items in a second, told of twenty times in it.
    for (let tell = 0; tell <= 600; tell += 1) store.facts({ seq: tell, time: at(tell / 20), flows: { a: numbers(Math.floor(tell / 2)) } })
    expect(store.rate('a', 'clean', ms(30))).toBeCloseTo(10, 0)
    expect(store.steps('a', 'clean', ms(30)).reduce((sum, one) => sum + one, 0)).toBe(300)
  })
})
