import { describe, expect, it } from 'vitest'
import { diffLines, merge } from './merge'
import { addProcessors, BrokenText, connect, disconnect, edit, blockLineOf, moveProcessor, parse, removeProcessors, renameProcessor, setFields, setFlow } from './text'

const FLOW = `# kept by the herbarium
name: Penguins
description: Each season's raw survey becomes one tidy table.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.csv" }

  - id: clean
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    file: ./clean.py                       # one item per island

  - id: island
    type: route
    phase: 3
    inputs: [clean]
    routes:
      - { port: biscoe, when: 'attributes.island == "Biscoe"' }
      - { port: dream,  when: 'attributes.island == "Dream"' }

  # the shelf
  - id: shelf
    type: collect
    phase: 4
    inputs: [island.biscoe, island.dream]
    collection: Penguins
    destination: { type: folder, path: ./outbox, name: "{attributes.island}/{name}" }
`

/** Lines that went and came, to see that nothing else did. */
function changes(after: string, before = FLOW) {
  const a = before.split('\n')
  const b = after.split('\n')
  const hunks = diffLines(a, b)
  return { minus: hunks.flatMap((hunk) => a.slice(hunk.from, hunk.to)), plus: hunks.flatMap((hunk) => b.slice(hunk.start, hunk.end)) }
}

describe('edits leave the rest as it was written', () => {
  it('nothing for nothing', () => {
    expect(edit(FLOW, () => {})).toBe(FLOW)
    expect(setFields(FLOW, 'clean', { language: 'python' })).toBe(FLOW)
  })

  it('a field', () => {
    expect(changes(setFields(FLOW, 'shelf', { collection: 'Birds' }))).toEqual({ minus: ['    collection: Penguins'], plus: ['    collection: Birds'] })
  })

  it('a new field, beside a comment with its own place', () => {
    const after = setFields(FLOW, 'clean', { timeout: '30s' })
    expect(changes(after)).toEqual({ minus: [], plus: ['    timeout: 30s'] })
    expect(after).toContain('file: ./clean.py                       # one item per island\n    timeout: 30s\n')
  })

  it('a field within a flow map, and one taken away', () => {
    const after = setFields(FLOW, 'inbox', { source: { type: 'file_drop', path: './in', pattern: '*.csv' } })
    expect(changes(after).plus).toEqual(['    source: { type: file_drop, path: ./in, pattern: "*.csv" }'])
    expect(changes(setFields(FLOW, 'clean', { language: undefined }))).toEqual({ minus: ['    language: python'], plus: [] })
  })

  it('code becomes a block, also with what YAML would read otherwise', () => {
    const code = 'def process(data: bytes) -> bytes:\n    # yes: no\n    return data.upper()\n'
    const after = setFields(FLOW, 'clean', { file: undefined, code })
    expect(after).toContain('    code: |\n      def process(data: bytes) -> bytes:\n          # yes: no\n')
    const again = setFields(after, 'clean', { code: `${code}\n# end` })
    expect(parse(again).doc.getIn(['processors', 1, 'code'])).toBe(`${code}\n# end`)
    expect(blockLineOf(after, 'clean', ['code'])).toBe(after.split('\n').indexOf('      def process(data: bytes) -> bytes:') + 1)
    expect(blockLineOf(after, 'clean', ['language'])).toBeUndefined()
    expect(setFields(again, 'clean', { code })).toBe(after)
  })

  it('a processor more, one less', () => {
    const after = addProcessors(FLOW, [{ id: 'sort', type: 'external', phase: 3, inputs: ['clean'], command: ['sort', '-t,'] }], 'shelf')
    expect(changes(after).minus).toEqual([])
    expect(after).toContain('  - id: sort\n    type: external\n    phase: 3\n    inputs: [clean]\n    command: [sort, "-t,"]\n')
    expect(after).toContain('  # the shelf\n  - id: shelf')
    const gone = removeProcessors(FLOW, ['island'])
    expect(gone).not.toContain('island.')
    expect(gone).toContain('file: ./clean.py                       # one item per island')
    expect(parse(gone).doc.toJS().processors.map((one: { id: string }) => one.id)).toEqual(['inbox', 'clean', 'shelf'])
  })

  it('connections', () => {
    const after = connect(FLOW, 'clean', 'out', 'shelf')
    expect(changes(after)).toEqual({ minus: ['    inputs: [island.biscoe, island.dream]'], plus: ['    inputs: [island.biscoe, island.dream, clean]'] })
    expect(connect(after, 'clean', 'out', 'shelf')).toBe(after)
    const less = disconnect(FLOW, [{ from: 'inbox', port: 'out', to: 'clean' }])
    expect(changes(less)).toEqual({ minus: ['    inputs: [inbox]'], plus: [] })
    expect(connect(less, 'inbox', 'out', 'clean')).toContain('    phase: 2\n    inputs: [inbox]\n    language: python')
  })

  it('names that are read elsewhere', () => {
    const after = renameProcessor(FLOW, 'island', 'isle')
    expect(changes(after).plus).toEqual(['  - id: isle', '    inputs: [isle.biscoe, isle.dream]'])
    expect(() => renameProcessor(FLOW, 'is', 'was')).toThrow('no processor')
  })

  it('phases and order', () => {
    expect(changes(moveProcessor(FLOW, 'island', 2))).toEqual({ minus: ['    phase: 3'], plus: ['    phase: 2'] })
    const after = moveProcessor(FLOW, 'island', 2, 'clean')
    expect(parse(after).doc.toJS().processors.map((one: { id: string }) => one.id)).toEqual(['inbox', 'island', 'clean', 'shelf'])
    const ids = (text: string) => parse(text).doc.toJS().processors.map((one: { id: string }) => one.id)
    expect(ids(moveProcessor(FLOW, 'inbox', 4, null))).toEqual(['clean', 'island', 'shelf', 'inbox'])
    expect(moveProcessor(FLOW, 'inbox', 1, 'clean')).toBe(FLOW)
    expect(after).toContain("when: 'attributes.island == \"Dream\"'")
  })

  it('the flow itself', () => {
    expect(changes(setFlow(FLOW, { name: 'Birds', description: undefined }))).toEqual({
      minus: ['name: Penguins', "description: Each season's raw survey becomes one tidy table."],
      plus: ['name: Birds'],
    })
  })

  it('an empty text and an empty list', () => {
    const one = { id: 'inbox', type: 'ingest', source: { type: 'file_drop', path: './inbox' } }
    const made = addProcessors(setFlow('', { name: 'New' }), [one])
    expect(parse(made).doc.toJS()).toEqual({ name: 'New', processors: [one] })
    expect(parse(addProcessors('name: New\nprocessors: []\n', [one])).doc.toJS().processors).toEqual([one])
  })

  it('sequences that stand at the key', () => {
    const flat = 'name: A\nprocessors:\n- id: a\n  type: x\n- id: b\n  type: y # why\n'
    expect(setFields(flat, 'a', { type: 'z' })).toBe(flat.replace('x', 'z'))
  })

  it('brackets in code stay what they are', () => {
    const flow = 'name: A\nprocessors:\n  - id: a   # first\n    shell: |\n      [ -f x ] && cat\n    inputs: [b]\n'
    const after = setFields(flow, 'a', { shell: '[ -e x ] && cat\n' })
    expect(after).toBe(flow.replace('-f', '-e'))
  })

  it('a broken text is left alone', () => {
    expect(() => setFields('name: [', 'a', {})).toThrow(BrokenText)
    expect(parse('name: A\nprocessors:\n  - id: a\n   b: c').broken?.line).toBeGreaterThanOrEqual(3)
  })
})

describe('merge', () => {
  const m = (base: string, ours: string, theirs: string) => merge([...base], [...ours], [...theirs]).join('')
  it('takes both changes', () => {
    expect(m('abcdef', 'aXcdef', 'abcdYf')).toBe('aXcdYf')
    expect(m('abcdef', 'abcdefX', 'Yabcdef')).toBe('YabcdefX')
    expect(m('abc', 'abc', 'ac')).toBe('ac')
    expect(m('abc', 'ac', 'abc')).toBe('ac')
    expect(m('', 'x', 'y')).toBe('yx')
  })
  it('and theirs where they meet', () => {
    expect(m('abc', 'aXc', 'aYc')).toBe('aYc')
    expect(m('abcd', 'aXXd', 'abYd')).toBe('abYd')
  })
})
