// What can be done with the datasets that are selected.
import Download from '@mui/icons-material/FileDownloadOutlined'
import { Box, Button, Stack } from '@mui/material'
import type { Dataset } from '../../api/types'
import { toastProblem } from '../../components/toast'
import { bytes, many } from '../../lib/format'
import { copyText } from './bits'
import { contentUrl, MOST_ARCHIVED, save, saveArchive } from './data'

export function Selection({ selected, onClear }: { selected: Dataset[]; onClear: () => void }) {
  const size = selected.reduce((sum, dataset) => sum + dataset.size, 0)
  const [first] = selected
  const download = () => {
    if (selected.length === 1 && first) save(contentUrl(first.id, first.revision, true), first.name)
    else saveArchive(selected.map((dataset) => dataset.id), (why) => toastProblem('The archive could not be made', why))
  }
  return (
    <Stack role="region" aria-label="Selected datasets" direction="row" spacing={1} sx={{ px: 2, py: 0.75, alignItems: 'center', borderBottom: 1, borderColor: 'divider', bgcolor: 'action.selected' }}>
      <Box className="num" sx={{ fontWeight: 600, mr: 1 }}>{many(selected.length, 'dataset')} selected, {bytes(size)}</Box>
      <Button variant="contained" startIcon={<Download fontSize="small" />} onClick={download} disabled={selected.length > MOST_ARCHIVED}>
        {selected.length === 1 ? 'Download' : 'Download as zip'}
      </Button>
      <Button onClick={() => void copyText(selected.map((dataset) => dataset.id).join('\n'), selected.length === 1 ? 'Id' : 'Ids')}>Copy ids</Button>
      <Button onClick={() => void copyText(selected.map((dataset) => `${dataset.hash}  ${dataset.name}`).join('\n'), 'Hashes')}>Copy hashes</Button>
      <Box sx={{ flex: 1 }} />
      {selected.length > MOST_ARCHIVED && <Box sx={{ color: 'warning.main', fontSize: 12 }}>at most {MOST_ARCHIVED} go into one archive</Box>}
      <Button color="inherit" onClick={onClear}>Clear selection</Button>
    </Stack>
  )
}
