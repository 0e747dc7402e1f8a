// How to get at a dataset from elsewhere: lines to paste, a link that works once, and the address of its page.
import LinkIcon from '@mui/icons-material/Link'
import { Alert, Box, Button, FormControlLabel, Stack, Switch, ToggleButton, ToggleButtonGroup, Typography } from '@mui/material'
import { useMutation } from '@tanstack/react-query'
import { useState, type ReactNode } from 'react'
import type { Dataset } from '../../api/types'
import { asProblem } from '../../api/problem'
import { Time } from '../../components/bits'
import { CopyButton, CopyIcon } from './bits'
import { makeLink } from './data'
import { ExportFact } from './ExportFact'
import { LANGUAGES, snippet, type Language } from './snippets'

const NAMES: Record<Language, string> = { curl: 'curl', python: 'Python', opendmp: 'Command line' }

export function Access({ dataset, newest }: { dataset: Dataset; newest: boolean }) {
  const [language, setLanguage] = useState<Language>('python')
  const [pinned, setPinned] = useState(!newest)
  const lines = snippet(language, {
    origin: location.origin,
    id: dataset.id,
    name: dataset.name,
    mediaType: dataset.media_type ?? null,
    revision: pinned ? dataset.revision : undefined,
  })
  return (
    <Box role="region" aria-label="Access" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', p: 2 }}>
      <Box sx={{ maxWidth: 860, display: 'grid', gap: 3 }}>
        <Part title="From a program">
          <Stack direction="row" spacing={1.5} useFlexGap sx={{ alignItems: 'center', mb: 1, flexWrap: 'wrap' }}>
            <ToggleButtonGroup exclusive size="small" value={language} onChange={(_, next: Language | null) => next && setLanguage(next)} aria-label="Language" sx={{ '& .MuiToggleButton-root': { py: 0.25, px: 1.5, textTransform: 'none' } }}>
              {LANGUAGES.map((one) => <ToggleButton key={one} value={one}>{NAMES[one]}</ToggleButton>)}
            </ToggleButtonGroup>
            <FormControlLabel sx={{ ml: 0, gap: 0.75 }} control={<Switch size="small" checked={pinned} onChange={(_, on) => setPinned(on)} />} label={`always revision ${dataset.revision}`} slotProps={{ typography: { sx: { fontSize: 13 } } }} />
            <Box sx={{ flex: 1 }} />
            <CopyButton text={lines} what="Lines" />
          </Stack>
          <Box component="pre" tabIndex={0} aria-label={`Lines for ${NAMES[language]}`} sx={{ m: 0, p: 1.5, border: 1, borderColor: 'divider', borderRadius: 1, bgcolor: 'background.default', overflow: 'auto', fontSize: 12.5, lineHeight: 1.55 }}>{lines}</Box>
          {language !== 'opendmp' && <Hint>OPENDMP_TOKEN is the server's access token: <code>opendmp token --show</code> prints it on the server's machine.</Hint>}
        </Part>
        <OnceLink dataset={dataset} />
        <Part title="Exported to">
          <ExportFact dataset={dataset} />
        </Part>
      </Box>
    </Box>
  )
}

function OnceLink({ dataset }: { dataset: Dataset }) {
  const link = useMutation({ mutationFn: () => makeLink(dataset.id, dataset.revision) })
  const url = link.data ? new URL(link.data.url, location.origin).href : undefined
  return (
    <Part title="A link for once">
      <Stack direction="row" spacing={1} useFlexGap sx={{ alignItems: 'center', flexWrap: 'wrap' }}>
        <Button variant="outlined" startIcon={<LinkIcon fontSize="small" />} onClick={() => link.mutate()} loading={link.isPending}>{url ? 'Make another' : 'Make a link'}</Button>
        {url && link.data && (
          <>
            <Box className="mono" sx={{ fontSize: 12, wordBreak: 'break-all' }}>{url}</Box>
            <CopyIcon text={url} what="Link" />
            <Box sx={{ color: 'text.secondary', fontSize: 12 }}>until <Time value={link.data.expires} /></Box>
          </>
        )}
      </Stack>
      {link.error && <Alert severity="error" variant="outlined" sx={{ mt: 1, py: 0 }}>{asProblem(link.error).message}</Alert>}
      <Hint>It gives the bytes of revision {dataset.revision} one time, within ten minutes, to whoever has it: no token is needed.</Hint>
    </Part>
  )
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <Typography variant="h2" sx={{ mb: 1 }}>{title}</Typography>
      {children}
    </section>
  )
}

function Hint({ children }: { children: ReactNode }) {
  return <Box sx={{ mt: 0.75, fontSize: 12, color: 'text.secondary' }}>{children}</Box>
}
