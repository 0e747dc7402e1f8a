// The canvas as a list: for screen readers, for the keyboard, and for whoever likes lists.
import { Box, Button, Link } from '@mui/material'
import { useFlowNumbers } from '../../events/store'
import { KindIcon, subtitle } from '../../flow/kinds'
import { inputRef } from '../../flow/text'
import { useSession, useSessionState } from '../../flow/useSession'
import { count, duration, many } from '../../lib/format'
import { EmptyState } from '../../components/states'
import { laneNames } from './canvas/lanes'

export function ListView({ onOpen, onAdd }: { onOpen: (id: string) => void; onAdd: (lane: number) => void }) {
  const session = useSession()
  const model = useSessionState((state) => state.model)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const live = useFlowNumbers(session.slug)
  if (model.steps.length === 0) return <EmptyState title="No processors yet" actions={<Button variant="outlined" onClick={() => onAdd(0)}>Add a processor</Button>} />
  const names = laneNames(model, model.lanes)
  return (
    <Box sx={{ overflow: 'auto', height: '100%' }} tabIndex={0} role="region" aria-label="Processors as a list">
      <Box component="table" sx={{ borderCollapse: 'collapse', width: '100%', fontSize: 13, '& th, & td': { textAlign: 'left', px: 1.5, py: 0.75, borderBottom: 1, borderColor: 'divider', verticalAlign: 'top' }, '& thead th': { position: 'sticky', top: 0, bgcolor: 'background.paper', fontSize: 12, color: 'text.secondary', zIndex: 1 }, '& .n': { textAlign: 'right', fontVariantNumeric: 'tabular-nums' } }}>
        <thead>
          <tr>
            <th scope="col">Phase</th><th scope="col">Processor</th><th scope="col">Kind</th><th scope="col">Reads</th><th scope="col">Outputs</th>
            <th scope="col" className="n">In</th><th scope="col" className="n">Out</th><th scope="col" className="n">Failed</th><th scope="col" className="n">Waiting</th><th scope="col" className="n">Mean time</th>
          </tr>
        </thead>
        <tbody>
          {model.steps.toSorted((a, b) => a.lane - b.lane).map((step) => {
            const numbers = live?.processors[step.id]
            const errors = diagnostics.filter((one) => one.processor === step.id && one.severity === 'error').length
            return (
              <tr key={step.id}>
                <td>{step.lane + 1} · {names[step.lane]?.name}</td>
                <th scope="row">
                  <Link component="button" onClick={() => onOpen(step.id)} sx={{ fontWeight: 600, fontSize: 13 }}>{step.id}</Link>
                  {errors > 0 && <Box component="span" sx={{ color: 'error.main', ml: 1, fontWeight: 600 }}>{many(errors, 'error')}</Box>}
                  {step.description && <Box sx={{ fontWeight: 400, color: 'text.secondary', fontSize: 12 }}>{step.description}</Box>}
                </th>
                <td><Box sx={{ display: 'flex', gap: 0.75, alignItems: 'center' }}><KindIcon type={step.type} sx={{ fontSize: 16, color: 'text.secondary' }} />{subtitle(step)}</Box></td>
                <td className="mono">{step.inputs.map((input) => inputRef(input.from, input.port)).join(', ') || '–'}</td>
                <td className="mono">{step.outputs.join(', ') || '–'}</td>
                {(['in', 'out', 'failed', 'waiting'] as const).map((field) => <td key={field} className="n">{numbers ? count(numbers[field]) : '–'}</td>)}
                <td className="n">{numbers && numbers.took_us > 0 ? duration(numbers.took_us) : '–'}</td>
              </tr>
            )
          })}
        </tbody>
      </Box>
    </Box>
  )
}
