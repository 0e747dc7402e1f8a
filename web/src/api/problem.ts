// What went wrong with a request, as a value that a page can show: what happened, what to do, and the request's id.
import type { Diagnostics } from './types'

/** The fields of an RFC 9457 document as the server writes them. */
export interface ProblemDocument {
  status: number
  code: string
  detail?: string
  /** What `detail` was called before. */
  message?: string
  title?: string
  hint?: string
  diagnostics?: Diagnostics
  request_id?: string
}

export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string | undefined
  readonly diagnostics: Diagnostics | undefined
  readonly requestId: string | undefined

  constructor(document: ProblemDocument) {
    super(document.detail ?? document.message ?? document.title ?? `the server answered ${document.status}`)
    this.name = 'Problem'
    this.status = document.status
    this.code = document.code
    this.hint = document.hint
    this.diagnostics = document.diagnostics
    this.requestId = document.request_id
  }
}

/** The problem that a refusing response tells of, also where it is not the server that answered. */
export async function problemOf(response: Response): Promise<Problem> {
  const requestId = response.headers.get('x-request-id') ?? undefined
  try {
    const document = (await response.json()) as Partial<ProblemDocument>
    if (typeof document.code === 'string' || typeof document.detail === 'string' || typeof document.message === 'string') {
      return new Problem({
        ...document,
        status: response.status,
        code: document.code ?? 'unknown',
        ...((document.request_id ?? requestId) !== undefined && { request_id: document.request_id ?? requestId }),
      } as ProblemDocument)
    }
  } catch {
    // Not JSON: something between the page and the server answered.
  }
  return new Problem({
    status: response.status,
    code: 'no-answer',
    detail: `the answer was ${response.status} ${response.statusText}`.trimEnd(),
    hint: response.status >= 502 ? 'the server may be starting, or a proxy before it cannot reach it' : undefined,
    request_id: requestId,
  } as ProblemDocument)
}

/** Whatever was thrown, as a problem. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (error instanceof DOMException && error.name === 'AbortError') {
    return new Problem({ status: 0, code: 'broken-off', detail: 'the request was broken off' })
  }
  if (error instanceof TypeError && /fetch|network|load/i.test(error.message)) {
    return new Problem({
      status: 0,
      code: 'unreachable',
      detail: 'the server cannot be reached',
      hint: 'look whether `opendmp serve` still runs; what is shown here stays as it was',
    })
  }
  return new Problem({ status: 0, code: 'page', detail: error instanceof Error ? error.message : String(error) })
}
