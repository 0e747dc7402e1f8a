// JSON as a tree.
import ChevronRight from '@mui/icons-material/ChevronRight'
import ExpandMore from '@mui/icons-material/ExpandMore'
import { Box } from '@mui/material'
import { useMemo, useState } from 'react'
import { VirtualTree } from '../components/VirtualTree'
import { many } from '../lib/format'
import { FIRST_CHILDREN, type JsonNode, summary, treeRows, type TreeRow } from './json'

const ROW = 24
const INDENT = 18
const MOST_TEXT = 2000

/** Open at first: the root, and what is in it as long as that is little. */
function openAtFirst(root: JsonNode): Set<string> {
  const open = new Set([''])
  const children = root.children()
  if (children.length <= 20) {
    let rows = children.length
    children.forEach((child, at) => {
      rows += child.size
      if (child.size > 0 && rows <= 60) open.add(`${at}`)
    })
  }
  return open
}

const holds = (row: TreeRow) => row.node !== null && row.node.size > 0

export function JsonView({ label, root }: { label: string; root: JsonNode }) {
  const [open, setOpen] = useState(() => openAtFirst(root))
  const [shown, setShown] = useState<ReadonlyMap<string, number>>(new Map())
  const rows = useMemo(() => treeRows(root, open, shown), [root, open, shown])
  const toggle = (row: TreeRow) => {
    if (!holds(row)) return
    const next = new Set(open)
    if (!next.delete(row.id)) next.add(row.id)
    setOpen(next)
  }
  const more = (row: TreeRow) => {
    const parent = parentOf(row.id)
    setShown(new Map(shown).set(parent, (shown.get(parent) ?? FIRST_CHILDREN) + 10 * FIRST_CHILDREN))
    // Where the asking row was, the first of the new ones is.
    return parent === '' ? `${row.position - 1}` : `${parent}.${row.position - 1}`
  }
  return (
    <VirtualTree
      label={label}
      rows={rows}
      keyOf={(row) => row.id}
      holds={holds}
      onToggle={toggle}
      onPress={(row) => {
        if (row.node === null) return more(row)
        toggle(row)
        return undefined
      }}
      rowHeight={ROW}
      indent={INDENT}
      className="mono"
    >
      {(row) => (row.node === null ? <Box component="span" sx={{ color: 'primary.main', pl: 2.5 }}>show {many(Math.min(row.rest, 10 * FIRST_CHILDREN), 'more value')} of {row.rest}</Box> : <Value row={row} node={row.node} />)}
    </VirtualTree>
  )
}

function parentOf(id: string): string {
  return id.includes('.') ? id.slice(0, id.lastIndexOf('.')) : ''
}

function Value({ row, node }: { row: TreeRow; node: JsonNode }) {
  const Icon = row.open ? ExpandMore : ChevronRight
  const holds = node.type === 'object' ? ['{', '}', many(node.size, 'key')] : ['[', ']', many(node.size, 'value')]
  const container = node.type === 'object' || node.type === 'array'
  return (
    <>
      {node.size > 0 ? <Icon sx={{ fontSize: 18, color: 'text.secondary', mr: 0.25 }} /> : <Box component="span" sx={{ width: 20, flexShrink: 0 }} />}
      {node.key !== null && (
        <Box component="span" sx={(theme) => ({ color: typeof node.key === 'number' ? 'text.secondary' : theme.vars.palette.code.name })}>
          {node.key}
          <Box component="span" sx={{ color: 'text.secondary' }}>: </Box>
        </Box>
      )}
      {container ? (
        <Box component="span" sx={{ color: 'text.secondary' }}>{node.size === 0 ? holds[0] + (holds[1] ?? '') : row.open ? `${holds[0]} ${holds[2]}` : `${holds[0]}${summary(node)}${holds[1]}`}</Box>
      ) : (
        <Scalar node={node} />
      )}
    </>
  )
}

function Scalar({ node }: { node: JsonNode }) {
  const text = node.text.length > MOST_TEXT ? `${node.text.slice(0, MOST_TEXT)}… ${node.text.length} characters` : node.text
  return (
    <Box component="span" sx={(theme) => ({ color: node.type === 'string' ? theme.vars.palette.code.string : node.type === 'number' ? theme.vars.palette.code.number : theme.vars.palette.code.keyword })}>
      {node.type === 'string' ? `"${text.replace(/\n/g, '⏎')}"` : text}
    </Box>
  )
}
