// How the page looks and works in this browser, how the server is, and how to get in.
import { Alert, Box, Link, Stack, Switch, ToggleButton, ToggleButtonGroup, Typography } from '@mui/material'
import { useColorScheme } from '@mui/material/styles'
import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { settings, status } from '../../api/flows'
import type { Setting, Status } from '../../api/types'
import { Prose, StateChip, Time } from '../../components/bits'
import { Page } from '../../components/Page'
import { ErrorPanel, Skeletons } from '../../components/states'
import { bytes, count, many } from '../../lib/format'
import { useStored } from '../../lib/stored'
import { LETTERS } from '../../shell/commands'
import { Fact, Facts } from '../datasets/bits'

const AGAIN_MS = 5000

export function SettingsPage() {
  return (
    <Page title="Settings">
      <Box role="region" aria-label="Settings" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', p: 2 }}>
        <Box sx={{ maxWidth: 1080, display: 'grid', gap: 3.5, pb: 4 }}>
          <Server />
          <Started />
          <Look />
          <Access />
        </Box>
      </Box>
    </Page>
  )
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Box component="section">
      <Typography variant="h2" sx={{ mb: 1 }}>{title}</Typography>
      {children}
    </Box>
  )
}

const WORDS: Record<string, [string, string]> = {
  ok: ['done', 'Everything works'],
  degraded: ['pending', 'Something keeps a flow from going on'],
  troubled: ['failed', 'Nothing goes on'],
}

function Server() {
  const query = useQuery({ queryKey: ['status'], queryFn: ({ signal }) => status(signal), refetchInterval: AGAIN_MS })
  return (
    <Section title="Server">
      {query.error && <ErrorPanel error={query.error} what="The server does not say how it is" affects={query.data ? 'What is shown is what it said last.' : 'Other pages may still work.'} retry={() => void query.refetch()} />}
      {query.data ? <Known status={query.data} stale={query.error !== null} /> : !query.error && <Skeletons lines={3} />}
    </Section>
  )
}

function Known({ status: now, stale }: { status: Status; stale: boolean }) {
  const [chip, words] = WORDS[now.status] ?? ['none', now.status]
  const { backlog, usage } = now
  return (
    <Box sx={{ border: 1, borderColor: 'divider', borderRadius: 1, opacity: stale ? 0.6 : 1, '& dl': { borderBottom: 0 } }}>
      <Stack direction="row" spacing={1} sx={{ px: 2, py: 1.25, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        <StateChip state={chip} label={now.status} />
        <span>{words}</span>
      </Stack>
      <Facts>
        <Fact label="Version">{now.version}</Fact>
        <Fact label="Works since"><Time value={now.started} /></Fact>
        <Fact label="Process">{now.pid}</Fact>
        <Fact label="In work">{count(now.in_work)}</Fact>
        <Fact label="Items waiting">{backlog ? count(backlog.items ?? 0) : 'not known'}</Fact>
        <Fact label="Exports and releases waiting">{backlog ? count(backlog.intents ?? 0) : 'not known'}</Fact>
        <Fact label="Stored">{usage ? bytes(usage.stored ?? 0) : 'not known'}</Fact>
        <Fact label="Free on its disk">{usage?.free === undefined || usage.free === null ? 'not known' : bytes(usage.free)}</Fact>
      </Facts>
      {now.troubles.length > 0 && (
        <Box component="ul" aria-label={many(now.troubles.length, 'trouble')} sx={{ listStyle: 'none', m: 0, p: 1.5, display: 'grid', gap: 1, borderTop: 1, borderColor: 'divider' }}>
          {now.troubles.map((trouble, at) => (
            <li key={at}>
              <Alert severity="warning" variant="outlined" sx={{ py: 0 }}>
                <b>{trouble.about}</b>: {trouble.message}
                {trouble.hint && <div><Prose text={trouble.hint} /></div>}
              </Alert>
            </li>
          ))}
        </Box>
      )}
    </Box>
  )
}

const FROM: Record<Setting['from'], string> = { default: 'default', command_line: 'command line', environment: 'environment', machine: 'this machine' }

/** What the server was started with. It is changed by starting it anew. */
function Started() {
  const query = useQuery({ queryKey: ['settings'], queryFn: ({ signal }) => settings(signal) })
  return (
    <Section title="Started with">
      {query.error && <ErrorPanel error={query.error} what="The server does not say how it is set" affects="It works as before." retry={() => void query.refetch()} />}
      {query.isPending && <Skeletons lines={6} />}
      {query.data && (
        <Box sx={{ border: 1, borderColor: 'divider', borderRadius: 1, overflowX: 'auto' }}>
          <Box component="table" aria-label="Settings of the server" sx={{ width: '100%', borderCollapse: 'collapse', fontSize: 13, '& th, & td': { textAlign: 'left', verticalAlign: 'top', px: 2, py: 0.9, borderBottom: 1, borderColor: 'divider' }, '& tr:last-of-type td': { borderBottom: 0 }, '& thead th': { fontSize: 12, fontWeight: 600, color: 'text.secondary' } }}>
            <thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th><th scope="col">What it is for</th></tr></thead>
            <tbody>
              {query.data.rows.map((row) => (
                <tr key={row.name}>
                  <Box component="td" className="mono" sx={{ whiteSpace: 'nowrap', fontSize: 12.5 }}>{row.from === 'machine' ? row.name : `--${row.name}`}</Box>
                  <Box component="td" sx={{ overflowWrap: 'anywhere', minWidth: 90, fontWeight: row.from === 'default' ? 400 : 600 }}>{row.value ?? <Box component="span" sx={{ color: 'text.secondary' }}>not set</Box>}</Box>
                  <Box component="td" sx={{ whiteSpace: 'nowrap', color: 'text.secondary' }}>{FROM[row.from]}</Box>
                  <Box component="td" sx={{ color: 'text.secondary' }}>
                    <Prose text={row.about} />
                    {row.warning && <Box role="note" sx={{ mt: 0.5, color: 'warning.main', fontWeight: 600 }}><Prose text={row.warning} /></Box>}
                  </Box>
                </tr>
              ))}
            </tbody>
          </Box>
        </Box>
      )}
      <Box sx={{ mt: 1, color: 'text.secondary', fontSize: 12 }}>Given to <code>opendmp serve</code> when it starts: to change one, start it anew with another.</Box>
    </Section>
  )
}

function Look() {
  const { mode, setMode } = useColorScheme()
  const [letters, setLetters] = useStored(LETTERS)
  return (
    <Section title="This browser">
      <Box sx={{ display: 'grid', gridTemplateColumns: 'minmax(180px, auto) 1fr', gap: 1.5, alignItems: 'center', maxWidth: 620 }}>
        <span id="theme-label">Theme</span>
        <ToggleButtonGroup exclusive size="small" value={mode ?? 'system'} onChange={(_, next: 'light' | 'dark' | 'system' | null) => next && setMode(next)} aria-labelledby="theme-label" sx={{ '& .MuiToggleButton-root': { px: 2, py: 0.4, textTransform: 'none' } }}>
          <ToggleButton value="light">Light</ToggleButton>
          <ToggleButton value="dark">Dark</ToggleButton>
          <ToggleButton value="system">As the system</ToggleButton>
        </ToggleButtonGroup>
        <span id="letters-label">Keys of a single letter</span>
        <Stack direction="row" spacing={1} sx={{ alignItems: 'center' }}>
          <Switch size="small" checked={letters !== 'off'} onChange={(_, on) => setLetters(on ? undefined : 'off')} slotProps={{ input: { 'aria-labelledby': 'letters-label' } }} />
          <Box sx={{ color: 'text.secondary', fontSize: 12, textWrap: 'balance' }}>Such as <kbd>/</kbd>, <kbd>g</kbd> <kbd>d</kbd> and <kbd>r</kbd>. Keys with Ctrl work either way; <kbd>?</kbd> lists them all.</Box>
        </Stack>
      </Box>
    </Section>
  )
}

function Access() {
  return (
    <Section title="Access">
      <Box sx={{ display: 'grid', gap: 1, maxWidth: 680 }}>
        <div>
          Who has the server's token may do everything. On the server's machine, <code>opendmp token --link</code> prints a link
          that opens this page once; the browser then stays signed in at this address.
        </div>
        <div>Programs send it with each request: <code>Authorization: Bearer TOKEN</code>. Each dataset has lines to paste under Access.</div>
        <div>On the server's own machine the command line needs no token: it talks through a socket that only the owner of the data directory may use.</div>
        <Stack direction="row" spacing={2} sx={{ pt: 0.5 }}>
          <Link href="/api/v1/openapi.json" target="_blank" rel="noreferrer">API reference (OpenAPI)</Link>
          <Link href="/metrics" target="_blank" rel="noreferrer">Metrics for Prometheus</Link>
          <Link href="/healthz" target="_blank" rel="noreferrer">Health</Link>
        </Stack>
      </Box>
    </Section>
  )
}
