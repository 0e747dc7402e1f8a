// How a retry is going on, as far as its runs tell. Pure.
import type { Run } from '../../api/types'
import type { Retried } from './data'

export interface Progress {
  letters: number
  /** Letters whose runs are done; of a run that goes on, those that can be told. */
  done: number
  /** Dead letters that came of it again. */
  failed: number
  finished: boolean
  words: string
}

/** `runs` are the runs of `retried` as they stand, as far as they are known. */
export function progressOf(retried: readonly Retried[], runs: readonly Run[]): Progress {
  const letters = retried.reduce((sum, one) => sum + one.letters, 0)
  let done = 0
  let failed = 0
  let finished = true
  for (const one of retried) {
    const run = runs.find((other) => other.run === one.run)
    if (run?.state === 'done') done += one.letters
    else {
      finished = false
      // One letter may have become many items on its way; then it can't be told how many letters are left.
      if (run && run.outstanding <= one.letters) done += one.letters - run.outstanding
    }
    failed += run?.dead_letters ?? 0
  }
  return { letters, done, failed, finished, words: words(letters, done, failed, finished) }
}

function words(letters: number, done: number, failed: number, finished: boolean): string {
  if (!finished) return `${done} of ${letters} done${failed > 0 ? `, ${failed} failed again` : ''}`
  if (failed > 0) return letters === 1 ? 'It failed again' : `${failed} of ${letters} failed again`
  return letters === 1 ? 'It went through' : `All ${letters} went through`
}
