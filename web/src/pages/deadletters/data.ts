// Requests about dead letters.
import { address, ask, get } from '../../api/client'
import type { DeadLetter as Letter, Fault, Page } from '../../api/types'

/** A dead letter as it is listed; `place` is the user's own line: `weigh.py:9` and its text. */
export type DeadLetter = Omit<Letter, 'fault'> & { fault: Fault & { place?: [string, string] } }

/** Letters that failed alike. */
export interface Group {
  group: string
  flow: string
  processor: string
  code: string
  /** With what differs between them as `…`. */
  message: string
  count: number
  first: string
  last: string
  /** One of them. */
  sample: string
}

export interface Retried {
  run: number
  flow: string
  letters: number
}

/** Which letters: some by id, or all open ones that are named otherwise. */
export type Which = { ids: string[] } | { all: { group?: string; flow?: string } }

const at = (id: string): string => encodeURIComponent(id)

/** Errors that are told apart at once; the largest come first. */
export const MOST_GROUPS = 1000

export const listGroups = (query: { flow?: string | undefined; q?: string | undefined }, signal?: AbortSignal) => get<Page<Group>>('/dead-letters/groups', { ...query, limit: MOST_GROUPS }, signal)
export const listLetters = (query: { group?: string | undefined; flow?: string | undefined; run?: number | undefined; q?: string | undefined; ended?: boolean | undefined; limit?: number; after?: string | undefined }, signal?: AbortSignal) =>
  get<Page<DeadLetter>>('/dead-letters', query, signal)
export const readLetter = (id: string, signal?: AbortSignal) => get<DeadLetter>(`/dead-letters/${at(id)}`, {}, signal)
export const letterUrl = (id: string): string => address(`/dead-letters/${at(id)}/content`)

const body = (which: Which) => ('ids' in which ? { ids: which.ids } : { all: which.all })

export const retry = (which: Which) => ask<Retried[]>('POST', '/dead-letters/retry', { json: body(which) })
/** Sends a letter in again with other bytes, which were uploaded before. */
export const retryEdited = (id: string, upload: string, note: string) =>
  ask<Retried>('POST', `/dead-letters/${at(id)}/retry`, { json: { upload, ...(note !== '' && { note }) } })
export const discard = (which: Which, reason: string) => ask<{ letters: number }>('POST', '/dead-letters/discard', { json: { ...body(which), reason } })

/** The line of a fault in the user's code: the file, its number and its text. */
export function placeOf(fault: DeadLetter['fault']): { file: string; line: number; code: string } | null {
  if (!fault.place) return null
  const [where, code] = fault.place
  const read = /^(.*):(\d+)$/.exec(where)
  return read ? { file: read[1] ?? where, line: Number(read[2]), code } : { file: where, line: 0, code }
}
