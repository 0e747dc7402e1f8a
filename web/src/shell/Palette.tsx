// Ctrl K: pages, flows and everything that can be done here, by a few letters.
import { Box, Dialog, InputBase, Typography } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useEffect, useId, useMemo, useRef, useState } from 'react'
import { listFlows } from '../api/flows'
import { Keys } from '../components/bits'
import { keyNames, useAllCommands, type Command } from './commands'

export function Palette({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      fullWidth
      maxWidth="sm"
      slotProps={{ paper: { 'aria-label': 'Search or run a command', sx: { alignSelf: 'flex-start', mt: '9vh' } } }}
    >
      {open && <Inner onClose={onClose} />}
    </Dialog>
  )
}

/** How well the letters fit: 0 not at all. The beginnings of words count most. */
export function fit(letters: string, command: Pick<Command, 'label' | 'words' | 'group'>): number {
  const wanted = letters.toLowerCase().split(/\s+/).filter(Boolean)
  const label = command.label.toLowerCase()
  const all = `${label} ${command.words?.toLowerCase() ?? ''} ${command.group.toLowerCase()}`
  let sum = 1
  for (const word of wanted) {
    if (label.startsWith(word)) sum += 8
    else if (all.includes(` ${word}`)) sum += 4
    else if (all.includes(word)) sum += 1
    else return 0
  }
  return sum
}

const MOST = 60

function Inner({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate()
  const [typed, setTyped] = useState('')
  const [at, setAt] = useState(0)
  const id = useId()
  const list = useRef<HTMLDivElement>(null)
  const commands = useAllCommands()
  const flows = useQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal) })
  const found = useMemo(() => {
    const opened = (flows.data?.rows ?? []).map((flow): Command => ({
      id: `flow:${flow.flow}`,
      label: flow.name,
      group: 'Flow',
      words: flow.flow,
      run: () => void navigate({ to: '/flows/$flow', params: { flow: flow.flow } }),
    }))
    const searches: Command[] = typed.trim()
      ? [{ id: 'datasets', label: `Datasets with “${typed.trim()}”`, group: 'Search', run: () => void navigate({ to: '/datasets', search: { q: typed.trim() } }) }]
      : []
    const fitting = [...commands.filter((command) => !command.hidden), ...opened]
      .map((command, index) => ({ command, index, score: fit(typed, command) }))
      .filter((one) => one.score > 0)
      .sort((a, b) => b.score - a.score || a.index - b.index)
      .map((one) => one.command)
    return [...fitting.slice(0, MOST), ...searches]
  }, [commands, flows.data, typed, navigate])
  const here = Math.min(at, found.length - 1)
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' })
  }, [here])
  const run = (command: Command | undefined) => {
    if (!command) return
    onClose()
    // After the dialog has given the focus back.
    setTimeout(() => command.run(), 0)
  }
  return (
    <>
      <InputBase
        autoFocus
        value={typed}
        onChange={(event) => {
          setTyped(event.target.value)
          setAt(0)
        }}
        onKeyDown={(event) => {
          const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key]
          if (step !== undefined) {
            event.preventDefault()
            setAt(Math.max(0, Math.min(found.length - 1, here + step)))
          } else if (event.key === 'Enter') {
            event.preventDefault()
            run(found[here])
          }
        }}
        placeholder="A page, a flow, something to do…"
        inputProps={{ role: 'combobox', 'aria-label': 'Search or run a command', 'aria-expanded': true, 'aria-controls': id, 'aria-activedescendant': found[here] ? `${id}-${here}` : undefined }}
        sx={{ px: 2, height: 48, fontSize: 15, borderBottom: 1, borderColor: 'divider' }}
      />
      <Box ref={list} id={id} role="listbox" aria-label="Found" sx={{ overflowY: 'auto', maxHeight: 420, p: 0.75 }}>
        {found.map((command, index) => (
          <Box
            key={command.id}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === here}
            onMouseMove={() => setAt(index)}
            onClick={() => run(command)}
            sx={{ display: 'flex', alignItems: 'center', gap: 1.5, px: 1.25, height: 36, borderRadius: 1, cursor: 'pointer', fontSize: 13, bgcolor: index === here ? 'action.selected' : undefined }}
          >
            <Box component="span" sx={{ width: 86, flexShrink: 0, fontSize: 12, color: 'text.secondary' }}>{command.group}</Box>
            <Box component="span" sx={{ flex: 1, minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{command.label}</Box>
            {command.keys && <Keys names={keyNames(command.keys)} />}
          </Box>
        ))}
        {found.length === 0 && <Typography sx={{ p: 2, color: 'text.secondary', fontSize: 13 }}>Nothing fits.</Typography>}
      </Box>
    </>
  )
}
