// The form of a processor, drawn from the schemas of its kind: RJSF with templates as dense as the rest of the page.
// Defaults are shown, not written: a flow says only what somebody said.
import { Box } from '@mui/material'
import Form from '@rjsf/core'
import { Theme } from '@rjsf/mui'
import type { RJSFSchema, UiSchema } from '@rjsf/utils'
import { useMemo } from 'react'
import { same } from '../flow/text'
import type { Schema } from './schema'
import { Choice, Entries, Entry, Field, Fields, Nothing, Yes } from './templates'
import { validator } from './validator'

export interface SchemaFormProps {
  schema: Schema
  data: Record<string, unknown>
  /** Only the fields that changed; `undefined` for one that is not said any more. */
  onChange: (fields: Record<string, unknown>) => void
  idPrefix: string
}

/** Words as people read them: `max_backoff` is `max backoff`. */
const title = (key: string) => key.replaceAll('_', ' ')

/** Labels stand over what is there if nothing is said. */
const RAISED = { slotProps: { inputLabel: { shrink: true } } }

function ui(schema: Schema): UiSchema {
  const out: UiSchema = {}
  const preset = schema['x-default']
  const example = schema['x-example']
  if (preset !== undefined) out['ui:placeholder'] = String(preset)
  else if (example !== undefined) out['ui:placeholder'] = String(example)
  if (schema.type === 'string' && schema.format === 'code') out['ui:widget'] = 'textarea'
  if (schema.type === 'boolean') out['ui:widget'] = 'checkbox'
  if (schema.type !== 'object' && schema.type !== 'array' && schema.type !== 'boolean') out['ui:options'] = { mui: RAISED }
  if (schema.type === 'string') out['ui:emptyValue'] = undefined
  for (const [key, one] of Object.entries(schema.properties ?? {})) out[key] = { ...ui(one), 'ui:title': title(key) }
  if (schema.items) out.items = { ...ui(schema.items), ...(schema.items.type === 'object' ? {} : { 'ui:label': false }) }
  return out
}

const TEMPLATES = {
  ...Theme.templates,
  FieldTemplate: Field,
  ObjectFieldTemplate: Fields,
  ArrayFieldTemplate: Entries,
  ArrayFieldItemTemplate: Entry,
  DescriptionFieldTemplate: Nothing,
  FieldErrorTemplate: Nothing,
}

const WIDGETS = { ...Theme.widgets, SelectWidget: Choice, CheckboxWidget: Yes }

export default function SchemaForm({ schema, data, onChange, idPrefix }: SchemaFormProps) {
  const uiSchema = useMemo(() => ({ ...ui(schema), 'ui:submitButtonOptions': { norender: true } }), [schema])
  const known = useMemo(() => Object.fromEntries(Object.keys(schema.properties ?? {}).flatMap((key) => (data[key] === undefined ? [] : [[key, data[key]]]))), [schema, data])
  return (
    <Box sx={{ '& .rjsf': { display: 'contents' }, '& .MuiFormControl-root': { m: 0 } }}>
      <Form
        tagName="div"
        idPrefix={idPrefix}
        schema={schema as RJSFSchema}
        uiSchema={uiSchema}
        formData={known}
        validator={validator}
        liveValidate
        showErrorList={false}
        noHtml5Validate
        experimental_defaultFormStateBehavior={{ emptyObjectFields: 'skipDefaults', arrayMinItems: { populate: 'never' } }}
        templates={TEMPLATES}
        widgets={WIDGETS}
        onChange={({ formData }) => {
          const next = (formData ?? {}) as Record<string, unknown>
          const changed: Record<string, unknown> = {}
          for (const key of Object.keys(schema.properties ?? {})) {
            const value = said(next[key], known[key])
            if (!same(value, known[key])) changed[key] = value
          }
          if (Object.keys(changed).length > 0) onChange(changed)
        }}
      />
    </Box>
  )
}

/** A value without what nobody said; `undefined` where nothing is left that was not there before. */
function said(value: unknown, before: unknown): unknown {
  if (value === null || value === undefined) return undefined
  if (Array.isArray(value)) return value.length === 0 && before === undefined ? undefined : value.map((one, at) => (typeof one === 'object' ? said(one, (before as unknown[] | undefined)?.[at] ?? {}) : (one ?? '')))
  if (typeof value !== 'object') return value
  const old = typeof before === 'object' && before !== null ? (before as Record<string, unknown>) : {}
  const entries = Object.entries(value).flatMap(([key, one]) => {
    const kept = said(one, old[key])
    return kept === undefined ? [] : [[key, kept] as const]
  })
  return entries.length === 0 && before === undefined ? undefined : Object.fromEntries(entries)
}
