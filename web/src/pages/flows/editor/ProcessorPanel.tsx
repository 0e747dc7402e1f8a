// The open processor: its settings as a form, its code, and a sample to try both on, before anything is saved.
import Close from '@mui/icons-material/Close'
import Delete from '@mui/icons-material/DeleteOutlined'
import Fullscreen from '@mui/icons-material/OpenInFull'
import FullscreenExit from '@mui/icons-material/CloseFullscreen'
import { Box, Chip, IconButton, Stack, TextField, Tooltip } from '@mui/material'
import { useEffect, useMemo, useRef, useState } from 'react'
import { useKinds } from '../../../api/hooks'
import { AppLink } from '../../../components/links'
import { toast } from '../../../components/toast'
import { useProcessorNumbers } from '../../../events/store'
import { KindIcon, subtitle } from '../../../flow/kinds'
import type { Step } from '../../../flow/model'
import { renameProcessor } from '../../../flow/text'
import { useSession, useSessionState } from '../../../flow/useSession'
import { many } from '../../../lib/format'
import { readStored, writeStored } from '../../../lib/stored'
import { CodePane, useCode } from './CodePane'
import { InboxPane } from './InboxPane'
import { SamplePane } from './SamplePane'
import { Settings } from './Settings'
import { faultMarks, lineOfFault } from '../../../try/traceback'
import { useTry } from '../../../try/useTry'

const WIDTH = 'opendmp-panel-width'
const LEAST = 380

export interface ProcessorPanelProps {
  step: Step
  /** The sample as the URL names it. */
  sample: string | undefined
  onClose: () => void
  onOpen: (id: string, sample: string | undefined) => void
  onDelete: () => void
}

export default function ProcessorPanel({ step, sample, onClose, onOpen, onDelete }: ProcessorPanelProps) {
  const session = useSession()
  const numbers = useProcessorNumbers(session.slug, step.id)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const { kinds } = useKinds()
  const kind = kinds.find((one) => one.class === 'processor' && one.name === step.type)
  const code = useCode(step, kind)
  const attempt = useTry()
  const [wide, setWide] = useState(false)
  const [width, setWidth] = useState(() => Number(readStored(WIDTH)) || 520)
  const own = diagnostics.filter((one) => one.processor === step.id)
  const { clear } = attempt
  useEffect(() => clear, [step.id, clear])
  const fault = attempt.tried?.fault
  const marks = useMemo(() => (code ? [...code.marks, ...faultMarks(fault, code.value, code.file ?? step.id)] : []), [code, fault, step.id])
  const failing = lineOfFault(fault)
  const run = useRef<() => void>(undefined)

  const sampled = step.type !== 'ingest'
  return (
    <Box
      component="aside"
      aria-label={`Processor ${step.id}`}
      sx={{ position: wide ? 'absolute' : 'relative', inset: wide ? '52px 0 0 0' : undefined, zIndex: wide ? 1100 : 5, display: 'flex', flexDirection: 'column', flexShrink: 0, borderLeft: 1, borderColor: 'divider', bgcolor: 'background.paper', minHeight: 0, maxWidth: '100%' }}
      style={wide ? {} : { width: `min(${width}px, 72%)` }}
    >
      {!wide && <Splitter width={width} onWidth={setWidth} />}
      <Stack direction="row" spacing={1} sx={{ px: 1.5, minHeight: 54, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        <Box sx={(theme) => ({ width: 32, height: 32, borderRadius: 1, display: 'grid', placeItems: 'center', bgcolor: theme.vars.palette.lanes[step.lane % 4 as 0].soft, color: theme.vars.palette.lanes[step.lane % 4 as 0].main, flexShrink: 0 })}>
          <KindIcon type={step.type} sx={{ fontSize: 19 }} />
        </Box>
        <Box sx={{ minWidth: 0, flex: 1 }}>
          <Name key={step.id} id={step.id} onRenamed={(id) => onOpen(id, sample)} />
          <Box className="mono" sx={{ fontSize: 11, color: 'text.secondary', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap', pl: 0.5 }} title={kind?.summary}>{subtitle(step)}</Box>
        </Box>
        {numbers && numbers.failed > 0 && (
          <AppLink to="/dead-letters" search={{ flow: session.slug }}><Chip color="error" variant="outlined" clickable label={`${many(numbers.failed, 'failed', 'failed')}`} sx={{ fontWeight: 600 }} /></AppLink>
        )}
        <Tooltip title="Delete"><IconButton onClick={onDelete} aria-label={`Delete ${step.id}`}><Delete fontSize="small" /></IconButton></Tooltip>
        <Tooltip title={wide ? 'Beside the canvas' : 'As a page'}><IconButton onClick={() => setWide(!wide)} aria-label={wide ? 'Show beside the canvas' : 'Show as a page'}>{wide ? <FullscreenExit sx={{ fontSize: 17 }} /> : <Fullscreen sx={{ fontSize: 17 }} />}</IconButton></Tooltip>
        <IconButton onClick={onClose} aria-label={`Close ${step.id}`}><Close fontSize="small" /></IconButton>
      </Stack>
      {own.length > 0 && (
        <Box component="ul" aria-label={`What is wrong with ${step.id}`} sx={{ m: 0, px: 1.5, py: 0.75, listStyle: 'none', borderBottom: 1, borderColor: 'divider', fontSize: 12.5, maxHeight: 110, overflow: 'auto' }}>
          {own.map((one, at) => (
            <Box component="li" key={at} sx={{ color: one.severity === 'error' ? 'error.main' : 'text.secondary' }}>{one.severity === 'warning' && <Box component="span" sx={{ color: 'warning.main', fontWeight: 600 }}>warning </Box>}{one.message}{one.hint && <Box component="span" sx={{ color: 'text.secondary' }}> · {one.hint}</Box>}</Box>
          ))}
        </Box>
      )}
      <Box sx={{ flex: 1, minHeight: 0, display: 'grid', gridTemplateColumns: wide ? 'minmax(0, 1fr) minmax(0, 1fr)' : 'minmax(0, 1fr)', gridTemplateRows: wide || !sampled ? 'minmax(0, 1fr)' : attempt.tried || attempt.problem || attempt.running ? 'minmax(0, 0.85fr) minmax(0, 1fr)' : 'minmax(0, 1fr) minmax(120px, auto)' }}>
        <Box sx={{ display: 'flex', flexDirection: 'column', minHeight: 0, borderRight: wide ? 1 : 0, borderColor: 'divider' }}>
          <Settings step={step} kind={kind} kinds={kinds} compact={code !== undefined} />
          {step.type === 'ingest' && (step.raw.source as { type?: unknown } | null | undefined)?.type === 'file_drop' && <InboxPane key={step.id} step={step} />}
          {code && <CodePane code={code} marks={marks} onRun={() => run.current?.()} {...(failing !== undefined && { line: failing })} />}
        </Box>
        {sampled && <SamplePane step={step} named={sample} attempt={attempt} run={run} onNext={(id, next) => onOpen(id, next)} />}
      </Box>
    </Box>
  )
}

/** The id, which others name in their inputs: they follow. */
function Name({ id, onRenamed }: { id: string; onRenamed: (id: string) => void }) {
  const session = useSession()
  const [typed, setTyped] = useState(id)
  const rename = () => {
    const to = typed.trim()
    if (to === id || to === '') return setTyped(id)
    if (!/^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/.test(to)) {
      toast('An id has letters, digits, _ and -, at most 64', { severity: 'warning' })
      return setTyped(id)
    }
    if (session.get().model.steps.some((step) => step.id === to)) {
      toast(`There is a ${to} already`, { severity: 'warning' })
      return setTyped(id)
    }
    session.applyText(`rename ${id}`, (text) => renameProcessor(text, id, to))
    onRenamed(to)
  }
  return (
    <TextField
      variant="standard"
      value={typed}
      onChange={(event) => setTyped(event.target.value)}
      onBlur={rename}
      onKeyDown={(event) => {
        if (event.key === 'Enter') event.currentTarget.querySelector('input')?.blur()
        if (event.key === 'Escape') setTyped(id)
      }}
      slotProps={{ htmlInput: { 'aria-label': 'Id of the processor', spellCheck: false }, input: { disableUnderline: true, sx: { fontSize: 15, fontWeight: 650, height: 24, borderRadius: 0.5, px: 0.5, '&:hover, &.Mui-focused': { bgcolor: 'action.hover' } } } }}
    />
  )
}

/** The left edge, to be dragged or moved by arrows. */
function Splitter({ width, onWidth }: { width: number; onWidth: (width: number) => void }) {
  const set = (next: number) => {
    const most = Math.max(LEAST, window.innerWidth * 0.7)
    const kept = Math.round(Math.min(most, Math.max(LEAST, next)))
    onWidth(kept)
    writeStored(WIDTH, String(kept))
  }
  return (
    <Box
      role="separator"
      aria-label="Width of the panel"
      aria-orientation="vertical"
      aria-valuenow={width}
      aria-valuemin={LEAST}
      aria-valuemax={1600}
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.key === 'ArrowLeft') set(width + 24)
        if (event.key === 'ArrowRight') set(width - 24)
      }}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        event.preventDefault()
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId)) set(window.innerWidth - event.clientX)
      }}
      sx={{ position: 'absolute', left: -4, top: 0, bottom: 0, width: 8, cursor: 'col-resize', zIndex: 10, touchAction: 'none', '&:hover, &:focus-visible': { bgcolor: 'primary.main', opacity: 0.35, outline: 'none' } }}
    />
  )
}
