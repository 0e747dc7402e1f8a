// Whether what is on the page is kept: in a word, and with what to do where it is not.
import { Box, Button } from '@mui/material'
import { useSession, useSessionState } from '../../flow/useSession'
import { clock } from '../../lib/format'

export function SaveState() {
  const session = useSession()
  const save = useSessionState((state) => state.save)
  const draft = useSessionState((state) => state.draft)
  const failed = save.state === 'failed'
  const words =
    save.state === 'waiting' || save.state === 'saving' ? 'Saving…' : failed ? `Not saved: ${save.problem.message}` : save.state === 'conflict' ? 'Not saved' : draft ? `Draft saved ${clock(draft.changed)}` : 'No changes'
  return (
    <Box role="status" sx={{ fontSize: 12, color: failed || save.state === 'conflict' ? 'error.main' : 'text.secondary', whiteSpace: 'nowrap', overflow: 'hidden', textOverflow: 'ellipsis', maxWidth: 280 }} title={failed ? `${save.problem.message}. It is kept in this browser.` : words}>
      {words}
      {failed && <Button sx={{ ml: 0.5, minHeight: 0, py: 0 }} onClick={() => void session.save()}>Retry</Button>}
    </Box>
  )
}
