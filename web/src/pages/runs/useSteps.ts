// The steps of a run, as far as they were fetched.
import { useEffect } from 'react'
import { get } from '../../api/client'
import type { Page, Run } from '../../api/types'
import { useRows, type Rows } from '../../components/ServerTable'
import type { RunStep } from './steps'

const AGAIN_MS = 2000

/** Steps of one request; more are asked for by hand, since a run may have millions. */
export const STEPS = 1000

export function useSteps(run: Run): Rows<RunStep> {
  const rows = useRows(
    ['run', String(run.run), 'items'],
    (after, signal) => get<Page<RunStep>>(`/runs/${run.run}/items`, { limit: STEPS, after }, signal),
    run.state === 'done' ? {} : { refetchMs: AGAIN_MS },
  )
  // A part may hold nothing though more follows.
  const looking = rows.rows.length === 0 && rows.more && !rows.error
  const { fetchMore, isFetchingMore } = rows
  useEffect(() => {
    if (looking && !isFetchingMore) fetchMore()
  }, [looking, isFetchingMore, fetchMore])
  return looking ? { ...rows, isPending: true } : rows
}
