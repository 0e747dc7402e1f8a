// The way to and from a dataset as places on a plane, and as a list. Pure; what it looks like stands in LineageView.
import dagre from '@dagrejs/dagre'
import type { Lineage, LineageNode } from './types'

export const NODE = { width: 210, height: 58 }

export interface Placed extends LineageNode {
  x: number
  y: number
}

/** Left to right, by how far along the way each is. */
export function place({ nodes, edges }: Lineage): Placed[] {
  const graph = new dagre.graphlib.Graph()
  graph.setGraph({ rankdir: 'LR', nodesep: 18, ranksep: 74 })
  graph.setDefaultEdgeLabel(() => ({}))
  for (const node of nodes) graph.setNode(node.id, { ...NODE })
  const known = new Set(nodes.map((node) => node.id))
  for (const edge of edges) if (known.has(edge.from) && known.has(edge.to)) graph.setEdge(edge.from, edge.to)
  dagre.layout(graph)
  return nodes.map((node) => {
    const at = graph.node(node.id) as { x: number; y: number }
    return { ...node, x: at.x - NODE.width / 2, y: at.y - NODE.height / 2 }
  })
}

export interface Listed {
  node: LineageNode
  /** What it came of, with the processor that made it. */
  from: { label: string; processor: string }[]
}

/** In the order of the way: what comes of something stands after it. What goes in circles, which the server rules out, stays last. */
export function list({ nodes, edges }: Lineage): Listed[] {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const waiting = new Map(nodes.map((node) => [node.id, 0]))
  for (const edge of edges) if (byId.has(edge.from)) waiting.set(edge.to, (waiting.get(edge.to) ?? 0) + 1)
  const order: LineageNode[] = []
  const ready = nodes.filter((node) => waiting.get(node.id) === 0)
  while (ready.length > 0) {
    const node = ready.shift()
    if (!node) break
    order.push(node)
    for (const edge of edges) {
      if (edge.from !== node.id) continue
      const left = (waiting.get(edge.to) ?? 0) - 1
      waiting.set(edge.to, left)
      const next = byId.get(edge.to)
      if (left === 0 && next) ready.push(next)
    }
  }
  const seen = new Set(order.map((node) => node.id))
  return [...order, ...nodes.filter((node) => !seen.has(node.id))].map((node) => ({
    node,
    from: edges.flatMap((edge) => {
      const before = edge.to === node.id ? byId.get(edge.from) : undefined
      return before ? [{ label: before.label, processor: edge.processor }] : []
    }),
  }))
}

/** What is said of a node beside its name. */
export function remarks(node: LineageNode): string[] {
  const { processor, revision, present, ended } = node
  return [
    processor,
    revision ? `revision ${revision}` : null,
    present === false ? 'there is a newer one' : null,
    ended === 'dead' ? 'failed' : ended === 'emitted' ? 'dropped' : null,
  ].flatMap((remark) => (remark ? [remark] : []))
}
