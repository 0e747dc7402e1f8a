// A JSON tree by keyboard and mouse: arrows go and open as in every tree, only rows in sight are drawn.
import ChevronRight from '@mui/icons-material/ChevronRight'
import ExpandMore from '@mui/icons-material/ExpandMore'
import { Box } from '@mui/material'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef, useState, type KeyboardEvent } from 'react'
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

export function JsonView({ label, root }: { label: string; root: JsonNode }) {
  const [open, setOpen] = useState(() => openAtFirst(root))
  const [shown, setShown] = useState<ReadonlyMap<string, number>>(new Map())
  const [at, setAt] = useState('')
  const scroller = useRef<HTMLDivElement>(null)
  const rows = useMemo(() => treeRows(root, open, shown), [root, open, shown])
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 20 })
  const index = Math.max(0, rows.findIndex((row) => row.id === at))

  const toggle = (row: TreeRow) => {
    if (row.node === null) {
      const parent = parentOf(row.id)
      setShown(new Map(shown).set(parent, (shown.get(parent) ?? FIRST_CHILDREN) + 10 * FIRST_CHILDREN))
      // Where the asking row was, the first of the new ones is.
      setAt(parent === '' ? `${row.position - 1}` : `${parent}.${row.position - 1}`)
      return
    }
    if (row.node.size === 0) return
    const next = new Set(open)
    if (!next.delete(row.id)) next.add(row.id)
    setOpen(next)
  }
  const goTo = (to: number) => {
    const row = rows[Math.min(Math.max(to, 0), rows.length - 1)]
    if (!row) return
    setAt(row.id)
    virtual.scrollToIndex(rows.indexOf(row))
  }
  const onKey = (event: KeyboardEvent) => {
    const row = rows[index]
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? ROW) / ROW) - 1)
    const moves: Record<string, () => void> = {
      ArrowDown: () => goTo(index + 1),
      ArrowUp: () => goTo(index - 1),
      PageDown: () => goTo(index + page),
      PageUp: () => goTo(index - page),
      Home: () => goTo(0),
      End: () => goTo(rows.length - 1),
      ArrowRight: () => (row.open ? goTo(index + 1) : toggle(row)),
      ArrowLeft: () => (row.open ? toggle(row) : goTo(rows.findIndex((other) => other.id === parentOf(row.id)))),
      Enter: () => toggle(row),
      ' ': () => toggle(row),
    }
    const move = moves[event.key]
    if (!move) return
    event.preventDefault()
    move()
  }

  return (
    <Box
      ref={scroller}
      role="tree"
      aria-label={label}
      aria-activedescendant={`json-${rows[index]?.id ?? ''}`}
      tabIndex={0}
      onKeyDown={onKey}
      className="mono"
      sx={{ flex: 1, minHeight: 0, overflow: 'auto', py: 0.5, fontSize: 12.5, outline: 'none', '&:focus-visible .at': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}
    >
      <Box role="presentation" sx={{ position: 'relative', minWidth: 'fit-content', width: '100%' }} style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index]
          if (!row) return null
          return (
            <Box
              key={row.id}
              id={`json-${row.id}`}
              role="treeitem"
              aria-level={row.level}
              aria-posinset={row.position}
              aria-setsize={row.siblings}
              aria-selected={item.index === index}
              {...(row.node !== null && row.node.size > 0 && { 'aria-expanded': row.open })}
              className={item.index === index ? 'at' : ''}
              onClick={() => {
                if (getSelection()?.toString()) return
                setAt(row.id)
                toggle(row)
              }}
              style={{ transform: `translateY(${item.start}px)`, paddingLeft: 8 + (row.level - 1) * INDENT }}
              sx={{ position: 'absolute', top: 0, left: 0, minWidth: '100%', height: ROW, display: 'flex', alignItems: 'center', pr: 2, whiteSpace: 'pre', cursor: row.node?.size === 0 ? 'text' : 'pointer', '&:hover': { bgcolor: 'action.hover' } }}
            >
              {row.node === null ? <Box component="span" sx={{ color: 'primary.main', pl: 2.5 }}>show {many(Math.min(row.rest, 10 * FIRST_CHILDREN), 'more value')} of {row.rest}</Box> : <Value row={row} node={row.node} />}
            </Box>
          )
        })}
      </Box>
    </Box>
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
