// What a person's edit is recorded as, in the note of the step that sent the item in again.

export interface Edit {
  /** Hash of the bytes that failed. */
  before: string
  /** Hash of the bytes that were sent in. */
  after: string
}

/** `edited: b3:<64 hex> became b3:<64 hex>`; null for any other note. */
export function editOf(note: string | null | undefined): Edit | null {
  const read = /^edited: b3:([0-9a-f]{64}) became b3:([0-9a-f]{64})$/.exec(note ?? '')
  return read?.[1] && read[2] ? { before: read[1], after: read[2] } : null
}
