// How a revision came to be, step by step: what went in and came out, by which version, where, how long, what it logged.
import CallMade from '@mui/icons-material/SubdirectoryArrowRight'
import Person from '@mui/icons-material/PersonOutlined'
import { Alert, Box, Button, Link, Stack } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { Link as To } from '@tanstack/react-router'
import { useState } from 'react'
import type { Dataset, LogLine } from '../../api/types'
import { Bytes, Duration, Short, Time } from '../../components/bits'
import { ErrorPanel, Skeletons } from '../../components/states'
import { many } from '../../lib/format'
import { ItemPeek } from '../runs/ItemPeek'
import { Copied, FlowLink, KindChip, ResultChip } from './bits'
import { readHistory } from './data'
import { editOf } from './edits'
import type { History, WayStep } from './types'

export function HistoryView({ dataset }: { dataset: Dataset }) {
  const query = useQuery({ queryKey: ['history', dataset.id, dataset.revision], queryFn: ({ signal }) => readHistory(dataset.id, dataset.revision, signal) })
  const [item, setItem] = useState<string>()
  if (query.error) return <ErrorPanel error={query.error} what="Its history could not be read" retry={() => void query.refetch()} />
  if (!query.data) return <Skeletons lines={8} />
  return (
    <Box role="region" aria-label="History" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', p: 2 }}>
      <Came history={query.data} />
      <Box component="ol" sx={{ listStyle: 'none', m: 0, p: 0, maxWidth: 980 }}>
        {query.data.steps.map((step, at) => <Step key={at} flow={dataset.flow} step={step} before={query.data.steps[at - 1]} last={at === query.data.steps.length - 1} onItem={setItem} />)}
      </Box>
      <Confirmed history={query.data} />
      <ItemPeek item={item} onClose={() => setItem(undefined)} onItem={setItem} />
    </Box>
  )
}

function Came({ history: { origin } }: { history: History }) {
  return (
    <Box sx={{ mb: 2 }}>
      Came from <Box component="span" className="mono" sx={{ fontWeight: 600 }}>{origin.path}</Box>, <Bytes value={origin.size} />, <Copied value={origin.hash} what="Hash of the source" />, which arrived <Time value={origin.arrived} /> as {origin.arrival}
      <Box sx={{ color: 'text.secondary', fontSize: 12, wordBreak: 'break-word' }}>{origin.source}{origin.gone && <> · its bytes were let go <Time value={origin.gone} /></>}</Box>
    </Box>
  )
}

const BY_PERSON = ['retry', 'reprocess', 'edit']

function Step({ flow, step, before, last, onItem }: { flow: string; step: WayStep; before: WayStep | undefined; last: boolean; onItem: (item: string) => void }) {
  const person = BY_PERSON.includes(step.processor) || step.result === 'reentered'
  const edit = editOf(step.note)
  const renamed = before !== undefined && before.name !== step.name
  const changed = before === undefined || before.hash !== step.hash
  return (
    <Box component="li" sx={{ display: 'grid', gridTemplateColumns: '22px minmax(0, 1fr)', columnGap: 1 }}>
      <Box aria-hidden sx={{ display: 'flex', flexDirection: 'column', alignItems: 'center' }}>
        <Box sx={{ width: 11, height: 11, mt: 0.75, borderRadius: '50%', flexShrink: 0, border: 2, borderColor: person ? 'warning.main' : last ? 'success.main' : 'primary.main' }} />
        {!last && <Box sx={{ flex: 1, width: 2, bgcolor: 'divider', mt: 0.5 }} />}
      </Box>
      <Box sx={{ pb: 2.25 }}>
        <Stack direction="row" spacing={1} useFlexGap sx={{ alignItems: 'center', flexWrap: 'wrap' }}>
          {person ? (
            <Box sx={{ fontWeight: 600, display: 'flex', alignItems: 'center', gap: 0.5 }}><Person sx={{ fontSize: 18 }} />{step.processor} by {step.actor}</Box>
          ) : (
            <Box sx={{ fontWeight: 600 }}><FlowLink flow={flow} processor={step.processor} /></Box>
          )}
          <KindChip kind={step.kind} />
          <ResultChip result={step.result} />
          {step.port && <Box component="span" sx={{ color: 'text.secondary' }}>port {step.port}</Box>}
          {edit ? (
            <Box component="span">edited its input: <Copied value={edit.before} what="Hash before" /> became <Copied value={edit.after} what="Hash after" /></Box>
          ) : (
            step.note && <Box component="span" sx={{ color: 'text.secondary' }}>{step.note}</Box>
          )}
          <Box component="span" sx={{ ml: 'auto' }}><Duration us={step.took_us} /></Box>
        </Stack>
        <Stack direction="row" spacing={1} useFlexGap sx={{ mt: 0.25, fontSize: 12, color: 'text.secondary', flexWrap: 'wrap', alignItems: 'center' }}>
          <span><Time value={step.started} /></span>
          <span>version <Link component={To} to={`/flows/${encodeURIComponent(flow)}?version=${step.version}`} color="inherit" underline="always"><Short value={step.version} /></Link></span>
          <span>code <Short value={step.config} /></span>
          {step.environment && <span>{step.environment}</span>}
          <span>on {step.worker}</span>
          <span>OpenDMP {step.opendmp}</span>
          {!person && !['engine', 'source'].includes(step.actor) && <span>caused by {step.actor}</span>}
        </Stack>
        <Stack direction="row" spacing={1} useFlexGap sx={{ mt: 0.5, alignItems: 'center', flexWrap: 'wrap' }}>
          {before !== undefined && <Button onClick={() => onItem(step.input)} sx={{ minHeight: 24, minWidth: 0, py: 0, px: 0.75, ml: -0.75 }}>Input</Button>}
          {step.output !== undefined && <Button onClick={() => onItem(step.output ?? step.input)} sx={{ minHeight: 24, minWidth: 0, py: 0, px: 0.75, ml: -0.75 }}>{before === undefined ? 'Look at it' : 'Output'}</Button>}
          <CallMade sx={{ fontSize: 16, color: 'text.secondary' }} />
          {renamed && <span className="mono">{step.name}</span>}
          {changed ? <><Bytes value={step.size} /><Copied value={step.hash} what="Hash" /></> : <Box component="span" sx={{ color: 'text.secondary' }}>the same bytes</Box>}
        </Stack>
        {step.failed.length > 0 && (
          <Alert severity="warning" variant="outlined" sx={{ mt: 0.75, py: 0 }}>
            {many(step.failed.length, 'attempt')} before failed: {step.failed.join('; ')}
          </Alert>
        )}
        <Log lines={step.log} />
      </Box>
    </Box>
  )
}

/** Log lines that are shown at once; the rest opens. */
const FIRST_LINES = 3

export function Log({ lines }: { lines: LogLine[] }) {
  if (lines.length === 0) return null
  const line = ({ level, text }: LogLine, at: number) => (
    <div key={at}>
      <Box component="span" sx={{ display: 'inline-block', minWidth: 62, color: /error|critical/.test(level) ? 'error.main' : /warn/.test(level) ? 'warning.main' : 'text.secondary' }}>{level}</Box>
      {text}
    </div>
  )
  return (
    <Box className="mono" sx={{ mt: 0.75, px: 1.25, py: 0.75, bgcolor: 'background.default', borderRadius: 1, fontSize: 12, whiteSpace: 'pre-wrap', wordBreak: 'break-word' }}>
      {lines.slice(0, FIRST_LINES).map(line)}
      {lines.length > FIRST_LINES && (
        <details>
          <Box component="summary" sx={{ cursor: 'pointer', color: 'primary.main' }}>{many(lines.length - FIRST_LINES, 'more line')}</Box>
          {lines.slice(FIRST_LINES).map(line)}
        </details>
      )}
    </Box>
  )
}

function Confirmed({ history: { confirmed } }: { history: History }) {
  if (confirmed.length === 0) return null
  return (
    <Box sx={{ mt: 1 }}>
      Confirmed {many(confirmed.length, 'time')}: later runs gave the same bytes.
      <Box component="ul" sx={{ m: 0, mt: 0.5, pl: 3, fontSize: 13 }}>
        {confirmed.map((one, at) => <li key={at}><Time value={one.at} /> by version <Short value={one.version} /></li>)}
      </Box>
    </Box>
  )
}
