// A phase: a column with its name, and a button that adds to it. It never decides the order of work.
import { Box, Button } from '@mui/material'
import type { Node, NodeProps } from '@xyflow/react'
import { memo } from 'react'
import { LANE_HEAD, LANE_WIDTH } from '../../../flow/layout'

export type LaneNode = Node<{ lane: number; name: string; about: string; height: number; ghost: boolean; onAdd: (lane: number) => void }, 'lane'>

export const Lane = memo(function Lane({ data }: NodeProps<LaneNode>) {
  const { lane, name, about, height, ghost } = data
  return (
    <Box
      sx={(theme) => ({
        width: LANE_WIDTH, border: 1, borderStyle: ghost ? 'dashed' : 'solid', borderColor: 'divider', borderRadius: 1.25,
        bgcolor: ghost ? 'transparent' : theme.vars.palette.canvas.lane, position: 'relative', '--lane': theme.vars.palette.lanes[lane % 4 as 0].main,
      })}
      style={{ height }}
    >
      <Box sx={{ height: LANE_HEAD, display: 'flex', alignItems: 'center', gap: 1, px: 2, borderBottom: ghost ? 0 : 1, borderColor: 'divider', opacity: ghost ? 0.65 : 1 }}>
        <Box sx={{ width: 18, height: 18, borderRadius: 0.5, bgcolor: 'var(--lane)', color: 'background.paper', display: 'grid', placeItems: 'center', fontSize: 11, fontWeight: 700 }}>{lane + 1}</Box>
        <Box sx={{ fontWeight: 650, fontSize: 13, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{name}</Box>
        <Box sx={{ color: 'text.secondary', fontSize: 11.5, whiteSpace: 'nowrap', overflow: 'hidden', textOverflow: 'ellipsis' }}>{about}</Box>
      </Box>
      <Button
        className="nodrag nopan"
        onClick={() => data.onAdd(lane)}
        sx={{ position: 'absolute', left: 16, right: 16, bottom: 14, border: 1, borderStyle: 'dashed', borderColor: 'text.disabled', color: 'text.secondary', fontSize: 12, pointerEvents: 'all' }}
        aria-label={`Add a processor to phase ${lane + 1}`}
      >
        + Add processor
      </Button>
    </Box>
  )
})
