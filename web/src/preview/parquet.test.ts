import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { describe, expect, test } from 'vitest'

import { cellText, readParquet } from './parquet'

interface Counted {
  byteLength: number
  slice: (start: number, end?: number) => ArrayBuffer
  read: () => number
}

/** A file that counts the bytes that are read of it. */
function open(name: string): Counted {
  const bytes = readFileSync(resolve(import.meta.dirname, 'testdata', `${name}.parquet`))
  let read = 0
  return {
    byteLength: bytes.length,
    slice: (start, end = bytes.length) => {
      read += end - start
      return new Uint8Array(bytes.subarray(start, end)).buffer
    },
    read: () => read,
  }
}

const MUCH = 1 << 20

describe('Parquet', () => {
  test('columns with their types, values without loss', async () => {
    const table = await readParquet(open('snappy'), 100, MUCH)
    expect(table.total).toBe(250)
    expect(table.rowGroups).toBe(3)
    expect(table.columns.map((column) => `${column.name}: ${column.type}${column.numeric ? ' #' : ''}`)).toEqual([
      'id: int64 #',
      'species: string',
      'mass_kg: double #',
      'seen: timestamp',
      'day: date',
      'price: decimal #',
      'tags: list',
      'raw: byte_array',
      'caught: boolean',
    ])
    expect(table.rows).toHaveLength(100)
    expect(table.rows[0]).toEqual([
      '9007199254740993',
      'Adélie',
      '3.75',
      '2007-11-11 08:30:00.123456',
      '2007-11-11',
      '12.5',
      '["a","b"]',
      '0x00ff10',
      'true',
    ])
    expect(table.rows[2]?.[1]).toBe('')
  })

  test.each(['zstd', 'gzip', 'brotli', 'lz4'])('%s is unpacked', async (name) => {
    const table = await readParquet(open(name), 100, MUCH)
    expect(table.rows.map((row) => row[2])).toEqual(['3.75', '3.875', '4', '4.125', '4.25'])
  })

  test('a file without rows still has its columns', async () => {
    expect(await readParquet(open('empty'), 100, MUCH)).toMatchObject({ rows: [], total: 0, columns: { length: 9 } })
  })

  test('columns beyond the budget are left out and named', async () => {
    const file = open('snappy')
    const table = await readParquet(file, 100, 1000)
    expect(table.left.length).toBeGreaterThan(0)
    expect(table.columns.length + table.left.length).toBe(9)
    expect(table.rows[0]).toHaveLength(table.columns.length)
  })

  test('what is no Parquet is refused in words', async () => {
    const file = { byteLength: 12, slice: () => new TextEncoder().encode('PAR1 not PAR').buffer }
    await expect(readParquet(file, 100, MUCH)).rejects.toThrow('footer')
  })
})

test('nested values as JSON, whole numbers with all their digits', () => {
  expect(cellText({ a: 1n, b: [null, 9007199254740993n] })).toBe('{"a":1,"b":[null,"9007199254740993"]}')
  expect(cellText(new TextEncoder().encode('plain'))).toBe('plain')
  expect(cellText(undefined)).toBe('')
})
