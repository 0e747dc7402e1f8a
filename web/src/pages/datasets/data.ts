// Requests about datasets, collections and items.
import { address, ask, get, type QueryValue } from '../../api/client'
import { Problem, type ProblemDocument } from '../../api/problem'
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

export const listDatasets = (query: Record<string, QueryValue>, signal?: AbortSignal) => get<FoundDatasets>('/datasets', query, signal)
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

/**
 * Asks for the newest revisions of datasets as a zip, which the browser writes to its downloads as it comes: by a form, since
 * what a script fetches is held in memory. What is refused arrives in the hidden frame; `refused` is told its problem.
 */
export function archive(ids: string[], refused: (problem: Problem) => void): void {
  const frame = document.createElement('iframe')
  frame.name = `archive-${Date.now()}`
  frame.hidden = true
  frame.title = 'Download'
  const form = document.createElement('form')
  form.method = 'post'
  form.action = address('/datasets/archive')
  form.target = frame.name
  const field = document.createElement('input')
  field.type = 'hidden'
  field.name = 'ids'
  field.value = ids.join(',')
  form.append(field)
  document.body.append(frame, form)
  // A download loads nothing into the frame.
  frame.addEventListener('load', () => {
    const said = frame.contentDocument?.body.textContent ?? ''
    if (said === '') return
    refused(problemIn(said))
    frame.remove()
  })
  form.submit()
  form.remove()
}

function problemIn(text: string): Problem {
  try {
    return new Problem(JSON.parse(text) as ProblemDocument)
  } catch {
    return new Problem({ status: 0, code: 'no-answer', detail: text.slice(0, 200) })
  }
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
