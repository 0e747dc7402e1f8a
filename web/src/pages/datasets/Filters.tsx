// What narrows the listing of datasets: the button to a form for it, and what was chosen as chips that can be dropped.
import Tune from '@mui/icons-material/Tune'
import { Box, Button, Chip, Popover } from '@mui/material'
import { lazy, Suspense, useState } from 'react'
import type { FilterFormProps } from './FilterForm'
import { chosen } from './query'
import type { DatasetsSearch } from './search'

const FilterForm = lazy(() => import('./FilterForm'))

export function FilterButton(props: Omit<FilterFormProps, 'onClose'>) {
  const [anchor, setAnchor] = useState<HTMLElement | null>(null)
  return (
    <>
      <Button variant="outlined" color="inherit" startIcon={<Tune fontSize="small" />} onClick={(event) => setAnchor(event.currentTarget)} aria-haspopup="dialog" aria-expanded={anchor !== null} sx={{ height: 34, borderColor: 'divider' }}>
        Filter
      </Button>
      <Popover open={anchor !== null} anchorEl={anchor} onClose={() => setAnchor(null)} anchorOrigin={{ vertical: 'bottom', horizontal: 'left' }} slotProps={{ paper: { role: 'dialog', 'aria-label': 'Filter datasets', sx: { border: 1, borderColor: 'divider', mt: 0.5 } } }}>
        {/* As large as the form: what is placed beside the button while it comes stays there. */}
        <Suspense fallback={<Box sx={{ width: 380, height: 432 }} />}><FilterForm {...props} onClose={() => setAnchor(null)} /></Suspense>
      </Popover>
    </>
  )
}

export function ChosenFilters({ search, onDrop, onClear }: { search: DatasetsSearch; onDrop: (key: keyof DatasetsSearch) => void; onClear: () => void }) {
  const filters = chosen(search)
  if (filters.length === 0) return null
  return (
    <>
      {filters.map(({ key, words }) => (
        <Chip key={key} label={words} onDelete={() => onDrop(key)} title={`Drop: ${words}`} sx={{ maxWidth: 260 }} />
      ))}
      {filters.length > 1 && <Button onClick={onClear}>Clear</Button>}
    </>
  )
}
