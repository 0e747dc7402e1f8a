// The flow's name and description, written into its text like everything else.
import { Alert, Button, Dialog, DialogActions, DialogContent, DialogTitle, TextField } from '@mui/material'
import { useState } from 'react'
import { toast } from '../../components/toast'
import { slug as slugOf } from '../../flow/model'
import { setFlow } from '../../flow/text'
import { useSession, useSessionState } from '../../flow/useSession'

export function Describe({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} maxWidth="xs" fullWidth aria-labelledby="describe-title">
      {open && <Inner onClose={onClose} />}
    </Dialog>
  )
}

function Inner({ onClose }: { onClose: () => void }) {
  const session = useSession()
  const model = useSessionState((state) => state.model)
  const flow = useSessionState((state) => state.flow)
  const [name, setName] = useState(model.name)
  const [about, setAbout] = useState(model.description ?? '')
  const identity = slugOf(name)
  const go = () => {
    try {
      session.applyText('describe the flow', (text) => setFlow(text, { name: name.trim(), description: about.trim() === '' ? undefined : about.trim() }))
      onClose()
    } catch (error) {
      toast(`Not done: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
    }
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        go()
      }}
    >
      <DialogTitle id="describe-title" sx={{ fontSize: 16 }}>Name and description</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.75 }}>
        <TextField label="Name" value={name} onChange={(event) => setName(event.target.value)} required autoFocus sx={{ mt: 1 }} error={identity === ''} helperText={identity === '' ? 'a name needs a letter or a digit' : undefined} />
        <TextField label="Description" value={about} onChange={(event) => setAbout(event.target.value)} multiline minRows={2} maxRows={6} />
        {flow && identity !== session.slug && identity !== '' && (
          <Alert severity="warning" variant="outlined">A flow is known by its name: enabling makes another one, <span className="mono">{identity}</span>, and <span className="mono">{session.slug}</span> stays as it is.</Alert>
        )}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="contained" disabled={identity === ''}>Take over</Button>
      </DialogActions>
    </form>
  )
}
