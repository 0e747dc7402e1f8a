// Small parts of the data pages: copying, facts beside each other, links to what something belongs to.
import ContentCopy from '@mui/icons-material/ContentCopy'
import { Box, Button, Chip, IconButton, Link, Tooltip } from '@mui/material'
import { Link as To } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { StateChip } from '../../components/bits'
import { toast } from '../../components/toast'
import { short } from '../../lib/format'
import type { StepResult } from './types'

/** Puts text on the clipboard, also where the page came over plain HTTP and the browser has no clipboard for it. */
export async function copyText(text: string, what: string): Promise<void> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text)
    } else {
      const field = document.createElement('textarea')
      field.value = text
      document.body.append(field)
      field.select()
      const done = document.execCommand('copy')
      field.remove()
      if (!done) throw new Error('the browser refuses')
    }
    toast(`${what} copied`)
  } catch {
    toast(`${what} could not be copied; the browser does not let the page`, { severity: 'warning' })
  }
}

export function CopyIcon({ text, what }: { text: string; what: string }) {
  return (
    <Tooltip title={`Copy ${what.toLowerCase()}`}>
      <IconButton aria-label={`Copy ${what.toLowerCase()}`} onClick={() => void copyText(text, what)} sx={{ p: 0.4 }}>
        <ContentCopy sx={{ fontSize: 14 }} />
      </IconButton>
    </Tooltip>
  )
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  return <Button startIcon={<ContentCopy sx={{ fontSize: 16 }} />} onClick={() => void copyText(text, what)}>Copy {what.toLowerCase()}</Button>
}

/** A hash or id, cut, that can be copied. */
export function Copied({ value, what, length = 7 }: { value: string; what: string; length?: number }) {
  return (
    <Box component="span" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.25, whiteSpace: 'nowrap' }}>
      <span className="mono" title={value}>{short(value, length)}</span>
      <CopyIcon text={value} what={what} />
    </Box>
  )
}

/** Facts beside each other, as on the head of a page; they wrap. */
export function Facts({ children }: { children: ReactNode }) {
  return (
    <Box component="dl" sx={{ m: 0, display: 'flex', flexWrap: 'wrap', borderBottom: 1, borderColor: 'divider', flexShrink: 0, '& > div': { px: 2, py: 1, borderRight: 1, borderColor: 'divider', minWidth: 84 }, '& > div:last-of-type': { borderRight: 0 } }}>
      {children}
    </Box>
  )
}

export function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div>
      <Box component="dt" sx={{ fontSize: 12, color: 'text.secondary' }}>{label}</Box>
      <Box component="dd" sx={{ m: 0, fontSize: 14, fontWeight: 600, minHeight: 22, display: 'flex', alignItems: 'center', gap: 0.5 }}>{children}</Box>
    </div>
  )
}

export function FlowLink({ flow, processor }: { flow: string; processor?: string }) {
  return <Link component={To} to={`/flows/${encodeURIComponent(flow)}${processor ? `?processor=${encodeURIComponent(processor)}` : ''}`}>{processor ?? flow}</Link>
}

export function RunLink({ run }: { run: number }) {
  return <Link component={To} to={`/runs/${run}`} className="num">{run}</Link>
}

/** What a processor is, in small. */
export function KindChip({ kind }: { kind: string }) {
  return <Chip variant="outlined" label={kind} sx={{ height: 20, fontSize: 11, color: 'text.secondary' }} />
}

/** Where a page is, before its title. */
export function Crumb({ to, children }: { to: string; children: ReactNode }) {
  return (
    <>
      <Link component={To} to={to} color="inherit" sx={{ fontSize: 15, color: 'text.secondary', whiteSpace: 'nowrap' }}>{children}</Link>
      <Box component="span" aria-hidden sx={{ color: 'text.secondary' }}>/</Box>
    </>
  )
}

/** What came of a step: the state whose colour it has, and its word. */
const RESULTS: Record<StepResult, [string, string]> = {
  arrived: ['none', 'Arrived'],
  emitted: ['none', 'Emitted'],
  collected: ['collected', 'Collected'],
  unchanged: ['none', 'Unchanged'],
  dead: ['dead', 'Failed'],
  retried: ['pending', 'To be tried again'],
  reentered: ['none', 'Sent in again'],
  spooled: ['none', 'Emitted in parts'],
  held: ['pending', 'Held'],
  joined: ['none', 'Joined'],
}

export function ResultChip({ result }: { result: StepResult | 'dropped' }) {
  const [state, label] = result === 'dropped' ? ['dropped', 'Dropped'] : (RESULTS[result] ?? ['none', result])
  return <StateChip state={state} label={label} />
}
