// What a processor is tried on, and what is known of it before it is.
import type { Sample } from '../api/types'

export interface Chosen {
  sample: Sample
  /** What people call it. */
  name: string
  size?: number
  /** Where it comes from, in words: `dead letter`, `recent item`. */
  from: string
}

/** A sample as it stands in the URL: `dead_letter:7k2p`, `item:…`, `dataset:…`, `upload:…`. */
export function readSample(text: string | undefined): Chosen | undefined {
  const found = /^(dead_letter|item|dataset|upload):(.+)$/.exec(text ?? '')
  const [, kind, id] = found ?? []
  if (!kind || !id) return undefined
  const from = { dead_letter: 'dead letter', item: 'recent item', dataset: 'dataset', upload: 'upload' }[kind] ?? kind
  return { sample: { [kind]: id } as unknown as Sample, name: id.length > 16 ? `${id.slice(0, 15)}…` : id, from }
}

/** The same the other way round; `undefined` for what is not kept on the server. */
export function writeSample(sample: Sample): string | undefined {
  for (const kind of ['dead_letter', 'item', 'dataset', 'upload'] as const) {
    const id = (sample as Record<string, unknown>)[kind]
    if (typeof id === 'string') return `${kind}:${id}`
  }
  return undefined
}
