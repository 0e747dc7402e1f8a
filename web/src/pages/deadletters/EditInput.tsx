// The input of a dead letter as text that can be mended, and sent in again in place of what failed.
import { Alert, Box, Button, Dialog, DialogActions, DialogContent, DialogTitle, TextField } from '@mui/material'
import { useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { upload } from '../../api/flows'
import { asProblem, Problem } from '../../api/problem'
import { CodeEditor, languageOf } from '../../components/CodeEditor'
import { ErrorPanel, Skeletons } from '../../components/states'
import { readPart } from '../../preview/content'
import { decodeText, textEncoding } from '../../preview/sniff'
import { letterUrl, retryEdited, type DeadLetter, type Retried } from './data'

/** Bytes of an input that can be edited on the page. */
export const MOST_EDITED = 1 << 20

interface Props {
  letter: DeadLetter
  onRetried: (retried: Retried) => void
  onClose: () => void
}

export function EditInput({ letter, onRetried, onClose }: Props) {
  const { item } = letter
  const input = useQuery({
    queryKey: ['edit', letter.id],
    queryFn: async ({ signal }) => {
      const bytes = await readPart(letterUrl(letter.id), 0, item.size, signal)
      // Another encoding would be written back as UTF-8, and be another text for the script.
      if (textEncoding(bytes, true) === 'utf-8') return decodeText(bytes, 'utf-8', true)
      throw new Problem({ status: 0, code: 'not-text', detail: 'it is not text in UTF-8', hint: 'download it, mend it, and drop it into the inbox of its flow' })
    },
    staleTime: Infinity,
    retry: false,
  })
  const [edited, setEdited] = useState<string>()
  const [note, setNote] = useState('')
  const text = edited ?? input.data
  const send = useMutation({
    mutationFn: async () => {
      const { upload: id } = await upload(new Blob([text ?? ''], { type: item.media_type ?? '' }), item.name)
      return retryEdited(letter.id, id, note.trim())
    },
    onSuccess: (retried) => {
      onRetried(retried)
      onClose()
    },
  })
  return (
    <Dialog open onClose={onClose} fullWidth maxWidth="lg" aria-labelledby="edit-title">
      <DialogTitle id="edit-title" sx={{ fontSize: 16 }}>Edit {item.name} and retry it</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.5, gridTemplateRows: 'minmax(240px, 52vh) auto auto' }}>
        {input.error ? (
          <ErrorPanel error={input.error} what="It can't be edited here" />
        ) : text === undefined ? (
          <Skeletons lines={8} />
        ) : (
          <Box sx={{ border: 1, borderColor: 'divider', borderRadius: 1, overflow: 'hidden', minHeight: 0 }}>
            <CodeEditor label={`Input ${item.name}`} value={text} onChange={setEdited} language={languageOf(item.name, item.media_type)} autoFocus />
          </Box>
        )}
        <TextField label="What was mended, for its history" value={note} onChange={(event) => setNote(event.target.value)} autoComplete="off" />
        {send.error && (
          <Alert severity="error" variant="outlined">
            {asProblem(send.error).message}
            {asProblem(send.error).hint && <div>{asProblem(send.error).hint}</div>}
          </Alert>
        )}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button variant="contained" onClick={() => send.mutate()} loading={send.isPending} disabled={edited === undefined || edited === input.data}>Retry with this</Button>
      </DialogActions>
    </Dialog>
  )
}
