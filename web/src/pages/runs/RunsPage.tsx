// The runs, newest first. What begins meanwhile waits behind a button, so that rows do not move under the pointer.
import ArrowUpward from '@mui/icons-material/ArrowUpward'
import Checklist from '@mui/icons-material/ChecklistOutlined'
import { Autocomplete, Box, Button, Link, MenuItem, TextField } from '@mui/material'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { getRouteApi, Link as To } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import type { Run } from '../../api/types'
import { Duration, Prose, Short, StateChip, Time } from '../../components/bits'
import { FilterBar } from '../../components/FilterBar'
import { Page } from '../../components/Page'
import { ServerTable, useRows, type Column } from '../../components/ServerTable'
import { EmptyState } from '../../components/states'
import { count, many } from '../../lib/format'
import { FlowLink } from '../datasets/bits'
import { listFlows } from '../datasets/data'
import { listRuns } from './data'
import { type RunsSearch, STATES } from './search'
import { said } from '../datasets/search'

const route = getRouteApi('/runs')

const AGAIN_MS = 3000

const TIMES: readonly [string, string][] = [['', 'any time'], ['1h', 'the last hour'], ['24h', 'the last 24 hours'], ['7d', 'the last 7 days'], ['30d', 'the last 30 days']]
const STATE_WORDS: Record<(typeof STATES)[number], string> = { running: 'running', done: 'done', failures: 'with dead letters' }

const Number_ = ({ value, to, error = false }: { value: number; to?: string; error?: boolean }) => {
  const text = <Box component="span" className="num" sx={{ color: value === 0 ? 'text.secondary' : error ? 'error.main' : undefined, fontWeight: value > 0 && error ? 600 : 400 }}>{count(value)}</Box>
  return to && value > 0 ? <Link component={To} to={to} color="inherit">{text}</Link> : text
}

const COLUMNS: Column<Run>[] = [
  { key: 'run', header: 'Run', width: '76px', render: (row) => <Link component={To} to={`/runs/${row.run}`} className="num" sx={{ fontWeight: 600 }}>{row.run}</Link> },
  { key: 'state', header: 'State', width: '104px', render: (row) => <StateChip state={row.state} /> },
  { key: 'flow', header: 'Flow', width: 'minmax(110px, 1fr)', render: (row) => <FlowLink flow={row.flow} /> },
  { key: 'trigger', header: 'Set off by', width: 'minmax(160px, 2fr)', render: (row) => <span title={row.trigger}><Prose text={row.trigger} /></span> },
  { key: 'started', header: 'Began', width: '124px', render: (row) => <Time value={row.started} /> },
  { key: 'took', header: 'Took', width: '92px', align: 'right', render: (row) => (row.took_ms === null ? <Box component="span" sx={{ color: 'text.secondary' }}>{count(row.outstanding)} to do</Box> : <Duration ms={row.took_ms} />) },
  { key: 'arrivals', header: 'Arrived', width: '84px', align: 'right', render: (row) => <Number_ value={row.arrivals} /> },
  { key: 'revisions', header: 'Collected', width: '88px', align: 'right', render: (row) => <Number_ value={row.revisions} to={`/datasets?run=${row.run}`} /> },
  { key: 'unchanged', header: 'Unchanged', width: '92px', align: 'right', render: (row) => <Number_ value={row.unchanged} /> },
  { key: 'dead', header: 'Failed', width: '76px', align: 'right', render: (row) => <Number_ value={row.dead_letters} error to={`/dead-letters?run=${row.run}&ended=true`} /> },
  { key: 'version', header: 'Version', width: '92px', render: (row) => <Short value={row.version} /> },
]

export function RunsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const key = JSON.stringify(search)
  const now = useMemo(() => (key ? Date.now() : 0), [key])
  const all = useRows(['runs', search], (after, signal) => listRuns(search, now, after, signal), { refetchMs: AGAIN_MS })
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal), placeholderData: keepPreviousData })
  // The newest run that is shown, of this search; later ones wait.
  const [top, setTop] = useState<{ key: string; run: number }>()
  const newest = all.rows[0]?.run
  if (newest !== undefined && !all.isStale && top?.key !== key) setTop({ key, run: newest })
  const shownTop = top?.key === key ? top.run : Number.POSITIVE_INFINITY
  const rows = useMemo(() => all.rows.filter((run) => run.run <= shownTop), [all.rows, shownTop])
  const waiting = all.rows.length - rows.length
  const go = (change: { [K in keyof RunsSearch]?: RunsSearch[K] | undefined }) =>
    void navigate({ search: (before) => said<RunsSearch>({ ...before, ...change }), replace: true })
  const narrowed = Object.keys(search).length > 0
  return (
    <Page title="Runs">
      <FilterBar q={search.q ?? ''} onQ={(q) => go({ q: q || undefined })} placeholder="Search runs" summary={!all.isPending && !all.error && <span className="num">{all.more ? `more than ${count(rows.length)} runs` : many(rows.length, 'run')}</span>}>
        <Autocomplete
          size="small"
          options={flows.data?.rows.map((row) => row.flow) ?? []}
          value={search.flow ?? null}
          onChange={(_, flow) => go({ flow: flow ?? undefined })}
          sx={{ width: 190, '& .MuiInputBase-root.MuiInputBase-root': { height: 34, py: 0 } }}
          renderInput={(params) => <TextField {...params} placeholder="any flow" slotProps={{ ...params.slotProps, htmlInput: { ...params.slotProps.htmlInput, 'aria-label': 'Flow' } }} />}
        />
        <Choice label="State" value={search.state ?? ''} options={[['', 'any state'], ...STATES.map((state): [string, string] => [state, STATE_WORDS[state]])]} onValue={(state) => go({ state: STATES.find((one) => one === state) })} />
        <Choice label="Began" value={search.since ?? ''} options={TIMES.some(([value]) => value === (search.since ?? '')) ? TIMES : [...TIMES, [search.since ?? '', `since ${search.since}`]]} onValue={(since) => go({ since: since || undefined })} />
      </FilterBar>
      {waiting > 0 && (
        <Box role="status" sx={{ px: 2, py: 0.75, borderBottom: 1, borderColor: 'divider', textAlign: 'center', bgcolor: 'background.default' }}>
          <Button startIcon={<ArrowUpward fontSize="small" />} onClick={() => newest !== undefined && setTop({ key, run: newest })}>{count(waiting)} new</Button>
        </Box>
      )}
      <ServerTable
        label="Runs"
        listing={key}
        columns={COLUMNS}
        rows={{ ...all, rows }}
        rowKey={(row) => String(row.run)}
        onOpen={(row) => void navigate({ to: '/runs/$run', params: { run: String(row.run) } })}
        affects="What runs goes on."
        empty={
          narrowed ? (
            <EmptyState icon={<Checklist />} title="Nothing fits" actions={<Button variant="outlined" onClick={() => void navigate({ search: {} })}>Show all runs</Button>}>
              No run is as you asked for.
            </EmptyState>
          ) : (
            <EmptyState icon={<Checklist />} title="Nothing ran yet" actions={<Button component={To} to="/flows" variant="outlined">To the flows</Button>}>
              A run begins when something arrives in an enabled flow.
            </EmptyState>
          )
        }
      />
    </Page>
  )
}

function Choice({ label, value, options, onValue }: { label: string; value: string; options: readonly (readonly [string, string])[]; onValue: (value: string) => void }) {
  return (
    <TextField select fullWidth={false} value={value} onChange={(event) => onValue(event.target.value)} sx={{ minWidth: 140 }} slotProps={{ select: { displayEmpty: true, SelectDisplayProps: { 'aria-label': label } }, input: { sx: { height: 34 } } }}>
      {options.map(([one, words]) => <MenuItem key={one} value={one}>{words}</MenuItem>)}
    </TextField>
  )
}
