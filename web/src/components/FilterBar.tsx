// The bar over a table: a search field that waits until typing rests, further filters, and what can be done.
import Search from '@mui/icons-material/Search'
import { Box, InputAdornment, Stack, TextField } from '@mui/material'
import { useEffect, useRef, useState, type ReactNode } from 'react'
import { useCommands } from '../shell/commands'

const REST_MS = 250

export function FilterBar(props: { q: string; onQ: (q: string) => void; placeholder: string; children?: ReactNode; actions?: ReactNode; summary?: ReactNode }) {
  const { q, onQ } = props
  const [typed, setTyped] = useState(q)
  const field = useRef<HTMLInputElement>(null)
  const latest = useRef(onQ)
  useEffect(() => {
    latest.current = onQ
  })
  // The URL may change otherwise: by back, or by a link.
  const [known, setKnown] = useState(q)
  if (known !== q) {
    setKnown(q)
    setTyped(q)
  }
  useEffect(() => {
    if (typed === q) return
    const timer = setTimeout(() => latest.current(typed), REST_MS)
    return () => clearTimeout(timer)
  }, [typed, q])
  useCommands([{ id: 'search', label: 'Search here', group: 'Here', keys: '/', run: () => field.current?.focus() }])
  return (
    <Stack direction="row" spacing={1} useFlexGap sx={{ px: 2, py: 1, alignItems: 'center', flexWrap: 'wrap', borderBottom: 1, borderColor: 'divider', bgcolor: 'background.paper' }}>
      <TextField
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Enter') onQ(typed)
          if (event.key === 'Escape') {
            if (typed === '') field.current?.blur()
            setTyped('')
          }
        }}
        placeholder={props.placeholder}
        inputRef={field}
        sx={{ width: 280 }}
        slotProps={{
          htmlInput: { 'aria-label': props.placeholder, type: 'search' },
          input: { startAdornment: <InputAdornment position="start"><Search fontSize="small" /></InputAdornment>, sx: { height: 34 } },
        }}
      />
      {props.children}
      <Box sx={{ flex: 1 }} />
      {props.summary && <Box sx={{ color: 'text.secondary', fontSize: 12 }}>{props.summary}</Box>}
      {props.actions}
    </Stack>
  )
}
