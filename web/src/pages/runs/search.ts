// What the addresses of runs say: which are listed, and what of one is shown.
import { oneOf, type Raw, text } from '../../lib/search'
import { said } from '../datasets/search'

export const STATES = ['running', 'done', 'failures'] as const

export interface RunsSearch {
  q?: string
  flow?: string
  /** `failures`: those with dead letters. */
  state?: (typeof STATES)[number]
  /** RFC 3339, or how long ago: `24h`, `7d`. */
  since?: string
  until?: string
}

export const runsSearch = (raw: Raw): RunsSearch =>
  said<RunsSearch>({ q: text(raw, 'q'), flow: text(raw, 'flow'), state: oneOf(raw, 'state', STATES), since: text(raw, 'since'), until: text(raw, 'until') })

export const RUN_TABS = ['items', 'timeline'] as const

export interface RunSearch {
  tab?: (typeof RUN_TABS)[number]
  /** The item that is open beside the tree. */
  item?: string
}

export const runSearch = (raw: Raw): RunSearch => said<RunSearch>({ tab: oneOf(raw, 'tab', RUN_TABS), item: text(raw, 'item') })
