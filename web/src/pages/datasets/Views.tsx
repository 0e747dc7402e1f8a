// Listings that a person named. They are kept in this browser; a link carries one to somebody else.
import Bookmark from '@mui/icons-material/BookmarkBorder'
import Delete from '@mui/icons-material/DeleteOutlined'
import LinkIcon from '@mui/icons-material/Link'
import { Box, Button, Divider, IconButton, List, ListItem, ListItemButton, ListItemText, Popover, Stack, TextField } from '@mui/material'
import { useState, type FormEvent } from 'react'
import { toast } from '../../components/toast'
import { useStored } from '../../lib/stored'
import { copyText } from './bits'
import { addressOf, chosen, keepView, readViews, searchOf, VIEWS } from './query'
import type { DatasetsSearch } from './search'

export function ViewsButton({ search, onView }: { search: DatasetsSearch; onView: (search: DatasetsSearch) => void }) {
  const [anchor, setAnchor] = useState<HTMLElement | null>(null)
  return (
    <Stack direction="row" spacing={1}>
      <Button startIcon={<LinkIcon fontSize="small" />} onClick={() => void copyText(location.origin + location.pathname + addressOf(search), 'Link')}>Copy link</Button>
      <Button startIcon={<Bookmark fontSize="small" />} onClick={(event) => setAnchor(event.currentTarget)} aria-haspopup="dialog" aria-expanded={anchor !== null}>Views</Button>
      <Popover open={anchor !== null} anchorEl={anchor} onClose={() => setAnchor(null)} anchorOrigin={{ vertical: 'bottom', horizontal: 'right' }} transformOrigin={{ vertical: 'top', horizontal: 'right' }} slotProps={{ paper: { role: 'dialog', 'aria-label': 'Views', sx: { border: 1, borderColor: 'divider' } } }}>
        <Views
          search={search}
          onView={(view) => {
            onView(view)
            setAnchor(null)
          }}
        />
      </Popover>
    </Stack>
  )
}

function Views({ search, onView }: { search: DatasetsSearch; onView: (search: DatasetsSearch) => void }) {
  const [stored, setStored] = useStored(VIEWS)
  const [name, setName] = useState('')
  const views = readViews(stored)
  const write = (next: typeof views) => setStored(JSON.stringify(next))
  const keep = (event: FormEvent) => {
    event.preventDefault()
    if (name.trim() === '') return
    write(keepView(views, name.trim(), search))
    setName('')
  }
  const drop = (gone: (typeof views)[number]) => {
    write(views.filter((view) => view.name !== gone.name))
    toast(`View ${gone.name} removed`, { severity: 'info', undo: () => write(views) })
  }
  return (
    <Box sx={{ width: 320 }}>
      {views.length > 0 ? (
        <List dense aria-label="Kept views" sx={{ py: 0.5, maxHeight: 320, overflowY: 'auto' }}>
          {views.map((view) => (
            <ListItem key={view.name} disablePadding secondaryAction={<IconButton edge="end" aria-label={`Remove view ${view.name}`} onClick={() => drop(view)}><Delete fontSize="small" /></IconButton>}>
              <ListItemButton onClick={() => onView(searchOf(view))}>
                <ListItemText primary={view.name} secondary={words(searchOf(view))} slotProps={{ primary: { noWrap: true }, secondary: { noWrap: true, sx: { fontSize: 12 } } }} />
              </ListItemButton>
            </ListItem>
          ))}
        </List>
      ) : (
        <Box sx={{ p: 2, color: 'text.secondary' }}>Search, filter and sort as you like, then keep it here under a name. Views stay in this browser.</Box>
      )}
      <Divider />
      <Stack component="form" direction="row" spacing={1} onSubmit={keep} sx={{ p: 1.5, pt: 2 }}>
        <TextField label="Keep this view as" value={name} onChange={(event) => setName(event.target.value)} autoComplete="off" />
        <Button type="submit" variant="outlined" disabled={name.trim() === ''}>Keep</Button>
      </Stack>
    </Box>
  )
}

function words(search: DatasetsSearch): string {
  const parts = [search.q && `“${search.q}”`, ...chosen(search).map((filter) => filter.words), search.sort && `by ${search.sort.replace('-', '')}`]
  return parts.filter(Boolean).join(' · ') || 'all datasets'
}
