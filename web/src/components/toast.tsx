// Short messages at the bottom, some with a way back. Kept outside of React, so that anything can tell.
import { Alert, Button, Stack } from '@mui/material'
import { useEffect, useSyncExternalStore } from 'react'
import { asProblem } from '../api/problem'

export interface Toast {
  id: number
  message: string
  severity: 'success' | 'info' | 'warning' | 'error'
  undo?: () => void
}

const SHOWN_MS = 6000
/** With a way back, or when something failed: long enough to read and decide. */
const LONG_MS = 15_000

let toasts: Toast[] = []
let next = 1
const hearers = new Set<() => void>()

function set(list: Toast[]) {
  toasts = list
  for (const hearer of hearers) hearer()
}

export function toast(message: string, options: Partial<Pick<Toast, 'severity' | 'undo'>> = {}) {
  const added: Toast = { id: next, message, severity: options.severity ?? 'success', ...(options.undo && { undo: options.undo }) }
  next += 1
  set([...toasts.slice(-3), added])
}

export function toastProblem(what: string, error: unknown) {
  const problem = asProblem(error)
  toast(`${what}: ${problem.message}${problem.hint ? ` (${problem.hint})` : ''}`, { severity: 'error' })
}

const drop = (id: number) => set(toasts.filter((one) => one.id !== id))

export function Toasts() {
  const list = useSyncExternalStore(
    (hearer) => {
      hearers.add(hearer)
      return () => hearers.delete(hearer)
    },
    () => toasts,
  )
  return (
    <Stack
      role="region"
      aria-label="Messages"
      aria-live="polite"
      spacing={1}
      sx={{ position: 'fixed', bottom: 16, left: '50%', transform: 'translateX(-50%)', zIndex: 'snackbar', width: 'min(560px, 92vw)' }}
    >
      {list.map((one) => (
        <One key={one.id} toast={one} />
      ))}
    </Stack>
  )
}

function One({ toast: { id, message, severity, undo } }: { toast: Toast }) {
  useEffect(() => {
    const timer = setTimeout(() => drop(id), undo || severity === 'error' ? LONG_MS : SHOWN_MS)
    return () => clearTimeout(timer)
  }, [id, undo, severity])
  const back = () => {
    drop(id)
    undo?.()
  }
  return (
    <Alert
      severity={severity}
      variant="outlined"
      onClose={() => drop(id)}
      sx={{ bgcolor: 'background.paper', boxShadow: 6, alignItems: 'center', wordBreak: 'break-word' }}
      {...(undo && { action: <Button color="inherit" onClick={back}>Undo</Button> })}
    >
      {message}
    </Alert>
  )
}
