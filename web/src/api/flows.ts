// Requests about flows, drafts, kinds and try-outs. Paths, parameters and answers are checked against the API's description.
import { api, ask, data, lines, type Line } from './client'
import { Problem } from './problem'
import type { Files, Sample, Tried, Uploaded, Validated } from './types'

const at = (flow: string) => encodeURIComponent(flow)

interface Content {
  text: string
  files: Files
}

export const status = (signal?: AbortSignal) => data(api.GET('/api/v1/status', { signal }))
export const settings = (signal?: AbortSignal) => data(api.GET('/api/v1/settings', { signal }))
/** What flows did in the last 24 hours. */
export const activity = (signal?: AbortSignal) => data(api.GET('/api/v1/activity', { signal }))
export const listFlows = (signal?: AbortSignal) => data(api.GET('/api/v1/flows', { signal }))
export const readFlow = (flow: string, signal?: AbortSignal) => data(api.GET('/api/v1/flows/{flow}', { params: { path: { flow } }, signal }))
export const flowVersions = (flow: string, signal?: AbortSignal) =>
  data(api.GET('/api/v1/flows/{flow}/versions', { params: { path: { flow } }, signal }))
export const flowVersion = (flow: string, version: string, signal?: AbortSignal) =>
  data(api.GET('/api/v1/flows/{flow}/versions/{version}', { params: { path: { flow, version } }, signal }))

export const listDrafts = (signal?: AbortSignal) => data(api.GET('/api/v1/drafts', { signal }))
export const readDraft = (flow: string) => data(api.GET('/api/v1/drafts/{flow}', { params: { path: { flow } } }))

const having = (etag: string | undefined) => (etag === undefined ? { 'If-None-Match': '*' } : { 'If-Match': `"${etag}"` })

/** Writes a draft; `etag` is what it was when it was read, `undefined` where there must be none yet. */
export const writeDraft = (flow: string, draft: Content & { based_on?: string }, etag?: string) =>
  data(api.PUT('/api/v1/drafts/{flow}', { params: { path: { flow } }, headers: having(etag), body: draft }))

export const dropDraft = async (flow: string, etag: string): Promise<void> => {
  await api.DELETE('/api/v1/drafts/{flow}', { params: { path: { flow }, header: { 'If-Match': `"${etag}"` } } })
}

/** Saves and enables a flow; what is prepared meanwhile is told. A draft with this etag is dropped on success. */
export const enableFlow = (flow: Content & { base?: string }, draft: string | undefined, each: (line: Line) => void, signal?: AbortSignal) =>
  lines('POST', '/flows', { query: { draft }, json: { base: '', ...flow }, signal }, each)

export const enableAgain = (flow: string, each: (line: Line) => void) => lines('POST', `/flows/${at(flow)}/enable`, {}, each)
export const disableFlow = (flow: string) => data(api.POST('/api/v1/flows/{flow}/disable', { params: { path: { flow } } }))
export const deleteFlow = (flow: string, work: 'drain' | 'dead_letter') =>
  data(api.DELETE('/api/v1/flows/{flow}', { params: { path: { flow }, query: { work } } }))

const which = (since: number | null) => ({ since, collection: null, datasets: [], timeout_ms: null })

/** What a reprocess of what arrived since a moment (milliseconds since 1970; `null`: ever) would do. */
export const planReprocess = (flow: string, since: number | null) =>
  data(api.POST('/api/v1/flows/{flow}/reprocess/plan', { params: { path: { flow } }, body: which(since) }))

/** Starts it and answers the number of its run; it is not waited for. */
export async function reprocess(flow: string, since: number | null): Promise<number> {
  const leave = new AbortController()
  let run: number | undefined
  try {
    await lines('POST', `/flows/${at(flow)}/reprocess`, { json: which(since), signal: leave.signal }, (line) => {
      if (line.event !== 'started') return
      run = Number(line.run)
      leave.abort()
    })
  } catch (error) {
    if (run === undefined) throw error
  }
  if (run === undefined) throw new Problem({ status: 0, code: 'no-run', detail: 'the server began no run' })
  return run
}

// The client loses that places and words of a diagnostic are pairs.
export const validate = (flow: Content, signal?: AbortSignal) => data(api.POST('/api/v1/validate', { body: flow, signal })) as Promise<Validated>

export const listKinds = (signal?: AbortSignal) => data(api.GET('/api/v1/kinds', { signal }))

export const upload = (file: Blob, name: string, signal?: AbortSignal) =>
  ask<Uploaded>('POST', '/uploads', {
    query: { name, media_type: file.type || undefined },
    body: file,
    headers: { 'content-type': 'application/octet-stream' },
    signal,
  })

export const uploadContent = (id: string) => `/api/v1/uploads/${at(id)}/content`

const NO_SAMPLE = { upload: null, item: null, dataset: null, revision: null, dead_letter: null, text: null, name: null }

export const tryOut = (request: Content & { processor: string; sample: Sample; timeout_ms?: number }, signal?: AbortSignal) =>
  data(api.POST('/api/v1/try', { body: { ...request, sample: { ...NO_SAMPLE, ...request.sample } }, signal })) as Promise<Tried>

/** What went into a processor lately, or came out of it. */
export const pastItems = (flow: string, processor: string, side: 'in' | 'out', signal?: AbortSignal) =>
  data(api.GET('/api/v1/flows/{flow}/recent', { params: { path: { flow }, query: { processor, side, limit: 30 } }, signal }))

/** Puts a file into the folder of a flow's file drop. */
export const dropFile = (flow: string, processor: string, file: Blob, name: string, replace = false) =>
  ask<{ name: string }>('POST', `/flows/${at(flow)}/sources/${at(processor)}/files`, {
    query: { name, replace: replace || undefined },
    body: file,
    headers: { 'content-type': 'application/octet-stream' },
  })
