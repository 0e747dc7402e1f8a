// The items of a run as a tree, each with what became of it; the one that is chosen is shown beside, with its bytes.
import ChevronRight from '@mui/icons-material/ChevronRight'
import ExpandMore from '@mui/icons-material/ExpandMore'
import { Box, Button, Link, Stack } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { Link as To } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import type { Run } from '../../api/types'
import { Duration } from '../../components/bits'
import { EmptyState, ErrorPanel, Skeletons } from '../../components/states'
import { VirtualTree } from '../../components/VirtualTree'
import { bytes, count, many } from '../../lib/format'
import { ResultChip } from '../datasets/bits'
import { readItem } from '../datasets/data'
import { ItemActions, ItemView } from './ItemPeek'
import { childrenOf, rowsOf, treeOf, type Place, type RunStep, type TreeRow } from './steps'
import { useSteps } from './useSteps'

const ROW = 34
const INDENT = 20

interface Props {
  run: Run
  item: string | undefined
  onItem: (item: string | undefined) => void
}

export function ItemsView({ run, item, onItem }: Props) {
  const steps = useSteps(run)
  const tree = useMemo(() => treeOf(steps.rows), [steps.rows])
  if (steps.isPending) return <Skeletons lines={8} />
  if (steps.error && steps.rows.length === 0) return <ErrorPanel error={steps.error} what="The items of the run could not be listed" affects="The run itself goes on." retry={steps.refetch} />
  if (steps.rows.length === 0) return <EmptyState title="Nothing came yet">The items of this run appear here as they are worked on.</EmptyState>
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex' }}>
      <Box sx={{ flex: 1, minWidth: 0, display: 'flex', flexDirection: 'column' }}>
        <ItemTree tree={tree} partly={steps.more} chosen={item} onItem={onItem} />
        {steps.more && (
          <Stack direction="row" spacing={1} sx={{ px: 2, py: 0.75, alignItems: 'center', borderTop: 1, borderColor: 'divider', fontSize: 12, color: 'text.secondary' }}>
            <span>The first {count(steps.rows.length)} steps are shown.</span>
            <Button onClick={steps.fetchMore} loading={steps.isFetchingMore}>Fetch more</Button>
          </Stack>
        )}
      </Box>
      {item !== undefined && <Beside id={item} onItem={onItem} />}
    </Box>
  )
}

function Beside({ id, onItem }: { id: string; onItem: (item: string | undefined) => void }) {
  const query = useQuery({ queryKey: ['item', id], queryFn: ({ signal }) => readItem(id, signal) })
  return (
    <Box component="aside" aria-label="The chosen item" sx={{ width: '48%', minWidth: 340, display: 'flex', flexDirection: 'column', minHeight: 0, borderLeft: 1, borderColor: 'divider' }}>
      <Stack direction="row" spacing={1} sx={{ px: 2, minHeight: 44, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        <Box sx={{ fontWeight: 600, minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{query.data?.name ?? 'Item'}</Box>
        <Box sx={{ flex: 1 }} />
        {query.data && <ItemActions item={query.data} />}
        <Button onClick={() => onItem(undefined)}>Close</Button>
      </Stack>
      {query.data ? (
        <Box sx={{ flex: 1, minHeight: 0, overflow: 'auto', display: 'flex', flexDirection: 'column' }}><ItemView item={query.data} onItem={onItem} /></Box>
      ) : query.error ? (
        <ErrorPanel error={query.error} what="The item could not be read" retry={() => void query.refetch()} />
      ) : (
        <Skeletons lines={6} />
      )}
    </Box>
  )
}

function ItemTree({ tree, partly, chosen, onItem }: { tree: ReturnType<typeof treeOf>; partly: boolean; chosen: string | undefined; onItem: (item: string) => void }) {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set())
  const rows = useMemo(() => rowsOf(tree, closed), [tree, closed])
  const toggle = (row: (typeof rows)[number]) => {
    if (!row.parent) return
    const next = new Set(closed)
    if (!next.delete(row.key)) next.add(row.key)
    setClosed(next)
  }
  return (
    <VirtualTree
      label="Items of the run"
      rows={rows}
      keyOf={(row) => row.key}
      holds={(row) => row.parent}
      selected={(row) => row.place.item.id === chosen}
      onToggle={toggle}
      onPress={(row, event) => {
        if (event.type === 'click' && (event.target as HTMLElement).closest('[data-toggle]')) toggle(row)
        else onItem(row.place.item.id)
        return undefined
      }}
      rowHeight={ROW}
      indent={INDENT}
      ruled
    >
      {(row) => <Row row={row} partly={partly} />}
    </VirtualTree>
  )
}

function Row({ row, partly }: { row: TreeRow; partly: boolean }) {
  const { item, made, took } = row.place
  const Icon = row.open ? ExpandMore : ChevronRight
  return (
    <>
      {row.parent ? <Icon data-toggle fontSize="small" sx={{ color: 'text.secondary', flexShrink: 0 }} /> : <Box sx={{ width: 20, flexShrink: 0 }} />}
      <Box component="span" title={item.name} sx={{ fontWeight: row.level === 1 ? 600 : 500, overflow: 'hidden', textOverflow: 'ellipsis', minWidth: 80 }}>{item.name}</Box>
      <Box component="span" className="num" sx={{ color: 'text.secondary', fontSize: 12 }}>{bytes(item.size)}</Box>
      {made && <Box component="span" sx={{ color: 'text.secondary', fontSize: 12 }}>{made.result === 'arrived' ? 'from' : 'by'} {made.processor}{item.port ? `.${item.port}` : ''}</Box>}
      <Box sx={{ flex: 1 }} />
      {took.map((step, at) => <Became key={at} step={step} place={row.place} />)}
      {/* Of a run of which not all was fetched it is not known. */}
      {took.length === 0 && !partly && <Box component="span" sx={{ color: 'text.secondary', fontSize: 12 }}>nothing took it yet</Box>}
    </>
  )
}

/** What a step did with an item, with a way to where it is now. */
function Became({ step, place }: { step: RunStep; place: Place }) {
  const words = step.result === 'emitted' ? (step.children.length === 0 ? 'dropped' : many(childrenOf(place).length + (step.more ?? 0), 'item')) : null
  return (
    <Stack direction="row" spacing={0.75} sx={{ alignItems: 'center', fontSize: 12 }}>
      <Box component="span" sx={{ color: 'text.secondary' }}>{step.processor}</Box>
      {step.result === 'emitted' && step.children.length > 0 ? <span>{words}</span> : <ResultChip result={step.result === 'emitted' ? 'dropped' : step.result} />}
      <Box component="span" sx={{ color: 'text.secondary' }}><Duration us={step.took_us} /></Box>
      {step.dataset && <Link component={To} to={`/datasets/${encodeURIComponent(step.dataset.id)}?revision=${step.dataset.revision}`}>dataset</Link>}
      {step.dead_letter && <Link component={To} to={`/dead-letters?letter=${encodeURIComponent(step.dead_letter)}&ended=true`} sx={{ color: 'error.main' }}>dead letter</Link>}
    </Stack>
  )
}
