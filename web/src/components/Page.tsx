// The frame of a page: its head with a title and what can be done, and the rest, which scrolls for itself.
import { Box, Stack, Typography } from '@mui/material'
import { useEffect, type ReactNode } from 'react'

export function Page({ title, crumbs, actions, children }: { title: string; crumbs?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · OpenDMP`
  }, [title])
  return (
    <Box sx={{ display: 'flex', flexDirection: 'column', height: '100%', minHeight: 0, bgcolor: 'background.paper' }}>
      <Stack direction="row" spacing={1} sx={{ px: 2, minHeight: 52, alignItems: 'center', borderBottom: 1, borderColor: 'divider', flexShrink: 0 }}>
        {crumbs}
        <Typography variant="h1" noWrap>{title}</Typography>
        <Box sx={{ flex: 1 }} />
        {actions}
      </Stack>
      {children}
    </Box>
  )
}
