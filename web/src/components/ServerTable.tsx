// A table of what the server lists: it sorts and filters there, pages by cursor as one scrolls, and only the rows in
// sight are drawn. Heads stay; arrows go from row to row, Enter opens.
import ArrowDownward from '@mui/icons-material/ArrowDownward'
import ArrowUpward from '@mui/icons-material/ArrowUpward'
import { Box, Button, ButtonBase, Checkbox } from '@mui/material'
import { visuallyHidden } from '@mui/utils'
import { useInfiniteQuery, type QueryKey } from '@tanstack/react-query'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useLayoutEffect, useMemo, useRef, type KeyboardEvent, type ReactNode } from 'react'
import type { Page } from '../api/types'
import { ErrorPanel, Skeletons } from './states'

export interface Column<R> {
  /** Also what it is sorted by, where `sorts`. */
  key: string
  header: string
  /** A CSS grid track: `minmax(160px, 2fr)`, `90px`. */
  width: string
  align?: 'right'
  /** The header is only for screen readers. */
  quiet?: boolean
  sorts?: boolean
  render: (row: R) => ReactNode
}

/** A listing that is fetched page by page. */
export interface Rows<R> {
  rows: R[]
  total: number | undefined
  isPending: boolean
  isStale: boolean
  error: unknown
  more: boolean
  isFetchingMore: boolean
  fetchMore: () => void
  refetch: () => void
}

/** Fetches a listing by cursor; rows of the last answer stay while the next one is on its way. */
export function useRows<R>(key: QueryKey, fetchPage: (after: string | undefined, signal: AbortSignal) => Promise<Page<R>>, options: { refetchMs?: number } = {}): Rows<R> {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => fetchPage(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: (before) => before,
    ...(options.refetchMs !== undefined && { refetchInterval: options.refetchMs }),
  })
  const pages = query.data?.pages
  const rows = useMemo(() => pages?.flatMap((page) => page.rows) ?? [], [pages])
  return {
    rows,
    total: pages?.[0]?.total ?? undefined,
    isPending: query.isPending,
    isStale: query.isPlaceholderData,
    error: query.error,
    more: query.hasNextPage,
    isFetchingMore: query.isFetchingNextPage,
    fetchMore: () => void query.fetchNextPage(),
    refetch: () => void query.refetch(),
  }
}

export interface ServerTableProps<R> {
  /** What is listed, for screen readers: `Datasets`. */
  label: string
  columns: Column<R>[]
  rows: Rows<R>
  rowKey: (row: R) => string
  onOpen?: (row: R) => void
  /** `name` or `-name`. */
  sort?: string | undefined
  onSort?: (sort: string) => void
  selected?: ReadonlySet<string>
  onSelected?: (selected: Set<string>) => void
  /** Shown where there are no rows. */
  empty: ReactNode
  /** What an error affects. */
  affects?: string
  rowHeight?: number
  /** What is listed, by search and order: when it changes, the table begins at its top again. */
  listing?: string
}

export function ServerTable<R>(props: ServerTableProps<R>) {
  const { label, columns, rows, rowKey, onOpen, sort, onSort, selected, onSelected, rowHeight = 40, listing } = props
  const scroller = useRef<HTMLDivElement>(null)
  const selecting = selected !== undefined && onSelected !== undefined
  const tracks = `${selecting ? '40px ' : ''}${columns.map((column) => column.width).join(' ')}`
  const virtual = useVirtualizer({
    count: rows.rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
  })
  useEffect(() => {
    scroller.current?.scrollTo(0, 0)
  }, [listing])
  // The row that the keys went to, until it is drawn: the next key goes on from there, however fast it comes.
  const goal = useRef<number>(undefined)
  const reach = () => {
    if (goal.current === undefined) return
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${goal.current}"]`)
    if (!row) return
    goal.current = undefined
    row.focus({ preventScroll: true })
  }
  useLayoutEffect(reach)
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? -1
  const { more, isFetchingMore, error, fetchMore } = rows
  useEffect(() => {
    if (more && !isFetchingMore && !error && last >= rows.rows.length - 20) fetchMore()
  }, [more, isFetchingMore, error, last, rows.rows.length, fetchMore])

  if (rows.isPending) return <Skeletons lines={8} height={rowHeight} />
  if (rows.error && rows.rows.length === 0) {
    return <ErrorPanel error={rows.error} what={`${label} could not be listed`} {...(props.affects && { affects: props.affects })} retry={rows.refetch} />
  }
  if (rows.rows.length === 0) return <>{props.empty}</>

  const keys = rows.rows.map(rowKey)
  const allSelected = selecting && keys.every((key) => selected.has(key))
  const toggle = (key: string) => {
    const next = new Set(selected)
    if (!next.delete(key)) next.add(key)
    onSelected?.(next)
  }
  const move = (event: KeyboardEvent<HTMLDivElement>, index: number) => {
    if (event.target !== event.currentTarget) return
    const row = rows.rows[index]
    if (event.key === 'Enter' && row !== undefined && onOpen) {
      event.preventDefault()
      onOpen(row)
    } else if (event.key === ' ' && selecting && row !== undefined) {
      event.preventDefault()
      toggle(rowKey(row))
    }
    const from = goal.current ?? index
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: rows.rows.length - 1 }[event.key]
    if (to === undefined || to < 0 || to >= rows.rows.length) return
    event.preventDefault()
    virtual.scrollToIndex(to)
    goal.current = to
    reach()
  }

  return (
    <Box
      ref={scroller}
      role="table"
      aria-label={label}
      aria-rowcount={more ? -1 : rows.rows.length + 1}
      tabIndex={-1}
      sx={{ flex: 1, minHeight: 0, overflow: 'auto', opacity: rows.isStale ? 0.6 : 1, outline: 'none' }}
    >
      <Box sx={{ minWidth: 'fit-content' }}>
        <Box role="rowgroup" sx={{ position: 'sticky', top: 0, zIndex: 2, bgcolor: 'background.paper', borderBottom: 1, borderColor: 'divider' }}>
          <Box role="row" aria-rowindex={1} sx={{ display: 'grid', gridTemplateColumns: tracks, alignItems: 'center', height: 36, px: 1 }}>
            {selecting && (
              <Box role="columnheader">
                <Checkbox
                  size="small"
                  checked={allSelected}
                  indeterminate={!allSelected && keys.some((key) => selected.has(key))}
                  onChange={() => onSelected(allSelected ? new Set() : new Set([...selected, ...keys]))}
                  slotProps={{ input: { 'aria-label': `Select all ${label.toLowerCase()} that are listed` } }}
                />
              </Box>
            )}
            {columns.map((column) => (
              <Head key={column.key} column={column} sort={sort} onSort={onSort} />
            ))}
          </Box>
        </Box>
        <Box role="rowgroup" sx={{ position: 'relative', height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows.rows[item.index]
            if (row === undefined) return null
            const key = rowKey(row)
            return (
              <Box
                key={key}
                role="row"
                aria-rowindex={item.index + 2}
                data-index={item.index}
                tabIndex={item.index === items[0]?.index ? 0 : -1}
                onKeyDown={(event) => move(event, item.index)}
                onClick={(event) => {
                  // Links, boxes and buttons in a row do their own; marking text opens nothing.
                  // A menu of a row hangs from it only for React.
                  const target = event.target as HTMLElement
                  if (!event.currentTarget.contains(target) || target.closest('a,button,input,label') || getSelection()?.toString()) return
                  onOpen?.(row)
                }}
                style={{ transform: `translateY(${item.start}px)`, height: item.size, gridTemplateColumns: tracks }}
                sx={{
                  position: 'absolute', top: 0, left: 0, right: 0, display: 'grid', alignItems: 'center', px: 1,
                  borderBottom: 1, borderColor: 'divider', cursor: onOpen ? 'pointer' : 'default',
                  bgcolor: selected?.has(key) ? 'action.selected' : undefined,
                  '&:hover': { bgcolor: 'action.hover' },
                  '&:focus-visible': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 },
                }}
              >
                {selecting && (
                  <Box role="cell">
                    <Checkbox size="small" checked={selected.has(key)} onChange={() => toggle(key)} slotProps={{ input: { 'aria-label': `Select ${key}` } }} />
                  </Box>
                )}
                {columns.map((column) => (
                  <Box key={column.key} role="cell" sx={{ px: 1, minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap', textAlign: column.align }}>
                    {column.render(row)}
                  </Box>
                ))}
              </Box>
            )
          })}
        </Box>
        {Boolean(error) && (
          <Box sx={{ p: 1.5, color: 'error.main' }}>
            The next rows could not be fetched. <Button onClick={fetchMore}>Retry</Button>
          </Box>
        )}
      </Box>
    </Box>
  )
}

function Head<R>({ column, sort, onSort }: { column: Column<R>; sort: string | undefined; onSort: ((sort: string) => void) | undefined }) {
  const up = sort === column.key
  const down = sort === `-${column.key}`
  const common = { fontSize: 12, fontWeight: 600, color: 'text.secondary' }
  const sorted = up ? 'ascending' : down ? 'descending' : 'none'
  return (
    <Box role="columnheader" {...(column.sorts && { 'aria-sort': sorted })} sx={{ px: 1, textAlign: column.align, minWidth: 0, ...common }}>
      {column.sorts && onSort ? (
        <ButtonBase onClick={() => onSort(up ? `-${column.key}` : column.key)} sx={{ font: 'inherit', verticalAlign: 'baseline', gap: 0.5, borderRadius: 0.5, '&:hover': { color: 'text.primary' } }}>
          {column.header}
          {up && <ArrowUpward sx={{ fontSize: 14 }} />}
          {down && <ArrowDownward sx={{ fontSize: 14 }} />}
        </ButtonBase>
      ) : column.quiet ? (
        <Box component="span" sx={visuallyHidden}>{column.header}</Box>
      ) : (
        column.header
      )}
    </Box>
  )
}
