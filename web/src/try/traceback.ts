// Where in the shown code a failure stands: the server says a line of the code, with the file where it is one.
import type { Fault } from '../api/types'
import type { Mark } from '../components/CodeEditor'

/** The failure as a mark on its line; nothing where the line is not in this code. */
export function faultMarks(fault: Fault | undefined, code: string, file?: string): Mark[] {
  if (!fault?.line || fault.line < 1) return []
  if (fault.file !== undefined && file !== undefined && clean(fault.file) !== clean(file)) return []
  const lines = code.split('\n')
  if (fault.line > lines.length) return []
  const from = lines.slice(0, fault.line - 1).reduce((sum, one) => sum + one.length + 1, 0)
  const text = lines[fault.line - 1] ?? ''
  const indent = /^\s*/.exec(text)?.[0].length ?? 0
  return [{ from: from + indent, to: from + text.length, severity: 'error', message: fault.hint ? `${fault.message}\n${fault.hint}` : fault.message }]
}

const clean = (path: string) => path.replace(/^\.\//, '')
