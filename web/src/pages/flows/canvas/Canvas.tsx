// The canvas: lanes, cards, connections. It draws the session's model and turns what people do into edits of the text;
// it has no state of its own but where a card is while it is dragged, and what is marked.
import { Box } from '@mui/material'
import { useColorScheme } from '@mui/material/styles'
import {
  applyNodeChanges, Controls, MarkerType, Position, ReactFlow, ReactFlowProvider, useReactFlow, type Connection,
  type FinalConnectionState, type Node, type NodeChange,
} from '@xyflow/react'
import '@xyflow/react/dist/style.css'
import { memo, useCallback, useEffect, useMemo, useRef, useState, type CSSProperties, type KeyboardEvent } from 'react'
import { toast } from '../../../components/toast'
import { dots, dropBefore, laneAt, laneX, layout, passes, CARD_WIDTH, LANE_WIDTH, LEAST_LANES } from '../../../flow/layout'
import { phaseOf, refusal, type Step } from '../../../flow/model'
import { connect, disconnect, moveProcessor } from '../../../flow/text'
import { useSession, useSessionState } from '../../../flow/useSession'
import { Card, type CardNode } from './Card'
import { Dots } from './Dots'
import { FarProvider, useIsFar } from './far'
import { FarEdges, FlowEdge, type FlowEdgeType } from './FlowEdge'
import { Lane, type LaneNode } from './Lane'
import { laneNames } from './lanes'
import { canvasStyles } from './styles'

type AnyNode = CardNode | LaneNode

const NODES = { card: Card, lane: Lane }
const EDGES = { flow: FlowEdge }
const NO_EDGES: FlowEdgeType[] = []

const DOT = 10

/** The dots of a card as React Flow wants them: told, it need not draw and measure each card to know where connections go. */
const handlesOf = (step: Step) =>
  dots(step).map(({ type, id, x, y }) => ({ type, id, x: x - DOT / 2, y: y - DOT / 2, width: DOT, height: DOT, position: type === 'source' ? Position.Right : Position.Left }))

/**
 * Where a node stands, as a plain offset: React Flow's own `transform` for each makes a layer to be put together for each
 * step of a drag, of hundreds of cards.
 */
const placedAt = ({ x, y }: { x: number; y: number }): CSSProperties => ({ transform: 'none', left: x, top: y })

/** Beyond this only what is in sight is drawn; from far away, where nearly all is and a card is only its name, beyond that. */
const DRAW_ALL = 60
const DRAW_ALL_FAR = 600

export interface CanvasProps {
  selected: string[]
  onSelect: (ids: string[]) => void
  open: string | undefined
  onOpen: (id: string) => void
  onFailed: (id: string) => void
  onAdd: (lane: number, from?: { id: string; port: string }) => void
  onDelete: (ids: string[]) => void
}

export default memo(function Canvas(props: CanvasProps) {
  return (
    <ReactFlowProvider>
      <Inner {...props} />
    </ReactFlowProvider>
  )
})

function Inner({ selected, onSelect, open, onOpen, onFailed, onAdd, onDelete }: CanvasProps) {
  const session = useSession()
  const model = useSessionState((state) => state.model)
  const broken = useSessionState((state) => state.broken !== undefined)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const flow = useSessionState((state) => state.flow)
  const { mode, systemMode } = useColorScheme()
  const { setViewport, screenToFlowPosition, getZoom, getViewport, setCenter } = useReactFlow()
  const wrapper = useRef<HTMLDivElement>(null)
  const placed = useMemo(() => layout(model), [model])
  const marked = useMemo(() => new Set(selected), [selected])

  const errors = useMemo(() => {
    const found = new Map<string, number>()
    for (const one of diagnostics) {
      if (one.processor != null && one.severity === 'error') found.set(one.processor, (found.get(one.processor) ?? 0) + 1)
    }
    return found
  }, [diagnostics])

  const live = flow?.flow.state === 'enabled'
  const wanted = useMemo((): AnyNode[] => {
    const names = laneNames(model, placed.lanes.length)
    // One lane more than there are, to begin a phase in.
    const lanes = model.lanes >= LEAST_LANES ? [...placed.lanes, { x: laneX(placed.lanes.length), height: placed.lanes[0]?.height ?? 320, cards: [] }] : placed.lanes
    return [
      ...lanes.map((lane, at): LaneNode => ({
        id: `lane:${at}`, type: 'lane', position: { x: lane.x, y: 0 }, width: LANE_WIDTH, height: lane.height, measured: { width: LANE_WIDTH, height: lane.height }, handles: [], draggable: false, selectable: false, focusable: false, zIndex: -1,
        data: { lane: at, name: names[at]?.name ?? `Phase ${at + 1}`, about: names[at]?.about ?? '', height: lane.height, ghost: lane.cards.length === 0, onAdd },
        style: { ...placedAt({ x: lane.x, y: 0 }), pointerEvents: 'none' },
      })),
      ...model.steps.map((step): CardNode => {
        const card = placed.cards.get(step.id) ?? { x: 0, y: 0, height: 0 }
        return {
          id: step.id, type: 'card', position: { x: card.x, y: card.y }, width: CARD_WIDTH, height: card.height, measured: { width: CARD_WIDTH, height: card.height }, handles: handlesOf(step), style: placedAt(card), selected: marked.has(step.id),
          data: { slug: session.slug, step, lane: step.lane, errors: errors.get(step.id) ?? 0, live, focusable: false, dimmed: broken },
        }
      }),
    ]
  }, [model, placed, marked, errors, live, broken, session, onAdd])

  // Tab enters the canvas at one card; arrows go on from there.
  const entry = selected.find((id) => placed.cards.has(id)) ?? model.steps[0]?.id
  const [nodes, setNodes] = useState<AnyNode[]>(wanted)
  useEffect(() => {
    setNodes((before) => {
      const old = new Map(before.map((node) => [node.id, node]))
      return wanted.map((node): AnyNode => {
        const was = old.get(node.id)
        if (node.type === 'lane') return node
        const data = { ...node.data, focusable: node.id === entry }
        // What did not change stays the same object, so that its card is not drawn again.
        const kept = was?.type === 'card' && shallow(was.data, data) ? was.data : data
        return { ...node, data: kept }
      })
    })
  }, [wanted, entry])

  const edges = useMemo(
    (): FlowEdgeType[] => {
      const ways = passes(model, placed)
      return model.edges.map((edge) => {
        const source = model.steps.find((step) => step.id === edge.from)
        const target = model.steps.find((step) => step.id === edge.to)
        const single = source?.outputs.length === 1 ? 'out' : target?.inputs.length === 1 ? 'in' : undefined
        return {
          id: edge.id, type: 'flow', source: edge.from, sourceHandle: edge.port, target: edge.to, targetHandle: 'in', focusable: false,
          markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14, color: 'var(--mui-palette-canvas-edge)' },
          data: { slug: session.slug, from: edge.from, to: edge.to, counted: model.edges.length <= 100 ? single : undefined, via: ways.get(edge.id), dimmed: broken },
        }
      })
    },
    [model, placed, session, broken],
  )
  const [edgeMarked, setEdgeMarked] = useState<string[]>([])
  const shownEdges = useMemo(() => edges.map((edge) => (edgeMarked.includes(edge.id) ? { ...edge, selected: true } : edge)), [edges, edgeMarked])

  // All in sight at first, and when another flow comes.
  const fitted = useRef(false)
  useEffect(() => {
    if (fitted.current || nodes.length <= LEAST_LANES) return
    fitted.current = true
    requestAnimationFrame(() => void setViewport(atFirst(placed, wrapper.current)))
  }, [nodes.length, placed, setViewport])

  // The open card stays in sight when the panel takes its place.
  useEffect(() => {
    if (open === undefined) return
    const timer = setTimeout(() => {
      const card = layout(session.get().model).cards.get(open)
      const frame = wrapper.current
      if (!card || !frame) return
      const { x, y, zoom } = getViewport()
      const left = card.x * zoom + x
      const top = card.y * zoom + y
      if (left < 8 || left + CARD_WIDTH * zoom > frame.clientWidth - 8 || top < 8 || top + card.height * zoom > frame.clientHeight - 8) {
        void setCenter(card.x + CARD_WIDTH / 2, card.y + card.height / 2, { zoom, duration: 200 })
      }
    }, 120)
    return () => clearTimeout(timer)
  }, [open, session, getViewport, setCenter])

  const onNodesChange = useCallback(
    (changes: NodeChange<AnyNode>[]) => {
      const moved = new Set(changes.flatMap((change) => (change.type === 'position' ? [change.id] : [])))
      setNodes((now) => {
        const next = applyNodeChanges(changes.filter((change) => change.type !== 'remove' && change.type !== 'select'), now)
        return moved.size === 0 ? next : next.map((node) => (moved.has(node.id) ? { ...node, style: { ...node.style, ...placedAt(node.position) } } : node))
      })
      const picks = changes.filter((change) => change.type === 'select')
      if (picks.length > 0) {
        const next = new Set(selected)
        for (const pick of picks) {
          if (pick.selected) next.add(pick.id)
          else next.delete(pick.id)
        }
        onSelect([...next].filter((id) => !id.startsWith('lane:')))
      }
    },
    [selected, onSelect],
  )

  const attempt = useCallback(
    (label: string, change: (text: string) => string) => {
      try {
        session.applyText(label, change)
      } catch (error) {
        toast(`The text is broken, so the canvas cannot change it: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
        return false
      }
      return true
    },
    [session],
  )

  const onNodeDragStop = useCallback(
    (_: unknown, node: Node) => {
      const card = placed.cards.get(node.id)
      if (!card || (Math.abs(node.position.x - card.x) < 4 && Math.abs(node.position.y - card.y) < 4)) return
      const lane = laneAt(node.position.x + CARD_WIDTH / 2)
      const before = dropBefore(model, placed, node.id, lane, node.position.y + card.height / 2)
      attempt(`move ${node.id}`, (text) => moveProcessor(text, node.id, phaseOf(model, lane), before))
      // Back to its place, whether or not anything came of it.
      const now = layout(session.get().model).cards.get(node.id)
      if (now) setNodes((all) => all.map((one) => (one.id === node.id ? { ...one, position: { x: now.x, y: now.y }, style: placedAt(now) } : one)))
    },
    [model, placed, attempt, session],
  )

  const valid = useCallback(
    (connection: Connection | FlowEdgeType) => refusal(model, connection.source, connection.sourceHandle ?? 'out', connection.target) === undefined,
    [model],
  )
  const onConnect = useCallback(
    (connection: Connection) => attempt(`connect ${connection.source} to ${connection.target}`, (text) => connect(text, connection.source, connection.sourceHandle ?? 'out', connection.target)),
    [attempt],
  )
  const onConnectEnd = useCallback(
    (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      if (state.isValid || !state.fromHandle || !state.fromNode) return
      const [from, to] = state.fromHandle.type === 'source' ? [state.fromNode, state.toNode] : [state.toNode, state.fromNode]
      if (from && to && !to.id.startsWith('lane:')) {
        const port = (state.fromHandle.type === 'source' ? state.fromHandle.id : state.toHandle?.id) ?? 'out'
        const why = refusal(model, from.id, port, to.id)
        if (why) toast(`Not connected: ${why}`, { severity: 'warning' })
        return
      }
      if (state.fromHandle.type !== 'source') return
      // Let go over nothing: a new processor that reads it.
      const point = 'changedTouches' in event ? event.changedTouches[0] : event
      if (!point) return
      const { x } = screenToFlowPosition({ x: point.clientX, y: point.clientY })
      onAdd(laneAt(x), { id: state.fromNode.id, port: state.fromHandle.id ?? 'out' })
    },
    [model, screenToFlowPosition, onAdd],
  )

  const heading = useRef<string>(undefined)
  const focusCard = useCallback(
    (id: string) => {
      onSelect([id])
      const card = placed.cards.get(id)
      const element = () => wrapper.current?.querySelector<HTMLElement>(`[data-card="${CSS.escape(id)}"]`)
      const box = element()?.getBoundingClientRect()
      const frame = wrapper.current?.getBoundingClientRect()
      const hidden = !box || !frame || box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom
      if (card && hidden) void setCenter(card.x + CARD_WIDTH / 2, card.y + card.height / 2, { zoom: getZoom(), duration: 150 })
      // It may have to be drawn first; what is pressed until then goes on from it.
      heading.current = id
      const land = (tries: number) => {
        if (heading.current !== id) return
        const found = element()
        if (found) found.focus({ preventScroll: true })
        if (found || tries === 0) heading.current = undefined
        else requestAnimationFrame(() => land(tries - 1))
      }
      requestAnimationFrame(() => land(20))
    },
    [placed, onSelect, setCenter, getZoom],
  )

  const onKeyDown = (event: KeyboardEvent<HTMLDivElement>) => {
    const id = heading.current ?? (event.target as HTMLElement).closest<HTMLElement>('[data-card]')?.dataset.card
    if (event.key === 'Delete' || event.key === 'Backspace') {
      if (edgeMarked.length > 0) {
        event.preventDefault()
        cut(edgeMarked)
      } else if (selected.length > 0) {
        event.preventDefault()
        onDelete(selected)
      }
      return
    }
    if (id === undefined || event.ctrlKey || event.metaKey || event.altKey) return
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault()
      onOpen(id)
      return
    }
    const step = model.steps.find((one) => one.id === id)
    const to = step && neighbour(event.key, id, step.lane, placed)
    if (to === undefined) return
    event.preventDefault()
    focusCard(to)
  }

  const cut = (ids: string[]) => {
    const gone = model.edges.filter((edge) => ids.includes(edge.id))
    if (attempt(gone.length === 1 ? `disconnect ${gone[0]?.to}` : 'disconnect', (text) => disconnect(text, gone))) setEdgeMarked([])
  }

  const far = useIsFar()
  const dark = (mode === 'system' ? systemMode : mode) === 'dark'
  return (
    <Box
      ref={wrapper}
      onKeyDown={onKeyDown}
      onFocus={(event) => {
        // By keyboard, what has the focus is what is meant; a pointer marks by clicking.
        const { dataset } = event.target as HTMLElement
        if (dataset.card !== undefined && event.target.matches(':focus-visible') && !marked.has(dataset.card)) onSelect([dataset.card])
      }}
      sx={canvasStyles}
    >
      <FarProvider value={far}>
      <ReactFlow<AnyNode, FlowEdgeType>
        nodes={nodes}
        edges={far ? NO_EDGES : shownEdges}
        nodeTypes={NODES}
        edgeTypes={EDGES}
        colorMode={dark ? 'dark' : 'light'}
        onNodesChange={onNodesChange}
        onNodeDragStop={onNodeDragStop}
        onNodeClick={(event, node) => {
          if (node.type !== 'card' || event.shiftKey || event.ctrlKey || event.metaKey) return
          const failed = (event.target as HTMLElement).closest<HTMLElement>('[data-failed]')
          if (failed) onFailed(node.id)
          else onOpen(node.id)
        }}
        onEdgeClick={(_, edge) => {
          setEdgeMarked([edge.id])
          onSelect([])
          wrapper.current?.querySelector<HTMLElement>('.react-flow__pane')?.focus()
        }}
        onPaneClick={() => {
          setEdgeMarked([])
          onSelect([])
        }}
        onMove={() => wrapper.current?.toggleAttribute('data-moving', true)}
        onMoveEnd={() => wrapper.current?.toggleAttribute('data-moving', false)}
        isValidConnection={valid}
        onConnect={onConnect}
        onConnectEnd={onConnectEnd}
        nodesFocusable={false}
        edgesFocusable={false}
        disableKeyboardA11y
        deleteKeyCode={null}
        selectionKeyCode="Shift"
        multiSelectionKeyCode={['Shift', 'Control', 'Meta']}
        onlyRenderVisibleElements={model.steps.length > (far ? DRAW_ALL_FAR : DRAW_ALL)}
        minZoom={0.12}
        maxZoom={1.6}
        nodeDragThreshold={5}
        connectionRadius={28}
        zoomOnDoubleClick={false}
        panOnScroll
        proOptions={{ hideAttribution: false }}
        ariaLabelConfig={{ 'controls.ariaLabel': 'Zoom' }}
      >
        {far ? <FarEdges model={model} placed={placed} dimmed={broken} /> : <Dots width={laneX(placed.lanes.length)} height={placed.lanes[0]?.height ?? 0} />}
        <Controls showInteractive={false} fitViewOptions={{ padding: 0.06, maxZoom: 1 }} />
      </ReactFlow>
      </FarProvider>
    </Box>
  )
}

/** All lanes that have something in sight, from the top; text legible rather than everything small. */
function atFirst(placed: ReturnType<typeof layout>, frame: HTMLElement | null) {
  const last = Math.max(LEAST_LANES - 1, placed.lanes.findLastIndex((lane) => lane.cards.length > 0))
  const width = laneX(last) + LANE_WIDTH
  const height = placed.lanes[0]?.height ?? 320
  const space = { width: (frame?.clientWidth ?? 1200) - 40, height: (frame?.clientHeight ?? 700) - 40 }
  const zoom = Math.max(0.72, Math.min(1, space.width / width, Math.max(space.height / height, 0.7)))
  return { x: 20 + Math.max(0, (space.width - width * zoom) / 2), y: 20, zoom }
}

function shallow(a: Record<string, unknown>, b: Record<string, unknown>): boolean {
  const keys = Object.keys(b)
  return keys.length === Object.keys(a).length && keys.every((key) => Object.is(a[key], b[key]))
}

/** The card that an arrow leads to: up and down in the lane, left and right to the nearest one of the next lane that has any. */
function neighbour(key: string, id: string, lane: number, placed: ReturnType<typeof layout>): string | undefined {
  const here = placed.cards.get(id)
  if (!here) return undefined
  const column = placed.lanes[lane]?.cards ?? []
  if (key === 'ArrowUp') return column[column.indexOf(id) - 1]
  if (key === 'ArrowDown') return column[column.indexOf(id) + 1]
  const step = { ArrowLeft: -1, ArrowRight: 1 }[key]
  if (step === undefined) return undefined
  const middle = here.y + here.height / 2
  for (let at = lane + step; at >= 0 && at < placed.lanes.length; at += step) {
    const cards = placed.lanes[at]?.cards ?? []
    const distance = (one: string) => {
      const card = placed.cards.get(one)
      return card ? Math.abs(card.y + card.height / 2 - middle) : Infinity
    }
    const nearest = cards.toSorted((a, b) => distance(a) - distance(b))[0]
    if (nearest !== undefined) return nearest
  }
  return undefined
}
