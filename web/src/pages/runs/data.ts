// Requests about runs.
import { ask, get } from '../../api/client'
import type { Page, Run } from '../../api/types'
import { moment } from '../datasets/query'
import type { RunsSearch } from './search'

export const readRun = (run: string | number, signal?: AbortSignal) => get<Run>(`/runs/${encodeURIComponent(run)}`, {}, signal)
export const stopRun = (run: number) => ask<{ run: Run; stopped: boolean; taken: number }>('POST', `/runs/${run}/stop`)

/** Requests at most for one page: each looks through so many runs, and may find none of them. */
const REQUESTS = 20

/** A page of the runs that fit, newest first. */
export async function listRuns(search: RunsSearch, now: number, after: string | undefined, signal: AbortSignal): Promise<Page<Run>> {
  const { q, flow, state } = search
  const which = { q, flow, state, since: moment(search.since, now), until: moment(search.until, now), limit: 100 }
  let page: Page<Run> = { rows: [], next: after ?? null }
  for (let request = 0; request < REQUESTS && page.rows.length === 0; request += 1) {
    page = await get('/runs', { ...which, after: page.next ?? undefined }, signal)
    if (page.next === null) break
  }
  return page
}
