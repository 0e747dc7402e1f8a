// What can be done with a flow as a whole: from its row, and from its page.
import MoreVert from '@mui/icons-material/MoreVert'
import { Box, Divider, FormControlLabel, IconButton, Menu, MenuItem, Radio, RadioGroup } from '@mui/material'
import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { lazy, Suspense, useState } from 'react'
import { deleteFlow, disableFlow, dropDraft, enableAgain, readDraft, readFlow } from '../../api/flows'
import { ConfirmDialog } from '../../components/ConfirmDialog'
import { toast, toastProblem } from '../../components/toast'
import { useFlowPart } from '../../events/store'
import { save } from '../../lib/download'
import { many } from '../../lib/format'
import type { FlowRow } from './FlowsPage'

const Reprocess = lazy(() => import('./Reprocess'))

export function useFlowActions() {
  const queries = useQueryClient()
  const refresh = () => {
    void queries.invalidateQueries({ queryKey: ['flows'] })
    void queries.invalidateQueries({ queryKey: ['drafts'] })
  }
  const enable = async (flow: string, name: string) => {
    try {
      await enableAgain(flow, () => {})
      toast(`${name} is enabled`)
    } catch (problem) {
      toastProblem(`${name} could not be enabled`, problem)
    }
    refresh()
  }
  const disable = async (flow: string, name: string) => {
    await disableFlow(flow)
    toast(`${name} is disabled; what is under way is finished`, { undo: () => void enable(flow, name) })
    refresh()
  }
  const remove = async (flow: string, name: string, work: 'drain' | 'dead_letter') => {
    const { buried } = await deleteFlow(flow, work)
    toast(buried > 0 ? `${name} is deleted; ${many(buried, 'item')} became dead letters` : `${name} is deleted`)
    refresh()
  }
  const exportText = async (row: Pick<FlowRow, 'flow' | 'state'>) => {
    try {
      const { text } = row.state === 'draft' ? await readDraft(row.flow) : await readFlow(row.flow)
      save(new Blob([text], { type: 'application/yaml' }), `${row.flow}.yaml`)
    } catch (problem) {
      toastProblem('The flow could not be exported', problem)
    }
  }
  return { enable, disable, remove, exportText, refresh }
}

export function FlowMenu({ row, onDeleted }: { row: Pick<FlowRow, 'flow' | 'name' | 'state' | 'outstanding'>; onDeleted?: () => void }) {
  const [anchor, setAnchor] = useState<HTMLElement | null>(null)
  const [asking, setAsking] = useState<'disable' | 'delete' | 'drop' | 'reprocess' | undefined>()
  const [work, setWork] = useState<'drain' | 'dead_letter'>('drain')
  const { enable, disable, remove, exportText, refresh } = useFlowActions()
  const navigate = useNavigate()
  const { flow, name, state } = row
  const outstanding = useFlowPart(flow, (numbers) => numbers?.outstanding) ?? row.outstanding
  const item = (label: string, run: () => void, danger = false) => (
    <MenuItem
      key={label}
      onClick={() => {
        setAnchor(null)
        run()
      }}
      sx={danger ? { color: 'error.main' } : {}}
    >
      {label}
    </MenuItem>
  )
  return (
    <>
      <IconButton onClick={(event) => setAnchor(event.currentTarget)} aria-label={`More for ${name}`} aria-haspopup="menu">
        <MoreVert fontSize="small" />
      </IconButton>
      <Menu anchorEl={anchor} open={anchor !== null} onClose={() => setAnchor(null)}>
        {item('Open', () => void navigate({ to: '/flows/$flow', params: { flow } }))}
        {state === 'disabled' && item('Enable', () => void enable(flow, name))}
        {state === 'enabled' && item('Disable…', () => setAsking('disable'))}
        {state !== 'draft' && item('Runs', () => void navigate({ to: '/runs', search: { flow } }))}
        {state !== 'draft' && item('Datasets', () => void navigate({ to: '/datasets', search: { flow } }))}
        {state !== 'draft' && item('Reprocess…', () => setAsking('reprocess'))}
        {item('Export YAML', () => void exportText(row))}
        <Divider />
        {state === 'draft' ? item('Discard the draft…', () => setAsking('drop'), true) : item('Delete…', () => setAsking('delete'), true)}
      </Menu>
      <Suspense>{asking === 'reprocess' && <Reprocess flow={flow} name={name} onClose={() => setAsking(undefined)} />}</Suspense>
      <ConfirmDialog open={asking === 'disable'} title={`Disable ${name}?`} action="Disable" onConfirm={() => disable(flow, name)} onClose={() => setAsking(undefined)}>
        <span>It takes nothing more from its sources. What is under way is finished, and nothing is lost; what comes meanwhile is taken when it is enabled again.</span>
      </ConfirmDialog>
      <ConfirmDialog
        open={asking === 'delete'} title={`Delete ${name}?`} action="Delete flow" danger
        onConfirm={async () => {
          await remove(flow, name, work)
          onDeleted?.()
        }}
        onClose={() => setAsking(undefined)}
      >
        <span>Its datasets and their history stay. The flow and its draft go.</span>
        <Box>
          <Box id="work" sx={{ fontWeight: 600, mb: 0.5 }}>{outstanding > 0 ? `${many(outstanding, 'item is', 'items are')} under way` : 'What may still be under way'}</Box>
          <RadioGroup aria-labelledby="work" value={work} onChange={(_, value) => setWork(value as typeof work)} sx={{ '& .MuiFormControlLabel-label': { fontSize: 13 } }}>
            <FormControlLabel value="drain" control={<Radio size="small" />} label="is finished before" />
            <FormControlLabel value="dead_letter" control={<Radio size="small" />} label="becomes dead letters, which can be looked at" />
          </RadioGroup>
        </Box>
      </ConfirmDialog>
      <ConfirmDialog
        open={asking === 'drop'} title={`Discard the draft ${name}?`} action="Discard draft" danger
        onConfirm={async () => {
          const { etag } = await readDraft(flow)
          await dropDraft(flow, etag)
          refresh()
          onDeleted?.()
        }}
        onClose={() => setAsking(undefined)}
      >
        <span>It was never enabled. What is written in it is gone.</span>
      </ConfirmDialog>
    </>
  )
}
