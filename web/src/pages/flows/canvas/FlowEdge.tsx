// A connection, with how many items went over it where that can be told.
import { BaseEdge, EdgeLabelRenderer, getBezierPath, getSmoothStepPath, type Edge, type EdgeProps } from '@xyflow/react'
import { memo } from 'react'
import { useProcessorNumbers } from '../../../events/store'
import { CARD_GAP, CARD_HEIGHT } from '../../../flow/layout'
import { brief } from '../../../lib/format'
import { useFar } from './far'

export type FlowEdgeType = Edge<{ slug: string; from: string; to: string; counted: 'out' | 'in' | undefined; dimmed: boolean }, 'flow'>

export const FlowEdge = memo(function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data, selected, sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition, markerEnd } = props
  const far = useFar()
  const ends = { sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition }
  // Within a lane, and back to an earlier one: around the cards, through the gap beside the one it leads to.
  const around = (CARD_HEIGHT / 2 + CARD_GAP / 2) * (targetY > sourceY ? -1 : 1)
  const [path, x, y] = targetX < sourceX + 30 ? getSmoothStepPath({ ...ends, borderRadius: 10, offset: 18, centerY: targetY + around }) : getBezierPath({ ...ends, curvature: 0.35 })
  return (
    <>
      <BaseEdge
        id={props.id}
        path={path}
        {...(markerEnd !== undefined && !far && { markerEnd })}
        interactionWidth={far ? 0 : 18}
        style={{ stroke: selected ? 'var(--mui-palette-primary-main)' : 'var(--mui-palette-canvas-edge)', strokeWidth: selected ? 2.4 : 1.5, opacity: data?.dimmed ? 0.4 : 1 }}
      />
      {data?.counted && !far && <Count x={x} y={y} slug={data.slug} id={data.counted === 'out' ? data.from : data.to} of={data.counted} />}
    </>
  )
})

function Count({ x, y, slug, id, of }: { x: number; y: number; slug: string; id: string; of: 'in' | 'out' }) {
  const numbers = useProcessorNumbers(slug, id)
  const value = numbers?.[of] ?? 0
  if (value === 0) return null
  return (
    <EdgeLabelRenderer>
      <div className="edge-count num" style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}>{brief(value)}</div>
    </EdgeLabelRenderer>
  )
}
