// What of the flow pages stands in the URL.
import { oneOf, text, type Raw } from '../../lib/search'

export const FLOW_SORTS = ['name', '-name', 'state', '-state', 'outstanding', '-outstanding', 'dead_letters', '-dead_letters', 'last_item', '-last_item', 'changed', '-changed'] as const

export const flowsSearch = (raw: Raw): { q?: string | undefined; sort?: (typeof FLOW_SORTS)[number] | undefined; new?: 'script' | undefined } => ({
  q: text(raw, 'q'),
  sort: oneOf(raw, 'sort', FLOW_SORTS),
  new: oneOf(raw, 'new', ['script']),
})

export const FLOW_TABS = ['canvas', 'list', 'yaml', 'plan', 'diff'] as const

/** `processor` is the open one; `sample` names what it is tried on at first: `dead_letter:ID`, `item:ID`, `dataset:ID`. */
export const flowSearch = (raw: Raw): { tab?: (typeof FLOW_TABS)[number] | undefined; processor?: string | undefined; sample?: string | undefined } => ({
  tab: oneOf(raw, 'tab', FLOW_TABS),
  processor: text(raw, 'processor'),
  sample: text(raw, 'sample'),
})
