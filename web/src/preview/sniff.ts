// What some bytes are, so that the right view is chosen. The bytes themselves decide; the media type and the name only
// tell texts apart, because both are what somebody said and may be wrong. How each is shown stands beside this file.

/** How content can be shown. */
export type Shape = 'table' | 'parquet' | 'json' | 'json_lines' | 'text' | 'image' | 'pdf' | 'binary'

/** What was found out. */
export interface Sniffed {
  readonly shape: Shape
  /** Media type to show it by: of images the type of their bytes, else what was said. */
  readonly mediaType: string | null
  /** How texts are decoded; null for what is no text. */
  readonly encoding: Encoding | null
  /** What was said to be there and is not, in words; null where what was said fits. */
  readonly doubt: string | null
}

/** Encodings that texts are read in. */
export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'windows-1252'

interface Magic {
  readonly at: number
  readonly bytes: readonly number[]
  readonly shape: 'image' | 'pdf' | 'parquet'
  readonly mediaType: string
}

const ascii = (text: string): number[] => Array.from(text, (letter) => letter.charCodeAt(0))

const MAGICS: readonly Magic[] = [
  { at: 0, bytes: [0x89, ...ascii('PNG\r\n'), 0x1a, 0x0a], shape: 'image', mediaType: 'image/png' },
  { at: 0, bytes: [0xff, 0xd8, 0xff], shape: 'image', mediaType: 'image/jpeg' },
  { at: 0, bytes: ascii('GIF87a'), shape: 'image', mediaType: 'image/gif' },
  { at: 0, bytes: ascii('GIF89a'), shape: 'image', mediaType: 'image/gif' },
  { at: 8, bytes: ascii('WEBPVP8'), shape: 'image', mediaType: 'image/webp' },
  { at: 4, bytes: ascii('ftypavif'), shape: 'image', mediaType: 'image/avif' },
  { at: 0, bytes: ascii('%PDF-'), shape: 'pdf', mediaType: 'application/pdf' },
  { at: 0, bytes: ascii('PAR1'), shape: 'parquet', mediaType: 'application/vnd.apache.parquet' },
]

const EXTENSIONS: Readonly<Record<string, Shape>> = {
  csv: 'table',
  tsv: 'table',
  tab: 'table',
  json: 'json',
  geojson: 'json',
  ipynb: 'json',
  jsonl: 'json_lines',
  ndjson: 'json_lines',
  parquet: 'parquet',
  pq: 'parquet',
  png: 'image',
  jpg: 'image',
  jpeg: 'image',
  gif: 'image',
  webp: 'image',
  avif: 'image',
  pdf: 'pdf',
}

/** The name's extension in lower case, without its dot; empty where there is none. */
export function extension(name: string): string {
  const last = name.slice(name.lastIndexOf('/') + 1)
  const dot = last.lastIndexOf('.')
  return dot > 0 ? last.slice(dot + 1).toLowerCase() : ''
}

function said(mediaType: string | null, name: string): Shape | null {
  const essence = (mediaType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (essence === 'text/csv' || essence === 'text/tab-separated-values' || essence === 'application/csv') return 'table'
  if (/^application\/(x-)?(ndjson|jsonl|jsonlines|json-lines)$/.test(essence)) return 'json_lines'
  if (essence === 'application/json' || essence.endsWith('+json')) return 'json'
  if (/^application\/(vnd\.apache\.|x-)?parquet$/.test(essence)) return 'parquet'
  if (essence === 'application/pdf') return 'pdf'
  if (essence === 'image/svg+xml') return null
  if (essence.startsWith('image/')) return 'image'
  const byName = EXTENSIONS[extension(name)]
  if (byName !== undefined) return byName
  return essence.startsWith('text/') ? 'text' : null
}

/** Which encoding the bytes can be read in as text; null for what is none. `whole` says that no more bytes follow. */
export function textEncoding(bytes: Uint8Array, whole: boolean): Encoding | null {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le'
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be'
  // Control characters other than white space and the escape of coloured logs are in no text that people write.
  const control = bytes.some((byte) => byte < 0x20 && !(byte >= 0x09 && byte <= 0x0d) && byte !== 0x1b)
  if (control) return null
  try {
    // A character that is cut by the end of what was read is no fault of the text.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: !whole })
    return 'utf-8'
  } catch {
    // Western 8-bit texts: few bytes above 0x7f, and nearly no unassigned ones.
    const high = bytes.reduce((count, byte) => count + (byte >= 0x80 ? 1 : 0), 0)
    return high * 4 <= bytes.length ? 'windows-1252' : null
  }
}

/** Decodes text, without its byte order mark; a character cut by the end of an incomplete part is left out. */
export function decodeText(bytes: Uint8Array, encoding: Encoding, whole: boolean): string {
  return new TextDecoder(encoding).decode(bytes, { stream: !whole })
}

function looksLikeJson(bytes: Uint8Array, encoding: Encoding): boolean {
  const start = decodeText(bytes.subarray(0, 4096), encoding, false).trimStart()
  return /^(\{\s*("|\})|\[\s*([[{"\]]|(-?\d[\d.eE+-]*|true|false|null)\s*,))/.test(start)
}

function isSvg(bytes: Uint8Array, mediaType: string | null, name: string): boolean {
  const named = (mediaType ?? '').startsWith('image/svg+xml') || extension(name) === 'svg'
  return named && /<svg[\s>]/.test(decodeText(bytes.subarray(0, 4096), 'utf-8', false))
}

const WORDS: Readonly<Record<Shape, string>> = {
  table: 'a table',
  parquet: 'Parquet',
  json: 'JSON',
  json_lines: 'JSON lines',
  text: 'text',
  image: 'an image',
  pdf: 'a PDF',
  binary: 'binary',
}

/** Decides by the first bytes (a few KiB are enough), what was said and whether `bytes` are all there is. */
export function sniff(bytes: Uint8Array, mediaType: string | null, name: string, whole: boolean): Sniffed {
  const found = MAGICS.find((magic) => magic.bytes.every((byte, at) => bytes[magic.at + at] === byte))
  if (found) return { shape: found.shape, mediaType: found.mediaType, encoding: null, doubt: null }

  const claim = said(mediaType, name)
  const encoding = textEncoding(bytes, whole)
  if (encoding === null) {
    const doubt = claim && claim !== 'binary' ? `it is said to be ${WORDS[claim]}, but its bytes are not` : null
    return { shape: 'binary', mediaType, encoding: null, doubt }
  }
  if (isSvg(bytes, mediaType, name)) return { shape: 'image', mediaType: 'image/svg+xml', encoding, doubt: null }
  if (claim === 'table' || claim === 'json' || claim === 'json_lines') {
    return { shape: claim, mediaType, encoding, doubt: null }
  }
  const doubt = claim && claim !== 'text' && bytes.length > 0 ? `it is said to be ${WORDS[claim]}, but it is text` : null
  const shape = claim === null && looksLikeJson(bytes, encoding) ? 'json' : 'text'
  return { shape, mediaType, encoding, doubt }
}
