// The collections with what is in them; one opens as the datasets that are in it.
import Inventory from '@mui/icons-material/Inventory2Outlined'
import { Box, Button, Link } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link as To } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Collection } from '../../api/types'
import { Bytes, Time } from '../../components/bits'
import { FilterBar } from '../../components/FilterBar'
import { Page } from '../../components/Page'
import { ServerTable, type Column } from '../../components/ServerTable'
import { EmptyState } from '../../components/states'
import { bytes, count, many } from '../../lib/format'
import { listCollections } from '../datasets/data'
import { found } from './order'
import { type CollectionsSearch, SORTS } from './search'

const route = getRouteApi('/collections')

const datasetsOf = (name: string): string => `/datasets?collection=${encodeURIComponent(name)}`

function columns(most: number): Column<Collection>[] {
  return [
    {
      key: 'name', header: 'Collection', width: 'minmax(220px, 2fr)', sorts: true,
      render: (row) => <Link component={To} to={datasetsOf(row.name)} sx={{ fontWeight: 600 }}>{row.name}</Link>,
    },
    { key: 'datasets', header: 'Datasets', width: '110px', align: 'right', sorts: true, render: (row) => <span className="num">{count(row.datasets)}</span> },
    { key: 'revisions', header: 'Revisions', width: '100px', align: 'right', render: (row) => <span className="num">{count(row.revisions)}</span> },
    { key: 'bytes', header: 'Size', width: '100px', align: 'right', sorts: true, render: (row) => <Bytes value={row.bytes} /> },
    {
      key: 'share', header: 'Share of all bytes', width: 'minmax(120px, 1fr)',
      render: (row) => (
        <Box aria-hidden sx={{ height: 8, borderRadius: 1, bgcolor: 'action.hover', overflow: 'hidden', maxWidth: 260 }}>
          <Box sx={{ height: '100%', borderRadius: 1, bgcolor: 'primary.main' }} style={{ width: `${most === 0 ? 0 : Math.max(1, (100 * row.bytes) / most)}%` }} />
        </Box>
      ),
    },
    { key: 'changed', header: 'Last collected', width: '140px', sorts: true, render: (row) => <Time value={row.changed} ago /> },
  ]
}

export function CollectionsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const query = useQuery({ queryKey: ['collections'], queryFn: ({ signal }) => listCollections(signal), refetchInterval: 10_000 })
  const all = query.data?.rows
  const rows = useMemo(() => found(all ?? [], search), [all, search])
  const total = (all ?? []).reduce((sum, row) => sum + row.bytes, 0)
  const go = (change: { q?: string | undefined; sort?: string | undefined }) =>
    void navigate({ search: (before) => ({ ...before, ...change }) as CollectionsSearch, replace: true })
  return (
    <Page title="Collections">
      <FilterBar
        q={search.q ?? ''}
        onQ={(q) => go({ q: q || undefined })}
        placeholder="Search collections"
        summary={all && <span className="num" role="status">{many(rows.length, 'collection')}, {many(rows.reduce((sum, row) => sum + row.datasets, 0), 'dataset')}, {bytes(rows.reduce((sum, row) => sum + row.bytes, 0))}</span>}
      />
      <ServerTable
        label="Collections"
        columns={columns(total)}
        rows={{
          rows, total: rows.length, isPending: query.isPending, isStale: false, error: query.error, more: false, isFetchingMore: false,
          fetchMore: () => undefined, refetch: () => void query.refetch(),
        }}
        rowKey={(row) => row.name}
        sort={search.sort}
        onSort={(sort) => go({ sort: SORTS.find((one) => one === sort) })}
        onOpen={(row) => void navigate({ to: '/datasets', search: { collection: row.name } })}
        affects="What is stored is not affected."
        empty={
          search.q ? (
            <EmptyState icon={<Inventory />} title="Nothing fits" actions={<Button variant="outlined" onClick={() => go({ q: undefined })}>Show all collections</Button>}>
              No collection has “{search.q}” in its name.
            </EmptyState>
          ) : (
            <EmptyState icon={<Inventory />} title="No collections yet" actions={<Button component={To} to="/flows" variant="outlined">To the flows</Button>}>
              A collection begins when a collect processor takes in its first item.
            </EmptyState>
          )
        }
      />
    </Page>
  )
}
