// Where in the shown code a failure stands: the server says a line of the code, with the file where it is one.
import type { Fault, TriedFault } from '../api/types'
import type { Mark } from '../components/CodeEditor'

/** The failure as a mark on its line; nothing where the line is not in this code. */
export function faultMarks(fault: TriedFault | null | undefined, code: string, file?: string): Mark[] {
  const line = lineOfFault(fault)
  if (!fault || line === undefined) return []
  // Tracebacks have the last part of a path; code within the flow is called as its processor.
  if (fault.file != null && file !== undefined && last(fault.file) !== last(file)) return []
  const lines = code.split('\n')
  if (line > lines.length) return []
  const from = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0)
  const text = lines[line - 1] ?? ''
  const indent = /^\s*/.exec(text)?.[0].length ?? 0
  return [{ from: from + indent, to: from + text.length, severity: 'error', message: fault.hint ? `${fault.message}\n${fault.hint}` : fault.message }]
}

/** The line, as it is said or as it stands in the place; from 1. */
export function lineOfFault(fault: Fault | TriedFault | null | undefined): number | undefined {
  const place = fault && 'place' in fault ? fault.place?.[0] : undefined
  const line = (fault && 'line' in fault ? fault.line : undefined) ?? Number(/:(\d+)$/.exec(place ?? '')?.[1] ?? Number.NaN)
  return Number.isInteger(line) && line > 0 ? line : undefined
}

const last = (path: string) => path.split('/').at(-1)
