// Connections, with how many items went over each where that can be told; from far away all of them in one picture.
import { BaseEdge, EdgeLabelRenderer, getBezierPath, getSmoothStepPath, Position, ViewportPortal, type Edge, type EdgeProps } from '@xyflow/react'
import { memo, useMemo } from 'react'
import { useProcessorNumbers } from '../../../events/store'
import { CARD_GAP, CARD_HEIGHT, dots, type Layout } from '../../../flow/layout'
import type { FlowModel } from '../../../flow/model'
import { brief } from '../../../lib/format'

export type FlowEdgeType = Edge<{ slug: string; from: string; to: string; counted: 'out' | 'in' | undefined; dimmed: boolean }, 'flow'>

interface Ends {
  sourceX: number
  sourceY: number
  targetX: number
  targetY: number
}

/** How it is drawn, and where its middle is. */
function course(ends: Ends): [path: string, x: number, y: number] {
  const placed = { ...ends, sourcePosition: Position.Right, targetPosition: Position.Left }
  // Within a lane, and back to an earlier one: around the cards, through the gap beside the one it leads to.
  const around = (CARD_HEIGHT / 2 + CARD_GAP / 2) * (ends.targetY > ends.sourceY ? -1 : 1)
  const [path, x, y] = ends.targetX < ends.sourceX + 30 ? getSmoothStepPath({ ...placed, borderRadius: 10, offset: 18, centerY: ends.targetY + around }) : getBezierPath({ ...placed, curvature: 0.35 })
  return [path, x, y]
}

export const FlowEdge = memo(function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data, selected, sourceX, sourceY, targetX, targetY, markerEnd } = props
  const [path, x, y] = course({ sourceX, sourceY, targetX, targetY })
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
      <div className="edge-count num" style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}>{brief(value)}</div>
    </EdgeLabelRenderer>
  )
}

/** All connections as one picture: where none can be told from its neighbour, none needs to be an element of its own. */
export const FarEdges = memo(function FarEdges({ model, placed, dimmed }: { model: FlowModel; placed: Layout; dimmed: boolean }) {
  const path = useMemo(() => {
    const steps = new Map(model.steps.map((step) => [step.id, step]))
    const end = (id: string, type: 'source' | 'target', port: string) => {
      const step = steps.get(id)
      const card = placed.cards.get(id)
      const dot = step && dots(step).find((one) => one.type === type && one.id === port)
      return card && dot && { x: card.x + dot.x, y: card.y + dot.y }
    }
    return model.edges.flatMap((edge) => {
      const from = end(edge.from, 'source', edge.port)
      const to = end(edge.to, 'target', 'in')
      return from && to ? [course({ sourceX: from.x, sourceY: from.y, targetX: to.x, targetY: to.y })[0]] : []
    })
  }, [model, placed])
  return (
    <ViewportPortal>
      <svg className="far-edges" data-connections={path.length} aria-hidden style={{ opacity: dimmed ? 0.4 : 1 }}><path d={path.join('')} /></svg>
    </ViewportPortal>
  )
})
