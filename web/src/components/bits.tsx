// Small parts that every page uses: states, numbers, times, keys.
import { Box, Chip, Tooltip, type ChipProps } from '@mui/material'
import { useEffect, useState } from 'react'
import * as format from '../lib/format'

type Tone = 'success' | 'warning' | 'error' | 'info' | 'default'

const TONES: Record<string, [string, Tone]> = {
  enabled: ['Enabled', 'success'],
  disabled: ['Disabled', 'default'],
  deleting: ['Deleting', 'warning'],
  draft: ['Draft', 'info'],
  open: ['Open', 'error'],
  retried: ['Retried', 'success'],
  discarded: ['Discarded', 'default'],
  done: ['Done', 'success'],
  running: ['Running', 'info'],
  collected: ['Collected', 'success'],
  dead: ['Failed', 'error'],
  dropped: ['Dropped', 'default'],
  exported: ['Exported', 'success'],
  pending: ['Waiting', 'warning'],
  failed: ['Failed', 'error'],
  none: ['Not exported', 'default'],
}

/** A state in its word and colour; one that is not known is shown as it is. */
export function StateChip({ state, label, ...rest }: { state: string; label?: string } & Omit<ChipProps, 'color' | 'label'>) {
  const [word, tone] = TONES[state] ?? [state.replaceAll('_', ' '), 'default' as Tone]
  return (
    <Chip
      variant="outlined"
      color={tone}
      label={label ?? word}
      {...rest}
      sx={{ fontWeight: 600, height: 22, fontSize: 12, ...(tone === 'default' && { color: 'text.secondary' }), ...rest.sx }}
    />
  )
}

/** A size, exact on hover. */
export function Bytes({ value }: { value: number }) {
  return <span className="num" title={`${format.count(value)} bytes`}>{format.bytes(value)}</span>
}

/** Microseconds (or milliseconds) as people read them. */
export function Duration({ us, ms }: { us?: number; ms?: number }) {
  return <span className="num">{format.duration(us ?? (ms ?? 0) * 1000)}</span>
}

/** A time, in full on hover; `ago` keeps counting. */
export function Time({ value, ago = false }: { value: string | null | undefined; ago?: boolean }) {
  const [, tick] = useState(0)
  useEffect(() => {
    if (!ago) return
    const timer = setInterval(() => tick((at) => at + 1), 15_000)
    return () => clearInterval(timer)
  }, [ago])
  if (!value) return <Box component="span" sx={{ color: 'text.secondary' }}>never</Box>
  return (
    <time className="num" dateTime={value} title={format.inFull(value)}>
      {ago ? format.ago(value) : format.when(value)}
    </time>
  )
}

/** A hash or id, cut; in full on hover. */
export function Short({ value, length = 7 }: { value: string; length?: number }) {
  return (
    <Tooltip title={<span className="mono">{value}</span>}>
      <span className="mono">{format.short(value, length)}</span>
    </Tooltip>
  )
}

/** A sentence of the server, whose `names` stand between backticks as in the terminal. */
export const Prose = ({ text }: { text: string }) => <>{text.split('`').map((part, at) => (at % 2 === 1 ? <span key={at} className="mono">{part}</span> : part))}</>

/** A key, or several. */
export function Keys({ names }: { names: string[] }) {
  return (
    <Box component="span" sx={{ display: 'inline-flex', gap: 0.5, verticalAlign: 'middle' }}>
      {names.map((name, at) => (
        <Box
          key={at}
          component="kbd"
          sx={{ px: 0.6, minWidth: 18, textAlign: 'center', fontSize: 11, lineHeight: '17px', borderRadius: 0.5, border: 1, borderColor: 'divider', bgcolor: 'background.default', color: 'text.secondary' }}
        >
          {name}
        </Box>
      ))}
    </Box>
  )
}
