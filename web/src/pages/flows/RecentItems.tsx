// What went through lately, each with the time it spent in every processor, in the colour of its lane.
import ExpandLess from '@mui/icons-material/ExpandLess'
import ExpandMore from '@mui/icons-material/ExpandMore'
import { Box, IconButton, Stack, Typography } from '@mui/material'
import { memo, useMemo } from 'react'
import { AppLink } from '../../components/links'
import { useRecent, type Recent } from '../../events/store'
import type { FlowModel } from '../../flow/model'
import { clock, duration } from '../../lib/format'
import { useStored } from '../../lib/stored'

const SHOWN = 20
const WORDS = { collected: ['Collected', 'success.main'], unchanged: ['Unchanged', 'text.secondary'], dead: ['Failed', 'error.main'], dropped: ['Dropped', 'text.secondary'] } as const

export function RecentItems({ slug, model }: { slug: string; model: FlowModel }) {
  const recent = useRecent(slug)
  const [folded, setFolded] = useStored('opendmp-recent-folded')
  const open = folded === undefined
  const lanes = useMemo(() => new Map(model.steps.map((step) => [step.id, step.lane])), [model])
  return (
    <Box component="section" aria-label="Recent items" sx={{ borderTop: 1, borderColor: 'divider', bgcolor: 'background.paper', flexShrink: 0, display: 'flex', flexDirection: 'column', maxHeight: 190 }}>
      <Stack direction="row" spacing={1} sx={{ px: 2, minHeight: 38, alignItems: 'center' }}>
        <Typography variant="h3" component="h2">Recent items</Typography>
        <Typography variant="caption" sx={{ color: 'text.secondary' }}>time spent in each processor</Typography>
        <Box sx={{ flex: 1 }} />
        <AppLink to="/runs" search={{ flow: slug }} sx={{ fontSize: 13, fontWeight: 600 }}>Open runs</AppLink>
        <IconButton onClick={() => setFolded(open ? 'yes' : undefined)} aria-label={open ? 'Fold recent items' : 'Show recent items'} aria-expanded={open}>
          {open ? <ExpandMore fontSize="small" /> : <ExpandLess fontSize="small" />}
        </IconButton>
      </Stack>
      {open && (
        <Box sx={{ overflowY: 'auto', borderTop: 1, borderColor: 'divider' }} tabIndex={0} role="region" aria-label="List of recent items">
          {recent.length === 0 && <Box sx={{ px: 2, py: 1.5, color: 'text.secondary', fontSize: 13 }}>Nothing went through since this page was opened. Drop something into its inbox.</Box>}
          {recent.slice(0, SHOWN).map((one) => (
            <Row key={`${one.item} ${one.at}`} recent={one} lanes={lanes} />
          ))}
        </Box>
      )}
    </Box>
  )
}

const Row = memo(function Row({ recent, lanes }: { recent: Recent; lanes: Map<string, number> }) {
  const [word, colour] = WORDS[recent.result]
  const spent = recent.steps.reduce((total, step) => total + step.took_us, 0)
  const sum = Math.max(1, spent)
  return (
    <Box sx={{ display: 'grid', gridTemplateColumns: 'minmax(120px, 220px) 74px minmax(80px, 1fr) 80px 90px', gap: 1.5, alignItems: 'center', px: 2, height: 30, fontSize: 12.5, '&:hover': { bgcolor: 'action.hover' } }}>
      <AppLink to="/items/$item" params={{ item: recent.item }} className="mono" sx={{ overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }} title={recent.name}>{recent.name}</AppLink>
      <Box component="span" className="num" sx={{ color: 'text.secondary' }}>{clock(recent.at)}</Box>
      <Box sx={{ display: 'flex', gap: '2px', height: 9, borderRadius: 1, overflow: 'hidden', bgcolor: 'action.hover' }} aria-hidden>
        {recent.steps.map((step, at) => (
          <i
            key={at}
            title={`${step.processor}: ${duration(step.took_us)}`}
            style={{
              minWidth: 3, width: `${(step.took_us / sum) * 100}%`,
              backgroundColor: recent.result === 'dead' && step.processor === recent.processor ? 'var(--mui-palette-error-main)' : `var(--mui-palette-lanes-${(lanes.get(step.processor) ?? 0) % 4}-main)`,
            }}
          />
        ))}
      </Box>
      <Box component="span" className="num" sx={{ textAlign: 'right' }}>{duration(spent)}</Box>
      <Box component="span" sx={{ fontWeight: 650, color: colour }}>
        {recent.result === 'dead' ? (
          <AppLink to="/dead-letters" search={{ flow: recent.flow }} color="inherit" title={recent.note ?? undefined}>{word}</AppLink>
        ) : (
          word
        )}
      </Box>
    </Box>
  )
})
