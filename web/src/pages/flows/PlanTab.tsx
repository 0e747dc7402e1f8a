// The run plan of the text as it is: what may run beside what, and what each step reads, gives and promises.
import { Alert, Box, Link, Typography } from '@mui/material'
import { EmptyState, Skeletons } from '../../components/states'
import { KindIcon } from '../../flow/kinds'
import { inputRef } from '../../flow/text'
import { useSessionState } from '../../flow/useSession'
import { many } from '../../lib/format'

const PROMISES = {
  by_construction: ['Deterministic', 'Equal items always give equal results: this kind cannot do otherwise.'],
  declared: ['Declared deterministic', 'Its author says that equal items always give equal results.'],
  unknown: ['Not known to be deterministic', 'Nobody says whether equal items give equal results.'],
} as const

export function PlanTab({ onOpen }: { onOpen: (id: string) => void }) {
  const plan = useSessionState((state) => state.plan)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const validated = useSessionState((state) => state.validated)
  const errors = diagnostics.filter((one) => one.severity === 'error').length
  if (!validated) return <Skeletons />
  if (!plan) return <EmptyState title="There is no plan yet">{errors > 0 ? `The flow has ${many(errors, 'error')}; the YAML tab says where.` : 'It has no processors.'}</EmptyState>
  const byId = new Map(plan.processors.map((one) => [one.id, one]))
  return (
    <Box sx={{ overflow: 'auto', height: '100%', p: 2 }} tabIndex={0} role="region" aria-label="Run plan">
      {errors > 0 && <Alert severity="warning" variant="outlined" sx={{ mb: 2 }}>The text has {many(errors, 'error')}; this is the plan of the last text that had none.</Alert>}
      <Typography sx={{ fontSize: 13, color: 'text.secondary', mb: 2 }}>
        Items come in at {plan.starts.join(', ') || 'nothing'}. Processors of one stage may run at the same time; phases never decide the order.
      </Typography>
      <Box component="ol" sx={{ m: 0, p: 0, listStyle: 'none', display: 'grid', gap: 1.5, maxWidth: 900 }}>
        {plan.order.map((stage, at) => (
          <Box component="li" key={at} sx={{ display: 'grid', gridTemplateColumns: '72px 1fr', gap: 1 }}>
            <Box sx={{ pt: 1, fontSize: 12, fontWeight: 600, color: 'text.secondary' }}>Stage {at + 1}</Box>
            <Box sx={{ display: 'grid', gap: 1, gridTemplateColumns: 'repeat(auto-fill, minmax(270px, 1fr))' }}>
              {stage.map((id) => {
                const one = byId.get(id)
                if (!one) return null
                const [promise, about] = PROMISES[one.deterministic] ?? PROMISES.unknown
                return (
                  <Box key={id} sx={{ border: 1, borderColor: 'divider', borderRadius: 1, p: 1.25, fontSize: 12.5 }}>
                    <Box sx={{ display: 'flex', gap: 1, alignItems: 'center', mb: 0.5 }}>
                      <KindIcon type={one.type} sx={{ fontSize: 17, color: 'text.secondary' }} />
                      <Link component="button" onClick={() => onOpen(id)} sx={{ fontWeight: 600, fontSize: 13 }}>{id}</Link>
                      <Box component="span" sx={{ color: 'text.secondary' }}>{one.type}{one.language && ` · ${one.language}`}</Box>
                    </Box>
                    {one.reads.length > 0 && <div>reads <span className="mono">{one.reads.map((read) => inputRef(read.processor, read.port)).join(', ')}</span></div>}
                    {one.outputs.length > 1 && <div>outputs <span className="mono">{one.outputs.join(', ')}</span></div>}
                    {one.place && <div>{one.role === 'collect' ? 'to' : 'from'} <span className="mono">{one.place}</span></div>}
                    {one.collection && <div>into {one.collection}</div>}
                    <Box title={about} sx={{ color: one.deterministic === 'unknown' ? 'text.secondary' : 'success.main' }}>{promise}</Box>
                  </Box>
                )
              })}
            </Box>
          </Box>
        ))}
      </Box>
    </Box>
  )
}
