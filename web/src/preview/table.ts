// Delimited text as rows of cells: CSV as RFC 4180 has it, TSV, and what else separates cells by one character.
// Reading is Papa Parse's; here stands what is taken of it, and what is a heading.

import Papa from 'papaparse'

import { extension } from './sniff'

/** The beginning of a table. */
export interface Table {
  /** Names of the columns where the first row looks like them. */
  readonly header: readonly string[] | null
  /** The rows after the header, at most as many as asked for. */
  readonly rows: readonly (readonly string[])[]
  /** The most cells of a row, the header included. */
  readonly columns: number
  /** What separates the cells. */
  readonly delimiter: string
  /** Whether rows were left out: because there are more, or because the text was cut. */
  readonly more: boolean
  /** Rows, of those that are shown, with another number of cells than the first. */
  readonly uneven: number
  /** Whether a quote is opened that never closes, so that what follows it can't be trusted. */
  readonly openQuote: boolean
}

const NUMBER = /^[-+]?(\d[\d_ ,.]*)?\d(\.\d*)?([eE][-+]?\d+)?%?$/

/** Whether a cell is read as a number, for its alignment only. */
export function isNumeric(cell: string): boolean {
  return NUMBER.test(cell.trim())
}

/** Whether a first row names columns: all said, all different, none a number. */
export function isHeader(row: readonly string[]): boolean {
  const cells = row.map((cell) => cell.trim())
  const written = cells.filter((cell) => cell !== '')
  // The first column of a table that pandas wrote has no name.
  if (written.length === 0 || cells.slice(1).some((cell) => cell === '')) return false
  return new Set(written).size === written.length && !written.some(isNumeric)
}

/** Reads at most `most` rows. `cut` says that the text goes on, so that its last row may be incomplete. */
export function readTable(text: string, name: string, most: number, cut: boolean): Table {
  const tabs = ['tsv', 'tab'].includes(extension(name))
  const parsed = Papa.parse<string[]>(text, {
    delimiter: tabs ? '\t' : '',
    delimitersToGuess: [',', '\t', ';', '|'],
    // One for the header, and one more to know whether there are more.
    preview: most + 2,
    skipEmptyLines: true,
  })
  let rows = parsed.data
  const openQuote = !cut && parsed.errors.some((error) => error.code === 'MissingQuotes')
  const ended = parsed.meta.truncated
  if (cut && !ended && rows.length > 1) rows = rows.slice(0, -1)
  const header = rows[0] !== undefined && isHeader(rows[0]) ? rows[0] : null
  const body = header === null ? rows : rows.slice(1)
  const shown = body.slice(0, most)
  const columns = rows.reduce((widest, row) => Math.max(widest, row.length), 0)
  const expected = rows[0]?.length ?? 0
  return {
    header,
    rows: shown,
    columns,
    delimiter: parsed.meta.delimiter,
    more: cut || body.length > shown.length,
    uneven: shown.filter((row) => row.length !== expected).length,
    openQuote,
  }
}

/** What tables write where a number is missing. */
const MISSING = new Set(['', 'na', 'n/a', 'nan', 'null', 'none', '-'])

/** Which columns hold numbers only, but for missing ones, by position; they are set flush right. */
export function numericColumns(rows: readonly (readonly string[])[], columns: number): boolean[] {
  return Array.from({ length: columns }, (_, at) => {
    const cells = rows.map((row) => row[at] ?? '').filter((cell) => !MISSING.has(cell.trim().toLowerCase()))
    return cells.length > 0 && cells.every(isNumeric)
  })
}
