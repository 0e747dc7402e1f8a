import { expect, test } from 'vitest'

import { editOf } from './edits'

test('an edit is told by its note', () => {
  const [before, after] = ['a'.repeat(64), 'b'.repeat(64)]
  expect(editOf(`edited: b3:${before} became b3:${after}`)).toEqual({ before, after })
  expect(editOf('exit 0')).toBeNull()
  expect(editOf(null)).toBeNull()
})
