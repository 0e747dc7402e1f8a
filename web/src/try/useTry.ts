// One try-out at a time: running it again breaks off the one before.
import { useCallback, useEffect, useRef, useState } from 'react'
import { tryOut } from '../api/flows'
import { asProblem, type Problem } from '../api/problem'
import type { Files, Sample, Tried } from '../api/types'

export interface TryState {
  running: boolean
  tried: Tried | undefined
  problem: Problem | undefined
}

export function useTry() {
  const [state, setState] = useState<TryState>({ running: false, tried: undefined, problem: undefined })
  const current = useRef<AbortController>(undefined)
  useEffect(() => () => current.current?.abort(), [])
  const run = useCallback(async (request: { text: string; files: Files; processor: string; sample: Sample }) => {
    current.current?.abort()
    const now = new AbortController()
    current.current = now
    setState((before) => ({ ...before, running: true, problem: undefined }))
    try {
      const tried = await tryOut(request, now.signal)
      if (!now.signal.aborted) setState({ running: false, tried, problem: undefined })
      return tried
    } catch (error) {
      if (!now.signal.aborted) setState({ running: false, tried: undefined, problem: asProblem(error) })
      return undefined
    }
  }, [])
  const stop = useCallback(() => {
    current.current?.abort()
    setState((before) => ({ ...before, running: false }))
  }, [])
  const clear = useCallback(() => {
    current.current?.abort()
    setState({ running: false, tried: undefined, problem: undefined })
  }, [])
  return { ...state, run, stop, clear }
}
