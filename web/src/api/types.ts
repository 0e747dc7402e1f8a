// What the API answers with. Ids and hashes are text, times RFC 3339, sizes bytes, durations in the unit of their name.

export interface Page<T> {
  rows: T[]
  next: string | null
  total?: number | null
}

export type FlowState = 'enabled' | 'disabled' | 'deleting'

export interface Flow {
  flow: string
  name: string
  state: FlowState
  version: string
  base: string
  outstanding: number
  dead_letters: number
  changed: string
  description?: string
  processors?: number
  draft?: boolean
  last_item?: string
}

export type FileContent = { text: string } | { bytes: number[] }
export type Files = Record<string, FileContent>

export interface Span {
  offset: number
  len: number
  line: number
  column: number
}

export interface Diagnostic {
  severity: 'error' | 'warning'
  code: string
  message: string
  hint?: string
  file?: string
  span?: Span
  related?: [Span, string][]
  processor?: string
}

/** In the order of their places; the server stops at some hundreds. */
export type Diagnostics = Diagnostic[]

export interface PlanProcessor {
  id: string
  type: string
  role: string
  phase: number
  reads: { processor: string; port: string }[]
  outputs: string[]
  language?: string
  collection?: string
  place?: string
  deterministic: 'by_construction' | 'declared' | 'unknown'
  line: number
}

export interface Plan {
  name: string
  description?: string
  phases: number
  processors: PlanProcessor[]
  starts: string[]
  order: string[][]
}

export interface FlowDetail {
  flow: Flow
  text: string
  files: Files
  plan: Plan
}

export interface FlowVersion {
  version: string
  at: string
  actor: string
  present?: boolean
}

export interface FlowVersionDetail extends FlowVersion {
  text: string
  files: Files
  plan?: Plan
}

export interface Draft {
  flow: string
  name: string
  text: string
  files: Files
  base?: string
  based_on?: string
  changed: string
  actor: string
  etag: string
}

export type DraftRow = Pick<Draft, 'flow' | 'name' | 'changed' | 'actor' | 'etag' | 'based_on'>

export interface Validated {
  name?: string
  slug?: string
  diagnostics: Diagnostics
  plan?: Plan
}

export interface Kind {
  name: string
  class: 'processor' | 'source' | 'destination'
  role: 'ingest' | 'transform' | 'collect'
  title?: string
  summary: string
  docs?: string
  schema: Record<string, unknown>
  examples: string[]
}

export interface Fault {
  kind?: string
  code: string
  message: string
  hint?: string
  traceback?: string
  /** `clean.py:14`, and the text of that line. */
  place?: [string, string] | null
  /** From 1, within the code. */
  line?: number
  file?: string
}

export interface LogLine {
  at?: string
  level: string
  text: string
}

export type Attributes = Record<string, string | number | boolean | null>

export interface TryOutput {
  port?: string
  name: string
  media_type?: string
  attributes: Attributes
  size: number
  hash: string
  upload: string
  preview?: string
}

export interface Tried {
  outcome: 'emitted' | 'dropped' | 'rejected' | 'retry' | 'failed' | 'held' | 'collected'
  took_us: number
  note?: string
  log: LogLine[]
  fault?: Fault
  outputs: TryOutput[]
  more: boolean
  /** What would be collected; nothing was. */
  collected?: { collection: string; target?: string; if_exists?: string }
  after_ms?: number
  diagnostics?: Diagnostics
  input: { name: string; size: number; hash: string; media_type?: string; attributes: Attributes; upload?: string; preview?: string }
}

export type Sample =
  | { upload: string }
  | { item: string }
  | { dataset: string; revision?: number }
  | { dead_letter: string }
  | { text: string; name: string }

export interface Uploaded {
  upload: string
  name: string
  size: number
  hash: string
  expires: string
}

export interface RecentInput {
  item: string
  name: string
  size: number
  media_type?: string
  at: string
}

export interface StepCounts {
  [key: string]: number
}

export interface Run {
  run: number
  flow: string
  version: string
  mode: string
  trigger: string
  state: string
  started: string
  finished: string | null
  took_ms: number | null
  arrivals: number
  outstanding: number
  revisions: number
  unchanged: number
  dead_letters: number
  exported: number
  processors?: Record<string, StepCounts>
}

export interface Collection {
  name: string
  datasets: number
  revisions: number
  bytes: number
  changed: string
}

export interface Dataset {
  id: string
  name: string
  collection: string
  flow: string
  processor: string
  revision: number
  hash: string
  size: number
  media_type: string | null
  attributes?: Attributes
  version: string
  run: number
  arrival: number
  item: string
  committed: string
  gone?: string
  export: { state: string; destination: string | null; target: string | null; written: string | null }
}

export interface ItemRow {
  id: string
  name: string
  hash: string
  size: number
  media_type: string | null
  attributes: Attributes
  arrived: string
}

export interface DeadLetter {
  id: string
  flow: string
  processor: string
  input: unknown
  item: ItemRow
  fault: Fault
  attempts: number
  log: LogLine[]
  failed: string
  run: number
  version: string
  state: 'open' | 'retried' | 'discarded'
  end?: { at: string; actor: string; reason?: string; pass?: number }
  export_only: boolean
}

export interface Trouble {
  about: string
  message: string
  hint?: string
}

export interface Status {
  status: string
  version: string
  pid: number
  mode: string
  started: string
  backlog: Record<string, number> | null
  in_work: number
  usage: Record<string, number> | null
  troubles: Trouble[]
}
