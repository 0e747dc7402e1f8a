// A tree by keyboard and mouse: arrows go and open as in every tree (WAI-ARIA's pattern, with the focus on the tree and the
// row that is meant named by it), and only rows in sight are drawn. What the rows are, and which are open, its user knows.
import { Box } from '@mui/material'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useId, useRef, useState, type KeyboardEvent, type MouseEvent, type ReactNode } from 'react'

/** A row as it stands, from the top. */
export interface TreeRowBase {
  /** From 1. */
  level: number
  /** Its place among its siblings, from 1, and how many they are. */
  position: number
  siblings: number
  open: boolean
}

export interface VirtualTreeProps<R extends TreeRowBase> {
  label: string
  rows: readonly R[]
  keyOf: (row: R) => string
  /** Whether it can be opened: it holds others. */
  holds: (row: R) => boolean
  /** Without it, the row that is meant is the one that is selected. */
  selected?: (row: R) => boolean
  onToggle: (row: R) => void
  /** Enter, the space bar, and a click; may answer the key of the row that is meant from then on. */
  onPress: (row: R, event: KeyboardEvent | MouseEvent) => string | undefined
  rowHeight: number
  indent: number
  /** Lines between rows, and rows no wider than the tree. */
  ruled?: boolean
  className?: string
  children: (row: R) => ReactNode
}

export function VirtualTree<R extends TreeRowBase>({ label, rows, keyOf, holds, selected, onToggle, onPress, rowHeight, indent, ruled = false, className, children }: VirtualTreeProps<R>) {
  const [at, setAt] = useState<string>()
  const scroller = useRef<HTMLDivElement>(null)
  const id = useId()
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => rowHeight, overscan: 20 })
  const index = Math.max(0, rows.findIndex((row) => keyOf(row) === at))
  const meant = rows[index]

  const goTo = (to: number) => {
    const place = Math.min(Math.max(to, 0), rows.length - 1)
    const row = rows[place]
    if (!row) return
    setAt(keyOf(row))
    virtual.scrollToIndex(place)
  }
  const press = (row: R, event: KeyboardEvent | MouseEvent) => setAt(onPress(row, event) ?? keyOf(row))
  const onKey = (event: KeyboardEvent) => {
    if (!meant || event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? rowHeight) / rowHeight) - 1)
    const moves: Record<string, () => void> = {
      ArrowDown: () => goTo(index + 1),
      ArrowUp: () => goTo(index - 1),
      PageDown: () => goTo(index + page),
      PageUp: () => goTo(index - page),
      Home: () => goTo(0),
      End: () => goTo(rows.length - 1),
      ArrowRight: () => (meant.open ? goTo(index + 1) : holds(meant) && onToggle(meant)),
      ArrowLeft: () => {
        if (meant.open) return onToggle(meant)
        const above = rows.findLastIndex((row, place) => place < index && row.level < meant.level)
        if (above >= 0) goTo(above)
      },
      Enter: () => press(meant, event),
      ' ': () => press(meant, event),
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
      aria-activedescendant={meant && `${id}${keyOf(meant)}`}
      tabIndex={0}
      onKeyDown={onKey}
      className={className}
      sx={{ flex: 1, minHeight: 0, overflow: 'auto', outline: 'none', '&:focus-visible .at': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}
    >
      <Box role="presentation" sx={{ position: 'relative', ...(!ruled && { minWidth: 'fit-content', width: '100%' }) }} style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index]
          if (!row) return null
          const chosen = selected ? selected(row) : item.index === index
          return (
            <Box
              key={keyOf(row)}
              id={`${id}${keyOf(row)}`}
              role="treeitem"
              aria-level={row.level}
              aria-posinset={row.position}
              aria-setsize={row.siblings}
              aria-selected={chosen}
              {...(holds(row) && { 'aria-expanded': row.open })}
              className={item.index === index ? 'at' : ''}
              onClick={(event) => {
                // A link goes its own way, and marking text presses nothing.
                if ((event.target as HTMLElement).closest('a') || getSelection()?.toString()) setAt(keyOf(row))
                else press(row, event)
              }}
              style={{ transform: `translateY(${item.start}px)`, paddingLeft: 8 + (row.level - 1) * indent }}
              sx={{
                position: 'absolute', top: 0, left: 0, height: rowHeight, display: 'flex', alignItems: 'center', pr: 2, cursor: 'pointer', '&:hover': { bgcolor: 'action.hover' },
                ...(ruled ? { right: 0, gap: 1, whiteSpace: 'nowrap', borderBottom: 1, borderColor: 'divider' } : { minWidth: '100%', whiteSpace: 'pre' }),
                ...(selected && chosen && { bgcolor: 'action.selected' }),
              }}
            >
              {children(row)}
            </Box>
          )
        })}
      </Box>
    </Box>
  )
}
