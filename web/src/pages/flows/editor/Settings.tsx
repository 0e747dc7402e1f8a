// What a processor reads and how it is set: inputs, the fields of its kind, and those that every processor has.
import Add from '@mui/icons-material/Add'
import ExpandMore from '@mui/icons-material/ExpandMore'
import { Alert, Box, Chip, Collapse, ButtonBase, IconButton, Menu, MenuItem, Stack } from '@mui/material'
import { lazy, Suspense, useState } from 'react'
import type { Kind } from '../../../api/types'
import { CodeEditor } from '../../../components/CodeEditor'
import { Skeletons } from '../../../components/states'
import { toast } from '../../../components/toast'
import { refusal, type Step } from '../../../flow/model'
import { connect, disconnect, inputRef, setFields } from '../../../flow/text'
import { useSession, useSessionState } from '../../../flow/useSession'
import { formsOf, withType } from '../../../form/schema'
import { useStored } from '../../../lib/stored'
import { parse, stringify } from 'yaml'

const SchemaForm = lazy(() => import('../../../form/SchemaForm'))

export function Settings({ step, kind, kinds, compact }: { step: Step; kind: Kind | undefined; kinds: Kind[]; compact: boolean }) {
  const session = useSession()
  const [more, setMore] = useState(false)
  const [unfolded, setUnfolded] = useStored('opendmp-settings-open')
  const forms = formsOf(step.raw, kind, kinds)
  const change = (fields: Record<string, unknown>) => {
    const next = { ...fields }
    for (const cls of ['source', 'destination'] as const) {
      const now = next[cls] as Record<string, unknown> | undefined
      const before = step.raw[cls] as Record<string, unknown> | undefined
      if (now && typeof now.type === 'string' && now.type !== before?.type) next[cls] = withType(now, now.type, cls, kinds)
    }
    try {
      session.applyText(`set ${Object.keys(next).join(', ')} of ${step.id}`, (text) => setFields(text, step.id, next), `${step.id}/${Object.keys(next).join()}`)
    } catch (error) {
      toast(`Not set: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
    }
  }
  // Beside code, the code and what comes of it have the room.
  const open = unfolded !== undefined || !compact
  const fields = Object.keys(forms.own.properties ?? {}).length
  return (
    <Box sx={{ borderBottom: 1, borderColor: 'divider', display: 'flex', flexDirection: 'column', minHeight: 0, maxHeight: compact ? '46%' : undefined, flex: compact ? '0 1 auto' : 1 }}>
      {compact && (
        <ButtonBase onClick={() => setUnfolded(open ? undefined : 'yes')} aria-expanded={open} sx={{ justifyContent: 'flex-start', gap: 0.5, px: 1.5, minHeight: 32, fontSize: 12, fontWeight: 600, color: 'text.secondary' }}>
          <ExpandMore sx={{ fontSize: 18, transform: open ? 'none' : 'rotate(-90deg)' }} />
          Settings
          {!open && <Box component="span" sx={{ fontWeight: 400, ml: 0.5 }}>{step.inputs.length > 0 ? <>reads <span className="mono">{step.inputs.map((input) => inputRef(input.from, input.port)).join(', ')}</span></> : 'reads nothing yet'}</Box>}
        </ButtonBase>
      )}
      {open && (
        <Box sx={{ overflowY: 'auto', px: 1.5, pb: 1.5, pt: compact ? 0.5 : 1.5, display: 'grid', gap: 1.5, alignContent: 'start' }}>
          {step.type !== 'ingest' && <Inputs step={step} />}
          {kind === undefined && kinds.length > 0 && (
            <>
              <Alert severity="warning" variant="outlined">This server knows no kind <span className="mono">{step.type}</span>. Its fields as they are written:</Alert>
              <Raw step={step} />
            </>
          )}
          <Suspense fallback={<Skeletons lines={3} />}>
            {fields > 0 && <SchemaForm idPrefix={`own-${step.id}`} schema={forms.own} data={step.raw} onChange={change} />}
            {kind && forms.unknown.length > 0 && <Alert severity="warning" variant="outlined">{step.type} has no {forms.unknown.map((key) => `\`${key}\``).join(', ')}; the YAML tab shows where it stands.</Alert>}
            <Box>
              <ButtonBase onClick={() => setMore(!more)} aria-expanded={more} sx={{ fontSize: 12, fontWeight: 600, color: 'text.secondary', gap: 0.5, borderRadius: 0.5 }}>
                <ExpandMore sx={{ fontSize: 18, transform: more ? 'none' : 'rotate(-90deg)' }} />
                Retries, time, concurrency
              </ButtonBase>
              <Collapse in={more} unmountOnExit>
                <Box sx={{ pt: 1.5 }}><SchemaForm idPrefix={`common-${step.id}`} schema={forms.common} data={step.raw} onChange={change} /></Box>
              </Collapse>
            </Box>
          </Suspense>
        </Box>
      )}
    </Box>
  )
}

/** What it reads; the same as drawing on the canvas, by keyboard. */
function Inputs({ step }: { step: Step }) {
  const session = useSession()
  const model = useSessionState((state) => state.model)
  const [anchor, setAnchor] = useState<HTMLElement | null>(null)
  const choices = model.steps.flatMap((from) => from.outputs.filter((port) => refusal(model, from.id, port, step.id) === undefined).map((port) => ({ from: from.id, port })))
  const apply = (label: string, change: (text: string) => string) => {
    try {
      session.applyText(label, change)
    } catch (error) {
      toast(`Not done: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
    }
  }
  return (
    <Stack direction="row" spacing={0.75} useFlexGap sx={{ alignItems: 'center', flexWrap: 'wrap', fontSize: 12.5 }}>
      <Box component="span" sx={{ color: 'text.secondary' }}>Reads</Box>
      {step.inputs.map((input) => {
        const ref = inputRef(input.from, input.port)
        const known = model.steps.some((one) => one.id === input.from)
        return <Chip key={ref} label={ref} color={known ? 'default' : 'error'} variant="outlined" className="mono" onDelete={() => apply(`disconnect ${step.id}`, (text) => disconnect(text, [{ from: input.from, port: input.port, to: step.id }]))} slotProps={{ root: { 'aria-label': `Reads ${ref}` } }} />
      })}
      {step.inputs.length === 0 && <Box component="span" sx={{ color: 'warning.main' }}>nothing yet</Box>}
      <IconButton size="small" onClick={(event) => setAnchor(event.currentTarget)} disabled={choices.length === 0} aria-label="Read another processor" aria-haspopup="menu"><Add sx={{ fontSize: 17 }} /></IconButton>
      <Menu anchorEl={anchor} open={anchor !== null} onClose={() => setAnchor(null)}>
        {choices.map(({ from, port }) => (
          <MenuItem
            key={inputRef(from, port)}
            className="mono"
            onClick={() => {
              setAnchor(null)
              apply(`connect ${from} to ${step.id}`, (text) => connect(text, from, port, step.id))
            }}
          >
            {inputRef(from, port)}
          </MenuItem>
        ))}
      </Menu>
    </Stack>
  )
}

/** The fields of a kind that is not known here, as YAML: never a blank. */
function Raw({ step }: { step: Step }) {
  const session = useSession()
  const { id: _i, type: _t, inputs: _in, phase: _p, ...rest } = step.raw
  const [text, setText] = useState(() => (Object.keys(rest).length === 0 ? '' : stringify(rest, { lineWidth: 0 })))
  return (
    <Box sx={{ height: 220, border: 1, borderColor: 'divider', borderRadius: 1, overflow: 'hidden' }}>
      <CodeEditor
        label={`Fields of ${step.id}`}
        language="yaml"
        value={text}
        onChange={(next) => {
          setText(next)
          try {
            const fields = (parse(next) ?? {}) as Record<string, unknown>
            if (typeof fields !== 'object' || Array.isArray(fields)) return
            const gone = Object.fromEntries(Object.keys(rest).filter((key) => !(key in fields)).map((key) => [key, undefined]))
            session.applyText(`edit ${step.id}`, (flow) => setFields(flow, step.id, { ...gone, ...fields }), `${step.id}/raw`)
          } catch {
            // Half typed; it is taken when it can be read.
          }
        }}
      />
    </Box>
  )
}
