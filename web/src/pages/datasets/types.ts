// What the API answers with on datasets, items and their history, beyond what every page uses.
import type { Attributes, Dataset, LogLine } from '../../api/types'

export type StepResult =
  | 'emitted' | 'collected' | 'unchanged' | 'dead' | 'retried' | 'arrived' | 'reentered' | 'spooled' | 'held' | 'joined'

/** One step of a result's way. */
export interface WayStep {
  /** `retry` for a person's retry. */
  processor: string
  kind: string
  version: string
  config: string
  environment: string | null
  worker: string
  opendmp: string
  actor: string
  started: string
  committed: string
  took_us: number
  result: StepResult
  input: string
  output?: string
  name: string
  port: string | null
  hash: string
  size: number
  note: string | null
  log: LogLine[]
  /** Attempts that failed before. */
  failed: string[]
}

export interface Origin {
  arrival: number
  /** Kind and place: `penguins/inbox/file_drop:/srv/inbox`. */
  source: string
  path: string
  hash: string
  size: number
  arrived: string
  gone?: string
}

export interface History {
  dataset: Dataset
  origin: Origin
  steps: WayStep[]
  confirmed: { at: string; version: string }[]
}

export interface Lineage {
  nodes: LineageNode[]
  edges: { from: string; to: string; processor: string }[]
  /** Whether there is more than is told. */
  cut: boolean
}

export interface LineageNode {
  /** Of an item its id; of a dataset its id with `@` and the revision; of a source something of its own. */
  id: string
  kind: 'source' | 'item' | 'dataset'
  label: string
  processor?: string | null
  run?: number | null
  dataset?: string | null
  revision?: number | null
  /** Of a dataset: whether this is its newest revision. */
  present?: boolean | null
  /** How an item ended that nothing was made of: `dead`, or `emitted` as nothing. */
  ended?: StepResult | null
}

export interface ItemStep {
  processor: string
  kind: string
  version: string
  started: string
  result: StepResult
  input: string
  children: string[]
  note: string | null
}

export interface ItemInfo {
  id: string
  flow: string
  name: string
  hash: string
  size: number
  attributes?: Attributes
  port: string | null
  arrival: number
  source: string
  path: string
  made: ItemStep
  read: ItemStep[]
  /** Where its bytes are; null: they would be computed again. */
  at_hand: 'stored' | 'recent' | 'computed' | null
}
