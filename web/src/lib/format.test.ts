import { describe, expect, it } from 'vitest'
import { ago, brief, bytes, count, duration, many, short, when } from './format'

describe('formats', () => {
  it('sizes', () => {
    expect([0, 999, 1000, 44_100, 999_499, 999_999, 1_000_000, 123_456_789, 5e15].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '44.1 kB', '999 kB', '1.0 MB', '1.0 MB', '123 MB', '5.0 PB'])
  })
  it('durations', () => {
    expect([0, 250, 1500, 12_000, 999_400, 999_600, 1_234_000, 59_960_000, 124_000_000, 3_600_000_000, 12_000_000_000, 90_000_000_000].map(duration)).toEqual([
      '0 ms', '250 µs', '1.5 ms', '12 ms', '999 ms', '1 s', '1.2 s', '1 min', '2 min 4 s', '1 h', '3 h 20 min', '1 d 1 h',
    ])
  })
  it('numbers', () => {
    expect([7, 9999, 12_482, 123_456, 1_250_000, 2e9].map(brief)).toEqual(['7', '9,999', '12.5 k', '123 k', '1.25 M', '2.0 G'])
    expect(count(1_234_567)).toBe('1,234,567')
    expect([many(1, 'item'), many(2, 'item'), many(2, 'entry', 'entries')]).toEqual(['1 item', '2 items', '2 entries'])
  })
  it('times', () => {
    const now = new Date(2026, 10, 27, 15, 0, 0)
    expect(when(new Date(2026, 10, 27, 14, 2, 11), now)).toBe('14:02:11')
    expect(when(new Date(2026, 10, 22, 14, 2, 11), now)).toBe('22 Nov 14:02')
    expect(when(new Date(2025, 10, 22), now)).toBe('22 Nov 2025')
    expect(when('nonsense', now)).toBe('nonsense')
    expect([0, 30, 250, 7300, 200_000].map((s) => ago(now.getTime() - s * 1000, now.getTime()))).toEqual(['just now', '30 s ago', '4 min ago', '2 h ago', '2 d ago'])
  })
  it('hashes', () => {
    expect(short('3f9c1a77e0')).toBe('3f9c1a7')
  })
})
