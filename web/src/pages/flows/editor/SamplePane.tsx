// What a processor is tried on, and what came of it. Running takes the text as it is on the page, saved or not, and
// changes nothing outside.
import PlayArrow from '@mui/icons-material/PlayArrow'
import Stop from '@mui/icons-material/Stop'
import { Alert, Box, Button, Chip, Menu, MenuItem, Stack, TextField, Typography } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useRef, useState, type RefObject } from 'react'
import { ask, get } from '../../../api/client'
import { pastItems, upload } from '../../../api/flows'
import type { Dataset, DeadLetter, Page } from '../../../api/types'
import { Keys } from '../../../components/bits'
import { toast, toastProblem } from '../../../components/toast'
import { changesOf } from '../../../flow/changes'
import type { Step } from '../../../flow/model'
import { useSession, useSessionState } from '../../../flow/useSession'
import { bytes, when } from '../../../lib/format'
import { keyNames, useCommands } from '../../../shell/commands'
import { DropZone } from '../../../try/DropZone'
import { Outcome } from '../../../try/Outcome'
import { ProblemNote } from '../../../try/ProblemNote'
import { readSample, writeSample, type Chosen } from '../../../try/sample'
import type { useTry } from '../../../try/useTry'

export interface SamplePaneProps {
  step: Step
  named: string | undefined
  attempt: ReturnType<typeof useTry>
  /** Set to what Ctrl Enter in the code does. */
  run: RefObject<(() => void) | undefined>
  onNext: (id: string, sample: string | undefined) => void
}

export function SamplePane({ step, named, attempt, run, onNext }: SamplePaneProps) {
  const session = useSession()
  const model = useSessionState((state) => state.model)
  const flow = useSessionState((state) => state.flow)
  const [chosen, setChosen] = useState<Chosen | undefined>(() => readSample(named))
  const [text, setText] = useState<string>()
  const [asking, setAsking] = useState(false)
  const { running, tried, problem, stop } = attempt
  // A step that is new has had nothing yet: what came out of those that it reads is what would go in.
  const works = (id: string) => flow?.plan?.processors.some((one) => one.id === id) ?? false
  const behind = works(step.id) ? undefined : step.inputs.find((input) => works(input.from))?.from
  const recents = useQuery({
    queryKey: ['recent', session.slug, step.id, behind],
    queryFn: ({ signal }) => (behind === undefined ? pastItems(session.slug, step.id, 'in', signal) : pastItems(session.slug, behind, 'out', signal)),
    enabled: works(step.id) || behind !== undefined,
    retry: false,
  })
  const letter = useQuery({
    queryKey: ['dead-letter', named],
    queryFn: ({ signal }) => get<DeadLetter>(`/dead-letters/${encodeURIComponent(named?.replace('dead_letter:', '') ?? '')}`, {}, signal),
    enabled: named?.startsWith('dead_letter:') ?? false,
    retry: false,
  })

  // Another step, or another link: its own sample.
  const [known, setKnown] = useState({ step: step.id, named })
  if (known.step !== step.id || known.named !== named) {
    setKnown({ step: step.id, named })
    const next = readSample(named)
    if (next || known.step !== step.id) {
      setChosen(next)
      setText(undefined)
    }
  }
  // The newest item that went in, where nothing is chosen.
  const newest = recents.data?.rows[0]
  const current: Chosen | undefined =
    text !== undefined
      ? { sample: { text, name: 'sample.txt' }, name: 'sample.txt', from: 'text' }
      : (chosen ?? (newest && { sample: { item: newest.item }, name: newest.name, size: newest.size, from: 'recent item' }))
  // Of what is known only by its id the name is told once it was tried.
  const name = letter.data && current && 'dead_letter' in current.sample ? letter.data.item.name : current && tried ? tried.input.name : current?.name

  const go = () => {
    if (!current || running) return
    const { content } = session.get()
    void attempt.run({ text: content.text, files: content.files, processor: step.id, sample: current.sample })
  }
  useEffect(() => {
    run.current = go
  })
  const pick = (next: Chosen) => {
    setText(undefined)
    setChosen(next)
    attempt.clear()
  }
  const shift = (by: number) => {
    const rows = recents.data?.rows ?? []
    const id = current && 'item' in current.sample ? current.sample.item : undefined
    const at = rows.findIndex((row) => row.item === id)
    const row = rows[Math.min(rows.length - 1, Math.max(0, at + by))]
    if (row) pick({ sample: { item: row.item }, name: row.name, size: row.size, from: 'recent item' })
  }
  useCommands([
    { id: 'run', label: `Run ${step.id} on the sample`, group: 'Processor', keys: 'Mod+Enter', inFields: true, run: go },
    { id: 'next-sample', label: 'Next recent item as the sample', group: 'Processor', keys: ']', run: () => shift(1) },
    { id: 'previous-sample', label: 'Previous recent item as the sample', group: 'Processor', keys: '[', run: () => shift(-1) },
  ])
  const take = async ([file]: File[]) => {
    if (!file) return
    try {
      const { upload: id, size } = await upload(file, file.name)
      pick({ sample: { upload: id }, name: file.name, size, from: 'upload' })
    } catch (error) {
      toastProblem(`${file.name} could not be uploaded`, error)
    }
  }
  const readers = model.edges.filter((edge) => edge.from === step.id)
  return (
    <Stack
      component="section"
      aria-label="Sample"
      sx={{ minHeight: 0, borderTop: 1, borderColor: 'divider' }}
      onDragOver={(event) => event.dataTransfer.types.includes('Files') && event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault()
        void take([...event.dataTransfer.files])
      }}
    >
      <Stack direction="row" spacing={1} sx={{ px: 1.5, minHeight: 42, alignItems: 'center', bgcolor: 'background.default', borderBottom: 1, borderColor: 'divider' }}>
        <Typography variant="h3" component="h2">Sample</Typography>
        <Picker step={step} current={current} name={name} recents={recents.data?.rows ?? []} onPick={pick} onText={() => setText((now) => now ?? '')} onFile={(files) => void take(files)} open={asking} onOpen={setAsking} />
        <Box sx={{ flex: 1 }} />
        <Box sx={{ '@media (max-width: 1000px)': { display: 'none' } }}><Keys names={keyNames('Mod+Enter')} /></Box>
        {running ? (
          <Button variant="outlined" startIcon={<Stop />} onClick={stop}>Stop</Button>
        ) : (
          <Button variant="contained" startIcon={<PlayArrow />} onClick={go} disabled={!current}>Run</Button>
        )}
      </Stack>
      {text !== undefined && (
        <TextField
          multiline minRows={2} maxRows={5} autoFocus value={text} onChange={(event) => setText(event.target.value)} placeholder="Text that goes in" sx={{ p: 1 }}
          slotProps={{ htmlInput: { 'aria-label': 'Sample text', spellCheck: false, className: 'mono' } }}
        />
      )}
      {letter.data && letter.data.state === 'open' && <LetterNote letter={letter.data} fixed={tried?.outcome === 'emitted'} again={tried?.fault?.message === letter.data.fault.message} />}
      <Stack sx={{ flex: 1, minHeight: 0, overflow: 'auto', opacity: running ? 0.6 : 1 }} aria-busy={running}>
        {problem ? (
          <ProblemNote problem={problem} />
        ) : tried ? (
          <Outcome
            tried={tried}
            useLabel={readers.length === 1 ? `On to ${readers[0]?.to}` : 'Use as sample'}
            onUse={(next) => {
              const port = tried.outputs.find((one) => 'upload' in next.sample && one.upload === next.sample.upload)?.port ?? 'out'
              const to = readers.find((edge) => edge.port === port) ?? readers[0]
              if (to) onNext(to.to, writeSample(next.sample))
              else pick(next)
            }}
          />
        ) : (
          <Box sx={{ p: 2, color: 'text.secondary', fontSize: 13 }}>
            {current ? (
              'Run it to see what comes out. Nothing is stored or exported; only folders under `writable` really change.'
            ) : (
              <DropZone onFiles={(files) => void take(files)} label="Choose a sample file" compact>Drop a file to try this on, or choose one.</DropZone>
            )}
          </Box>
        )}
      </Stack>
    </Stack>
  )
}

interface PickerProps {
  step: Step
  current: Chosen | undefined
  name: string | undefined
  recents: { item: string; name: string; size: number; at: string }[]
  onPick: (chosen: Chosen) => void
  onText: () => void
  onFile: (files: File[]) => void
  open: boolean
  onOpen: (open: boolean) => void
}

function Picker({ step, current, name, recents, onPick, onText, onFile, open, onOpen }: PickerProps) {
  const session = useSession()
  const anchor = useRef<HTMLDivElement>(null)
  const input = useRef<HTMLInputElement>(null)
  const letters = useQuery({
    queryKey: ['dead-letters', session.slug, 'samples'],
    queryFn: ({ signal }) => get<Page<DeadLetter>>('/dead-letters', { flow: session.slug, limit: 100 }, signal),
    enabled: open,
    retry: false,
  })
  const datasets = useQuery({ queryKey: ['datasets', 'samples'], queryFn: ({ signal }) => get<Page<Dataset>>('/datasets', { limit: 8, sort: '-committed' }, signal), enabled: open, retry: false })
  const failed = (letters.data?.rows ?? []).filter((row) => row.processor === step.id && !row.export_only).slice(0, 8)
  const item = (key: string, label: string, about: string, chosen: Chosen) => (
    <MenuItem
      key={key}
      onClick={() => {
        onOpen(false)
        onPick(chosen)
      }}
      sx={{ gap: 2, maxWidth: 460 }}
    >
      <Box component="span" className="mono" sx={{ flex: 1, overflow: 'hidden', textOverflow: 'ellipsis' }}>{label}</Box>
      <Box component="span" sx={{ color: 'text.secondary', fontSize: 12, overflow: 'hidden', textOverflow: 'ellipsis' }}>{about}</Box>
    </MenuItem>
  )
  const head = (text: string) => <MenuItem key={text} disabled sx={{ fontSize: 11.5, fontWeight: 600, minHeight: 26, opacity: '1 !important', color: 'text.secondary' }}>{text}</MenuItem>
  return (
    <>
      <Chip
        ref={anchor}
        clickable
        variant="outlined"
        onClick={() => onOpen(true)}
        aria-haspopup="menu"
        aria-label={name === undefined ? 'Choose a sample' : `Sample: ${name}; choose another`}
        label={name === undefined ? 'Choose…' : <><span className="mono">{name}</span>{current?.size !== undefined && <Box component="span" sx={{ color: 'text.secondary' }}> · {bytes(current.size)}</Box>}</>}
        sx={{ maxWidth: 260 }}
      />
      <Menu anchorEl={() => anchor.current} open={open} onClose={() => onOpen(false)} slotProps={{ paper: { sx: { maxHeight: 440 } } }}>
        <MenuItem
          onClick={() => {
            onOpen(false)
            input.current?.click()
          }}
        >
          A file…
        </MenuItem>
        <MenuItem
          onClick={() => {
            onOpen(false)
            onText()
          }}
        >
          Text…
        </MenuItem>
        {recents.length > 0 && head('Went in lately')}
        {recents.slice(0, 8).map((row) => item(row.item, row.name, `${bytes(row.size)} · ${when(row.at)}`, { sample: { item: row.item }, name: row.name, size: row.size, from: 'recent item' }))}
        {failed.length > 0 && head('Failed here')}
        {failed.map((row) => item(row.id, row.item.name, row.fault.message, { sample: { dead_letter: row.id }, name: row.item.name, size: row.item.size, from: 'dead letter' }))}
        {(datasets.data?.rows.length ?? 0) > 0 && head('Datasets')}
        {(datasets.data?.rows ?? []).map((row) => item(row.id, row.name, `${row.collection} · ${bytes(row.size)}`, { sample: { dataset: row.id, revision: row.revision }, name: row.name, size: row.size, from: 'dataset' }))}
      </Menu>
      <input
        ref={input}
        type="file"
        hidden
        onChange={(event) => {
          const files = [...(event.target.files ?? [])]
          event.target.value = ''
          if (files.length > 0) onFile(files)
        }}
      />
    </>
  )
}

/** The sample failed here: what is left to do until it is through. */
function LetterNote({ letter, fixed, again }: { letter: DeadLetter; fixed: boolean; again: boolean }) {
  const flow = useSessionState((state) => state.flow)
  const content = useSessionState((state) => state.content)
  const [busy, setBusy] = useState(false)
  const [done, setDone] = useState(false)
  const pending = changesOf(flow, content).any
  const retry = async () => {
    setBusy(true)
    try {
      await ask('POST', '/dead-letters/retry', { json: { ids: [letter.id] } })
      setDone(true)
      toast(`${letter.item.name} is tried again`)
    } catch (error) {
      toastProblem('It could not be tried again', error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Alert
      severity={done ? 'success' : fixed ? 'info' : 'error'}
      variant="outlined"
      sx={{ m: 1, mb: 0, py: 0, flexShrink: 0, alignItems: 'center' }}
      action={!done && <Button color="inherit" loading={busy} onClick={() => void retry()}>Retry it</Button>}
    >
      {done ? (
        'It is on its way again.'
      ) : (
        <>
          {again ? 'It still fails here. ' : `Failed here: ${letter.fault.message}. `}
          {fixed && pending ? 'It works now: enable the changes, then retry it.' : fixed ? 'It works now: retry it.' : 'Change the code, run it, enable, then retry it.'}
        </>
      )}
    </Alert>
  )
}
