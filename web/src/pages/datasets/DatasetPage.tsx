// One dataset: what it is, its bytes, how it came to be, its revisions, where it leads, and how to get at it.
import Download from '@mui/icons-material/FileDownloadOutlined'
import { Alert, Box, Button, MenuItem, Stack, Tab, Tabs, TextField } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, useNavigate } from '@tanstack/react-router'
import { lazy, Suspense, type ReactNode } from 'react'
import type { Dataset } from '../../api/types'
import { Bytes, Time } from '../../components/bits'
import { Page } from '../../components/Page'
import { ErrorPanel, Skeletons } from '../../components/states'
import { when } from '../../lib/format'
import { useCommands } from '../../shell/commands'
import { Preview } from '../../preview/Preview'
import { Access } from './Access'
import { Copied, Crumb, Fact, Facts, FlowLink, RunLink } from './bits'
import { contentUrl, readDataset, save } from './data'
import { ExportFact } from './ExportFact'
import { HistoryView } from './HistoryView'
import { RevisionsView } from './RevisionsView'
import { type DatasetSearch, said, TABS } from './search'

const LineageView = lazy(() => import('./LineageView'))
const route = getRouteApi('/datasets/$dataset')

const NAMES: Record<(typeof TABS)[number], string> = { preview: 'Preview', history: 'History', revisions: 'Revisions', lineage: 'Lineage', access: 'Access' }

export function DatasetPage() {
  const { dataset: id } = route.useParams()
  const query = useQuery({ queryKey: ['dataset', id], queryFn: ({ signal }) => readDataset(id, signal), refetchInterval: 15_000 })
  const title = query.data?.at(-1)?.name ?? 'Dataset'
  if (!query.data) {
    return (
      <Page title={title} crumbs={<Crumb to="/datasets">Datasets</Crumb>}>
        {query.error ? <ErrorPanel error={query.error} what="The dataset could not be read" retry={() => void query.refetch()} /> : <Skeletons lines={10} />}
      </Page>
    )
  }
  return <Shown key={id} id={id} revisions={query.data} />
}

function Shown({ id, revisions }: { id: string; revisions: Dataset[] }) {
  const search = route.useSearch()
  const navigate = useNavigate()
  const newest = revisions.at(-1)
  const dataset = revisions.find((one) => one.revision === search.revision) ?? newest
  const tab = search.tab ?? 'preview'
  const go = (change: { [K in keyof DatasetSearch]: DatasetSearch[K] | undefined }) => void navigate({ to: '/datasets/$dataset', params: { dataset: id }, search: said<DatasetSearch>({ ...search, ...change }), replace: true })
  const download = () => dataset && save(contentUrl(dataset.id, dataset.revision, true), dataset.name)
  useCommands([
    { id: 'download', label: 'Download this dataset', group: 'Dataset', run: download },
    ...TABS.map((one, at) => ({ id: `tab-${one}`, label: NAMES[one], group: 'Dataset', keys: `${at + 1}`, run: () => go({ tab: one }) })),
  ])
  if (!dataset || !newest) return null
  const panels: Record<(typeof TABS)[number], () => ReactNode> = {
    preview: () => <PreviewOf dataset={dataset} />,
    history: () => <HistoryView dataset={dataset} />,
    revisions: () => <RevisionsView revisions={revisions} shown={dataset} other={search.with} onPick={(revision, other) => go({ revision, with: other })} />,
    lineage: () => <Suspense fallback={<Skeletons lines={6} />}><LineageView dataset={dataset} /></Suspense>,
    access: () => <Access dataset={dataset} newest={dataset.revision === newest.revision} />,
  }
  return (
    <Page
      title={dataset.name}
      crumbs={<Crumb to={`/datasets?collection=${encodeURIComponent(dataset.collection)}`}>{dataset.collection}</Crumb>}
      actions={
        <Stack direction="row" spacing={1} sx={{ alignItems: 'center' }}>
          {revisions.length > 1 && (
            <TextField select value={dataset.revision} onChange={(event) => go({ revision: Number(event.target.value) })} fullWidth={false} slotProps={{ htmlInput: { 'aria-label': 'Revision' } }} sx={{ minWidth: 210, '& .MuiSelect-select': { py: 0.6 } }}>
              {revisions.toReversed().map((one) => (
                <MenuItem key={one.revision} value={one.revision}>Revision {one.revision} · {when(one.committed)}{one === newest ? ' · newest' : ''}</MenuItem>
              ))}
            </TextField>
          )}
          <Button variant="contained" startIcon={<Download fontSize="small" />} onClick={download} disabled={dataset.gone !== undefined}>Download</Button>
        </Stack>
      }
    >
      <Facts>
        <Fact label="Size"><Bytes value={dataset.size} /></Fact>
        <Fact label="Revision">{dataset.revision} of {revisions.length}</Fact>
        <Fact label="Type">{dataset.media_type ?? 'not known'}</Fact>
        <Fact label="Collected"><Time value={dataset.committed} /></Fact>
        <Fact label="Flow"><FlowLink flow={dataset.flow} /></Fact>
        <Fact label="Run"><RunLink run={dataset.run} /></Fact>
        <Fact label="Hash"><Copied value={dataset.hash} what="Hash" /></Fact>
        <Fact label="Id"><Copied value={dataset.id} what="Id" length={8} /></Fact>
        <Fact label="Exported"><ExportFact dataset={dataset} /></Fact>
      </Facts>
      <Tabs value={tab} onChange={(_, next: (typeof TABS)[number]) => go({ tab: next })} aria-label="What is shown of it" sx={{ px: 1, borderBottom: 1, borderColor: 'divider', flexShrink: 0 }}>
        {TABS.map((one) => <Tab key={one} value={one} id={`tab-${one}`} aria-controls="dataset-panel" label={one === 'revisions' ? `Revisions (${revisions.length})` : NAMES[one]} />)}
      </Tabs>
      <Box role="tabpanel" id="dataset-panel" aria-labelledby={`tab-${tab}`} sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
        {panels[tab]()}
      </Box>
    </Page>
  )
}

function PreviewOf({ dataset }: { dataset: Dataset }) {
  if (dataset.gone !== undefined) {
    return (
      <Alert severity="info" variant="outlined" sx={{ m: 2 }}>
        Its bytes were let go <Time value={dataset.gone} />, as the flow's retention says. How it came to be is still known.
      </Alert>
    )
  }
  return <Preview content={{ url: contentUrl(dataset.id, dataset.revision), name: dataset.name, size: dataset.size, mediaType: dataset.media_type ?? null }} />
}
