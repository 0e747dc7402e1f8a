// How a flow does, in a line of numbers, each of which leads to what it counts.
import { Box } from '@mui/material'
import type { ReactNode } from 'react'
import { AppLink } from '../../components/links'
import { useFlowNumbers, useRate } from '../../events/store'
import type { FlowModel } from '../../flow/model'
import { count } from '../../lib/format'

export function Health({ slug, model, deadLetters, outstanding }: { slug: string; model: FlowModel; deadLetters: number; outstanding: number }) {
  const live = useFlowNumbers(slug)
  const of = (type: string, field: 'in' | 'out') =>
    model.steps.filter((step) => step.type === type).reduce((sum, step) => sum + (live?.processors[step.id]?.[field] ?? 0), 0)
  const waiting = Object.values(live?.processors ?? {}).reduce((sum, one) => sum + one.waiting, 0)
  const rate = useRate(slug, model.steps.filter((step) => step.type === 'ingest').map((step) => step.id))
  const letters = live?.dead_letters ?? deadLetters
  return (
    <Box component="dl" sx={{ m: 0, display: 'flex', borderBottom: 1, borderColor: 'divider', bgcolor: 'background.paper', flexShrink: 0, overflowX: 'auto' }}>
      <Figure label="Taken in" title="Since the server started">{live ? count(of('ingest', 'out')) : '–'}</Figure>
      <Figure label="Throughput" title="Items taken in, over the last ten seconds">{rate > 0 ? `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)} items/s` : 'quiet'}</Figure>
      <Figure label="Under way" title="Items and exports that are not done"><AppLink to="/runs" search={{ flow: slug }} color="inherit">{count(live?.outstanding ?? outstanding)}</AppLink></Figure>
      <Figure label="Waiting" title="Items that wait for a processor">{live ? count(waiting) : '–'}</Figure>
      <Figure label="Collected" title="Since the server started"><AppLink to="/datasets" search={{ flow: slug }} color="inherit">{live ? count(of('collect', 'in')) : '–'}</AppLink></Figure>
      <Figure label="Dead letters" title="Items that failed and wait for a person" last>
        <AppLink to="/dead-letters" search={{ flow: slug }} sx={{ color: letters > 0 ? 'error.main' : 'inherit' }}>{count(letters)}</AppLink>
      </Figure>
    </Box>
  )
}

function Figure({ label, title, children, last = false }: { label: string; title: string; children: ReactNode; last?: boolean }) {
  return (
    <Box title={title} sx={{ px: 2, py: 0.75, flex: 1, minWidth: 106, borderRight: last ? 0 : 1, borderColor: 'divider' }}>
      <Box component="dt" sx={{ fontSize: 11.5, color: 'text.secondary', whiteSpace: 'nowrap' }}>{label}</Box>
      <Box component="dd" className="num" sx={{ m: 0, fontSize: 15.5, fontWeight: 650, lineHeight: 1.3, whiteSpace: 'nowrap' }}>{children}</Box>
    </Box>
  )
}
