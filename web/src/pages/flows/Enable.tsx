// Before a draft takes effect: what differs, what is wrong; then what the server does, as it does it.
import { Alert, Box, Button, Dialog, DialogActions, DialogContent, DialogTitle, LinearProgress } from '@mui/material'
import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useMemo, useRef, useState } from 'react'
import { enableFlow } from '../../api/flows'
import { asProblem, type Problem } from '../../api/problem'
import type { Flow } from '../../api/types'
import { toast } from '../../components/toast'
import { changesOf } from '../../flow/changes'
import { slug as slugOf } from '../../flow/model'
import { useSession, useSessionState } from '../../flow/useSession'
import { many, short } from '../../lib/format'
import { ProblemNote } from '../../try/ProblemNote'
import { ChangedTexts, ChangeList } from './ChangedTexts'

export function EnableDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} maxWidth="lg" fullWidth aria-labelledby="enable-title">
      {open && <Inner onClose={onClose} />}
    </Dialog>
  )
}

function Inner({ onClose }: { onClose: () => void }) {
  const session = useSession()
  const flow = useSessionState((state) => state.flow)
  const content = useSessionState((state) => state.content)
  const model = useSessionState((state) => state.model)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const save = useSessionState((state) => state.save)
  const queries = useQueryClient()
  const navigate = useNavigate()
  const changes = useMemo(() => changesOf(flow, content), [flow, content])
  const [busy, setBusy] = useState(false)
  const [told, setTold] = useState<string>()
  const [problem, setProblem] = useState<Problem>()
  const stop = useRef<AbortController>(undefined)
  const errors = diagnostics.filter((one) => one.severity === 'error')
  const warnings = diagnostics.length - errors.length
  const target = slugOf(model.name)
  const renamed = flow !== undefined && target !== session.slug

  const go = async () => {
    setBusy(true)
    setProblem(undefined)
    const now = new AbortController()
    stop.current = now
    try {
      // What waits to be saved is, so that the draft that is dropped is the one that was enabled.
      await session.save()
      const { draft, content: sent } = session.get()
      let enabled: Flow | undefined
      await enableFlow(
        { ...sent, ...(flow !== undefined && !renamed && { base: flow.flow.base }) },
        draft?.etag,
        (line) => {
          if (line.event === 'preparing') setTold(String(line.message ?? 'preparing'))
          if (line.event === 'enabled') enabled = line.flow as Flow
        },
        now.signal,
      )
      session.enabled()
      void queries.invalidateQueries({ queryKey: ['flows'] })
      void queries.invalidateQueries({ queryKey: ['drafts'] })
      toast(`${enabled?.name ?? model.name} is enabled${enabled ? `, version ${short(enabled.version)}` : ''}`)
      onClose()
      if (enabled && enabled.flow !== session.slug) await navigate({ to: '/flows/$flow', params: { flow: enabled.flow } })
      else await session.refreshFlow()
    } catch (error) {
      if (!now.signal.aborted) setProblem(asProblem(error))
    } finally {
      setBusy(false)
      setTold(undefined)
    }
  }

  return (
    <>
      <DialogTitle id="enable-title" sx={{ fontSize: 16 }}>{flow ? `Enable the changes of ${model.name}` : `Enable ${model.name || 'this flow'}`}</DialogTitle>
      <DialogContent sx={{ display: 'grid', gap: 1.5 }}>
        {flow ? (
          changes.any ? <ChangeList changes={changes} /> : <Box sx={{ fontSize: 13 }}>Nothing differs from the version that is there{flow.flow.state === 'disabled' ? '; it is enabled again.' : '.'}</Box>
        ) : (
          <Box sx={{ fontSize: 13 }}>
            It takes from its sources from now on: {many(model.steps.length, 'processor')}, {many(model.edges.length, 'connection')}.
          </Box>
        )}
        {renamed && <Alert severity="warning" variant="outlined">The name makes another flow of it, <span className="mono">{target}</span>; <span className="mono">{session.slug}</span> stays as it is.</Alert>}
        {save.state === 'conflict' && <Alert severity="warning" variant="outlined">Somebody else has changed the draft meanwhile. What is on this page is enabled, and theirs is kept as the draft.</Alert>}
        {errors.length > 0 && (
          <Alert severity="error" variant="outlined">
            It has {many(errors.length, 'error')}:
            <Box component="ul" sx={{ m: 0, pl: 2 }}>
              {errors.slice(0, 5).map((one, at) => <li key={at}>{one.span && `line ${one.span.line}: `}{one.message}{one.hint && ` (${one.hint})`}</li>)}
            </Box>
          </Alert>
        )}
        {warnings > 0 && errors.length === 0 && (
          <Alert severity="warning" variant="outlined">
            {diagnostics.slice(0, 5).map((one, at) => <div key={at}>{one.span && `line ${one.span.line}: `}{one.message}{one.hint && ` (${one.hint})`}</div>)}
          </Alert>
        )}
        {flow && changes.any && (
          <Box sx={{ height: 320, border: 1, borderColor: 'divider', borderRadius: 1, overflow: 'hidden' }}>
            <ChangedTexts label="Enabled beside draft" before={flow} after={content} changes={changes} />
          </Box>
        )}
        {flow && changes.any && <Box sx={{ fontSize: 12, color: 'text.secondary' }}>What is under way is finished by the version that it began with; what arrives from now on goes through this one.</Box>}
        {busy && (
          <Box role="status" sx={{ fontSize: 13 }}>
            {told ?? 'Saving'}…
            <LinearProgress sx={{ mt: 0.5 }} />
          </Box>
        )}
        {problem && <ProblemNote problem={problem} />}
      </DialogContent>
      <DialogActions sx={{ px: 3, pb: 2 }}>
        <Button
          onClick={() => {
            stop.current?.abort()
            onClose()
          }}
        >
          Cancel
        </Button>
        <Button variant="contained" onClick={() => void go()} loading={busy} disabled={errors.length > 0 || model.steps.length === 0} autoFocus>Enable</Button>
      </DialogActions>
    </>
  )
}
