// All datasets: searched, sorted and filtered by the server, all of it in the address.
import Inventory from '@mui/icons-material/TableChartOutlined'
import { Alert, Box, Button, Link, Tooltip } from '@mui/material'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { getRouteApi, Link as To } from '@tanstack/react-router'
import { useEffect, useMemo, useState } from 'react'
import type { Dataset } from '../../api/types'
import { Bytes, StateChip, Time } from '../../components/bits'
import { FilterBar } from '../../components/FilterBar'
import { Page } from '../../components/Page'
import { ServerTable, useRows, type Column } from '../../components/ServerTable'
import { EmptyState } from '../../components/states'
import { count, many } from '../../lib/format'
import { CopyIcon, FlowLink } from './bits'
import { type Behind, listCollections, listDatasets, PART, listFlows } from './data'
import { ChosenFilters, FilterButton } from './Filters'
import { chosen, datasetsQuery } from './query'
import { type DatasetsSearch, SORTS } from './search'
import { Selection } from './Selection'
import { ViewsButton } from './Views'

const route = getRouteApi('/datasets')

/** How often a listing is looked at again: something may have been collected. */
const AGAIN_MS = 10_000
/** The same while what was collected is not found yet. */
const SOON_MS = 1000

const COLUMNS: Column<Dataset>[] = [
  {
    key: 'name', header: 'Name', width: 'minmax(220px, 3fr)', sorts: true,
    render: (row) => (
      <Link component={To} to={`/datasets/${encodeURIComponent(row.id)}`} title={row.name} sx={{ fontWeight: 500, display: 'block', overflow: 'hidden', textOverflow: 'ellipsis' }}>{row.name}</Link>
    ),
  },
  { key: 'collection', header: 'Collection', width: 'minmax(120px, 1.5fr)', render: (row) => <span title={row.collection}>{row.collection}</span> },
  { key: 'flow', header: 'Flow', width: 'minmax(100px, 1fr)', render: (row) => <FlowLink flow={row.flow} /> },
  { key: 'media', header: 'Type', width: 'minmax(100px, 1fr)', render: (row) => <Box component="span" sx={{ color: 'text.secondary' }}>{row.media_type ?? '–'}</Box> },
  { key: 'size', header: 'Size', width: '96px', align: 'right', sorts: true, render: (row) => <Bytes value={row.size} /> },
  { key: 'revision', header: 'Revision', width: '84px', align: 'right', render: (row) => <span className="num">{row.revision}</span> },
  { key: 'committed', header: 'Collected', width: '124px', sorts: true, render: (row) => <Time value={row.committed} /> },
  { key: 'export', header: 'Export', width: '118px', render: (row) => <ExportChip dataset={row} /> },
  {
    key: 'hash', header: 'Hash', width: '112px',
    render: (row) => <Box component="span" sx={{ display: 'inline-flex', alignItems: 'center' }}><span className="mono" title={row.hash}>{row.hash.slice(0, 7)}</span><CopyIcon text={row.hash} what={`Hash of ${row.name}`} /></Box>,
  },
]

/** Where a revision was exported to, by its state. */
export function ExportChip({ dataset }: { dataset: Dataset }) {
  const { state, target, destination } = dataset.export
  if (state === 'none') return <Box component="span" sx={{ color: 'text.secondary' }}>–</Box>
  const chip = state === 'written' ? <StateChip state="exported" label="Written" /> : <StateChip state={state} />
  if (!target) return chip
  return <Tooltip title={`${target} in ${destination ?? 'its destination'}`}><span>{chip}</span></Tooltip>
}

export function DatasetsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const [selected, setSelected] = useState<ReadonlyMap<string, Dataset>>(new Map())
  // Relative times stay where they are while one listing is paged through.
  const key = JSON.stringify(search)
  const query = useMemo(() => datasetsQuery(JSON.parse(key) as DatasetsSearch, Date.now()), [key])
  const [behind, setBehind] = useState<Behind>()
  const rows = useRows(
    ['datasets', query],
    async (after, signal) => {
      const page = await listDatasets({ ...query, limit: PART, after }, signal)
      if (after === undefined) setBehind(page.behind)
      return page
    },
    { refetchMs: behind ? SOON_MS : AGAIN_MS },
  )
  // A part may hold nothing though more follows: so many were looked through for it.
  const looking = rows.rows.length === 0 && rows.more && !rows.error
  const { fetchMore, isFetchingMore } = rows
  useEffect(() => {
    if (looking && !isFetchingMore) fetchMore()
  }, [looking, isFetchingMore, fetchMore])
  const collections = useQuery({ queryKey: ['collections'], queryFn: ({ signal }) => listCollections(signal), placeholderData: keepPreviousData })
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal), placeholderData: keepPreviousData })
  const go = (change: Partial<Record<keyof DatasetsSearch, unknown>>) =>
    void navigate({ search: (before) => ({ ...before, ...change }) as DatasetsSearch, replace: true })
  const narrowed = search.q !== undefined || chosen(search).length > 0
  const total = rows.total
  const summary = rows.isPending || rows.error
    ? undefined
    : total !== undefined
      ? many(total, 'dataset')
      : rows.more
        ? `more than ${count(rows.rows.length)} datasets`
        : many(rows.rows.length, 'dataset')

  return (
    <Page title="Datasets" actions={<ViewsButton search={search} onView={(view) => void navigate({ search: view })} />}>
      <FilterBar
        q={search.q ?? ''}
        onQ={(q) => go({ q: q || undefined })}
        placeholder="Search datasets"
        summary={<span className="num" role="status">{summary}</span>}
      >
        <FilterButton
          search={search}
          collections={collections.data?.rows.map((row) => row.name) ?? []}
          flows={flows.data?.rows.map((row) => row.flow) ?? []}
          onSearch={(next) => void navigate({ search: next, replace: true })}
        />
        <ChosenFilters search={search} onDrop={(filter) => go({ [filter]: undefined })} onClear={() => void navigate({ search: search.sort ? { sort: search.sort } : {}, replace: true })} />
      </FilterBar>
      {behind && (
        <Alert severity="info" variant="outlined" role="status" sx={{ mx: 2, my: 1, py: 0 }}>
          {behind.building ? 'All datasets are being looked through anew; some may be missing here until that is done.' : <>What was collected since <Time value={behind.since} /> may not be found yet.</>}
        </Alert>
      )}
      {selected.size > 0 && <Selection selected={[...selected.values()]} onClear={() => setSelected(new Map())} />}
      <ServerTable
        label="Datasets"
        listing={key}
        columns={COLUMNS}
        rows={{ ...rows, isPending: rows.isPending || looking }}
        rowKey={(row) => row.id}
        sort={search.sort}
        onSort={(sort) => go({ sort: SORTS.find((one) => one === sort) })}
        onOpen={(row) => void navigate({ to: '/datasets/$dataset', params: { dataset: row.id } })}
        selected={new Set(selected.keys())}
        onSelected={(keys) => {
          const known = new Map(rows.rows.map((row) => [row.id, row]))
          const chosenRows = [...keys].map((id) => [id, known.get(id) ?? selected.get(id)] as const)
          setSelected(new Map(chosenRows.filter((entry): entry is readonly [string, Dataset] => entry[1] !== undefined)))
        }}
        affects="What is stored is not affected."
        empty={
          behind?.building ? (
            <EmptyState icon={<Inventory />} title="Nothing was found yet">All datasets are being looked through anew. This is done once after an update, and goes on by itself.</EmptyState>
          ) : narrowed ? (
            <EmptyState icon={<Inventory />} title="Nothing fits" actions={<Button variant="outlined" onClick={() => void navigate({ search: {} })}>Show all datasets</Button>}>
              No dataset has all of what was asked for.
            </EmptyState>
          ) : (
            <EmptyState icon={<Inventory />} title="No datasets yet" actions={<Button component={To} to="/flows" variant="outlined">To the flows</Button>}>
              What a collect processor takes in is listed here, with its history. Enable a flow and drop a file into its inbox.
            </EmptyState>
          )
        }
      />
    </Page>
  )
}

