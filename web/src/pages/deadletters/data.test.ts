import { expect, test } from 'vitest'

import type { Run } from '../../api/types'
import { placeOf } from './data'
import { progressOf } from './progress'

const run = (number: number, state: string, outstanding: number, dead: number): Run =>
  ({ run: number, state, outstanding, dead_letters: dead }) as Run

test('the line of a fault', () => {
  const fault = { kind: 'failed' as const, code: 'KeyError', message: 'x' }
  expect(placeOf({ ...fault, place: ['weigh.py:9', 'raise KeyError()'] })).toEqual({ file: 'weigh.py', line: 9, code: 'raise KeyError()' })
  expect(placeOf({ ...fault, place: ['C:/x', 'code'] })).toMatchObject({ file: 'C:/x', line: 0 })
  expect(placeOf(fault)).toBeNull()
})

test('a retry is told by its runs', () => {
  const retried = [{ run: 7, flow: 'a', letters: 10 }, { run: 8, flow: 'b', letters: 2 }]
  expect(progressOf(retried, [])).toMatchObject({ done: 0, letters: 12, finished: false, words: '0 of 12 done' })
  expect(progressOf(retried, [run(7, 'running', 4, 1), run(8, 'done', 0, 0)])).toMatchObject({ done: 8, finished: false, words: '8 of 12 done, 1 failed again' })
  // Each letter became many items: how many letters are left can't be told.
  expect(progressOf(retried, [run(7, 'running', 400, 0)]).done).toBe(0)
  expect(progressOf(retried, [run(7, 'done', 0, 3), run(8, 'done', 0, 0)]).words).toBe('3 of 12 failed again')
  expect(progressOf([retried[1] ?? { run: 8, flow: 'b', letters: 2 }], [run(8, 'done', 0, 0)]).words).toBe('All 2 went through')
  expect(progressOf([{ run: 9, flow: 'b', letters: 1 }], [run(9, 'done', 0, 1)]).words).toBe('It failed again')
})
