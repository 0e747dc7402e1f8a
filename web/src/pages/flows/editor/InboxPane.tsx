// Files for the folder of an ingest: dropped here they are put there, whole and never over another.
import { Box, Button, Typography } from '@mui/material'
import { useState } from 'react'
import { dropFile } from '../../../api/flows'
import { asProblem, type Problem } from '../../../api/problem'
import type { Step } from '../../../flow/model'
import { useSession, useSessionState } from '../../../flow/useSession'
import { bytes } from '../../../lib/format'
import { DropZone } from '../../../try/DropZone'

interface Put {
  name: string
  size: number
  state: 'going' | 'there' | 'taken' | 'refused'
  problem?: Problem
  file: File
}

export function InboxPane({ step }: { step: Step }) {
  const session = useSession()
  const flow = useSessionState((state) => state.flow)
  const [puts, setPuts] = useState<Put[]>([])
  const known = flow?.plan?.processors.some((one) => one.id === step.id) ?? false
  const set = (file: File, part: Partial<Put>) => setPuts((now) => now.map((one) => (one.file === file ? { ...one, ...part } : one)))
  const put = async (file: File, replace: boolean) => {
    set(file, { state: 'going' })
    try {
      await dropFile(session.slug, step.id, file, file.name, replace)
      set(file, { state: 'there' })
    } catch (error) {
      const problem = asProblem(error)
      set(file, { state: problem.code === 'name-taken' ? 'taken' : 'refused', problem })
    }
  }
  const take = async (files: File[]) => {
    setPuts((now) => [...files.map((file): Put => ({ name: file.name, size: file.size, state: 'going', file })), ...now].slice(0, 100))
    // One after the other: a folder of thousands opens no thousand requests.
    for (const file of files) await put(file, false)
  }
  if (!known) return null
  return (
    <Box component="section" aria-label="Files for this ingest" sx={{ p: 1.5, borderTop: 1, borderColor: 'divider', maxHeight: '45%', overflow: 'auto' }} tabIndex={-1}>
      <Typography variant="h3" component="h2" sx={{ mb: 1 }}>Put files in</Typography>
      <DropZone onFiles={(files) => void take(files)} label="Choose files for the folder" multiple compact>
        Drop files here for its folder{flow?.flow.state === 'enabled' ? '; they are taken at once' : '; they are taken when the flow is enabled'}.
      </DropZone>
      <Box component="ul" aria-label="Files that were put in" sx={{ m: 0, mt: 1, p: 0, listStyle: 'none', fontSize: 12.5, display: 'grid', gap: 0.25 }}>
        {puts.map((one, at) => (
          <Box component="li" key={at} sx={{ display: 'flex', gap: 1, alignItems: 'center' }}>
            <Box component="span" className="mono" sx={{ overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap', minWidth: 0 }}>{one.name}</Box>
            <Box component="span" sx={{ color: 'text.secondary', flexShrink: 0 }}>{bytes(one.size)}</Box>
            <Box component="span" role="status" sx={{ color: one.state === 'there' ? 'success.main' : one.state === 'going' ? 'text.secondary' : 'error.main', flexShrink: 0 }} title={one.problem?.hint}>
              {one.state === 'there' ? 'put in' : one.state === 'going' ? 'on its way…' : one.problem?.message}
            </Box>
            {one.state === 'taken' && <Button sx={{ minHeight: 0, py: 0 }} onClick={() => void put(one.file, true)}>Replace</Button>}
          </Box>
        ))}
      </Box>
    </Box>
  )
}
