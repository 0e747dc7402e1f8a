// All flows and drafts: state, what waits, what failed, what came last; and the ways to a new one.
import Add from '@mui/icons-material/Add'
import AccountTree from '@mui/icons-material/AccountTreeOutlined'
import { Box, Button, Stack } from '@mui/material'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { lazy, Suspense, useEffect, useMemo, useState } from 'react'
import { activity, listDrafts, listFlows } from '../../api/flows'
import type { DraftRow, Flow, FlowActivity } from '../../api/types'
import { StateChip, Time } from '../../components/bits'
import { FilterBar } from '../../components/FilterBar'
import { AppLink } from '../../components/links'
import { Page } from '../../components/Page'
import { Sparkline } from '../../components/Sparkline'
import { ServerTable, type Column, type Rows } from '../../components/ServerTable'
import { EmptyState } from '../../components/states'
import { events, useFlowNumbers } from '../../events/store'
import { count, many } from '../../lib/format'
import { useCommands } from '../../shell/commands'
import { FlowMenu } from './FlowMenu'

const BringScript = lazy(() => import('./BringScript'))
const NewFlow = lazy(() => import('./NewFlow').then((module) => ({ default: module.NewFlow })))
const ImportFlow = lazy(() => import('./NewFlow').then((module) => ({ default: module.ImportFlow })))

const route = getRouteApi('/flows')

export interface FlowRow extends Omit<Flow, 'state'> {
  state: Flow['state'] | 'draft'
  /** Of the last 24 hours, where anything arrived in them. */
  lately?: FlowActivity | undefined
}

function fromDraft(draft: DraftRow): FlowRow {
  return { flow: draft.flow, name: draft.name || draft.flow, state: 'draft', version: '', base: '', outstanding: 0, dead_letters: 0, changed: draft.changed, draft: true }
}

const COLUMNS: Column<FlowRow>[] = [
  {
    key: 'name', header: 'Flow', width: 'minmax(220px, 3fr)', sorts: true,
    render: (row) => (
      <Box sx={{ minWidth: 0 }}>
        <AppLink to="/flows/$flow" params={{ flow: row.flow }} sx={{ fontWeight: 600 }}>{row.name}</AppLink>
        {row.draft && row.state !== 'draft' && <StateChip state="draft" label="Draft" sx={{ ml: 1, height: 18, fontSize: 11 }} />}
        {row.description && <Box sx={{ color: 'text.secondary', fontSize: 12, overflow: 'hidden', textOverflow: 'ellipsis' }}>{row.description}</Box>}
      </Box>
    ),
  },
  { key: 'state', header: 'State', width: '110px', sorts: true, render: (row) => <LiveState row={row} /> },
  { key: 'processors', header: 'Processors', width: '100px', align: 'right', render: (row) => <span className="num">{row.processors ?? '–'}</span> },
  { key: 'lately', header: '24 hours', width: '120px', render: (row) => <Lately row={row} /> },
  { key: 'outstanding', header: 'Under way', width: '110px', align: 'right', sorts: true, render: (row) => <Live row={row} of="outstanding" /> },
  { key: 'dead_letters', header: 'Failed', width: '100px', align: 'right', sorts: true, render: (row) => <Live row={row} of="dead_letters" /> },
  { key: 'last_item', header: 'Last item', width: '130px', sorts: true, render: (row) => (row.state === 'draft' ? '' : <Time value={row.last_item} ago />) },
  { key: 'changed', header: 'Changed', width: '130px', sorts: true, render: (row) => <Time value={row.changed} /> },
  { key: 'menu', header: 'Actions', quiet: true, width: '48px', align: 'right', render: (row) => <FlowMenu row={row} /> },
]

function LiveState({ row }: { row: FlowRow }) {
  const live = useFlowNumbers(row.flow)
  return <StateChip state={row.state === 'draft' ? 'draft' : (live?.state ?? row.state)} />
}

function Live({ row, of }: { row: FlowRow; of: 'outstanding' | 'dead_letters' }) {
  const live = useFlowNumbers(row.flow)
  const value = live?.[of] ?? row[of]
  if (row.state === 'draft') return null
  if (value === 0) return <Box component="span" className="num" sx={{ color: 'text.secondary' }}>0</Box>
  if (of === 'dead_letters') {
    return <AppLink to="/dead-letters" search={{ flow: row.flow }} className="num" sx={{ color: 'error.main', fontWeight: 650 }} aria-label={`${many(value, 'failed item')} of ${row.name}`}>{count(value)}</AppLink>
  }
  return <span className="num">{count(value)}</span>
}

const sum = (parts: readonly number[]) => parts.reduce((all, part) => all + part, 0)

function Lately({ row: { state, lately } }: { row: FlowRow }) {
  if (state === 'draft') return null
  if (!lately) return <Box component="span" sx={{ color: 'text.secondary', fontSize: 12 }}>nothing</Box>
  const [arrived, failed] = [sum(lately.arrived), sum(lately.failed)]
  const words = `${many(arrived, 'item')} in 24 hours${failed > 0 ? `, ${count(failed)} of them failed` : ''}`
  return <Sparkline values={lately.arrived} failed={lately.failed} label={words} />
}

const nothing = () => {}

export function FlowsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const queries = useQueryClient()
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal), refetchInterval: 60_000 })
  const drafts = useQuery({ queryKey: ['drafts'], queryFn: ({ signal }) => listDrafts(signal), refetchInterval: 60_000 })
  const lately = useQuery({ queryKey: ['activity'], queryFn: ({ signal }) => activity(signal), refetchInterval: 30_000 })
  const [making, setMaking] = useState<'template' | 'import' | undefined>()
  // A flow that was enabled, disabled or deleted elsewhere.
  useEffect(() => events.subscribe('flows', soon(() => void queries.invalidateQueries({ queryKey: ['flows'] }))), [queries])
  useCommands([
    { id: 'new-script', label: 'Bring a script', group: 'Flows', words: 'new flow create python', keys: 'n', run: () => void navigate({ search: (before) => ({ ...before, new: 'script' }) }) },
    { id: 'new-template', label: 'New flow from a template', group: 'Flows', words: 'create', run: () => setMaking('template') },
    { id: 'import', label: 'Import a flow', group: 'Flows', words: 'yaml upload', run: () => setMaking('import') },
  ])

  const rows = useMemo((): Rows<FlowRow> => {
    const known = new Set(flows.data?.rows.map((row) => row.flow))
    const begun = (drafts.data?.rows ?? []).filter((row) => !known.has(row.flow)).map(fromDraft)
    const words = (search.q ?? '').toLowerCase().split(/\s+/).filter(Boolean)
    const all: FlowRow[] = [...(flows.data?.rows ?? []), ...begun]
    const did = new Map(lately.data?.rows.map((row) => [row.flow, row]))
    const found = all.map((row) => ({ ...row, lately: did.get(row.flow) })).filter((row) => words.every((word) => `${row.name} ${row.flow} ${row.description ?? ''}`.toLowerCase().includes(word)))
    return {
      rows: sorted(found, search.sort ?? 'name'), total: all.length, isPending: flows.isPending, isStale: false, error: flows.error,
      more: false, isFetchingMore: false, fetchMore: nothing, refetch: () => void flows.refetch(),
    }
  }, [flows, drafts.data, lately.data, search.q, search.sort])

  const script = (open: boolean) => void navigate({ search: (before) => ({ ...before, new: open ? 'script' : undefined }) })
  const starts = (
    <>
      <Button variant="contained" startIcon={<Add />} onClick={() => script(true)}>Bring a script</Button>
      <Button variant="outlined" onClick={() => setMaking('template')}>From a template</Button>
      <Button variant="outlined" onClick={() => setMaking('import')}>Import</Button>
    </>
  )
  const empty = rows.total === 0
  return (
    <Page title="Flows" actions={empty ? undefined : <Stack direction="row" spacing={1}>{starts}</Stack>}>
      {!empty && (
        <FilterBar
          q={search.q ?? ''}
          onQ={(q) => void navigate({ search: (before) => ({ ...before, q: q || undefined }), replace: true })}
          placeholder="Search flows"
          summary={rows.total !== undefined && !rows.isPending ? (search.q ? `${rows.rows.length} of ${many(rows.total, 'flow')}` : many(rows.total, 'flow')) : undefined}
        />
      )}
      <ServerTable
        label="Flows"
        columns={COLUMNS}
        rows={rows}
        rowHeight={52}
        rowKey={(row) => row.flow}
        onOpen={(row) => void navigate({ to: '/flows/$flow', params: { flow: row.flow } })}
        sort={search.sort ?? 'name'}
        onSort={(sort) => void navigate({ search: (before) => ({ ...before, sort: sort as typeof before.sort }), replace: true })}
        affects="Enabled flows go on working."
        empty={
          search.q ? (
            <EmptyState title={`No flow has “${search.q}”`} actions={<Button onClick={() => void navigate({ search: (before) => ({ ...before, q: undefined }) })}>Show all</Button>} />
          ) : (
            <EmptyState icon={<AccountTree />} title="Drop your script in" actions={starts}>
              What you do by hand runs by itself from then on, loses nothing, and can say how every result came to be. Paste a
              function, try it on a file, and save it as a flow.
            </EmptyState>
          )
        }
      />
      <Suspense>{search.new === 'script' && <BringScript onClose={() => script(false)} />}</Suspense>
      <Suspense>
        {making === 'template' && <NewFlow open onClose={() => setMaking(undefined)} />}
        {making === 'import' && <ImportFlow open onClose={() => setMaking(undefined)} />}
      </Suspense>
    </Page>
  )
}

function sorted(rows: FlowRow[], sort: string): FlowRow[] {
  const down = sort.startsWith('-')
  const key = sort.replace(/^-/, '') as keyof FlowRow
  const value = (row: FlowRow) => (key === 'outstanding' || key === 'dead_letters' ? (events.flow(row.flow)?.[key] ?? row[key]) : (row[key] ?? ''))
  const order = (a: FlowRow, b: FlowRow) => {
    const [x, y] = [value(a), value(b)]
    const by = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true, sensitivity: 'base' })
    return by === 0 ? a.name.localeCompare(b.name) : down ? -by : by
  }
  return rows.toSorted(order)
}

/** At most once in two seconds, and then once more. */
function soon(run: () => void): () => void {
  let last = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  return () => {
    clearTimeout(timer)
    const wait = Math.max(0, last + 2000 - Date.now())
    timer = setTimeout(() => {
      last = Date.now()
      run()
    }, wait)
  }
}
