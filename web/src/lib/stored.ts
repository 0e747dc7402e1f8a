// Small choices kept in this browser. Storage may be switched off or full: then they last as long as the tab.
import { useCallback, useSyncExternalStore } from 'react'

const memory = new Map<string, string>()
const hearers = new Set<() => void>()

export function readStored(key: string): string | undefined {
  try {
    return memory.get(key) ?? localStorage.getItem(key) ?? undefined
  } catch {
    return memory.get(key)
  }
}

export function writeStored(key: string, value: string | undefined) {
  memory.delete(key)
  try {
    if (value === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    if (value !== undefined) memory.set(key, value)
  }
  for (const hearer of hearers) hearer()
}

export function useStored(key: string): [string | undefined, (value: string | undefined) => void] {
  const value = useSyncExternalStore(
    (hearer) => {
      hearers.add(hearer)
      return () => hearers.delete(hearer)
    },
    () => readStored(key),
  )
  return [value, useCallback((next: string | undefined) => writeStored(key, next), [key])]
}
