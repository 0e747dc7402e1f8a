// Somebody else saved this draft meanwhile: who, when, and the three ways on.
import { Alert, Button, Dialog, DialogActions, DialogContent, DialogTitle, Stack } from '@mui/material'
import { lazy, Suspense, useState } from 'react'
import { Skeletons } from '../../components/states'
import { toast } from '../../components/toast'
import { useSession, useSessionState } from '../../flow/useSession'
import { when } from '../../lib/format'

const TextDiff = lazy(() => import('../../components/code/TextDiff'))

export function Conflict() {
  const session = useSession()
  const save = useSessionState((state) => state.save)
  const content = useSessionState((state) => state.content)
  const [comparing, setComparing] = useState(false)
  if (save.state !== 'conflict') return null
  const { theirs } = save
  const take = (which: 'mine' | 'theirs') => {
    setComparing(false)
    void session.resolve(which).then(() => {
      if (which === 'theirs') toast(`The draft is as ${theirs.actor} saved it`, { severity: 'info', undo: () => session.undo() })
    })
  }
  const ways = (
    <>
      <Button color="inherit" onClick={() => take('theirs')}>Take theirs</Button>
      <Button color="inherit" onClick={() => take('mine')}>Keep mine</Button>
    </>
  )
  return (
    <>
      <Alert severity="warning" variant="outlined" sx={{ borderRadius: 0, py: 0.25, alignItems: 'center' }} action={<Stack direction="row"><Button color="inherit" onClick={() => setComparing(true)}>Compare</Button>{ways}</Stack>}>
        {theirs.actor} saved this draft at {when(theirs.changed)}, while you were changing it. Yours is kept in this browser, and not saved until you choose.
      </Alert>
      <Dialog open={comparing} onClose={() => setComparing(false)} maxWidth="xl" fullWidth aria-labelledby="conflict-title" slotProps={{ paper: { sx: { height: '82vh' } } }}>
        <DialogTitle id="conflict-title" sx={{ fontSize: 16 }}>{theirs.actor}’s draft (left) beside yours (right)</DialogTitle>
        <DialogContent sx={{ p: 0, borderTop: 1, borderBottom: 1, borderColor: 'divider' }}>
          <Suspense fallback={<Skeletons />}>{comparing && <TextDiff label="Theirs beside mine" before={theirs.text} after={content.text} language="yaml" />}</Suspense>
        </DialogContent>
        <DialogActions>{ways}</DialogActions>
      </Dialog>
    </>
  )
}
