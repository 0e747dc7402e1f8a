// One processor on the canvas: what it is, and how it goes, live.
import ErrorIcon from '@mui/icons-material/ErrorOutlined'
import { Box, ButtonBase } from '@mui/material'
import { Handle, Position, useStore, type Node, type NodeProps } from '@xyflow/react'
import { memo } from 'react'
import { useProcessorNumbers, useRate } from '../../../events/store'
import { CARD_WIDTH, cardHeight, showsPorts } from '../../../flow/layout'
import { KindIcon, subtitle } from '../../../flow/kinds'
import type { Step } from '../../../flow/model'
import { brief, count, duration, many } from '../../../lib/format'
import { Spark } from './Spark'

export type CardNode = Node<{ slug: string; step: Step; lane: number; errors: number; live: boolean; focusable: boolean; dimmed: boolean }, 'card'>

/** Below this zoom text cannot be read: a card is its name alone. */
const LEGIBLE = 0.45

const far = (state: { transform: [number, number, number] }) => state.transform[2] < LEGIBLE

export const Card = memo(function Card({ data, selected, isConnectable }: NodeProps<CardNode>) {
  const { step, lane } = data
  const small = useStore(far)
  const height = cardHeight(step)
  const ports = showsPorts(step)
  return (
    <Box
      data-card={step.id}
      role="button"
      aria-label={`${step.id}, ${subtitle(step)}${data.errors > 0 ? `, ${many(data.errors, 'error')}` : ''}`}
      aria-pressed={selected}
      tabIndex={data.focusable ? 0 : -1}
      sx={(theme) => {
        const colour = theme.vars.palette.lanes[lane % 4 as 0]
        return {
          width: CARD_WIDTH, height, position: 'relative', borderRadius: 1.25, bgcolor: 'background.paper', border: 1, fontSize: 12,
          borderColor: data.errors > 0 ? 'error.main' : selected ? 'primary.main' : 'divider', opacity: data.dimmed ? 0.45 : 1,
          boxShadow: selected ? `0 0 0 3px color-mix(in srgb, ${theme.vars.palette.primary.main} 22%, transparent)` : '0 1px 2px rgb(16 24 40 / 0.07)',
          '--lane': colour.main, '--lane-soft': colour.soft, cursor: 'pointer', outline: 'none',
          '&:focus-visible': { boxShadow: `0 0 0 2px ${theme.vars.palette.primary.main}` },
          '& .react-flow__handle': { width: 10, height: 10, border: '1.5px solid', borderColor: theme.vars.palette.canvas.edge, background: theme.vars.palette.background.paper },
          '& .react-flow__handle:hover, & .react-flow__handle.connectingto': { borderColor: theme.vars.palette.primary.main, background: theme.vars.palette.primary.main },
          // A larger place to grab than to see.
          '& .react-flow__handle::after': { content: '""', position: 'absolute', inset: -8 },
        }
      }}
    >
      {step.type !== 'ingest' && <Handle type="target" position={Position.Left} id="in" isConnectable={isConnectable} aria-label={`Input of ${step.id}`} />}
      {!ports && step.outputs.map((port) => <Handle key={port} type="source" position={Position.Right} id={port} isConnectable={isConnectable} aria-label={`Output of ${step.id}`} />)}
      {small ? (
        <Box sx={{ display: 'grid', placeItems: 'center', height: '100%', fontSize: 26, fontWeight: 650, bgcolor: 'var(--lane-soft)', borderRadius: 'inherit', px: 1, textAlign: 'center', overflow: 'hidden' }}>{step.id}</Box>
      ) : (
        <>
          <Box sx={{ display: 'flex', gap: 1, alignItems: 'center', px: 1, pt: 1 }}>
            <Box sx={{ width: 26, height: 26, borderRadius: 0.75, bgcolor: 'var(--lane-soft)', color: 'var(--lane)', display: 'grid', placeItems: 'center', flexShrink: 0 }}>
              <KindIcon type={step.type} sx={{ fontSize: 16 }} />
            </Box>
            <Box sx={{ minWidth: 0, flex: 1 }}>
              <Box sx={{ fontWeight: 650, fontSize: 13, lineHeight: 1.25, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }} title={step.description ?? step.id}>{step.id}</Box>
              <Box className="mono" sx={{ fontSize: 10.5, color: 'text.secondary', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{subtitle(step)}</Box>
            </Box>
            {data.errors > 0 && <ErrorIcon sx={{ fontSize: 16, color: 'error.main' }} titleAccess={many(data.errors, 'error')} />}
          </Box>
          {ports && (
            <Box sx={{ mt: 0.5 }}>
              {step.outputs.map((port) => (
                <Box key={port} sx={{ position: 'relative', height: 22, display: 'flex', alignItems: 'center', justifyContent: 'flex-end', pr: 1.25, color: 'text.secondary', fontSize: 11 }} className="mono">
                  {port}
                  <Handle type="source" position={Position.Right} id={port} isConnectable={isConnectable} aria-label={`Output ${port} of ${step.id}`} />
                </Box>
              ))}
            </Box>
          )}
          <Numbers slug={data.slug} step={step} live={data.live} />
        </>
      )}
    </Box>
  )
})

/** What the server counted since it started. Each card hears only of its own. */
function Numbers({ slug, step, live }: { slug: string; step: Step; live: boolean }) {
  const numbers = useProcessorNumbers(slug, step.id)
  const main = step.type === 'ingest' ? numbers?.out : numbers?.in
  const rate = useRate(slug, [step.id])
  return (
    <>
      {numbers && numbers.failed > 0 && (
        <ButtonBase
          className="nodrag"
          data-failed={step.id}
          tabIndex={-1}
          aria-label={`${many(numbers.failed, 'failed item')} of ${step.id}`}
          sx={{ position: 'absolute', top: -10, right: 10, height: 20, px: 0.9, gap: 0.4, borderRadius: 5, bgcolor: 'error.main', color: 'error.contrastText', fontSize: 11, fontWeight: 650 }}
        >
          <ErrorIcon sx={{ fontSize: 13 }} />
          {brief(numbers.failed)} failed
        </ButtonBase>
      )}
      <Box sx={{ position: 'absolute', left: 0, right: 0, bottom: 26, px: 1, display: 'flex', alignItems: 'baseline', gap: 0.75 }}>
        <Box component="span" className="num" sx={{ fontSize: 15, fontWeight: 650, color: numbers ? 'text.primary' : 'text.disabled' }}>{numbers ? count(main ?? 0) : '–'}</Box>
        <Box component="span" sx={{ fontSize: 11, color: 'text.secondary' }}>{numbers ? (step.type === 'ingest' ? 'taken in' : step.type === 'collect' ? 'collected' : 'items') : live ? 'nothing yet' : 'not enabled'}</Box>
        <Box sx={{ flex: 1 }} />
        {numbers && <Spark slug={slug} id={step.id} />}
      </Box>
      <Box className="num" sx={{ position: 'absolute', left: 0, right: 0, bottom: 0, height: 23, px: 1, display: 'flex', justifyContent: 'space-between', alignItems: 'center', borderTop: 1, borderColor: 'divider', fontSize: 11, color: 'text.secondary' }}>
        <span>{rate > 0 ? `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)}/s` : ''}</span>
        <span>{numbers && numbers.took_us > 0 ? duration(numbers.took_us) : ''}</span>
        <Box component="span" sx={{ color: numbers && numbers.waiting > 0 ? 'warning.main' : undefined, fontWeight: numbers && numbers.waiting > 0 ? 650 : undefined }}>
          {numbers ? `${brief(numbers.waiting)} waiting` : ''}
        </Box>
      </Box>
      {numbers && numbers.waiting > 0 && (
        // Logarithmic: ten is a third, a thousand all of it.
        <Box sx={{ position: 'absolute', left: 0, bottom: 0, height: 3, borderRadius: '0 2px 0 6px', bgcolor: 'warning.main' }} style={{ width: `${Math.min(100, (Math.log10(numbers.waiting + 1) / 3) * 100)}%` }} aria-hidden />
      )}
    </>
  )
}
