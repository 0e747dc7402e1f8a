// One run: what came of it, by processor, and its items on their way.
import Stop from '@mui/icons-material/StopCircleOutlined'
import { Box, Button, Link, Stack, Tab, Tabs } from '@mui/material'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link as To, useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import type { Run } from '../../api/types'
import { Duration, Prose, Short, StateChip, Time } from '../../components/bits'
import { ConfirmDialog } from '../../components/ConfirmDialog'
import { Page } from '../../components/Page'
import { ErrorPanel, Skeletons } from '../../components/states'
import { toast } from '../../components/toast'
import { count } from '../../lib/format'
import { Crumb, Fact, Facts, FlowLink } from '../datasets/bits'
import { said } from '../datasets/search'
import { readRun, stopRun } from './data'
import { ItemsView } from './ItemsView'
import { Processors } from './Processors'
import { RUN_TABS, type RunSearch } from './search'
import { TimelineView } from './TimelineView'

const route = getRouteApi('/runs/$run')

const AGAIN_MS = 1500
const NAMES: Record<(typeof RUN_TABS)[number], string> = { items: 'Items', timeline: 'Timeline' }

export function RunPage() {
  const { run: number } = route.useParams()
  const query = useQuery({
    queryKey: ['run', number],
    queryFn: ({ signal }) => readRun(number, signal),
    refetchInterval: (one) => (one.state.data?.state === 'done' ? false : AGAIN_MS),
  })
  if (!query.data) {
    return (
      <Page title={`Run ${number}`} crumbs={<Crumb to="/runs">Runs</Crumb>}>
        {query.error ? <ErrorPanel error={query.error} what="The run could not be read" affects="What runs goes on." retry={() => void query.refetch()} /> : <Skeletons lines={8} />}
      </Page>
    )
  }
  return <Shown key={number} run={query.data} />
}

function Shown({ run }: { run: Run }) {
  const search = route.useSearch()
  const navigate = useNavigate()
  const client = useQueryClient()
  const [stopping, setStopping] = useState(false)
  const tab = search.tab ?? 'items'
  const go = (change: { [K in keyof RunSearch]: RunSearch[K] | undefined }) =>
    void navigate({ to: '/runs/$run', params: { run: String(run.run) }, search: said<RunSearch>({ ...search, ...change }), replace: true })
  const running = run.state !== 'done'
  return (
    <Page
      title={`Run ${run.run}`}
      crumbs={<Crumb to={`/runs?flow=${encodeURIComponent(run.flow)}`}>{run.flow}</Crumb>}
      actions={
        <Stack direction="row" spacing={1} sx={{ alignItems: 'center' }}>
          <StateChip state={run.state} />
          {running && isReprocess(run) && <Button color="error" startIcon={<Stop fontSize="small" />} onClick={() => setStopping(true)}>Stop</Button>}
        </Stack>
      }
    >
      <Facts>
        <Fact label="Set off by"><Box component="span" sx={{ fontWeight: 400 }}><Prose text={run.trigger} /></Box></Fact>
        <Fact label="Flow"><FlowLink flow={run.flow} /></Fact>
        <Fact label="Version"><Short value={run.version} /></Fact>
        <Fact label="Began"><Time value={run.started} /></Fact>
        <Fact label="Took">{run.took_ms === null ? <span className="num">{count(run.outstanding)} to do</span> : <Duration ms={run.took_ms} />}</Fact>
        <Fact label="Arrived"><span className="num">{count(run.arrivals)}</span></Fact>
        <Fact label="Collected"><Door to={`/datasets?run=${run.run}`} value={run.revisions} /></Fact>
        <Fact label="Unchanged"><span className="num">{count(run.unchanged)}</span></Fact>
        <Fact label="Exported"><Door to={`/datasets?run=${run.run}&export=written`} value={run.exported} /></Fact>
        <Fact label="Failed"><Door to={`/dead-letters?run=${run.run}&ended=true`} value={run.dead_letters} error /></Fact>
        {run.mode !== 'live' && <Fact label="Mode">{run.mode}</Fact>}
      </Facts>
      <Processors run={run} />
      <Tabs value={tab} onChange={(_, next: (typeof RUN_TABS)[number]) => go({ tab: next })} aria-label="What is shown of it" sx={{ px: 1, borderBottom: 1, borderColor: 'divider', flexShrink: 0 }}>
        {RUN_TABS.map((one) => <Tab key={one} value={one} id={`tab-${one}`} aria-controls="run-panel" label={NAMES[one]} />)}
      </Tabs>
      <Box role="tabpanel" id="run-panel" aria-labelledby={`tab-${tab}`} sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
        {tab === 'items' ? <ItemsView run={run} item={search.item} onItem={(item) => go({ item })} /> : <TimelineView run={run} onItem={(item) => go({ tab: 'items', item })} />}
      </Box>
      <ConfirmDialog
        open={stopping}
        title={`Stop run ${run.run}?`}
        action="Stop it"
        danger
        onClose={() => setStopping(false)}
        onConfirm={async () => {
          const { stopped, taken } = await stopRun(run.run)
          toast(stopped ? `Stopped: ${count(taken)} arrivals were sent in and are finished` : 'All was sent in already; it ends by itself')
          void client.invalidateQueries({ queryKey: ['run', String(run.run)] })
        }}
      >
        Nothing more is sent in. What was sent in goes on to its end, so that nothing is left half done.
      </ConfirmDialog>
    </Page>
  )
}

/** Only a reprocess can be stopped: what a source brought is worked off. */
const isReprocess = (run: Run): boolean => /reprocess/i.test(run.trigger)

function Door({ to, value, error = false }: { to: string; value: number; error?: boolean }) {
  if (value === 0) return <span className="num">0</span>
  return <Link component={To} to={to} className="num" sx={error ? { color: 'error.main' } : {}}>{count(value)}</Link>
}
