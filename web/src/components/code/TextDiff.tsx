// Two texts beside each other, what differs marked and long equal parts folded.
import { MergeView } from '@codemirror/merge'
import { EditorState, type Extension } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { Box } from '@mui/material'
import { useEffect, useRef } from 'react'
import { languageSupport, type Language } from './languages'
import { basics } from './setup'

/** Its own colours are for light pages, and its signs of a font that is not here. */
const MARKS = {
  '& .cm-collapsedLines': { background: 'var(--mui-palette-background-default)', color: 'var(--mui-palette-text-secondary)', padding: '3px 8px', fontSize: 11.5, textAlign: 'center' },
  '& .cm-collapsedLines::before, & .cm-collapsedLines::after': { content: '"⋯"', margin: '0 8px' },
  '& .cm-merge-a .cm-changedLine, & .cm-deletedChunk': { backgroundColor: 'color-mix(in srgb, var(--mui-palette-error-main) 9%, transparent)' },
  '& .cm-merge-b .cm-changedLine, & .cm-inlineChangedLine': { backgroundColor: 'color-mix(in srgb, var(--mui-palette-success-main) 11%, transparent)' },
  '& .cm-merge-a .cm-changedText': { background: 'color-mix(in srgb, var(--mui-palette-error-main) 24%, transparent)' },
  '& .cm-merge-b .cm-changedText': { background: 'color-mix(in srgb, var(--mui-palette-success-main) 26%, transparent)' },
  '& .cm-mergeViewEditor + .cm-mergeViewEditor': { borderLeft: '1px solid var(--mui-palette-divider)' },
} as const

export default function TextDiff({ before, after, label, language = 'text' }: { before: string; after: string; label: string; language?: Language }) {
  const place = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const parent = place.current
    if (!parent) return
    let view: MergeView | undefined
    let gone = false
    void languageSupport(language).then((support: Extension) => {
      if (gone) return
      const side = (doc: string, name: string) => ({
        doc,
        extensions: [...basics({ readOnly: true }), EditorView.editable.of(false), EditorState.readOnly.of(true), EditorView.lineWrapping, support, EditorView.contentAttributes.of({ 'aria-label': name, tabindex: '0' })],
      })
      view = new MergeView({ parent, a: side(before, `${label}: before`), b: side(after, `${label}: after`), collapseUnchanged: { margin: 3, minSize: 6 }, gutter: true })
    })
    return () => {
      gone = true
      view?.destroy()
    }
  }, [before, after, label, language])
  return <Box ref={place} sx={{ height: '100%', overflow: 'auto', '& .cm-mergeView': { minHeight: '100%' }, '& .cm-editor': { fontSize: 12 }, ...MARKS }} />
}
