// Requests about flows, drafts, kinds and try-outs.
import { ask, get, lines, type Line } from './client'
import type {
  Draft, DraftRow, Files, Flow, FlowDetail, FlowVersion, FlowVersionDetail, Kind, Page, RecentInput, Sample, Status, Tried,
  Uploaded, Validated,
} from './types'

const at = (flow: string) => encodeURIComponent(flow)

export const status = (signal?: AbortSignal) => get<Status>('/status', {}, signal)
export const listFlows = (signal?: AbortSignal) => get<Page<Flow>>('/flows', {}, signal)
export const readFlow = (flow: string, signal?: AbortSignal) => get<FlowDetail>(`/flows/${at(flow)}`, {}, signal)
export const flowVersions = (flow: string, signal?: AbortSignal) =>
  get<Page<FlowVersion>>(`/flows/${at(flow)}/versions`, {}, signal)
export const flowVersion = (flow: string, version: string, signal?: AbortSignal) =>
  get<FlowVersionDetail>(`/flows/${at(flow)}/versions/${at(version)}`, {}, signal)

export const listDrafts = (signal?: AbortSignal) => get<Page<DraftRow>>('/drafts', {}, signal)
export const readDraft = (flow: string, signal?: AbortSignal) => get<Draft>(`/drafts/${at(flow)}`, {}, signal)

/** Writes a draft; `etag` is what it was when it was read, `undefined` where there must be none yet. */
export const writeDraft = (flow: string, draft: { text: string; files: Files; based_on?: string }, etag?: string) =>
  ask<Draft>('PUT', `/drafts/${at(flow)}`, {
    json: draft,
    headers: etag === undefined ? { 'if-none-match': '*' } : { 'if-match': `"${etag}"` },
  })

export const dropDraft = (flow: string, etag: string) =>
  ask<void>('DELETE', `/drafts/${at(flow)}`, { headers: { 'if-match': `"${etag}"` } })

/** Saves and enables a flow; what is prepared meanwhile is told. A draft with this etag is dropped on success. */
export const enableFlow = (
  flow: { text: string; files: Files; base?: string },
  draft: string | undefined,
  each: (line: Line) => void,
  signal?: AbortSignal,
) => lines('POST', '/flows', { query: { draft }, json: { base: '', ...flow }, signal }, each)

export const enableAgain = (flow: string, each: (line: Line) => void) => lines('POST', `/flows/${at(flow)}/enable`, {}, each)
export const disableFlow = (flow: string) => ask<Flow>('POST', `/flows/${at(flow)}/disable`)
export const deleteFlow = (flow: string, work: 'drain' | 'dead_letter') =>
  ask<{ flow: Flow; buried: number }>('DELETE', `/flows/${at(flow)}`, { query: { work } })

export const validate = (flow: { text: string; files: Files }, signal?: AbortSignal) =>
  ask<Validated>('POST', '/validate', { json: flow, signal })

export const listKinds = (signal?: AbortSignal) => get<Page<Kind>>('/kinds', {}, signal)

export const upload = (file: Blob, name: string, signal?: AbortSignal) =>
  ask<Uploaded>('POST', '/uploads', {
    query: { name, media_type: file.type || undefined },
    body: file,
    headers: { 'content-type': 'application/octet-stream' },
    signal,
  })

export const uploadContent = (id: string) => `/api/v1/uploads/${at(id)}/content`

export const tryOut = (
  request: { text: string; files: Files; processor: string; sample: Sample; timeout_ms?: number },
  signal?: AbortSignal,
) => ask<Tried>('POST', '/try', { json: request, signal })

/** Puts a file into the folder of a flow's file drop. */
export const dropFile = (flow: string, processor: string, file: Blob, name: string, replace = false) =>
  ask<{ name: string }>('POST', `/flows/${at(flow)}/sources/${at(processor)}/files`, {
    query: { name, replace: replace || undefined },
    body: file,
    headers: { 'content-type': 'application/octet-stream' },
  })

export const recentInputs = (flow: string, processor: string, signal?: AbortSignal) =>
  get<Page<RecentInput>>(`/flows/${at(flow)}/recent`, { processor, limit: 30 }, signal)
