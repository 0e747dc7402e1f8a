// What arrived before, sent through the present version once more: what that would do, and then doing it.
import { Alert, Box, Button, Dialog, DialogActions, DialogContent, DialogTitle, MenuItem, TextField } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { planReprocess, reprocess } from '../../api/flows'
import { asProblem } from '../../api/problem'
import { ErrorPanel, Skeletons } from '../../components/states'
import { count, many } from '../../lib/format'

const HOUR_MS = 3_600_000
const TIMES: readonly [words: string, ms: number | undefined][] = [['at any time', undefined], ['in the last hour', HOUR_MS], ['in the last 24 hours', 24 * HOUR_MS], ['in the last 7 days', 168 * HOUR_MS], ['in the last 30 days', 720 * HOUR_MS]]

export default function Reprocess({ flow, name, onClose }: { flow: string; name: string; onClose: () => void }) {
  const navigate = useNavigate()
  const [time, setTime] = useState(0)
  const [opened] = useState(() => Date.now())
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const over = TIMES[time]?.[1]
  const since = over === undefined ? null : opened - over
  const plan = useQuery({ queryKey: ['reprocess', flow, since], queryFn: () => planReprocess(flow, since), retry: false })
  const arrivals = plan.data?.arrivals ?? 0
  const go = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const run = await reprocess(flow, since)
      onClose()
      await navigate({ to: '/runs/$run', params: { run: String(run) } })
    } catch (problem) {
      setError(problem)
      setBusy(false)
    }
  }
  return (
    <Dialog open onClose={onClose} maxWidth="sm" fullWidth aria-labelledby="reprocess">
      <DialogTitle id="reprocess" sx={{ fontSize: 16 }}>Reprocess {name}</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.5, fontSize: 13 }}>
        <span>What arrived before goes through the present version once more. A result that differs is a new revision of its dataset; an equal one only adds to its history.</span>
        <TextField select label="What arrived" value={time} onChange={(event) => setTime(Number(event.target.value))} sx={{ mt: 0.5, width: 240 }}>
          {TIMES.map(([words], at) => <MenuItem key={words} value={at}>{words}</MenuItem>)}
        </TextField>
        {plan.error ? (
          <ErrorPanel error={plan.error} what="What it would do could not be told" retry={() => void plan.refetch()} />
        ) : !plan.data ? (
          <Skeletons lines={4} />
        ) : (
          <>
            <Box component="table" sx={{ borderCollapse: 'collapse', '& th, & td': { py: 0.5, pr: 2, textAlign: 'left', borderBottom: 1, borderColor: 'divider' }, '& th': { fontSize: 12, color: 'text.secondary', fontWeight: 600 }, '& .num': { textAlign: 'right' } }}>
              <thead><tr><th scope="col">Step</th><th scope="col">Kind</th><th scope="col" className="num">Works on</th><th scope="col" className="num">Remembered</th></tr></thead>
              <tbody>
                {plan.data.steps.map((step) => (
                  <tr key={step.processor}>
                    <td>{step.processor}</td>
                    <Box component="td" sx={{ color: 'text.secondary' }}>{step.kind}</Box>
                    <td className="num">{step.open ? 'not known' : `${step.exact ? '' : 'at most '}${count(step.runs)}`}</td>
                    <td className="num">{count(step.remembered)}</td>
                  </tr>
                ))}
              </tbody>
            </Box>
            {plan.data.gone > 0 && <Alert severity="warning" variant="outlined">{many(plan.data.gone, 'arrival')} can’t be sent in again: their bytes are no longer kept, or their ingest is gone.</Alert>}
            {arrivals === 0 && <Alert severity="info" variant="outlined">Nothing arrived {TIMES[time]?.[0]} that could be sent in again.</Alert>}
          </>
        )}
        {error !== undefined && <Alert severity="error" variant="outlined">{asProblem(error).message}{asProblem(error).hint && <div>{asProblem(error).hint}</div>}</Alert>}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button variant="contained" onClick={() => void go()} loading={busy} disabled={arrivals === 0}>{arrivals === 0 ? 'Send in again' : `Send ${many(arrivals, 'item')} in again`}</Button>
      </DialogActions>
    </Dialog>
  )
}
