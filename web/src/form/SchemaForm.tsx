// The form of a processor, drawn from the schemas of its kind: RJSF with templates as dense as the rest of the page.
// Defaults are shown, not written: a flow says only what somebody said.
import HelpOutline from '@mui/icons-material/HelpOutlineOutlined'
import { Box, IconButton, Tooltip } from '@mui/material'
import Form from '@rjsf/core'
import { Theme } from '@rjsf/mui'
import type { FieldTemplateProps, ObjectFieldTemplateProps, RJSFSchema, UiSchema } from '@rjsf/utils'
import { useMemo } from 'react'
import { same } from '../flow/text'
import type { Schema } from './schema'
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

/** What is only whitespace apart is joined: descriptions come as they are broken in the source. */
const oneLine = (text: string) => text.replace(/\s*\n\s*/g, ' ')

function ui(schema: Schema): UiSchema {
  const out: UiSchema = {}
  const preset = schema['x-default']
  const example = schema['x-example']
  if (preset !== undefined) out['ui:placeholder'] = String(preset)
  else if (example !== undefined) out['ui:placeholder'] = String(example)
  if (schema.type === 'string' && (schema.format === 'code' || schema.maxLength === undefined) && (schema.format === 'code' || /text/i.test(schema.title ?? ''))) {
    out['ui:widget'] = 'textarea'
  }
  if (schema.type === 'string') out['ui:emptyValue'] = undefined
  for (const [key, one] of Object.entries(schema.properties ?? {})) out[key] = { ...ui(one), 'ui:title': title(key) }
  if (schema.items) out.items = { ...ui(schema.items), 'ui:label': false }
  return out
}

export default function SchemaForm({ schema, data, onChange, idPrefix }: SchemaFormProps) {
  const uiSchema = useMemo(() => ({ ...ui(schema), 'ui:submitButtonOptions': { norender: true } }), [schema])
  const known = useMemo(() => Object.fromEntries(Object.keys(schema.properties ?? {}).flatMap((key) => (data[key] === undefined ? [] : [[key, data[key]]]))), [schema, data])
  return (
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
      templates={{ ...Theme.templates, FieldTemplate: Field, ObjectFieldTemplate: Fields }}
      widgets={Theme.widgets ?? {}}
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

function Field(props: FieldTemplateProps) {
  const { children, hidden, rawErrors = [], rawDescription, schema, id, label, displayLabel, registry } = props
  if (hidden) return <Box sx={{ display: 'none' }}>{children}</Box>
  const Wrap = registry.templates.WrapIfAdditionalTemplate
  const wide = schema.type === 'object' || schema.type === 'array' || props.uiSchema?.['ui:widget'] === 'textarea'
  const help = rawDescription && schema.type !== 'object' ? oneLine(rawDescription) : undefined
  return (
    <Box sx={{ gridColumn: wide ? '1 / -1' : undefined, minWidth: 0 }}>
      <Wrap {...props}>
        <Box sx={{ display: 'flex', alignItems: 'flex-start', gap: 0.25 }}>
          <Box sx={{ flex: 1, minWidth: 0, '& .MuiFormControlLabel-label': { fontSize: 13 }, '& .MuiPaper-root': { bgcolor: 'transparent' } }}>{children}</Box>
          {help && displayLabel !== false && (
            <Tooltip title={help}>
              <IconButton size="small" aria-label={`About ${label}`} tabIndex={-1} sx={{ mt: 0.4, p: 0.5, color: 'text.secondary' }}>
                <HelpOutline sx={{ fontSize: 16 }} />
              </IconButton>
            </Tooltip>
          )}
        </Box>
        {rawErrors.length > 0 && (
          <Box id={`${id}__error`} role="alert" sx={{ color: 'error.main', fontSize: 12, mt: 0.25 }}>
            {[...new Set(rawErrors)].map((error) => `${label} ${error}`).join('; ')}
          </Box>
        )}
      </Wrap>
    </Box>
  )
}

function Fields({ title: name, description, properties, fieldPathId, schema, onAddProperty, disabled, readonly, registry, formData }: ObjectFieldTemplateProps) {
  const top = fieldPathId.path.length === 0
  const grid = <Box sx={{ display: 'grid', gridTemplateColumns: 'repeat(auto-fill, minmax(220px, 1fr))', gap: 1.5, alignItems: 'start' }}>{properties.map((one) => one.content)}</Box>
  const Add = registry.templates.ButtonTemplates.AddButton
  const open = schema.additionalProperties !== undefined && schema.additionalProperties !== false
  return top ? (
    grid
  ) : (
    <Box component="fieldset" sx={{ m: 0, p: 1.5, border: 1, borderColor: 'divider', borderRadius: 1, minWidth: 0 }}>
      {name && (
        <Tooltip title={typeof description === 'string' ? oneLine(description) : (description ?? '')}>
          <Box component="legend" sx={{ px: 0.5, fontSize: 12, fontWeight: 600, color: 'text.secondary' }}>{name}</Box>
        </Tooltip>
      )}
      {grid}
      {open && <Add onClick={onAddProperty} disabled={disabled || readonly} registry={registry} aria-label={`Add to ${name || 'this'}`} {...(formData === undefined && {})} />}
    </Box>
  )
}
