// Places that the server says (bytes, lines, characters) as places in a text of the page (UTF-16 units).
import type { Diagnostic, Span } from '../api/types'
import type { Mark } from '../components/CodeEditor'

/** The units at which byte `offset` of the text's UTF-8 begins. */
export function unitAt(text: string, offset: number): number {
  let bytes = 0
  let at = 0
  for (const c of text) {
    if (bytes >= offset) return at
    const code = c.codePointAt(0) ?? 0
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
    at += c.length
  }
  return at
}

export function rangeOf(text: string, span: Span): { from: number; to: number } {
  const from = unitAt(text, span.offset)
  return { from, to: span.len === 0 ? from : Math.max(from, unitAt(text, span.offset + span.len)) }
}

const said = (one: Diagnostic) => (one.hint ? `${one.message}\n${one.hint}` : one.message)

/** The diagnostics of one file (`undefined`: the flow itself) as marks. */
export function marksOf(text: string, diagnostics: readonly Diagnostic[], file?: string): Mark[] {
  const clean = (path: string | null | undefined) => path?.replace(/^\.\//, '')
  return diagnostics
    .filter((one) => clean(one.file) === clean(file))
    .map((one) => ({ ...(one.span ? rangeOf(text, one.span) : { from: 0, to: 0 }), severity: one.severity, message: said(one) }))
}

/**
 * The diagnostics that stand within a block of code of the flow's text, as marks of the code alone. `first` is the line
 * (from 1) at which the block begins in `text`.
 */
export function marksWithin(text: string, first: number, code: string, diagnostics: readonly Diagnostic[]): Mark[] {
  const lines = text.split('\n')
  const codeLines = code.split('\n')
  const indent = (lines[first - 1]?.length ?? 0) - (codeLines[0]?.length ?? 0)
  if (indent < 0) return []
  const starts: number[] = []
  codeLines.reduce((sum, line) => (starts.push(sum), sum + line.length + 1), 0)
  return diagnostics.flatMap((one): Mark[] => {
    if (one.file != null || !one.span) return []
    const row = one.span.line - first
    const line = codeLines[row]
    if (row < 0 || line === undefined) return []
    const column = Math.max(0, [...(lines[one.span.line - 1] ?? '')].slice(0, one.span.column - 1).join('').length - indent)
    const from = (starts[row] ?? 0) + Math.min(column, line.length)
    const { from: a, to: b } = rangeOf(text, one.span)
    return [{ from, to: Math.min(from + (b - a), (starts[row] ?? 0) + line.length), severity: one.severity, message: said(one) }]
  })
}
