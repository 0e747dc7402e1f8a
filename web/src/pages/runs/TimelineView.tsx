// The steps of a run as bars in time, in the order in which they began.
import { Box, Button, Stack } from '@mui/material'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef } from 'react'
import type { Run } from '../../api/types'
import { EmptyState, ErrorPanel, Skeletons } from '../../components/states'
import { clock, count, duration } from '../../lib/format'
import { barsOf, ticks } from './steps'
import { useSteps } from './useSteps'

const ROW = 26
/** The width of names; the rest is time. */
const NAMES = 330

export function TimelineView({ run, onItem }: { run: Run; onItem: (item: string) => void }) {
  const steps = useSteps(run)
  const { bars, begin, end } = useMemo(() => barsOf(steps.rows), [steps.rows])
  // Processors get the colours of the lanes in turn, in the order in which they first worked.
  const lanes = useMemo(() => new Map([...new Set(bars.map((bar) => bar.step.processor))].map((processor, at) => [processor, at % 4])), [bars])
  const scroller = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({ count: bars.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 15 })
  if (steps.isPending) return <Skeletons lines={8} />
  if (steps.error && steps.rows.length === 0) return <ErrorPanel error={steps.error} what="The steps of the run could not be listed" affects="The run itself goes on." retry={steps.refetch} />
  if (bars.length === 0) return <EmptyState title="Nothing was done yet">The steps of this run appear here as they are done.</EmptyState>
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
      <Box ref={scroller} role="region" aria-label="Steps in time" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', '&:focus-visible': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}>
        <Box aria-hidden sx={{ position: 'sticky', top: 0, zIndex: 1, height: 28, bgcolor: 'background.paper', borderBottom: 1, borderColor: 'divider', display: 'flex', fontSize: 12, color: 'text.secondary' }}>
          <Box sx={{ width: NAMES, flexShrink: 0, px: 2, lineHeight: '28px' }}>from {clock(begin)}</Box>
          <Box sx={{ position: 'relative', flex: 1, mr: 3 }}>
            {ticks(end - begin).map((at) => (
              <Box key={at} className="num" sx={{ position: 'absolute', top: 0, lineHeight: '28px', pl: 0.5, borderLeft: 1, borderColor: 'divider', whiteSpace: 'nowrap' }} style={{ left: `${(100 * at) / (end - begin)}%` }}>{at === 0 ? '0' : duration(at * 1000)}</Box>
            ))}
          </Box>
        </Box>
        <Box component="ol" sx={{ position: 'relative', m: 0, p: 0, listStyle: 'none' }} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((row) => {
            const bar = bars[row.index]
            if (!bar) return null
            const { step } = bar
            const dead = step.result === 'dead'
            return (
              <Box component="li" key={row.key} sx={{ position: 'absolute', top: 0, left: 0, right: 0, height: ROW, display: 'flex', alignItems: 'center', '&:hover': { bgcolor: 'action.hover' } }} style={{ transform: `translateY(${row.start}px)` }}>
                <Button onClick={() => onItem(step.input.id)} color="inherit" sx={{ width: NAMES, flexShrink: 0, px: 2, minHeight: 24, py: 0, justifyContent: 'flex-start', fontWeight: 400, fontSize: 12.5, textAlign: 'left' }}>
                  <Box component="span" sx={{ fontWeight: 600, mr: 1, flexShrink: 0 }}>{step.processor}</Box>
                  <Box component="span" sx={{ color: 'text.secondary', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{step.input.name}</Box>
                </Button>
                <Box sx={{ position: 'relative', flex: 1, mr: 3, height: '100%' }}>
                  <Box
                    title={`${step.processor}, ${step.input.name}: ${duration(step.took_us)}, ${step.result}`}
                    sx={(theme) => ({ position: 'absolute', top: 8, height: 10, minWidth: 3, borderRadius: 0.5, bgcolor: dead ? 'error.main' : theme.vars.palette.lanes[(lanes.get(step.processor) ?? 0) as 0 | 1 | 2 | 3].main })}
                    style={{ left: `${100 * bar.from}%`, width: `${100 * (bar.to - bar.from)}%` }}
                  />
                  <Box component="span" className="num" sx={{ position: 'absolute', fontSize: 11, lineHeight: `${ROW}px`, color: dead ? 'error.main' : 'text.secondary', px: 0.75, whiteSpace: 'nowrap' }} style={bar.to < 0.85 ? { left: `calc(${100 * bar.to}% + 3px)` } : { right: `${100 * (1 - bar.from)}%` }}>
                    {duration(step.took_us)}{dead && ' failed'}
                  </Box>
                </Box>
              </Box>
            )
          })}
        </Box>
      </Box>
      {steps.more && (
        <Stack direction="row" spacing={1} sx={{ px: 2, py: 0.75, alignItems: 'center', borderTop: 1, borderColor: 'divider', fontSize: 12, color: 'text.secondary' }}>
          <span>The first {count(bars.length)} steps are shown.</span>
          <Button onClick={steps.fetchMore} loading={steps.isFetchingMore}>Fetch more</Button>
        </Stack>
      )}
    </Box>
  )
}
