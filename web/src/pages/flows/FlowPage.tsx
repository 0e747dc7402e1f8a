// One flow: canvas, list, text, plan and what differs, over one session; the open processor stands beside it.
import Edit from '@mui/icons-material/EditOutlined'
import Redo from '@mui/icons-material/Redo'
import Undo from '@mui/icons-material/Undo'
import { Box, Button, IconButton, Stack, Tab, Tabs, Tooltip, Typography } from '@mui/material'
import { getRouteApi, useBlocker } from '@tanstack/react-router'
import { lazy, Suspense, useCallback, useEffect, useState } from 'react'
import { parse as parseYaml, stringify } from 'yaml'
import type { Kind } from '../../api/types'
import { Short, StateChip } from '../../components/bits'
import { ButtonLink, AppLink } from '../../components/links'
import { ErrorPanel, Skeletons } from '../../components/states'
import { toast, toastProblem } from '../../components/toast'
import { useFlowPart, useStream } from '../../events/store'
import { changesOf } from '../../flow/changes'
import { beginning, wish } from '../../flow/kinds'
import { freeId, phaseOf } from '../../flow/model'
import { addProcessors, inputRef, removeProcessors } from '../../flow/text'
import { SessionProvider, useOpenSession, useSession, useSessionState } from '../../flow/useSession'
import { many } from '../../lib/format'
import { useCommands, type Command } from '../../shell/commands'
import { Head } from '../../shell/head'
import { AddProcessor } from './AddProcessor'
import { Conflict } from './Conflict'
import { Describe } from './Describe'
import { EnableDialog } from './Enable'
import { FlowMenu, useFlowActions } from './FlowMenu'
import { Health } from './Health'
import { ListView } from './ListView'
import { RecentItems } from './RecentItems'
import { SaveState } from './SaveState'
import { FLOW_TABS } from './search'

const Canvas = lazy(() => import('./canvas/Canvas'))
const YamlTab = lazy(() => import('./YamlTab').then((module) => ({ default: module.YamlTab })))
const PlanTab = lazy(() => import('./PlanTab').then((module) => ({ default: module.PlanTab })))
const DiffTab = lazy(() => import('./DiffTab').then((module) => ({ default: module.DiffTab })))
const ProcessorPanel = lazy(() => import('./editor/ProcessorPanel'))

const route = getRouteApi('/flows/$flow')

const TABS = { canvas: 'Canvas', list: 'List', yaml: 'YAML', plan: 'Plan', diff: 'Changes' } as const

export function FlowPage() {
  const { flow } = route.useParams()
  const session = useOpenSession(flow)
  if (!session) return <Skeletons lines={10} />
  return (
    <SessionProvider value={session}>
      <Loaded />
    </SessionProvider>
  )
}

function Loaded() {
  const session = useSession()
  const loading = useSessionState((state) => state.loading)
  const problem = useSessionState((state) => state.loadProblem)
  const slug = useSessionState((state) => state.flow?.flow.flow) ?? session.slug
  const navigate = route.useNavigate()
  // The server finds a flow by its name, too; what happens to it is told by its own word.
  useEffect(() => {
    if (slug !== session.slug) void navigate({ params: { flow: slug }, search: (search) => search, replace: true })
  }, [slug, session, navigate])
  if (loading || slug !== session.slug) return <Skeletons lines={10} />
  if (problem) {
    return (
      <ErrorPanel error={problem} what={`${session.slug} could not be opened`} affects={problem.status === 404 ? undefined : 'An enabled flow goes on working.'} retry={() => void session.load()}>
        <ButtonLink to="/flows" sx={{ mt: 1 }}>To the flows</ButtonLink>
      </ErrorPanel>
    )
  }
  return <Workbench />
}

/** Copied processors, for where the clipboard cannot be read. */
let copied = ''

function Workbench() {
  const session = useSession()
  const slug = session.slug
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const model = useSessionState((state) => state.model)
  const flow = useSessionState((state) => state.flow)
  const content = useSessionState((state) => state.content)
  const broken = useSessionState((state) => state.broken)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const validateProblem = useSessionState((state) => state.validateProblem)
  const undo = useSessionState((state) => state.undo)
  const redo = useSessionState((state) => state.redo)
  const save = useSessionState((state) => state.save)
  const liveState = useFlowPart(slug, (numbers) => numbers?.state)
  const liveVersion = useFlowPart(slug, (numbers) => numbers?.version)
  const [selected, setSelected] = useState<string[]>(search.processor === undefined ? [] : [search.processor])
  const [adding, setAdding] = useState<{ lane: number; from: { id: string; port: string } | undefined }>()
  const [enabling, setEnabling] = useState(false)
  const [describing, setDescribing] = useState(false)
  const { disable, enable } = useFlowActions()
  const tab = search.tab ?? 'canvas'
  const changed = changesOf(flow, content).any
  const errors = diagnostics.filter((one) => one.severity === 'error').length
  const state = flow ? (liveState ?? flow.flow.state) : 'draft'

  useEffect(() => {
    document.title = `${model.name || slug} · OpenDMP`
  }, [model.name, slug])

  // Enabled, disabled or changed elsewhere.
  useEffect(() => {
    const known = session.get().flow?.flow
    if (liveState !== undefined && known && (liveVersion !== known.version || liveState !== known.state)) void session.refreshFlow()
  }, [session, liveVersion, liveState])

  // What could not be saved or checked is, once the server is there again.
  const stream = useStream().state
  useEffect(() => {
    if (stream === 'live') session.again()
  }, [stream, session])

  useBlocker({ shouldBlockFn: () => false, enableBeforeUnload: () => save.state === 'saving' || save.state === 'failed' || save.state === 'conflict' })

  const go = useCallback((next: Partial<typeof search>, replace = false) => void navigate({ search: (before) => ({ ...before, ...next }), replace }), [navigate])
  const openProcessor = useCallback((id: string | undefined) => {
    if (id !== undefined) setSelected([id])
    go({ processor: id, sample: undefined })
  }, [go])
  const openFailed = useCallback(() => void navigate({ to: '/dead-letters', search: { flow: slug } }), [navigate, slug])
  const attempt = useCallback((label: string, change: (text: string) => string): boolean => {
    try {
      session.applyText(label, change)
      return true
    } catch (error) {
      toast(`Not done: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
      return false
    }
  }, [session])
  const remove = useCallback((ids: string[]) => {
    if (!attempt(ids.length === 1 ? `delete ${ids[0]}` : `delete ${ids.length} processors`, (text) => removeProcessors(text, ids))) return
    setSelected([])
    if (search.processor !== undefined && ids.includes(search.processor)) go({ processor: undefined, sample: undefined }, true)
    toast(ids.length === 1 ? `${ids[0]} is deleted` : `${many(ids.length, 'processor')} are deleted`, { severity: 'info', undo: () => session.undo() })
  }, [attempt, search.processor, go, session])
  const openAdd = useCallback((lane: number, from?: { id: string; port: string }) => setAdding({ lane, from }), [])
  const add = (kind: Kind) => {
    if (!adding) return
    const { lane, from } = adding
    setAdding(undefined)
    const now = session.get().model
    const id = freeId(now, wish(kind.name))
    const source = from ?? (kind.role === 'ingest' ? undefined : reader(now, lane, selected))
    const made = { id, type: kind.name, phase: phaseOf(now, lane), ...(source && { inputs: [inputRef(source.id, source.port)] }), ...beginning(kind) }
    if (attempt(`add ${id}`, (text) => addProcessors(text, [made]))) openProcessor(id)
  }

  const copy = useCallback((ids: string[]) => {
    const picked = session.get().model.steps.filter((step) => ids.includes(step.id)).map((step) => step.raw)
    copied = stringify(picked, { lineWidth: 0 })
    return copied
  }, [session])
  const paste = useCallback((yaml: string) => {
    let list: unknown
    try {
      list = parseYaml(yaml)
    } catch {
      list = undefined
    }
    const raws = (Array.isArray(list) ? list : []).filter((one): one is Record<string, unknown> => typeof one === 'object' && one !== null && typeof (one as { type?: unknown }).type === 'string')
    if (raws.length === 0) return
    const now = { steps: [...session.get().model.steps] }
    const names = new Map<string, string>()
    for (const raw of raws) {
      const id = freeId(now, String(raw.id ?? raw.type))
      names.set(String(raw.id), id)
      now.steps.push({ id } as (typeof now.steps)[number])
    }
    const known = new Set(session.get().model.steps.map((step) => step.id))
    const made = raws.map((raw) => {
      const inputs = (Array.isArray(raw.inputs) ? raw.inputs : raw.inputs === undefined ? [] : [raw.inputs]).map(String)
      // Among what is pasted, the copies read each other; else what they read before, where that is here.
      const kept = inputs.flatMap((ref) => {
        const [from = '', port] = ref.split('.', 2)
        const to = names.get(from) ?? (known.has(from) ? from : undefined)
        return to === undefined ? [] : [port === undefined ? to : `${to}.${port}`]
      })
      const { inputs: _, ...rest } = raw
      return { ...rest, id: names.get(String(raw.id)) ?? raw.id, ...(kept.length > 0 && { inputs: kept }) }
    })
    if (attempt(`paste ${many(made.length, 'processor')}`, (text) => addProcessors(text, made))) setSelected(made.map((one) => String(one.id)))
  }, [session, attempt])

  // Cut, copy and paste as everywhere, while nothing is typed and no text is marked.
  useEffect(() => {
    const inField = (event: Event) => (event.target as HTMLElement | null)?.closest?.('input,textarea,.cm-editor,[role="dialog"]') != null
    const onCopy = (event: ClipboardEvent) => {
      if (inField(event) || selected.length === 0 || tab !== 'canvas' || getSelection()?.toString()) return
      event.clipboardData?.setData('text/plain', copy(selected))
      event.preventDefault()
      if (event.type === 'cut') remove(selected)
      else toast(`${many(selected.length, 'processor')} copied`, { severity: 'info' })
    }
    const onPaste = (event: ClipboardEvent) => {
      if (inField(event) || tab !== 'canvas') return
      paste(event.clipboardData?.getData('text/plain') || copied)
    }
    document.addEventListener('copy', onCopy)
    document.addEventListener('cut', onCopy)
    document.addEventListener('paste', onPaste)
    return () => {
      document.removeEventListener('copy', onCopy)
      document.removeEventListener('cut', onCopy)
      document.removeEventListener('paste', onPaste)
    }
  }, [selected, tab, copy, paste, remove])

  const discard = () => {
    const what = 'The draft could not be discarded'
    void session.discardDraft().then(() => toast('The draft is discarded', { severity: 'info', undo: () => session.undo() }), (error: unknown) => toastProblem(what, error))
  }

  const lead = model.steps.find((step) => step.id === selected[0])
  const commands: Command[] = [
    { id: 'add', label: 'Add a processor', group: 'Flow', keys: 'a', run: () => openAdd(lead ? lead.lane + (lead.outputs.length > 0 ? 1 : 0) : 0, lead?.outputs[0] !== undefined ? { id: lead.id, port: lead.outputs[0] } : undefined) },
    { id: 'enable', label: 'Enable the changes…', group: 'Flow', keys: 'Mod+Shift+E', inFields: true, words: 'deploy publish start', run: () => setEnabling(true) },
    { id: 'describe', label: 'Name and description…', group: 'Flow', words: 'rename', run: () => setDescribing(true) },
    { id: 'save', label: 'Save the draft now', group: 'Flow', keys: 'Mod+S', inFields: true, run: () => void session.save() },
    ...(undo !== undefined ? [{ id: 'undo', label: `Undo ${undo}`, group: 'Flow', keys: 'Mod+Z', run: () => session.undo() }] : []),
    ...(redo !== undefined ? [{ id: 'redo', label: `Redo ${redo}`, group: 'Flow', keys: 'Mod+Shift+Z', run: () => session.redo() }] : []),
    ...(search.processor !== undefined ? [{ id: 'close', label: `Close ${search.processor}`, group: 'Flow', keys: 'Escape', run: () => openProcessor(undefined) }] : []),
    ...(selected.length > 0 && tab === 'canvas'
      ? [
          { id: 'duplicate', label: `Duplicate ${selected.join(', ')}`, group: 'Flow', keys: 'Mod+D', run: () => paste(copy(selected)) },
          { id: 'delete', label: `Delete ${selected.join(', ')}`, group: 'Flow', run: () => remove(selected) },
        ]
      : []),
    ...FLOW_TABS.map((one): Command => ({ id: `tab-${one}`, label: TABS[one], group: 'Flow, show', keys: `v ${one[0]}`, run: () => go({ tab: one === 'canvas' ? undefined : one }, true) })),
  ]
  useCommands(commands)

  const panel = search.processor !== undefined ? model.steps.find((step) => step.id === search.processor) : undefined
  return (
    <Box sx={{ display: 'flex', flexDirection: 'column', height: '100%', minHeight: 0 }}>
      <Head
        title={
          <Stack direction="row" spacing={1.25} sx={{ alignItems: 'center', minWidth: 0 }}>
            <AppLink to="/flows" color="inherit" sx={{ color: 'text.secondary', fontSize: 15 }}>Flows</AppLink>
            <Box component="span" sx={{ color: 'text.secondary' }} aria-hidden>/</Box>
            <Typography variant="h1" noWrap title={model.description}>{model.name || slug}</Typography>
            <Tooltip title="Name and description"><IconButton onClick={() => setDescribing(true)} aria-label="Name and description" sx={{ p: 0.5 }}><Edit sx={{ fontSize: 15 }} /></IconButton></Tooltip>
            <StateChip state={state} />
            {flow && <Typography variant="caption" noWrap sx={{ color: 'text.secondary', '@media (max-width: 1200px)': { display: 'none' } }}>version <Short value={flow.flow.version} /></Typography>}
          </Stack>
        }
        actions={
          <Stack direction="row" spacing={0.75} sx={{ alignItems: 'center' }}>
            <SaveState />
            <Tooltip title={undo ? `Undo ${undo}` : 'Nothing to undo'}><span><IconButton onClick={() => session.undo()} disabled={undo === undefined} aria-label="Undo"><Undo fontSize="small" /></IconButton></span></Tooltip>
            <Tooltip title={redo ? `Redo ${redo}` : 'Nothing to redo'}><span><IconButton onClick={() => session.redo()} disabled={redo === undefined} aria-label="Redo"><Redo fontSize="small" /></IconButton></span></Tooltip>
            {flow && changed && <Button onClick={discard}>Discard</Button>}
            {flow && state === 'enabled' && !changed ? (
              <Button variant="outlined" onClick={() => void disable(slug, flow.flow.name).then(() => session.refreshFlow(), (error: unknown) => toastProblem('It could not be disabled', error))}>Disable</Button>
            ) : flow && state === 'disabled' && !changed ? (
              <Button variant="contained" onClick={() => void enable(slug, flow.flow.name).then(() => session.refreshFlow())}>Enable</Button>
            ) : (
              <Button variant="contained" onClick={() => setEnabling(true)} title="Ctrl Shift E">{flow ? 'Enable changes' : 'Enable'}</Button>
            )}
            <FlowMenu row={{ flow: slug, name: model.name || slug, state, outstanding: flow?.flow.outstanding ?? 0 }} onDeleted={() => void navigate({ to: '/flows' })} />
          </Stack>
        }
      />
      <Conflict />
      {flow && <Health slug={slug} model={model} deadLetters={flow.flow.dead_letters} outstanding={flow.flow.outstanding} />}
      <Box sx={{ flex: 1, minHeight: 0, display: 'flex' }}>
        <Box sx={{ flex: 1, minWidth: 0, display: 'flex', flexDirection: 'column', minHeight: 0 }}>
          <Stack direction="row" sx={{ borderBottom: 1, borderColor: 'divider', bgcolor: 'background.paper', alignItems: 'center', pr: 2, minWidth: 0 }}>
            <Tabs value={tab} onChange={(_, value: (typeof FLOW_TABS)[number]) => go({ tab: value === 'canvas' ? undefined : value }, true)} aria-label="Views of the flow" variant="scrollable" scrollButtons={false} sx={{ minHeight: 36, '& .MuiTab-root': { minHeight: 36 } }}>
              {FLOW_TABS.map((one) => (
                <Tab key={one} value={one} id={`tab-${one}`} aria-controls="view" label={<span>{TABS[one]}{one === 'diff' && flow && changed && <Box component="span" sx={{ color: 'warning.main' }}> •</Box>}{one === 'yaml' && errors > 0 && <Box component="span" sx={{ color: 'error.main' }}> {errors}</Box>}</span>} />
              ))}
            </Tabs>
            <Box sx={{ flex: 1 }} />
            {broken ? (
              <Box role="status" sx={{ fontSize: 12, color: 'error.main' }}>The YAML is broken at line {broken.line}: the canvas shows what it was before</Box>
            ) : validateProblem ? (
              <Box role="status" sx={{ fontSize: 12, color: 'warning.main' }} title={validateProblem.message}>Not checked: {validateProblem.message}</Box>
            ) : errors > 0 ? (
              <Button color="error" sx={{ fontSize: 12 }} onClick={() => go({ tab: 'yaml' }, true)}>{many(errors, 'error')}</Button>
            ) : null}
          </Stack>
          <Box id="view" role="tabpanel" aria-labelledby={`tab-${tab}`} sx={{ flex: 1, minHeight: 0, position: 'relative', bgcolor: 'background.paper' }}>
            <Suspense fallback={<Skeletons lines={8} />}>
              {tab === 'canvas' && (
                <Canvas
                  selected={selected}
                  onSelect={setSelected}
                  open={panel?.id}
                  onOpen={openProcessor}
                  onFailed={openFailed}
                  onAdd={openAdd}
                  onDelete={remove}
                />
              )}
              {tab === 'list' && <ListView onOpen={openProcessor} onAdd={openAdd} />}
              {tab === 'yaml' && <YamlTab />}
              {tab === 'plan' && <PlanTab onOpen={openProcessor} />}
              {tab === 'diff' && <DiffTab />}
            </Suspense>
          </Box>
          {tab === 'canvas' && flow && <RecentItems slug={slug} model={model} />}
        </Box>
        {panel && (
          <Suspense fallback={<Box sx={{ width: 520, borderLeft: 1, borderColor: 'divider', bgcolor: 'background.paper' }}><Skeletons lines={10} /></Box>}>
            <ProcessorPanel key={slug} step={panel} sample={search.sample} onClose={() => openProcessor(undefined)} onOpen={(id, sample) => go({ processor: id, sample })} onDelete={() => remove([panel.id])} />
          </Suspense>
        )}
      </Box>
      <AddProcessor open={adding !== undefined} reads={adding?.from && inputRef(adding.from.id, adding.from.port)} onClose={() => setAdding(undefined)} onAdd={add} />
      <Describe open={describing} onClose={() => setDescribing(false)} />
      <EnableDialog open={enabling} onClose={() => setEnabling(false)} />
    </Box>
  )
}

/** What a processor that is added to a lane reads by itself: what is marked left of it, or the only one there that nobody reads. */
function reader(model: { steps: { id: string; lane: number; outputs: string[] }[]; edges: { from: string }[] }, lane: number, selected: string[]): { id: string; port: string } | undefined {
  const left = model.steps.filter((step) => step.lane < lane && step.outputs[0] !== undefined)
  const marked = left.find((step) => selected.includes(step.id))
  const read = new Set(model.edges.map((edge) => edge.from))
  const loose = left.filter((step) => !read.has(step.id))
  const step = marked ?? (loose.length === 1 ? loose[0] : undefined)
  return step?.outputs[0] === undefined ? undefined : { id: step.id, port: step.outputs[0] }
}

