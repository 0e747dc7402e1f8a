// A flow from a template, or from files that are there already. Either begins as a draft.
import { Alert, Box, Button, ButtonBase, Dialog, DialogActions, DialogContent, DialogTitle, TextField, Typography } from '@mui/material'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { listDrafts, listFlows, writeDraft } from '../../api/flows'
import { asProblem, Problem } from '../../api/problem'
import type { Files } from '../../api/types'
import { readModel, slug } from '../../flow/model'
import { TEMPLATES } from '../../flow/templates'
import { setFlow } from '../../flow/text'
import { many } from '../../lib/format'
import { DropZone } from '../../try/DropZone'

/** Whether a flow or draft of that name is there. */
export function useTaken(name: string): string | undefined {
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal) })
  const drafts = useQuery({ queryKey: ['drafts'], queryFn: ({ signal }) => listDrafts(signal) })
  const wanted = slug(name)
  const there = [...(flows.data?.rows ?? []), ...(drafts.data?.rows ?? [])].find((one) => one.flow === wanted)
  if (name.trim() === '') return undefined
  if (wanted === '') return 'a name needs a letter or a digit'
  return there ? `${there.name || there.flow} is there already` : undefined
}

/** Begins a draft and opens it. */
export function useBegin() {
  const navigate = useNavigate()
  const queries = useQueryClient()
  return async (text: string, files: Files, name: string, search: { processor?: string; sample?: string } = {}) => {
    const flow = slug(name)
    if (flow === '') throw new Problem({ status: 0, code: 'no-name', detail: 'the flow has no name', hint: 'give it one' })
    await writeDraft(flow, { text, files })
    void queries.invalidateQueries({ queryKey: ['drafts'] })
    await navigate({ to: '/flows/$flow', params: { flow }, search })
  }
}

export function NewFlow({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} maxWidth="sm" fullWidth aria-labelledby="new-flow">
      {open && <Templates onClose={onClose} />}
    </Dialog>
  )
}

function Templates({ onClose }: { onClose: () => void }) {
  const [which, setWhich] = useState(0)
  const [name, setName] = useState(TEMPLATES[0]?.name ?? '')
  const [error, setError] = useState<unknown>()
  const begin = useBegin()
  const taken = useTaken(name)
  const template = TEMPLATES[which]
  const go = async () => {
    if (!template) return
    try {
      await begin(setFlow(template.text, { name: name.trim() }), {}, name)
      onClose()
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        void go()
      }}
    >
      <DialogTitle id="new-flow" sx={{ fontSize: 16 }}>New flow from a template</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 2 }}>
        <Box role="radiogroup" aria-label="Template" sx={{ display: 'grid', gridTemplateColumns: { sm: '1fr 1fr' }, gap: 1 }}>
          {TEMPLATES.map((one, at) => (
            <ButtonBase
              key={one.name}
              role="radio"
              aria-checked={at === which}
              onClick={() => {
                if (name === template?.name) setName(one.name)
                setWhich(at)
              }}
              sx={{ display: 'flex', flexDirection: 'column', alignItems: 'flex-start', justifyContent: 'flex-start', textAlign: 'left', p: 1.5, border: 1, borderRadius: 1, borderColor: at === which ? 'primary.main' : 'divider', bgcolor: at === which ? 'action.selected' : undefined, '&:focus-visible': { outline: 2, outlineColor: 'primary.main' } }}
            >
              <Typography variant="h3" component="span" sx={{ display: 'block' }}>{one.name}</Typography>
              <Box component="span" sx={{ fontSize: 12, color: 'text.secondary' }}>{one.summary}</Box>
            </ButtonBase>
          ))}
        </Box>
        <TextField label="Name" value={name} onChange={(event) => setName(event.target.value)} error={taken !== undefined} helperText={taken ?? `Its address: /flows/${slug(name)}`} required />
        {error !== undefined && <Alert severity="error" variant="outlined">{asProblem(error).message}</Alert>}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="contained" disabled={name.trim() === '' || taken !== undefined}>Begin</Button>
      </DialogActions>
    </form>
  )
}

/** More than a flow with its code would have: somebody chose the wrong folder. */
const MOST_BYTES = 32 << 20

export function ImportFlow({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} maxWidth="sm" fullWidth aria-labelledby="import-flow">
      {open && <Import onClose={onClose} />}
    </Dialog>
  )
}

function Import({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState<string>()
  const [files, setFiles] = useState<Files>({})
  const [error, setError] = useState<unknown>()
  const begin = useBegin()
  const read = text === undefined ? undefined : readModel(text)
  const name = read?.model?.name ?? ''
  const taken = useTaken(name)
  // Files that the flow names, so that what is missing can be said.
  const wanted = [...new Set((read?.model?.steps ?? []).flatMap((step) => (typeof step.raw.file === 'string' ? [step.raw.file.replace(/^\.\//, '')] : [])))]
  const missing = wanted.filter((path) => !(path in files))
  const take = async (list: File[]) => {
    setError(undefined)
    try {
      let nextText = text
      const next: Files = { ...files }
      for (const file of list) {
        if (file.size > MOST_BYTES) throw new Problem({ status: 0, code: 'too-large', detail: `${file.name} is too large for a flow or its code`, hint: 'data is dropped into the flow’s inbox, not imported with it' })
        const bytes = new Uint8Array(await file.arrayBuffer())
        let content: string | undefined
        try {
          content = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
        } catch {
          content = undefined
        }
        if (/\.(ya?ml|json)$/i.test(file.name) && content !== undefined && (nextText === undefined || list.length === 1) && /(^|\n)\s*"?processors"?\s*:/.test(content)) nextText = content
        else next[nameFor(file.name, wanted)] = content === undefined ? { bytes: [...bytes] } : { text: content }
      }
      if (nextText === undefined) throw new Problem({ status: 0, code: 'no-flow', detail: 'none of these files is a flow', hint: 'a flow is a YAML or JSON file with `processors`' })
      setText(nextText)
      setFiles(next)
    } catch (problem) {
      setError(problem)
    }
  }
  const go = async () => {
    try {
      await begin(text ?? '', files, name)
      onClose()
    } catch (problem) {
      setError(problem)
    }
  }
  return (
    <>
      <DialogTitle id="import-flow" sx={{ fontSize: 16 }}>Import a flow</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.5 }}>
        <DropZone onFiles={(list) => void take(list)} label="Choose the flow and the code it names" multiple>
          Drop the flow’s YAML here, with the code files it names, or choose them.
        </DropZone>
        {text !== undefined && (
          <Box>
            <Typography variant="h3">{name || 'Without a name'}</Typography>
            <Box sx={{ fontSize: 13, color: 'text.secondary' }}>
              {read?.broken ? `The YAML is broken at line ${read.broken.line}: ${read.broken.message}` : many(read?.model?.steps.length ?? 0, 'processor')}
              {Object.keys(files).length > 0 && ` · ${Object.keys(files).join(', ')}`}
            </Box>
            {missing.length > 0 && <Alert severity="warning" variant="outlined" sx={{ mt: 1 }}>It names {missing.join(', ')}, which {missing.length === 1 ? 'is' : 'are'} not here yet. Drop {missing.length === 1 ? 'it' : 'them'} too, or write {missing.length === 1 ? 'it' : 'them'} on the canvas.</Alert>}
            {name === '' && !read?.broken && <Alert severity="warning" variant="outlined" sx={{ mt: 1 }}>It has no `name`. Write one into the file.</Alert>}
            {taken !== undefined && <Alert severity="warning" variant="outlined" sx={{ mt: 1 }}>{taken}. Rename this one, or open that flow and paste the text there.</Alert>}
          </Box>
        )}
        {error !== undefined && (
          <Alert severity="error" variant="outlined">
            {asProblem(error).message}
            {asProblem(error).hint && <div>{asProblem(error).hint}</div>}
          </Alert>
        )}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button variant="contained" disabled={text === undefined || name === '' || taken !== undefined} onClick={() => void go()}>Import as a draft</Button>
      </DialogActions>
    </>
  )
}

/** The path that the flow gives a file of this name; browsers say only its last part. */
const nameFor = (file: string, wanted: string[]) => wanted.find((path) => path === file || path.endsWith(`/${file}`)) ?? file
