// Asks before something that cannot be taken back. What is lost is said; the button says what it does.
import { Alert, Button, Dialog, DialogActions, DialogContent, DialogTitle, TextField } from '@mui/material'
import { useState, type ReactNode } from 'react'
import { asProblem } from '../api/problem'

export interface Confirm {
  open: boolean
  title: string
  children?: ReactNode
  /** `Delete flow`. */
  action: string
  danger?: boolean
  /** A reason that must be given, with its label. */
  reason?: string
  /** This must be typed before. */
  typed?: string
  onConfirm: (reason: string) => void | Promise<unknown>
  onClose: () => void
}

export function ConfirmDialog(props: Confirm) {
  return (
    <Dialog open={props.open} onClose={props.onClose} maxWidth="xs" fullWidth aria-labelledby="confirm-title">
      {props.open && <Inner {...props} />}
    </Dialog>
  )
}

function Inner({ title, children, action, danger, reason, typed, onConfirm, onClose }: Confirm) {
  const [why, setWhy] = useState('')
  const [typing, setTyping] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const ready = (reason === undefined || why.trim() !== '') && (typed === undefined || typing === typed)
  const go = async () => {
    setBusy(true)
    setError(undefined)
    try {
      await onConfirm(why.trim())
      onClose()
    } catch (problem) {
      setError(problem)
    } finally {
      setBusy(false)
    }
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        if (ready && !busy) void go()
      }}
    >
      <DialogTitle id="confirm-title" sx={{ fontSize: 16 }}>{title}</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.5, fontSize: 13 }}>
        {children}
        {reason !== undefined && (
          <TextField label={reason} value={why} onChange={(event) => setWhy(event.target.value)} autoFocus required sx={{ mt: 0.5 }} />
        )}
        {typed !== undefined && (
          <TextField label={`Type ${typed}`} value={typing} onChange={(event) => setTyping(event.target.value)} autoFocus autoComplete="off" />
        )}
        {error !== undefined && (
          <Alert severity="error" variant="outlined">
            {asProblem(error).message}
            {asProblem(error).hint && <div>{asProblem(error).hint}</div>}
          </Alert>
        )}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose} disabled={busy}>Cancel</Button>
        <Button type="submit" variant="contained" color={danger ? 'error' : 'primary'} disabled={!ready} loading={busy}>{action}</Button>
      </DialogActions>
    </form>
  )
}
