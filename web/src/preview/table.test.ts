import { describe, expect, test } from 'vitest'

import { isHeader, isNumeric, numericColumns, readTable } from './table'

describe('delimited text', () => {
  test('quotes hold delimiters, line ends and quotes', () => {
    const table = readTable('name,said\r\n"Adélie, M","two\nlines"\r\nB,"a ""word"""\r\n', 'a.csv', 100, false)
    expect(table.header).toEqual(['name', 'said'])
    expect(table.rows).toEqual([
      ['Adélie, M', 'two\nlines'],
      ['B', 'a "word"'],
    ])
    expect(table).toMatchObject({ columns: 2, delimiter: ',', more: false, uneven: 0, openQuote: false })
  })

  test('no more rows than asked for, and it is said that there are more', () => {
    const text = `a,b\n${Array.from({ length: 250 }, (_, at) => `${at},x`).join('\n')}\n`
    expect(readTable(text, 'a.csv', 100, false)).toMatchObject({ more: true, columns: 2 })
    expect(readTable(text, 'a.csv', 100, false).rows).toHaveLength(100)
    expect(readTable(text, 'a.csv', 250, false)).toMatchObject({ more: false })
    // Without a header the row kept for it must not be shown as one too many.
    expect(readTable('1,2\n3,4\n5,6\n', 'a.csv', 2, false)).toMatchObject({ header: null, more: true })
    expect(readTable('1,2\n3,4\n5,6\n', 'a.csv', 2, false).rows).toEqual([['1', '2'], ['3', '4']])
  })

  test('the last row of a cut text is left out, since it may be half a row', () => {
    const table = readTable('a,b\n1,2\n3,"fo', 'a.csv', 100, true)
    expect(table.rows).toEqual([['1', '2']])
    expect(table).toMatchObject({ more: true, openQuote: false })
  })

  test('semicolons, tabs and bars are found; a .tsv is tabs whatever it holds', () => {
    expect(readTable('a;b\n1,5;2\n2,5;3\n', 'a.csv', 9, false).rows[0]).toEqual(['1,5', '2'])
    expect(readTable('a|b\n1|2\n', 'a.csv', 9, false).delimiter).toBe('|')
    expect(readTable('a,b,c\n1,2,3\n', 'a.tsv', 9, false).columns).toBe(1)
  })

  test('rows of another length and a quote that never closes are told', () => {
    expect(readTable('a,b\n1,2,3\n4\n', 'a.csv', 9, false)).toMatchObject({ uneven: 2, columns: 3 })
    expect(readTable('a,b\n1,"never', 'a.csv', 9, false).openQuote).toBe(true)
  })

  test('nothing and one column', () => {
    expect(readTable('', 'a.csv', 9, false)).toMatchObject({ header: null, rows: [], columns: 0, more: false })
    expect(readTable('word\nalpha\nbeta\n', 'a.csv', 9, false)).toMatchObject({ header: ['word'], columns: 1 })
  })
})

test('a first row is a header when it names all columns differently, without numbers', () => {
  expect(isHeader(['id', 'mass_kg'])).toBe(true)
  expect(isHeader(['', 'mass_kg'])).toBe(true)
  expect(isHeader(['id', ''])).toBe(false)
  expect(isHeader(['id', 'id'])).toBe(false)
  expect(isHeader(['2007', 'a'])).toBe(false)
})

test('columns of numbers', () => {
  expect(['1', '-1.5', '1,234.5', '1e-9', '12%', '+3', '5.'].every(isNumeric)).toBe(true)
  expect(['', '-', '1a', '2026-11-27', 'NaN', '1:2'].some(isNumeric)).toBe(false)
  expect(numericColumns([['1', 'a', ''], ['NA', '2', '']], 3)).toEqual([true, false, false])
})
