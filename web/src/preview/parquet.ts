// The beginning of a Parquet file as rows of cells, read by ranges: the footer, then the pages of the first rows of as
// many columns as fit the budget. The reading is hyparquet's; here stands what is asked of it, and how values are written.

import { decompress as unzstd } from 'fzstd'
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { decompressBrotli } from 'hyparquet-compressors/src/brotli.js'
import { gunzip } from 'hyparquet-compressors/src/gzip.js'
import { decompressLz4, decompressLz4Raw } from 'hyparquet-compressors/src/lz4.js'

/** A column as the file describes it. */
export interface Column {
  readonly name: string
  /** Its type in the words of Parquet: the logical one where there is one, in lower case. */
  readonly type: string
  readonly numeric: boolean
}

/** The beginning of a Parquet file. */
export interface ParquetTable {
  readonly columns: readonly Column[]
  /** Cells in the order of `columns`. */
  readonly rows: readonly (readonly string[])[]
  /** Rows in the whole file. */
  readonly total: number
  /** Columns that were left out, because reading them would take more than the budget. */
  readonly left: readonly Column[]
  readonly rowGroups: number
  readonly writtenBy: string | null
}

// One by one: all of hyparquet-compressors together compiles WebAssembly for Snappy at its import, which our CSP refuses.
// Snappy is hyparquet's own, in JavaScript.
const compressors = {
  GZIP: (input: Uint8Array, length: number): Uint8Array => gunzip(input, new Uint8Array(length)),
  ZSTD: (input: Uint8Array, length: number): Uint8Array => unzstd(input, new Uint8Array(length)),
  BROTLI: decompressBrotli,
  LZ4: decompressLz4,
  LZ4_RAW: decompressLz4Raw,
}

/** Milliseconds since 1970 as they are written everywhere on the page, with further digits behind them. */
function timestamp(milliseconds: number, further: string): string {
  const time = new Date(milliseconds)
  if (Number.isNaN(time.getTime())) return `${milliseconds} ms`
  return time.toISOString().replace('T', ' ').replace('Z', `${further}`)
}

function fine(value: bigint, perMillisecond: bigint, digits: number): string {
  const rest = ((value % perMillisecond) + perMillisecond) % perMillisecond
  return timestamp(Number((value - rest) / perMillisecond), rest.toString().padStart(digits, '0'))
}

// hyparquet's own make a Date of each, which drops what is finer than a millisecond.
const parsers = {
  timestampFromMilliseconds: (value: bigint): string => timestamp(Number(value), ''),
  timestampFromMicroseconds: (value: bigint): string => fine(value, 1000n, 3),
  timestampFromNanoseconds: (value: bigint): string => fine(value, 1_000_000n, 6),
  dateFromDays: (days: number): string => timestamp(days * 86_400_000, '').slice(0, 10),
  // As it is written, so that its numbers keep their digits.
  jsonFromBytes: (bytes: Uint8Array): string => new TextDecoder().decode(bytes),
}

function bytesText(bytes: Uint8Array): string {
  const readable = !bytes.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)
  if (readable) {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
      // Not text: hexadecimal below.
    }
  }
  const digits = Array.from(bytes.subarray(0, 32), (byte) => byte.toString(16).padStart(2, '0')).join('')
  return bytes.length > 32 ? `0x${digits}… ${bytes.length} bytes` : `0x${digits}`
}

/** A value as a cell's text; empty for null. */
export function cellText(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return bytesText(value)
  if (value instanceof Date) return timestamp(value.getTime(), '')
  if (typeof value === 'object') {
    return JSON.stringify(value, (_, inner: unknown) => {
      if (typeof inner === 'bigint') return Number.isSafeInteger(Number(inner)) ? Number(inner) : inner.toString()
      return inner instanceof Uint8Array ? bytesText(inner) : inner
    })
  }
  return String(value)
}

function columnsOf(metadata: FileMetaData): Column[] {
  return parquetSchema(metadata).children.map(({ element }) => {
    const logical = element.logical_type?.type ?? element.converted_type
    const type = (logical ?? element.type ?? 'group').toLowerCase()
    const number = element.type !== undefined && /^(INT32|INT64|FLOAT|DOUBLE)$/.test(element.type)
    return { name: element.name, type, numeric: (number && !/date|time/.test(type)) || type.startsWith('decimal') }
  })
}

/** Compressed bytes of each column in the row groups that hold the first `most` rows, by name. */
function costs(metadata: FileMetaData, most: number): Map<string, number> {
  const bytes = new Map<string, number>()
  let rows = 0
  for (const group of metadata.row_groups) {
    if (rows >= most) break
    rows += Number(group.num_rows)
    for (const { meta_data: data } of group.columns) {
      const name = data?.path_in_schema[0]
      if (data && name !== undefined) bytes.set(name, (bytes.get(name) ?? 0) + Number(data.total_compressed_size))
    }
  }
  return bytes
}

/** Reads the first `most` rows; leaves out the columns that would take more than `budget` bytes altogether. */
export async function readParquet(file: AsyncBuffer, most: number, budget: number): Promise<ParquetTable> {
  const metadata = await parquetMetadataAsync(file, { initialFetchSize: 64 << 10, parsers })
  const all = columnsOf(metadata)
  const bytes = costs(metadata, most)
  let spent = 0
  const fits = all.filter((column) => {
    const cost = bytes.get(column.name) ?? 0
    if (spent + cost > budget) return false
    spent += cost
    return true
  })
  const total = Number(metadata.num_rows)
  const rows = fits.length === 0 || total === 0 ? [] : await parquetReadObjects({
    file,
    metadata,
    columns: fits.map((column) => column.name),
    rowStart: 0,
    rowEnd: Math.min(most, total),
    compressors,
    parsers,
    utf8: false,
    useOffsetIndex: true,
  })
  return {
    columns: fits,
    rows: rows.map((row) => fits.map((column) => cellText(row[column.name]))),
    total,
    left: all.filter((column) => !fits.includes(column)),
    rowGroups: metadata.row_groups.length,
    writtenBy: metadata.created_by ?? null,
  }
}
