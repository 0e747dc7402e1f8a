// What can be done with the datasets that are selected.
import Download from '@mui/icons-material/FileDownloadOutlined'
import { Box, Button, Stack } from '@mui/material'
import { useState } from 'react'
import type { Dataset } from '../../api/types'
import { toastProblem } from '../../components/toast'
import { bytes, many } from '../../lib/format'
import { copyText } from './bits'
import { archive, contentUrl, MOST_ARCHIVED, save } from './data'

export function Selection({ selected, onClear }: { selected: Dataset[]; onClear: () => void }) {
  const [busy, setBusy] = useState(false)
  const size = selected.reduce((sum, dataset) => sum + dataset.size, 0)
  const [first] = selected
  const download = async () => {
    if (selected.length === 1 && first) {
      save(contentUrl(first.id, first.revision, true), first.name)
      return
    }
    setBusy(true)
    try {
      const zip = URL.createObjectURL(await archive(selected.map((dataset) => dataset.id)))
      save(zip, 'datasets.zip')
      // Until the browser has begun to write it.
      setTimeout(() => URL.revokeObjectURL(zip), 60_000)
    } catch (error) {
      toastProblem('The archive could not be made', error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Stack role="region" aria-label="Selected datasets" direction="row" spacing={1} sx={{ px: 2, py: 0.75, alignItems: 'center', borderBottom: 1, borderColor: 'divider', bgcolor: 'action.selected' }}>
      <Box className="num" sx={{ fontWeight: 600, mr: 1 }}>{many(selected.length, 'dataset')} selected, {bytes(size)}</Box>
      <Button variant="contained" startIcon={<Download fontSize="small" />} onClick={() => void download()} loading={busy} loadingPosition="start" disabled={selected.length > MOST_ARCHIVED}>
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
