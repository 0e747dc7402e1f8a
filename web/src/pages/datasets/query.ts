// From an address to a request: relative times made absolute, and filters in words. And the views that a person keeps.
import type { QueryValue } from '../../api/client'
import { bytes, when } from '../../lib/format'
import { parseSearch, stringifySearch, type Raw } from '../../lib/search'
import { datasetsSearch, FILTERS, type DatasetsSearch } from './search'

const AGO = /^(\d{1,5})(m|h|d)$/
const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 }
const UNIT_WORDS = { m: 'minute', h: 'hour', d: 'day' }

/** `24h`, `7d`, `30m` before `now`, or a time as it is, as RFC 3339; undefined where it is neither. */
export function moment(text: string | undefined, now: number): string | undefined {
  if (text === undefined) return undefined
  const ago = AGO.exec(text)
  if (ago) return new Date(now - Number(ago[1]) * UNIT_MS[ago[2] as keyof typeof UNIT_MS]).toISOString()
  const time = Date.parse(text)
  return Number.isNaN(time) ? undefined : new Date(time).toISOString()
}

/** A moment in words: `24 hours ago`, `22 Nov 14:02`. */
export function momentWords(text: string): string {
  const ago = AGO.exec(text)
  if (!ago) return when(text)
  const count = Number(ago[1])
  return `${count} ${UNIT_WORDS[ago[2] as keyof typeof UNIT_WORDS]}${count === 1 ? '' : 's'} ago`
}

/** Bytes as people write them: `12`, `1.5 MB`, `2kb`; undefined where it is no size. */
export function sizeOf(text: string): number | undefined {
  const read = /^\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb)?\s*$/i.exec(text)
  if (!read) return undefined
  const power = ['b', 'kb', 'mb', 'gb', 'tb'].indexOf((read[2] ?? 'b').toLowerCase())
  const size = Math.round(Number(read[1]) * 1000 ** power)
  return Number.isSafeInteger(size) ? size : undefined
}

/** The query of a listing, the newest first unless it is said. `now` is fixed while one listing is paged through. */
export function datasetsQuery(search: DatasetsSearch, now: number): Record<string, QueryValue> {
  const { since, until, ...rest } = search
  return { sort: '-committed', ...rest, since: moment(since, now), until: moment(until, now) }
}

export interface ChosenFilter {
  key: (typeof FILTERS)[number]
  words: string
}

/** What narrows the listing, in words. */
export function chosen(search: DatasetsSearch): ChosenFilter[] {
  const words: Record<(typeof FILTERS)[number], (value: string | number) => string> = {
    collection: (value) => `in ${value}`,
    flow: (value) => `of flow ${value}`,
    processor: (value) => `by ${value}`,
    media: (value) => `${value}`,
    run: (value) => `of run ${value}`,
    since: (value) => `since ${momentWords(String(value))}`,
    until: (value) => `until ${momentWords(String(value))}`,
    min_size: (value) => `at least ${bytes(Number(value))}`,
    max_size: (value) => `at most ${bytes(Number(value))}`,
    export: (value) => `export ${value === 'none' ? 'not asked for' : value}`,
  }
  return FILTERS.flatMap((key) => {
    const value = search[key]
    return value === undefined ? [] : [{ key, words: words[key](value) }]
  })
}

/** A listing that a person named. */
export interface SavedView {
  name: string
  /** Its address: `?collection=Penguins&sort=-size`. */
  search: string
}

export const VIEWS = 'opendmp-dataset-views'

/** The views as they are kept; what can't be read is left out. */
export function readViews(stored: string | undefined): SavedView[] {
  try {
    const read: unknown = JSON.parse(stored ?? '[]')
    if (!Array.isArray(read)) return []
    return read.flatMap((one: Raw) =>
      typeof one?.name === 'string' && typeof one.search === 'string' ? [{ name: one.name, search: one.search }] : [],
    )
  } catch {
    return []
  }
}

/** With a view kept under its name, in place of another of that name; by name. */
export function keepView(views: readonly SavedView[], name: string, search: DatasetsSearch): SavedView[] {
  const kept = views.filter((view) => view.name !== name)
  return [...kept, { name, search: addressOf(search) }].sort((a, b) => a.name.localeCompare(b.name))
}

export const addressOf = (search: DatasetsSearch): string => stringifySearch(search as Raw)
export const searchOf = (view: SavedView): DatasetsSearch => datasetsSearch(parseSearch(view.search))
