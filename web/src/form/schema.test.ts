import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Kind } from '../api/types'
import { codeFields, formsOf, plain, withType, type Schema } from './schema'
import { errorsOf } from './validator'

// As the server lists them: `opendmp kinds --format json`.
const kinds = JSON.parse(readFileSync('src/form/testdata/kinds.json', 'utf8')) as Kind[]
const kind = (name: string) => kinds.find((one) => one.name === name && one.class === 'processor')

describe('forms of kinds', () => {
  it('every kind has a plain form', () => {
    for (const one of kinds) {
      const schema = plain(one.schema as Schema, {}, kinds)
      const text = JSON.stringify(schema)
      expect(text, one.name).not.toMatch(/"\$ref"|"null"|"anyOf"|"default":/)
    }
  })

  it('the fields of a source are those of its type', () => {
    const { own } = formsOf({ id: 'inbox', type: 'ingest', source: { type: 'file_drop', path: './inbox', pattern: ['*.a'] } }, kind('ingest'), kinds)
    const source = own.properties?.source
    expect(Object.keys(source?.properties ?? {})).toEqual(['type', 'path', 'pattern', 'exclude', 'ignore_case', 'recursive', 'settle', 'after', 'to', 'shared', 'feedback'])
    expect(source?.properties?.pattern?.type).toBe('array')
    expect(source?.properties?.exclude?.type).toBe('string')
    expect(source?.properties?.settle?.['x-default']).toBe('1s')
    expect(source?.required).toEqual(['type', 'path'])
    expect(withType({ type: 'file_drop', path: './inbox', pattern: '*' }, 'generate', 'source', kinds)).toEqual({ type: 'generate' })
  })

  it('what no form knows is named', () => {
    expect(formsOf({ id: 'a', type: 'script', code: 'x', tmeout: 1 }, kind('script'), kinds).unknown).toEqual(['tmeout'])
    expect(formsOf({ id: 'a', type: 'magic', spell: 1 }, undefined, kinds).unknown).toEqual(['spell'])
  })

  it('code is edited as code', () => {
    expect(codeFields(kind('script'))).toEqual(['code'])
    expect(codeFields(kind('external'))).toEqual(['shell'])
    expect(codeFields(kind('collect'))).toEqual([])
  })
})

describe('the validator', () => {
  const check = (data: unknown) => {
    const { own } = formsOf(data as Record<string, unknown>, kind((data as { type: string }).type), kinds)
    const fields = Object.fromEntries(Object.entries(data as object).filter(([key]) => key in (own.properties ?? {})))
    return errorsOf(own, fields).map((error) => `${error.property} ${error.message}`)
  }

  it('finds nothing where nothing is wrong', () => {
    expect(check({ type: 'ingest', source: { type: 'file_drop', path: './inbox' } })).toEqual([])
    expect(check({ type: 'compress', format: 'zstd', level: 3 })).toEqual([])
  })

  it('says what is wrong, at its field', () => {
    expect(check({ type: 'ingest', source: { type: 'file_drop' } })).toEqual(['.source.path is needed'])
    expect(check({ type: 'compress', format: 'zstd', level: 99 })).toEqual(['.level must be at most 19'])
    expect(check({ type: 'collect', collection: 7 })).toEqual(['.collection must be a string'])
    expect(check({ type: 'route', routes: [{ port: 'a b', when: 'true' }] })).toEqual(['.routes.0.port does not have the right form'])
  })

  it('keeps to references, choices and conditions', () => {
    const schema = {
      type: 'object',
      properties: { a: { $ref: '#/$defs/small' }, b: { oneOf: [{ type: 'string' }, { type: 'integer' }] } },
      if: { properties: { a: { const: 1 } }, required: ['a'] },
      then: { required: ['c'] },
      $defs: { small: { type: 'integer', maximum: 5 } },
    }
    expect(errorsOf(schema, { a: 2, b: 'x' })).toEqual([])
    expect(errorsOf(schema, { a: 9 })[0]?.property).toBe('.a')
    expect(errorsOf(schema, { b: true }).length).toBeGreaterThan(0)
    expect(errorsOf(schema, { a: 1 }).map((error) => error.property)).toContain('.c')
  })
})
