// What the addresses of datasets say: which are listed, and what of one is shown. Names are those of the API.
import { oneOf, type Raw, text, whole } from '../../lib/search'

export const SORTS = ['name', '-name', 'committed', '-committed', 'size', '-size'] as const
export const EXPORTS = ['written', 'pending', 'refused', 'superseded', 'kept', 'none'] as const

export interface DatasetsSearch {
  q?: string
  collection?: string
  flow?: string
  processor?: string
  media?: string
  run?: number
  /** RFC 3339, or how long ago: `24h`, `7d`. */
  since?: string
  until?: string
  min_size?: number
  max_size?: number
  export?: (typeof EXPORTS)[number]
  sort?: (typeof SORTS)[number]
}

/** Keys that narrow the listing, in the order in which they are shown. */
export const FILTERS = ['collection', 'flow', 'processor', 'media', 'run', 'since', 'until', 'min_size', 'max_size', 'export'] as const

/** Leaves out what is undefined, so that an address has only what was chosen. */
export function said<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T
}

export const datasetsSearch = (raw: Raw): DatasetsSearch =>
  said<DatasetsSearch>({
    q: text(raw, 'q'),
    collection: text(raw, 'collection'),
    flow: text(raw, 'flow'),
    processor: text(raw, 'processor'),
    media: text(raw, 'media'),
    run: whole(raw, 'run'),
    since: text(raw, 'since'),
    until: text(raw, 'until'),
    min_size: whole(raw, 'min_size'),
    max_size: whole(raw, 'max_size'),
    export: oneOf(raw, 'export', EXPORTS),
    sort: oneOf(raw, 'sort', SORTS),
  })

export const TABS = ['preview', 'history', 'revisions', 'lineage', 'access'] as const

export interface DatasetSearch {
  tab?: (typeof TABS)[number]
  revision?: number
  /** The revision it is compared with. */
  with?: number
}

export const datasetSearch = (raw: Raw): DatasetSearch =>
  said<DatasetSearch>({ tab: oneOf(raw, 'tab', TABS), revision: whole(raw, 'revision'), with: whole(raw, 'with') })
