import { expect, test } from 'vitest'

import { hexRow, hexRows } from './hex'

test('rows as hexdump -C has them', () => {
  const bytes = new Uint8Array([...Array.from('Hello, world! 12', (letter) => letter.charCodeAt(0)), 0x00, 0xff])
  expect(hexRows(bytes.length)).toBe(2)
  expect(hexRow(bytes, 0)).toEqual({
    offset: '00000000',
    bytes: '48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 20 31 32',
    text: 'Hello, world! 12',
  })
  expect(hexRow(bytes, 1)).toMatchObject({ offset: '00000010', text: '..' })
  expect(hexRow(bytes, 1).bytes.trim()).toBe('00 ff')
})
