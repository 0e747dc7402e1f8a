// Two texts beside each other, what differs marked and long equal parts folded.
import { MergeView } from '@codemirror/merge'
import { EditorState, type Extension } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { Box } from '@mui/material'
import { useEffect, useRef } from 'react'
import { languageSupport, type Language } from './languages'
import { basics } from './setup'

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
  return <Box ref={place} sx={{ height: '100%', overflow: 'auto', '& .cm-mergeView': { minHeight: '100%' }, '& .cm-editor': { fontSize: 12 } }} />
}
