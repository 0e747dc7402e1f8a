// Which kind of processor to add, by its role, with a search.
import { Box, ButtonBase, Dialog, DialogContent, DialogTitle, TextField, Typography } from '@mui/material'
import { useState } from 'react'
import { useKinds } from '../../api/hooks'
import type { Kind } from '../../api/types'
import { EmptyState, ErrorPanel, Skeletons } from '../../components/states'
import { KindIcon } from '../../flow/kinds'

const ROLES = [
  { role: 'ingest', title: 'Bring items in' },
  { role: 'transform', title: 'Work on them' },
  { role: 'collect', title: 'Keep them' },
] as const

export function AddProcessor({ open, reads, onClose, onAdd }: { open: boolean; reads: string | undefined; onClose: () => void; onAdd: (kind: Kind) => void }) {
  return (
    <Dialog open={open} onClose={onClose} maxWidth="sm" fullWidth aria-labelledby="add-title">
      {open && <Inner reads={reads} onAdd={onAdd} />}
    </Dialog>
  )
}

function Inner({ reads, onAdd }: { reads: string | undefined; onAdd: (kind: Kind) => void }) {
  const { kinds, error, refetch } = useKinds()
  const [typed, setTyped] = useState('')
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean)
  const fitting = kinds.filter(
    (kind) => kind.class === 'processor' && !(reads !== undefined && kind.role === 'ingest') && words.every((word) => `${kind.name} ${kind.summary}`.toLowerCase().includes(word)),
  )
  return (
    <>
      <DialogTitle id="add-title" sx={{ fontSize: 16, pb: 1 }}>
        Add a processor{reads !== undefined && <Box component="span" sx={{ fontWeight: 400, color: 'text.secondary', fontSize: 13 }}> that reads {reads}</Box>}
      </DialogTitle>
      <DialogContent>
        <TextField
          autoFocus placeholder="Search kinds" value={typed} onChange={(event) => setTyped(event.target.value)} slotProps={{ htmlInput: { 'aria-label': 'Search kinds' } }} sx={{ mb: 1 }}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && fitting[0]) onAdd(fitting[0])
          }}
        />
        {error ? <ErrorPanel error={error} what="The kinds could not be listed" retry={() => void refetch()} /> : kinds.length === 0 ? <Skeletons /> : fitting.length === 0 ? <EmptyState title="No kind fits" /> : null}
        {ROLES.map(({ role, title }) => {
          const own = fitting.filter((kind) => kind.role === role)
          if (own.length === 0) return null
          return (
            <Box key={role} role="group" aria-label={title} sx={{ mb: 1 }}>
              <Typography variant="caption" sx={{ fontWeight: 600, color: 'text.secondary' }}>{title}</Typography>
              {own.map((kind) => (
                <ButtonBase
                  key={kind.name}
                  onClick={() => onAdd(kind)}
                  sx={{ width: '100%', justifyContent: 'flex-start', gap: 1.25, px: 1, py: 0.75, borderRadius: 1, textAlign: 'left', '&:hover, &:focus-visible': { bgcolor: 'action.hover' }, '&:focus-visible': { outline: 2, outlineColor: 'primary.main' } }}
                >
                  <KindIcon type={kind.name} sx={{ fontSize: 18, color: 'text.secondary' }} />
                  <Box>
                    <Box sx={{ fontWeight: 600, fontSize: 13 }}>{kind.name}</Box>
                    <Box sx={{ fontSize: 12, color: 'text.secondary' }}>{kind.summary}</Box>
                  </Box>
                </ButtonBase>
              ))}
            </Box>
          )
        })}
      </DialogContent>
    </>
  )
}
