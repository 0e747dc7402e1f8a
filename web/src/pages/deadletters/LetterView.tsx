// One dead letter: its exact input, what went wrong and where in the code, what it logged, and what can be done.
import Build from '@mui/icons-material/BuildOutlined'
import Edit from '@mui/icons-material/EditOutlined'
import Delete from '@mui/icons-material/DeleteOutlined'
import Download from '@mui/icons-material/FileDownloadOutlined'
import Replay from '@mui/icons-material/Replay'
import { Alert, Box, Button, Stack, Typography } from '@mui/material'
import { Link as To } from '@tanstack/react-router'
import { Bytes, Prose, Short, StateChip, Time } from '../../components/bits'
import { useState } from 'react'
import { many } from '../../lib/format'
import { Preview } from '../../preview/Preview'
import { Copied, CopyButton, Fact, Facts, FlowLink, RunLink } from '../datasets/bits'
import { save } from '../datasets/data'
import { Log } from '../datasets/HistoryView'
import { EditInput, MOST_EDITED } from './EditInput'
import { letterUrl, placeOf, type DeadLetter, type Retried } from './data'

/** Opens the editor at the processor where it failed, with the letter's input as its sample. */
export const fixUrl = (flow: string, processor: string, letter: string): string =>
  `/flows/${encodeURIComponent(flow)}?${new URLSearchParams({ processor, sample: `dead_letter:${letter}` }).toString()}`

interface Props {
  letter: DeadLetter
  onRetry: () => void
  onDiscard: () => void
  /** An edited input was sent in. */
  onRetried: (retried: Retried) => void
  busy: boolean
}

export function LetterView({ letter, onRetry, onDiscard, onRetried, busy }: Props) {
  const { item } = letter
  const open = letter.state === 'open'
  const [editing, setEditing] = useState(false)
  return (
    <Box role="region" aria-label={`Dead letter ${item.name}`} tabIndex={0} sx={{ flex: 1, minWidth: 0, minHeight: 0, overflow: 'auto', display: 'flex', flexDirection: 'column' }}>
      <Stack direction="row" spacing={1} useFlexGap sx={{ px: 2, py: 1, alignItems: 'center', flexWrap: 'wrap' }}>
        <Typography variant="h2" sx={{ minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis' }}>{item.name}</Typography>
        <StateChip state={letter.state} />
        <Box sx={{ flex: 1 }} />
        <Button startIcon={<Download fontSize="small" />} onClick={() => save(letterUrl(letter.id), item.name)}>Input</Button>
        {open && (
          <>
            <Button color="error" startIcon={<Delete fontSize="small" />} onClick={onDiscard}>Discard</Button>
            {!letter.export_only && item.size <= MOST_EDITED && <Button startIcon={<Edit fontSize="small" />} onClick={() => setEditing(true)}>Edit input</Button>}
            <Button startIcon={<Replay fontSize="small" />} onClick={onRetry} loading={busy} loadingPosition="start">Retry</Button>
            {!letter.export_only && <Button variant="contained" component={To} to={fixUrl(letter.flow, letter.processor, letter.id)} startIcon={<Build fontSize="small" />}>Fix</Button>}
          </>
        )}
      </Stack>
      {editing && <EditInput letter={letter} onRetried={onRetried} onClose={() => setEditing(false)} />}
      <Fault_ letter={letter} />
      <Facts>
        <Fact label="Failed in"><FlowLink flow={letter.flow} processor={letter.processor} /></Fact>
        <Fact label="Failed"><Time value={letter.failed} /></Fact>
        <Fact label="Attempts">{letter.attempts}</Fact>
        <Fact label="Run"><RunLink run={letter.run} /></Fact>
        <Fact label="Version"><Short value={letter.version} /></Fact>
        <Fact label="Input"><Bytes value={item.size} /></Fact>
        <Fact label="Hash"><Copied value={item.hash} what="Hash" /></Fact>
        <Fact label="Id"><Copied value={letter.id} what="Id" length={8} /></Fact>
      </Facts>
      {letter.log.length > 0 && (
        <Box sx={{ px: 2, pt: 1, pb: 1.5, borderBottom: 1, borderColor: 'divider' }}>
          <Typography variant="h3">Log of the last attempt, {many(letter.log.length, 'line')}</Typography>
          <Log lines={letter.log} />
        </Box>
      )}
      <Typography variant="h3" sx={{ px: 2, pt: 1.25 }}>Its exact input</Typography>
      <Box sx={{ flex: '1 0 360px', minHeight: 0, display: 'flex', flexDirection: 'column' }}>
        <Preview content={{ url: letterUrl(letter.id), name: item.name, size: item.size, mediaType: item.media_type ?? null }} />
      </Box>
    </Box>
  )
}

function Fault_({ letter }: { letter: DeadLetter }) {
  const { fault, end, export_only } = letter
  const place = placeOf(fault)
  return (
    <Box sx={{ px: 2, pb: 1.5, display: 'grid', gap: 1, borderBottom: 1, borderColor: 'divider' }}>
      <Alert severity="error" variant="outlined" sx={{ '& .MuiAlert-message': { minWidth: 0, width: '100%' } }}>
        <Box sx={{ fontWeight: 600, wordBreak: 'break-word' }}>{fault.code}: {fault.message}</Box>
        {fault.hint && <Box sx={{ mt: 0.25 }}><Prose text={fault.hint} /></Box>}
        {place && (
          <Box className="mono" sx={{ mt: 1, fontSize: 12.5, bgcolor: 'background.default', color: 'text.primary', borderRadius: 1, px: 1.25, py: 0.75, overflowX: 'auto', whiteSpace: 'pre' }}>
            <Box component="span" sx={{ color: 'text.secondary', mr: 2 }}>{place.file}:{place.line}</Box>
            {place.code}
          </Box>
        )}
        {fault.traceback && (
          <Box component="details" sx={{ mt: 1 }}>
            <Box component="summary" sx={{ cursor: 'pointer' }}>{/^Traceback/.test(fault.traceback) ? 'Traceback' : 'Output on standard error'}</Box>
            <CopyButton text={fault.traceback} what="Traceback" />
            <Box component="pre" tabIndex={0} sx={{ m: 0, mt: 0.5, fontSize: 12, whiteSpace: 'pre-wrap', wordBreak: 'break-word', maxHeight: 320, overflow: 'auto' }}>{fault.traceback}</Box>
          </Box>
        )}
      </Alert>
      {export_only && <Alert severity="info" variant="outlined" sx={{ py: 0 }}>Only the export failed: the dataset is there. A retry repeats the export alone.</Alert>}
      {end && (
        <Alert severity="info" variant="outlined" sx={{ py: 0 }}>
          {letter.state === 'discarded' ? 'Discarded' : 'Retried'} by {end.actor} <Time value={end.at} />{end.reason && `: ${end.reason}`}
        </Alert>
      )}
    </Box>
  )
}
