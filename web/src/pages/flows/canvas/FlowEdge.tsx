// A connection, with how many items went over it where that can be told.
import { Box } from '@mui/material'
import { BaseEdge, EdgeLabelRenderer, getBezierPath, getSmoothStepPath, type Edge, type EdgeProps } from '@xyflow/react'
import { memo } from 'react'
import { useProcessorNumbers } from '../../../events/store'
import { CARD_GAP, CARD_HEIGHT } from '../../../flow/layout'
import { brief } from '../../../lib/format'

export type FlowEdgeType = Edge<{ slug: string; from: string; to: string; counted: 'out' | 'in' | undefined; dimmed: boolean }, 'flow'>

export const FlowEdge = memo(function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data, selected, sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, markerEnd } = props
  const ends = { sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition }
  // Within a lane, and back to an earlier one: around the cards, through the gap beside the one it leads to.
  const around = (CARD_HEIGHT / 2 + CARD_GAP / 2) * (targetY > sourceY ? -1 : 1)
  const [path, x, y] = targetX < sourceX + 30 ? getSmoothStepPath({ ...ends, borderRadius: 10, offset: 18, centerY: targetY + around }) : getBezierPath({ ...ends, curvature: 0.35 })
  return (
    <>
      <BaseEdge
        id={props.id}
        path={path}
        {...(markerEnd !== undefined && { markerEnd })}
        interactionWidth={18}
        style={{ stroke: selected ? 'var(--mui-palette-primary-main)' : 'var(--mui-palette-canvas-edge)', strokeWidth: selected ? 2.4 : 1.5, opacity: data?.dimmed ? 0.4 : 1 }}
      />
      {data?.counted && <Count x={x} y={y} slug={data.slug} id={data.counted === 'out' ? data.from : data.to} of={data.counted} />}
    </>
  )
})

function Count({ x, y, slug, id, of }: { x: number; y: number; slug: string; id: string; of: 'in' | 'out' }) {
  const numbers = useProcessorNumbers(slug, id)
  const value = numbers?.[of] ?? 0
  if (value === 0) return null
  return (
    <EdgeLabelRenderer>
      <Box
        className="num"
        sx={{ position: 'absolute', px: 0.9, height: 19, lineHeight: '18px', borderRadius: 5, border: 1, borderColor: 'divider', bgcolor: 'background.paper', fontSize: 11, fontWeight: 600, pointerEvents: 'none' }}
        style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}
      >
        {brief(value)}
      </Box>
    </EdgeLabelRenderer>
  )
}
