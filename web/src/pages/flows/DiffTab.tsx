// The draft against the enabled version, or against an earlier one, which can be taken back into the draft.
import { Alert, Box, Button, MenuItem, Stack, TextField } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { flowVersion, flowVersions } from '../../api/flows'
import { ErrorPanel, Skeletons } from '../../components/states'
import { toast } from '../../components/toast'
import { changesOf } from '../../flow/changes'
import { useSession, useSessionState } from '../../flow/useSession'
import { short, when } from '../../lib/format'
import { ChangedTexts, ChangeList } from './ChangedTexts'

export function DiffTab() {
  const session = useSession()
  const flow = useSessionState((state) => state.flow)
  const content = useSessionState((state) => state.content)
  const [version, setVersion] = useState('present')
  const versions = useQuery({ queryKey: ['versions', session.slug, flow?.flow.version], queryFn: ({ signal }) => flowVersions(session.slug, signal), enabled: flow !== undefined })
  const other = useQuery({ queryKey: ['version', session.slug, version], queryFn: ({ signal }) => flowVersion(session.slug, version, signal), enabled: version !== 'present', staleTime: Infinity })
  const from = version === 'present' ? flow : other.data
  const changes = useMemo(() => changesOf(from, content), [from, content])
  if (!flow) return <Box sx={{ p: 3, color: 'text.secondary' }}>It was never enabled, so there is nothing to compare with yet.</Box>
  return (
    <Stack sx={{ height: '100%', minHeight: 0 }}>
      <Stack direction="row" spacing={1} useFlexGap sx={{ px: 2, py: 1, alignItems: 'center', flexWrap: 'wrap', borderBottom: 1, borderColor: 'divider' }}>
        <TextField select label="From" value={version} onChange={(event) => setVersion(event.target.value)} sx={{ width: 270 }}>
          <MenuItem value="present">present version {short(flow.flow.version)}</MenuItem>
          {(versions.data?.rows ?? []).filter((one) => one.version !== flow.flow.version).map((one) => (
            <MenuItem key={one.version} value={one.version}>{short(one.version)} · {when(one.at)} · {one.actor}</MenuItem>
          ))}
        </TextField>
        <ChangeList changes={changes} />
        <Box sx={{ flex: 1 }} />
        {version !== 'present' && other.data && (
          <Button
            variant="outlined"
            onClick={() => {
              const taken = other.data
              session.apply(`take version ${short(version)}`, () => ({ text: taken.text, files: taken.files }))
              toast(`The draft is version ${short(version)} now; enable it to use it`, { undo: () => session.undo() })
            }}
          >
            Take this version
          </Button>
        )}
      </Stack>
      {other.error && version !== 'present' ? (
        <ErrorPanel error={other.error} what="That version could not be fetched" retry={() => void other.refetch()} />
      ) : !from ? (
        <Skeletons />
      ) : changes.any ? (
        <Box sx={{ flex: 1, minHeight: 0 }}>
          <ChangedTexts label="Version beside draft" before={from} after={content} changes={changes} />
        </Box>
      ) : (
        <Alert severity="success" variant="outlined" sx={{ m: 2 }}>Nothing differs from it.</Alert>
      )}
    </Stack>
  )
}
