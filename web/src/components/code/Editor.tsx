// CodeMirror as a controlled component. `../CodeEditor` fetches this when it is first shown.
import { setDiagnostics, type Diagnostic } from '@codemirror/lint'
import { Annotation, Compartment, EditorState, Prec } from '@codemirror/state'
import { EditorView, keymap } from '@codemirror/view'
import { Box } from '@mui/material'
import { useEffect, useRef } from 'react'
import { languageSupport, type Language } from './languages'
import { basics } from './setup'

export interface Mark {
  /** Places in the text, in UTF-16 units; `to` may equal `from`. */
  from: number
  to: number
  severity: 'error' | 'warning' | 'info'
  message: string
}

export interface CodeEditorProps {
  /** What is edited, for screen readers. */
  label: string
  value: string
  onChange?: (value: string) => void
  language: Language
  readOnly?: boolean
  marks?: Mark[]
  /** Ctrl Enter. */
  onRun?: () => void
  /** Where the cursor goes when this changes: a line, from 1. */
  line?: number
  /** Without its own undo, where somebody else keeps one. */
  onUndo?: () => void
  onRedo?: () => void
  autoFocus?: boolean
}

const fromOutside = Annotation.define<boolean>()

export default function Editor(props: CodeEditorProps) {
  const { label, value, language, readOnly = false, marks, line } = props
  const place = useRef<HTMLDivElement>(null)
  const view = useRef<EditorView>(undefined)
  const latest = useRef(props)
  useEffect(() => {
    latest.current = props
  })
  const languageSlot = useRef(new Compartment())

  useEffect(() => {
    const parent = place.current
    if (!parent) return
    const run = (what: 'onRun' | 'onUndo' | 'onRedo') => () => {
      const handler = latest.current[what]
      handler?.()
      return handler !== undefined
    }
    const editor = new EditorView({
      parent,
      state: EditorState.create({
        doc: latest.current.value,
        extensions: [
          Prec.highest(
            keymap.of([
              { key: 'Mod-Enter', run: run('onRun') },
              { key: 'Mod-z', run: run('onUndo') },
              { key: 'Mod-y', run: run('onRedo') },
              { key: 'Mod-Shift-z', run: run('onRedo') },
            ]),
          ),
          ...basics({ readOnly }),
          languageSlot.current.of([]),
          EditorView.contentAttributes.of({ 'aria-label': label }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged && !update.transactions.some((one) => one.annotation(fromOutside))) {
              latest.current.onChange?.(update.state.doc.toString())
            }
          }),
        ],
      }),
    })
    view.current = editor
    if (latest.current.autoFocus) editor.focus()
    return () => {
      editor.destroy()
      view.current = undefined
    }
  }, [label, readOnly])

  useEffect(() => {
    const editor = view.current
    if (!editor) return
    const now = editor.state.doc.toString()
    if (now === value) return
    // Only what differs is replaced, so that the cursor stays where it is.
    let from = 0
    while (from < now.length && from < value.length && now[from] === value[from]) from += 1
    let end = 0
    while (end < now.length - from && end < value.length - from && now.at(-1 - end) === value.at(-1 - end)) end += 1
    editor.dispatch({
      changes: { from, to: now.length - end, insert: value.slice(from, value.length - end) },
      annotations: fromOutside.of(true),
    })
  }, [value, label, readOnly])

  useEffect(() => {
    let gone = false
    void languageSupport(language).then((support) => {
      if (!gone) view.current?.dispatch({ effects: languageSlot.current.reconfigure(support) })
    })
    return () => {
      gone = true
    }
  }, [language, label, readOnly])

  useEffect(() => {
    const editor = view.current
    if (!editor) return
    const most = editor.state.doc.length
    const list: Diagnostic[] = (marks ?? []).map((mark) => ({
      ...mark,
      from: Math.min(mark.from, most),
      to: Math.min(Math.max(mark.to, mark.from), most),
    }))
    editor.dispatch(setDiagnostics(editor.state, list))
  }, [marks, value, label, readOnly])

  useEffect(() => {
    const editor = view.current
    if (!editor || line === undefined || line < 1) return
    const at = editor.state.doc.line(Math.min(line, editor.state.doc.lines))
    editor.dispatch({ selection: { anchor: at.from }, effects: EditorView.scrollIntoView(at.from, { y: 'center' }) })
  }, [line, label, readOnly])

  return <Box ref={place} sx={{ height: '100%', minHeight: 0, overflow: 'hidden' }} />
}
