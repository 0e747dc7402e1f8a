// @vitest-environment happy-dom
import { cleanup, render, screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { readFileSync } from 'node:fs'
import { useState } from 'react'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Kind } from '../api/types'
import { setFields } from '../flow/text'
import { readModel } from '../flow/model'
import { formsOf } from './schema'
import SchemaForm from './SchemaForm'

const kinds = JSON.parse(readFileSync('src/form/testdata/kinds.json', 'utf8')) as Kind[]

/** The form of the only processor of a flow, writing into its text as the page does. */
function Edited({ text, told }: { text: string; told: (text: string) => void }) {
  const [now, setNow] = useState(text)
  const step = readModel(now).model?.steps[0]
  if (!step) return null
  const kind = kinds.find((one) => one.class === 'processor' && one.name === step.type)
  const { own } = formsOf(step.raw, kind, kinds)
  const change = (fields: Record<string, unknown>) => {
    const next = setFields(now, step.id, fields)
    setNow(next)
    told(next)
  }
  return <SchemaForm schema={own} data={step.raw} onChange={change} idPrefix="test" />
}

function edited(text: string) {
  const told = vi.fn<(text: string) => void>()
  render(<Edited text={text} told={told} />)
  return { user: userEvent.setup(), last: () => told.mock.calls.at(-1)?.[0], told }
}

afterEach(cleanup)

describe('the form of a processor', () => {
  it('writes only what was typed, where it belongs', async () => {
    const { user, last } = edited('processors:\n  - id: inbox\n    type: ingest\n    source: { type: file_drop, path: ./in }   # here\n')
    const settle = screen.getByRole('textbox', { name: 'settle' })
    expect(settle.getAttribute('placeholder')).toBe('1s')
    await user.type(settle, '5s')
    expect(last()).toBe('processors:\n  - id: inbox\n    type: ingest\n    source: { type: file_drop, path: ./in, settle: 5s } # here\n')
    await user.clear(settle)
    expect(last()).toContain('{ type: file_drop, path: ./in }')
  })

  it('says what is wrong at its field, and keeps what was typed', async () => {
    const { user, last } = edited('processors:\n  - id: pack\n    type: compress\n    format: zstd\n')
    await user.type(screen.getByRole('spinbutton', { name: 'level' }), '42')
    expect(last()).toContain('level: 42')
    expect(screen.getByRole('alert').textContent).toBe('level must be at most 19')
  })

  it('offers choices with what they mean, and takes them back', async () => {
    const { user, last } = edited('processors:\n  - id: unpack\n    type: decompress\n')
    await user.click(screen.getByRole('combobox', { name: 'format' }))
    await user.click(within(screen.getByRole('listbox')).getByRole('option', { name: /^gzip/ }))
    expect(last()).toContain('format: gzip')
    await user.click(screen.getByRole('combobox', { name: 'format' }))
    await user.click(within(screen.getByRole('listbox')).getByRole('option', { name: /if nothing is said/ }))
    expect(last()).not.toContain('format')
  })

  it('adds, moves and removes entries of a list', async () => {
    const { user, last } = edited("processors:\n  - id: way\n    type: route\n    routes:\n      - { port: a, when: 'size > 1' }\n      - { port: b, when: 'size > 2' }\n")
    await user.click(screen.getByRole('button', { name: 'Move entry 2 up' }))
    expect(readModel(last() ?? '').model?.steps[0]?.outputs).toEqual(['b', 'a', 'otherwise'])
    await user.click(screen.getByRole('button', { name: 'Remove entry 1' }))
    expect(readModel(last() ?? '').model?.steps[0]?.outputs).toEqual(['a', 'otherwise'])
    await user.click(screen.getByRole('button', { name: 'Add to routes' }))
    expect(screen.getAllByRole('textbox', { name: /^port/ })).toHaveLength(2)
  })

  it('changes nothing by being shown', () => {
    for (const kind of kinds.filter((one) => one.class === 'processor')) {
      const { told } = edited(`processors:\n  - ${kind.examples[0]?.trimEnd().replace(/\n/g, '\n    ')}\n`)
      expect(told, kind.name).not.toHaveBeenCalled()
      cleanup()
    }
  })
})
