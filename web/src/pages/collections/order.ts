// Which collections are shown, in which order. The server lists them all, so that this is done here.
import type { Collection } from '../../api/types'
import type { CollectionsSearch } from './search'

const FIELDS: Record<string, (a: Collection, b: Collection) => number> = {
  name: (a, b) => a.name.localeCompare(b.name),
  datasets: (a, b) => a.datasets - b.datasets,
  bytes: (a, b) => a.bytes - b.bytes,
  // RFC 3339 in UTC with as many digits: text sorts as time.
  changed: (a, b) => (a.changed < b.changed ? -1 : a.changed > b.changed ? 1 : 0),
}

export function found(rows: readonly Collection[], { q, sort = 'name' }: CollectionsSearch): Collection[] {
  const words = (q ?? '').toLowerCase().split(/\s+/).filter(Boolean)
  const fits = rows.filter((row) => words.every((word) => row.name.toLowerCase().includes(word)))
  const down = sort.startsWith('-')
  const by = FIELDS[down ? sort.slice(1) : sort] ?? FIELDS.name
  return by ? fits.sort((a, b) => (down ? by(b, a) : by(a, b)) || a.name.localeCompare(b.name)) : fits
}
