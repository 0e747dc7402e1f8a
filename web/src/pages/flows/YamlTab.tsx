// The flow as text, and the files it names, with what the server says at its place. The same state as the canvas.
import Add from '@mui/icons-material/Add'
import { Box, Button, Link, Stack, TextField } from '@mui/material'
import { useMemo, useState } from 'react'
import { CodeEditor, languageOf } from '../../components/CodeEditor'
import { marksOf } from '../../flow/places'
import { useSession, useSessionState } from '../../flow/useSession'
import { many } from '../../lib/format'

export function YamlTab() {
  const session = useSession()
  const content = useSessionState((state) => state.content)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const broken = useSessionState((state) => state.broken)
  const [which, setWhich] = useState<string | undefined>()
  const [line, setLine] = useState<number | undefined>()
  const [adding, setAdding] = useState<string>()
  const file = which !== undefined ? content.files[which] : undefined
  const shown = file === undefined ? undefined : which
  const text = file === undefined ? content.text : 'text' in file ? file.text : ''
  const marks = useMemo(() => {
    const said = marksOf(text, diagnostics, shown)
    // Until the server has answered, what this page itself sees.
    return said.length === 0 && shown === undefined && broken ? [{ from: broken.from, to: broken.to, severity: 'error' as const, message: broken.message }] : said
  }, [text, diagnostics, shown, broken])
  const paths = Object.keys(content.files).toSorted()
  const tab = (path: string | undefined, label: string) => (
    <Button
      key={label}
      onClick={() => {
        setWhich(path)
        setLine(undefined)
      }}
      aria-pressed={path === shown}
      className="mono"
      sx={{ color: path === shown ? 'primary.main' : 'text.secondary', bgcolor: path === shown ? 'action.selected' : undefined, fontWeight: 500, fontSize: 12 }}
    >
      {label}
    </Button>
  )
  return (
    <Stack sx={{ height: '100%', minHeight: 0, bgcolor: 'background.paper' }}>
      <Stack direction="row" spacing={0.5} useFlexGap sx={{ px: 1.5, py: 0.5, borderBottom: 1, borderColor: 'divider', flexWrap: 'wrap', alignItems: 'center' }}>
        {tab(undefined, `${session.slug}.yaml`)}
        {paths.map((path) => tab(path, path))}
        {adding === undefined ? (
          <Button startIcon={<Add />} onClick={() => setAdding('')} sx={{ fontSize: 12 }}>File</Button>
        ) : (
          <TextField
            autoFocus value={adding} onChange={(event) => setAdding(event.target.value)} placeholder="clean.py" sx={{ width: 160, '& .MuiInputBase-root': { height: 28 } }}
            slotProps={{ htmlInput: { 'aria-label': 'Path of the new file' } }}
            onBlur={() => setAdding(undefined)}
            onKeyDown={(event) => {
              if (event.key === 'Escape') setAdding(undefined)
              const path = adding.trim().replace(/^\.\//, '')
              if (event.key === 'Enter' && path !== '' && !path.startsWith('/') && !path.includes('..')) {
                if (!(path in content.files)) session.setFile(path, { text: '' })
                setWhich(path)
                setAdding(undefined)
              }
            }}
          />
        )}
        <Box sx={{ flex: 1 }} />
        {shown !== undefined && <Button color="error" onClick={() => session.setFile(shown, undefined)}>Remove {shown}</Button>}
      </Stack>
      <Box sx={{ flex: 1, minHeight: 0 }}>
        {file !== undefined && !('text' in file) ? (
          <Box sx={{ p: 3, color: 'text.secondary' }}>{many(file.bytes.length, 'byte')}, not text.</Box>
        ) : (
          <CodeEditor
            key={shown ?? ''}
            label={shown ?? 'The flow as YAML'}
            value={text}
            language={shown === undefined ? 'yaml' : languageOf(shown)}
            marks={marks}
            {...(line !== undefined && { line })}
            onChange={(next) => (shown === undefined ? session.applyText('edit the text', () => next, 'yaml') : session.setFile(shown, { text: next }, `file:${shown}`))}
            onUndo={() => session.undo()}
            onRedo={() => session.redo()}
          />
        )}
      </Box>
      {diagnostics.length > 0 && (
        <Box component="ul" aria-label="What the server says of it" tabIndex={0} sx={{ m: 0, p: 0, listStyle: 'none', maxHeight: 150, overflow: 'auto', borderTop: 1, borderColor: 'divider', fontSize: 12.5 }}>
          {diagnostics.map((one, at) => (
            <Box component="li" key={at} sx={{ px: 1.5, py: 0.5, display: 'flex', gap: 1, borderBottom: 1, borderColor: 'divider' }}>
              <Box component="span" sx={{ color: one.severity === 'error' ? 'error.main' : 'warning.main', fontWeight: 600, width: 58, flexShrink: 0 }}>{one.severity}</Box>
              {one.span ? (
                <Link
                  component="button"
                  sx={{ flexShrink: 0, fontSize: 12.5 }}
                  onClick={() => {
                    setWhich(one.file?.replace(/^\.\//, ''))
                    setLine(undefined)
                    requestAnimationFrame(() => setLine(one.span?.line))
                  }}
                >
                  {one.file ? `${one.file}:` : 'line '}{one.span.line}
                </Link>
              ) : null}
              <span>{one.message}{one.hint && <Box component="span" sx={{ color: 'text.secondary' }}> · {one.hint}</Box>}</span>
            </Box>
          ))}
        </Box>
      )}
    </Stack>
  )
}
