// How a retry goes on, until it is done and somebody closes it.
import Close from '@mui/icons-material/Close'
import { Box, IconButton, LinearProgress, Stack } from '@mui/material'
import { useQueries, useQueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { many } from '../../lib/format'
import { RunLink } from '../datasets/bits'
import { readRun } from '../runs/data'
import type { Retried } from './data'
import { progressOf } from './progress'

const AGAIN_MS = 700

export function RetryProgress({ retried, onClose }: { retried: Retried[]; onClose: () => void }) {
  const client = useQueryClient()
  const runs = useQueries({
    queries: retried.map((one) => ({
      queryKey: ['retry', one.run],
      queryFn: ({ signal }: { signal: AbortSignal }) => readRun(one.run, signal),
      refetchInterval: (query: { state: { data?: { state: string } } }) => (query.state.data?.state === 'done' ? (false as const) : AGAIN_MS),
    })),
  })
  const progress = progressOf(retried, runs.flatMap((run) => (run.data ? [run.data] : [])))
  useEffect(() => {
    // What failed again is a letter of its own now.
    if (progress.finished) void client.invalidateQueries({ queryKey: ['letters'] })
  }, [progress.finished, client])
  const tone = !progress.finished ? 'info.main' : progress.failed > 0 ? 'error.main' : 'success.main'
  return (
    <Box role="status" sx={{ borderBottom: 1, borderColor: 'divider', bgcolor: 'background.default' }}>
      <Stack direction="row" spacing={1.5} useFlexGap sx={{ px: 2, py: 0.75, alignItems: 'center', flexWrap: 'wrap' }}>
        <Box sx={{ fontWeight: 600, color: tone }}>{progress.finished ? progress.words : `Retrying ${many(progress.letters, 'dead letter')}: ${progress.words}`}</Box>
        <Box sx={{ color: 'text.secondary', fontSize: 12 }}>
          in {retried.length === 1 ? 'run' : 'runs'} {retried.map((one, at) => <span key={one.run}>{at > 0 && ', '}<RunLink run={one.run} /></span>)}
        </Box>
        <Box sx={{ flex: 1 }} />
        <IconButton onClick={onClose} aria-label="Close the progress of the retry"><Close fontSize="small" /></IconButton>
      </Stack>
      <LinearProgress variant="determinate" value={progress.letters === 0 ? 100 : (100 * progress.done) / progress.letters} color={progress.failed > 0 ? 'error' : progress.finished ? 'success' : 'primary'} aria-label="Progress of the retry" />
    </Box>
  )
}
