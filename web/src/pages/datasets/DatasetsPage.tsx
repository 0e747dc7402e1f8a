// All datasets, searched and sorted by the server.
import { Link } from '@mui/material'
import { getRouteApi, Link as To } from '@tanstack/react-router'
import { get } from '../../api/client'
import type { Dataset, Page as Rows } from '../../api/types'
import { Bytes, Time } from '../../components/bits'
import { FilterBar } from '../../components/FilterBar'
import { Page } from '../../components/Page'
import { ServerTable, useRows, type Column } from '../../components/ServerTable'
import { EmptyState } from '../../components/states'

const route = getRouteApi('/datasets')

const COLUMNS: Column<Dataset>[] = [
  { key: 'name', header: 'Name', width: 'minmax(200px, 3fr)', sorts: true, render: (row) => <Link component={To} to={`/datasets/${row.id}`}>{row.name}</Link> },
  { key: 'collection', header: 'Collection', width: 'minmax(120px, 2fr)', render: (row) => row.collection },
  { key: 'size', header: 'Size', width: '100px', align: 'right', sorts: true, render: (row) => <Bytes value={row.size} /> },
  { key: 'committed', header: 'Collected', width: '140px', sorts: true, render: (row) => <Time value={row.committed} /> },
]

export function DatasetsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const rows = useRows(['datasets', search], (after, signal) => get<Rows<Dataset>>('/datasets', { name: search.q, after }, signal))
  return (
    <Page title="Datasets">
      <FilterBar q={search.q ?? ''} onQ={(q) => void navigate({ search: (before) => ({ ...before, q: q || undefined }), replace: true })} placeholder="Search datasets" />
      <ServerTable
        label="Datasets"
        columns={COLUMNS}
        rows={rows}
        rowKey={(row) => row.id}
        sort={search.sort}
        onSort={(sort) => void navigate({ search: (before) => ({ ...before, sort }), replace: true })}
        onOpen={(row) => void navigate({ to: '/datasets/$dataset', params: { dataset: row.id } })}
        empty={<EmptyState title="No datasets yet">What a collect processor takes in is listed here.</EmptyState>}
      />
    </Page>
  )
}
