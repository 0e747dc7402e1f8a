import { describe, expect, test } from 'vitest'

import { decodeText, extension, sniff, textEncoding } from './sniff'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const shape = (bytes: Uint8Array, mediaType: string | null, name: string): string =>
  sniff(bytes, mediaType, name, true).shape

describe('what bytes are', () => {
  test('their own marks decide before anything that was said', () => {
    const png = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0])
    expect(sniff(png, 'text/csv', 'a.csv', true)).toMatchObject({ shape: 'image', mediaType: 'image/png' })
    expect(shape(utf8('%PDF-1.7\n…'), null, 'report')).toBe('pdf')
    expect(shape(utf8('PAR1\u0015'), 'application/octet-stream', 'x')).toBe('parquet')
    expect(shape(utf8('RIFF....WEBPVP8 '), null, 'x')).toBe('image')
  })

  test('texts are told apart by media type, then by name, then by how they begin', () => {
    expect(shape(utf8('a,b\n1,2\n'), 'text/csv; charset=utf-8', 'x')).toBe('table')
    expect(shape(utf8('a\tb\n'), null, 'x.tsv')).toBe('table')
    expect(shape(utf8('{"a":1}'), 'application/geo+json', 'x')).toBe('json')
    expect(shape(utf8('{"a":1}\n{"a":2}\n'), 'application/x-ndjson', 'x')).toBe('json_lines')
    expect(shape(utf8('  {"a": 1}'), null, 'x')).toBe('json')
    expect(shape(utf8('[2026-11-27] started'), null, 'server.log')).toBe('text')
    expect(shape(utf8('[1, 2]'), null, 'x')).toBe('json')
    expect(shape(utf8('{not json}'), null, 'x')).toBe('text')
    expect(shape(utf8('{"a":1}'), 'text/plain', 'x.txt')).toBe('text')
  })

  test('what is said and is not there is told', () => {
    expect(sniff(new Uint8Array([0, 1, 2]), 'text/csv', 'a.csv', true)).toMatchObject({
      shape: 'binary',
      doubt: 'it is said to be a table, but its bytes are not',
    })
    expect(sniff(utf8('<html>not found</html>'), 'image/png', 'a.png', true)).toMatchObject({
      shape: 'text',
      doubt: 'it is said to be an image, but it is text',
    })
    expect(sniff(utf8(''), null, 'a.parquet', true)).toMatchObject({ shape: 'text', doubt: null })
  })

  test('SVG is an image only when it is named so and is one', () => {
    expect(shape(utf8('<?xml version="1.0"?>\n<svg xmlns="…"/>'), null, 'a.svg')).toBe('image')
    expect(shape(utf8('<svg/>'), null, 'a.txt')).toBe('text')
    expect(shape(utf8('hello'), 'image/svg+xml', 'a')).toBe('text')
  })
})

describe('encodings', () => {
  test('a character that is cut by the end of a part is no fault', () => {
    const cut = utf8('né').subarray(0, 2)
    expect(textEncoding(cut, false)).toBe('utf-8')
    expect(decodeText(cut, 'utf-8', false)).toBe('n')
  })

  test('western 8-bit text and UTF-16 are read', () => {
    const latin = new Uint8Array([...utf8('Gr'), 0xfc, ...utf8('n, caf'), 0xe9])
    expect(textEncoding(latin, true)).toBe('windows-1252')
    expect(decodeText(latin, 'windows-1252', true)).toBe('Grün, café')
    const wide = new Uint8Array([0xff, 0xfe, 0x61, 0x00, 0x0a, 0x00])
    expect(textEncoding(wide, true)).toBe('utf-16le')
    expect(decodeText(wide, 'utf-16le', true)).toBe('a\n')
  })

  test('control characters are in no text, but for the escapes of coloured logs', () => {
    expect(textEncoding(utf8('a\u0000b'), true)).toBeNull()
    expect(textEncoding(utf8('\u001b[31mred\u001b[0m'), true)).toBe('utf-8')
  })
})

test('extensions', () => {
  expect(['a.CSV', 'dir.d/file', '.hidden', 'a.tar.gz', 'a.'].map(extension)).toEqual(['csv', '', '', 'gz', ''])
})
