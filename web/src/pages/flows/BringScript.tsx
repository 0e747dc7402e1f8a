// From a function to a flow: paste it, drop a file, see what comes out, give it a name.
import Close from '@mui/icons-material/Close'
import PlayArrow from '@mui/icons-material/PlayArrow'
import { Alert, Box, Button, Dialog, IconButton, MenuItem, Stack, TextField, ToggleButton, ToggleButtonGroup, Typography } from '@mui/material'
import { useMemo, useRef, useState } from 'react'
import { upload } from '../../api/flows'
import { useKinds } from '../../api/hooks'
import { asProblem } from '../../api/problem'
import { Keys } from '../../components/bits'
import { CodeEditor, type Language } from '../../components/CodeEditor'
import { toastProblem } from '../../components/toast'
import { slug } from '../../flow/model'
import { scriptFlow, STARTER_CODE } from '../../flow/templates'
import type { Schema } from '../../form/schema'
import { bytes } from '../../lib/format'
import { keyNames } from '../../shell/commands'
import { DropZone, FileInput, useDrop } from '../../try/DropZone'
import { Outcome } from '../../try/Outcome'
import { ProblemNote } from '../../try/ProblemNote'
import { writeSample, type Chosen } from '../../try/sample'
import { faultMarks } from '../../try/traceback'
import { useTry } from '../../try/useTry'
import { useBegin, useTaken } from './NewFlow'

const FIRST_TEXT = 'kelp, 3\nmussel, 12\n'

const STARTERS: Record<string, string> = { python: STARTER_CODE }

/** The languages that the server has workers for. */
function useLanguages(): string[] {
  const { kinds } = useKinds()
  const schema = kinds.find((kind) => kind.name === 'script' && kind.class === 'processor')?.schema as Schema | undefined
  const one = schema?.properties?.language
  const node = one?.$ref ? schema?.$defs?.[one.$ref.replace('#/$defs/', '')] : one
  const found = node?.oneOf?.map((choice) => String(choice.const)) ?? node?.enum?.map(String) ?? []
  return found.length > 0 ? found : ['python']
}

export default function BringScript({ onClose }: { onClose: () => void }) {
  const [code, setCode] = useState(STARTER_CODE)
  const [language, setLanguage] = useState('python')
  const [from, setFrom] = useState<'text' | 'file'>('text')
  const [text, setText] = useState(FIRST_TEXT)
  const [file, setFile] = useState<Chosen>()
  const [uploading, setUploading] = useState(false)
  const [name, setName] = useState('')
  const [collection, setCollection] = useState('')
  const [saving, setSaving] = useState(false)
  const [error, setError] = useState<unknown>()
  const chooser = useRef<HTMLInputElement>(null)
  const languages = useLanguages()
  const { running, tried, problem, run } = useTry()
  const begin = useBegin()
  const taken = useTaken(name)
  const shelf = collection.trim() || name.trim() || 'Results'
  const flowText = useMemo(() => scriptFlow({ name: name.trim() || 'Untitled', collection: shelf, code, language, pattern: patternOf(file?.name) }), [name, shelf, code, language, file])
  const sample: Chosen | undefined = from === 'text' ? { sample: { text, name: 'sample.txt' }, name: 'sample.txt', from: 'text' } : file
  const marks = useMemo(() => faultMarks(tried?.fault, code), [tried, code])

  const go = () => {
    if (sample && !running) void run({ text: flowText, files: {}, processor: 'script', sample: sample.sample })
  }
  const take = async ([first]: File[]) => {
    if (!first) return
    setUploading(true)
    try {
      const { upload: id, size } = await upload(first, first.name)
      const chosen: Chosen = { sample: { upload: id }, name: first.name, size, from: 'upload' }
      setFile(chosen)
      setFrom('file')
      void run({ text: flowText, files: {}, processor: 'script', sample: chosen.sample })
    } catch (failure) {
      toastProblem(`${first.name} could not be uploaded`, failure)
    } finally {
      setUploading(false)
    }
  }
  const drop = useDrop((list) => void take(list))
  const choose = (next: typeof from) => {
    setFrom(next)
    // Nothing can be done with a file before it is chosen.
    if (next === 'file' && !file) chooser.current?.click()
  }
  const save = async () => {
    setSaving(true)
    setError(undefined)
    try {
      const kept = sample ? writeSample(sample.sample) : undefined
      await begin(flowText, {}, name, { processor: 'script', ...(kept !== undefined && { sample: kept }) })
    } catch (failure) {
      setError(failure)
      setSaving(false)
    }
  }

  return (
    <Dialog open onClose={onClose} fullWidth maxWidth="xl" aria-labelledby="bring" slotProps={{ paper: { sx: { height: 'min(860px, 94vh)' } } }}>
      <Stack direction="row" sx={{ px: 2, minHeight: 52, alignItems: 'center', borderBottom: 1, borderColor: 'divider', gap: 1.5 }}>
        <Typography variant="h1" component="h2" id="bring">Bring a script</Typography>
        <Typography sx={{ color: 'text.secondary', fontSize: 13 }}>A function, a file to try it on, a name</Typography>
        <Box sx={{ flex: 1 }} />
        <IconButton onClick={onClose} aria-label="Close"><Close fontSize="small" /></IconButton>
      </Stack>
      <Box sx={{ flex: 1, minHeight: 0, display: 'grid', gridTemplateColumns: { xs: '1fr', md: 'minmax(0, 1fr) minmax(0, 1fr)' }, gridAutoRows: { xs: 'minmax(320px, auto)', md: '1fr' }, overflow: 'auto' }}>
        <Stack sx={{ minHeight: 0, borderRight: 1, borderColor: 'divider' }}>
          <Stack direction="row" spacing={1} sx={{ px: 1.5, py: 1, alignItems: 'center', borderBottom: 1, borderColor: 'divider', bgcolor: 'background.default' }}>
            <Typography variant="h3" component="h3">1 · Code</Typography>
            <Box sx={{ flex: 1 }} />
            <TextField
              select value={language} sx={{ width: 130, '& .MuiInputBase-root': { height: 30 } }} slotProps={{ htmlInput: { 'aria-label': 'Language' } }}
              onChange={(event) => {
                if (code === STARTERS[language]) setCode(STARTERS[event.target.value] ?? '')
                setLanguage(event.target.value)
              }}
            >
              {languages.map((one) => <MenuItem key={one} value={one}>{one}</MenuItem>)}
            </TextField>
          </Stack>
          <Box sx={{ flex: 1, minHeight: 0 }}>
            <CodeEditor label="Code" value={code} onChange={setCode} language={language as Language} onRun={go} marks={marks} autoFocus />
          </Box>
        </Stack>
        <Stack {...drop.target} sx={{ minHeight: 0, ...(drop.over && { bgcolor: 'action.hover' }) }}>
          <FileInput ref={chooser} onFiles={(list) => void take(list)} />
          <Stack direction="row" spacing={1} sx={{ px: 1.5, py: 1, alignItems: 'center', borderBottom: 1, borderColor: 'divider', bgcolor: 'background.default' }}>
            <Typography variant="h3">2 · Sample</Typography>
            <ToggleButtonGroup exclusive size="small" value={from} onChange={(_, value: typeof from | null) => value && choose(value)} aria-label="Where the sample comes from" sx={{ '& button': { py: 0.25, px: 1.25, fontSize: 12, textTransform: 'none' } }}>
              <ToggleButton value="text">Text</ToggleButton>
              <ToggleButton value="file">File</ToggleButton>
            </ToggleButtonGroup>
            <Box sx={{ flex: 1 }} />
            <Keys names={keyNames('Mod+Enter')} />
            <Button variant="contained" startIcon={<PlayArrow />} onClick={go} loading={running} disabled={!sample}>Run</Button>
          </Stack>
          <Box sx={{ p: 1.5, borderBottom: 1, borderColor: 'divider' }}>
            {from === 'text' ? (
              <TextField multiline minRows={2} maxRows={6} value={text} onChange={(event) => setText(event.target.value)} slotProps={{ htmlInput: { 'aria-label': 'Sample text', spellCheck: false, className: 'mono' } }} onKeyDown={(event) => {
                if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
                  event.preventDefault()
                  go()
                }
              }} />
            ) : (
              <DropZone onFiles={(list) => void take(list)} label="Choose a sample file" compact>
                {uploading ? 'Uploading…' : file ? <><span className="mono">{file.name}</span> · {bytes(file.size ?? 0)} · drop another to change it</> : 'Drop a file here, or choose one. It stays on the server for a day.'}
              </DropZone>
            )}
          </Box>
          <Stack sx={{ flex: 1, minHeight: 0, overflow: 'hidden', opacity: running ? 0.6 : 1 }}>
            {problem ? <ProblemNote problem={problem} /> : tried ? <Outcome tried={tried} /> : (
              <Box sx={{ p: 3, color: 'text.secondary', textAlign: 'center' }}>Run it to see what comes out. Nothing is stored or exported; only folders under `writable` really change.</Box>
            )}
          </Stack>
        </Stack>
      </Box>
      <Stack
        component="form" direction="row" spacing={1.5} useFlexGap
        onSubmit={(event) => {
          event.preventDefault()
          if (name.trim() !== '' && taken === undefined) void save()
        }}
        sx={{ px: 2, py: 1.5, borderTop: 1, borderColor: 'divider', alignItems: 'flex-start', flexWrap: 'wrap' }}
      >
        <Typography variant="h3" sx={{ pt: 1 }}>3 · Name</Typography>
        <TextField label="Flow" value={name} onChange={(event) => setName(event.target.value)} error={taken !== undefined} helperText={taken} required sx={{ width: 260 }} />
        <TextField label="Collection" value={collection} placeholder={name.trim() || 'Results'} onChange={(event) => setCollection(event.target.value)} sx={{ width: 220 }} slotProps={{ inputLabel: { shrink: true } }} />
        <Box sx={{ flex: 1, color: 'text.secondary', fontSize: 12, pt: 1, minWidth: 200 }}>
          {error !== undefined ? (
            <Alert severity="error" variant="outlined">{asProblem(error).message}</Alert>
          ) : (
            <>Files dropped into its inbox go through the script and into the collection. {slug(name) && <>Its address: <span className="mono">/flows/{slug(name)}</span>.</>}</>
          )}
        </Box>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="contained" disabled={name.trim() === '' || taken !== undefined} loading={saving}>Save as a flow</Button>
      </Stack>
    </Dialog>
  )
}

/** Files like the sample: by its extension. */
function patternOf(name: string | undefined): string | undefined {
  const ext = /\.([A-Za-z0-9]{1,8})$/.exec(name ?? '')?.[1]
  return ext === undefined ? undefined : `*.${ext}`
}
