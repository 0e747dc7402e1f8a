// A connection, with how many items went over it where that can be told.
import { Box } from '@mui/material'
import { BaseEdge, EdgeLabelRenderer, getBezierPath, type Edge, type EdgeProps } from '@xyflow/react'
import { memo } from 'react'
import { useProcessorNumbers } from '../../../events/store'
import { brief } from '../../../lib/format'

export type FlowEdgeType = Edge<{ slug: string; from: string; to: string; counted: 'out' | 'in' | undefined; dimmed: boolean }, 'flow'>

export const FlowEdge = memo(function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data, selected, sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, markerEnd } = props
  const [path, x, y] = getBezierPath({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, curvature: 0.35 })
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
