// What differs between two flows, by processor and by file. Pure.
import type { Files } from '../api/types'
import { readModel } from './model'
import { same } from './text'

export interface ProcessorChange {
  id: string
  change: 'added' | 'removed' | 'changed'
  /** Keys that differ, where it changed. */
  fields: string[]
}

export interface Changes {
  processors: ProcessorChange[]
  /** Keys of the flow itself. */
  flow: string[]
  files: { path: string; change: ProcessorChange['change'] }[]
  /** The text differs, though what it says does not. */
  onlyText: boolean
  any: boolean
}

interface Content {
  text: string
  files: Files
}

export function changesOf(from: Content | undefined, to: Content): Changes {
  const before = from ? fieldsOf(from.text) : { processors: new Map<string, Record<string, unknown>>(), flow: {} }
  const after = fieldsOf(to.text)
  const processors: ProcessorChange[] = []
  for (const [id, raw] of after.processors) {
    const old = before.processors.get(id)
    if (!old) processors.push({ id, change: 'added', fields: [] })
    else {
      const fields = differing(old, raw)
      if (fields.length > 0) processors.push({ id, change: 'changed', fields })
    }
  }
  for (const id of before.processors.keys()) if (!after.processors.has(id)) processors.push({ id, change: 'removed', fields: [] })
  const files = [...new Set([...Object.keys(from?.files ?? {}), ...Object.keys(to.files)])].toSorted().flatMap((path) => {
    const [old, now] = [from?.files[path], to.files[path]]
    if (same(old, now)) return []
    return [{ path, change: old === undefined ? ('added' as const) : now === undefined ? ('removed' as const) : ('changed' as const) }]
  })
  const flow = differing(before.flow, after.flow)
  const said = processors.length + files.length + flow.length > 0
  const text = from?.text !== to.text
  return { processors, flow, files, onlyText: text && !said, any: text || said }
}

function fieldsOf(text: string) {
  const { model } = readModel(text)
  const processors = new Map(model?.steps.map((step) => [step.id, step.raw]))
  return { processors, flow: { name: model?.name, description: model?.description, phases: model?.phases } as Record<string, unknown> }
}

const differing = (a: Record<string, unknown>, b: Record<string, unknown>) => [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => !same(a[key], b[key]))
