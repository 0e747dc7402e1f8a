// The numbers of a run by processor, in the order of the flow, with the time that each took of the whole.
import { Box } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { readFlow } from '../../api/flows'
import type { Run, StepCounts } from '../../api/types'
import { Duration } from '../../components/bits'
import { count } from '../../lib/format'
import { FlowLink, KindChip } from '../datasets/bits'

const COUNTS = [
  ['done', 'In', 'went in and are done'],
  ['emitted', 'Out', 'came out'],
  ['remembered', 'Remembered', 'went in, and what came of them was remembered: nothing was done'],
  ['retried', 'Tried again', 'were handed back to be tried again'],
  ['dead', 'Failed', 'became dead letters'],
] as const

export function Processors({ run }: { run: Run }) {
  // Only for their order and kinds: without the flow, its names in order of the alphabet are enough.
  const flow = useQuery({ queryKey: ['flow', run.flow], queryFn: ({ signal }) => readFlow(run.flow, signal), retry: false, staleTime: 60_000 })
  const counts = run.processors ?? {}
  const plan = flow.data?.plan?.processors ?? []
  const known = plan.map((processor) => processor.id).filter((id) => id in counts)
  const ids = [...known, ...Object.keys(counts).filter((id) => !known.includes(id))]
  if (ids.length === 0) return null
  const most = Math.max(1, ...ids.map((id) => counts[id]?.took ?? 0))
  const shown = COUNTS.filter(([key]) => key === 'done' || key === 'emitted' || key === 'dead' || ids.some((id) => (counts[id]?.[key] ?? 0) > 0))
  return (
    <Box role="region" aria-label="Numbers by processor" tabIndex={0} sx={{ flexShrink: 0, maxHeight: '32vh', overflow: 'auto', borderBottom: 1, borderColor: 'divider' }}>
      <Box
        component="table"
        sx={{ width: '100%', borderCollapse: 'collapse', fontSize: 13, '& th, & td': { px: 2, py: 0.6, textAlign: 'left', whiteSpace: 'nowrap' }, '& thead th': { position: 'sticky', top: 0, bgcolor: 'background.paper', fontSize: 12, color: 'text.secondary', fontWeight: 600, zIndex: 1 }, '& .right': { textAlign: 'right' } }}
      >
        <thead>
          <tr>
            <th scope="col">Processor</th>
            {shown.map(([key, name, words]) => <th key={key} scope="col" className="right" title={words}>{name}</th>)}
            <th scope="col" className="right">Each</th>
            <th scope="col" className="right">Time</th>
            <Box component="th" scope="col" aria-hidden sx={{ width: '34%' }} />
          </tr>
        </thead>
        <tbody>
          {ids.map((id) => {
            const one: Partial<StepCounts> = counts[id] ?? {}
            const kind = plan.find((processor) => processor.id === id)?.type
            const took = one.took ?? 0
            return (
              <tr key={id}>
                <Box component="th" scope="row" sx={{ fontWeight: 500 }}><Box sx={{ display: 'flex', alignItems: 'center', gap: 0.75 }}><FlowLink flow={run.flow} processor={id} />{kind && <KindChip kind={kind} />}</Box></Box>
                {shown.map(([key]) => {
                  const value = one[key] ?? 0
                  return <Box component="td" key={key} className="right num" sx={{ color: value === 0 ? 'text.secondary' : key === 'dead' ? 'error.main' : undefined, fontWeight: value > 0 && key === 'dead' ? 600 : 400 }}>{count(value)}</Box>
                })}
                <td className="right">{one.done ? <Duration us={took / one.done} /> : '–'}</td>
                <td className="right"><Duration us={took} /></td>
                <td aria-hidden><Box sx={{ height: 8, borderRadius: 1, bgcolor: 'primary.main', minWidth: took > 0 ? 2 : 0 }} style={{ width: `${(100 * took) / most}%` }} /></td>
              </tr>
            )
          })}
        </tbody>
      </Box>
    </Box>
  )
}
