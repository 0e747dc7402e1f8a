// What of a flow differs: in words, and its texts one at a time beside what they were, the flow itself and the files that it
// names.
import { Box, Chip, Stack, ToggleButton, ToggleButtonGroup } from '@mui/material'
import { lazy, Suspense, useState } from 'react'
import type { Files } from '../../api/types'
import { languageOf } from '../../components/code/languages'
import { Skeletons } from '../../components/states'
import type { Changes } from '../../flow/changes'

const TextDiff = lazy(() => import('../../components/code/TextDiff'))

interface Content {
  text: string
  files: Files
}

/** The flow itself has no path. */
const FLOW = ''

export function ChangedTexts({ before, after, changes, label }: { before: Content; after: Content; changes: Changes; label: string }) {
  const [chosen, setChosen] = useState<string>()
  const paths = [...(before.text === after.text ? [] : [FLOW]), ...changes.files.map((one) => one.path)]
  const path = chosen !== undefined && paths.includes(chosen) ? chosen : (paths[0] ?? FLOW)
  const textOf = (content: Content) => {
    if (path === FLOW) return content.text
    const file = content.files[path] as { text?: string } | undefined
    return file?.text ?? ''
  }
  const language = path === FLOW ? 'yaml' : languageOf(path)
  return (
    <Stack sx={{ height: '100%', minHeight: 0 }}>
      {paths.length > 1 && (
        <ToggleButtonGroup exclusive size="small" value={path} onChange={(_, next: string | null) => next !== null && setChosen(next)} aria-label="Text" sx={{ px: 1, py: 0.75, flexShrink: 0, overflowX: 'auto', borderBottom: 1, borderColor: 'divider', '& button': { py: 0.25, px: 1.25, fontSize: 12, whiteSpace: 'nowrap' } }}>
          {paths.map((one) => <ToggleButton key={one} value={one}>{one === FLOW ? 'the flow' : <span className="mono">{one}</span>}</ToggleButton>)}
        </ToggleButtonGroup>
      )}
      <Box sx={{ flex: 1, minHeight: 0 }}>
        <Suspense fallback={<Skeletons />}><TextDiff key={path} label={label} before={textOf(before)} after={textOf(after)} language={language} /></Suspense>
      </Box>
    </Stack>
  )
}

const TONES = { added: 'success', removed: 'error', changed: 'warning' } as const
const SIGNS = { added: '+', removed: '−', changed: '~' } as const

export function ChangeList({ changes }: { changes: Changes }) {
  return (
    <Stack component="ul" direction="row" spacing={0.75} useFlexGap aria-label="What differs" sx={{ m: 0, p: 0, listStyle: 'none', flexWrap: 'wrap' }}>
      {changes.flow.length > 0 && <li><Chip variant="outlined" color="warning" label={`~ flow: ${changes.flow.join(', ')}`} /></li>}
      {changes.processors.map((one) => (
        <li key={one.id}>
          <Chip variant="outlined" color={TONES[one.change]} label={`${SIGNS[one.change]} ${one.id}${one.fields.length > 0 ? `: ${one.fields.join(', ')}` : ''}`} aria-label={`${one.id} ${one.change}${one.fields.length > 0 ? `: ${one.fields.join(', ')}` : ''}`} />
        </li>
      ))}
      {changes.files.map((one) => (
        <li key={one.path}><Chip variant="outlined" color={TONES[one.change]} label={`${SIGNS[one.change]} ${one.path}`} aria-label={`${one.path} ${one.change}`} /></li>
      ))}
      {changes.onlyText && <li><Chip variant="outlined" label="only comments or layout" /></li>}
    </Stack>
  )
}
