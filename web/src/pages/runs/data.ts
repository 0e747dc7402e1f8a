// Requests about runs.
import { ask, get } from '../../api/client'
import type { Page, Run } from '../../api/types'
import { moment } from '../datasets/query'
import type { RunsSearch } from './search'

export const readRun = (run: string | number, signal?: AbortSignal) => get<Run>(`/runs/${encodeURIComponent(run)}`, {}, signal)
export const stopRun = (run: number) => ask<{ run: Run; stopped: boolean; taken: number }>('POST', `/runs/${run}/stop`)

/** Rows of one request, and as many requests at most for one page of those that fit. */
const ROWS = 500
const REQUESTS = 20
const ENOUGH = 100

/** Whether a run is what is looked for. The flow was asked of the server. */
export function fits(run: Run, search: RunsSearch, now: number): boolean {
  const { q, state } = search
  const since = moment(search.since, now)
  const until = moment(search.until, now)
  const words = (q ?? '').toLowerCase().split(/\s+/).filter(Boolean)
  const text = `${run.run} ${run.flow} ${run.trigger} ${run.version}`.toLowerCase()
  return (
    words.every((word) => text.includes(word)) &&
    (state === undefined || (state === 'failures' ? run.dead_letters > 0 : run.state === state)) &&
    (since === undefined || run.started >= since) &&
    (until === undefined || run.started <= until)
  )
}

/** A page of the runs that fit, newest first. The server is asked on until there are enough, or nothing older can fit. */
export async function listRuns(search: RunsSearch, now: number, after: string | undefined, signal: AbortSignal): Promise<Page<Run>> {
  const since = moment(search.since, now)
  const rows: Run[] = []
  let next: string | null | undefined = after
  for (let request = 0; request < REQUESTS && rows.length < ENOUGH; request += 1) {
    const page: Page<Run> = await get('/runs', { flow: search.flow, limit: ROWS, after: next }, signal)
    rows.push(...page.rows.filter((run) => fits(run, search, now)))
    next = page.next
    const oldest = page.rows.at(-1)
    if (next === null || (since !== undefined && oldest !== undefined && oldest.started < since)) return { rows, next: null }
  }
  return { rows, next: next ?? null }
}
