// The code of a processor, wherever it is kept: in the flow, or in a file that the flow names.
import { Box, Chip, Stack, Typography } from '@mui/material'
import { useMemo } from 'react'
import type { Kind } from '../../../api/types'
import { CodeEditor, languageOf, type Language, type Mark } from '../../../components/CodeEditor'
import { toast } from '../../../components/toast'
import type { Step } from '../../../flow/model'
import { marksOf, marksWithin } from '../../../flow/places'
import { blockLineOf, setFields } from '../../../flow/text'
import { useSession, useSessionState } from '../../../flow/useSession'
import { codeFields } from '../../../form/schema'

export interface Code {
  value: string
  language: Language
  /** The file it is in; `undefined`: the flow itself. */
  file: string | undefined
  /** Named by the flow, but not there. */
  missing: boolean
  marks: Mark[]
  set: (value: string) => void
}

const LANGUAGES: Record<string, Language> = { python: 'python', clojure: 'clojure', sql: 'sql', json: 'json', shell: 'shell' }

/** The code of a step; `undefined` for kinds that have none. */
export function useCode(step: Step, kind: Kind | undefined): Code | undefined {
  const session = useSession()
  const files = useSessionState((state) => state.content.files)
  const text = useSessionState((state) => state.content.text)
  const diagnostics = useSessionState((state) => state.diagnostics)
  const { raw, id, type } = step
  return useMemo(() => {
    const fields = codeFields(kind)
    // `external` has a `shell` only where somebody wants one.
    const field = fields.find((one) => typeof raw[one] === 'string') ?? (fields.includes('code') || typeof raw.code === 'string' ? 'code' : undefined)
    const named = typeof raw.file === 'string' ? raw.file.replace(/^\.\//, '') : undefined
    const language = LANGUAGES[String(raw.language ?? '')] ?? (field === 'shell' ? 'shell' : field === 'query' || type === 'sql' ? 'sql' : named ? languageOf(named) : 'python')
    if (named !== undefined && typeof raw.code !== 'string') {
      const file = files[named]
      const value = file && 'text' in file ? file.text : ''
      return { value, language, file: named, missing: file === undefined, marks: marksOf(value, diagnostics, named), set: (next: string) => session.setFile(named, { text: next }, `file:${named}`) }
    }
    if (field === undefined) return undefined
    const value = typeof raw[field] === 'string' ? raw[field] : ''
    const first = blockLineOf(text, id, [field])
    return {
      value,
      language,
      file: undefined,
      missing: false,
      marks: first === undefined ? [] : marksWithin(text, first, value, diagnostics),
      set: (next: string) => {
        try {
          session.applyText(`edit the code of ${id}`, (flow) => setFields(flow, id, { [field]: next }), `code:${id}`)
        } catch (error) {
          toast(`Not taken: ${error instanceof Error ? error.message : String(error)}`, { severity: 'warning' })
        }
      },
    }
  }, [kind, raw, id, type, files, text, diagnostics, session])
}

export function CodePane({ code, marks, line, onRun }: { code: Code; marks: Mark[]; line?: number; onRun: () => void }) {
  const session = useSession()
  return (
    <Stack sx={{ flex: 1, minHeight: 120 }}>
      <Stack direction="row" spacing={1} sx={{ px: 1.5, minHeight: 32, alignItems: 'center', bgcolor: 'background.default', borderBottom: 1, borderColor: 'divider' }}>
        <Typography variant="h3" component="h2">Code</Typography>
        <Chip label={code.file ?? code.language} className="mono" sx={{ height: 20, fontSize: 11 }} />
        {code.missing && <Typography variant="caption" sx={{ color: 'warning.main' }}>{code.file} is not there yet; what you write here makes it</Typography>}
      </Stack>
      <Box sx={{ flex: 1, minHeight: 0 }}>
        <CodeEditor label="Code" value={code.value} language={code.language} onChange={code.set} marks={marks} onRun={onRun} onUndo={() => session.undo()} onRedo={() => session.redo()} {...(line !== undefined && { line })} />
      </Box>
    </Stack>
  )
}
