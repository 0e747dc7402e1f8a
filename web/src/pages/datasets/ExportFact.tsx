// Where a revision was exported to.
import { Box } from '@mui/material'
import type { Dataset } from '../../api/types'
import { StateChip, Time } from '../../components/bits'
import { CopyIcon } from './bits'

export function ExportFact({ dataset }: { dataset: Dataset }) {
  const { state, target, destination, written } = dataset.export
  if (state === 'none') return <Box component="span" sx={{ fontWeight: 400, color: 'text.secondary' }}>not asked for</Box>
  // `folder:/srv/out` and a target in it make a path that can be pasted.
  const folder = destination?.startsWith('folder:') ? destination.slice('folder:'.length) : null
  const place = folder && target ? `${folder}/${target}` : [destination, target].filter(Boolean).join(' ')
  return (
    <Box sx={{ fontWeight: 400, fontSize: 13, display: 'flex', alignItems: 'center', gap: 0.75, minWidth: 0 }}>
      {state === 'written' ? null : <StateChip state={state} />}
      {place && <Box component="span" className="mono" title={place} sx={{ maxWidth: 380, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap', direction: 'rtl' }}><bdi>{place}</bdi></Box>}
      {place && <CopyIcon text={place} what="Path" />}
      {written && <Box component="span" sx={{ color: 'text.secondary', whiteSpace: 'nowrap' }}><Time value={written} /></Box>}
    </Box>
  )
}
