// Content of the server in parts. Nothing here knows what the bytes mean.

import { Problem, problemOf } from '../api/problem'

/** Something that can be looked at. */
export interface Content {
  /** Where its bytes are, on this server; of bytes that are at hand, what they are told apart by. */
  readonly url: string
  /** The bytes, where they are at hand. */
  readonly bytes?: Uint8Array<ArrayBuffer>
  readonly name: string
  /** In bytes. */
  readonly size: number
  readonly mediaType: string | null
}

/** Bytes that are passed over at most to reach a part, where a server sends no parts. */
const MOST_SKIPPED = 64 << 20

/** A text that is at hand, to be looked at. */
export function textContent(text: string, name: string, mediaType: string | null = null): Content {
  const bytes = new TextEncoder().encode(text)
  return { url: `text:${name}:${text}`, bytes, name, size: bytes.length, mediaType }
}

/** A part of content, wherever it is. */
export function partOf(content: Content, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  return content.bytes ? Promise.resolve(content.bytes.slice(start, end)) : readPart(content.url, start, end, signal)
}

/** The bytes from `start` up to `end`, not included; fewer where the content ends before. */
export async function readPart(url: string, start: number, end: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  if (end <= start) return new Uint8Array(0)
  const headers = { range: `bytes=${start}-${end - 1}` }
  const response = await fetch(url, { headers, ...(signal ? { signal } : {}) })
  if (response.status === 206) return new Uint8Array(await response.arrayBuffer())
  // Nothing is there: the content is empty or ends before `start`.
  if (response.status === 416) return new Uint8Array(0)
  if (!response.ok || response.body === null) throw await problemOf(response)
  // All of it comes, whatever was asked for. What is wanted is taken, and the rest is refused.
  if (start > MOST_SKIPPED) {
    await response.body.cancel()
    const detail = 'the server sends no parts of this content'
    throw new Problem({ status: 0, code: 'no-parts', detail, hint: 'download it instead' })
  }
  return take(response.body, start, end)
}

async function take(body: ReadableStream<Uint8Array>, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader()
  const parts: Uint8Array[] = []
  let at = 0
  while (at < end) {
    const { done, value } = await reader.read()
    if (done) break
    parts.push(value.subarray(Math.max(0, start - at), Math.max(0, end - at)))
    at += value.length
  }
  await reader.cancel()
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let filled = 0
  for (const part of parts) {
    all.set(part, filled)
    filled += part.length
  }
  return all
}
