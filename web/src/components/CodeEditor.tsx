// An editor for code and text, fetched when it is first shown.
import { lazy, Suspense } from 'react'
import type { CodeEditorProps } from './code/Editor'
import { Skeletons } from './states'

export type { CodeEditorProps, Mark } from './code/Editor'
export { languageOf, type Language } from './code/languages'

const Editor = lazy(() => import('./code/Editor'))

export function CodeEditor(props: CodeEditorProps) {
  return (
    <Suspense fallback={<Skeletons lines={5} />}>
      <Editor {...props} />
    </Suspense>
  )
}
