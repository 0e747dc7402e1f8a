// Requests to the server: JSON in and out, refusals as `Problem`, long answers line by line.
import createClient from 'openapi-fetch'
import { asProblem, Problem, problemOf, type ProblemDocument } from './problem'
import type { paths } from './schema'

export const BASE = '/api/v1'

export type QueryValue = string | number | boolean | undefined | null

export interface Call {
  query?: Record<string, QueryValue>
  /** Sent as JSON. */
  json?: unknown
  /** Sent as it is. */
  body?: BodyInit
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
}

/** `/api/v1` + path + query, with what is undefined or empty left out. */
export function address(path: string, query: Record<string, QueryValue> = {}): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') search.set(key, String(value))
  }
  const text = search.toString()
  return `${BASE}${path}${text ? `?${text}` : ''}`
}

/** One request; throws a `Problem`. */
export async function send(method: string, path: string, call: Call = {}): Promise<Response> {
  return heard(
    fetch(address(path, call.query), {
      method,
      headers: {
        accept: 'application/json, application/problem+json',
        ...(call.json !== undefined && { 'content-type': 'application/json' }),
        ...call.headers,
      },
      credentials: 'same-origin',
      ...(call.json !== undefined ? { body: JSON.stringify(call.json) } : call.body !== undefined && { body: call.body }),
      ...(call.signal && { signal: call.signal }),
    }),
  )
}

/** The answer where it is no refusal; throws a `Problem`. */
async function heard(answer: Promise<Response>): Promise<Response> {
  let response: Response
  try {
    response = await answer
  } catch (error) {
    const problem = asProblem(error)
    if (problem.code === 'unreachable') unreached.tell()
    throw problem
  }
  if (!response.ok) {
    const problem = await problemOf(response)
    if (problem.status === 401) signedOut.tell()
    if (problem.status >= 502) unreached.tell()
    throw problem
  }
  return response
}

/** The API by its description: paths, parameters and answers are checked when this is compiled. Throws a `Problem`. */
export const api = createClient<paths>({ fetch: (request) => heard(fetch(request)) })

/** The body of an answer, which is there, as refusals are thrown. */
export const data = async <T>(answer: Promise<{ data?: T }>): Promise<NonNullable<T>> => (await answer).data as NonNullable<T>

/** The JSON of an answer; `undefined` where there is none. */
export async function ask<T>(method: string, path: string, call: Call = {}): Promise<T> {
  const response = await send(method, path, call)
  if (response.status === 204) return undefined as T
  const text = await response.text()
  return (text ? JSON.parse(text) : undefined) as T
}

export const get = <T>(path: string, query: Record<string, QueryValue> = {}, signal?: AbortSignal): Promise<T> =>
  ask<T>('GET', path, { query, signal })

/** A line of a long answer. */
export interface Line {
  event: string
  [key: string]: unknown
}

/** An answer in lines of JSON, each handed on when it comes. A line `failed` is thrown as its problem. */
export async function lines(method: string, path: string, call: Call, each: (line: Line) => void): Promise<void> {
  const response = await send(method, path, { ...call, headers: { accept: 'application/x-ndjson', ...call.headers } })
  if (!response.body) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    rest += value ?? ''
    const parts = rest.split('\n')
    rest = done ? '' : (parts.pop() ?? '')
    for (const part of parts) {
      if (part.trim() === '') continue
      const line = JSON.parse(part) as Line
      if (line.event === 'failed') throw new Problem(line as unknown as ProblemDocument)
      each(line)
    }
    if (done) return
  }
}

class Bell {
  private readonly hearers = new Set<() => void>()

  hear(hearer: () => void): () => void {
    this.hearers.add(hearer)
    return () => this.hearers.delete(hearer)
  }

  tell() {
    for (const hearer of this.hearers) hearer()
  }
}

/** Told when an answer says that nobody is signed in. */
export const signedOut = new Bell()

/** Told when a request did not reach the server. */
export const unreached = new Bell()
