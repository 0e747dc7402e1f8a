// Requests about datasets, collections and items.
import { address, ask, get, send, type QueryValue } from '../../api/client'
import { postForFile } from '../../lib/download'
import type { Collection, Dataset, Flow, Page } from '../../api/types'
import type { History, ItemInfo, Lineage } from './types'

const at = (id: string): string => encodeURIComponent(id)

/** What was collected and is not found yet. */
export interface Behind {
  /** All that was collected before is found. */
  since: string
  /** All datasets are being looked through anew, and any may be missing. */
  building: boolean
}

/** A part of a search; one that was broken off, because so many were looked through, goes on at `next` with fewer rows. */
export interface FoundDatasets extends Page<Dataset> {
  behind?: Behind
}

/** What was asked for before the page was there that shows it, and when. */
let begun: { query: string; at: number; answer: Promise<FoundDatasets> } | undefined
const BEGUN_MS = 5000

export function listDatasets(query: Record<string, QueryValue>, signal?: AbortSignal): Promise<FoundDatasets> {
  const early = begun
  begun = undefined
  if (early && early.query === JSON.stringify(query) && Date.now() - early.at < BEGUN_MS) return early.answer
  return get<FoundDatasets>('/datasets', query, signal)
}

/** Asks for the first part of a listing; the next to list the same is given what comes. */
export function beginDatasets(query: Record<string, QueryValue>): void {
  const answer = get<FoundDatasets>('/datasets', query)
  // Who lists them is told of it.
  answer.catch(() => undefined)
  begun = { query: JSON.stringify(query), at: Date.now(), answer }
}

/** So many datasets are a part of a listing. */
export const PART = 200
export const listCollections = (signal?: AbortSignal) => get<Page<Collection>>('/collections', {}, signal)
export const listFlows = (signal?: AbortSignal) => get<Page<Flow>>('/flows', {}, signal)
/** All revisions of a dataset, oldest first. */
export const readDataset = async (id: string, signal?: AbortSignal) =>
  (await get<{ revisions: Dataset[] }>(`/datasets/${at(id)}`, {}, signal)).revisions
export const readHistory = (id: string, revision: number, signal?: AbortSignal) => get<History>(`/datasets/${at(id)}/history`, { revision }, signal)
export const readLineage = (id: string, revision: number, signal?: AbortSignal) => get<Lineage>(`/datasets/${at(id)}/lineage`, { revision }, signal)
export const readItem = (id: string, signal?: AbortSignal) => get<ItemInfo>(`/items/${at(id)}`, {}, signal)

/** Where the bytes of a revision are. */
export const contentUrl = (id: string, revision: number, download = false): string =>
  address(`/datasets/${at(id)}/content`, { revision, download: download ? 1 : undefined })
export const itemUrl = (id: string): string => address(`/items/${at(id)}/content`)

/** A link that gives the bytes once, to whoever has it. */
export const makeLink = (id: string, revision: number) =>
  ask<{ url: string; expires: string }>('POST', `/datasets/${at(id)}/link`, { query: { revision } })

/** The most datasets of one archive. */
export const MOST_ARCHIVED = 10_000

/** The newest revisions of datasets as a zip, straight to the browser's downloads; `refused` is told why it is none. */
export function saveArchive(ids: string[], refused: (why: unknown) => void): void {
  postForFile('/datasets/archive', { ids: ids.join(',') }, () => {
    // The answer to the form can't be read, so it is asked once more, in a way that can; what comes of it is broken off.
    const stop = new AbortController()
    void send('POST', '/datasets/archive', { json: { ids }, signal: stop.signal }).then(() => {
      stop.abort()
      refused(new Error('the server gave no file'))
    }, refused)
  })
}

/** Hands a file to the browser's downloads. */
export function save(url: string, name: string): void {
  const link = document.createElement('a')
  link.href = url
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
}
