// Bytes as rows of sixteen, as `hexdump -C` shows them.

/** Bytes in a row. */
export const ROW = 16

/** A row of the view. */
export interface HexRow {
  /** Where its first byte is, in eight hexadecimal digits. */
  readonly offset: string
  /** Its bytes in two groups of eight. */
  readonly bytes: string
  /** Its printable ASCII; a dot for the rest. */
  readonly text: string
}

/** How many rows so many bytes take. */
export function hexRows(bytes: number): number {
  return Math.ceil(bytes / ROW)
}

/** One row, from 0. */
export function hexRow(bytes: Uint8Array, row: number): HexRow {
  const part = bytes.subarray(row * ROW, row * ROW + ROW)
  const digits = Array.from(part, (byte) => byte.toString(16).padStart(2, '0'))
  const groups = [digits.slice(0, 8).join(' '), digits.slice(8).join(' ')]
  return {
    offset: (row * ROW).toString(16).padStart(8, '0'),
    bytes: groups.filter((group) => group !== '').join('  ').padEnd(ROW * 3),
    text: Array.from(part, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join(''),
  }
}
