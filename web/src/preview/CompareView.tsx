// Two texts beside each other, what differs marked; what is the same over many lines is folded.
import { MergeView } from '@codemirror/merge'
import { EditorView } from '@codemirror/view'
import { Box } from '@mui/material'
import { useEffect, useRef } from 'react'
import { languageOf, languageSupport } from '../components/code/languages'
import { basics } from '../components/code/setup'

const tint = (name: string, percent: number): string => `color-mix(in srgb, var(--mui-palette-${name}-main) ${percent}%, transparent)`

const look = EditorView.theme({
  '&.cm-merge-a .cm-changedLine, .cm-deletedChunk': { backgroundColor: tint('error', 10) },
  '&.cm-merge-b .cm-changedLine, .cm-inlineChangedLine': { backgroundColor: tint('success', 12) },
  '&.cm-merge-a .cm-changedText': { background: tint('error', 28) },
  '&.cm-merge-b .cm-changedText': { background: tint('success', 28) },
  // Its arrows are in few fonts.
  '.cm-collapsedLines:before, .cm-collapsedLines:after': { content: '"···"' },
  '.cm-collapsedLines': { background: 'var(--mui-palette-background-default)', color: 'var(--mui-palette-text-secondary)' },
})

interface Side {
  /** What it is, for screen readers. */
  label: string
  text: string
}

export default function CompareView({ name, left, right }: { name: string; left: Side; right: Side }) {
  const host = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const parent = host.current
    if (!parent) return
    let view: MergeView | undefined
    let gone = false
    void languageSupport(languageOf(name)).then((language) => {
      if (gone) return
      const side = ({ label, text }: Side) => ({
        doc: text,
        extensions: [...basics({ readOnly: true }), look, language, EditorView.contentAttributes.of({ 'aria-label': label })],
      })
      view = new MergeView({
        parent,
        a: side(left),
        b: side(right),
        collapseUnchanged: { margin: 3, minSize: 8 },
        // Texts that have little in common would take very long otherwise.
        diffConfig: { scanLimit: 2000, timeout: 1500 },
      })
    })
    return () => {
      gone = true
      view?.destroy()
    }
    // The texts, not the objects that hold them: these are made anew each time the page is drawn.
  }, [name, left.label, left.text, right.label, right.text])
  return <Box ref={host} sx={{ flex: 1, minHeight: 0, overflow: 'auto', '& .cm-mergeView, & .cm-mergeViewEditors': { minHeight: '100%' }, '& .cm-mergeViewEditor + .cm-mergeViewEditor': { borderLeft: 1, borderColor: 'divider' } }} />
}
