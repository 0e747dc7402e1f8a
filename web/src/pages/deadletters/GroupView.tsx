// The letters of a group beside the one that is open. Without a group: one letter alone.
import { Box, ButtonBase } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useRef } from 'react'
import { Time } from '../../components/bits'
import { useRows, type Rows } from '../../components/ServerTable'
import { EmptyState, ErrorPanel, Skeletons } from '../../components/states'
import { bytes, many } from '../../lib/format'
import { useCommands } from '../../shell/commands'
import { listLetters, readLetter, type DeadLetter, type Group } from './data'
import type { Act } from './DeadLettersPage'
import { LetterView } from './LetterView'
import type { LettersSearch } from './search'

interface Props {
  search: LettersSearch
  /** What is known of the group; undefined: nothing is left in it. */
  group: Group | undefined
  onLetter: (letter: string) => void
  act: Act
}

export function GroupView({ search, group, onLetter, act }: Props) {
  const rows = useRows(
    ['letters', 'of', search.group],
    (after, signal) => (search.group === undefined ? Promise.resolve({ rows: [], next: null }) : listLetters({ group: search.group, limit: 200, after }, signal)),
  )
  const shown = search.letter ?? rows.rows[0]?.id
  const at = rows.rows.findIndex((letter) => letter.id === shown)
  const step = (by: number) => {
    const next = rows.rows[at + by]
    if (next) onLetter(next.id)
  }
  const letter = useQuery<DeadLetter>({
    queryKey: ['letters', 'one', shown],
    queryFn: ({ signal }) => readLetter(shown ?? '', signal),
    enabled: shown !== undefined,
    placeholderData: () => rows.rows[at],
  })
  const name = letter.data?.item.name ?? ''
  useCommands(
    letter.data?.state === 'open'
      ? [
          { id: 'retry', label: `Retry ${name}`, group: 'Dead letter', keys: 'r', run: () => act.retry({ ids: [letter.data?.id ?? ''] }) },
          { id: 'previous', label: 'Previous dead letter', group: 'Dead letter', keys: '[', run: () => step(-1) },
          { id: 'next', label: 'Next dead letter', group: 'Dead letter', keys: ']', run: () => step(1) },
        ]
      : [],
  )
  if (search.group !== undefined && rows.isPending) return <Skeletons lines={8} />
  if (rows.error && rows.rows.length === 0) return <ErrorPanel error={rows.error} what="The letters could not be listed" affects="They stay where they are." retry={rows.refetch} />
  if (shown === undefined) return <EmptyState title="Nothing is left of this error">What was in this group is retried or discarded.</EmptyState>
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex' }}>
      {search.group !== undefined && rows.rows.length > 0 && <LetterList rows={rows} shown={shown} group={group} onLetter={onLetter} />}
      {letter.error ? (
        <ErrorPanel error={letter.error} what="The dead letter could not be read" retry={() => void letter.refetch()} />
      ) : letter.data ? (
        <LetterView
          key={letter.data.id}
          letter={letter.data}
          busy={act.busy}
          onRetried={(retried) => act.retried([retried])}
          onRetry={() => act.retry({ ids: [shown] })}
          onDiscard={() => act.discard({ which: { ids: [shown] }, count: 1, words: name })}
        />
      ) : (
        <Box sx={{ flex: 1 }}><Skeletons lines={8} /></Box>
      )}
    </Box>
  )
}

const ROW = 52

function LetterList({ rows, shown, group, onLetter }: { rows: Rows<DeadLetter>; shown: string; group: Group | undefined; onLetter: (letter: string) => void }) {
  const scroller = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({ count: rows.rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 8 })
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  const { more, isFetchingMore, fetchMore } = rows
  useEffect(() => {
    if (more && !isFetchingMore && last >= rows.rows.length - 10) fetchMore()
  }, [more, isFetchingMore, last, rows.rows.length, fetchMore])
  return (
    <Box component="nav" aria-label="Dead letters of this error" sx={{ width: 280, flexShrink: 0, display: 'flex', flexDirection: 'column', borderRight: 1, borderColor: 'divider', '@media (max-width: 900px)': { width: 200 } }}>
      <Box className="num" sx={{ px: 2, py: 1, fontSize: 12, color: 'text.secondary', borderBottom: 1, borderColor: 'divider' }}>{group ? many(group.count, 'dead letter') : many(rows.rows.length, 'dead letter')}</Box>
      <Box ref={scroller} sx={{ flex: 1, minHeight: 0, overflow: 'auto' }}>
        <Box component="ul" sx={{ position: 'relative', m: 0, p: 0, listStyle: 'none' }} style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const letter = rows.rows[item.index]
            if (!letter) return null
            const here = letter.id === shown
            return (
              <Box component="li" key={letter.id} sx={{ position: 'absolute', top: 0, left: 0, right: 0 }} style={{ transform: `translateY(${item.start}px)`, height: ROW }}>
                <ButtonBase
                  onClick={() => onLetter(letter.id)}
                  aria-current={here ? 'true' : undefined}
                  sx={{ width: '100%', height: '100%', px: 2, display: 'block', textAlign: 'left', borderBottom: 1, borderColor: 'divider', bgcolor: here ? 'action.selected' : undefined, '&:hover': { bgcolor: 'action.hover' }, '&:focus-visible': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}
                >
                  <Box title={letter.item.name} sx={{ fontSize: 13, fontWeight: here ? 600 : 500, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{letter.item.name}</Box>
                  <Box sx={{ fontSize: 12, color: 'text.secondary' }}><Time value={letter.failed} /> · {bytes(letter.item.size)}</Box>
                </ButtonBase>
              </Box>
            )
          })}
        </Box>
      </Box>
    </Box>
  )
}
