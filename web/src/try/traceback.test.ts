import { describe, expect, it } from 'vitest'
import { readSample, writeSample } from './sample'
import { faultMarks, lineOfFault } from './traceback'

describe('where a try-out failed', () => {
  const code = 'import csv\n\ndef process(text):\n    return float(text)\n'
  it('is marked on its line, without the indent', () => {
    expect(faultMarks({ kind: 'failed', code: 'ValueError', message: 'no number', line: 4 }, code)).toEqual([{ from: 35, to: 53, severity: 'error', message: 'no number' }])
    expect(code.slice(35, 53)).toBe('return float(text)')
  })
  it('is read from its place, too', () => {
    expect(lineOfFault({ kind: 'failed', code: 'x', message: 'y', place: ['clean.py:14', 'mass = 1'] })).toBe(14)
    expect(lineOfFault({ kind: 'failed', code: 'x', message: 'y', place: null })).toBeUndefined()
  })
  it('is not marked in other code', () => {
    expect(faultMarks({ kind: 'failed', code: 'x', message: 'y', line: 99 }, code)).toEqual([])
    expect(faultMarks({ kind: 'failed', code: 'x', message: 'y', line: 1, file: 'util.py' }, code, './clean.py')).toEqual([])
    expect(faultMarks({ kind: 'failed', code: 'x', message: 'y', line: 1, file: 'clean.py' }, code, './clean.py')).toHaveLength(1)
    expect(faultMarks(undefined, code)).toEqual([])
  })
})

describe('samples in the URL', () => {
  it('there and back', () => {
    for (const text of ['dead_letter:7k2p', 'item:1204-x.y', 'dataset:12', 'upload:u-1']) {
      const chosen = readSample(text)
      expect(chosen && writeSample(chosen.sample)).toBe(text)
    }
    expect(readSample('nonsense')).toBeUndefined()
    expect(readSample(undefined)).toBeUndefined()
    expect(writeSample({ text: 'x', name: 'y' })).toBeUndefined()
  })
})
