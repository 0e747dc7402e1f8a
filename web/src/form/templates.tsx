// How a form's parts look: labels raised, help behind a mark, lists and groups framed lightly.
import Add from '@mui/icons-material/Add'
import ArrowUpward from '@mui/icons-material/ArrowUpward'
import Close from '@mui/icons-material/Close'
import HelpOutline from '@mui/icons-material/HelpOutlineOutlined'
import { Box, Button, Checkbox, FormControlLabel, IconButton, MenuItem, TextField, Tooltip } from '@mui/material'
import type { ArrayFieldItemTemplateProps, ArrayFieldTemplateProps, FieldTemplateProps, ObjectFieldTemplateProps, WidgetProps } from '@rjsf/utils'
import type { ReactNode } from 'react'
import type { Schema } from './schema'

/** Descriptions come as they are broken in the source. */
const oneLine = (text: string) => text.replace(/\s*\n\s*/g, ' ')

export const Nothing = () => null

export function Field(props: FieldTemplateProps) {
  const { children, hidden, rawErrors = [], rawDescription, schema, id, label, registry } = props
  if (hidden) return <Box sx={{ display: 'none' }}>{children}</Box>
  const Wrap = registry.templates.WrapIfAdditionalTemplate
  const grouped = schema.type === 'object' || schema.type === 'array'
  const wide = grouped || props.uiSchema?.['ui:widget'] === 'textarea'
  const own = props.uiSchema?.['ui:label'] !== false
  return (
    <Box sx={{ gridColumn: wide ? '1 / -1' : undefined, minWidth: 0 }}>
      <Wrap {...props}>
        <Box sx={{ display: 'flex', alignItems: 'flex-start', gap: 0.25 }}>
          <Box sx={{ flex: 1, minWidth: 0 }}>{children}</Box>
          {rawDescription && !grouped && own && <Help about={label}>{rawDescription}</Help>}
        </Box>
        {rawErrors.length > 0 && (
          <Box id={`${id}__error`} role="alert" sx={{ color: 'error.main', fontSize: 12, mt: 0.25 }}>
            {[...new Set(rawErrors)].map((error) => (own ? `${label} ${error}` : error)).join('; ')}
          </Box>
        )}
      </Wrap>
    </Box>
  )
}

function Help({ about, children }: { about: string; children: string }) {
  return (
    <Tooltip title={oneLine(children)}>
      <IconButton size="small" aria-label={`About ${about}: ${oneLine(children)}`} tabIndex={-1} sx={{ mt: 0.5, p: 0.5, color: 'text.secondary' }}>
        <HelpOutline sx={{ fontSize: 16 }} />
      </IconButton>
    </Tooltip>
  )
}

function Group({ name, help, children }: { name: string | undefined; help: string | undefined; children: ReactNode }) {
  return (
    <Box component="fieldset" sx={{ m: 0, p: 1.5, pt: 1, border: 1, borderColor: 'divider', borderRadius: 1, minWidth: 0 }}>
      {name && (
        <Box component="legend" sx={{ px: 0.5, fontSize: 12, fontWeight: 600, color: 'text.secondary' }}>
          {name}
          {help && <Tooltip title={oneLine(help)}><HelpOutline sx={{ fontSize: 14, ml: 0.5, verticalAlign: -2 }} aria-label={oneLine(help)} /></Tooltip>}
        </Box>
      )}
      {children}
    </Box>
  )
}

export function Fields({ title, properties, fieldPathId, schema, onAddProperty, disabled, readonly }: ObjectFieldTemplateProps) {
  const { path } = fieldPathId
  // The entries of a list stand in columns, a name before what is said of it.
  const columns = typeof path.at(-1) === 'number' && properties.length === 2 ? 'minmax(110px, 1fr) minmax(0, 2.2fr)' : 'repeat(auto-fill, minmax(200px, 1fr))'
  const grid = <Box sx={{ display: 'grid', gridTemplateColumns: columns, gap: 1.75, pt: 0.75, alignItems: 'start' }}>{properties.map((one) => one.content)}</Box>
  if (path.length === 0 || typeof path.at(-1) === 'number') return grid
  const open = schema.additionalProperties !== undefined && schema.additionalProperties !== false
  return (
    <Group name={title} help={schema.description}>
      {grid}
      {open && <Button startIcon={<Add />} onClick={onAddProperty} disabled={disabled || readonly} sx={{ mt: 0.5 }}>Add</Button>}
    </Group>
  )
}

export function Entries({ title, items, canAdd, onAddClick, disabled, readonly, schema, uiSchema }: ArrayFieldTemplateProps) {
  const name = uiSchema?.['ui:title'] ?? title
  return (
    <Group name={name} help={schema.description}>
      <Box sx={{ display: 'grid', gap: 1, pt: 0.5 }}>{items}</Box>
      {canAdd && <Button startIcon={<Add />} onClick={onAddClick} disabled={disabled || readonly} sx={{ mt: items.length > 0 ? 0.5 : 0 }}>Add{name ? ` to ${name}` : ''}</Button>}
    </Group>
  )
}

export function Entry({ children, buttonsProps, index }: ArrayFieldItemTemplateProps) {
  const { hasMoveUp, hasMoveDown, hasRemove, onMoveUpItem, onRemoveItem, disabled, readonly } = buttonsProps
  return (
    <Box sx={{ display: 'flex', alignItems: 'flex-start', gap: 0.5 }}>
      <Box sx={{ flex: 1, minWidth: 0 }}>{children}</Box>
      {/* The first one has the place of the arrow, too, so that the fields of all stand below each other. */}
      {!hasMoveUp && hasMoveDown && <Box sx={{ width: 26, flexShrink: 0 }} />}
      {hasMoveUp && <IconButton onClick={onMoveUpItem} disabled={disabled || readonly || index === 0} aria-label={`Move entry ${index + 1} up`}><ArrowUpward sx={{ fontSize: 16 }} /></IconButton>}
      {hasRemove && <IconButton onClick={onRemoveItem} disabled={disabled || readonly} aria-label={`Remove entry ${index + 1}`}><Close sx={{ fontSize: 16 }} /></IconButton>}
    </Box>
  )
}

/** One of several; what each means stands beside it. What is there if nothing is said can be chosen again. */
export function Choice({ id, label, value, required, onChange, options, placeholder, schema, rawErrors, disabled, readonly }: WidgetProps) {
  const about = new Map((schema as Schema).oneOf?.map((one) => [one.const, one.description]))
  return (
    <TextField
      select id={id} label={label} value={value ?? ''} required={required ?? false} disabled={(disabled || readonly) ?? false} error={(rawErrors?.length ?? 0) > 0}
      onChange={(event) => onChange(event.target.value === '' ? undefined : event.target.value)}
      slotProps={{ inputLabel: { shrink: true }, select: { displayEmpty: true, renderValue: (chosen) => (chosen === '' ? <Box component="span" sx={{ color: 'text.secondary' }}>{placeholder || '–'}</Box> : (options.enumOptions?.find((one) => one.value === chosen)?.label ?? String(chosen))) } }}
    >
      {!required && <MenuItem value=""><Box component="span" sx={{ color: 'text.secondary' }}>{placeholder ? `${placeholder} (if nothing is said)` : '–'}</Box></MenuItem>}
      {options.enumOptions?.map((one) => (
        <MenuItem key={String(one.value)} value={one.value as string} sx={{ display: 'block' }}>
          {one.label}
          {about.get(one.value) && <Box sx={{ fontSize: 11.5, color: 'text.secondary', whiteSpace: 'normal', maxWidth: 340 }}>{about.get(one.value)}</Box>}
        </MenuItem>
      ))}
    </TextField>
  )
}

/** A box to tick; unticked again, it is not said any more where that means the same. */
export function Yes({ id, label, value, onChange, schema, disabled, readonly }: WidgetProps) {
  const preset = (schema as Schema)['x-default'] === true
  return (
    <FormControlLabel
      sx={{ m: 0, '& .MuiFormControlLabel-label': { fontSize: 13 } }}
      label={label}
      control={<Checkbox id={id} size="small" checked={value === undefined ? preset : value === true} disabled={(disabled || readonly) ?? false} onChange={(event) => onChange(event.target.checked === preset ? undefined : event.target.checked)} sx={{ p: 0.75 }} />}
    />
  )
}
