// What the API answers with, by the names of its own description: `schema.d.ts` is made from it by `npm run api`. Ids and
// hashes are text, times RFC 3339, sizes bytes, durations in the unit of their name.
import type { components } from './schema'

type Schemas = components['schemas']

export interface Page<T> {
  rows: T[]
  next?: string | null
  total?: number | null
}

export type Flow = Schemas['Flow']
export type FlowState = Schemas['FlowState']
export type FlowDetail = Schemas['FlowDetail']
export type FlowVersion = Schemas['FlowVersion']
export type FlowVersionDetail = Schemas['FlowVersionDetail']
export type FileContent = Schemas['FileContent']
export type Files = Record<string, FileContent>
export type Draft = Schemas['Draft']
export type DraftRow = Schemas['DraftRow']
export type Kind = Schemas['Kind']
export type Plan = Schemas['Plan']
export type PlanProcessor = Schemas['PlanProcessor']
export type Validated = Schemas['Validated']
export type Span = Schemas['Span']
export type Diagnostic = Schemas['Diagnostic']
export type Diagnostics = Schemas['Diagnostics']

export type Attributes = Record<string, unknown>
export type LogLine = Schemas['LogLine']
export type Fault = Schemas['Fault']
export type Tried = Schemas['Tried']
export type TriedFault = Schemas['TriedFault']
export type TriedOutput = Schemas['TriedOutput']
export type Uploaded = Schemas['Uploaded']
export type PastItem = Schemas['PastItem']

/** One of these; `name` replaces the sample's own. */
export type Sample = ({ upload: string } | { item: string } | { dataset: string; revision?: number } | { dead_letter: string } | { text: string }) & { name?: string }

export type Run = Schemas['Run']
export type StepCounts = Schemas['StepCounts']
export type Collection = Schemas['Collection']
export type Dataset = Schemas['Dataset']
export type ItemRow = Schemas['ItemRow']
export type DeadLetter = Schemas['DeadLetter']
export type Trouble = Schemas['Trouble']
export type Status = Schemas['Status']
export type Setting = Schemas['Setting']
export type Activity = Schemas['Activity']
export type FlowActivity = Schemas['FlowActivity']
