// Connections, with how many items went over each where that can be told; from far away all of them in one picture.
import { BaseEdge, EdgeLabelRenderer, getBezierPath, getSmoothStepPath, Position, ViewportPortal, type Edge, type EdgeProps } from '@xyflow/react'
import { memo, useMemo } from 'react'
import { useProcessorNumbers } from '../../../events/store'
import { CARD_GAP, CARD_HEIGHT, dots, passes, type Layout, type Pass } from '../../../flow/layout'
import type { FlowModel } from '../../../flow/model'
import { brief } from '../../../lib/format'

export type FlowEdgeType = Edge<{ slug: string; from: string; to: string; counted: 'out' | 'in' | undefined; via: Pass[] | undefined; dimmed: boolean }, 'flow'>

interface Ends {
  sourceX: number
  sourceY: number
  targetX: number
  targetY: number
}

/** How it is drawn, and where its count stands. */
function course(ends: Ends, via?: Pass[]): [path: string, x: number, y: number] {
  if (via) return through(ends, via)
  const placed = { ...ends, sourcePosition: Position.Right, targetPosition: Position.Left }
  // Within a lane, and back to an earlier one: around the cards, through the gap beside the one it leads to.
  const around = (CARD_HEIGHT / 2 + CARD_GAP / 2) * (ends.targetY > ends.sourceY ? -1 : 1)
  const [path, x, y] = ends.targetX < ends.sourceX + 30 ? getSmoothStepPath({ ...placed, borderRadius: 10, offset: 18, centerY: ends.targetY + around }) : getBezierPath({ ...placed, curvature: 0.35 })
  return [path, x, y]
}

/** By way of the gaps between the cards of the lanes that it passes. */
function through({ sourceX, sourceY, targetX, targetY }: Ends, via: Pass[]): [path: string, x: number, y: number] {
  const parts = [`M${sourceX},${sourceY}`]
  let [x, y] = [sourceX, sourceY]
  const bend = (toX: number, toY: number) => {
    const half = Math.max(20, (toX - x) / 2)
    parts.push(`C${x + half},${y} ${toX - half},${toY} ${toX},${toY}`)
    x = toX
    y = toY
  }
  for (const pass of via) {
    bend(pass.x1, pass.y)
    parts.push(`L${pass.x2},${pass.y}`)
    x = pass.x2
  }
  bend(targetX, targetY)
  const first = via[0] ?? { x1: targetX, y: targetY }
  return [parts.join(' '), (sourceX + first.x1) / 2, (sourceY + first.y) / 2]
}

export const FlowEdge = memo(function FlowEdge(props: EdgeProps<FlowEdgeType>) {
  const { data, selected, sourceX, sourceY, targetX, targetY, markerEnd } = props
  const [path, x, y] = course({ sourceX, sourceY, targetX, targetY }, data?.via)
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
    const ways = passes(model, placed)
    return model.edges.flatMap((edge) => {
      const from = end(edge.from, 'source', edge.port)
      const to = end(edge.to, 'target', 'in')
      return from && to ? [course({ sourceX: from.x, sourceY: from.y, targetX: to.x, targetY: to.y }, ways.get(edge.id))[0]] : []
    })
  }, [model, placed])
  return (
    <ViewportPortal>
      <svg className="far-edges" data-connections={path.length} aria-hidden style={{ opacity: dimmed ? 0.4 : 1 }}><path d={path.join('')} /></svg>
    </ViewportPortal>
  )
})
