import { describe, expect, it } from 'vitest'
import { freeId, readModel, refusal, slug } from './model'

const FLOW = `name: Penguins
processors:
  - { id: inbox, type: ingest, phase: 1 }
  - { id: clean, type: script, phase: 2, inputs: [inbox], outputs: [bad] }
  - { id: island, type: route, inputs: clean, routes: [{ port: biscoe, when: "true" }] }
  - { id: shelf, type: collect, phase: 5, inputs: [island.biscoe, island.otherwise, clean.bad, gone] }
`

describe('the model', () => {
  const { model } = readModel(FLOW)
  if (!model) throw new Error('no model')

  it('has lanes, ports and edges', () => {
    expect(model.steps.map((step) => [step.id, step.lane, step.outputs])).toEqual([
      ['inbox', 0, ['out']],
      ['clean', 1, ['out', 'bad']],
      ['island', 2, ['biscoe', 'otherwise']],
      ['shelf', 4, []],
    ])
    expect(model.lanes).toBe(5)
    expect(model.edges.map((edge) => edge.id)).toEqual(['inbox.out>clean', 'clean.out>island', 'island.biscoe>shelf', 'island.otherwise>shelf', 'clean.bad>shelf'])
  })

  it('says why two cannot be connected', () => {
    expect(refusal(model, 'inbox', 'out', 'shelf')).toBeUndefined()
    expect(refusal(model, 'clean', 'out', 'inbox')).toMatch(/ingest/)
    expect(refusal(model, 'shelf', 'out', 'clean')).toMatch(/collect/)
    expect(refusal(model, 'island', 'out', 'shelf')).toMatch(/no output/)
    expect(refusal(model, 'island', 'biscoe', 'clean')).toMatch(/circle/)
    expect(refusal(model, 'inbox', 'out', 'clean')).toMatch(/already/)
    expect(refusal(model, 'clean', 'out', 'clean')).toMatch(/itself/)
  })

  it('bears what is half written', () => {
    for (const text of ['', 'name: A', 'processors:', 'processors:\n  - id: a\n  -\n  - 3\n', 'processors: 7', '- a', 'processors:\n - {id: a, inputs: [a]}\n - {id: a, phase: 0}']) {
      expect(readModel(text).model, text).toBeDefined()
    }
    expect(readModel('processors: [').model).toBeUndefined()
  })

  it('finds free ids and identities', () => {
    expect(freeId(model, 'clean')).toBe('clean-2')
    expect(freeId(model, 'Sort it!')).toBe('sort-it')
    for (const [name, expected] of [['Uppercase', 'uppercase'], ['  Penguin survey, 2008! ', 'penguin-survey-2008'], ['Käse & Brot', 'käse-brot'], ['日報', '日報'], ['…', ''], ['İ', 'i']] as const) {
      expect(slug(name), name).toBe(expected)
    }
  })
})
