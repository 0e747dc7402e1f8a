// What could not be processed: by same error, each group with its letters, each letter with all that is known of it.
import Build from '@mui/icons-material/BuildOutlined'
import Check from '@mui/icons-material/CheckCircleOutlined'
import Replay from '@mui/icons-material/Replay'
import { Autocomplete, Box, Button, Link, Stack, Tab, Tabs, TextField } from '@mui/material'
import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link as To } from '@tanstack/react-router'
import { useState } from 'react'
import { StateChip, Time } from '../../components/bits'
import { ConfirmDialog } from '../../components/ConfirmDialog'
import { FilterBar } from '../../components/FilterBar'
import { Page } from '../../components/Page'
import { ServerTable, useRows, type Column } from '../../components/ServerTable'
import { EmptyState, ErrorPanel, Skeletons } from '../../components/states'
import { toast, toastProblem } from '../../components/toast'
import { count, many } from '../../lib/format'
import { stringifySearch } from '../../lib/search'
import { Crumb, FlowLink, RunLink } from '../datasets/bits'
import { listFlows } from '../datasets/data'
import { said } from '../datasets/search'
import { discard, listGroups, listLetters, retry, type DeadLetter, type Group, type Retried, type Which } from './data'
import { GroupView } from './GroupView'
import { fixUrl } from './LetterView'
import { RetryProgress } from './RetryProgress'
import type { LettersSearch } from './search'

const route = getRouteApi('/dead-letters')

const AGAIN_MS = 5000

/** What is about to be discarded. */
interface Asked {
  which: Which
  count: number
  words: string
}

export function DeadLettersPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const client = useQueryClient()
  const [retried, setRetried] = useState<Retried[]>([])
  const [asked, setAsked] = useState<Asked>()
  const go = (change: { [K in keyof LettersSearch]?: LettersSearch[K] | undefined }, replace = true) =>
    void navigate({ search: (before) => said<LettersSearch>({ ...before, ...change }), replace })
  const again = () => void client.invalidateQueries({ queryKey: ['letters'] })
  const retrying = useMutation({
    mutationFn: retry,
    onSuccess: (answer) => {
      setRetried(answer)
      if (answer.length === 0) toast('There was nothing left to retry', { severity: 'info' })
      again()
    },
    onError: (error) => toastProblem('The retry could not begin', error),
  })
  const act = {
    retry: (which: Which) => retrying.mutate(which),
    retried: (answer: Retried[]) => {
      setRetried(answer)
      again()
    },
    discard: setAsked,
    busy: retrying.isPending,
  }
  const groups = useQuery({
    queryKey: ['letters', 'groups', search.flow, search.q],
    queryFn: ({ signal }) => listGroups({ flow: search.flow, q: search.q }, signal),
    refetchInterval: AGAIN_MS,
    placeholderData: keepPreviousData,
    enabled: !search.ended || search.group !== undefined,
  })
  const group = groups.data?.rows.find((one) => one.group === search.group)
  const inside = search.group !== undefined || search.letter !== undefined
  return (
    <Page
      title={group ? `${group.code} in ${group.processor}` : search.letter !== undefined ? 'Dead letter' : 'Dead letters'}
      crumbs={inside && <Crumb to={`/dead-letters${stringifySearch({ ...search, group: undefined, letter: undefined })}`}>Dead letters</Crumb>}
      actions={group && <GroupActions group={group} act={act} />}
    >
      {retried.length > 0 && <RetryProgress key={retried.map((one) => one.run).join()} retried={retried} onClose={() => setRetried([])} />}
      {inside ? (
        <GroupView search={search} group={group} onLetter={(letter) => go({ letter })} act={act} />
      ) : (
        <>
          <Tabs value={search.ended ? 'all' : 'open'} onChange={(_, tab: string) => go({ ended: tab === 'all' || undefined })} aria-label="Which dead letters" sx={{ px: 1, borderBottom: 1, borderColor: 'divider', flexShrink: 0 }}>
            <Tab value="open" label="Open, by error" id="letters-open" aria-controls="letters-panel" />
            <Tab value="all" label="All, also those that ended" id="letters-all" aria-controls="letters-panel" />
          </Tabs>
          <Box role="tabpanel" id="letters-panel" aria-labelledby={search.ended ? 'letters-all' : 'letters-open'} sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
            <Filters search={search} go={go} summary={search.ended ? undefined : groups.data && summaryOf(groups.data.rows)} />
            {search.ended ? <Letters search={search} onOpen={(letter) => go({ letter: letter.id }, false)} /> : <Groups groups={groups} search={search} act={act} onOpen={(one) => go({ group: one.group }, false)} onAll={() => void navigate({ search: {} })} />}
          </Box>
        </>
      )}
      <ConfirmDialog
        open={asked !== undefined}
        title={`Discard ${asked?.words ?? ''}?`}
        action={`Discard ${asked && asked.count > 1 ? count(asked.count) : ''}`.trim()}
        danger
        reason="Reason"
        onClose={() => setAsked(undefined)}
        onConfirm={async (reason) => {
          if (!asked) return
          const { letters } = await discard(asked.which, reason)
          toast(`${many(letters, 'dead letter')} discarded`)
          again()
        }}
      >
        <Box>What is discarded is not retried any more. It stays listed with your reason, and its input until it is collected as garbage.</Box>
      </ConfirmDialog>
    </Page>
  )
}

export interface Act {
  retry: (which: Which) => void
  /** Follows what was sent in otherwise. */
  retried: (answer: Retried[]) => void
  discard: (asked: Asked) => void
  busy: boolean
}

const summaryOf = (rows: Group[]): string => (rows.length === 0 ? '' : `${many(rows.reduce((sum, one) => sum + one.count, 0), 'dead letter')} in ${many(rows.length, 'group')}`)

function GroupActions({ group, act }: { group: Group; act: Act }) {
  const all: Which = { all: { group: group.group } }
  return (
    <Stack direction="row" spacing={1}>
      <Button color="error" onClick={() => act.discard({ which: all, count: group.count, words: group.count === 1 ? 'this dead letter' : `all ${count(group.count)} of this group` })}>Discard all</Button>
      <Button variant="outlined" startIcon={<Replay fontSize="small" />} onClick={() => act.retry(all)} loading={act.busy} loadingPosition="start">Retry all {count(group.count)}</Button>
      <Button variant="contained" component={To} to={fixUrl(group.flow, group.processor, group.sample)} startIcon={<Build fontSize="small" />}>Fix</Button>
    </Stack>
  )
}

function Filters({ search, go, summary }: { search: LettersSearch; go: (change: { [K in keyof LettersSearch]?: LettersSearch[K] | undefined }) => void; summary: string | undefined }) {
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal), placeholderData: keepPreviousData })
  return (
    <FilterBar q={search.q ?? ''} onQ={(q) => go({ q: q || undefined })} placeholder={search.ended ? 'Search dead letters' : 'Search errors'} summary={summary && <span className="num" role="status">{summary}</span>}>
      <Autocomplete
        size="small"
        options={flows.data?.rows.map((row) => row.flow) ?? []}
        value={search.flow ?? null}
        onChange={(_, flow) => go({ flow: flow ?? undefined })}
        sx={{ width: 190, '& .MuiInputBase-root.MuiInputBase-root': { height: 34, py: 0 } }}
        renderInput={(params) => <TextField {...params} placeholder="any flow" slotProps={{ ...params.slotProps, htmlInput: { ...params.slotProps.htmlInput, 'aria-label': 'Flow' } }} />}
      />
      {search.run !== undefined && <Button onClick={() => go({ run: undefined })}>of run {search.run} ×</Button>}
    </FilterBar>
  )
}

const groupColumns = (act: Act, search: LettersSearch): Column<Group>[] => [
  {
    key: 'error', header: 'Error', width: 'minmax(280px, 3fr)',
    render: (row) => (
      <Box sx={{ overflow: 'hidden', textOverflow: 'ellipsis' }} title={`${row.code}: ${row.message}`}>
        <Link component={To} to={`/dead-letters${stringifySearch({ ...search, group: row.group })}`} sx={{ fontWeight: 600 }}>{row.code}</Link>
        <Box component="span" sx={{ color: 'text.secondary' }}>: {row.message}</Box>
      </Box>
    ),
  },
  { key: 'where', header: 'Where', width: 'minmax(150px, 1.2fr)', render: (row) => <><FlowLink flow={row.flow} /> / <FlowLink flow={row.flow} processor={row.processor} /></> },
  { key: 'count', header: 'Letters', width: '84px', align: 'right', render: (row) => <Box component="span" className="num" sx={{ fontWeight: 600, color: 'error.main' }}>{count(row.count)}</Box> },
  { key: 'first', header: 'First', width: '116px', render: (row) => <Time value={row.first} /> },
  { key: 'last', header: 'Last', width: '116px', render: (row) => <Time value={row.last} /> },
  {
    key: 'act', header: 'What to do', width: '250px', align: 'right',
    render: (row) => (
      <>
        <Button component={To} to={fixUrl(row.flow, row.processor, row.sample)} startIcon={<Build sx={{ fontSize: 16 }} />}>Fix</Button>
        <Button onClick={() => act.retry({ all: { group: row.group } })} disabled={act.busy} aria-label={`Retry ${row.code} in ${row.processor}`}>Retry</Button>
        <Button color="error" onClick={() => act.discard({ which: { all: { group: row.group } }, count: row.count, words: `${many(row.count, 'dead letter')} of this group` })} aria-label={`Discard ${row.code} in ${row.processor}`}>Discard</Button>
      </>
    ),
  },
]

interface GroupsProps {
  groups: { data: { rows: Group[] } | undefined; isPending: boolean; isPlaceholderData: boolean; error: unknown; refetch: () => unknown }
  search: LettersSearch
  act: Act
  onOpen: (group: Group) => void
  onAll: () => void
}

function Groups({ groups, search, act, onOpen, onAll }: GroupsProps) {
  if (groups.isPending) return <Skeletons lines={6} height={40} />
  if (groups.error && !groups.data) return <ErrorPanel error={groups.error} what="The dead letters could not be listed" affects="They stay where they are." retry={() => void groups.refetch()} />
  const rows = groups.data?.rows ?? []
  return (
    <ServerTable
      label="Errors"
      columns={groupColumns(act, search)}
      rows={{ rows, total: rows.length, isPending: false, isStale: groups.isPlaceholderData, error: null, more: false, isFetchingMore: false, fetchMore: () => undefined, refetch: () => void groups.refetch() }}
      rowKey={(row) => row.group}
      onOpen={onOpen}
      rowHeight={44}
      empty={
        search.q || search.flow ? (
          <EmptyState icon={<Check />} title="Nothing like that failed" actions={<Button variant="outlined" onClick={onAll}>Show all</Button>}>No open dead letter is as you asked for.</EmptyState>
        ) : (
          <EmptyState icon={<Check />} title="Nothing failed">An item that can't be processed waits here, at the very processor where it failed, with its exact input, until it is fixed and retried, or discarded.</EmptyState>
        )
      }
    />
  )
}

const LETTER_COLUMNS: Column<DeadLetter>[] = [
  { key: 'item', header: 'Item', width: 'minmax(180px, 2fr)', render: (row) => <Link component={To} to={`/dead-letters?letter=${encodeURIComponent(row.id)}&ended=true`} sx={{ fontWeight: 500 }}>{row.item.name}</Link> },
  { key: 'error', header: 'Error', width: 'minmax(220px, 3fr)', render: (row) => <span title={row.fault.message}>{row.fault.code}: {row.fault.message}</span> },
  { key: 'where', header: 'Where', width: 'minmax(140px, 1fr)', render: (row) => <><FlowLink flow={row.flow} /> / {row.processor}</> },
  { key: 'run', header: 'Run', width: '70px', render: (row) => <RunLink run={row.run} /> },
  { key: 'failed', header: 'Failed', width: '120px', render: (row) => <Time value={row.failed} /> },
  { key: 'state', header: 'State', width: '110px', render: (row) => <StateChip state={row.state} /> },
  { key: 'why', header: 'Ended by', width: 'minmax(120px, 1fr)', render: (row) => (row.end ? <span title={row.end.reason ?? undefined}>{row.end.actor}{row.end.reason && `: ${row.end.reason}`}</span> : '–') },
]

function Letters({ search, onOpen }: { search: LettersSearch; onOpen: (letter: DeadLetter) => void }) {
  const query = { flow: search.flow, run: search.run, q: search.q, ended: true, limit: 200 }
  const rows = useRows(['letters', 'all', query], (after, signal) => listLetters({ ...query, after }, signal), { refetchMs: AGAIN_MS })
  return (
    <ServerTable
      label="Dead letters"
      columns={LETTER_COLUMNS}
      rows={rows}
      rowKey={(row) => row.id}
      onOpen={onOpen}
      affects="They stay where they are."
      empty={<EmptyState icon={<Check />} title="Nothing failed">No dead letter is as you asked for.</EmptyState>}
    />
  )
}
