// Where a dataset comes from and what comes of it: as a graph to look at, and as a list for keyboard and screen readers.
import Dataset_ from '@mui/icons-material/TableChartOutlined'
import Input from '@mui/icons-material/LoginOutlined'
import Item from '@mui/icons-material/DescriptionOutlined'
import { Box, Chip, Link, Stack, ToggleButton, ToggleButtonGroup } from '@mui/material'
import { useColorScheme } from '@mui/material/styles'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { Background, Controls, Handle, Position, ReactFlow, type Edge, type Node, type NodeProps } from '@xyflow/react'
import '@xyflow/react/dist/style.css'
import { useMemo, useState } from 'react'
import type { Dataset } from '../../api/types'
import { canvasFrame } from '../../components/reactFlow'
import { ErrorPanel, Skeletons } from '../../components/states'
import { many } from '../../lib/format'
import { ItemPeek } from '../runs/ItemPeek'
import { readLineage } from './data'
import { list, NODE, place, remarks } from './lineage'
import type { Lineage, LineageNode } from './types'

const ICONS = { source: Input, item: Item, dataset: Dataset_ }
const WORDS = { source: 'Source', item: 'Item', dataset: 'Dataset' }
const LANES = { source: 0, item: 1, dataset: 2 } as const

type Opened = Node<{ of: LineageNode; here: boolean }, 'lineage'>

export default function LineageView({ dataset }: { dataset: Dataset }) {
  const query = useQuery({ queryKey: ['lineage', dataset.id, dataset.revision], queryFn: ({ signal }) => readLineage(dataset.id, dataset.revision, signal) })
  const [as, setAs] = useState<'graph' | 'list'>('graph')
  const [item, setItem] = useState<string>()
  const navigate = useNavigate()
  const here = `${dataset.id}@${dataset.revision}`
  const open = (node: LineageNode) => {
    if (node.dataset && node.id !== here) {
      void navigate({ to: '/datasets/$dataset', params: { dataset: node.dataset }, search: { tab: 'lineage', ...(node.present === false && node.revision && { revision: node.revision }) } })
    } else if (node.kind === 'item') {
      setItem(node.id)
    } else if (node.kind === 'source' && node.run) {
      void navigate({ to: '/runs/$run', params: { run: String(node.run) } })
    }
  }
  if (query.error) return <ErrorPanel error={query.error} what="Its lineage could not be read" retry={() => void query.refetch()} />
  if (!query.data) return <Skeletons lines={6} />
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
      <Stack direction="row" spacing={1} sx={{ px: 2, py: 0.75, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        <Box sx={{ fontSize: 12, color: 'text.secondary', flex: 1 }}>{many(query.data.nodes.length, 'place')} on the way, {many(query.data.edges.length, 'step')}{query.data.cut && '; there is more, which is left out'}</Box>
        <ToggleButtonGroup exclusive size="small" value={as} onChange={(_, next: 'graph' | 'list' | null) => next && setAs(next)} aria-label="Shown as" sx={{ '& .MuiToggleButton-root': { py: 0.25, px: 1.25, fontSize: 12, textTransform: 'none' } }}>
          <ToggleButton value="graph">Graph</ToggleButton>
          <ToggleButton value="list">List</ToggleButton>
        </ToggleButtonGroup>
      </Stack>
      {as === 'graph' ? <Graph lineage={query.data} here={here} onOpen={open} /> : <AsList lineage={query.data} here={here} onOpen={open} />}
      <ItemPeek item={item} onClose={() => setItem(undefined)} onItem={setItem} />
    </Box>
  )
}

interface Shown {
  lineage: Lineage
  here: string
  onOpen: (node: LineageNode) => void
}

const TYPES = { lineage: Card }

function Graph({ lineage, here, onOpen }: Shown) {
  const { colorScheme } = useColorScheme()
  const nodes = useMemo(
    () => place(lineage).map(({ x, y, ...of }): Opened => ({ id: of.id, type: 'lineage', position: { x, y }, data: { of, here: of.id === here }, width: NODE.width, height: NODE.height, ariaLabel: `${WORDS[of.kind]} ${of.label}` })),
    [lineage, here],
  )
  const edges = useMemo(
    () => lineage.edges.map((edge, at): Edge => ({ id: `${at}`, source: edge.from, target: edge.to, label: edge.processor, focusable: false, selectable: false })),
    [lineage],
  )
  return (
    <Box
      sx={(theme) => ({
        ...canvasFrame(theme),
        flex: 1, minHeight: 0,
        '& .react-flow': { ...canvasFrame(theme)['& .react-flow'], '--xy-background-pattern-color': theme.vars.palette.canvas.dots, '--xy-edge-stroke': theme.vars.palette.canvas.edge, '--xy-edge-label-background-color': theme.vars.palette.background.paper, '--xy-edge-label-color': theme.vars.palette.text.primary },
        '& .react-flow__edge-text': { fontSize: 11 },
      })}
    >
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={TYPES}
        colorMode={colorScheme === 'dark' ? 'dark' : 'light'}
        nodesDraggable={false}
        nodesConnectable={false}
        edgesFocusable={false}
        onlyRenderVisibleElements={nodes.length > 200}
        fitView
        fitViewOptions={{ maxZoom: 1 }}
        minZoom={0.1}
        onNodeClick={(_, node) => onOpen(node.data.of)}
        onKeyDown={(event) => {
          const id = (event.target as HTMLElement).closest<HTMLElement>('.react-flow__node')?.dataset.id
          const node = lineage.nodes.find((one) => one.id === id)
          if (event.key === 'Enter' && node) onOpen(node)
        }}
      >
        <Background />
        <Controls showInteractive={false} />
      </ReactFlow>
    </Box>
  )
}

function Card({ data: { of, here } }: NodeProps<Opened>) {
  const Icon = ICONS[of.kind]
  return (
    <Box
      sx={(theme) => ({
        width: NODE.width, height: NODE.height, px: 1.25, display: 'flex', alignItems: 'center', gap: 1, borderRadius: 1, bgcolor: 'background.paper', cursor: 'pointer',
        border: here ? `2px solid ${theme.vars.palette.primary.main}` : `1px solid ${theme.vars.palette.divider}`, 
      })}
    >
      <Handle type="target" position={Position.Left} isConnectable={false} style={{ opacity: 0 }} />
      <Box sx={(theme) => ({ width: 30, height: 30, borderRadius: 1, display: 'grid', placeItems: 'center', flexShrink: 0, color: theme.vars.palette.lanes[LANES[of.kind]].main, bgcolor: theme.vars.palette.lanes[LANES[of.kind]].soft })}>
        <Icon sx={{ fontSize: 18 }} />
      </Box>
      <Box sx={{ minWidth: 0 }}>
        <Box title={of.label} sx={{ fontWeight: 600, fontSize: 12.5, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{of.label}</Box>
        <Box sx={{ fontSize: 11, color: of.ended === 'dead' ? 'error.main' : 'text.secondary', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{[WORDS[of.kind], ...remarks(of)].join(' · ')}</Box>
      </Box>
      <Handle type="source" position={Position.Right} isConnectable={false} style={{ opacity: 0 }} />
    </Box>
  )
}

function AsList({ lineage, here, onOpen }: Shown) {
  return (
    <Box role="region" aria-label="Lineage" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', p: 2 }}>
      <Box component="ol" sx={{ m: 0, pl: 3, display: 'grid', gap: 1 }}>
        {list(lineage).map(({ node, from }) => (
          <li key={node.id}>
            <Stack direction="row" spacing={1} useFlexGap sx={{ alignItems: 'center', flexWrap: 'wrap' }}>
              <Chip variant="outlined" label={WORDS[node.kind]} sx={{ height: 20, fontSize: 11 }} />
              {node.id === here ? <b>{node.label}</b> : <Link component="button" type="button" onClick={() => onOpen(node)}>{node.label}</Link>}
              {node.id === here && <span>this dataset</span>}
              {from.length > 0 && <Box component="span" sx={{ color: 'text.secondary' }}>of {from.map((one) => `${one.label} by ${one.processor}`).join(', ')}</Box>}
              {remarks({ ...node, processor: null }).map((remark) => <Box key={remark} component="span" sx={{ color: 'text.secondary' }}>{remark}</Box>)}
            </Stack>
          </li>
        ))}
      </Box>
    </Box>
  )
}
