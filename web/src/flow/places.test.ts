import { describe, expect, it } from 'vitest'
import { changesOf } from './changes'
import { marksOf, marksWithin, unitAt } from './places'

describe('places', () => {
  it('bytes are not units', () => {
    const text = 'näme: 🐧x'
    expect(unitAt(text, 0)).toBe(0)
    expect(unitAt(text, 3)).toBe(2)
    expect(unitAt(text, new TextEncoder().encode('näme: 🐧').length)).toBe('näme: 🐧'.length)
    expect(unitAt(text, 999)).toBe(text.length)
  })

  it('marks of the flow and of its files', () => {
    const text = 'name: ä\nsorce: x\n'
    const span = { offset: 9, len: 5, line: 2, column: 1 }
    const list = [{ severity: 'error' as const, code: 'unknown-key', message: 'a flow has no `sorce`', hint: 'did you mean source?', span }, { severity: 'warning' as const, code: 'x', message: 'y', file: './clean.py', span: { offset: 0, len: 1, line: 1, column: 1 } }]
    expect(marksOf(text, list)).toEqual([{ from: 8, to: 13, severity: 'error', message: 'a flow has no `sorce`\ndid you mean source?' }])
    expect(marksOf('import x', list, 'clean.py')).toEqual([{ from: 0, to: 1, severity: 'warning', message: 'y' }])
  })

  it('marks within a block of code', () => {
    const text = 'processors:\n  - id: a\n    code: |\n      def f(:\n          pass\n'
    const offset = text.indexOf('(:') + 1
    const marks = marksWithin(text, 4, 'def f(:\n    pass\n', [{ severity: 'error', code: 'bad-code', message: 'invalid syntax', span: { offset, len: 1, line: 4, column: 13 } }])
    expect(marks).toEqual([{ from: 6, to: 7, severity: 'error', message: 'invalid syntax' }])
  })
})

describe('changes', () => {
  it('by processor, flow and file', () => {
    const from = { text: 'name: A\nprocessors:\n- {id: a, type: x}\n- {id: b, type: x}\n', files: { 'a.py': { text: '1' }, 'b.py': { text: '1' } } }
    const to = { text: 'name: B\nprocessors:\n- {id: a, type: y, timeout: 1s}\n- {id: c, type: x}\n', files: { 'a.py': { text: '2' }, 'c.py': { text: '1' } } }
    expect(changesOf(from, to)).toEqual({
      processors: [{ id: 'a', change: 'changed', fields: ['type', 'timeout'] }, { id: 'c', change: 'added', fields: [] }, { id: 'b', change: 'removed', fields: [] }],
      flow: ['name'],
      files: [{ path: 'a.py', change: 'changed' }, { path: 'b.py', change: 'removed' }, { path: 'c.py', change: 'added' }],
      onlyText: false,
      any: true,
    })
    expect(changesOf(from, { ...from, text: `# why\n${from.text}` })).toMatchObject({ processors: [], onlyText: true, any: true })
    expect(changesOf(from, from).any).toBe(false)
    expect(changesOf(undefined, from).processors.map((one) => one.change)).toEqual(['added', 'added'])
  })
})
