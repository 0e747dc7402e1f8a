// What came of a try-out: in a word, then what came out beside what went in, the log, and the failure.
import { Alert, Box, Button, Chip, Stack, Tab, Tabs, Typography } from '@mui/material'
import { lazy, Suspense, useState, type ReactNode } from 'react'
import { uploadContent } from '../api/flows'
import type { Attributes, Tried, TriedOutput } from '../api/types'
import { Bytes } from '../components/bits'
import { Skeletons } from '../components/states'
import { duration, many } from '../lib/format'
import type { Chosen } from './sample'
import { lineOfFault } from './traceback'

const Preview = lazy(() => import('../preview/Preview').then((module) => ({ default: module.Preview })))
const TextDiff = lazy(() => import('../components/code/TextDiff'))

const WORDS: Record<Tried['outcome'], [string, 'success' | 'error' | 'warning' | 'info']> = {
  emitted: ['Done', 'success'],
  dropped: ['Dropped: nothing goes on from here', 'info'],
  rejected: ['Rejected: the item is at fault', 'error'],
  retry: ['Would be tried again later', 'warning'],
  failed: ['Failed', 'error'],
  held: ['Held: the aggregate waits for more', 'info'],
  collected: ['Would be collected', 'success'],
}

export interface OutcomeProps {
  tried: Tried
  /** Given where an output can become the next processor's sample. */
  onUse?: (chosen: Chosen) => void
  useLabel?: string
}

export function Outcome({ tried, onUse, useLabel = 'Use as sample' }: OutcomeProps) {
  const [word, tone] = WORDS[tried.outcome]
  const [which, setWhich] = useState(0)
  const [view, setView] = useState<'output' | 'diff' | 'input' | 'log'>('output')
  const output = tried.outputs[Math.min(which, tried.outputs.length - 1)]
  const comparable = output?.preview != null && tried.input.preview != null
  const shown = view === 'output' && !output ? (tried.log.length > 0 ? 'log' : 'input') : view === 'diff' && !comparable ? 'output' : view
  return (
    <Stack sx={{ minHeight: 0, flex: 1 }}>
      <Stack direction="row" spacing={1} sx={{ px: 1.5, pt: 0.75, pb: 0.25, alignItems: 'center', flexWrap: 'wrap', flexShrink: 0 }} useFlexGap role="status">
        <Chip color={tone} label={word} sx={{ fontWeight: 600 }} />
        <Typography variant="caption" sx={{ color: 'text.secondary' }}>
          {duration(tried.took_us)}
          {tried.outputs.length > 0 && ` · ${many(tried.outputs.length, 'output')}${tried.more ? ', and more that are not shown' : ''}`}
          {tried.collected && ` · into ${tried.collected.collection}${tried.collected.target ? `, and written to ${tried.collected.target}` : ''}`}
          {tried.after_ms != null && ` · again after ${duration(tried.after_ms * 1000)}`}
          {tried.note && ` · ${tried.note}`}
        </Typography>
      </Stack>
      {tried.fault && (
        <Alert severity={tone === 'warning' ? 'warning' : 'error'} variant="outlined" sx={{ mx: 1.5, mt: 0.5, mb: 0.5, py: 0, flexShrink: 0, '& .MuiAlert-message': { minWidth: 0, width: '100%' } }}>
          <Box sx={{ fontWeight: 600, wordBreak: 'break-word' }}>
            {tried.fault.message}
            {lineOfFault(tried.fault) !== undefined && ` (line ${lineOfFault(tried.fault)})`}
          </Box>
          {tried.fault.hint && <Box sx={{ mt: 0.5 }}>{tried.fault.hint}</Box>}
          {tried.fault.traceback && (
            <Box component="pre" tabIndex={0} aria-label="Traceback" sx={{ m: 0, mt: 1, fontSize: 11.5, maxHeight: 130, overflow: 'auto', whiteSpace: 'pre-wrap', wordBreak: 'break-word' }}>
              {tried.fault.traceback}
            </Box>
          )}
        </Alert>
      )}
      <Tabs value={shown} onChange={(_, next: typeof view) => setView(next)} aria-label="What came of it" sx={{ px: 0.5, borderBottom: 1, borderColor: 'divider', flexShrink: 0, minHeight: 34, '& .MuiTab-root': { minHeight: 34, py: 0.5 } }}>
        {output && <Tab value="output" label={tried.outputs.length > 1 ? `Outputs ${tried.outputs.length}` : 'Output'} />}
        {comparable && <Tab value="diff" label="Changes" />}
        <Tab value="input" label="Input" />
        {tried.log.length > 0 && <Tab value="log" label={`Log ${tried.log.length}`} />}
      </Tabs>
      {(shown === 'output' || shown === 'diff') && tried.outputs.length > 1 && (
        <Stack direction="row" spacing={0.5} useFlexGap tabIndex={0} role="group" aria-label="Which output" sx={{ px: 1, py: 0.75, overflowX: 'auto', flexShrink: 0, '& > *': { flexShrink: 0 } }}>
          {tried.outputs.map((one, at) => (
            <Chip
              key={at}
              clickable
              variant={at === which ? 'filled' : 'outlined'}
              color={at === which ? 'primary' : 'default'}
              label={one.port && one.port !== 'out' ? `${one.port} · ${one.name}` : one.name}
              onClick={() => setWhich(at)}
            />
          ))}
        </Stack>
      )}
      <Box sx={{ flex: 1, minHeight: 120, overflow: 'auto' }}>
        <Suspense fallback={<Skeletons lines={4} />}>
          {shown === 'output' && output && (
            <Piece head={<OutputHead output={output} onUse={onUse} useLabel={useLabel} />}>
              <Preview content={{ url: uploadContent(output.upload), name: output.name, size: output.size, mediaType: output.media_type ?? null }} />
            </Piece>
          )}
          {shown === 'diff' && output && <TextDiff before={tried.input.preview ?? ''} after={output.preview ?? ''} label="Input beside output" />}
          {shown === 'input' && (
            <Piece head={<About name={tried.input.name} size={tried.input.size} attributes={tried.input.attributes} />}>
              {tried.input.upload != null ? (
                <Preview content={{ url: uploadContent(tried.input.upload), name: tried.input.name, size: tried.input.size, mediaType: tried.input.media_type ?? null }} />
              ) : (
                <Box component="pre" sx={{ m: 0, p: 1.5, fontSize: 12, overflow: 'auto' }}>{tried.input.preview ?? 'Not text.'}</Box>
              )}
            </Piece>
          )}
          {shown === 'log' && (
            <Box component="ol" tabIndex={0} aria-label="Log" className="mono" sx={{ m: 0, p: 1.5, listStyle: 'none', fontSize: 12 }}>
              {tried.log.map((line, at) => (
                <Box component="li" key={at} sx={{ whiteSpace: 'pre-wrap', wordBreak: 'break-word', color: /warn/.test(line.level) ? 'warning.main' : /err/.test(line.level) ? 'error.main' : undefined }}>
                  {line.text}
                </Box>
              ))}
            </Box>
          )}
        </Suspense>
      </Box>
    </Stack>
  )
}

function Piece({ head, children }: { head: ReactNode; children: ReactNode }) {
  return (
    <Stack sx={{ height: '100%' }}>
      {head}
      <Box sx={{ flex: 1, minHeight: 0, overflow: 'auto' }}>{children}</Box>
    </Stack>
  )
}

function About({ name, size, attributes }: { name: string; size: number; attributes: Attributes }) {
  return (
    <Stack direction="row" spacing={1} useFlexGap sx={{ px: 1.5, py: 0.75, alignItems: 'center', flexWrap: 'wrap', fontSize: 12, color: 'text.secondary', minWidth: 0 }}>
      <Box component="span" className="mono" sx={{ color: 'text.primary', wordBreak: 'break-all' }}>{name}</Box>
      <Bytes value={size} />
      {Object.entries(attributes).map(([key, value]) => (
        <Box component="span" key={key} className="mono">{key}={String(value)}</Box>
      ))}
    </Stack>
  )
}

function OutputHead({ output, onUse, useLabel }: { output: TriedOutput; onUse: OutcomeProps['onUse']; useLabel: string }) {
  return (
    <Stack direction="row" sx={{ alignItems: 'center', borderBottom: 1, borderColor: 'divider', pr: 1 }}>
      <About name={output.name} size={output.size} attributes={output.attributes} />
      <Box sx={{ flex: 1 }} />
      {onUse && (
        <Button sx={{ flexShrink: 0 }} onClick={() => onUse({ sample: { upload: output.upload }, name: output.name, size: output.size, from: 'output' })}>{useLabel}</Button>
      )}
    </Stack>
  )
}
