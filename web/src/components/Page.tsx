// The frame of a page: its title and what can be done stand in the head of the shell, the rest scrolls for itself.
import { Box, Stack, Typography } from '@mui/material'
import { useEffect, type ReactNode } from 'react'
import { Head } from '../shell/head'

export function Page({ title, crumbs, actions, children }: { title: string; crumbs?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · OpenDMP`
  }, [title])
  return (
    <Box sx={{ display: 'flex', flexDirection: 'column', height: '100%', minHeight: 0, bgcolor: 'background.paper' }}>
      <Head
        title={
          <Stack direction="row" spacing={1} sx={{ alignItems: 'center', minWidth: 0 }}>
            {crumbs}
            <Typography variant="h1" noWrap>{title}</Typography>
          </Stack>
        }
        actions={actions}
      />
      {children}
    </Box>
  )
}
